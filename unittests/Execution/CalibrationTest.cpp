//===- CalibrationTest.cpp - Second moments of activations ----------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Execution/Calibration.h"
#include "GraphRunner.h"
#include "TestModule.h"
#include "nju/Dialect/NJU/Analysis/Evaluator.h"
#include "nju/Import/ONNX/Import.h"
#include <cmath>

using namespace mlir;
using namespace nju;
using namespace nju::test;

namespace {

using Weight = ExecutionListener::Weight;

/// Calls a function with each input's moments.
class Consumer : public CalibrationConsumer {
public:
  using Function =
      std::function<void(InputMoments &, llvm::MutableArrayRef<Weight>)>;
  explicit Consumer(Function function) : function(std::move(function)) {}

  llvm::Error consume(InputMoments &moments,
                      llvm::MutableArrayRef<Weight> weights) override {
    function(moments, weights);
    return llvm::Error::success();
  }

private:
  Function function;
};

const TokenBatch kTokens = {{{1, 5, 9, 2, 7, 3, 11, 4, 8}, {6, 6, 2, 10}}};

/// The rows of a value, by the evaluator, in all runs.
std::vector<HostTensor> evaluateRuns(func::FuncOp function, Value value) {
  auto arguments = makeArguments(function, kTokens);
  EXPECT_TRUE(bool(arguments));
  std::vector<HostTensor> runs;
  for (size_t run = 0; run < kTokens.sequences.size(); ++run) {
    Evaluator evaluator;
    for (auto [argument, tensors] :
         llvm::zip(function.getArguments(), *arguments))
      evaluator.bind(argument, tensors[run]);
    FailureOr<HostTensor> result = evaluator.evaluate(value);
    EXPECT_TRUE(succeeded(result)) << evaluator.reason().str();
    runs.push_back(*result);
  }
  return runs;
}

void expectMoments(const InputMoments &moments, ArrayRef<HostTensor> runs) {
  int64_t columns = moments.columns, rows = 0;
  std::vector<double> expected(columns * columns);
  for (const HostTensor &run : runs)
    for (int64_t row = 0; row < run.getNumElements() / columns; ++row, ++rows)
      for (int64_t i = 0; i < columns; ++i)
        for (int64_t j = 0; j < columns; ++j)
          expected[i * columns + j] +=
              run.getFloat(row * columns + i) * run.getFloat(row * columns + j);
  EXPECT_EQ(moments.numRows, rows);
  double largest = *std::max_element(expected.begin(), expected.end());
  for (int64_t i = 0; i < columns * columns; ++i)
    ASSERT_NEAR(moments.moments[i], expected[i], 1e-5 * largest);
}

TEST(Calibration, GivesTheMomentsOfEveryInputOnce) {
  MLIRContext context;
  OwningOpRef<ModuleOp> module = importONNX(
      NJU_SOURCE_DIR "/test/fixtures/bert-torchscript-opset14.onnx", &context);
  ASSERT_TRUE(module);
  ASSERT_TRUE(succeeded(
      runPipeline(*module, std::string(kRecognitionPipeline) +
                               ",nju-pack-weights,canonicalize,cse")));
  auto main = module->lookupSymbol<func::FuncOp>("main");
  llvm::DenseMap<Value, llvm::SmallVector<ParamOp>> expected;
  main.walk([&](LinearOp op) {
    auto ref = op.getWeight().getDefiningOp<ParamRefOp>();
    expected[op.getInput()].push_back(
        module->lookupSymbol<ParamOp>(ref.getParam()));
  });
  ASSERT_GE(expected.size(), 4u);
  FileParamSource params(*module);
  Consumer consumer(
      [&](InputMoments &moments, llvm::MutableArrayRef<Weight> weights) {
        llvm::SmallVector<ParamOp> fed;
        for (Weight &weight : weights) {
          fed.push_back(weight.param);
          EXPECT_EQ(weight.matrix.getDepth(), moments.columns);
        }
        EXPECT_EQ(fed, expected.lookup(moments.input));
        expected.erase(moments.input);
        expectMoments(moments, evaluateRuns(main, moments.input));
      });
  if (llvm::Error failed = runCalibration(main, kTokens, params, consumer))
    FAIL() << llvm::toString(std::move(failed));
  EXPECT_TRUE(expected.empty());
}

//===----------------------------------------------------------------------===//
// Two layers
//===----------------------------------------------------------------------===//

/// y = (x a) b and x c, x being a row of a table of 0.5.
std::string makeLayers(llvm::StringRef table = "0.5") {
  return (R"(
nju.param @a : tensor<1x8x32xf32> = dense<0.25> : tensor<8x32xf32> {panels = 32 : i64}
nju.param @b : tensor<1x32x32xf32> = dense<1.0> : tensor<32x8xf32> {panels = 32 : i64}
nju.param @c : tensor<1x8x32xf32> = dense<1.0> : tensor<8x8xf32> {panels = 32 : i64}
func.func @main(%ids: tensor<?xi64> {nju.name = "input_ids"}) -> (tensor<?x8xf32>, tensor<?x8xf32>) {
  %a = nju.param_ref @a : tensor<1x8x32xf32>
  %b = nju.param_ref @b : tensor<1x32x32xf32>
  %c = nju.param_ref @c : tensor<1x8x32xf32>
  %t = nju.constant dense<)" +
          table + R"(> : tensor<20x8xf32>
  %x = nju.gather %t, %ids {axis = 0 : i64} : (tensor<20x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
  %h = nju.linear %x, %a : (tensor<?x8xf32>, tensor<1x8x32xf32>) -> tensor<?x32xf32>
  %y = nju.linear %h, %b : (tensor<?x32xf32>, tensor<1x32x32xf32>) -> tensor<?x8xf32>
  %z = nju.linear %x, %c : (tensor<?x8xf32>, tensor<1x8x32xf32>) -> tensor<?x8xf32>
  return %y, %z : tensor<?x8xf32>, tensor<?x8xf32>
})")
      .str();
}

TEST(Calibration, SeesTheOutputsOfReplacedWeights) {
  for (bool replaces : {false, true}) {
    TestModule test(makeLayers());
    ASSERT_TRUE(test.main);
    FileParamSource params(*test.module);
    std::vector<std::string> seen;
    std::vector<float> moments, deviations;
    Consumer consumer(
        [&](InputMoments &input, llvm::MutableArrayRef<Weight> weights) {
          if (!input.deviation.empty())
            deviations.push_back(input.deviation[1]);
          std::string names;
          for (Weight &weight : weights) {
            names += weight.param.getSymName().str();
            if (replaces && weight.param.getSymName() == "a") {
              HostTensor other(Float32Type::get(&test.context), {32, 8});
              for (float &value : other.mutableElements<float>())
                value = 0.5f;
              weight.matrix = WeightMatrix(other, /*isTransposed=*/true);
            }
          }
          seen.push_back(names);
          moments.push_back(input.moments[1]);
        });
    if (llvm::Error failed =
            runCalibration(test.main, kTokens, params, consumer))
      FAIL() << llvm::toString(std::move(failed));
    EXPECT_EQ(seen, (std::vector<std::string>{"ac", "b"}));
    float h = replaces ? 2 : 1;
    EXPECT_EQ(moments, (std::vector<float>{13 * 0.25f, 13 * h * h}));
    // Of h, which was 1.
    EXPECT_EQ(deviations, replaces ? std::vector<float>{13 * h * (1 - h)}
                                   : std::vector<float>{});
  }
}

TEST(Calibration, KeepsOneInputAndItsWeightsInMemory) {
  TestModule test(makeLayers());
  FileParamSource params(*test.module);
  Consumer consumer([](InputMoments &, llvm::MutableArrayRef<Weight>) {});
  ExecutionStatistics statistics;
  TokenBatch tokens = {{std::vector<int32_t>(1000, 1)}};
  ASSERT_FALSE(
      bool(runCalibration(test.main, tokens, params, consumer, &statistics)));
  // At most x, h and the weight between them; the outputs are not computed.
  EXPECT_EQ(statistics.peakBytes, 1000 * (8 + 32) * 4 + 8 * 32 * 4);
  EXPECT_EQ(statistics.weightBytes, (8 * 32 + 32 * 8 + 8 * 8) * 4);
}

TEST(Calibration, RefusesInputsThatAreNotFinite) {
  for (llvm::StringRef value : {"0x7FC00000", "0x7F800000", "3.0e38"}) {
    TestModule test(makeLayers(value));
    FileParamSource params(*test.module);
    Consumer consumer([](InputMoments &, llvm::MutableArrayRef<Weight>) {
      ADD_FAILURE() << "has moments";
    });
    llvm::Error failed = runCalibration(test.main, kTokens, params, consumer);
    EXPECT_EQ(llvm::toString(std::move(failed)),
              "the inputs of weight 'a' are not finite on the calibration text "
              "(column 0 of 8)");
  }
}

TEST(Calibration, MakesNoMomentsThatNobodyReads) {
  class Careless : public CalibrationConsumer {
  public:
    bool needsMoments(ArrayRef<Weight> weights) override {
      asked += weights.size();
      return false;
    }
    llvm::Error consume(InputMoments &moments,
                        llvm::MutableArrayRef<Weight>) override {
      EXPECT_TRUE(moments.moments.empty() && moments.deviation.empty());
      EXPECT_EQ(moments.numRows, 13);
      return llvm::Error::success();
    }
    int64_t asked = 0;
  };
  // Not even finite ones.
  TestModule test(makeLayers("0x7FC00000"));
  FileParamSource params(*test.module);
  Careless consumer;
  EXPECT_FALSE(bool(runCalibration(test.main, kTokens, params, consumer)));
  EXPECT_EQ(consumer.asked, 3);
}

TEST(Calibration, RefusesWeightsOfAnotherShape) {
  TestModule test(makeLayers());
  FileParamSource params(*test.module);
  Consumer consumer([&](InputMoments &, llvm::MutableArrayRef<Weight> weights) {
    weights[0].matrix =
        WeightMatrix(HostTensor(Float32Type::get(&test.context), {2, 2}));
  });
  llvm::Error failed = runCalibration(test.main, kTokens, params, consumer);
  EXPECT_EQ(llvm::toString(std::move(failed)),
            "weight 'a' was replaced by one of another shape");
}

} // namespace
