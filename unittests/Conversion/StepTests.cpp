//===- StepTests.cpp - Compiled steps of a language model -------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "GraphJIT.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"
#include "gtest/gtest.h"
#include <cmath>
#include <random>

using namespace nju;
using namespace nju::test;

namespace {

/// A dense attribute of random numbers.
std::string randomDense(int64_t count, double scale, int seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> number(-scale, scale);
  std::string hex;
  llvm::raw_string_ostream os(hex);
  os << "dense<\"0x";
  for (int64_t i = 0; i < count; ++i) {
    float value = number(random);
    uint8_t bytes[4];
    memcpy(bytes, &value, 4);
    for (uint8_t byte : bytes)
      os << llvm::format_hex_no_prefix(byte, 2, /*Upper=*/true);
  }
  os << "\">";
  return hex;
}

std::string param(const std::string &name, std::vector<int64_t> shape,
                  double scale) {
  static int seed = 0;
  int64_t count = 1;
  std::string type = "tensor<";
  for (int64_t size : shape) {
    count *= size;
    type += std::to_string(size) + "x";
  }
  type += "f32>";
  return "nju.param @" + name + " : " + type + " = " +
         randomDense(count, scale, ++seed) + " : " + type + "\n";
}

/// One layer with 4 query and 2 key heads of 16, hidden size 64, 100 tokens.
std::string weights() {
  return param("embed", {100, 64}, 1) + param("norm", {64}, 1) +
         param("wq", {2, 64, 32}, 0.3) + param("wk", {1, 64, 32}, 0.3) +
         param("wv", {1, 64, 32}, 0.3) + param("wo", {2, 64, 32}, 0.3) +
         param("gate", {6, 64, 32}, 0.3) + param("up", {6, 64, 32}, 0.3) +
         param("down", {2, 172, 32}, 0.3) + param("head", {4, 64, 32}, 0.3) +
         param("freq", {1, 1, 1, 16}, 1);
}

/// Up to rotated queries and keys; `ids` is [1, T] and `p4` [1, T, 1, 1].
const char *kBefore = R"(
  %e = nju.param_ref @embed : tensor<100x64xf32>
  %x = nju.gather %e, %ids {axis = 0 : i64} : (tensor<100x64xf32>, tensor<1x?xi32>) -> tensor<1x?x64xf32>
  %pf = nju.cast %p4 : (tensor<1x?x1x1xi32>) -> tensor<1x?x1x1xf32>
  %f = nju.param_ref @freq : tensor<1x1x1x16xf32>
  %angle = nju.mul %pf, %f : (tensor<1x?x1x1xf32>, tensor<1x1x1x16xf32>) -> tensor<1x?x1x16xf32>
  %cos = nju.cos %angle : (tensor<1x?x1x16xf32>) -> tensor<1x?x1x16xf32>
  %sin = nju.sin %angle : (tensor<1x?x1x16xf32>) -> tensor<1x?x1x16xf32>
  %n = nju.param_ref @norm : tensor<64xf32>
  %h = nju.rms_norm %x, %n {epsilon = 1.0e-5 : f64} : (tensor<1x?x64xf32>, tensor<64xf32>) -> tensor<1x?x64xf32>
  %wq = nju.param_ref @wq : tensor<2x64x32xf32>
  %wk = nju.param_ref @wk : tensor<1x64x32xf32>
  %wv = nju.param_ref @wv : tensor<1x64x32xf32>
  %q = nju.linear %h, %wq : (tensor<1x?x64xf32>, tensor<2x64x32xf32>) -> tensor<1x?x64xf32>
  %k = nju.linear %h, %wk : (tensor<1x?x64xf32>, tensor<1x64x32xf32>) -> tensor<1x?x32xf32>
  %v = nju.linear %h, %wv : (tensor<1x?x64xf32>, tensor<1x64x32xf32>) -> tensor<1x?x32xf32>
  %sq = nju.constant dense<[1, -1, 4, 16]> : tensor<4xi64>
  %sk = nju.constant dense<[1, -1, 2, 16]> : tensor<4xi64>
  %so = nju.constant dense<[1, -1, 64]> : tensor<3xi64>
  %q4 = nju.reshape %q, %sq : (tensor<1x?x64xf32>, tensor<4xi64>) -> tensor<1x?x4x16xf32>
  %k4 = nju.reshape %k, %sk : (tensor<1x?x32xf32>, tensor<4xi64>) -> tensor<1x?x2x16xf32>
  %v4 = nju.reshape %v, %sk : (tensor<1x?x32xf32>, tensor<4xi64>) -> tensor<1x?x2x16xf32>
  %qr = nju.rope %q4, %cos, %sin : (tensor<1x?x4x16xf32>, tensor<1x?x1x16xf32>, tensor<1x?x1x16xf32>) -> tensor<1x?x4x16xf32>
  %kr = nju.rope %k4, %cos, %sin : (tensor<1x?x2x16xf32>, tensor<1x?x1x16xf32>, tensor<1x?x1x16xf32>) -> tensor<1x?x2x16xf32>
)";

