//===- LoweringTests.cpp - Compiled graphs against the evaluator *- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "GraphJIT.h"
#include "gtest/gtest.h"
#include <cmath>
#include <random>

using namespace nju;
using namespace nju::test;

namespace {

/// One graph, and the shapes to run it with.
struct Graph {
  const char *name;
  /// Arguments, results and ops of @main.
  const char *text;
  /// For each run, the shape of each input.
  std::vector<std::vector<std::vector<int64_t>>> shapes;
  /// Relative to max(1, |expected|). Integers must be equal.
  double tolerance = 2e-6;
  double lowest = -2, highest = 2;
};

void PrintTo(const Graph &graph, std::ostream *os) { *os << graph.name; }

class LoweringTest : public testing::TestWithParam<Graph> {};

HostTensor randomTensor(mlir::Type type, llvm::ArrayRef<int64_t> shape,
                        const Graph &graph, std::mt19937 &random) {
  int64_t count = 1;
  for (int64_t size : shape)
    count *= size;
  if (type.isInteger(1)) {
    std::vector<int64_t> values(count);
    for (int64_t &value : values)
      value = random() % 2;
    return HostTensor::fromInts(type, shape, values);
  }
  if (type.isIntOrIndex()) {
    std::uniform_int_distribution<int64_t> number(
        static_cast<int64_t>(graph.lowest),
        static_cast<int64_t>(graph.highest));
    std::vector<int64_t> values(count);
    for (int64_t &value : values)
      value = number(random);
    return HostTensor::fromInts(type, shape, values);
  }
  std::uniform_real_distribution<double> number(graph.lowest, graph.highest);
  std::vector<double> values(count);
  for (double &value : values)
    value = number(random);
  return HostTensor::fromFloats(type, shape, values);
}

void expectClose(const HostTensor &result, const HostTensor &expected,
                 double tolerance) {
  ASSERT_EQ(result.getShape(), expected.getShape());
  bool isFloat = llvm::isa<mlir::FloatType>(result.getElementType());
  for (int64_t i = 0; i < expected.getNumElements(); ++i) {
    if (!isFloat) {
      ASSERT_EQ(result.getInt(i), expected.getInt(i)) << "element " << i;
      continue;
    }
    double a = result.getFloat(i), b = expected.getFloat(i);
    if (std::isnan(b) || std::isinf(b)) {
      ASSERT_TRUE(a == b || (std::isnan(a) && std::isnan(b)))
          << "element " << i << " is " << a << ", expected " << b;
      continue;
    }
    ASSERT_NEAR(a, b, tolerance * std::max(1.0, std::abs(b)))
        << "element " << i;
  }
}

void expectSameBits(const HostTensor &a, const HostTensor &b) {
  ASSERT_EQ(a.getShape(), b.getShape());
  ASSERT_EQ(memcmp(a.bytes(), b.bytes(), a.getNumBytes()), 0)
      << "the number of threads changes the result";
}

void compareWithEvaluator(const Graph &graph, const std::string &target) {
  GraphJIT jit(graph.text, target);
  ASSERT_TRUE(jit.isUsable());
  std::mt19937 random(7);
  for (const auto &shapes : graph.shapes) {
    std::vector<HostTensor> inputs;
    for (auto [type, shape] : llvm::zip(jit.inputTypes(), shapes))
      inputs.push_back(
          randomTensor(type.getElementType(), shape, graph, random));
    auto expected = jit.evaluate(inputs);
    auto single = jit.run(inputs, 1), triple = jit.run(inputs, 3);
    ASSERT_EQ(expected.size(), single.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      expectClose(single[i], expected[i], graph.tolerance);
      expectSameBits(single[i], triple[i]);
    }
  }
}

TEST_P(LoweringTest, EqualsEvaluator) {
  compareWithEvaluator(GetParam(), "host");
}

/// Registers of 8 elements: vectors of 16 are split, masks are others.
TEST_P(LoweringTest, EqualsEvaluatorWithAVX2) {
  compareWithEvaluator(GetParam(), "x86-64-v3");
}

using Shapes = std::vector<std::vector<std::vector<int64_t>>>;
const Shapes kMatrices = {
    {{3, 5}}, {{1, 1}}, {{0, 7}}, {{33, 70}}, {{2, 1030}}};
const Shapes kPairs = {
    {{3, 5}, {3, 5}}, {{1, 17}, {1, 17}}, {{40, 257}, {40, 257}}};

std::vector<Graph> unaryGraphs() {
  std::vector<Graph> graphs;
  struct Unary {
    const char *name;
    double lowest, highest, tolerance;
  };
  static const Unary unaries[] = {{"abs", -9, 9, 0},
                                  {"atan", -20, 20, 5e-7},
                                  {"ceil", -9, 9, 0},
                                  {"cos", -1e4, 1e4, 1e-6},
                                  {"erf", -5, 5, 5e-7},
                                  {"exp", -30, 5, 5e-7},
                                  {"floor", -9, 9, 0},
                                  {"gelu", -9, 9, 1e-6},
                                  {"log", 1e-6, 100, 5e-7},
                                  {"neg", -9, 9, 0},
                                  {"reciprocal", 0.1, 5, 2e-7},
                                  {"relu", -9, 9, 0},
                                  {"round", -9, 9, 0},
                                  {"rsqrt", 0.1, 9, 2e-7},
                                  {"sigmoid", -30, 30, 5e-7},
                                  {"sign", -9, 9, 0},
                                  {"silu", -30, 30, 1e-6},
                                  {"sin", -1e4, 1e4, 1e-6},
                                  {"softplus", -30, 30, 1e-6},
                                  {"sqrt", 0, 9, 2e-7},
                                  {"tanh", -9, 9, 5e-7}};
  static std::vector<std::string> texts;
  texts.reserve(std::size(unaries) + 1);
  for (const Unary &unary : unaries) {
    texts.push_back(
        "func.func @main(%x: tensor<?x?xf32>) -> tensor<?x?xf32> {\n"
        "  %y = nju." +
        std::string(unary.name) +
        " %x : (tensor<?x?xf32>) -> tensor<?x?xf32>\n"
        "  return %y : tensor<?x?xf32>\n}\n");
    graphs.push_back({unary.name, texts.back().c_str(), kMatrices,
                      unary.tolerance, unary.lowest, unary.highest});
  }
  return graphs;
}

INSTANTIATE_TEST_SUITE_P(Unary, LoweringTest, testing::ValuesIn(unaryGraphs()),
                         [](const auto &info) { return info.param.name; });

const Graph kElementwise[] = {
    {"add_equal_shapes", R"(
func.func @main(%a: tensor<?x?xf32> {nju.dims = ["n", "m"]}, %b: tensor<?x?xf32> {nju.dims = ["n", "m"]}) -> tensor<?x?xf32> {
  %y = nju.add %a, %b : (tensor<?x?xf32>, tensor<?x?xf32>) -> tensor<?x?xf32>
  return %y : tensor<?x?xf32>
})",
     kPairs},
    {"broadcast_decided_at_run_time",
     R"(
func.func @main(%a: tensor<?x?xf32>, %b: tensor<?x?xf32>) -> tensor<?x?xf32> {
  %y = nju.sub %a, %b : (tensor<?x?xf32>, tensor<?x?xf32>) -> tensor<?x?xf32>
  return %y : tensor<?x?xf32>
})",
     {{{3, 5}, {3, 5}},
      {{1, 5}, {3, 1}},
      {{3, 40}, {1, 40}},
      {{3, 1}, {3, 33}},
      {{0, 1}, {1, 3}}}},
    {"broadcast_static",
     R"(
func.func @main(%a: tensor<?x1x8xf32>, %b: tensor<5x1xf32>) -> tensor<?x5x8xf32> {
  %y = nju.mul %a, %b : (tensor<?x1x8xf32>, tensor<5x1xf32>) -> tensor<?x5x8xf32>
  return %y : tensor<?x5x8xf32>
})",
     {{{3, 1, 8}, {5, 1}}, {{0, 1, 8}, {5, 1}}}},
    {"integers",
     R"(
func.func @main(%a: tensor<?xi64> {nju.dims = ["n"]}, %b: tensor<?xi64> {nju.dims = ["n"]}) -> (tensor<?xi64>, tensor<?xi64>, tensor<?xi64>, tensor<?xi64>, tensor<?xi1>) {
  %nine = nju.constant dense<9> : tensor<i64>
  %d0 = nju.max %b, %nine : (tensor<?xi64>, tensor<i64>) -> tensor<?xi64>
  %q = nju.div %a, %d0 : (tensor<?xi64>, tensor<?xi64>) -> tensor<?xi64>
  %m = nju.mod %a, %d0 : (tensor<?xi64>, tensor<?xi64>) -> tensor<?xi64>
  %t = nju.mod %a, %nine {truncated} : (tensor<?xi64>, tensor<i64>) -> tensor<?xi64>
  %s = nju.sign %a : (tensor<?xi64>) -> tensor<?xi64>
  %c = nju.compare le %a, %b : (tensor<?xi64>, tensor<?xi64>) -> tensor<?xi1>
  return %q, %m, %t, %s, %c : tensor<?xi64>, tensor<?xi64>, tensor<?xi64>, tensor<?xi64>, tensor<?xi1>
})",
     {{{100}, {100}}, {{1}, {1}}, {{0}, {0}}},
     0,
     -1000,
     1000},
    {"unsigned_bytes",
     R"(
func.func @main(%a: tensor<?xui8> {nju.dims = ["n"]}, %b: tensor<?xui8> {nju.dims = ["n"]}) -> (tensor<?xui8>, tensor<?xi1>, tensor<?xf32>, tensor<?xui8>) {
  %three = nju.constant dense<3> : tensor<ui8>
  %q = nju.div %a, %three : (tensor<?xui8>, tensor<ui8>) -> tensor<?xui8>
  %c = nju.compare lt %a, %b : (tensor<?xui8>, tensor<?xui8>) -> tensor<?xi1>
  %f = nju.cast %a : (tensor<?xui8>) -> tensor<?xf32>
  %x = nju.max %a, %b : (tensor<?xui8>, tensor<?xui8>) -> tensor<?xui8>
  return %q, %c, %f, %x : tensor<?xui8>, tensor<?xi1>, tensor<?xf32>, tensor<?xui8>
})",
     {{{100}, {100}}, {{17}, {17}}},
     0,
     0,
     255},
    {"bits",
     R"(
func.func @main(%a: tensor<?xi8> {nju.dims = ["n"]}, %b: tensor<?xi8> {nju.dims = ["n"]}) -> (tensor<?xi8>, tensor<?xi8>, tensor<?xi8>, tensor<?xi8>, tensor<?xi8>, tensor<?xi8>) {
  %ten = nju.constant dense<10> : tensor<i8>
  %count = nju.mod %b, %ten : (tensor<?xi8>, tensor<i8>) -> tensor<?xi8>
  %and = nju.and %a, %b : (tensor<?xi8>, tensor<?xi8>) -> tensor<?xi8>
  %or = nju.or %a, %b : (tensor<?xi8>, tensor<?xi8>) -> tensor<?xi8>
  %xor = nju.xor %a, %b : (tensor<?xi8>, tensor<?xi8>) -> tensor<?xi8>
  %not = nju.not %a : (tensor<?xi8>) -> tensor<?xi8>
  %left = nju.shift_left %a, %count : (tensor<?xi8>, tensor<?xi8>) -> tensor<?xi8>
  %right = nju.shift_right %a, %count : (tensor<?xi8>, tensor<?xi8>) -> tensor<?xi8>
  return %and, %or, %xor, %not, %left, %right : tensor<?xi8>, tensor<?xi8>, tensor<?xi8>, tensor<?xi8>, tensor<?xi8>, tensor<?xi8>
})",
     {{{200}, {200}}, {{17}, {17}}, {{0}, {0}}},
     0,
     -128,
     127},
    {"unsigned_shifts",
     R"(
func.func @main(%a: tensor<?xui64> {nju.dims = ["n"]}, %b: tensor<?xui64> {nju.dims = ["n"]}) -> (tensor<?xui64>, tensor<?xui64>) {
  %left = nju.shift_left %a, %b : (tensor<?xui64>, tensor<?xui64>) -> tensor<?xui64>
  %right = nju.shift_right %a, %b : (tensor<?xui64>, tensor<?xui64>) -> tensor<?xui64>
  return %left, %right : tensor<?xui64>, tensor<?xui64>
})",
     {{{200}, {200}}},
     0,
     0,
     80},
    {"logic_and_select",
     R"(
func.func @main(%a: tensor<?x?xi1> {nju.dims = ["n", "m"]}, %b: tensor<?x?xi1> {nju.dims = ["n", "m"]}, %x: tensor<?x?xf32> {nju.dims = ["n", "m"]}) -> (tensor<?x?xf32>, tensor<?x?xi1>) {
  %zero = nju.constant dense<0.0> : tensor<f32>
  %c = nju.and %a, %b : (tensor<?x?xi1>, tensor<?x?xi1>) -> tensor<?x?xi1>
  %n = nju.not %c : (tensor<?x?xi1>) -> tensor<?x?xi1>
  %o = nju.xor %n, %a : (tensor<?x?xi1>, tensor<?x?xi1>) -> tensor<?x?xi1>
  %y = nju.select %o, %x, %zero : (tensor<?x?xi1>, tensor<?x?xf32>, tensor<f32>) -> tensor<?x?xf32>
  return %y, %n : tensor<?x?xf32>, tensor<?x?xi1>
})",
     {{{3, 70}, {3, 70}, {3, 70}}, {{1, 5}, {1, 5}, {1, 5}}}},
    {"float_mod_pow",
     R"(
func.func @main(%a: tensor<?xf32> {nju.dims = ["n"]}, %b: tensor<?xf32> {nju.dims = ["n"]}) -> (tensor<?xf32>, tensor<?xf32>, tensor<?xf32>, tensor<?xf32>) {
  %two = nju.constant dense<2.0> : tensor<f32>
  %p = nju.abs %a : (tensor<?xf32>) -> tensor<?xf32>
  %m = nju.mod %a, %b : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  %t = nju.mod %a, %b {truncated} : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  %w = nju.pow %p, %b : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  %s = nju.pow %a, %two : (tensor<?xf32>, tensor<f32>) -> tensor<?xf32>
  return %m, %t, %w, %s : tensor<?xf32>, tensor<?xf32>, tensor<?xf32>, tensor<?xf32>
})",
     {{{100}, {100}}, {{3}, {3}}},
     1e-6},
    {"casts",
     R"(
func.func @main(%a: tensor<?xf32>) -> (tensor<?xf16>, tensor<?xi32>, tensor<?xi1>, tensor<?xf64>, tensor<?xbf16>) {
  %h = nju.cast %a : (tensor<?xf32>) -> tensor<?xf16>
  %i = nju.cast %a : (tensor<?xf32>) -> tensor<?xi32>
  %o = nju.cast %i : (tensor<?xi32>) -> tensor<?xi1>
  %d = nju.cast %o : (tensor<?xi1>) -> tensor<?xf64>
  %s = nju.cast %h : (tensor<?xf16>) -> tensor<?xbf16>
  return %h, %i, %o, %d, %s : tensor<?xf16>, tensor<?xi32>, tensor<?xi1>, tensor<?xf64>, tensor<?xbf16>
})",
     {{{100}}, {{7}}},
     0},
    {"casts_of_subnormal_numbers",
     R"(
func.func @main(%a: tensor<?xf32>) -> (tensor<?xbf16>, tensor<?xf32>, tensor<?xf64>) {
  %s = nju.cast %a : (tensor<?xf32>) -> tensor<?xbf16>
  %b = nju.cast %s : (tensor<?xbf16>) -> tensor<?xf32>
  %d = nju.cast %a : (tensor<?xf32>) -> tensor<?xf64>
  return %s, %b, %d : tensor<?xbf16>, tensor<?xf32>, tensor<?xf64>
})",
     {{{100}}, {{7}}},
     0,
     -1e-38,
     1e-38},
    {"half_arithmetic",
     R"(
func.func @main(%a: tensor<?x?xf16> {nju.dims = ["n", "m"]}, %b: tensor<?x?xf16> {nju.dims = ["n", "m"]}) -> (tensor<?x?xf16>, tensor<?xf16>) {
  %c = nju.mul %a, %b : (tensor<?x?xf16>, tensor<?x?xf16>) -> tensor<?x?xf16>
  %s = nju.reduce_sum %c {axes = array<i64: 1>} : (tensor<?x?xf16>) -> tensor<?xf16>
  return %c, %s : tensor<?x?xf16>, tensor<?xf16>
})",
     {{{3, 50}, {3, 50}}},
     2e-3},
    {"swiglu",
     R"(
func.func @main(%a: tensor<?x172xf32>, %b: tensor<?x172xf32>) -> tensor<?x172xf32> {
  %y = nju.swiglu %a, %b : (tensor<?x172xf32>, tensor<?x172xf32>) -> tensor<?x172xf32>
  return %y : tensor<?x172xf32>
})",
     {{{9, 172}, {9, 172}}, {{1, 172}, {1, 172}}}},
    {"gelu_tanh",
     R"(
func.func @main(%a: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %y = nju.gelu %a {tanh} : (tensor<?x64xf32>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
})",
     {{{9, 64}}},
     1e-6,
     -8,
     8},
};

