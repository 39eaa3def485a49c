//===- RowEvaluatorTest.cpp - Tests of the evaluation of rows -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Dialect/NJU/Analysis/RowEvaluator.h"
#include "TestModule.h"

using namespace mlir;
using namespace nju;

namespace {

/// Values of more elements than are evaluated as a whole.
constexpr int64_t kSize = 80;

/// %y of the body, of type 80x80: rows and columns equal those of the whole.
/// The operands are the numbers %row 80x1, %column 80, and some of the shapes.
void expectRowsOfWhole(llvm::StringRef type, llvm::StringRef body) {
  TestModule test(("func.func @main() -> " + type + R"( {
    %zero = nju.constant dense<0> : tensor<i64>
    %one = nju.constant dense<1> : tensor<i64>
    %size = nju.constant dense<80> : tensor<i64>
    %square = nju.constant dense<80> : tensor<2xi64>
    %column = nju.range %zero, %size, %one : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<80xi64>
    %row = nju.unsqueeze %column {axes = array<i64: 1>} : (tensor<80xi64>) -> tensor<80x1xi64>
    %scaled = nju.mul %row, %size : (tensor<80x1xi64>, tensor<i64>) -> tensor<80x1xi64>
    %all = nju.add %scaled, %column : (tensor<80x1xi64>, tensor<80xi64>) -> tensor<80x80xi64>
)" + body +
                   "\n return %y : " + type + "\n}")
                      .str());
  Evaluator evaluator;
  FailureOr<HostTensor> whole = evaluator.evaluate(test.result());
  ASSERT_TRUE(succeeded(whole)) << evaluator.reason().str();
  for (int64_t axis : {0, 1})
    for (auto [first, count] : {std::pair(0, 3), std::pair(7, 20),
                                std::pair(79, 1), std::pair(0, 80)}) {
      Evaluator fresh;
      RowEvaluator rows(fresh);
      FailureOr<HostTensor> some =
          rows.evaluate(test.result(), {axis, first, count});
      ASSERT_TRUE(succeeded(some)) << rows.reason().str();
      ASSERT_EQ(some->getDim(axis), count);
      ASSERT_EQ(some->getNumElements(), count * kSize);
      for (int64_t i = 0; i < kSize; ++i)
        for (int64_t j = 0; j < count; ++j) {
          int64_t at = axis == 0 ? j * kSize + i : i * count + j;
          int64_t in =
              axis == 0 ? (first + j) * kSize + i : i * kSize + first + j;
          ASSERT_EQ(some->getInt(at), whole->getInt(in))
              << "axis " << axis << ", " << first << ", " << count;
        }
    }
}

TEST(RowEvaluator, ElementwiseOpsBroadcast) {
  expectRowsOfWhole("tensor<80x80xi1>", R"(
    %y = nju.compare gt %column, %row : (tensor<80xi64>, tensor<80x1xi64>) -> tensor<80x80xi1>)");
}

TEST(RowEvaluator, TrianglesKnowTheirRow) {
  for (llvm::StringRef upper : {"", "{upper}"})
    for (llvm::StringRef k : {"zero", "one"})
      expectRowsOfWhole("tensor<80x80xi64>",
                        ("%y = nju.trilu %all, %" + k + " " + upper +
                         " : (tensor<80x80xi64>, tensor<i64>) -> "
                         "tensor<80x80xi64>")
                            .str());
}

TEST(RowEvaluator, PicksElements) {
  // Rows one further, and rows in reverse order, which are too far apart.
  for (llvm::StringRef order :
       {"nju.min %next, %last", "nju.sub %last, %row"}) {
    bool isReversed = order.contains("sub");
    llvm::StringRef types = isReversed ? "(tensor<i64>, tensor<80x1xi64>)"
                                       : "(tensor<80x1xi64>, tensor<i64>)";
    for (llvm::StringRef axis : {"0", "1"})
      expectRowsOfWhole(
          "tensor<80x80xi64>",
          (R"(
    %last = nju.constant dense<79> : tensor<i64>
    %next = nju.add %row, %one : (tensor<80x1xi64>, tensor<i64>) -> tensor<80x1xi64>
    %picks = )" +
           order + " : " + types + R"( -> tensor<80x1xi64>
    %indices = nju.broadcast_to %picks, %square : (tensor<80x1xi64>, tensor<2xi64>) -> tensor<80x80xi64>
    %y = nju.gather_elements %all, %indices {axis = )" +
           axis +
           R"( : i64} : (tensor<80x80xi64>, tensor<80x80xi64>) -> tensor<80x80xi64>)")
              .str());
  }
}

