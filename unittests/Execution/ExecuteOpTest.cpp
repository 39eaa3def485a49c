//===- ExecuteOpTest.cpp - Ops on large tensors ---------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Execution/ExecuteOp.h"
#include "GraphRunner.h"
#include "TestModule.h"
#include "nju/Dialect/NJU/Analysis/Evaluator.h"
#include <cmath>
#include <random>

using namespace mlir;
using namespace nju;
using namespace nju::test;

namespace {

HostTensor makeNormal(Type type, ArrayRef<int64_t> shape, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  HostTensor tensor(type, shape);
  for (float &value : tensor.mutableElements<float>())
    value = normal(generator);
  return tensor;
}

/// An op on random operands gives what the evaluator gives.
void expectEvaluated(llvm::StringRef op, llvm::StringRef types,
                     llvm::ArrayRef<llvm::SmallVector<int64_t>> shapes) {
  SCOPED_TRACE(op.str());
  std::string arguments, names;
  llvm::SmallVector<llvm::StringRef> operandTypes;
  types.split("->").first.trim().drop_front().drop_back().split(operandTypes,
                                                                ", ");
  for (auto [i, type] : llvm::enumerate(operandTypes))
    arguments += (i ? ", %a" : "%a") + std::to_string(i) + ": " + type.str();
  std::string text = "func.func @main(" + arguments + ") {\n%y = " + op.str() +
                     " : " + types.str() + "\nreturn\n}";
  TestModule test(text);
  ASSERT_TRUE(test.main);
  Operation *run = &test.main.getBody().front().front();
  llvm::SmallVector<HostTensor> operands;
  for (auto [i, shape] : llvm::enumerate(shapes))
    operands.push_back(
        makeNormal(Float32Type::get(&test.context), shape, 1 + i));
  std::string reason;
  FailureOr<HostTensor> expected = evaluateOp(run, operands, reason);
  llvm::Expected<HostTensor> actual = executeOp(run, operands);
  ASSERT_TRUE(succeeded(expected)) << reason;
  if (!actual)
    FAIL() << llvm::toString(actual.takeError());
  EXPECT_LE(relativeDifference(*expected, *actual), 2e-6);
  // An operand that is given up is overwritten or left alone, never half read.
  for (const HostTensor &room : llvm::reverse(operands)) {
    HostTensor copy(room.getElementType(), room.getShape());
    std::memcpy(copy.mutableBytes(), room.bytes(), room.getNumBytes());
    llvm::SmallVector<HostTensor> given(operands);
    given[&room - operands.data()] = copy;
    llvm::Expected<HostTensor> inPlace = executeOp(run, given, &copy);
    ASSERT_TRUE(bool(inPlace));
    EXPECT_EQ(relativeDifference(*actual, *inPlace), 0);
  }
}

TEST(ExecuteOp, ComputesElementwiseOps) {
  std::string unary = "(tensor<?x?xf32>) -> tensor<?x?xf32>";
  for (llvm::StringRef op : {"erf", "exp", "neg", "relu", "sigmoid", "silu",
                             "tanh", "gelu", "cos", "sqrt"})
    expectEvaluated(("nju." + op + " %a0").str(), unary, {{70, 1000}});
  expectEvaluated("nju.gelu %a0 {tanh}", unary, {{70, 1000}});
  std::string binary = "(tensor<?x?xf32>, tensor<?x?xf32>) -> tensor<?x?xf32>";
  for (llvm::StringRef op : {"add", "sub", "mul", "div", "max"})
    for (llvm::SmallVector<int64_t> other :
         {llvm::SmallVector<int64_t>{70, 1000}, {1, 1000}, {1, 1}, {70, 1}}) {
      std::string text = ("nju." + op + " %a0, %a1").str();
      expectEvaluated(text, binary, {{70, 1000}, other});
      expectEvaluated(text, binary, {other, {70, 1000}});
    }
  expectEvaluated("nju.swiglu %a0, %a1", binary, {{70, 1000}, {70, 1000}});
}

TEST(ExecuteOp, ComputesNormalizations) {
  expectEvaluated("nju.rms_norm %a0, %a1 {epsilon = 1.0e-3 : f64}",
                  "(tensor<1x?x?xf32>, tensor<?xf32>) -> tensor<1x?x?xf32>",
                  {{1, 90, 700}, {700}});
  std::string types = "(tensor<1x?x?xf32>, tensor<?xf32>, tensor<?xf32>) -> "
                      "tensor<1x?x?xf32>";
  expectEvaluated("nju.layer_norm %a0, %a1, %a2 {epsilon = 1.0e-3 : f64}",
                  types, {{1, 90, 700}, {700}, {700}});
}

TEST(ExecuteOp, ComputesProducts) {
  std::string types = "(tensor<?x?x?xf32>, tensor<?x?x?xf32>) -> "
                      "tensor<?x?x?xf32>";
  expectEvaluated("nju.matmul %a0, %a1", types, {{3, 50, 70}, {3, 70, 90}});
  expectEvaluated("nju.matmul %a0, %a1", types, {{3, 50, 70}, {1, 70, 90}});
  expectEvaluated("nju.matmul %a0, %a1",
                  "(tensor<?x?x?xf32>, tensor<?x?xf32>) -> tensor<?x?x?xf32>",
                  {{3, 50, 70}, {70, 90}});
}

TEST(ExecuteOp, ComputesRotaryEmbeddings) {
  for (llvm::StringRef flag : {"", " {interleaved}"})
    for (int64_t width : {32, 24}) {
      std::string table = ", tensor<1x?x1x" + std::to_string(width) + "xf32>";
      expectEvaluated(("nju.rope %a0, %a1, %a2" + flag).str(),
                      "(tensor<1x?x4x32xf32>" + table + table +
                          ") -> tensor<1x?x4x32xf32>",
                      {{1, 50, 4, 32}, {1, 50, 1, width}, {1, 50, 1, width}});
    }
}

TEST(ExecuteOp, ComputesAttention) {
  std::string types = "(tensor<2x6x?x20xf32>, tensor<2x3x?x20xf32>, "
                      "tensor<2x3x?x70xf32>) -> tensor<2x6x?x70xf32>";
  // More keys than queries, several blocks of both, values of another width.
  for (llvm::StringRef flag : {"", ", causal"})
    expectEvaluated(
        ("nju.attention %a0, %a1, %a2 {scale = 0.2 : f64" + flag + "}").str(),
        types, {{2, 6, 100, 20}, {2, 3, 150, 20}, {2, 3, 150, 70}});
}

// A mask that hides some keys and, in the last row, all of them.
TEST(ExecuteOp, AddsMasks) {
  TestModule test(R"(
func.func @main(%q: tensor<1x2x?x8xf32>, %k: tensor<1x2x?x8xf32>, %v: tensor<1x2x?x8xf32>, %m: tensor<1x1x?x?xf32>) {
  %y = nju.attention %q, %k, %v mask(%m : tensor<1x1x?x?xf32>) {scale = 0.5 : f64} : (tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>, tensor<1x2x?x8xf32>) -> tensor<1x2x?x8xf32>
  return
})");
  ASSERT_TRUE(test.main);
  Operation *run = &test.main.getBody().front().front();
  Type f32 = Float32Type::get(&test.context);
  llvm::SmallVector<HostTensor> x;
  for (unsigned i = 0; i < 3; ++i)
    x.push_back(makeNormal(f32, {1, 2, 70, 8}, 1 + i));
  HostTensor mask(f32, {1, 1, 70, 70});
  for (int64_t i = 0; i < 70 * 70; ++i)
    mask.mutableElements<float>()[i] =
        i % 3 == 0 || i >= 69 * 70 ? -HUGE_VALF : float(i % 5);
  x.push_back(mask);
  std::string reason;
  FailureOr<HostTensor> expected = evaluateOp(run, x, reason);
  llvm::Expected<HostTensor> actual = executeOp(run, x);
  ASSERT_TRUE(succeeded(expected)) << reason;
  if (!actual)
    FAIL() << llvm::toString(actual.takeError());
  EXPECT_LE(relativeDifference(*expected, *actual), 2e-6);
}

//===----------------------------------------------------------------------===//
// nju.cached_attention
//===----------------------------------------------------------------------===//

constexpr int64_t kHeads = 4, kGroups = 2, kDepth = 24;
const std::vector<int64_t> kLengths = {150, 1, 70};

/// The operands for sequences of `kLengths` tokens.
llvm::SmallVector<HostTensor> makeCachedOperands(MLIRContext &context) {
  Type f32 = Float32Type::get(&context), i32 = IntegerType::get(&context, 32);
  std::vector<int64_t> positions, sequences;
  for (auto [sequence, length] : llvm::enumerate(kLengths))
    for (int64_t i = 0; i < length; ++i) {
      positions.push_back(i);
      sequences.push_back(7 - sequence);
    }
  int64_t tokens = positions.size();
  return {makeNormal(f32, {1, tokens, kHeads, kDepth}, 1),
          makeNormal(f32, {1, tokens, kGroups, kDepth}, 2),
          makeNormal(f32, {1, tokens, kGroups, kDepth}, 3),
          HostTensor::fromInts(i32, {tokens}, positions),
          HostTensor::fromInts(i32, {tokens}, sequences)};
}

std::string makeCachedText(llvm::StringRef attributes) {
  return ("func.func @main(%q: tensor<1x?x4x24xf32>, %k: tensor<1x?x2x24xf32>, "
          "%v: tensor<1x?x2x24xf32>, %p: tensor<?xi32>, %s: tensor<?xi32>) {\n"
          "%y = nju.cached_attention %q, %k, %v, %p, %s {layer = 0 : i64, "
          "scale = 0.3 : f64" +
          attributes +
          "} : (tensor<1x?x4x24xf32>, tensor<1x?x2x24xf32>, "
          "tensor<1x?x2x24xf32>, tensor<?xi32>, tensor<?xi32>) -> "
          "tensor<1x?x4x24xf32>\nreturn\n}")
      .str();
}

/// One element of the result, by the definition.
double attendDirectly(ArrayRef<HostTensor> x, int64_t token, int64_t head,
                      int64_t d, int64_t window, double slope, double softcap) {
  int64_t group = head / (kHeads / kGroups);
  int64_t position = x[3].getInt(token);
  int64_t begin = token - std::min(position, window - 1);
  double sum = 0, result = 0;
  for (int64_t j = begin; j <= token; ++j) {
    double score = 0;
    for (int64_t i = 0; i < kDepth; ++i)
      score += x[0].getFloat((token * kHeads + head) * kDepth + i) *
               x[1].getFloat((j * kGroups + group) * kDepth + i);
    score *= 0.3;
    if (softcap != 0)
      score = softcap * std::tanh(score / softcap);
    double weight = std::exp(score + slope * double(j - token));
    sum += weight;
    result += weight * x[2].getFloat((j * kGroups + group) * kDepth + d);
  }
  return result / sum;
}

TEST(ExecuteOp, ComputesCachedAttentionWithinTheBatch) {
  struct Case {
    const char *attributes;
    int64_t window;
    std::vector<double> slopes;
    double softcap = 0;
  };
  for (const Case &rule :
       {Case{"", 1000, {0, 0, 0, 0}},
        Case{", window = 40 : i64", 40, {0, 0, 0, 0}},
        Case{", slopes = array<f32: 0.5, 0.25, 0.125, 0.0625>",
             1000,
             {0.5, 0.25, 0.125, 0.0625}},
        Case{", softcap = 0.2 : f64", 1000, {0, 0, 0, 0}, 0.2}}) {
    SCOPED_TRACE(rule.attributes);
    TestModule test(makeCachedText(rule.attributes));
    ASSERT_TRUE(test.main);
    auto x = makeCachedOperands(test.context);
    llvm::Expected<HostTensor> y =
        executeOp(&test.main.getBody().front().front(), x);
    if (!y)
      FAIL() << llvm::toString(y.takeError());
    for (int64_t token = 0; token < y->getDim(1); ++token)
      for (int64_t head = 0; head < kHeads; ++head)
        for (int64_t d : {int64_t(0), kDepth - 1})
          ASSERT_NEAR(y->getFloat((token * kHeads + head) * kDepth + d),
                      attendDirectly(x, token, head, d, rule.window,
                                     rule.slopes[head], rule.softcap),
                      2e-6)
              << "token " << token << " head " << head;
  }
}

// What is not a number must reach the check of the moments.
TEST(ExecuteOp, KeepsWhatIsNotANumber) {
  TestModule test(makeCachedText(""));
  auto x = makeCachedOperands(test.context);
  // Of the first token's query; and of the second sequence's value.
  x[0].mutableElements<float>()[0] = NAN;
  x[2].mutableElements<float>()[150 * kGroups * kDepth] = NAN;
  auto y = executeOp(&test.main.getBody().front().front(), x);
  ASSERT_TRUE(bool(y));
  EXPECT_TRUE(std::isnan(y->getFloat(0)));
  EXPECT_FALSE(std::isnan(y->getFloat(kHeads * kDepth)));
  EXPECT_TRUE(std::isnan(y->getFloat(150 * kHeads * kDepth)));
}

TEST(ExecuteOp, RefusesTokensThatAreNoWholeSequences) {
  TestModule test(makeCachedText(""));
  auto run = [&](std::vector<int64_t> positions,
                 std::vector<int64_t> sequences) {
    Type i32 = IntegerType::get(&test.context, 32);
    auto x = makeCachedOperands(test.context);
    int64_t count = positions.size();
    for (int i = 0; i < 3; ++i)
      x[i] = HostTensor(x[i].getElementType(),
                        {1, count, x[i].getDim(2), x[i].getDim(3)});
    x[3] = HostTensor::fromInts(i32, {count}, positions);
    x[4] = HostTensor::fromInts(i32, {count}, sequences);
    auto y = executeOp(&test.main.getBody().front().front(), x);
    return y ? "no error" : llvm::toString(y.takeError());
  };
  EXPECT_EQ(run({1, 2}, {0, 0}), "token 0 of sequence 0 has position 1, "
                                 "expected the positions from 0 on");
  EXPECT_EQ(run({0, 0, 1}, {0, 1, 0}),
            "the tokens of sequence 0 do not follow each other");
}

//===----------------------------------------------------------------------===//
// Packed weights
//===----------------------------------------------------------------------===//

const char *const kLinear = R"(
func.func @main(%x: tensor<1x?x70xf32>, %w: tensor<4x70x32xf16>,
                %b: tensor<100xf32>, %i: tensor<?xi64>) {
  %y = nju.linear %x, %w bias(%b : tensor<100xf32>) : (tensor<1x?x70xf32>, tensor<4x70x32xf16>) -> tensor<1x?x100xf32>
  %e = nju.embedding %w, %i {columns = 100 : i64} : (tensor<4x70x32xf16>, tensor<?xi64>) -> tensor<?x70xf16>
  return
})";

