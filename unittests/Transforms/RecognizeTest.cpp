//===- RecognizeTest.cpp - Recognition keeps the numbers -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "GraphRunner.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include "nju/Import/ONNX/Import.h"
#include <gtest/gtest.h>

using namespace mlir;
using namespace nju;
using namespace nju::test;

static bool hasExperts(const Fixture &fixture) {
  StringRef name = fixture.name;
  return name.starts_with("deepseek") || name.starts_with("mixtral") ||
         name.starts_with("olmoe") || name.starts_with("qwen2moe") ||
         name.starts_with("qwen3moe");
}

/// Every output of every fixture before and after.
TEST(Recognize, KeepsTheOutputsOfTheFixtures) {
  for (const Fixture &fixture : allFixtures()) {
    SCOPED_TRACE(fixture.name);
    MLIRContext context;
    OwningOpRef<ModuleOp> module = importONNX(fixture.path, &context);
    ASSERT_TRUE(module);
    // Half floats are compared in f32: that they are computed in f32 is the
    // point of nju-widen-floats.
    ASSERT_TRUE(
        succeeded(runPipeline(*module, "nju-infer-shapes,nju-widen-floats")));
    auto main = module->lookupSymbol<func::FuncOp>("main");
    std::vector<HostTensor> inputs =
        makeInputs(main, {1, 5, 9, 2, 7}, 2, fixture.kind == "lm-past" ? 3 : 0);
    std::vector<HostTensor> before = evaluate(main, inputs);
    ASSERT_TRUE(succeeded(runPipeline(
        *module, "nju-fold-constants,nju-infer-shapes,nju-recognize,"
                 "canonicalize,nju-pack-weights")));
    main = module->lookupSymbol<func::FuncOp>("main");
    std::vector<HostTensor> after = evaluate(main, inputs);
    ASSERT_EQ(before.size(), after.size());
    for (auto [expected, actual] : llvm::zip(before, after))
      EXPECT_LE(relativeDifference(expected, actual),
                fixture.type == "f32" ? 1e-5 : 1e-2);
  }
}

/// Mixtures of experts give the same, also where most experts have no token,
/// and nothing of the loops over them is left.
TEST(Recognize, KeepsTheExpertsOfTheFixtures) {
  unsigned mixtures = 0;
  for (const Fixture &fixture : allFixtures()) {
    if (!hasExperts(fixture))
      continue;
    SCOPED_TRACE(fixture.name);
    ++mixtures;
    MLIRContext context;
    OwningOpRef<ModuleOp> module = importONNX(fixture.path, &context);
    ASSERT_TRUE(module);
    ASSERT_TRUE(
        succeeded(runPipeline(*module, "nju-infer-shapes,nju-fold-constants,"
                                       "canonicalize,cse,nju-widen-floats")));
    auto main = module->lookupSymbol<func::FuncOp>("main");
    std::vector<HostTensor> one = makeInputs(main, {3}, 1, 0);
    std::vector<HostTensor> many = makeInputs(main, {1, 5, 9, 2, 7}, 2, 0);
    auto ofOne = evaluate(main, one), ofMany = evaluate(main, many);
    ASSERT_TRUE(succeeded(runPipeline(*module, "nju-recognize")));
    main = module->lookupSymbol<func::FuncOp>("main");
    EXPECT_FALSE(main.getOps<ExpertMatMulOp>().empty());
    EXPECT_TRUE(main.getOps<NonZeroOp>().empty());
    EXPECT_LE(relativeDifference(ofOne.at(0), evaluate(main, one).at(0)), 1e-5);
    EXPECT_LE(relativeDifference(ofMany.at(0), evaluate(main, many).at(0)),
              1e-5);
  }
  EXPECT_GT(mixtures, 0u);
}

/// f16 and bf16 models computed in f32 stay near what they compute in halves.
TEST(WidenFloats, StaysNearTheHalfFloats) {
  for (const Fixture &fixture : allFixtures()) {
    if (fixture.type != "f16" && fixture.type != "bf16")
      continue;
    SCOPED_TRACE(fixture.name);
    MLIRContext context;
    OwningOpRef<ModuleOp> module = importONNX(fixture.path, &context);
    ASSERT_TRUE(module);
    auto main = module->lookupSymbol<func::FuncOp>("main");
    std::vector<HostTensor> inputs =
        makeInputs(main, {1, 5, 9, 2, 7}, 2, fixture.kind == "lm-past" ? 3 : 0);
    std::vector<HostTensor> before = evaluate(main, inputs);
    ASSERT_TRUE(succeeded(runPipeline(*module, "nju-widen-floats")));
    std::vector<HostTensor> after = evaluate(main, inputs);
    ASSERT_EQ(before.size(), after.size());
    for (auto [expected, actual] : llvm::zip(before, after))
      EXPECT_LE(relativeDifference(expected, actual),
                fixture.type == "f16" ? 1e-2 : 5e-2);
  }
}
