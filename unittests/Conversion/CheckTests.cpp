//===- CheckTests.cpp - Inputs that contradict each other -------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Graphs whose inputs do not fit each other: the run ends with an error that
// names the node and both numbers.
//
//===----------------------------------------------------------------------===//

#include "GraphJIT.h"
#include "mlir/IR/BuiltinTypes.h"
#include "llvm/ADT/STLExtras.h"
#include "gtest/gtest.h"

using namespace nju;
using namespace nju::test;

namespace {

struct Contradiction {
  const char *name;
  /// The op whose location is the node 'here'.
  const char *text;
  /// Shape and, of integers, elements of each input.
  std::vector<std::pair<std::vector<int64_t>, std::vector<int64_t>>> inputs;
  const char *message;
  int64_t first, second;
};

void PrintTo(const Contradiction &graph, std::ostream *os) {
  *os << graph.name;
}

class CheckTest : public testing::TestWithParam<Contradiction> {};

} // namespace

TEST_P(CheckTest, IsReported) {
  const Contradiction &graph = GetParam();
  GraphJIT jit(graph.text);
  ASSERT_TRUE(jit.isUsable());
  std::vector<HostTensor> inputs;
  for (auto [type, input] : llvm::zip_equal(jit.inputTypes(), graph.inputs)) {
    int64_t count = 1;
    for (int64_t size : input.first)
      count *= size;
    mlir::Type element = type.getElementType();
    if (element.isIntOrIndex())
      inputs.push_back(
          HostTensor::fromInts(element, input.first, input.second));
    else
      inputs.push_back(HostTensor::fromFloats(element, input.first,
                                              std::vector<double>(count, 1)));
  }
  auto [message, first, second] = jit.runFailing(inputs);
  EXPECT_EQ(message, graph.message);
  EXPECT_EQ(first, graph.first);
  EXPECT_EQ(second, graph.second);
}

static const Contradiction kContradictions[] = {
    {"broadcast",
     R"(
func.func @main(%a: tensor<?x?xf32>, %b: tensor<?x?xf32>) -> tensor<?x?xf32> {
  %y = nju.add %a, %b : (tensor<?x?xf32>, tensor<?x?xf32>) -> tensor<?x?xf32> loc("here")
  return %y : tensor<?x?xf32>
})",
     {{{2, 3}, {}}, {{2, 5}, {}}},
     "node 'here': cannot broadcast a size of {0} to {1}",
     5,
     3},
    {"broadcast_to_static",
     R"(
func.func @main(%a: tensor<?xf32>, %b: tensor<5xf32>) -> tensor<?xf32> {
  %y = nju.add %a, %b : (tensor<?xf32>, tensor<5xf32>) -> tensor<?xf32> loc("here")
  return %y : tensor<?xf32>
})",
     {{{3}, {}}, {{5}, {}}},
     "node 'here': cannot broadcast a size of {0} to {1}",
     3,
     5},
    {"broadcast_then_used_as_assumed",
     R"(
func.func @main(%a: tensor<?xf32>, %b: tensor<?xf32>) -> tensor<f32> {
  %y = nju.add %a, %b : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32> loc("here")
  %s = nju.reduce_sum %y {axes = array<i64: 0>} : (tensor<?xf32>) -> tensor<f32>
  return %s : tensor<f32>
})",
     {{{1}, {}}, {{4}, {}}},
     "node 'here': found a size of {0}, expected {1}",
     4,
     1},
    {"matmul",
     R"(
func.func @main(%a: tensor<?x?xf32>, %b: tensor<?x?xf32>) -> tensor<?x?xf32> {
  %y = nju.matmul %a, %b : (tensor<?x?xf32>, tensor<?x?xf32>) -> tensor<?x?xf32> loc("here")
  return %y : tensor<?x?xf32>
})",
     {{{2, 3}, {}}, {{4, 5}, {}}},
     "node 'here': found a size of {0}, expected {1}",
     4,
     3},
    {"concat",
     R"(
func.func @main(%a: tensor<?x?xf32>, %b: tensor<?x?xf32>) -> tensor<?x?xf32> {
  %y = nju.concat %a, %b {axis = 0 : i64} : (tensor<?x?xf32>, tensor<?x?xf32>) -> tensor<?x?xf32> loc("here")
  return %y : tensor<?x?xf32>
})",
     {{{2, 3}, {}}, {{2, 4}, {}}},
     "node 'here': found a size of {0}, expected {1}",
     4,
     3},
    {"reshape",
     R"(
func.func @main(%a: tensor<?xf32>, %shape: tensor<2xi64>) -> tensor<?x?xf32> {
  %y = nju.reshape %a, %shape : (tensor<?xf32>, tensor<2xi64>) -> tensor<?x?xf32> loc("here")
  return %y : tensor<?x?xf32>
})",
     {{{6}, {}}, {{2}, {2, 400}}},
     "node 'here': cannot reshape {0} elements to {1}",
     6,
     800},
    {"reshape_to_negative",
     R"(
func.func @main(%a: tensor<?xf32>, %shape: tensor<2xi64>) -> tensor<?x?xf32> {
  %y = nju.reshape %a, %shape : (tensor<?xf32>, tensor<2xi64>) -> tensor<?x?xf32> loc("here")
  return %y : tensor<?x?xf32>
})",
     {{{6}, {}}, {{2}, {-2, -3}}},
     "node 'here': asks for a size of {0}, expected at least {1}",
     -2,
     0},
    {"gather",
     R"(
func.func @main(%a: tensor<?x3xf32>, %i: tensor<?xi64>) -> tensor<?x3xf32> {
  %y = nju.gather %a, %i {axis = 0 : i64} : (tensor<?x3xf32>, tensor<?xi64>) -> tensor<?x3xf32> loc("here")
  return %y : tensor<?x3xf32>
})",
     {{{4, 3}, {}}, {{3}, {0, 7, 2}}},
     "node 'here': index {0} is out of range for a size of {1}",
     7,
     4},
    {"gather_negative",
     R"(
func.func @main(%a: tensor<5x3xf32>, %i: tensor<?xi64>) -> tensor<?x3xf32> {
  %y = nju.gather %a, %i {axis = 0 : i64} : (tensor<5x3xf32>, tensor<?xi64>) -> tensor<?x3xf32> loc("here")
  return %y : tensor<?x3xf32>
})",
     {{{5, 3}, {}}, {{3}, {0, -6, 2}}},
     "node 'here': index {0} is out of range for a size of {1}",
     -6,
     5},
    {"embedding_of_the_padding",
     R"(
func.func @main(%w: tensor<2x3x32xf32>, %i: tensor<?xi64>) -> tensor<?x3xf32> {
  %y = nju.embedding %w, %i {columns = 40 : i64} : (tensor<2x3x32xf32>, tensor<?xi64>) -> tensor<?x3xf32> loc("here")
  return %y : tensor<?x3xf32>
})",
     {{{2, 3, 32}, {}}, {{3}, {39, 40, -40}}},
     "node 'here': index {0} is out of range for a size of {1}",
     40,
     40},
    {"gather_one",
     R"(
func.func @main(%a: tensor<?x3xf32>) -> tensor<3xf32> {
  %i = nju.constant dense<4> : tensor<i64>
  %y = nju.gather %a, %i {axis = 0 : i64} : (tensor<?x3xf32>, tensor<i64>) -> tensor<3xf32> loc("here")
  return %y : tensor<3xf32>
})",
     {{{4, 3}, {}}},
     "node 'here': index {0} is out of range for a size of {1}",
     4,
     4},
    {"named_sum_of_sizes",
     R"(
func.func @main(%past: tensor<?x4xf32> {nju.dims = ["past", ""]}, %new: tensor<?x4xf32> {nju.dims = ["new", ""]}, %mask: tensor<?x1xf32> {nju.dims = ["past + new", ""]}) -> tensor<?x4xf32> {
  %all = nju.concat %past, %new {axis = 0 : i64} : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32> loc("here")
  %y = nju.add %all, %mask : (tensor<?x4xf32>, tensor<?x1xf32>) -> tensor<?x4xf32> loc("add")
  return %y : tensor<?x4xf32>
})",
     {{{6, 4}, {}}, {{2, 4}, {}}, {{5, 1}, {}}},
     "node 'here': found a size of {0}, expected {1}",
     8,
     5},
};

