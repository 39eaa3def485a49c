//===- Interrupt.h - Ending in order after Ctrl-C ---------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_SUPPORT_INTERRUPT_H
#define NJU_SUPPORT_INTERRUPT_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <string>

namespace nju {

/// From now on SIGINT, SIGTERM and SIGHUP end the program in order, unless they
/// were ignored before: the running child process is killed, the files named to
/// llvm::sys::RemoveFileOnSignal are removed, "PROGRAM: error: interrupted" is
/// printed, and the exit code is 1. To be called once, at the beginning of
/// main(), while there is one thread.
void handleInterrupts(llvm::StringRef program);

/// While one of these lives, an interrupt waits: for changes that must not be
/// left half done.
class UninterruptedScope {
public:
  UninterruptedScope();
  ~UninterruptedScope();
  UninterruptedScope(const UninterruptedScope &) = delete;
  UninterruptedScope &operator=(const UninterruptedScope &) = delete;

  /// From now on interrupts change nothing: the work is done.
  void ignoreInterrupts();
};

/// Runs a program and waits for it; an interrupt kills it. On failure the error
/// holds what it printed. `command` begins with the path of the program.
llvm::Error runProgram(llvm::ArrayRef<std::string> command);

} // namespace nju

#endif // NJU_SUPPORT_INTERRUPT_H
