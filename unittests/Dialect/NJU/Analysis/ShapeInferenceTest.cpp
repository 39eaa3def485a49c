//===- ShapeInferenceTest.cpp - Tests of shape inference -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestModule.h"
#include "mlir/IR/Builders.h"
#include <chrono>

using namespace mlir;
using namespace nju;

namespace {

/// Infers @main and prints the dimensions of what it returns.
std::string inferDims(llvm::StringRef text) {
  TestModule test(text);
  ShapeInference shapes;
  if (failed(shapes.inferFunction(test.main)))
    return test.diagnostics;
  std::string result;
  for (Value value : test.main.getBody().back().getTerminator()->getOperands())
    result += toString(shapes.dims(value));
  return result;
}

/// The same for the elements of the first returned value.
std::string inferContent(llvm::StringRef text) {
  TestModule test(text);
  ShapeInference shapes;
  if (failed(shapes.inferFunction(test.main)))
    return test.diagnostics;
  auto content = shapes.content(test.result());
  return content ? toString(*content) : "none";
}

TEST(ShapeInference, ReadsArguments) {
  EXPECT_EQ(inferDims(R"(
    func.func @main(%x: tensor<?x?x4xf32> {nju.dims = ["batch", "past + s", "ignored"]}) -> tensor<?x?x4xf32> {
      return %x : tensor<?x?x4xf32>
    })"),
            "[batch, past + s, 4]");
}

// optimum writes "+ 1" for a mask as long as the past and all new tokens.
TEST(ShapeInference, DoesNotTrustPastPlusOne) {
  TestModule test(R"(
    func.func @main(%m: tensor<?xi64> {nju.dims = ["past_sequence_length + 1"]}, %p: tensor<?xf32> {nju.dims = ["past_sequence_length"]}) {
      return
    })");
  ShapeInference shapes;
  ASSERT_TRUE(succeeded(shapes.inferFunction(test.main)));
  SymbolicExpr mask = shapes.dims(test.argument(0))[0];
  EXPECT_TRUE(mask.isNamedSymbol());
  EXPECT_NE(mask, shapes.dims(test.argument(1))[0] + 1);
}

TEST(ShapeInference, AnonymousDimensionsDiffer) {
  TestModule test(R"(
    func.func @main(%x: tensor<?x?xf32>) { return })");
  ShapeInference shapes;
  llvm::SmallVector<SymbolicExpr> dims(shapes.dims(test.argument(0)));
  EXPECT_NE(dims[0], dims[1]);
  EXPECT_EQ(shapes.dims(test.argument(0))[0], dims[0]);
}

TEST(ShapeInference, JoinsCaches) {
  EXPECT_EQ(inferDims(R"(
    func.func @main(%p: tensor<?x2x?x8xf32> {nju.dims = ["b", "", "past", ""]}, %k: tensor<?x2x?x8xf32> {nju.dims = ["b", "", "s", ""]}) -> tensor<?x?x?x?xf32> {
      %0 = nju.concat %p, %k {axis = 2 : i64} : (tensor<?x2x?x8xf32>, tensor<?x2x?x8xf32>) -> tensor<?x?x?x?xf32>
      return %0 : tensor<?x?x?x?xf32>
    })"),
            "[b, 2, past + s, 8]");
}

TEST(ShapeInference, BroadcastPrefersTheBetterKnown) {
  EXPECT_EQ(inferDims(R"(
    func.func @main(%a: tensor<?x1x?xf32>, %b: tensor<?x?xf32> {nju.dims = ["s", "t"]}, %c: tensor<7xf32>) -> (tensor<?x?x?xf32>, tensor<?x?xf32>) {
      %0 = nju.add %a, %b : (tensor<?x1x?xf32>, tensor<?x?xf32>) -> tensor<?x?x?xf32>
      %1 = nju.add %b, %c : (tensor<?x?xf32>, tensor<7xf32>) -> tensor<?x?xf32>
      return %0, %1 : tensor<?x?x?xf32>, tensor<?x?xf32>
    })"),
            "[?0, s, t][s, 7]");
}

TEST(ShapeInference, SolvesTheRestOfAReshape) {
  EXPECT_EQ(inferDims(R"(
    func.func @main(%x: tensor<?x?x64xf32> {nju.dims = ["b", "s", ""]}) -> (tensor<?x?xf32>, tensor<?x?x?x?xf32>, tensor<?x?xf32>) {
      %a = nju.constant dense<[-1, 64]> : tensor<2xi64>
      %b = nju.constant dense<[0, 0, -1, 16]> : tensor<4xi64>
      %c = nju.constant dense<[-1, 3]> : tensor<2xi64>
      %0 = nju.reshape %x, %a : (tensor<?x?x64xf32>, tensor<2xi64>) -> tensor<?x?xf32>
      %1 = nju.reshape %x, %b : (tensor<?x?x64xf32>, tensor<4xi64>) -> tensor<?x?x?x?xf32>
      %2 = nju.reshape %x, %c : (tensor<?x?x64xf32>, tensor<2xi64>) -> tensor<?x?xf32>
      return %0, %1, %2 : tensor<?x?xf32>, tensor<?x?x?x?xf32>, tensor<?x?xf32>
    })"),
            "[b*s, 64][b, s, 4, 16][floordiv(64*b*s, 3), 3]");
}

// Nobody knows the second entry, but the number of elements says it.
TEST(ShapeInference, SolvesAnUnknownEntryOfAReshape) {
  EXPECT_EQ(inferDims(R"(
    func.func @main(%x: tensor<?x64xf32> {nju.dims = ["s", ""]}, %n: tensor<1xi64>) -> tensor<?x?xf32> {
      %a = nju.constant dense<32> : tensor<1xi64>
      %b = nju.concat %a, %n {axis = 0 : i64} : (tensor<1xi64>, tensor<1xi64>) -> tensor<2xi64>
      %0 = nju.reshape %x, %b : (tensor<?x64xf32>, tensor<2xi64>) -> tensor<?x?xf32>
      return %0 : tensor<?x?xf32>
    })"),
            "[32, 2*s]");
}

/// Dimensions of `table[start:end]`, where the bounds are made of p and s.
std::string sliceDims(llvm::StringRef type, llvm::StringRef bounds) {
  return inferDims(
      (R"(
    func.func @main(%t: )" +
       type +
       R"( {nju.dims = ["n"]}, %x: tensor<?x?xf32> {nju.dims = ["past", "s"]}) -> tensor<?xf32> {
      %d = nju.shape_of %x : (tensor<?x?xf32>) -> tensor<2xi64>
      %zero = nju.constant dense<0> : tensor<1xi64>
      %one = nju.constant dense<1> : tensor<1xi64>
      %back = nju.constant dense<-1> : tensor<1xi64>
      %all = nju.constant dense<9223372036854775807> : tensor<1xi64>
      %five = nju.constant dense<5> : tensor<1xi64>
      %p = nju.gather %d, %zero {axis = 0 : i64} : (tensor<2xi64>, tensor<1xi64>) -> tensor<1xi64>
      %s = nju.gather %d, %one {axis = 0 : i64} : (tensor<2xi64>, tensor<1xi64>) -> tensor<1xi64>
      %ps = nju.add %p, %s : (tensor<1xi64>, tensor<1xi64>) -> tensor<1xi64>
      %ms = nju.neg %s : (tensor<1xi64>) -> tensor<1xi64>
      %0 = nju.slice %t, )" +
       bounds + R"( {axes = array<i64: 0>} : ()" + type +
       R"(, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?xf32>
      return %0 : tensor<?xf32>
    })")
          .str());
}

