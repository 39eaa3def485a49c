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

TEST(CPUTarget, CodeUsesNothingBeyondItsFeatures) {
  for (const char *name : {"host", "znver4", "x86-64-v3"}) {
    CPUTarget target = llvm::cantFail(CPUTarget::get(name));
    if (target.isX86())
      EXPECT_EQ(target.getBaseCPU(), "x86-64");
    std::string features;
    for (const std::string &feature : target.getRequiredFeatures())
      features += (features.empty() ? "+" : ",+") + feature;
    EXPECT_EQ(target.getFeatures(), features);
  }
}

TEST(CPUTarget, X86HasVariants) {
  std::vector<CPUTarget> variants =
      llvm::cantFail(CPUTarget::getVariants("x86-64"));
  std::vector<llvm::StringRef> names;
  for (const CPUTarget &variant : variants)
    names.push_back(variant.getVariantName());
  EXPECT_EQ(names, (std::vector<llvm::StringRef>{
                       "x86-64-v4-amx", "x86-64-v4-bf16", "x86-64-v4-vnni",
                       "x86-64-v4", "x86-64-v3"}));
  // Each needs all that the next one needs.
  for (size_t i = 0; i + 1 < variants.size(); ++i)
    for (const std::string &feature : variants[i + 1].getRequiredFeatures())
      EXPECT_TRUE(variants[i].hasFeature(feature)) << feature;
  EXPECT_TRUE(variants[0].hasFeature("amx-bf16"));
  EXPECT_TRUE(variants[1].hasFeature("avx512bf16"));
  EXPECT_TRUE(variants[2].hasFeature("avx512vnni"));
  EXPECT_FALSE(variants[2].hasFeature("avx512bf16"));
  EXPECT_NE(errorOf("x86-64").find("means several processors"),
            std::string::npos);
}

TEST(CPUTarget, EveryOtherNameIsOneVariant) {
  for (const char *name :
       {"host", "x86-64-v3", "sapphirerapids", "cascadelake", "skylake-avx512",
        "znver4", "aarch64", "neoverse-n1", "neoverse-v1", "apple-m1"})
    EXPECT_EQ(llvm::cantFail(CPUTarget::getVariants(name)).size(), 1u) << name;
}

TEST(CPUTarget, AArch64HasFourLanes) {
  CPUTarget target = llvm::cantFail(CPUTarget::get("aarch64"));
  EXPECT_FALSE(target.isX86());
  EXPECT_EQ(target.getTriple(), "aarch64-unknown-linux-gnu");
  EXPECT_EQ(target.getVectorLanes(), 4);
  EXPECT_EQ(target.getVectorRegisters(), 32);
  EXPECT_TRUE(target.getRequiredFeatures().empty());
}

TEST(CPUTarget, AArch64ProcessorsHaveTheirFeatures) {
  CPUTarget n1 = llvm::cantFail(CPUTarget::get("neoverse-n1"));
  EXPECT_TRUE(n1.hasFeature("dotprod"));
  EXPECT_TRUE(n1.hasFeature("fullfp16"));
  EXPECT_FALSE(n1.hasFeature("bf16"));
  CPUTarget v1 = llvm::cantFail(CPUTarget::get("neoverse-v1"));
  EXPECT_TRUE(v1.hasFeature("bf16"));
  EXPECT_TRUE(v1.hasFeature("i8mm"));
  EXPECT_EQ(v1.getFeatures().find("sve"), std::string::npos);
}

TEST(CPUTarget, UnknownNameListsWhatIsAccepted) {
  std::string error = errorOf("pentium-9");
  EXPECT_NE(error.find("unknown target 'pentium-9'"), std::string::npos);
  for (const char *name : {"host", "x86-64, ", "x86-64-v3", "x86-64-v4",
                           "znver4", "aarch64", "neoverse-n1"})
    EXPECT_NE(error.find(name), std::string::npos) << name;
  EXPECT_NE(errorOf("cascadelakes").find("did you mean 'cascadelake'"),
            std::string::npos);
  EXPECT_EQ(error.find("nehalem"), std::string::npos);
}

TEST(CPUTarget, RefusesProcessorsWithoutAVX2) {
  EXPECT_NE(errorOf("x86-64-v2").find("lacks AVX2"), std::string::npos);
  EXPECT_NE(errorOf("nehalem").find("lacks AVX2"), std::string::npos);
}

TEST(CPUTarget, EmulatedAMXIsNotRequired) {
  CPUTarget target = llvm::cantFail(CPUTarget::get("x86-64-v3+emulated-amx"));
  EXPECT_EQ(target.getName(), "x86-64-v3+emulated-amx");
  EXPECT_EQ(target.getCPU(), "x86-64-v3");
  EXPECT_TRUE(target.hasAMXBF16());
  EXPECT_TRUE(target.emulatesBF16());
  EXPECT_FALSE(llvm::is_contained(target.getRequiredFeatures(), "amx-tile"));
}

TEST(CPUTarget, EmulatedPairsAreNotRequired) {
  CPUTarget target =
      llvm::cantFail(CPUTarget::get("znver4+emulated-avx512bf16"));
  EXPECT_TRUE(target.hasPairsOfBF16());
  EXPECT_FALSE(target.hasAMXBF16());
  EXPECT_FALSE(llvm::is_contained(target.getRequiredFeatures(), "avx512bf16"));
}

TEST(CPUTarget, EmulationLeavesTilesAlone) {
  CPUTarget target =
      llvm::cantFail(CPUTarget::get("sapphirerapids+emulated-amx"));
  EXPECT_TRUE(target.emulatesBF16());
  EXPECT_FALSE(llvm::is_contained(target.getRequiredFeatures(), "amx-tile"));
  target = llvm::cantFail(CPUTarget::get("sapphirerapids"));
  EXPECT_FALSE(target.emulatesBF16());
  EXPECT_TRUE(llvm::is_contained(target.getRequiredFeatures(), "amx-tile"));
}

TEST(ComputeType, IsBF16WhereThatIsFaster) {
  auto type = [](llvm::StringRef name, llvm::StringRef target) {
    return llvm::cantFail(
        getComputeType(name, llvm::cantFail(CPUTarget::get(target))));
  };
  for (const char *target : {"sapphirerapids", "znver4"}) {
    EXPECT_EQ(type("auto", target), ComputeType::Auto) << target;
    EXPECT_EQ(type("bf16", target), ComputeType::BF16) << target;
    EXPECT_EQ(type("f32", target), ComputeType::F32) << target;
  }
  EXPECT_EQ(type("auto", "cooperlake"), ComputeType::F32);
  EXPECT_EQ(type("bf16", "cooperlake"), ComputeType::BF16);
  EXPECT_EQ(type("auto", "cascadelake"), ComputeType::F32);
  CPUTarget plain = llvm::cantFail(CPUTarget::get("cascadelake"));
  EXPECT_EQ(llvm::toString(getComputeType("bf16", plain).takeError()),
            "computing in bf16 needs a target with AMX or AVX512-BF16, such as "
            "sapphirerapids or znver4; 'cascadelake' (cascadelake) lacks "
            "avx512bf16, and amx-tile or amx-bf16");
  EXPECT_EQ(llvm::toString(getComputeType("f64", plain).takeError()),
            "unknown type 'f64' to compute in, expected auto, f32 or bf16");
}

} // namespace
