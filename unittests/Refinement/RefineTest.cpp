//===- RefineTest.cpp - Training quantized models -------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Refinement/Refine.h"

#include "Losses.h"
#include "TinyModel.h"
#include "nju/Quantization/DataFree.h"
#include "nju/Refinement/Generate.h"
#include "llvm/Support/Parallel.h"

using namespace mlir;
using namespace nju;

namespace {

/// All products, or all but the head, by weights alone.
QuantizedParams quantize(TinyModel &model, llvm::StringRef format,
                         bool hasHead = false) {
  QuantizedParams matrices;
  FileParamSource source("");
  llvm::Expected<lcq::LCQOptions> options = lcq::LCQOptions::parse(format);
  EXPECT_TRUE(bool(options));
  model.step.walk([&](LinearOp op) {
    auto name = op.getWeight().getDefiningOp<ParamRefOp>().getParam();
    if (name == "wh" && !hasHead)
      return;
    auto weight = source.readMatrix(model.module->lookupSymbol<ParamOp>(name));
    ASSERT_TRUE(bool(weight));
    auto matrix = lcq::quantizeDataFree(
        lcq::StridedWeights(weight->getData().bytes(), lcq::WeightType::F32,
                            weight->getColumns(), weight->getDepth(),
                            weight->getColumnStride(),
                            weight->getDepthStride()),
        *options);
    ASSERT_TRUE(bool(matrix));
    matrices[name.str()] = std::move(*matrix);
  });
  return matrices;
}

RefineOptions makeOptions(int blockSteps, int steps) {
  RefineOptions options;
  options.blockSteps = blockSteps;
  options.steps = steps;
  options.batchTokens = 64;
  return options;
}

std::vector<int> makeLengths(int count) {
  std::vector<int> lengths;
  for (int i = 0; i < count; ++i)
    lengths.push_back(7 + i % 9);
  return lengths;
}

RefineReport run(TinyModel &model, QuantizedParams &matrices,
                 const RefineOptions &options, const TokenBatch &tokens) {
  FileParamSource source("");
  RefineReport report;
  llvm::Error error =
      refine(model.step, tokens, source, matrices, options, &report);
  EXPECT_FALSE(bool(error)) << llvm::toString(std::move(error));
  return report;
}

// lcq.md, O8.
TEST(Refine, LossesOfBlocksAndOfTheModelFall) {
  TokenBatch tokens = TinyModel::makeTokens(makeLengths(40));
  for (const char *format :
       {"lcq:bits=2,group=8", "lcq:bits=3,group=16,rank=2,double-quant=16",
        "lcq:bits=2,group=8,offset", "lcq:bits=4,group=16"}) {
    TinyModel model(2);
    QuantizedParams matrices = quantize(model, format);
    QuantizedParams start = matrices;
    RefineReport report = run(model, matrices, makeOptions(40, 60), tokens);
    ASSERT_EQ(report.blocks.size(), 2u);
    for (const RefineLoss &loss : report.blocks) {
      EXPECT_GT(loss.before, 0);
      EXPECT_LE(loss.after, loss.before) << format;
    }
    EXPECT_LT(report.blocks[0].after, 0.95 * report.blocks[0].before) << format;
    EXPECT_LT(report.model.after, report.model.before) << format;
    for (auto &[name, matrix] : matrices) {
      EXPECT_EQ(matrix.getBitsPerWeight(), start[name].getBitsPerWeight());
      // At four bits, codes stay.
      if (matrix.bits == 4)
        EXPECT_EQ(matrix.codes, start[name].codes);
    }
    // What was returned is what had the least loss.
    RefineOptions look = makeOptions(0, 1);
    for (lcq::LCQRates &rates : look.rates)
      rates = {0, 0, 0, 0};
    RefineReport again = run(model, matrices, look, tokens);
    EXPECT_TRUE(again.blocks.empty());
    EXPECT_NEAR(again.model.before, report.model.after,
                1e-4 * report.model.after)
        << format;
    EXPECT_EQ(again.model.after, again.model.before);
  }
}

/// Puts quantized matrices in the place of the weights.
class Replacement : public ExecutionListener {
public:
  explicit Replacement(const QuantizedParams &matrices) : matrices(matrices) {}
  llvm::Error onProducts(Value, llvm::ArrayRef<HostTensor>,
                         llvm::ArrayRef<HostTensor>,
                         llvm::MutableArrayRef<Weight> weights) override {
    for (Weight &weight : weights) {
      auto found = matrices.find(weight.param.getSymName().str());
      if (found == matrices.end())
        continue;
      const lcq::QuantizedMatrix &matrix = found->second;
      HostTensor values(Float32Type::get(weight.param.getContext()),
                        {matrix.rows, matrix.columns});
      llvm::copy(matrix.dequantize(), values.mutableElements<float>().begin());
      weight.matrix = WeightMatrix(values, /*isTransposed=*/true);
    }
    return llvm::Error::success();
  }

private:
  const QuantizedParams &matrices;
};

HostTensor getLogits(TinyModel &model, const TokenBatch &tokens,
                     ExecutionListener *listener) {
  FileParamSource source("");
  auto arguments = makeArguments(model.step, tokens);
  EXPECT_TRUE(bool(arguments));
  auto results =
      Executor(model.step, source, listener).run(std::move(*arguments));
  EXPECT_TRUE(bool(results));
  return results->front().front();
}

/// Logits become 3 tanh(logits).
void capLogits(TinyModel &model) {
  Operation *end = model.step.getBody().front().getTerminator();
  OpBuilder b(end);
  Value logits = end->getOperand(0);
  auto scalar = RankedTensorType::get({}, b.getF32Type());
  Value three = ConstantOp::create(b, end->getLoc(),
                                   DenseElementsAttr::get(scalar, 3.0f));
  Value tanh = TanhOp::create(b, end->getLoc(), logits.getType(), logits);
  end->setOperand(
      0, MulOp::create(b, end->getLoc(), logits.getType(), tanh, three));
}

// The targets are made of what the head gets, and that is the same.
TEST(Refine, LossIsTheDivergenceOfTheLogits) {
  TokenBatch tokens = TinyModel::makeTokens(makeLengths(6));
  for (bool isCapped : {false, true})
    for (bool hasHead : {false, true}) {
      TinyModel model(1);
      if (isCapped)
        capLogits(model);
      QuantizedParams matrices = quantize(model, "lcq:bits=2,group=8", hasHead);
      EXPECT_EQ(matrices.count("wh"), hasHead);
      Replacement replacement(matrices);
      HostTensor exact = getLogits(model, tokens, nullptr),
                 quantized = getLogits(model, tokens, &replacement);
      double expected =
          getDivergence(exact.elements<float>(), quantized.elements<float>(),
                        20, 1, nullptr) /
          double(tokens.countTokens());
      RefineReport report = run(model, matrices, makeOptions(0, 1), tokens);
      EXPECT_GT(expected, 1e-3);
      EXPECT_NEAR(report.model.before, expected, 1e-4 * expected)
          << isCapped << hasHead;
    }
}

TEST(Refine, KeepsTheStartOrSlowsDownWhereTrainingFails) {
  TinyModel model(1);
  QuantizedParams start = quantize(model, "lcq:bits=3,group=16");
  TokenBatch tokens = TinyModel::makeTokens(makeLengths(20));
  int taken = 0;
  auto train = [&](QuantizedParams &matrices, int steps, double factor) {
    RefineOptions wild = makeOptions(0, steps);
    wild.rates[3] = wild.rates[3] * factor;
    FileParamSource source("");
    RefineReport report;
    taken = 0;
    llvm::Error error =
        refine(model.step, tokens, source, matrices, wild, &report,
               [&](const RefineProgress &) { ++taken; });
    EXPECT_FALSE(bool(error)) << llvm::toString(std::move(error));
    return report.model;
  };
  QuantizedParams matrices = start;
  RefineLoss few = train(matrices, 2, 1e6);
  EXPECT_EQ(few.after, few.before);
  for (auto &[name, matrix] : matrices)
    EXPECT_EQ(matrix.codes, start[name].codes) << name;
  matrices = start;
  RefineLoss many = train(matrices, 120, 1000);
  EXPECT_LT(many.after, 0.8 * many.before);
  // Steps before a rate that gains something do not count.
  EXPECT_GT(taken, 120);
  matrices = start;
  RefineLoss tame = train(matrices, 120, 1);
  EXPECT_LT(tame.after, 0.8 * tame.before);
  EXPECT_EQ(taken, 120);
}

TEST(Refine, DoesNotDependOnThreads) {
  TokenBatch tokens = TinyModel::makeTokens(makeLengths(20));
  auto train = [&] {
    TinyModel model(1);
    QuantizedParams matrices = quantize(model, "lcq:bits=2,group=8");
    run(model, matrices, makeOptions(5, 5), tokens);
    return matrices;
  };
  QuantizedParams many = train();
  llvm::ThreadPoolStrategy strategy = llvm::parallel::strategy;
  llvm::parallel::strategy = llvm::hardware_concurrency(1);
  QuantizedParams one = train();
  llvm::parallel::strategy = strategy;
  for (auto &[name, matrix] : many)
    EXPECT_EQ(matrix.dequantize(), one[name].dequantize()) << name;
}

TEST(Refine, TellsHowFarItIs) {
  TinyModel model(2);
  QuantizedParams matrices = quantize(model, "lcq:bits=2,group=8");
  FileParamSource source("");
  std::vector<int> blocks;
  llvm::Error error = refine(
      model.step, TinyModel::makeTokens(makeLengths(5)), source, matrices,
      makeOptions(2, 3), nullptr, [&](const RefineProgress &progress) {
        EXPECT_EQ(progress.blocks, 2);
        EXPECT_EQ(progress.steps, progress.block == 2 ? 3 : 2);
        EXPECT_LE(progress.step, progress.steps);
        EXPECT_GT(progress.loss, 0);
        blocks.push_back(progress.block);
      });
  EXPECT_FALSE(bool(error)) << llvm::toString(std::move(error));
  EXPECT_EQ(blocks, (std::vector<int>{0, 0, 1, 1, 2, 2, 2}));
}

TEST(Refine, SaysWhatIsWrong) {
  TinyModel model(1);
  FileParamSource source("");
  auto refineBad = [&](QuantizedParams matrices, const TokenBatch &tokens) {
    return llvm::toString(
        refine(model.step, tokens, source, matrices, makeOptions(1, 1)));
  };
  QuantizedParams matrices = quantize(model, "lcq:bits=2,group=8");
  EXPECT_EQ(refineBad(matrices, TokenBatch()),
            "no calibration tokens to refine by; give a text with "
            "--calibration");
  TokenBatch tokens = TinyModel::makeTokens({5, 5});
  QuantizedParams unknown = matrices;
  unknown["w"] = matrices["wq0"];
  EXPECT_EQ(refineBad(unknown, tokens),
            "cannot refine 'w': the model has no such param");
  QuantizedParams swapped = matrices;
  std::swap(swapped["wd0"], swapped["wk0"]);
  EXPECT_EQ(refineBad(swapped, tokens),
            "cannot refine 'wd0': cannot train a matrix of 8x16 towards "
            "weights of 16x24");
  tokens.sequences[0][2] = 20;
  EXPECT_NE(refineBad(matrices, tokens).find("not in the model's vocabulary"),
            std::string::npos);
}

/// One layer of an encoder, which has no cache and no logits.
constexpr llvm::StringLiteral kEncoder = R"(
nju.param @embed : tensor<20x16xf32> = dense<0.0> : tensor<20x16xf32>
nju.param @wq : tensor<1x16x32xf32> = dense<0.0> : tensor<16x16xf32> {panels = 32 : i64}
nju.param @wk : tensor<1x16x32xf32> = dense<0.0> : tensor<16x16xf32> {panels = 32 : i64}
nju.param @wv : tensor<1x16x32xf32> = dense<0.0> : tensor<16x16xf32> {panels = 32 : i64}
nju.param @wo : tensor<1x16x32xf32> = dense<0.0> : tensor<16x16xf32> {panels = 32 : i64}
nju.param @bo : tensor<16xf32> = dense<0.0> : tensor<16xf32>
nju.param @n : tensor<16xf32> = dense<0.0> : tensor<16xf32>
nju.param @wu : tensor<1x16x32xf32> = dense<0.0> : tensor<16x24xf32> {panels = 32 : i64}
nju.param @wd : tensor<1x24x32xf32> = dense<0.0> : tensor<24x16xf32> {panels = 32 : i64}
func.func @main(%ids: tensor<1x?xi64> {nju.name = "input_ids"}) -> (tensor<1x?x16xf32> {nju.name = "y"}) {
  %heads = nju.constant dense<[1, 0, 2, 8]> : tensor<4xi64>
  %flat = nju.constant dense<[1, 0, 16]> : tensor<3xi64>
  %embed = nju.param_ref @embed : tensor<20x16xf32>
  %x = nju.gather %embed, %ids {axis = 0 : i64} : (tensor<20x16xf32>, tensor<1x?xi64>) -> tensor<1x?x16xf32>
  %wq = nju.param_ref @wq : tensor<1x16x32xf32>
  %wk = nju.param_ref @wk : tensor<1x16x32xf32>
  %wv = nju.param_ref @wv : tensor<1x16x32xf32>
  %wo = nju.param_ref @wo : tensor<1x16x32xf32>
  %bo = nju.param_ref @bo : tensor<16xf32>
  %q = nju.linear %x, %wq : (tensor<1x?x16xf32>, tensor<1x16x32xf32>) -> tensor<1x?x16xf32>
  %k = nju.linear %x, %wk : (tensor<1x?x16xf32>, tensor<1x16x32xf32>) -> tensor<1x?x16xf32>
  %v = nju.linear %x, %wv : (tensor<1x?x16xf32>, tensor<1x16x32xf32>) -> tensor<1x?x16xf32>
  %q4 = nju.reshape %q, %heads : (tensor<1x?x16xf32>, tensor<4xi64>) -> tensor<1x?x2x8xf32>
  %k4 = nju.reshape %k, %heads : (tensor<1x?x16xf32>, tensor<4xi64>) -> tensor<1x?x2x8xf32>
  %v4 = nju.reshape %v, %heads : (tensor<1x?x16xf32>, tensor<4xi64>) -> tensor<1x?x2x8xf32>
  %qt = nju.transpose %q4 {permutation = array<i64: 0, 2, 1, 3>} : (tensor<1x?x2x8xf32>) -> tensor<1x2x?x8xf32>
  %kt = nju.transpose %k4 {permutation = array<i64: 0, 2, 1, 3>} : (tensor<1x?x2x8xf32>) -> tensor<1x2x?x8xf32>
  %vt = nju.transpose %v4 {permutation = array<i64: 0, 2, 1, 3>} : (tensor<1x?x2x8xf32>) -> tensor<1x2x?x8xf32>
  %a = nju.attention %qt, %kt, %vt {scale = 0.35 : f64} : (tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>) -> tensor<1x2x?x8xf32>
  %at = nju.transpose %a {permutation = array<i64: 0, 2, 1, 3>} : (tensor<1x2x?x8xf32>) -> tensor<1x?x2x8xf32>
  %af = nju.reshape %at, %flat : (tensor<1x?x2x8xf32>, tensor<3xi64>) -> tensor<1x?x16xf32>
  %o = nju.linear %af, %wo bias(%bo : tensor<16xf32>) : (tensor<1x?x16xf32>, tensor<1x16x32xf32>) -> tensor<1x?x16xf32>
  %s = nju.add %x, %o : (tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %n = nju.param_ref @n : tensor<16xf32>
  %m = nju.layer_norm %s, %n, %n {epsilon = 1.0e-5 : f64} : (tensor<1x?x16xf32>, tensor<16xf32>, tensor<16xf32>) -> tensor<1x?x16xf32>
  %wu = nju.param_ref @wu : tensor<1x16x32xf32>
  %u = nju.linear %m, %wu : (tensor<1x?x16xf32>, tensor<1x16x32xf32>) -> tensor<1x?x24xf32>
  %g = nju.gelu %u : (tensor<1x?x24xf32>) -> tensor<1x?x24xf32>
  %wd = nju.param_ref @wd : tensor<1x24x32xf32>
  %d = nju.linear %g, %wd : (tensor<1x?x24xf32>, tensor<1x24x32xf32>) -> tensor<1x?x16xf32>
  %z = nju.add %m, %d : (tensor<1x?x16xf32>, tensor<1x?x16xf32>) -> tensor<1x?x16xf32>
  %y = nju.layer_norm %z, %n, %n {epsilon = 1.0e-5 : f64} : (tensor<1x?x16xf32>, tensor<16xf32>, tensor<16xf32>) -> tensor<1x?x16xf32>
  return %y : tensor<1x?x16xf32>
})";

TEST(Refine, TrainsEncoders) {
  std::unique_ptr<TinyModel> model = TinyModel::fromText(kEncoder);
  QuantizedParams matrices = quantize(*model, "lcq:bits=2,group=8");
  EXPECT_EQ(matrices.size(), 6u);
  RefineReport report = run(*model, matrices, makeOptions(20, 40),
                            TinyModel::makeTokens(makeLengths(30)));
  ASSERT_EQ(report.blocks.size(), 1u);
  EXPECT_LT(report.blocks[0].after, 0.9 * report.blocks[0].before);
  EXPECT_GT(report.model.before, 0);
  EXPECT_LT(report.model.after, report.model.before);
}

/// The share of `token` among those that follow `before`.
double getShare(const TokenBatch &text, int32_t before, int32_t token) {
  double count = 0, hits = 0;
  for (const std::vector<int32_t> &sequence : text.sequences)
    for (size_t i = 1; i < sequence.size(); ++i) {
      count += sequence[i - 1] == before && i == 1;
      hits += sequence[i - 1] == before && i == 1 && sequence[i] == token;
    }
  return hits / count;
}

TEST(Generate, DrawsTokensByTheirProbability) {
  TinyModel model(2);
  FileParamSource source("");
  GenerateOptions options;
  options.tokens = 6000;
  options.length = 6;
  options.beginning = 3;
  int64_t shown = 0;
  auto text = generateTokens(model.step, source, options,
                             [&](int64_t done, int64_t total) {
                               EXPECT_GE(done, shown);
                               EXPECT_EQ(total, 6000);
                               shown = done;
                             });
  ASSERT_TRUE(bool(text)) << llvm::toString(text.takeError());
  EXPECT_EQ(text->countTokens(), 6000);
  EXPECT_EQ(shown, 6000);
  for (const std::vector<int32_t> &sequence : text->sequences) {
    EXPECT_EQ(sequence.size(), 6u);
    EXPECT_EQ(sequence[0], 3);
  }
  // The executor says how probable each second token is.
  Executor executor(model.step, source);
  auto arguments = makeArguments(model.step, TokenBatch{{{3}}});
  ASSERT_TRUE(bool(arguments));
  auto logits = executor.run(std::move(*arguments));
  ASSERT_TRUE(bool(logits));
  double sum = 0;
  for (int32_t i = 0; i < 20; ++i)
    sum += std::exp((*logits)[0].front().getFloat(i));
  for (int32_t i = 0; i < 20; ++i)
    EXPECT_NEAR(getShare(*text, 3, i),
                std::exp((*logits)[0].front().getFloat(i)) / sum, 0.05)
        << i;
  // Keys and values that were kept give what the whole sequence gives: the
  // same seed makes the same text with one sequence at a time.
  options.tokens = 12;
  options.sequences = 1;
  auto one = generateTokens(model.step, source, options);
  auto same = generateTokens(model.step, source, options);
  ASSERT_TRUE(one && same);
  EXPECT_EQ(one->sequences, same->sequences);
  options.seed = 2;
  auto other = generateTokens(model.step, source, options);
  ASSERT_TRUE(bool(other));
  EXPECT_NE(one->sequences, other->sequences);
}

TEST(Generate, EndsSequencesAndSaysWhatIsWrong) {
  TinyModel model(1);
  FileParamSource source("");
  GenerateOptions options;
  options.tokens = 500;
  options.end = 4;
  options.length = 30;
  auto text = generateTokens(model.step, source, options);
  ASSERT_TRUE(bool(text));
  EXPECT_GE(text->countTokens(), 500);
  bool isShorter = false;
  for (const std::vector<int32_t> &sequence : text->sequences) {
    isShorter |= sequence.size() < 30;
    for (size_t i = 1; i < sequence.size(); ++i)
      EXPECT_NE(sequence[i], 4);
  }
  EXPECT_TRUE(isShorter);
  options.tokens = 0;
  auto none = generateTokens(model.step, source, options);
  ASSERT_FALSE(bool(none));
  EXPECT_EQ(llvm::toString(none.takeError()), "no tokens to generate");
}

} // namespace