TEST(ExecuteOp, MultipliesByWeightsOfAnyTypeAndOrder) {
  TestModule test(kLinear);
  ASSERT_TRUE(test.main);
  auto op = cast<LinearOp>(&test.main.getBody().front().front());
  Type f32 = Float32Type::get(&test.context);
  HostTensor logical = makeNormal(f32, {70, 100}, 1);
  llvm::SmallVector<HostTensor> inputs = {makeNormal(f32, {1, 9, 70}, 2),
                                          makeNormal(f32, {1, 40, 70}, 3)};
  HostTensor bias = makeNormal(f32, {100}, 4);
  for (Type type : {f32, Type(Float16Type::get(&test.context)),
                    Type(BFloat16Type::get(&test.context))})
    for (bool isTransposed : {false, true}) {
      HostTensor data = logical.converted(type);
      HostTensor rounded = data.converted(f32);
      if (isTransposed)
        data = permuteDimensions(data, {1, 0});
      auto y =
          executeLinear(op, inputs, WeightMatrix(data, isTransposed), bias);
      if (!y)
        FAIL() << llvm::toString(y.takeError());
      ASSERT_EQ(y->size(), 2u);
      for (int run = 0; run < 2; ++run) {
        int64_t rows = inputs[run].getDim(1);
        ASSERT_EQ((*y)[run].getShape(), ArrayRef<int64_t>({1, rows, 100}));
        for (int64_t i = 0; i < rows; ++i)
          for (int64_t n = 0; n < 100; ++n) {
            double expected = bias.getFloat(n);
            for (int64_t k = 0; k < 70; ++k)
              expected += inputs[run].getFloat(i * 70 + k) *
                          rounded.getFloat(k * 100 + n);
            ASSERT_NEAR((*y)[run].getFloat(i * 100 + n), expected, 1e-4);
          }
      }
    }
}

TEST(ExecuteOp, LooksUpColumns) {
  TestModule test(kLinear);
  auto op =
      cast<EmbeddingOp>(test.main.getBody().front().front().getNextNode());
  Type f16 = Float16Type::get(&test.context);
  HostTensor data =
      makeNormal(Float32Type::get(&test.context), {100, 70}, 1).converted(f16);
  auto look = [&](std::vector<int64_t> indices) {
    return executeEmbedding(
        op, WeightMatrix(data, /*isTransposed=*/true),
        HostTensor::fromInts(IntegerType::get(&test.context, 64),
                             {int64_t(indices.size())}, indices));
  };
  auto rows = look({5, -1});
  if (!rows)
    FAIL() << llvm::toString(rows.takeError());
  EXPECT_EQ(rows->getElementType(), f16);
  for (int64_t k = 0; k < 70; ++k) {
    EXPECT_EQ(rows->getFloat(k), data.getFloat(5 * 70 + k));
    EXPECT_EQ(rows->getFloat(70 + k), data.getFloat(99 * 70 + k));
  }
  auto outside = look({100});
  EXPECT_EQ(llvm::toString(outside.takeError()),
            "index 100 is out of range for 100 rows");
}

} // namespace