TEST(ShapeInference, SlicesBySymbolicBounds) {
  EXPECT_EQ(sliceDims("tensor<1024xf32>", "%zero, %s, %one"), "[s]");
  EXPECT_EQ(sliceDims("tensor<1024xf32>", "%p, %ps, %one"), "[s]");
  EXPECT_EQ(sliceDims("tensor<1024xf32>", "%p, %all, %one"), "[-past + 1024]");
  EXPECT_EQ(sliceDims("tensor<?xf32>", "%p, %all, %one"), "[n - past]");
  EXPECT_EQ(sliceDims("tensor<?xf32>", "%ms, %all, %one"), "[s]");
  EXPECT_EQ(sliceDims("tensor<?xf32>", "%back, %all, %one"), "[1]");
  EXPECT_EQ(sliceDims("tensor<?xf32>", "%zero, %back, %one"), "[n - 1]");
  EXPECT_EQ(sliceDims("tensor<?xf32>", "%zero, %five, %one"), "[min(n, 5)]");
  EXPECT_EQ(sliceDims("tensor<?xf32>", "%zero, %one, %one"), "[1]");
  EXPECT_EQ(sliceDims("tensor<?xf32>", "%s, %s, %one"), "[0]");
  EXPECT_EQ(sliceDims("tensor<3xf32>", "%zero, %five, %five"), "[1]");
  EXPECT_EQ(sliceDims("tensor<?xf32>", "%zero, %all, %five"),
            "[-floordiv(-n, 5)]");
  EXPECT_EQ(sliceDims("tensor<3xf32>", "%five, %zero, %back"), "[2]");
}

