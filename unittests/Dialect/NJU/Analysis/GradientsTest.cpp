//===- GradientsTest.cpp - Gradients by finite differences ----------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Dialect/NJU/Analysis/Gradients.h"

#include "TestModule.h"
#include "nju/Dialect/NJU/Analysis/Evaluator.h"
#include <cmath>
#include <random>
#include <regex>

using namespace mlir;
using namespace nju;

namespace {

/// One op, %y of f32 operands %a, %b, ...; `types` are the operands' types.
struct GradientTest {
  GradientTest(llvm::StringRef prelude, llvm::StringRef op,
               std::vector<std::string> types, std::string resultType,
               double low = -1.5, double high = 1.5)
      : text(makeText(prelude, op, types, resultType)), low(low), high(high) {}

  static std::string makeText(llvm::StringRef prelude, llvm::StringRef op,
                              const std::vector<std::string> &types,
                              const std::string &resultType) {
    std::string arguments;
    for (size_t i = 0; i < types.size(); ++i)
      arguments += std::string(i ? ", %" : "%") + char('a' + i) + ": tensor<" +
                   types[i] + ">";
    return "func.func @main(" + arguments + ") -> tensor<" + resultType +
           "> {\n" + prelude.str() + "\n%y = " + op.str() +
           "\nreturn %y : tensor<" + resultType + ">\n}";
  }

