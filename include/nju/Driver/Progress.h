//===- Progress.h - What a compilation is doing -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DRIVER_PROGRESS_H
#define NJU_DRIVER_PROGRESS_H

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/raw_ostream.h"
#include <chrono>
#include <cstdint>
#include <string>

namespace nju {

/// Prints phases with their times to stderr. On a terminal a long phase updates
/// its line in place; elsewhere each phase is one line, and a long one has
/// another line every half minute.
class Progress {
public:
  Progress(bool quiet, int phases);
  /// With another stream, which is a terminal or not, and seconds between two
  /// updates.
  Progress(llvm::raw_ostream &os, bool terminal, double pace, int phases);

  /// Ends the running phase and begins the next one.
  void begin(llvm::StringRef phase);
  /// How far the running phase is, and what else there is to say of it; cheap
  /// enough to call often.
  void update(uint64_t done, uint64_t total, llvm::StringRef detail = "");
  /// Ends the last phase.
  void finish();

private:
  using Clock = std::chrono::steady_clock;
  double seconds() const;
  void show(std::string text, bool stays);

  llvm::raw_ostream &os;
  bool terminal;
  double pace;
  int phases, current = 0;
  size_t width = 0; ///< Of the line on the terminal.
  std::string name;
  Clock::time_point start, shown;
};

} // namespace nju

#endif // NJU_DRIVER_PROGRESS_H