/// From the attention's result `a` to the last norm, `last`.
const char *kAfter = R"(
  %a3 = nju.reshape %a, %so : (tensor<1x?x4x16xf32>, tensor<3xi64>) -> tensor<1x?x64xf32>
  %wo = nju.param_ref @wo : tensor<2x64x32xf32>
  %o = nju.linear %a3, %wo : (tensor<1x?x64xf32>, tensor<2x64x32xf32>) -> tensor<1x?x64xf32>
  %x2 = nju.add %x, %o : (tensor<1x?x64xf32>, tensor<1x?x64xf32>) -> tensor<1x?x64xf32>
  %h2 = nju.rms_norm %x2, %n {epsilon = 1.0e-5 : f64} : (tensor<1x?x64xf32>, tensor<64xf32>) -> tensor<1x?x64xf32>
  %wg = nju.param_ref @gate : tensor<6x64x32xf32>
  %wu = nju.param_ref @up : tensor<6x64x32xf32>
  %wd = nju.param_ref @down : tensor<2x172x32xf32>
  %g = nju.linear %h2, %wg : (tensor<1x?x64xf32>, tensor<6x64x32xf32>) -> tensor<1x?x172xf32>
  %u = nju.linear %h2, %wu : (tensor<1x?x64xf32>, tensor<6x64x32xf32>) -> tensor<1x?x172xf32>
  %s = nju.swiglu %g, %u : (tensor<1x?x172xf32>, tensor<1x?x172xf32>) -> tensor<1x?x172xf32>
  %d = nju.linear %s, %wd : (tensor<1x?x172xf32>, tensor<2x172x32xf32>) -> tensor<1x?x64xf32>
  %x3 = nju.add %x2, %d : (tensor<1x?x64xf32>, tensor<1x?x64xf32>) -> tensor<1x?x64xf32>
  %last = nju.rms_norm %x3, %n {epsilon = 1.0e-5 : f64} : (tensor<1x?x64xf32>, tensor<64xf32>) -> tensor<1x?x64xf32>
  %wh = nju.param_ref @head : tensor<4x64x32xf32>
)";

std::string stepText() {
  return R"(module attributes {nju.lm = {vocabulary = 100 : i64, max_tokens = 64 : i64, max_sequences = 4 : i64, max_batch_tokens = 32 : i64, cache = [{heads = 2 : i64, head_dim = 16 : i64, type = "f32"}]}} {
)" + weights() +
         R"(
func.func @step(%tokens: tensor<?xi32> {nju.dims = ["T"]}, %positions: tensor<?xi32> {nju.dims = ["T"]}, %sequences: tensor<?xi32> {nju.dims = ["T"]}, %rows: tensor<?xi32> {nju.dims = ["R"]}) -> tensor<?x100xf32> {
  %ids = nju.unsqueeze %tokens {axes = array<i64: 0>} : (tensor<?xi32>) -> tensor<1x?xi32>
  %p4 = nju.unsqueeze %positions {axes = array<i64: 0, 2, 3>} : (tensor<?xi32>) -> tensor<1x?x1x1xi32>
)" + kBefore +
         R"(
  %a = nju.cached_attention %qr, %kr, %v4, %positions, %sequences {layer = 0 : i64, scale = 0.25 : f64} : (tensor<1x?x4x16xf32>, tensor<1x?x2x16xf32>, tensor<1x?x2x16xf32>, tensor<?xi32>, tensor<?xi32>) -> tensor<1x?x4x16xf32>
)" + kAfter +
         R"(
  %wanted = nju.gather %last, %rows {axis = 1 : i64} : (tensor<1x?x64xf32>, tensor<?xi32>) -> tensor<1x?x64xf32>
  %l = nju.linear %wanted, %wh : (tensor<1x?x64xf32>, tensor<4x64x32xf32>) -> tensor<1x?x100xf32>
  %r = nju.squeeze %l {axes = array<i64: 0>} : (tensor<1x?x100xf32>) -> tensor<?x100xf32>
  return %r : tensor<?x100xf32>
}
})";
}

