//===- SensitivityTest.cpp - What a model's outputs hang on ---------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Refinement/Sensitivity.h"

#include "Losses.h"
#include "Tape.h"
#include "TinyModel.h"

using namespace mlir;
using namespace nju;

namespace {

/// Params of which one is read with noise added.
class NoisySource : public ParamSource {
public:
  NoisySource(ParamSource &source, llvm::StringRef name, double noise,
              unsigned seed)
      : source(source), name(name), noise(noise), random(seed) {}

  llvm::Expected<HostTensor> read(ParamOp param) override {
    auto tensor = source.read(param);
    if (!tensor || param.getSymName() != name)
      return tensor;
    return disturb(*tensor);
  }
  llvm::Expected<WeightMatrix> readMatrix(ParamOp param) override {
    auto matrix = source.readMatrix(param);
    if (!matrix || param.getSymName() != name)
      return matrix;
    return WeightMatrix(disturb(matrix->getData()), matrix->isTransposed());
  }

private:
  HostTensor disturb(const HostTensor &tensor) {
    HostTensor copy(tensor.getElementType(), tensor.getShape());
    llvm::copy(tensor.elements<float>(), copy.mutableElements<float>().data());
    for (float &value : copy.mutableElements<float>())
      value += float(noise * (random() & 1 ? 1 : -1));
    return copy;
  }

  ParamSource &source;
  llvm::StringRef name;
  double noise;
  std::mt19937 random;
};

class Sensitivities : public testing::Test {
protected:
  HostTensor run(ParamSource &params) {
    Executor executor(model.step, params);
    auto results = expectValue(
        executor.run(expectValue(makeArguments(model.step, tokens))));
    return results[0].front();
  }

  /// The divergence of a token when each weight has noise of that size, and the
  /// squared error of the outputs that it makes, on the average.
  double getDivergenceOf(llvm::StringRef name, double noise) {
    HostTensor exact = run(source);
    double sum = 0;
    constexpr int kTrials = 24;
    for (int trial = 0; trial < kTrials; ++trial) {
      NoisySource noisy(source, name, noise, 100 + trial);
      HostTensor values = run(noisy);
      sum += getDivergence(exact.elements<float>(), values.elements<float>(),
                           values.getShape().back());
    }
    return sum / (kTrials * double(tokens.countTokens()));
  }

  TinyModel model{2};
  FileParamSource source{""};
  TokenBatch tokens = TinyModel::makeTokens(std::vector<int>(40, 16));
};

TEST_F(Sensitivities, PredictWhatNoiseCosts) {
  SensitivityOptions options;
  options.tokens = 640;
  auto found =
      expectValue(measureSensitivities(model.step, tokens, source, options));
  EXPECT_EQ(found.size(), 16u);
  // The squared inputs of the head and of the first gate, which is behind a
  // norm, are 16 a token, more or less; so is the length of a row.
  constexpr double kNoise = 0.01;
  struct Case {
    const char *name;
    double outputs, squaredInputs;
  } cases[] = {
      {"wh", 20, 16}, {"wg0", 24, 16}, {"wq1", 16, 16}, {"wv1", 8, 16}};
  for (auto [name, outputs, squaredInputs] : cases) {
    double predicted =
        0.5 * found[name].product * outputs * squaredInputs * kNoise * kNoise;
    double divergence = getDivergenceOf(name, kNoise);
    EXPECT_GT(divergence, predicted / 1.4) << name;
    EXPECT_LT(divergence, predicted * 1.4) << name;
  }
  // Each value of a row that is looked up has the noise itself.
  double predicted = 0.5 * found["embed"].lookUp * 16 * kNoise * kNoise;
  double divergence = getDivergenceOf("embed", kNoise);
  EXPECT_GT(divergence, predicted / 1.4);
  EXPECT_LT(divergence, predicted * 1.4);
  EXPECT_EQ(found["embed"].product, 0);
  EXPECT_EQ(found["wh"].lookUp, 0);
}

TEST_F(Sensitivities, AreTheSameAgain) {
  SensitivityOptions options;
  options.tokens = 100;
  options.length = 10;
  int64_t shown = 0;
  auto first = expectValue(measureSensitivities(
      model.step, tokens, source, options, [&](int64_t done, int64_t total) {
        shown = done;
        EXPECT_EQ(total, 10);
      }));
  EXPECT_EQ(shown, 10);
  auto second =
      expectValue(measureSensitivities(model.step, tokens, source, options));
  for (auto &entry : first) {
    EXPECT_EQ(entry.getValue().product, second[entry.getKey()].product);
    EXPECT_EQ(entry.getValue().lookUp, second[entry.getKey()].lookUp);
  }
}

/// A look-up and a product y, and what the last op makes of it.
std::unique_ptr<TinyModel> makeGraph(const std::string &last) {
  return TinyModel::fromText(R"(
nju.param @w : tensor<1x4x32xf32> = dense<0.0> : tensor<4x3xf32> {panels = 32 : i64}
nju.param @table : tensor<20x4xf32> = dense<0.0> : tensor<20x4xf32>
func.func @main(%ids: tensor<1x?xi64> {nju.name = "input_ids"}) -> tensor<1x?x3xf32> {
  %table = nju.param_ref @table : tensor<20x4xf32>
  %x = nju.gather %table, %ids {axis = 0 : i64} : (tensor<20x4xf32>, tensor<1x?xi64>) -> tensor<1x?x4xf32>
  %w = nju.param_ref @w : tensor<1x4x32xf32>
  %y = nju.linear %x, %w : (tensor<1x?x4xf32>, tensor<1x4x32xf32>) -> tensor<1x?x3xf32>
  %z = )" + last + R"(
  return %z : tensor<1x?x3xf32>
})");
}

TEST(SensitivitiesOfGraphs, AreThoseOfTheSquaredError) {
  // y = 2 x W: an error of an output counts four times.
  auto model = makeGraph("nju.add %y, %y : (tensor<1x?x3xf32>, "
                         "tensor<1x?x3xf32>) -> tensor<1x?x3xf32>");
  FileParamSource source("");
  auto found = expectValue(measureSensitivities(
      model->step, TinyModel::makeTokens(std::vector<int>(100, 16)), source));
  EXPECT_NEAR(found["w"].product, 4, 0.4);
  EXPECT_GT(found["table"].lookUp, 0);
}

// As the rotary embedding of positions that are looked up.
TEST(SensitivitiesOfGraphs, AreThoseOfTheWeightsAskedFor) {
  auto model = makeGraph("nju.add %y, %y : (tensor<1x?x3xf32>, "
                         "tensor<1x?x3xf32>) -> tensor<1x?x3xf32>");
  FileParamSource source("");
  TokenBatch tokens = TinyModel::makeTokens({7, 16});
  SensitivityOptions options;
  options.weights.insert("w");
  auto found =
      expectValue(measureSensitivities(model->step, tokens, source, options));
  EXPECT_EQ(found.size(), 1u);
  EXPECT_GT(found["w"].product, 0);
}

TEST(SensitivitiesOfGraphs, NeedGradients) {
  auto model =
      makeGraph("nju.floor %y : (tensor<1x?x3xf32>) -> tensor<1x?x3xf32>");
  FileParamSource source("");
  auto found =
      measureSensitivities(model->step, TinyModel::makeTokens({7}), source);
  ASSERT_FALSE(bool(found));
  EXPECT_NE(llvm::toString(found.takeError()).find("has no gradient"),
            std::string::npos);
}

} // namespace