const Graph kShape[] = {
    {"returns_its_argument",
     R"(
func.func @main(%a: tensor<?xf32>) -> (tensor<?xf32>, tensor<?xf32>, tensor<2xi64>) {
  %c = nju.constant dense<[4, 5]> : tensor<2xi64>
  return %a, %a, %c : tensor<?xf32>, tensor<?xf32>, tensor<2xi64>
})",
     {{{5}}, {{0}}}},
    {"returns_scalars",
     R"(
func.func @main(%a: tensor<f32>) -> (tensor<f32>, tensor<f32>, tensor<f32>, tensor<i64>) {
  %c = nju.constant dense<2.5> : tensor<f32>
  %i = nju.constant dense<7> : tensor<i64>
  %s = nju.add %a, %c : (tensor<f32>, tensor<f32>) -> tensor<f32>
  return %a, %c, %s, %i : tensor<f32>, tensor<f32>, tensor<f32>, tensor<i64>
})",
     {{{}}}},
    {"reshape_by_shape_computation",
     R"(
func.func @main(%a: tensor<?x?x64xf32>) -> (tensor<?x8x?x8xf32>, tensor<?x64xf32>, tensor<4xi64>) {
  %s = nju.shape_of %a : (tensor<?x?x64xf32>) -> tensor<3xi64>
  %zero = nju.constant dense<0> : tensor<i64>
  %one = nju.constant dense<1> : tensor<1xi64>
  %b0 = nju.gather %s, %zero {axis = 0 : i64} : (tensor<3xi64>, tensor<i64>) -> tensor<i64>
  %b = nju.unsqueeze %b0 {axes = array<i64: 0>} : (tensor<i64>) -> tensor<1xi64>
  %n = nju.gather %s, %one {axis = 0 : i64} : (tensor<3xi64>, tensor<1xi64>) -> tensor<1xi64>
  %h = nju.constant dense<[8, -1]> : tensor<2xi64>
  %shape = nju.concat %b, %n, %h {axis = 0 : i64} : (tensor<1xi64>, tensor<1xi64>, tensor<2xi64>) -> tensor<4xi64>
  %r = nju.reshape %a, %shape : (tensor<?x?x64xf32>, tensor<4xi64>) -> tensor<?x?x8x8xf32>
  %t = nju.transpose %r {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x?x8x8xf32>) -> tensor<?x8x?x8xf32>
  %flat = nju.constant dense<[-1, 64]> : tensor<2xi64>
  %f = nju.reshape %a, %flat : (tensor<?x?x64xf32>, tensor<2xi64>) -> tensor<?x64xf32>
  return %t, %f, %shape : tensor<?x8x?x8xf32>, tensor<?x64xf32>, tensor<4xi64>
})",
     {{{2, 3, 64}}, {{1, 7, 64}}}},
    {"reshape_by_input",
     R"(
func.func @main(%a: tensor<?x?xf32>, %shape: tensor<3xi64>) -> tensor<?x?x?xf32> {
  %ones = nju.constant dense<[2, -1, 1]> : tensor<3xi64>
  %zero = nju.constant dense<0> : tensor<3xi64>
  %z = nju.mul %shape, %zero : (tensor<3xi64>, tensor<3xi64>) -> tensor<3xi64>
  %s = nju.add %z, %ones : (tensor<3xi64>, tensor<3xi64>) -> tensor<3xi64>
  %r = nju.reshape %a, %s : (tensor<?x?xf32>, tensor<3xi64>) -> tensor<?x?x?xf32>
  return %r : tensor<?x?x?xf32>
})",
     {{{2, 3}, {3}}, {{6, 1}, {3}}}},
    {"flatten_all",
     R"(
func.func @main(%a: tensor<?x?x3xf32>) -> tensor<?xf32> {
  %flat = nju.constant dense<-1> : tensor<1xi64>
  %r = nju.reshape %a, %flat : (tensor<?x?x3xf32>, tensor<1xi64>) -> tensor<?xf32>
  %y = nju.neg %r : (tensor<?xf32>) -> tensor<?xf32>
  return %y : tensor<?xf32>
})",
     {{{2, 3, 3}}, {{0, 3, 3}}}},
    {"transpose_inner", R"(
func.func @main(%a: tensor<?x?xf32>) -> (tensor<?x?xf32>, tensor<?x?xf32>) {
  %t = nju.transpose %a {permutation = array<i64: 1, 0>} : (tensor<?x?xf32>) -> tensor<?x?xf32>
  %e = nju.exp %t : (tensor<?x?xf32>) -> tensor<?x?xf32>
  return %t, %e : tensor<?x?xf32>, tensor<?x?xf32>
})",
     kMatrices, 5e-7},
    {"squeeze_unsqueeze",
     R"(
func.func @main(%a: tensor<1x?x1xf32>) -> (tensor<?xf32>, tensor<?x1x1xf32>) {
  %s = nju.squeeze %a {axes = array<i64: 0, 2>} : (tensor<1x?x1xf32>) -> tensor<?xf32>
  %u = nju.unsqueeze %s {axes = array<i64: 1, 2>} : (tensor<?xf32>) -> tensor<?x1x1xf32>
  return %s, %u : tensor<?xf32>, tensor<?x1x1xf32>
})",
     {{{1, 5, 1}}, {{1, 0, 1}}}},
    {"concat",
     R"(
func.func @main(%a: tensor<2x?xf32>, %b: tensor<2x3xf32>, %c: tensor<2x?xf32>) -> tensor<2x?xf32> {
  %n = nju.neg %a : (tensor<2x?xf32>) -> tensor<2x?xf32>
  %y = nju.concat %n, %b, %c {axis = 1 : i64} : (tensor<2x?xf32>, tensor<2x3xf32>, tensor<2x?xf32>) -> tensor<2x?xf32>
  return %y : tensor<2x?xf32>
})",
     {{{2, 5}, {2, 3}, {2, 20}}, {{2, 0}, {2, 3}, {2, 1}}}},
    {"slice",
     R"(
func.func @main(%a: tensor<?x9xf32>) -> (tensor<?x4xf32>, tensor<?x5xf32>, tensor<?x9xf32>, tensor<?x9xf32>) {
  %one = nju.constant dense<1> : tensor<1xi64>
  %five = nju.constant dense<5> : tensor<1xi64>
  %y = nju.slice %a, %one, %five, %one {axes = array<i64: 1>} : (tensor<?x9xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x4xf32>
  %from = nju.constant dense<-1> : tensor<1xi64>
  %to = nju.constant dense<-9223372036854775807> : tensor<1xi64>
  %step = nju.constant dense<-2> : tensor<1xi64>
  %z = nju.slice %a, %from, %to, %step {axes = array<i64: 1>} : (tensor<?x9xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x5xf32>
  %end = nju.constant dense<9223372036854775807> : tensor<1xi64>
  %w = nju.slice %a, %one, %end, %one {axes = array<i64: 0>} : (tensor<?x9xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x9xf32>
  %v = nju.slice %a, %from, %end, %one {axes = array<i64: 0>} : (tensor<?x9xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x9xf32>
  return %y, %z, %w, %v : tensor<?x4xf32>, tensor<?x5xf32>, tensor<?x9xf32>, tensor<?x9xf32>
})",
     {{{5, 9}}, {{1, 9}}, {{0, 9}}}},
    {"slice_by_input",
     R"(
func.func @main(%a: tensor<?x?xf32>, %i: tensor<2xi64>) -> tensor<?x?xf32> {
  %zero = nju.constant dense<0> : tensor<1xi64>
  %one = nju.constant dense<1> : tensor<1xi64>
  %two = nju.constant dense<2> : tensor<1xi64>
  %s = nju.slice %i, %zero, %one, %one {axes = array<i64: 0>} : (tensor<2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<1xi64>
  %e = nju.slice %i, %one, %two, %one {axes = array<i64: 0>} : (tensor<2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<1xi64>
  %y = nju.slice %a, %s, %e, %one {axes = array<i64: 1>} : (tensor<?x?xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x?xf32>
  return %y : tensor<?x?xf32>
})",
     {{{3, 5}, {2}},
      {{3, 5}, {2}},
      {{3, 5}, {2}},
      {{3, 9}, {2}},
      {{3, 9}, {2}}},
     0,
     -6,
     6},
    {"pad",
     R"(
func.func @main(%a: tensor<?x4xf32>) -> (tensor<?x7xf32>, tensor<?x3xf32>) {
  %p = nju.constant dense<[1, 2, 0, 1]> : tensor<4xi64>
  %v = nju.constant dense<5.0> : tensor<f32>
  %y = nju.pad %a, %p, %v : (tensor<?x4xf32>, tensor<4xi64>, tensor<f32>) -> tensor<?x7xf32>
  %q = nju.constant dense<[0, -2, 1, 1]> : tensor<4xi64>
  %z = nju.pad %a, %q, %v : (tensor<?x4xf32>, tensor<4xi64>, tensor<f32>) -> tensor<?x3xf32>
  return %y, %z : tensor<?x7xf32>, tensor<?x3xf32>
})",
     {{{3, 4}}, {{0, 4}}, {{20, 4}}}},
    {"tile_expand_fill_range",
     R"(
func.func @main(%a: tensor<1x?xf32>) -> (tensor<?x?xf32>, tensor<?x?xf32>, tensor<?x?xf32>, tensor<?xi64>) {
  %r = nju.constant dense<[3, 2]> : tensor<2xi64>
  %t = nju.tile %a, %r : (tensor<1x?xf32>, tensor<2xi64>) -> tensor<?x?xf32>
  %s = nju.constant dense<[4, 1]> : tensor<2xi64>
  %e = nju.broadcast_to %a, %s : (tensor<1x?xf32>, tensor<2xi64>) -> tensor<?x?xf32>
  %d = nju.shape_of %t : (tensor<?x?xf32>) -> tensor<2xi64>
  %v = nju.constant dense<7.0> : tensor<1xf32>
  %one1 = nju.constant dense<0> : tensor<i64>
  %v0 = nju.gather %v, %one1 {axis = 0 : i64} : (tensor<1xf32>, tensor<i64>) -> tensor<f32>
  %f = nju.fill %d, %v0 : (tensor<2xi64>, tensor<f32>) -> tensor<?x?xf32>
  %one = nju.constant dense<1> : tensor<i64>
  %two = nju.constant dense<2> : tensor<i64>
  %n = nju.gather %d, %one {axis = 0 : i64} : (tensor<2xi64>, tensor<i64>) -> tensor<i64>
  %i = nju.range %one, %n, %two : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  return %t, %e, %f, %i : tensor<?x?xf32>, tensor<?x?xf32>, tensor<?x?xf32>, tensor<?xi64>
})",
     {{{1, 5}}, {{1, 0}}, {{1, 40}}}},
    {"trilu",
     R"(
func.func @main(%a: tensor<?x?x?xf32>, %b: tensor<?x?xi1>) -> (tensor<?x?x?xf32>, tensor<?x?xi1>) {
  %k = nju.constant dense<1> : tensor<i64>
  %m = nju.constant dense<-1> : tensor<i64>
  %u = nju.trilu %a, %k {upper} : (tensor<?x?x?xf32>, tensor<i64>) -> tensor<?x?x?xf32>
  %l = nju.trilu %b, %m : (tensor<?x?xi1>, tensor<i64>) -> tensor<?x?xi1>
  return %u, %l : tensor<?x?x?xf32>, tensor<?x?xi1>
})",
     {{{2, 5, 7}, {5, 5}}, {{1, 40, 40}, {3, 20}}}},
};

const Graph kIndexing[] = {
    {"gather_rows",
     R"(
nju.param @table : tensor<6x3xf16> = dense<[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0], [1.5, 2.5, 3.5], [0.25, 0.5, 0.75], [9.0, 9.5, -1.0]]> : tensor<6x3xf16>
func.func @main(%ids: tensor<?x?xi64>) -> tensor<?x?x3xf32> {
  %t = nju.param_ref @table : tensor<6x3xf16>
  %f = nju.cast %t : (tensor<6x3xf16>) -> tensor<6x3xf32>
  %y = nju.gather %f, %ids {axis = 0 : i64} : (tensor<6x3xf32>, tensor<?x?xi64>) -> tensor<?x?x3xf32>
  return %y : tensor<?x?x3xf32>
})",
     {{{2, 3}}, {{1, 20}}, {{0, 2}}},
     0,
     -6,
     5},
    {"embedding",
     R"(
func.func @main(%w: tensor<2x37x32xf32>, %i: tensor<?x?xi64>, %w16: tensor<1x5x32xbf16>, %i32: tensor<1x?xi32>) -> (tensor<?x?x37xf32>, tensor<1x?x5xf32>) {
  %x = nju.embedding %w, %i {columns = 40 : i64} : (tensor<2x37x32xf32>, tensor<?x?xi64>) -> tensor<?x?x37xf32>
  %y = nju.embedding %w16, %i32 {columns = 32 : i64} : (tensor<1x5x32xbf16>, tensor<1x?xi32>) -> tensor<1x?x5xbf16>
  %z = nju.cast %y : (tensor<1x?x5xbf16>) -> tensor<1x?x5xf32>
  return %x, %z : tensor<?x?x37xf32>, tensor<1x?x5xf32>
})",
     {{{2, 37, 32}, {3, 40}, {1, 5, 32}, {1, 70}},
      {{2, 37, 32}, {1, 1}, {1, 5, 32}, {1, 0}}},
     0,
     -32,
     31},
    {"gather_inner_axis",
     R"(
func.func @main(%a: tensor<?x5x3xf32>, %i: tensor<4xi32>) -> (tensor<?x4x3xf32>, tensor<?x3xf32>) {
  %y = nju.gather %a, %i {axis = 1 : i64} : (tensor<?x5x3xf32>, tensor<4xi32>) -> tensor<?x4x3xf32>
  %last = nju.constant dense<-1> : tensor<i64>
  %z = nju.gather %a, %last {axis = 1 : i64} : (tensor<?x5x3xf32>, tensor<i64>) -> tensor<?x3xf32>
  return %y, %z : tensor<?x4x3xf32>, tensor<?x3xf32>
})",
     {{{2, 5, 3}, {4}}},
     0,
     -5,
     4},
    {"gather_elements",
     R"(
func.func @main(%a: tensor<?x5xf32>, %i: tensor<?x3xi64>) -> tensor<?x3xf32> {
  %y = nju.gather_elements %a, %i {axis = 1 : i64} : (tensor<?x5xf32>, tensor<?x3xi64>) -> tensor<?x3xf32>
  return %y : tensor<?x3xf32>
})",
     {{{4, 5}, {4, 3}}},
     0,
     -5,
     4},
    {"gather_nd",
     R"(
func.func @main(%a: tensor<4x5x3xf32>, %i: tensor<?x2xi64>) -> tensor<?x3xf32> {
  %y = nju.gather_nd %a, %i {batch_dims = 0 : i64} : (tensor<4x5x3xf32>, tensor<?x2xi64>) -> tensor<?x3xf32>
  return %y : tensor<?x3xf32>
})",
     {{{4, 5, 3}, {7, 2}}},
     0,
     -4,
     3},
    {"scatter_nd",
     R"(
func.func @main(%a: tensor<?x3xf32>, %i: tensor<2x1xi64>, %u: tensor<2x3xf32>) -> (tensor<?x3xf32>, tensor<?x3xf32>) {
  %y = nju.scatter_nd %a, %i, %u : (tensor<?x3xf32>, tensor<2x1xi64>, tensor<2x3xf32>) -> tensor<?x3xf32>
  return %y, %a : tensor<?x3xf32>, tensor<?x3xf32>
})",
     {{{4, 3}, {2, 1}, {2, 3}}},
     0,
     0,
     3},
    {"empty_parts_at_the_end",
     R"(
func.func @main(%a: tensor<?x8xf32>) -> (tensor<?x0xf32>, tensor<?x8xf32>) {
  %end = nju.constant dense<8> : tensor<1xi64>
  %one = nju.constant dense<1> : tensor<1xi64>
  %x = nju.slice %a, %end, %end, %one {axes = array<i64: 1>} : (tensor<?x8xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x0xf32>
  %y = nju.concat %a, %x {axis = 1 : i64} : (tensor<?x8xf32>, tensor<?x0xf32>) -> tensor<?x8xf32>
  return %x, %y : tensor<?x0xf32>, tensor<?x8xf32>
})",
     {{{3, 8}}, {{0, 8}}},
     0},
    {"scatter_nd_reductions",
     R"(
func.func @main(%a: tensor<?x3xf32>, %i: tensor<5x1xi64>, %u: tensor<5x3xf32>, %b: tensor<?xui8>, %j: tensor<5x1xi64>, %v: tensor<5xui8>) -> (tensor<?x3xf32>, tensor<?x3xf32>, tensor<?x3xf32>, tensor<?xui8>) {
  %x = nju.scatter_nd %a, %i, %u {reduction = #nju<scatter_reduction add>} : (tensor<?x3xf32>, tensor<5x1xi64>, tensor<5x3xf32>) -> tensor<?x3xf32>
  %y = nju.scatter_nd %a, %i, %u {reduction = #nju<scatter_reduction mul>} : (tensor<?x3xf32>, tensor<5x1xi64>, tensor<5x3xf32>) -> tensor<?x3xf32>
  %z = nju.scatter_nd %a, %i, %u {reduction = #nju<scatter_reduction max>} : (tensor<?x3xf32>, tensor<5x1xi64>, tensor<5x3xf32>) -> tensor<?x3xf32>
  %w = nju.scatter_nd %b, %j, %v {reduction = #nju<scatter_reduction min>} : (tensor<?xui8>, tensor<5x1xi64>, tensor<5xui8>) -> tensor<?xui8>
  return %x, %y, %z, %w : tensor<?x3xf32>, tensor<?x3xf32>, tensor<?x3xf32>, tensor<?xui8>
})",
     {{{4, 3}, {5, 1}, {5, 3}, {4}, {5, 1}, {5}}},
     2e-6,
     0,
     3},
    {"top_k",
     R"(
func.func @main(%a: tensor<?x?xf32>, %b: tensor<?x4x?xi8>) -> (tensor<?x2xi64>, tensor<?x4x?xi64>, tensor<?x?xi64>) {
  %x = nju.top_k %a {axis = 1 : i64, count = 2 : i64} : (tensor<?x?xf32>) -> tensor<?x2xi64>
  %y = nju.top_k %b {axis = 1 : i64, count = 4 : i64, least} : (tensor<?x4x?xi8>) -> tensor<?x4x?xi64>
  %z = nju.top_k %a {axis = 0 : i64, count = 0 : i64} : (tensor<?x?xf32>) -> tensor<?x?xi64>
  return %x, %y, %z : tensor<?x2xi64>, tensor<?x4x?xi64>, tensor<?x?xi64>
})",
     {{{3, 5}, {2, 4, 3}},
      {{1, 2}, {1, 4, 1}},
      {{0, 7}, {0, 4, 7}},
      {{5, 64}, {3, 4, 17}}},
     0,
     -2,
     2},
    {"cum_sum", R"(
func.func @main(%a: tensor<?x?xi64>) -> (tensor<?x?xi64>, tensor<?x?xi64>, tensor<?x?xi64>) {
  %x = nju.cum_sum %a {axis = 1 : i64} : (tensor<?x?xi64>) -> tensor<?x?xi64>
  %y = nju.cum_sum %a {axis = 1 : i64, exclusive} : (tensor<?x?xi64>) -> tensor<?x?xi64>
  %z = nju.cum_sum %a {axis = 0 : i64, reverse} : (tensor<?x?xi64>) -> tensor<?x?xi64>
  return %x, %y, %z : tensor<?x?xi64>, tensor<?x?xi64>, tensor<?x?xi64>
})",
     kMatrices, 0, -9, 9},
    {"non_zero",
     R"(
func.func @main(%a: tensor<?x?xi1>) -> tensor<2x?xi64> {
  %y = nju.non_zero %a : (tensor<?x?xi1>) -> tensor<2x?xi64>
  return %y : tensor<2x?xi64>
})",
     {{{3, 5}}, {{0, 5}}, {{1, 1}}}},
};