const int64_t kVocabulary = 100;

std::vector<float> rowOf(const std::vector<float> &logits, size_t row) {
  return {logits.begin() + row * kVocabulary,
          logits.begin() + (row + 1) * kVocabulary};
}

std::vector<int32_t> count(int32_t from, int32_t to) {
  std::vector<int32_t> numbers;
  for (int32_t i = from; i < to; ++i)
    numbers.push_back(i);
  return numbers;
}

std::vector<int32_t> randomTokens(size_t length, int seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> tokens(length);
  for (int32_t &token : tokens)
    token = random() % kVocabulary;
  return tokens;
}

class StepTest : public testing::Test {
protected:
  static void SetUpTestSuite() {
    text = stepText();
    jit = std::make_unique<StepJIT>(text, 4, 64);
  }
  static void TearDownTestSuite() { jit.reset(); }
  void SetUp() override { ASSERT_TRUE(jit->isUsable()); }

  static std::string text;
  static std::unique_ptr<StepJIT> jit;
};
std::string StepTest::text;
std::unique_ptr<StepJIT> StepTest::jit;

TEST_F(StepTest, TokenByTokenEqualsAllAtOnceBitForBit) {
  std::vector<int32_t> tokens = randomTokens(21, 1), zeros(21, 0);
  auto all = jit->step(tokens, count(0, 21), zeros, count(0, 21), 1);
  for (int32_t i = 0; i < 21; ++i)
    EXPECT_EQ(jit->step({tokens[i]}, {i}, {1}, {0}, 1), rowOf(all, i))
        << "token " << i;
}

TEST_F(StepTest, ThreadsChangeNothing) {
  std::vector<int32_t> tokens = randomTokens(32, 2), zeros(32, 0);
  auto one = jit->step(tokens, count(0, 32), zeros, count(0, 32), 1);
  for (int64_t threads : {2, 3, 5})
    EXPECT_EQ(jit->step(tokens, count(0, 32), zeros, count(0, 32), threads),
              one);
}

TEST_F(StepTest, RaggedBatchEqualsOneAtATime) {
  std::vector<int32_t> a = randomTokens(9, 3), b = randomTokens(5, 4);
  auto onlyA = jit->step(a, count(0, 9), std::vector<int32_t>(9, 0), {8}, 1);
  auto onlyB = jit->step(b, count(0, 5), std::vector<int32_t>(5, 1), {4}, 1);
  // All but the last token of a, then the rest of both, mixed.
  jit->step({a.begin(), a.begin() + 8}, count(0, 8), std::vector<int32_t>(8, 2),
            {}, 2);
  auto mixed = jit->step({b[0], b[1], a[8], b[2], b[3], b[4]},
                         {0, 1, 8, 2, 3, 4}, {3, 3, 2, 3, 3, 3}, {2, 5}, 2);
  EXPECT_EQ(rowOf(mixed, 0), onlyA);
  EXPECT_EQ(rowOf(mixed, 1), onlyB);
}