TEST(ShapeInference, FollowsIntegers) {
  EXPECT_EQ(inferContent(R"(
    func.func @main(%x: tensor<?x?xf32> {nju.dims = ["past", "s"]}) -> tensor<8xi64> {
      %d = nju.shape_of %x : (tensor<?x?xf32>) -> tensor<2xi64>
      %two = nju.constant dense<2> : tensor<i64>
      %minus = nju.constant dense<-1> : tensor<i64>
      %fill = nju.constant dense<7> : tensor<2xi64>
      %0 = nju.mul %d, %two : (tensor<2xi64>, tensor<i64>) -> tensor<2xi64>
      %1 = nju.div %d, %two : (tensor<2xi64>, tensor<i64>) -> tensor<2xi64>
      %e = nju.compare eq %d, %minus : (tensor<2xi64>, tensor<i64>) -> tensor<2xi1>
      %2 = nju.select %e, %fill, %d : (tensor<2xi1>, tensor<2xi64>, tensor<2xi64>) -> tensor<2xi64>
      %h = nju.cast %d : (tensor<2xi64>) -> tensor<2xi32>
      %m = nju.cast %h : (tensor<2xi32>) -> tensor<2xi64>
      %3 = nju.sub %m, %fill : (tensor<2xi64>, tensor<2xi64>) -> tensor<2xi64>
      %4 = nju.concat %0, %1, %2, %3 {axis = 0 : i64} : (tensor<2xi64>, tensor<2xi64>, tensor<2xi64>, tensor<2xi64>) -> tensor<8xi64>
      return %4 : tensor<8xi64>
    })"),
            "[2*past, 2*s, floordiv(past, 2), floordiv(s, 2), past, s, "
            "past - 7, s - 7]");
}

TEST(ShapeInference, DecidesComparisons) {
  // s >= 1 is known, s > 1 is not.
  std::string text = inferContent(R"(
    func.func @main(%x: tensor<?xf32> {nju.dims = ["s"]}) -> tensor<4xi1> {
      %d = nju.shape_of %x : (tensor<?xf32>) -> tensor<1xi64>
      %one = nju.constant dense<1> : tensor<1xi64>
      %0 = nju.compare ge %d, %one : (tensor<1xi64>, tensor<1xi64>) -> tensor<1xi1>
      %1 = nju.compare lt %d, %one : (tensor<1xi64>, tensor<1xi64>) -> tensor<1xi1>
      %2 = nju.compare ne %d, %d : (tensor<1xi64>, tensor<1xi64>) -> tensor<1xi1>
      %3 = nju.compare gt %d, %one : (tensor<1xi64>, tensor<1xi64>) -> tensor<1xi1>
      %4 = nju.concat %0, %1, %2, %3 {axis = 0 : i64} : (tensor<1xi1>, tensor<1xi1>, tensor<1xi1>, tensor<1xi1>) -> tensor<4xi1>
      return %4 : tensor<4xi1>
    })");
  EXPECT_TRUE(llvm::StringRef(text).starts_with("[1, 0, 0, ?")) << text;
}

TEST(ShapeInference, WrapsNarrowIntegers) {
  EXPECT_EQ(inferContent(R"(
    func.func @main() -> tensor<2xi8> {
      %a = nju.constant dense<[127, -128]> : tensor<2xi8>
      %0 = nju.add %a, %a : (tensor<2xi8>, tensor<2xi8>) -> tensor<2xi8>
      return %0 : tensor<2xi8>
    })"),
            "[-2, 0]");
}