const Graph kReduction[] = {
    {"reductions",
     R"(
func.func @main(%a: tensor<?x?x?xf32>) -> (tensor<?x?xf32>, tensor<?x1x?xf32>, tensor<?xf32>, tensor<f32>, tensor<?x?x1xf32>) {
  %s = nju.reduce_sum %a {axes = array<i64: 2>} : (tensor<?x?x?xf32>) -> tensor<?x?xf32>
  %m = nju.reduce_max %a {axes = array<i64: 1>, keep_dims} : (tensor<?x?x?xf32>) -> tensor<?x1x?xf32>
  %n = nju.reduce_min %a {axes = array<i64: 0, 2>} : (tensor<?x?x?xf32>) -> tensor<?xf32>
  %t = nju.reduce_sum %a {axes = array<i64: 0, 1, 2>} : (tensor<?x?x?xf32>) -> tensor<f32>
  %e = nju.reduce_mean %a {axes = array<i64: 2>, keep_dims} : (tensor<?x?x?xf32>) -> tensor<?x?x1xf32>
  return %s, %m, %n, %t, %e : tensor<?x?xf32>, tensor<?x1x?xf32>, tensor<?xf32>, tensor<f32>, tensor<?x?x1xf32>
})",
     {{{2, 3, 5}}, {{4, 5, 70}}, {{1, 1, 1}}, {{3, 2, 200}}},
     5e-6},
    {"reduce_prod_static",
     R"(
func.func @main(%a: tensor<?x7xf32>) -> tensor<?xf32> {
  %p = nju.reduce_prod %a {axes = array<i64: 1>} : (tensor<?x7xf32>) -> tensor<?xf32>
  return %p : tensor<?xf32>
})",
     {{{5, 7}}, {{0, 7}}}},
    {"reduce_integers",
     R"(
func.func @main(%a: tensor<?x?xi64>) -> (tensor<?xi64>, tensor<?xi64>) {
  %s = nju.reduce_sum %a {axes = array<i64: 1>} : (tensor<?x?xi64>) -> tensor<?xi64>
  %m = nju.reduce_max %a {axes = array<i64: 0>} : (tensor<?x?xi64>) -> tensor<?xi64>
  return %s, %m : tensor<?xi64>, tensor<?xi64>
})",
     {{{3, 5}}, {{40, 33}}},
     0,
     -100,
     100},
    {"arg_max",
     R"(
func.func @main(%a: tensor<?x?xi32>, %b: tensor<?x?xf32>) -> (tensor<?xi64>, tensor<?x1xi64>, tensor<1x?xi64>) {
  %m = nju.arg_max %a {axis = 1 : i64} : (tensor<?x?xi32>) -> tensor<?xi64>
  %l = nju.arg_max %a {axis = 1 : i64, keep_dims, last} : (tensor<?x?xi32>) -> tensor<?x1xi64>
  %n = nju.arg_min %b {axis = 0 : i64, keep_dims} : (tensor<?x?xf32>) -> tensor<1x?xi64>
  return %m, %l, %n : tensor<?xi64>, tensor<?x1xi64>, tensor<1x?xi64>
})",
     {{{3, 5}, {3, 5}}, {{4, 60}, {30, 50}}},
     0,
     -5,
     5},
    {"softmax",
     R"(
func.func @main(%a: tensor<?x?x?xf32>) -> (tensor<?x?x?xf32>, tensor<?x?x?xf32>, tensor<?x?x?xf32>) {
  %s = nju.softmax %a {axis = 2 : i64} : (tensor<?x?x?xf32>) -> tensor<?x?x?xf32>
  %l = nju.softmax %a {axis = 2 : i64, log} : (tensor<?x?x?xf32>) -> tensor<?x?x?xf32>
  %m = nju.softmax %a {axis = 1 : i64} : (tensor<?x?x?xf32>) -> tensor<?x?x?xf32>
  return %s, %l, %m : tensor<?x?x?xf32>, tensor<?x?x?xf32>, tensor<?x?x?xf32>
})",
     {{{2, 3, 5}}, {{1, 4, 70}}, {{2, 3, 0}}},
     2e-6,
     -20,
     20},
    {"norms",
     R"(
nju.param @w : tensor<40xf32> = dense<1.5> : tensor<40xf32>
nju.param @b : tensor<40xf32> = dense<-0.25> : tensor<40xf32>
func.func @main(%a: tensor<?x?x40xf32>) -> (tensor<?x?x40xf32>, tensor<?x?x40xf32>) {
  %w = nju.param_ref @w : tensor<40xf32>
  %b = nju.param_ref @b : tensor<40xf32>
  %r = nju.rms_norm %a, %w {epsilon = 1.0e-5 : f64} : (tensor<?x?x40xf32>, tensor<40xf32>) -> tensor<?x?x40xf32>
  %l = nju.layer_norm %a, %w, %b {epsilon = 1.0e-5 : f64} : (tensor<?x?x40xf32>, tensor<40xf32>, tensor<40xf32>) -> tensor<?x?x40xf32>
  return %r, %l : tensor<?x?x40xf32>, tensor<?x?x40xf32>
})",
     {{{2, 3, 40}}, {{1, 1, 40}}, {{0, 3, 40}}},
     3e-6},
};

