//===- LoadedFile.h - A file read into memory -------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_RUNTIME_LOADEDFILE_H
#define NJU_RUNTIME_LOADEDFILE_H

#include "MappedFile.h"
#include "Memory.h"

#include <functional>

namespace nju {

/// Called by the loading thread with the bytes that are there and all bytes;
/// true asks to stop.
using LoadProgress = std::function<bool(uint64_t done, uint64_t total)>;

/// A whole file in anonymous memory, in large pages where the system has them.
class LoadedFile {
public:
  /// Reads the file that `mapped` maps, by several threads. What the page cache
  /// holds is copied from there, the rest goes past it: memory is not filled
  /// twice. `what` names the kind of file in messages.
  nju_status load(const std::string &path, const MappedFile &mapped,
                  const char *what, const LoadProgress &progress);

  /// As far as the file was from a page's start, so is this.
  const uint8_t *getData() const { return memory.getData(); }
  uint64_t getSize() const { return memory.getSize(); }

private:
  Mapping memory;
};

} // namespace nju

#endif // NJU_RUNTIME_LOADEDFILE_H
