//===- ExecutorTest.cpp - Whole models on the host ------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Execution/Executor.h"
#include "GraphRunner.h"
#include "TestModule.h"
#include "nju/Import/ONNX/Import.h"

using namespace mlir;
using namespace nju;
using namespace nju::test;

namespace {

const TokenBatch kTokens = {{{1, 5, 9, 2, 7, 3, 11, 4, 8}, {6, 6, 2, 10}}};

std::string pipeline() {
  return std::string(kRecognitionPipeline) +
         ",nju-to-lm-form{max-tokens=64},canonicalize,nju-pack-weights,"
         "canonicalize,cse";
}

std::vector<int64_t> idsOf(unsigned sequence) {
  const std::vector<int32_t> &tokens = kTokens.sequences[sequence];
  return std::vector<int64_t>(tokens.begin(), tokens.end());
}

llvm::SmallVector<RunTensors> run(func::FuncOp function) {
  auto params = FileParamSource(function->getParentOfType<ModuleOp>());
  auto arguments = makeArguments(function, kTokens);
  if (!arguments) {
    ADD_FAILURE() << llvm::toString(arguments.takeError());
    return {};
  }
  Executor executor(function, params);
  auto results = executor.run(std::move(*arguments));
  if (results)
    return std::move(*results);
  ADD_FAILURE() << llvm::toString(results.takeError());
  return {};
}

class ExecutorModels : public testing::TestWithParam<Fixture> {};

/// What the evaluator gives for the imported graph, sequence by sequence, the
/// executor gives for all of them at once.
TEST_P(ExecutorModels, ComputesWhatTheGraphComputes) {
  const Fixture &fixture = GetParam();
  MLIRContext context;
  OwningOpRef<ModuleOp> module = importONNX(fixture.path, &context);
  ASSERT_TRUE(module);
  ASSERT_TRUE(
      succeeded(runPipeline(*module, "nju-infer-shapes,nju-widen-floats")));
  auto main = module->lookupSymbol<func::FuncOp>("main");
  std::vector<std::vector<HostTensor>> expected;
  for (unsigned i = 0; i < 2; ++i)
    expected.push_back(evaluate(main, makeInputs(main, idsOf(i), 1, 0)));

  ASSERT_TRUE(succeeded(runPipeline(*module, pipeline())));
  double tolerance = fixture.type == "f32" ? 1e-4 : 1e-2;
  if (!fixture.isLM()) {
    auto results = run(module->lookupSymbol<func::FuncOp>("main"));
    ASSERT_EQ(results.size(), expected[0].size());
    for (unsigned i = 0; i < 2; ++i)
      for (auto [all, one] : llvm::zip(results, expected[i]))
        EXPECT_LE(relativeDifference(one, all[i]), tolerance);
    return;
  }
  auto results = run(module->lookupSymbol<func::FuncOp>("step"));
  ASSERT_EQ(results.size(), 1u);
  const HostTensor &logits = results[0][0];
  int64_t row = 0, width = logits.getDim(1);
  for (unsigned i = 0; i < 2; ++i) {
    HostTensor own = expected[i].at(0);
    int64_t count = kTokens.sequences[i].size();
    // Some graphs give the logits of the last token only.
    int64_t given = own.getNumElements() / width;
    HostTensor rows(logits.getElementType(), own.getShape());
    std::memcpy(rows.mutableBytes(),
                logits.bytes() + (row + count - given) * width * 4,
                rows.getNumBytes());
    EXPECT_LE(relativeDifference(own, rows), tolerance);
    row += count;
  }
}

/// All that tokens can be fed to. (The inputs of the BERT fixtures that tell
/// kinds of tokens apart alternate in makeInputs, and are zeros here.)
std::vector<Fixture> textModels() {
  std::vector<Fixture> fixtures = allFixtures();
  llvm::erase_if(fixtures,
                 [](const Fixture &fixture) { return !fixture.isLM(); });
  return fixtures;
}

INSTANTIATE_TEST_SUITE_P(Fixtures, ExecutorModels,
                         testing::ValuesIn(textModels()),
                         [](const testing::TestParamInfo<Fixture> &info) {
                           std::string name = info.param.name;
                           for (char &c : name)
                             c = std::isalnum(static_cast<unsigned char>(c))
                                     ? c
                                     : '_';
                           return name;
                         });

TEST(Executor, ComputesEncoders) {
  for (const Fixture &fixture : allFixtures()) {
    if (!llvm::StringRef(fixture.name).starts_with("bert"))
      continue;
    SCOPED_TRACE(fixture.name);
    MLIRContext context;
    OwningOpRef<ModuleOp> module = importONNX(fixture.path, &context);
    ASSERT_TRUE(module);
    auto main = module->lookupSymbol<func::FuncOp>("main");
    std::vector<std::vector<HostTensor>> expected;
    for (unsigned i = 0; i < 2; ++i) {
      auto inputs = makeInputs(main, idsOf(i), 1, 0);
      // makeInputs tells tokens apart, text alone does not.
      for (unsigned index = 0; index < inputs.size(); ++index)
        if (main.getArgAttrOfType<StringAttr>(index, "nju.name")
                .getValue()
                .contains("type"))
          inputs[index] = HostTensor(inputs[index].getElementType(),
                                     inputs[index].getShape());
      expected.push_back(evaluate(main, inputs));
    }
    ASSERT_TRUE(succeeded(runPipeline(*module, pipeline())));
    auto results = run(module->lookupSymbol<func::FuncOp>("main"));
    ASSERT_EQ(results.size(), expected[0].size());
    for (unsigned i = 0; i < 2; ++i)
      for (auto [all, one] : llvm::zip(results, expected[i]))
        EXPECT_LE(relativeDifference(one, all[i]), 1e-4);
  }
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

/// A chain of products, each with a weight of its own.
std::string makeChain(int layers) {
  std::string params, body;
  for (int i = 0; i < layers; ++i) {
    std::string n = std::to_string(i);
    params += "nju.param @w" + n + " : tensor<2x64x32xf32> = dense<0.0" +
              std::to_string(i + 1) +
              "> : tensor<64x64xf32> {panels = 32 : i64}\n";
    body += "%w" + n + " = nju.param_ref @w" + n +
            " : tensor<2x64x32xf32>\n%x" + std::to_string(i + 1) +
            " = nju.linear %x" + n + ", %w" + n +
            " : (tensor<?x64xf32>, tensor<2x64x32xf32>) -> tensor<?x64xf32>\n";
  }
  return params +
         "func.func @main(%ids: tensor<?xi64> {nju.name = \"input_ids\"}) -> "
         "tensor<?x64xf32> {\n%t = nju.constant dense<1.0> : "
         "tensor<10x64xf32>\n%x0 = nju.gather %t, %ids {axis = 0 : i64} : "
         "(tensor<10x64xf32>, tensor<?xi64>) -> tensor<?x64xf32>\n" +
         body + "return %x" + std::to_string(layers) + " : tensor<?x64xf32>\n}";
}

TEST(Executor, FreesValuesAndWeightsAfterTheirLastUse) {
  for (int layers : {3, 9}) {
    TestModule test(makeChain(layers));
    ASSERT_TRUE(test.main);
    FileParamSource params(*test.module);
    auto arguments = makeArguments(test.main, {{std::vector<int32_t>(500, 3)}});
    ASSERT_TRUE(bool(arguments));
    Executor executor(test.main, params);
    auto results = executor.run(std::move(*arguments));
    ASSERT_TRUE(bool(results));
    double expected = 1;
    for (int i = 0; i < layers; ++i)
      expected *= 0.64 * (i + 1);
    EXPECT_NEAR((*results)[0][0].getFloat(64 * 499), expected, 1e-4 * expected);
    // Input and output of a layer, and its weight.
    int64_t values = 500 * 64 * 4, weight = 64 * 64 * 4;
    EXPECT_EQ(executor.getStatistics().peakBytes, 2 * values + weight);
    EXPECT_EQ(executor.getStatistics().weightBytes, layers * weight);
  }
}

// Results take the place of operands that nobody reads any more; those that
// somebody does, the caller's arguments and what all runs share are left alone.
TEST(Executor, OverwritesOnlyItsOwnValues) {
  TestModule test(R"(
func.func @main(%x: tensor<?x64xf32>, %ids: tensor<?xi64>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  %t = nju.constant dense<2.0> : tensor<10x64xf32>
  %r = nju.neg %t : (tensor<10x64xf32>) -> tensor<10x64xf32>
  %a = nju.add %x, %x : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  %b = nju.neg %a : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %c = nju.add %b, %a : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  %d = nju.sub %r, %b : (tensor<10x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  %e = nju.neg %d : (tensor<?x64xf32>) -> tensor<?x64xf32>
  return %c, %e : tensor<?x64xf32>, tensor<?x64xf32>
})");
  ASSERT_TRUE(test.main);
  Type f32 = Float32Type::get(&test.context);
  RunTensors x;
  for (float value : {1.f, 5.f}) {
    x.emplace_back(f32, ArrayRef<int64_t>{10, 64});
    for (float &element : x.back().mutableElements<float>())
      element = value;
  }
  FileParamSource params(*test.module);
  Executor executor(test.main, params);
  auto results = executor.run({x, {HostTensor(f32, {1})}});
  ASSERT_TRUE(bool(results));
  for (int run = 0; run < 2; ++run) {
    float value = x[run].getFloat(100);
    EXPECT_EQ(value, run == 0 ? 1 : 5);
    EXPECT_EQ((*results)[0][run].getFloat(100), 0);
    EXPECT_EQ((*results)[1][run].getFloat(100), 2 - 2 * value);
  }
}

//===----------------------------------------------------------------------===//
// Arguments
//===----------------------------------------------------------------------===//

std::string refuse(llvm::StringRef arguments, const TokenBatch &tokens) {
  TestModule test(("func.func @main(" + arguments + ") {\nreturn\n}").str());
  auto made = makeArguments(test.main, tokens);
  return made ? "no error" : llvm::toString(made.takeError());
}

TEST(MakeArguments, RefusesWhatTokensDoNotDetermine) {
  std::string ids = "%i: tensor<?x?xi64> {nju.name = \"input_ids\"}";
  EXPECT_EQ(refuse(ids, kTokens), "no error");
  EXPECT_EQ(refuse("%x: tensor<?x8xf32> {nju.name = \"input\"}", kTokens),
            "the model has no input for token numbers, so there is nothing "
            "that text can be fed to");
  EXPECT_EQ(
      refuse(ids + ", %x: tensor<?x8xf32> {nju.name = \"image\"}", kTokens),
      "the model cannot be run on text: input 'image' is not made of "
      "tokens");
  EXPECT_EQ(refuse("%i: tensor<2x?xi64> {nju.name = \"input_ids\"}", kTokens),
            "the model cannot be run on text: input 'input_ids' is a "
            "tensor<2x?xi64>, expected one sequence of any length");
}

TEST(MakeArguments, RefusesTokensOutsideTheVocabulary) {
  for (int32_t token : {10, -1}) {
    TestModule test(makeChain(1));
    auto made = makeArguments(test.main, {{{1, 2}, {3, token}}});
    ASSERT_FALSE(bool(made));
    EXPECT_EQ(llvm::toString(made.takeError()),
              "token " + std::to_string(token) +
                  " of sequence 1 is not in the model's vocabulary of 10 "
                  "tokens");
  }
}

} // namespace
