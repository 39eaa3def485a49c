//===- CPUTargetTests.cpp - The processor to generate code for --*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Codegen/CPU/CPUTarget.h"
#include "llvm/ADT/STLExtras.h"
#include "gtest/gtest.h"

using namespace nju;

namespace {

std::string errorOf(llvm::StringRef name) {
  auto target = CPUTarget::get(name);
  if (target)
    return "";
  return llvm::toString(target.takeError());
}

TEST(CPUTarget, Level3HasEightLanes) {
  CPUTarget target = llvm::cantFail(CPUTarget::get("x86-64-v3"));
  EXPECT_EQ(target.getVectorLanes(), 8);
  EXPECT_EQ(target.getVectorRegisters(), 16);
  EXPECT_TRUE(llvm::is_contained(target.getRequiredFeatures(), "avx2"));
  EXPECT_FALSE(llvm::is_contained(target.getRequiredFeatures(), "avx512f"));
}

TEST(CPUTarget, Level4HasSixteenLanes) {
  CPUTarget target = llvm::cantFail(CPUTarget::get("x86-64-v4"));
  EXPECT_EQ(target.getVectorLanes(), 16);
  EXPECT_EQ(target.getVectorRegisters(), 32);
  EXPECT_TRUE(llvm::is_contained(target.getRequiredFeatures(), "avx512vl"));
  EXPECT_FALSE(llvm::is_contained(target.getRequiredFeatures(), "avx512vnni"));
}

TEST(CPUTarget, KnowsNamesOfLLVM) {
  CPUTarget target = llvm::cantFail(CPUTarget::get("cascadelake"));
  EXPECT_EQ(target.getCPU(), "cascadelake");
  EXPECT_TRUE(llvm::is_contained(target.getRequiredFeatures(), "avx512vnni"));
}

TEST(CPUTarget, UnknownNameListsWhatIsAccepted) {
  std::string error = errorOf("pentium-9");
  EXPECT_NE(error.find("unknown target 'pentium-9'"), std::string::npos);
  for (const char *name : {"host", "x86-64-v3", "x86-64-v4", "znver4"})
    EXPECT_NE(error.find(name), std::string::npos) << name;
  EXPECT_EQ(error.find("nehalem"), std::string::npos);
}

TEST(CPUTarget, RefusesProcessorsWithoutAVX2) {
  EXPECT_NE(errorOf("x86-64").find("lacks AVX2"), std::string::npos);
  EXPECT_NE(errorOf("nehalem").find("lacks AVX2"), std::string::npos);
}

} // namespace
