//===- EvaluatorTest.cpp - Tests of the evaluator -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Dialect/NJU/Analysis/Evaluator.h"
#include "TestModule.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"
#include <chrono>

using namespace mlir;
using namespace nju;

namespace {

/// "2x3: 1 2 3 4 5 6"
std::string print(const HostTensor &tensor) {
  std::string text;
  llvm::raw_string_ostream os(text);
  llvm::interleave(tensor.getShape(), os, "x");
  os << ":";
  for (int64_t i = 0; i < tensor.getNumElements(); ++i)
    os << " " << llvm::format("%g", tensor.getFloat(i));
  return text;
}

/// Evaluates the one result of a function without arguments, or says why not.
/// `body` ends with the value %y of type `type`.
std::string evaluate(llvm::StringRef type, llvm::StringRef body) {
  TestModule test(("func.func @main() -> " + type + " {\n" + body +
                   "\n return %y : " + type + "\n}")
                      .str());
  Evaluator evaluator;
  FailureOr<HostTensor> tensor = evaluator.evaluate(test.result());
  return succeeded(tensor) ? print(*tensor) : evaluator.reason().str();
}

TEST(Evaluator, RoundsEveryOpToItsType) {
  EXPECT_EQ(evaluate("tensor<f16>", R"(
    %a = nju.constant dense<2048.0> : tensor<f16>
    %b = nju.constant dense<1.0> : tensor<f16>
    %c = nju.add %a, %b : (tensor<f16>, tensor<f16>) -> tensor<f16>
    %y = nju.add %c, %b : (tensor<f16>, tensor<f16>) -> tensor<f16>)"),
            ": 2048");
  EXPECT_EQ(evaluate("tensor<f32>", R"(
    %a = nju.constant dense<16777216.0> : tensor<f32>
    %b = nju.constant dense<1.0> : tensor<f32>
    %y = nju.add %a, %b : (tensor<f32>, tensor<f32>) -> tensor<f32>)"),
            ": 1.67772e+07");
}

TEST(Evaluator, IntegersWrapAndTruncate) {
  EXPECT_EQ(evaluate("tensor<3xi8>", R"(
    %a = nju.constant dense<[100, -128, -7]> : tensor<3xi8>
    %b = nju.constant dense<[100, -1, 2]> : tensor<3xi8>
    %y = nju.add %a, %b : (tensor<3xi8>, tensor<3xi8>) -> tensor<3xi8>)"),
            "3: -56 127 -5");
  EXPECT_EQ(evaluate("tensor<3xi8>", R"(
    %a = nju.constant dense<[100, -128, -7]> : tensor<3xi8>
    %b = nju.constant dense<[7, -1, 2]> : tensor<3xi8>
    %y = nju.div %a, %b : (tensor<3xi8>, tensor<3xi8>) -> tensor<3xi8>)"),
            "3: 14 -128 -3");
  EXPECT_EQ(evaluate("tensor<4xi64>", R"(
    %a = nju.constant dense<[7, -7, 7, -7]> : tensor<4xi64>
    %b = nju.constant dense<[3, 3, -3, -3]> : tensor<4xi64>
    %y = nju.mod %a, %b : (tensor<4xi64>, tensor<4xi64>) -> tensor<4xi64>)"),
            "4: 1 2 -2 -1");
  EXPECT_EQ(evaluate("tensor<4xi64>", R"(
    %a = nju.constant dense<[7, -7, 7, -7]> : tensor<4xi64>
    %b = nju.constant dense<[3, 3, -3, -3]> : tensor<4xi64>
    %y = nju.mod %a, %b {truncated} : (tensor<4xi64>, tensor<4xi64>) -> tensor<4xi64>)"),
            "4: 1 -1 1 -1");
  EXPECT_EQ(evaluate("tensor<4xi64>", R"(
    %a = nju.constant dense<[2, -1, -1, 3]> : tensor<4xi64>
    %b = nju.constant dense<[-1, -2, -3, 4]> : tensor<4xi64>
    %y = nju.pow %a, %b : (tensor<4xi64>, tensor<4xi64>) -> tensor<4xi64>)"),
            "4: 0 1 -1 81");
}

TEST(Evaluator, PropagatesNaN) {
  EXPECT_EQ(evaluate("tensor<2xf32>", R"(
    %a = nju.constant dense<[0x7FC00000, 1.0]> : tensor<2xf32>
    %b = nju.constant dense<[1.0, 0x7FC00000]> : tensor<2xf32>
    %y = nju.max %a, %b : (tensor<2xf32>, tensor<2xf32>) -> tensor<2xf32>)"),
            "2: nan nan");
  EXPECT_EQ(evaluate("tensor<2xi1>", R"(
    %a = nju.constant dense<[0x7FC00000, 1.0]> : tensor<2xf32>
    %y = nju.compare ne %a, %a : (tensor<2xf32>, tensor<2xf32>) -> tensor<2xi1>)"),
            "2: 1 0");
  EXPECT_EQ(evaluate("tensor<f32>", R"(
    %a = nju.constant dense<[1.0, 0x7FC00000]> : tensor<2xf32>
    %y = nju.reduce_max %a {axes = array<i64: 0>} : (tensor<2xf32>) -> tensor<f32>)"),
            ": nan");
}

TEST(Evaluator, RoundsHalfToEven) {
  EXPECT_EQ(evaluate("tensor<4xf32>", R"(
    %a = nju.constant dense<[0.5, 1.5, -2.5, 2.6]> : tensor<4xf32>
    %y = nju.round %a : (tensor<4xf32>) -> tensor<4xf32>)"),
            "4: 0 2 -2 3");
}

TEST(Evaluator, BroadcastsThreeWays) {
  EXPECT_EQ(evaluate("tensor<2x3xi64>", R"(
    %c = nju.constant dense<[[true], [false]]> : tensor<2x1xi1>
    %a = nju.constant dense<[1, 2, 3]> : tensor<3xi64>
    %b = nju.constant dense<-1> : tensor<i64>
    %y = nju.select %c, %a, %b : (tensor<2x1xi1>, tensor<3xi64>, tensor<i64>) -> tensor<2x3xi64>)"),
            "2x3: 1 2 3 -1 -1 -1");
  EXPECT_EQ(evaluate("tensor<2x0xi64>", R"(
    %a = nju.constant dense<> : tensor<0xi64>
    %b = nju.constant dense<[[1], [2]]> : tensor<2x1xi64>
    %y = nju.add %a, %b : (tensor<0xi64>, tensor<2x1xi64>) -> tensor<2x0xi64>)"),
            "2x0:");
}

TEST(Evaluator, SlicesBackwards) {
  EXPECT_EQ(evaluate("tensor<?xi64>", R"(
    %x = nju.constant dense<[0, 1, 2, 3, 4]> : tensor<5xi64>
    %s = nju.constant dense<-2> : tensor<1xi64>
    %e = nju.constant dense<-9223372036854775808> : tensor<1xi64>
    %y = nju.slice %x, %s, %e, %s {axes = array<i64: 0>} : (tensor<5xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?xi64>)"),
            "2: 3 1");
  EXPECT_EQ(evaluate("tensor<?xi64>", R"(
    %x = nju.constant dense<[0, 1, 2, 3, 4]> : tensor<5xi64>
    %s = nju.constant dense<3> : tensor<1xi64>
    %y = nju.slice %x, %s, %s, %s {axes = array<i64: 0>} : (tensor<5xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?xi64>)"),
            "0:");
}

TEST(Evaluator, LooksUp) {
  EXPECT_EQ(evaluate("tensor<2x2xf32>", R"(
    %x = nju.constant dense<[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]> : tensor<3x2xf32>
    %i = nju.constant dense<[-1, 0]> : tensor<2xi64>
    %y = nju.gather %x, %i {axis = 0 : i64} : (tensor<3x2xf32>, tensor<2xi64>) -> tensor<2x2xf32>)"),
            "2x2: 5 6 1 2");
  EXPECT_EQ(evaluate("tensor<1x2xf32>", R"(
    %x = nju.constant dense<[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]> : tensor<3x2xf32>
    %i = nju.constant dense<3> : tensor<1xi64>
    %y = nju.gather %x, %i {axis = 0 : i64} : (tensor<3x2xf32>, tensor<1xi64>) -> tensor<1x2xf32>)"),
            "index 3 is out of range of a dimension of 3");
  EXPECT_EQ(evaluate("tensor<2x2xf32>", R"(
    %x = nju.constant dense<0.0> : tensor<2x2xf32>
    %i = nju.constant dense<[[1, 0], [0, -1]]> : tensor<2x2xi64>
    %u = nju.constant dense<[7.0, 8.0]> : tensor<2xf32>
    %y = nju.scatter_nd %x, %i, %u : (tensor<2x2xf32>, tensor<2x2xi64>, tensor<2xf32>) -> tensor<2x2xf32>)"),
            "2x2: 0 8 7 0");
}

TEST(Evaluator, LooksUpColumnsOfPanels) {
  // Element (panel, k, i) is 64 panel + 32 k + i.
  auto lookUp = [](llvm::StringRef index) {
    return evaluate("tensor<1x2xf32>", R"(
    %0 = nju.constant dense<0> : tensor<i64>
    %1 = nju.constant dense<1> : tensor<i64>
    %n = nju.constant dense<128> : tensor<i64>
    %r = nju.range %0, %n, %1 : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<128xi64>
    %f = nju.cast %r : (tensor<128xi64>) -> tensor<128xf32>
    %s = nju.constant dense<[2, 2, 32]> : tensor<3xi64>
    %w = nju.reshape %f, %s : (tensor<128xf32>, tensor<3xi64>) -> tensor<2x2x32xf32>
    %i = nju.constant dense<)" + index.str() +
                                           R"(> : tensor<1xi64>
    %y = nju.embedding %w, %i {columns = 40 : i64} : (tensor<2x2x32xf32>, tensor<1xi64>) -> tensor<1x2xf32>)");
  };
  EXPECT_EQ(lookUp("31"), "1x2: 31 63");
  EXPECT_EQ(lookUp("32"), "1x2: 64 96");
  EXPECT_EQ(lookUp("-1"), "1x2: 71 103");
  EXPECT_EQ(lookUp("40"), "index 40 is out of range of a dimension of 40");
}

TEST(Evaluator, MakesTriangles) {
  EXPECT_EQ(evaluate("tensor<2x3xi64>", R"(
    %x = nju.constant dense<1> : tensor<2x3xi64>
    %k = nju.constant dense<1> : tensor<i64>
    %y = nju.trilu %x, %k {upper} : (tensor<2x3xi64>, tensor<i64>) -> tensor<2x3xi64>)"),
            "2x3: 0 1 1 0 0 1");
  EXPECT_EQ(evaluate("tensor<2x3xi64>", R"(
    %x = nju.constant dense<1> : tensor<2x3xi64>
    %k = nju.constant dense<-9223372036854775808> : tensor<i64>
    %y = nju.trilu %x, %k : (tensor<2x3xi64>, tensor<i64>) -> tensor<2x3xi64>)"),
            "2x3: 0 0 0 0 0 0");
}

TEST(Evaluator, CountsBackwards) {
  EXPECT_EQ(evaluate("tensor<?xi64>", R"(
    %s = nju.constant dense<2> : tensor<i64>
    %l = nju.constant dense<-3> : tensor<i64>
    %d = nju.constant dense<-2> : tensor<i64>
    %y = nju.range %s, %l, %d : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>)"),
            "3: 2 0 -2");
}

TEST(Evaluator, CumulatesWithFlags) {
  EXPECT_EQ(evaluate("tensor<3xi64>", R"(
    %x = nju.constant dense<[1, 2, 4]> : tensor<3xi64>
    %y = nju.cum_sum %x {axis = 0 : i64, exclusive, reverse} : (tensor<3xi64>) -> tensor<3xi64>)"),
            "3: 6 4 0");
}

TEST(Evaluator, ReducesNothing) {
  EXPECT_EQ(evaluate("tensor<2xf32>", R"(
    %x = nju.constant dense<> : tensor<2x0xf32>
    %y = nju.reduce_max %x {axes = array<i64: 1>} : (tensor<2x0xf32>) -> tensor<2xf32>)"),
            "2: -inf -inf");
  EXPECT_EQ(evaluate("tensor<2xi64>", R"(
    %x = nju.constant dense<> : tensor<2x0xi64>
    %y = nju.reduce_prod %x {axes = array<i64: 1>} : (tensor<2x0xi64>) -> tensor<2xi64>)"),
            "2: 1 1");
}

TEST(Evaluator, FindsTheLastMaximum) {
  EXPECT_EQ(evaluate("tensor<i64>", R"(
    %x = nju.constant dense<[1, 3, 3, 2]> : tensor<4xi64>
    %y = nju.arg_max %x {axis = 0 : i64, last} : (tensor<4xi64>) -> tensor<i64>)"),
            ": 2");
}

TEST(Evaluator, MultipliesBatches) {
  EXPECT_EQ(evaluate("tensor<2x1x1xf32>", R"(
    %a = nju.constant dense<[[[1.0, 2.0]]]> : tensor<1x1x2xf32>
    %b = nju.constant dense<[[[3.0], [4.0]], [[5.0], [6.0]]]> : tensor<2x2x1xf32>
    %y = nju.matmul %a, %b : (tensor<1x1x2xf32>, tensor<2x2x1xf32>) -> tensor<2x1x1xf32>)"),
            "2x1x1: 11 17");
}

TEST(Evaluator, AttendsCausally) {
  // One key is visible to the first query, two to the second one; equal scores.
  EXPECT_EQ(evaluate("tensor<1x1x2x1xf32>", R"(
    %q = nju.constant dense<0.0> : tensor<1x1x2x2xf32>
    %v = nju.constant dense<[[[[2.0], [4.0]]]]> : tensor<1x1x2x1xf32>
    %y = nju.attention %q, %q, %v {scale = 1.0 : f64, causal} : (tensor<1x1x2x2xf32>, tensor<1x1x2x2xf32>, tensor<1x1x2x1xf32>) -> tensor<1x1x2x1xf32>)"),
            "1x1x2x1: 2 3");
}

TEST(Evaluator, SaysWhatItCannotDo) {
  EXPECT_EQ(evaluate("tensor<?x?xf32>", R"(
    %s = nju.constant dense<[90000, 100000]> : tensor<2xi64>
    %v = nju.constant dense<0.0> : tensor<f32>
    %y = nju.fill %s, %v : (tensor<2xi64>, tensor<f32>) -> tensor<?x?xf32>)"),
            "result of 9000000000 elements is too large");
  EXPECT_EQ(evaluate("tensor<90000x100000xf32>", R"(
    %y = nju.constant dense<0.0> : tensor<90000x100000xf32>)"),
            "result of 9000000000 elements is too large");
  EXPECT_EQ(evaluate("tensor<i64>", R"(
    %z = nju.constant dense<0> : tensor<i64>
    %y = nju.div %z, %z : (tensor<i64>, tensor<i64>) -> tensor<i64>)"),
            "division by zero");
  EXPECT_EQ(evaluate("tensor<3xf32>", R"(
    %x = nju.constant dense<[1.0, 2.0]> : tensor<2xf32>
    %s = nju.constant dense<[3]> : tensor<1xi64>
    %y = nju.reshape %x, %s : (tensor<2xf32>, tensor<1xi64>) -> tensor<3xf32>)"),
            "cannot reshape 2xf32 to [3]");
}

TEST(Evaluator, ReadsParams) {
  TestModule test(R"(
    nju.param @w : tensor<2xf32> = dense<[1.0, 2.0]> : tensor<2xf32>
    func.func @main() -> tensor<2xf32> {
      %w = nju.param_ref @w : tensor<2xf32>
      %y = nju.exp %w : (tensor<2xf32>) -> tensor<2xf32>
      return %y : tensor<2xf32>
    })");
  Evaluator evaluator;
  FailureOr<HostTensor> tensor = evaluator.evaluate(test.result());
  ASSERT_TRUE(succeeded(tensor)) << evaluator.reason().str();
  EXPECT_EQ(print(*tensor), "2: 2.71828 7.38906");
  EvaluatorOptions options;
  options.maxParamBytes = 7;
  Evaluator small(nullptr, options);
  EXPECT_TRUE(failed(small.evaluate(test.result())));
  EXPECT_EQ(small.reason(), "param 'w' of 8 bytes is larger than 7 bytes");
}

/// A causal mask whose size follows from the lengths of tokens and cache.
constexpr llvm::StringLiteral kMask = R"(
  func.func @main(%ids: tensor<1x?xi64> {nju.dims = ["", "s"], nju.name = "input_ids"}, %past: tensor<1x?x4xf32> {nju.dims = ["", "past", ""], nju.name = "past.0"}, %table: tensor<16x4xf32> {nju.name = "table"}) -> (tensor<?x?xi1>, tensor<1x?x4xf32>) {
    %h = nju.gather %table, %ids {axis = 0 : i64} : (tensor<16x4xf32>, tensor<1x?xi64>) -> tensor<1x?x4xf32>
    %all = nju.concat %past, %h {axis = 1 : i64} : (tensor<1x?x4xf32>, tensor<1x?x4xf32>) -> tensor<1x?x4xf32>
    %d = nju.shape_of %all : (tensor<1x?x4xf32>) -> tensor<3xi64>
    %e = nju.shape_of %past : (tensor<1x?x4xf32>) -> tensor<3xi64>
    %one = nju.constant dense<1> : tensor<i64>
    %zero = nju.constant dense<0> : tensor<i64>
    %n = nju.gather %d, %one {axis = 0 : i64} : (tensor<3xi64>, tensor<i64>) -> tensor<i64>
    %p = nju.gather %e, %one {axis = 0 : i64} : (tensor<3xi64>, tensor<i64>) -> tensor<i64>
    %keys = nju.range %zero, %n, %one : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
    %queries = nju.range %p, %n, %one : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
    %q = nju.unsqueeze %queries {axes = array<i64: 1>} : (tensor<?xi64>) -> tensor<?x1xi64>
    %m = nju.compare le %keys, %q : (tensor<?xi64>, tensor<?x1xi64>) -> tensor<?x?xi1>
    return %m, %all : tensor<?x?xi1>, tensor<1x?x4xf32>
  })";

TEST(Evaluator, FollowsShapesWhereElementsAreUnknown) {
  TestModule test(kMask);
  ShapeInference shapes;
  ASSERT_TRUE(succeeded(shapes.inferFunction(test.main)));
  Evaluator evaluator(&shapes);
  evaluator.bindShape(test.argument(0), {1, 2});
  evaluator.bindShape(test.argument(1), {1, 1, 4});
  FailureOr<HostTensor> mask = evaluator.evaluate(test.result(0));
  ASSERT_TRUE(succeeded(mask)) << evaluator.reason().str();
  EXPECT_EQ(print(*mask), "2x3: 1 1 0 1 1 1");
  EXPECT_TRUE(failed(evaluator.evaluate(test.result(1))));
  EXPECT_EQ(evaluator.reason(), "depends on the elements of argument 'past.0'");
  ASSERT_TRUE(evaluator.reasonLocation().has_value());
  EXPECT_EQ(evaluator.shapeOf(test.result(1)),
            (llvm::SmallVector<int64_t>{1, 3, 4}));
  // Other lengths: what was computed before is forgotten.
  evaluator.bindShape(test.argument(1), {1, 0, 4});
  mask = evaluator.evaluate(test.result(0));
  ASSERT_TRUE(succeeded(mask)) << evaluator.reason().str();
  EXPECT_EQ(print(*mask), "2x2: 1 0 1 1");
}

TEST(Evaluator, NeedsElementsWithoutShapeInference) {
  TestModule test(kMask);
  Evaluator evaluator;
  evaluator.bindShape(test.argument(0), {1, 2});
  evaluator.bindShape(test.argument(1), {1, 1, 4});
  EXPECT_TRUE(failed(evaluator.evaluate(test.result(0))));
  EXPECT_EQ(evaluator.reason(), "depends on the elements of argument 'past.0'");
}

TEST(Evaluator, HandlesDeepGraphs) {
  std::string text = "func.func @main(%v0: tensor<i64>) -> tensor<i64> {\n"
                     "  %c = nju.constant dense<1> : tensor<i64>\n";
  for (int i = 0; i < 100000; ++i)
    text += "  %v" + std::to_string(i + 1) + " = nju.add %v" +
            std::to_string(i) +
            ", %c : (tensor<i64>, tensor<i64>) -> tensor<i64>\n";
  TestModule test(text + "  return %v100000 : tensor<i64>\n}\n");
  Evaluator evaluator;
  evaluator.bind(
      test.argument(0),
      HostTensor::fromInts(IntegerType::get(&test.context, 64), {}, 5));
  FailureOr<HostTensor> tensor = evaluator.evaluate(test.result());
  ASSERT_TRUE(succeeded(tensor));
  EXPECT_EQ(tensor->getInt(0), 100005);
}

TEST(Evaluator, MasksAreFast) {
  TestModule test(kMask);
  ShapeInference shapes;
  ASSERT_TRUE(succeeded(shapes.inferFunction(test.main)));
  Evaluator evaluator(&shapes);
  evaluator.bindShape(test.argument(0), {1, 2048});
  evaluator.bindShape(test.argument(1), {1, 0, 4});
  auto start = std::chrono::steady_clock::now();
  ASSERT_TRUE(succeeded(evaluator.evaluate(test.result(0))));
  std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  RecordProperty("seconds", std::to_string(time.count()));
  EXPECT_LT(time.count(), 1.0); // Takes a few milliseconds.
}

} // namespace
