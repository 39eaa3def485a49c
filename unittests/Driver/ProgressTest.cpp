//===- ProgressTest.cpp - What a compilation is doing ---------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Driver/Progress.h"

#include "llvm/Support/raw_ostream.h"
#include <gtest/gtest.h>
#include <regex>

using namespace nju;

namespace {

/// What two phases print; times as "T".
std::string print(bool terminal, double pace) {
  std::string text;
  llvm::raw_string_ostream os(text);
  Progress progress(os, terminal, pace, 2);
  progress.begin("think");
  progress.update(1, 4, "a long remark");
  progress.update(2, 4);
  progress.update(0, 0);
  progress.begin("write");
  progress.finish();
  progress.finish();
  return std::regex_replace(text, std::regex("[0-9]+\\.[0-9]+ s"), "T");
}

TEST(Progress, WritesLinesToAFile) {
  EXPECT_EQ(print(/*terminal=*/false, /*pace=*/3600), "[1/2] think (T)\n"
                                                      "[2/2] write (T)\n");
  EXPECT_EQ(print(/*terminal=*/false, /*pace=*/0),
            "[1/2] think 25 %, a long remark\n"
            "[1/2] think 50 %\n"
            "[1/2] think (T)\n"
            "[2/2] write (T)\n");
}

TEST(Progress, WritesOverTheLineOfATerminal) {
  EXPECT_EQ(print(/*terminal=*/true, /*pace=*/0),
            "\r[1/2] think"
            "\r[1/2] think 25 %, a long remark"
            "\r[1/2] think 50 %               "
            "\r[1/2] think (T)\n"
            "\r[2/2] write"
            "\r[2/2] write (T)\n");
}

} // namespace
