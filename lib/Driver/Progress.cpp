//===- Progress.cpp - What a compilation is doing -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Driver/Progress.h"

#include "llvm/Support/Format.h"
#include "llvm/Support/Process.h"

using namespace nju;

Progress::Progress(bool quiet, int phases)
    : quiet(quiet), terminal(llvm::sys::Process::StandardErrIsDisplayed()),
      phases(phases) {}

double Progress::seconds() const {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void Progress::begin(llvm::StringRef phase) {
  finish();
  name = phase.str();
  start = shown = Clock::now();
  ++current;
  if (!quiet && terminal)
    llvm::errs() << "[" << current << "/" << phases << "] " << name;
}

void Progress::update(uint64_t done, uint64_t total) {
  if (quiet || !terminal || total == 0)
    return;
  auto now = Clock::now();
  if (std::chrono::duration<double>(now - shown).count() < 0.1)
    return;
  shown = now;
  llvm::errs() << "\r[" << current << "/" << phases << "] " << name << " "
               << 100 * done / total << " %";
}

void Progress::finish() {
  if (name.empty())
    return;
  if (!quiet) {
    if (terminal)
      llvm::errs() << "\r";
    llvm::errs() << "[" << current << "/" << phases << "] " << name
                 << llvm::format(" (%.1f s)", seconds()) << "     \n";
  }
  name.clear();
}