INSTANTIATE_TEST_SUITE_P(Checks, CheckTest, testing::ValuesIn(kContradictions),
                         [](const auto &info) {
                           return std::string(info.param.name);
                         });

/// What a run allocated is freed where a check ends it: the second product
/// fails when the first one is there.
TEST(CheckMemoryTest, FreesWhatIsAllocated) {
  GraphJIT jit(R"(
func.func @main(%a: tensor<?x?xf32>, %shape: tensor<1xi64>) -> (tensor<?x?xf32>, tensor<?xf32>) {
  %t = nju.exp %a : (tensor<?x?xf32>) -> tensor<?x?xf32>
  %p = nju.matmul %t, %t : (tensor<?x?xf32>, tensor<?x?xf32>) -> tensor<?x?xf32>
  %i = nju.cast %p : (tensor<?x?xf32>) -> tensor<?x?xi64>
  %g = nju.gather %shape, %i {axis = 0 : i64} : (tensor<1xi64>, tensor<?x?xi64>) -> tensor<?x?xi64> loc("here")
  %f = nju.cast %g : (tensor<?x?xi64>) -> tensor<?x?xf32>
  %y = nju.reshape %f, %shape : (tensor<?x?xf32>, tensor<1xi64>) -> tensor<?xf32>
  return %p, %y : tensor<?x?xf32>, tensor<?xf32>
})");
  ASSERT_TRUE(jit.isUsable());
  mlir::Type f32 = jit.inputTypes()[0].getElementType();
  mlir::Type i64 = jit.inputTypes()[1].getElementType();
  std::vector<HostTensor> inputs = {
      HostTensor::fromFloats(f32, {2, 2}, {0, 0, 0, 0}),
      HostTensor::fromInts(i64, {1}, {4})};
  auto [message, first, second] = jit.runFailing(inputs);
  EXPECT_EQ(message,
            "node 'here': index {0} is out of range for a size of {1}");
  EXPECT_EQ(first, 2);
  EXPECT_EQ(second, 1);
}
