//===- Progress.cpp - What a compilation is doing -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Driver/Progress.h"

#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/Process.h"

using namespace nju;

Progress::Progress(llvm::raw_ostream &os, bool terminal, double pace,
                   int phases)
    : os(os), terminal(terminal), pace(pace), phases(phases) {}

static bool isTerminal() {
  return llvm::sys::Process::StandardErrIsDisplayed();
}

Progress::Progress(bool quiet, int phases)
    : Progress(quiet ? llvm::nulls() : llvm::errs(), isTerminal(),
               isTerminal() ? 0.1 : 30.0, phases) {}

double Progress::seconds() const {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Writes a line over the last one of a terminal.
void Progress::show(std::string text, bool stays) {
  text = llvm::formatv("[{0}/{1}] {2}{3}", current, phases, name, text).str();
  size_t length = text.size();
  if (terminal) {
    text.resize(std::max(length, width), ' ');
    os << "\r";
    width = stays ? 0 : length;
  }
  os << text << (terminal && !stays ? "" : "\n");
}

void Progress::begin(llvm::StringRef phase) {
  finish();
  name = phase.str();
  start = shown = Clock::now();
  ++current;
  if (terminal)
    show("", /*stays=*/false);
}

void Progress::update(uint64_t done, uint64_t total, llvm::StringRef detail) {
  auto now = Clock::now();
  if (total == 0 || std::chrono::duration<double>(now - shown).count() < pace)
    return;
  shown = now;
  show(llvm::formatv(" {0} %{1}{2}", 100 * done / total,
                     detail.empty() ? "" : ", ", detail)
           .str(),
       /*stays=*/false);
}

void Progress::finish() {
  if (name.empty())
    return;
  show(llvm::formatv(" ({0:F1} s)", seconds()).str(), /*stays=*/true);
  name.clear();
}