/// Keys and values are quantized before any token sees them, so that it does
/// not matter how tokens are cut into steps.
TEST(QuantizedStepTest, CutsAndThreadsChangeNothing) {
  std::vector<int32_t> tokens = randomTokens(30, 2), zeros(30, 0);
  std::vector<std::vector<float>> results;
  const std::string f32 = stepText();
  for (const char *type : {"f32", "q8", "q4"}) {
    std::string text = f32;
    text.replace(text.find("f32\"}]}}"), 3, type);
    StepJIT jit(text, 4, 64);
    ASSERT_TRUE(jit.isUsable());
    auto all = jit.step(tokens, count(0, 30), zeros, count(0, 30), 2);
    results.push_back(all);
    for (int32_t begin = 0, end; begin < 30; begin = end) {
      end = std::min(30, begin + 1 + begin % 7);
      auto part = jit.step(
          {tokens.begin() + begin, tokens.begin() + end}, count(begin, end),
          std::vector<int32_t>(end - begin, 1), count(0, end - begin), 3);
      for (int32_t i = begin; i < end; ++i)
        EXPECT_EQ(rowOf(part, i - begin), rowOf(all, i))
            << type << ", token " << i;
    }
  }
  double norm = 0, errors[2] = {};
  for (size_t i = 0; i < results[0].size(); ++i) {
    norm += std::pow(results[0][i], 2);
    for (int type : {0, 1})
      errors[type] += std::pow(results[type + 1][i] - results[0][i], 2);
  }
  EXPECT_LT(std::sqrt(errors[0] / norm), 0.02);
  EXPECT_LT(std::sqrt(errors[1] / norm), 0.3);
  EXPECT_LT(errors[0], errors[1]);
}

/// The same layer as a graph, with plain causal attention.
TEST_F(StepTest, EqualsTheGraphWithoutACache) {
  std::string main = text.substr(0, text.find("func.func @step"));
  main += R"(
func.func @main(%ids: tensor<1x?xi32> {nju.dims = ["", "T"]}, %p4: tensor<1x?x1x1xi32> {nju.dims = ["", "T", "", ""]}) -> tensor<1x?x100xf32> {
)" + std::string(kBefore) +
          R"(
  %qt = nju.transpose %qr {permutation = array<i64: 0, 2, 1, 3>} : (tensor<1x?x4x16xf32>) -> tensor<1x4x?x16xf32>
  %kt = nju.transpose %kr {permutation = array<i64: 0, 2, 1, 3>} : (tensor<1x?x2x16xf32>) -> tensor<1x2x?x16xf32>
  %vt = nju.transpose %v4 {permutation = array<i64: 0, 2, 1, 3>} : (tensor<1x?x2x16xf32>) -> tensor<1x2x?x16xf32>
  %at = nju.attention %qt, %kt, %vt {scale = 0.25 : f64, causal} : (tensor<1x4x?x16xf32>, tensor<1x2x?x16xf32>, tensor<1x2x?x16xf32>) -> tensor<1x4x?x16xf32>
  %a = nju.transpose %at {permutation = array<i64: 0, 2, 1, 3>} : (tensor<1x4x?x16xf32>) -> tensor<1x?x4x16xf32>
)" + kAfter +
          R"(
  %l = nju.linear %last, %wh : (tensor<1x?x64xf32>, tensor<4x64x32xf32>) -> tensor<1x?x100xf32>
  return %l : tensor<1x?x100xf32>
}
})";
  GraphJIT graph(main);
  ASSERT_TRUE(graph.isUsable());
  std::vector<int32_t> tokens = randomTokens(17, 5);
  auto positions = count(0, 17);
  mlir::Type type = graph.inputTypes()[0].getElementType();
  std::vector<int64_t> ids(tokens.begin(), tokens.end()),
      places(positions.begin(), positions.end());
  std::vector<HostTensor> inputs = {
      HostTensor::fromInts(type, {1, 17}, ids),
      HostTensor::fromInts(type, {1, 17, 1, 1}, places)};
  auto logits = jit->step(tokens, positions, std::vector<int32_t>(17, 0),
                          count(0, 17), 2);
  auto compiled = graph.run(inputs, 2), truth = graph.evaluate(inputs);
  ASSERT_EQ(truth.size(), 1u);
  for (size_t i = 0; i < logits.size(); ++i) {
    // f32: sums of up to 172 products after four layers of rounding.
    ASSERT_NEAR(logits[i], truth[0].getFloat(i), 1e-4) << "logit " << i;
    ASSERT_NEAR(compiled[0].getFloat(i), truth[0].getFloat(i), 1e-4);
  }
}

} // namespace