TEST(ShapeInference, FollowsFloatsThatAreIntegers) {
  EXPECT_EQ(inferDims(R"(
    func.func @main(%x: tensor<?xf32> {nju.dims = ["s"]}) -> tensor<?xf32> {
      %d = nju.shape_of %x : (tensor<?xf32>) -> tensor<1xi64>
      %none = nju.constant dense<> : tensor<0xi64>
      %n = nju.reshape %d, %none : (tensor<1xi64>, tensor<0xi64>) -> tensor<i64>
      %l = nju.cast %n : (tensor<i64>) -> tensor<f32>
      %a = nju.constant dense<0.0> : tensor<f32>
      %b = nju.constant dense<1.0> : tensor<f32>
      %0 = nju.range %a, %l, %b : (tensor<f32>, tensor<f32>, tensor<f32>) -> tensor<?xf32>
      return %0 : tensor<?xf32>
    })"),
            "[s]");
}

TEST(ShapeInference, UnknownElementsStayTheSame) {
  EXPECT_EQ(inferDims(R"(
    func.func @main(%n: tensor<i64>) -> (tensor<?xi64>, tensor<?xi64>) {
      %zero = nju.constant dense<0> : tensor<i64>
      %one = nju.constant dense<1> : tensor<i64>
      %0 = nju.range %zero, %n, %one : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
      %1 = nju.range %one, %n, %one : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
      return %0, %1 : tensor<?xi64>, tensor<?xi64>
    })"),
            "[?0][?0 - 1]");
}

TEST(ShapeInference, MakesStaticByOverride) {
  TestModule test(R"(
    func.func @main(%x: tensor<?x?x8xf32> {nju.dims = ["batch", "s", ""]}) -> tensor<?x?x8xf32> {
      %0 = nju.exp %x : (tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
      return %0 : tensor<?x?x8xf32>
    })");
  ShapeInference shapes;
  SymbolicExpr one = shapes.getContext().constant(1);
  shapes.setDims(test.argument(0), {one, shapes.getContext().symbol("s"),
                                    shapes.getContext().constant(8)});
  ASSERT_TRUE(succeeded(shapes.infer(test.result().getDefiningOp())));
  EXPECT_EQ(toString(shapes.dims(test.result())), "[1, s, 8]");
  EXPECT_TRUE(cast<RankedTensorType>(test.result().getType()).isDynamicDim(1));
  EXPECT_EQ(cast<RankedTensorType>(test.result().getType()).getDimSize(0), 1);
}

// Ops made by C++ code are not verified yet.
TEST(ShapeInference, ReportsWhatTheVerifierWouldSee) {
  TestModule test(R"(
    func.func @main(%x: tensor<2x3xf32>, %w: tensor<4xf32>) { return })");
  OpBuilder builder(test.main.getBody().back().getTerminator());
  ShapeInference shapes;
  Type type = test.argument(0).getType();
  auto transpose =
      TransposeOp::create(builder, builder.getUnknownLoc(), type,
                          test.argument(0), llvm::ArrayRef<int64_t>{0, 0});
  EXPECT_TRUE(failed(shapes.infer(transpose)));
  EXPECT_NE(test.diagnostics.find("has permutation [0, 0] for an operand of "
                                  "rank 2, expected each dimension once"),
            std::string::npos)
      << test.diagnostics;
  auto norm = RMSNormOp::create(builder, builder.getUnknownLoc(), type,
                                test.argument(0), test.argument(1),
                                builder.getF64FloatAttr(1e-5));
  EXPECT_TRUE(failed(shapes.infer(norm)));
  EXPECT_NE(test.diagnostics.find("scales 'tensor<2x3xf32>' by "
                                  "'tensor<4xf32>', expected a vector as long "
                                  "as the last dimension"),
            std::string::npos)
      << test.diagnostics;
}

TEST(ShapeInference, IsFast) {
  std::string text = "func.func @main(%v0: tensor<?x?x64xf32> {nju.dims = "
                     "[\"b\", \"s\", \"\"]}) {\n"
                     "  %c = nju.constant dense<[0, -1, 64]> : tensor<3xi64>\n";
  for (int i = 0; i < 20000; ++i)
    text += "  %v" + std::to_string(i + 1) + " = nju.reshape %v" +
            std::to_string(i) +
            ", %c : (tensor<?x?x64xf32>, tensor<3xi64>) -> "
            "tensor<?x?x64xf32>\n";
  TestModule test(text + "  return\n}\n");
  auto start = std::chrono::steady_clock::now();
  ShapeInference shapes;
  ASSERT_TRUE(succeeded(shapes.inferFunction(test.main)));
  std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  RecordProperty("seconds", std::to_string(time.count()));
  EXPECT_LT(time.count(), 2.0); // Takes some 0.1 s.
}

} // namespace
