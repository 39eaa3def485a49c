//===- LCQOptionsTest.cpp - Spelled forms of LCQ's options ----------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Quantization/LCQOptions.h"
#include "gtest/gtest.h"

using namespace nju::lcq;

namespace {

LCQOptions parseOK(llvm::StringRef text) {
  llvm::Expected<LCQOptions> options = LCQOptions::parse(text);
  if (!options) {
    ADD_FAILURE() << llvm::toString(options.takeError());
    return {};
  }
  return *options;
}

std::string parseError(llvm::StringRef text) {
  llvm::Expected<LCQOptions> options = LCQOptions::parse(text);
  if (options)
    return "no error";
  return llvm::toString(options.takeError());
}

TEST(LCQOptions, ReadsShortForms) {
  EXPECT_EQ(parseOK("lcq4").str(), "lcq:bits=4,group=32,rank=1,double-quant=8");
  EXPECT_EQ(parseOK("lcq3").str(), "lcq:bits=3,group=32,rank=1,double-quant=8");
  EXPECT_EQ(parseOK("lcq2").str(), "lcq:bits=2,group=32,rank=1,double-quant=8");
}

TEST(LCQOptions, ReadsListsInAnyOrder) {
  LCQOptions options =
      parseOK("lcq:double-quant=16,rank=3,bits=3,offset,group=128");
  EXPECT_EQ(options.bits, 3u);
  EXPECT_EQ(options.group, 128);
  EXPECT_EQ(options.rank, 3u);
  EXPECT_EQ(options.scaleBits, 16u);
  EXPECT_TRUE(options.offset);
  EXPECT_EQ(parseOK(options.str()), options);
}

TEST(LCQOptions, FillsListsUpWithTheDefaultsOfTheirBits) {
  EXPECT_EQ(parseOK("lcq:group=64").str(),
            "lcq:bits=4,group=64,rank=1,double-quant=8");
  EXPECT_EQ(parseOK("lcq:rank=2,bits=2").str(),
            "lcq:bits=2,group=32,rank=2,double-quant=8");
}

TEST(LCQOptions, SaysWhatIsWrong) {
  EXPECT_EQ(
      parseError("lcq5"),
      "'lcq5' is no quantization, expected lcq4, lcq3, lcq2 or a list such "
      "as lcq:bits=3,group=64,rank=2,double-quant=8,offset");
  EXPECT_EQ(
      parseError("lcq:"),
      "'lcq:' is no quantization, expected lcq4, lcq3, lcq2 or a list such "
      "as lcq:bits=3,group=64,rank=2,double-quant=8,offset");
  EXPECT_EQ(parseError("lcq:bits=5"),
            "bits=5 is not supported, expected 2 to 4");
  EXPECT_EQ(parseError("lcq:group=0"),
            "group=0 is not supported, expected 1 column or more");
  EXPECT_EQ(parseError("lcq:rank=4"),
            "rank=4 is not supported, expected 1 to 3");
  EXPECT_EQ(parseError("lcq:bits=2,rank=5"),
            "rank=5 is more than the 4 codewords that 2 bits tell apart");
  EXPECT_EQ(
      parseError("lcq:double-quant=4"),
      "double-quant=4 is not supported, expected 8 (int8 and an f32 a row) "
      "or 16 (f16)");
  EXPECT_EQ(parseError("lcq:offset=1"), "'offset' takes no value, found "
                                        "'offset=1'");
  EXPECT_EQ(parseError("lcq:levels=8"),
            "unknown key 'levels', expected bits, group, rank, double-quant or "
            "offset");
  EXPECT_EQ(parseError("lcq:group=many"),
            "'group' expects a number, found 'many'");
  EXPECT_EQ(parseError("lcq:rank=1,rank=2"),
            "'rank' is given twice in 'lcq:rank=1,rank=2'");
  EXPECT_EQ(
      parseError("lcq:bits=3,"),
      "unknown key '', expected bits, group, rank, double-quant or offset");
}

} // namespace