  std::string text;
  double low, high;
};

/// The same numbers on every machine.
std::vector<double> makeUniform(int64_t count, unsigned seed, double low,
                                double high) {
  std::mt19937 random(seed);
  std::vector<double> values(count);
  for (double &value : values)
    value = low + (high - low) * (random() / 4294967296.0);
  return values;
}

/// Compares the gradient of sum(weights * y) with central differences of the
/// evaluator in f64: the same function with f64 in the place of f32.
void check(const GradientTest &t) {
  SCOPED_TRACE(t.text);
  TestModule narrow(t.text);
  TestModule wide(std::regex_replace(t.text, std::regex("f32>"), "f64>"));
  ASSERT_TRUE(narrow.main && wide.main);
  Operation *op = narrow.result().getDefiningOp();
  Operation *wideOp = wide.result().getDefiningOp();
  Type f32 = Float32Type::get(&narrow.context),
       f64 = Float64Type::get(&wide.context);

  Evaluator constants, wideConstants;
  llvm::SmallVector<HostTensor> operands, wideOperands;
  llvm::SmallVector<bool> wanted;
  std::vector<std::vector<double>> values;
  for (auto [value, wideValue] :
       llvm::zip(op->getOperands(), wideOp->getOperands())) {
    bool isArgument = isa<BlockArgument>(value);
    wanted.push_back(isArgument && hasGradient(op, wanted.size()));
    if (!isArgument) {
      operands.push_back(*constants.evaluate(value));
      wideOperands.push_back(*wideConstants.evaluate(wideValue));
      values.emplace_back();
      continue;
    }
    auto type = cast<RankedTensorType>(value.getType());
    // What f32 holds.
    std::vector<double> numbers =
        makeUniform(type.getNumElements(), operands.size() + 1, t.low, t.high);
    for (double &number : numbers)
      number = float(number);
    operands.push_back(HostTensor::fromFloats(f32, type.getShape(), numbers));
    wideOperands.push_back(
        HostTensor::fromFloats(f64, type.getShape(), numbers));
    values.push_back(std::move(numbers));
  }
  std::string reason;
  FailureOr<HostTensor> result = evaluateOp(op, operands, reason);
  ASSERT_TRUE(succeeded(result)) << reason;
  std::vector<double> weights =
      makeUniform(result->getNumElements(), 77, -1, 1);
  for (double &weight : weights)
    weight = float(weight);
  auto gradients = gradientOp(
      op, operands, *result,
      HostTensor::fromFloats(f32, result->getShape(), weights), wanted, reason);
  ASSERT_TRUE(succeeded(gradients)) << reason;

  auto getLoss = [&](unsigned operand, const std::vector<double> &numbers) {
    llvm::SmallVector<HostTensor> moved(wideOperands);
    moved[operand] =
        HostTensor::fromFloats(f64, operands[operand].getShape(), numbers);
    FailureOr<HostTensor> y = evaluateOp(wideOp, moved, reason);
    double loss = 0;
    for (size_t i = 0; i < weights.size(); ++i)
      loss += weights[i] * y->getFloat(i);
    return loss;
  };
  constexpr double kStep = 1e-5;
  for (unsigned operand = 0; operand < operands.size(); ++operand) {
    if (!wanted[operand])
      continue;
    std::vector<double> numbers = values[operand];
    ASSERT_EQ((*gradients)[operand].getShape(), operands[operand].getShape());
    for (size_t i = 0; i < numbers.size(); ++i) {
      double value = numbers[i];
      numbers[i] = value + kStep;
      double above = getLoss(operand, numbers);
      numbers[i] = value - kStep;
      double below = getLoss(operand, numbers);
      numbers[i] = value;
      double difference = (above - below) / (2 * kStep);
      EXPECT_NEAR((*gradients)[operand].getFloat(i), difference,
                  2e-5 * std::max(1., std::abs(difference)))
          << "operand " << operand << ", element " << i;
    }
  }
}

std::string unary(llvm::StringRef name, llvm::StringRef attributes = "") {
  return ("nju." + name + " %a " + attributes +
          " : (tensor<3x5xf32>) -> tensor<3x5xf32>")
      .str();
}

TEST(Gradients, UnaryOps) {
  for (const char *name :
       {"abs", "atan", "cos", "erf", "exp", "gelu", "neg", "relu", "sigmoid",
        "silu", "sin", "softplus", "tanh"})
    check({"", unary(name), {"3x5xf32"}, "3x5xf32"});
  for (const char *name : {"log", "reciprocal", "rsqrt", "sqrt"})
    check({"", unary(name), {"3x5xf32"}, "3x5xf32", 0.5, 2});
  check({"", unary("gelu", "{tanh}"), {"3x5xf32"}, "3x5xf32"});
}

TEST(Gradients, BinaryOpsAreBroadcast) {
  for (const char *name : {"add", "sub", "mul", "div", "max", "min"})
    for (auto [left, right] :
         {std::pair<const char *, const char *>{"2x3x5xf32", "2x3x5xf32"},
          {"2x3x5xf32", "5xf32"},
          {"2x1x5xf32", "3x1xf32"},
          {"f32", "2x3x5xf32"}}) {
      std::string result =
          llvm::StringRef(left) == "2x1x5xf32" ? "2x3x5xf32" : "2x3x5xf32";
      check({"",
             std::string("nju.") + name + " %a, %b : (tensor<" + left +
                 ">, tensor<" + right + ">) -> tensor<" + result + ">",
             {left, right},
             result,
             0.4,
             1.7});
    }
  check({"",
         "nju.swiglu %a, %b : (tensor<3x5xf32>, tensor<3x5xf32>) -> "
         "tensor<3x5xf32>",
         {"3x5xf32", "3x5xf32"},
         "3x5xf32"});
  check({"%e = nju.constant dense<[[3.0], [0.5]]> : tensor<2x1xf32>",
         "nju.pow %a, %e : (tensor<2x5xf32>, tensor<2x1xf32>) -> "
         "tensor<2x5xf32>",
         {"2x5xf32"},
         "2x5xf32",
         0.5,
         2});
  check({"%c = nju.constant dense<[true, false, true]> : tensor<3xi1>",
         "nju.select %c, %a, %b : (tensor<3xi1>, tensor<2x3xf32>, "
         "tensor<2x1xf32>) -> tensor<2x3xf32>",
         {"2x3xf32", "2x1xf32"},
         "2x3xf32"});
}

TEST(Gradients, DataMovement) {
  check({"%s = nju.constant dense<[5, -1]> : tensor<2xi64>",
         "nju.reshape %a, %s : (tensor<2x3x5xf32>, tensor<2xi64>) -> "
         "tensor<5x6xf32>",
         {"2x3x5xf32"},
         "5x6xf32"});
  check({"",
         "nju.transpose %a {permutation = array<i64: 2, 0, 1>} : "
         "(tensor<2x3x5xf32>) -> tensor<5x2x3xf32>",
         {"2x3x5xf32"},
         "5x2x3xf32"});
  check({"%s = nju.constant dense<[2, 1, 5]> : tensor<3xi64>",
         "nju.broadcast_to %a, %s : (tensor<3x1xf32>, tensor<3xi64>) -> "
         "tensor<2x3x5xf32>",
         {"3x1xf32"},
         "2x3x5xf32"});
  check({"%r = nju.constant dense<[2, 3]> : tensor<2xi64>",
         "nju.tile %a, %r : (tensor<2x5xf32>, tensor<2xi64>) -> "
         "tensor<4x15xf32>",
         {"2x5xf32"},
         "4x15xf32"});
  check({"%s = nju.constant dense<[1, -1]> : tensor<2xi64>\n"
         "%e = nju.constant dense<[7, -6]> : tensor<2xi64>\n"
         "%t = nju.constant dense<[2, -2]> : tensor<2xi64>",
         "nju.slice %a, %s, %e, %t {axes = array<i64: 0, 2>} : "
         "(tensor<4x3x7xf32>, tensor<2xi64>, tensor<2xi64>, tensor<2xi64>) -> "
         "tensor<2x3x3xf32>",
         {"4x3x7xf32"},
         "2x3x3xf32"});
  check({"",
         "nju.concat %a, %b {axis = 1 : i64} : (tensor<2x3x5xf32>, "
         "tensor<2x1x5xf32>) -> tensor<2x4x5xf32>",
         {"2x3x5xf32", "2x1x5xf32"},
         "2x4x5xf32"});
  check({"%i = nju.constant dense<[[2, 0], [2, -1]]> : tensor<2x2xi64>",
         "nju.gather %a, %i {axis = 1 : i64} : (tensor<2x3x5xf32>, "
         "tensor<2x2xi64>) -> tensor<2x2x2x5xf32>",
         {"2x3x5xf32"},
         "2x2x2x5xf32"});
}

TEST(Gradients, Reductions) {
  for (const char *attributes : {"{axis = 1 : i64}", "{axis = 1 : i64, log}",
                                 "{axis = 0 : i64}", "{axis = 2 : i64}"})
    check({"",
           std::string("nju.softmax %a ") + attributes +
               " : (tensor<2x3x5xf32>) -> tensor<2x3x5xf32>",
           {"2x3x5xf32"},
           "2x3x5xf32"});
  check({"",
         "nju.reduce_mean %a {axes = array<i64: 0, 2>} : (tensor<2x3x5xf32>) "
         "-> tensor<3xf32>",
         {"2x3x5xf32"},
         "3xf32"});
  check({"",
         "nju.reduce_sum %a {axes = array<i64: 1>, keep_dims} : "
         "(tensor<2x3x5xf32>) -> tensor<2x1x5xf32>",
         {"2x3x5xf32"},
         "2x1x5xf32"});
}

TEST(Gradients, MatMul) {
  for (auto [left, right, result] :
       {std::tuple<const char *, const char *, const char *>{
            "3x5xf32", "5x7xf32", "3x7xf32"},
        {"2x3x5xf32", "5x7xf32", "2x3x7xf32"},
        {"2x1x3x5xf32", "3x5x2xf32", "2x3x3x2xf32"},
        {"5xf32", "2x5x3xf32", "2x3xf32"},
        {"2x3x5xf32", "5xf32", "2x3xf32"}})
    check({"",
           std::string("nju.matmul %a, %b : (tensor<") + left + ">, tensor<" +
               right + ">) -> tensor<" + result + ">",
           {left, right},
           result});
}

TEST(Gradients, Normalizations) {
  check({"%w = nju.constant dense<[1.0, -0.5, 2.0, 0.25, 1.5]> : "
         "tensor<5xf32>",
         "nju.rms_norm %a, %w {epsilon = 0.01 : f64} : (tensor<2x3x5xf32>, "
         "tensor<5xf32>) -> tensor<2x3x5xf32>",
         {"2x3x5xf32"},
         "2x3x5xf32"});
  check({"%w = nju.constant dense<[1.0, -0.5, 2.0, 0.25, 1.5]> : "
         "tensor<5xf32>",
         "nju.layer_norm %a, %w, %w {epsilon = 0.01 : f64} : "
         "(tensor<2x3x5xf32>, tensor<5xf32>, tensor<5xf32>) -> "
         "tensor<2x3x5xf32>",
         {"2x3x5xf32"},
         "2x3x5xf32"});
}

TEST(Gradients, Rope) {
  for (const char *attributes : {"", "{interleaved}"})
    check({"%c = nju.constant dense<[[[0.5, 0.25, 0.75, -1.0]], "
           "[[1.0, 0.5, -0.5, 2.0]]]> : tensor<2x1x4xf32>\n"
           "%s = nju.constant dense<[[[1.5, 0.25, 0.125, -1.0]], "
           "[[0.0, 0.5, -0.25, 3.0]]]> : tensor<2x1x4xf32>",
           std::string("nju.rope %a, %c, %s ") + attributes +
               " : (tensor<2x3x5xf32>, tensor<2x1x4xf32>, tensor<2x1x4xf32>) "
               "-> tensor<2x3x5xf32>",
           {"2x3x5xf32"},
           "2x3x5xf32"});
}

TEST(Gradients, Attention) {
  std::string types = "(tensor<2x4x3x5xf32>, tensor<2x2x7x5xf32>, "
                      "tensor<2x2x7x3xf32>) -> tensor<2x4x3x3xf32>";
  std::vector<std::string> operands = {"2x4x3x5xf32", "2x2x7x5xf32",
                                       "2x2x7x3xf32"};
  check({"", "nju.attention %a, %b, %c {scale = 0.4 : f64} : " + types,
         operands, "2x4x3x3xf32"});
  check({"", "nju.attention %a, %b, %c {scale = 0.4 : f64, causal} : " + types,
         operands, "2x4x3x3xf32"});
  // The logarithm of 0: a key that is not seen. The second query sees none.
  check({"%z = nju.constant dense<[[1.0, 1.5, 0.5, 0.0, 1.0, 2.0, 0.25], [0.0, "
         "0.0, 0.0, 0.0, 0.0, 0.0, 0.0], [1.0, 0.5, 1.0, 0.0, 0.25, 2.0, "
         "0.25]]> : tensor<3x7xf32>\n"
         "%m = nju.log %z : (tensor<3x7xf32>) -> tensor<3x7xf32>",
         "nju.attention %a, %b, %c mask(%m : tensor<3x7xf32>) {scale = 0.4 : "
         "f64} : " +
             types,
         operands, "2x4x3x3xf32"});
}

/// nju.cached_attention of whole sequences is nju.attention of each with a mask
/// for window and slopes, and maybe a cap.
void checkCachedAttention(llvm::StringRef attributes, int64_t window,
                          std::vector<double> slopes, double softcap = 0) {
  TestModule cached(
      ("func.func @main(%q: tensor<1x7x4x3xf32>, %k: tensor<1x7x2x3xf32>, %v: "
       "tensor<1x7x2x3xf32>, %p: tensor<7xi32>, %s: tensor<7xi32>) -> "
       "tensor<1x7x4x3xf32> {\n%y = nju.cached_attention %q, %k, %v, %p, %s "
       "{layer = 0 : i64, scale = 0.6 : f64" +
       attributes +
       "} : (tensor<1x7x4x3xf32>, tensor<1x7x2x3xf32>, tensor<1x7x2x3xf32>, "
       "tensor<7xi32>, tensor<7xi32>) -> tensor<1x7x4x3xf32>\n"
       "return %y : tensor<1x7x4x3xf32>\n}")
          .str());
  Type f32 = Float32Type::get(&cached.context),
       i32 = IntegerType::get(&cached.context, 32);
  // Two sequences whose tokens are mixed.
  std::vector<int64_t> positions = {0, 0, 1, 1, 2, 2, 3},
                       sequences = {5, 2, 5, 2, 2, 5, 5};
  std::vector<double> q = makeUniform(84, 1, -1, 1),
                      k = makeUniform(42, 2, -1, 1),
                      v = makeUniform(42, 3, -1, 1),
                      g = makeUniform(84, 4, -1, 1);
  for (auto *numbers : {&q, &k, &v, &g})
    for (double &number : *numbers)
      number = float(number);
  HostTensor result(f32, {1, 7, 4, 3});
  std::string reason;
  auto found = gradientOp(cached.result().getDefiningOp(),
                          {HostTensor::fromFloats(f32, {1, 7, 4, 3}, q),
                           HostTensor::fromFloats(f32, {1, 7, 2, 3}, k),
                           HostTensor::fromFloats(f32, {1, 7, 2, 3}, v),
                           HostTensor::fromInts(i32, {7}, positions),
                           HostTensor::fromInts(i32, {7}, sequences)},
                          result, HostTensor::fromFloats(f32, {1, 7, 4, 3}, g),
                          {true, true, true, false, false}, reason);
  ASSERT_TRUE(succeeded(found)) << reason;
  // The loss in f64, as the op's description says it.
  auto getLoss = [&] {
    double loss = 0;
    for (int64_t t = 0; t < 7; ++t)
      for (int64_t h = 0; h < 4; ++h) {
        double sum = 0, product = 0;
        for (int64_t j = 0; j < 7; ++j) {
          if (sequences[j] != sequences[t] || positions[j] > positions[t] ||
              positions[j] <= positions[t] - window)
            continue;
          double score = 0, value = 0;
          for (int64_t d = 0; d < 3; ++d) {
            score += q[(t * 4 + h) * 3 + d] * k[(j * 2 + h / 2) * 3 + d];
            value += g[(t * 4 + h) * 3 + d] * v[(j * 2 + h / 2) * 3 + d];
          }
          score *= 0.6;
          if (softcap != 0)
            score = softcap * std::tanh(score / softcap);
          double weight =
              std::exp(score + slopes[h] * (positions[j] - positions[t]));
          sum += weight;
          product += weight * value;
        }
        loss += product / sum;
      }
    return loss;
  };
  std::vector<double> *operands[] = {&q, &k, &v};
  for (int operand = 0; operand < 3; ++operand)
    for (size_t i = 0; i < operands[operand]->size(); ++i) {
      double &number = (*operands[operand])[i], value = number;
      number = value + 1e-5;
      double above = getLoss();
      number = value - 1e-5;
      double below = getLoss();
      number = value;
      EXPECT_NEAR((*found)[operand].getFloat(i), (above - below) / 2e-5, 1e-5)
          << attributes.str() << " operand " << operand << ", element " << i;
    }
}

TEST(Gradients, CachedAttention) {
  checkCachedAttention("", 100, {0, 0, 0, 0});
  checkCachedAttention(", window = 2 : i64", 2, {0, 0, 0, 0});
  checkCachedAttention(", slopes = array<f32: 0.5, 0.25, 0.125, 1.0>", 100,
                       {0.5, 0.25, 0.125, 1});
  checkCachedAttention(
      ", slopes = array<f32: 0.5, 0.25, 0.125, 1.0>, softcap = 0.5 : f64", 100,
      {0.5, 0.25, 0.125, 1}, 0.5);
}

TEST(Gradients, SayWhatIsWrong) {
  auto fail = [](const char *text, llvm::ArrayRef<HostTensor> operands,
                 const HostTensor &result, llvm::ArrayRef<bool> wanted,
                 Operation *op) {
    std::string reason;
    EXPECT_TRUE(
        failed(gradientOp(op, operands, result, result, wanted, reason)));
    EXPECT_EQ(reason, text);
  };
  TestModule round("func.func @main(%a: tensor<2xf32>) -> tensor<2xf32> {\n"
                   "%y = nju.round %a : (tensor<2xf32>) -> tensor<2xf32>\n"
                   "return %y : tensor<2xf32>\n}");
  HostTensor two(Float32Type::get(&round.context), {2});
  fail("no gradient is known", {two}, two, {true},
       round.result().getDefiningOp());
  TestModule add("func.func @main(%a: tensor<2xf64>) -> tensor<2xf64> {\n"
                 "%y = nju.add %a, %a : (tensor<2xf64>, tensor<2xf64>) -> "
                 "tensor<2xf64>\nreturn %y : tensor<2xf64>\n}");
  HostTensor wide(Float64Type::get(&add.context), {2});
  fail("a gradient of elements that are not f32", {wide, wide}, wide,
       {true, true}, add.result().getDefiningOp());
  TestModule cached(
      "func.func @main(%q: tensor<1x2x1x2xf32>, %p: tensor<2xi32>) -> "
      "tensor<1x2x1x2xf32> {\n%y = nju.cached_attention %q, %q, %q, %p, %p "
      "{layer = 0 : i64, scale = 1.0 : f64} : (tensor<1x2x1x2xf32>, "
      "tensor<1x2x1x2xf32>, tensor<1x2x1x2xf32>, tensor<2xi32>, tensor<2xi32>) "
      "-> tensor<1x2x1x2xf32>\nreturn %y : tensor<1x2x1x2xf32>\n}");
  HostTensor q(Float32Type::get(&cached.context), {1, 2, 1, 2});
  HostTensor p =
      HostTensor::fromInts(IntegerType::get(&cached.context, 32), {2}, {1, 1});
  fail("sequences whose positions are not 0, 1, 2, ...", {q, q, q, p, p}, q,
       {true, true, true, false, false}, cached.result().getDefiningOp());
}

} // namespace