TEST(RowEvaluator, Movements) {
  expectRowsOfWhole("tensor<80x80xi64>", R"(
    %y = nju.transpose %all {permutation = array<i64: 1, 0>} : (tensor<80x80xi64>) -> tensor<80x80xi64>)");
  expectRowsOfWhole("tensor<80x80xi64>", R"(
    %shape = nju.constant dense<[80, 4, 20]> : tensor<3xi64>
    %t = nju.reshape %all, %shape : (tensor<80x80xi64>, tensor<3xi64>) -> tensor<80x4x20xi64>
    %y = nju.reshape %t, %square : (tensor<80x4x20xi64>, tensor<2xi64>) -> tensor<80x80xi64>)");
  expectRowsOfWhole("tensor<80x80xi64>", R"(
    %y = nju.broadcast_to %row, %square : (tensor<80x1xi64>, tensor<2xi64>) -> tensor<80x80xi64>)");
  expectRowsOfWhole("tensor<80x80xi64>", R"(
    %repeats = nju.constant dense<[1, 80]> : tensor<2xi64>
    %y = nju.tile %row, %repeats : (tensor<80x1xi64>, tensor<2xi64>) -> tensor<80x80xi64>)");
  expectRowsOfWhole("tensor<80x80xi64>", R"(
    %t = nju.unsqueeze %all {axes = array<i64: 0, 2>} : (tensor<80x80xi64>) -> tensor<1x80x1x80xi64>
    %y = nju.squeeze %t {axes = array<i64: 0, 2>} : (tensor<1x80x1x80xi64>) -> tensor<80x80xi64>)");
}

TEST(RowEvaluator, PartsAndLookups) {
  expectRowsOfWhole("tensor<80x80xi64>", R"(
    %two = nju.constant dense<[2, 0]> : tensor<2xi64>
    %end = nju.constant dense<[82, 80]> : tensor<2xi64>
    %step = nju.constant dense<1> : tensor<2xi64>
    %t = nju.concat %all, %all {axis = 0 : i64} : (tensor<80x80xi64>, tensor<80x80xi64>) -> tensor<160x80xi64>
    %y = nju.slice %t, %two, %end, %step {axes = array<i64: 0, 1>} : (tensor<160x80xi64>, tensor<2xi64>, tensor<2xi64>, tensor<2xi64>) -> tensor<80x80xi64>)");
  expectRowsOfWhole("tensor<80x80xi64>", R"(
    %back = nju.sub %size, %column : (tensor<i64>, tensor<80xi64>) -> tensor<80xi64>
    %at = nju.sub %back, %one : (tensor<80xi64>, tensor<i64>) -> tensor<80xi64>
    %t = nju.gather %all, %at {axis = 0 : i64} : (tensor<80x80xi64>, tensor<80xi64>) -> tensor<80x80xi64>
    %y = nju.gather %t, %at {axis = 1 : i64} : (tensor<80x80xi64>, tensor<80xi64>) -> tensor<80x80xi64>)");
  expectRowsOfWhole("tensor<80x80xi64>", R"(
    %at = nju.unsqueeze %all {axes = array<i64: 2>} : (tensor<80x80xi64>) -> tensor<80x80x1xi64>
    %flat = nju.constant dense<[-1]> : tensor<1xi64>
    %t = nju.reshape %all, %flat : (tensor<80x80xi64>, tensor<1xi64>) -> tensor<6400xi64>
    %y = nju.gather_nd %t, %at {batch_dims = 0 : i64} : (tensor<6400xi64>, tensor<80x80x1xi64>) -> tensor<80x80xi64>)");
  expectRowsOfWhole("tensor<80x80xi64>", R"(
    %y = nju.fill %square, %one : (tensor<2xi64>, tensor<i64>) -> tensor<80x80xi64>)");
}

TEST(RowEvaluator, BoundValuesAreAskedForAndForgotten) {
  TestModule test(R"(func.func @main(%x: tensor<?x?xf32>) -> tensor<?x?xf32> {
    %one = nju.constant dense<1.0> : tensor<f32>
    %y = nju.add %x, %one : (tensor<?x?xf32>, tensor<f32>) -> tensor<?x?xf32>
    return %y : tensor<?x?xf32>
  })");
  Value x = test.result().getDefiningOp()->getOperand(0);
  Evaluator evaluator;
  RowEvaluator rows(evaluator);
  EXPECT_TRUE(failed(rows.evaluate(test.result(), {0, 0, 1})));
  for (double number : {1.0, 2.0}) {
    rows.bind(x, [&](RowRange range) -> FailureOr<HostTensor> {
      return HostTensor::fromFloats(Float32Type::get(x.getContext()),
                                    {range.count, 1}, {number});
    });
    FailureOr<HostTensor> some = rows.evaluate(test.result(), {0, 5, 1});
    ASSERT_TRUE(succeeded(some));
    EXPECT_EQ(some->getFloat(0), number + 1.0);
  }
}

TEST(RowEvaluator, RefusesRowsThatAreNotThere) {
  TestModule test(R"(func.func @main() -> tensor<2xi64> {
    %y = nju.constant dense<1> : tensor<2xi64>
    return %y : tensor<2xi64>
  })");
  Evaluator evaluator;
  RowEvaluator rows(evaluator);
  EXPECT_TRUE(failed(rows.evaluate(test.result(), {0, 1, 2})));
  EXPECT_EQ(rows.reason(), "row 2 is wanted of 2");
}

} // namespace