const Graph kProducts[] = {
    {"matmul",
     R"(
func.func @main(%a: tensor<?x?x6xf32>, %b: tensor<6x70xf32>, %c: tensor<70x5xf32>) -> (tensor<?x?x70xf32>, tensor<?x?x5xf32>) {
  %y = nju.matmul %a, %b : (tensor<?x?x6xf32>, tensor<6x70xf32>) -> tensor<?x?x70xf32>
  %z = nju.matmul %y, %c : (tensor<?x?x70xf32>, tensor<70x5xf32>) -> tensor<?x?x5xf32>
  return %y, %z : tensor<?x?x70xf32>, tensor<?x?x5xf32>
})",
     {{{2, 3, 6}, {6, 70}, {70, 5}},
      {{1, 40, 6}, {6, 70}, {70, 5}},
      {{0, 4, 6}, {6, 70}, {70, 5}}},
     5e-6},
    {"matmul_batches",
     R"(
func.func @main(%a: tensor<?x1x4x?xf32>, %b: tensor<3x?x7xf32>) -> tensor<?x3x4x7xf32> {
  %y = nju.matmul %a, %b : (tensor<?x1x4x?xf32>, tensor<3x?x7xf32>) -> tensor<?x3x4x7xf32>
  return %y : tensor<?x3x4x7xf32>
})",
     {{{2, 1, 4, 5}, {3, 5, 7}}},
     5e-6},
    {"matmul_vectors",
     R"(
func.func @main(%a: tensor<?xf32> {nju.dims = ["n"]}, %b: tensor<?x7xf32> {nju.dims = ["n", ""]}) -> (tensor<7xf32>, tensor<f32>) {
  %y = nju.matmul %a, %b : (tensor<?xf32>, tensor<?x7xf32>) -> tensor<7xf32>
  %z = nju.matmul %a, %a : (tensor<?xf32>, tensor<?xf32>) -> tensor<f32>
  return %y, %z : tensor<7xf32>, tensor<f32>
})",
     {{{5}, {5, 7}}, {{50}, {50, 7}}},
     5e-6},
    {"matmul_transposed",
     R"(
func.func @main(%a: tensor<?x?x16xf32>, %b: tensor<?x?x16xf32>) -> tensor<?x?x?xf32> {
  %t = nju.transpose %b {permutation = array<i64: 0, 2, 1>} : (tensor<?x?x16xf32>) -> tensor<?x16x?xf32>
  %y = nju.matmul %a, %t : (tensor<?x?x16xf32>, tensor<?x16x?xf32>) -> tensor<?x?x?xf32>
  return %y : tensor<?x?x?xf32>
})",
     {{{2, 3, 16}, {2, 5, 16}},
      {{1, 3, 16}, {2, 5, 16}},
      {{2, 3, 16}, {1, 5, 16}}},
     5e-6},
    {"integer_matmul",
     R"(
func.func @main(%a: tensor<?x5xi32>, %b: tensor<5x?xi32>) -> tensor<?x?xi32> {
  %y = nju.matmul %a, %b : (tensor<?x5xi32>, tensor<5x?xi32>) -> tensor<?x?xi32>
  return %y : tensor<?x?xi32>
})",
     {{{3, 5}, {5, 20}}},
     0,
     -9,
     9},
    {"attention_causal_groups",
     R"(
func.func @main(%q: tensor<?x4x?x8xf32> {nju.dims = ["b", "", "s", ""]}, %k: tensor<?x2x?x8xf32> {nju.dims = ["b", "", "l", ""]}, %v: tensor<?x2x?x6xf32> {nju.dims = ["b", "", "l", ""]}) -> tensor<?x4x?x6xf32> {
  %y = nju.attention %q, %k, %v {scale = 0.35 : f64, causal} : (tensor<?x4x?x8xf32>, tensor<?x2x?x8xf32>, tensor<?x2x?x6xf32>) -> tensor<?x4x?x6xf32>
  return %y : tensor<?x4x?x6xf32>
})",
     {{{2, 4, 3, 8}, {2, 2, 5, 8}, {2, 2, 5, 6}},
      {{1, 4, 20, 8}, {1, 2, 20, 8}, {1, 2, 20, 6}}},
     5e-6},
    {"attention_mask",
     R"(
func.func @main(%q: tensor<?x4x?x8xf32> {nju.dims = ["b", "", "s", ""]}, %k: tensor<?x4x?x8xf32> {nju.dims = ["b", "", "s", ""]}, %m: tensor<?x1x?x?xf32> {nju.dims = ["b", "", "s", "s"]}, %h: tensor<1x4x1x?xf32> {nju.dims = ["", "", "", "s"]}) -> (tensor<?x4x?x8xf32>, tensor<?x4x?x8xf32>) {
  %y = nju.attention %q, %k, %k mask(%m : tensor<?x1x?x?xf32>) {scale = 0.35 : f64} : (tensor<?x4x?x8xf32>, tensor<?x4x?x8xf32>, tensor<?x4x?x8xf32>) -> tensor<?x4x?x8xf32>
  %z = nju.attention %q, %k, %k mask(%h : tensor<1x4x1x?xf32>) {scale = 0.35 : f64} : (tensor<?x4x?x8xf32>, tensor<?x4x?x8xf32>, tensor<?x4x?x8xf32>) -> tensor<?x4x?x8xf32>
  return %y, %z : tensor<?x4x?x8xf32>, tensor<?x4x?x8xf32>
})",
     {{{2, 4, 3, 8}, {2, 4, 3, 8}, {2, 1, 3, 3}, {1, 4, 1, 3}}},
     5e-6},
    {"rope",
     R"(
func.func @main(%x: tensor<1x4x?x8xf32> {nju.dims = ["", "", "s", ""]}, %c: tensor<1x1x?x8xf32> {nju.dims = ["", "", "s", ""]}, %s: tensor<1x1x?x8xf32> {nju.dims = ["", "", "s", ""]}, %c4: tensor<?x4xf32> {nju.dims = ["s", ""]}) -> (tensor<1x4x?x8xf32>, tensor<1x4x?x8xf32>, tensor<1x4x?x8xf32>) {
  %y = nju.rope %x, %c, %s : (tensor<1x4x?x8xf32>, tensor<1x1x?x8xf32>, tensor<1x1x?x8xf32>) -> tensor<1x4x?x8xf32>
  %z = nju.rope %x, %c, %s {interleaved} : (tensor<1x4x?x8xf32>, tensor<1x1x?x8xf32>, tensor<1x1x?x8xf32>) -> tensor<1x4x?x8xf32>
  %p = nju.rope %x, %c4, %c4 : (tensor<1x4x?x8xf32>, tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<1x4x?x8xf32>
  return %y, %z, %p : tensor<1x4x?x8xf32>, tensor<1x4x?x8xf32>, tensor<1x4x?x8xf32>
})",
     {{{1, 4, 5, 8}, {1, 1, 5, 8}, {1, 1, 5, 8}, {5, 4}}}},
    {"linear",
     R"(
nju.param @w : tensor<2x5x32xf32> = dense<0.25> : tensor<2x5x32xf32>
nju.param @b : tensor<40xf32> = dense<1.0> : tensor<40xf32>
func.func @main(%x: tensor<2x?x5xf32>) -> (tensor<2x?x40xf32>, tensor<2x?x40xf32>) {
  %w = nju.param_ref @w : tensor<2x5x32xf32>
  %b = nju.param_ref @b : tensor<40xf32>
  %y = nju.linear %x, %w bias(%b : tensor<40xf32>) : (tensor<2x?x5xf32>, tensor<2x5x32xf32>) -> tensor<2x?x40xf32>
  %z = nju.linear %x, %w : (tensor<2x?x5xf32>, tensor<2x5x32xf32>) -> tensor<2x?x40xf32>
  return %y, %z : tensor<2x?x40xf32>, tensor<2x?x40xf32>
})",
     {{{2, 3, 5}}, {{2, 20, 5}}}},
    // Two products of experts with an epilogue of both, then one of its result;
    // 40 columns are no multiple of a panel, and experts are left alone.
    {"expert_linear",
     R"(
nju.param @g0 : tensor<2x5x32xf32> = dense<0.25> : tensor<2x5x32xf32>
nju.param @g1 : tensor<2x5x32xf32> = dense<-0.5> : tensor<2x5x32xf32>
nju.param @g2 : tensor<2x5x32xf32> = dense<1.5> : tensor<2x5x32xf32>
nju.param @u0 : tensor<2x5x32xf32> = dense<0.75> : tensor<2x5x32xf32>
nju.param @u1 : tensor<2x5x32xf32> = dense<2.0> : tensor<2x5x32xf32>
nju.param @u2 : tensor<2x5x32xf32> = dense<-1.0> : tensor<2x5x32xf32>
nju.param @d0 : tensor<1x40x32xf16> = dense<0.125> : tensor<1x40x32xf16>
nju.param @d1 : tensor<1x40x32xf16> = dense<-0.25> : tensor<1x40x32xf16>
nju.param @d2 : tensor<1x40x32xf16> = dense<0.5> : tensor<1x40x32xf16>
func.func @main(%x: tensor<?x5xf32>, %scores: tensor<?x3xf32>) -> tensor<?x2x7xf32> {
  %choices = nju.top_k %scores {axis = 1 : i64, count = 2 : i64} : (tensor<?x3xf32>) -> tensor<?x2xi64>
  %g0 = nju.param_ref @g0 : tensor<2x5x32xf32>
  %g1 = nju.param_ref @g1 : tensor<2x5x32xf32>
  %g2 = nju.param_ref @g2 : tensor<2x5x32xf32>
  %u0 = nju.param_ref @u0 : tensor<2x5x32xf32>
  %u1 = nju.param_ref @u1 : tensor<2x5x32xf32>
  %u2 = nju.param_ref @u2 : tensor<2x5x32xf32>
  %d0 = nju.param_ref @d0 : tensor<1x40x32xf16>
  %d1 = nju.param_ref @d1 : tensor<1x40x32xf16>
  %d2 = nju.param_ref @d2 : tensor<1x40x32xf16>
  %g = nju.expert_linear %x, %choices, %g0, %g1, %g2 : (tensor<?x5xf32>, tensor<?x2xi64>, tensor<2x5x32xf32>, tensor<2x5x32xf32>, tensor<2x5x32xf32>) -> tensor<?x2x40xf32>
  %u = nju.expert_linear %x, %choices, %u0, %u1, %u2 : (tensor<?x5xf32>, tensor<?x2xi64>, tensor<2x5x32xf32>, tensor<2x5x32xf32>, tensor<2x5x32xf32>) -> tensor<?x2x40xf32>
  %h = nju.swiglu %g, %u : (tensor<?x2x40xf32>, tensor<?x2x40xf32>) -> tensor<?x2x40xf32>
  %y = nju.expert_linear %h, %choices, %d0, %d1, %d2 : (tensor<?x2x40xf32>, tensor<?x2xi64>, tensor<1x40x32xf16>, tensor<1x40x32xf16>, tensor<1x40x32xf16>) -> tensor<?x2x7xf32>
  return %y : tensor<?x2x7xf32>
})",
     {{{1, 5}, {1, 3}}, {{0, 5}, {0, 3}}, {{29, 5}, {29, 3}}}},
};

auto byName = [](const auto &info) { return std::string(info.param.name); };
INSTANTIATE_TEST_SUITE_P(Elementwise, LoweringTest,
                         testing::ValuesIn(kElementwise), byName);
INSTANTIATE_TEST_SUITE_P(Shape, LoweringTest, testing::ValuesIn(kShape),
                         byName);
INSTANTIATE_TEST_SUITE_P(Indexing, LoweringTest, testing::ValuesIn(kIndexing),
                         byName);
INSTANTIATE_TEST_SUITE_P(Reduction, LoweringTest, testing::ValuesIn(kReduction),
                         byName);
INSTANTIATE_TEST_SUITE_P(Products, LoweringTest, testing::ValuesIn(kProducts),
                         byName);

} // namespace
