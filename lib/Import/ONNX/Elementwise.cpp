//===- Elementwise.cpp - Element-wise ops of ONNX -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "NodeImporter.h"

using namespace mlir;
using namespace nju;
using namespace nju::onnx_import;

//===----------------------------------------------------------------------===//
// One operand
//===----------------------------------------------------------------------===//

template <typename OpTy>
static void importUnary(NodeImporter &node) {
  node.setOutput(node.create<OpTy>(node.input(0)));
}

template <typename OpTy>
static void importFloatUnary(NodeImporter &node) {
  Value input = node.input(0);
  if (node.checkFloat(input, "input 0"))
    node.setOutput(node.create<OpTy>(input));
}

//===----------------------------------------------------------------------===//
// Inverse and hyperbolic functions
//===----------------------------------------------------------------------===//

/// An op of one float, by a function that emits it.
template <Value (*emit)(NodeImporter &, Value)>
static void importFunction(NodeImporter &node) {
  Value x = node.input(0);
  if (node.checkFloat(x, "input 0"))
    node.setOutput(emit(node, x));
}

static Value plus(NodeImporter &node, Value x, double number) {
  return node.create<AddOp>({x, node.scalarLike(x, number)});
}

static Value times(NodeImporter &node, Value x, double number) {
  return node.create<MulOp>({x, node.scalarLike(x, number)});
}

static Value squared(NodeImporter &node, Value x) {
  return node.create<MulOp>({x, x});
}

/// `log(1 + x)` for x >= 0, which is exact for small x, too.
static Value emitLog1p(NodeImporter &node, Value x) {
  return node.create<SoftplusOp>(node.create<LogOp>(x));
}

/// `sign(x) * f(|x|)`.
template <typename F>
static Value emitOdd(NodeImporter &node, Value x, F f) {
  return node.create<MulOp>({node.create<SignOp>(x), f(node.create<AbsOp>(x))});
}

/// `2 * atan(sqrt((1 - x) / (1 + x)))`.
static Value emitAcos(NodeImporter &node, Value x) {
  Value quotient = node.create<DivOp>(
      {plus(node, node.create<NegOp>(x), 1), plus(node, x, 1)});
  return times(node, node.create<AtanOp>(node.create<SqrtOp>(quotient)), 2);
}

/// `2 * atan(x / (1 + sqrt((1 - x) * (1 + x))))`.
static Value emitAsin(NodeImporter &node, Value x) {
  Value product = node.create<MulOp>(
      {plus(node, node.create<NegOp>(x), 1), plus(node, x, 1)});
  Value divisor = plus(node, node.create<SqrtOp>(product), 1);
  return times(node, node.create<AtanOp>(node.create<DivOp>({x, divisor})), 2);
}

/// `log(1 + t + sqrt(t) * sqrt(t + 2))` with `t = x - 1`.
static Value emitAcosh(NodeImporter &node, Value x) {
  Value t = plus(node, x, -1);
  Value root = node.create<MulOp>(
      {node.create<SqrtOp>(t), node.create<SqrtOp>(plus(node, t, 2))});
  return emitLog1p(node, node.create<AddOp>({t, root}));
}

/// `log(1 + x + x^2 / (1 + sqrt(x^2 + 1)))` for x >= 0. Where x^2 would
/// overflow, x - 1 is what the quotient is.
static Value emitAsinh(NodeImporter &node, Value x) {
  return emitOdd(node, x, [&](Value x) {
    Value square = squared(node, x);
    Value divisor = plus(node, node.create<SqrtOp>(plus(node, square, 1)), 1);
    Value quotient = node.create<DivOp>({square, divisor});
    Type type = node.elementType(x);
    Value isLarge = node.compare(ComparePredicate::gt, x,
                                 node.scalar(type, type.isF16() ? 1e2 : 1e9));
    Value rest =
        node.create<SelectOp>({isLarge, plus(node, x, -1), quotient}, {}, type);
    return emitLog1p(node, node.create<AddOp>({x, rest}));
  });
}

/// `log(1 + 2 * x / (1 - x)) / 2` for x >= 0.
static Value emitAtanh(NodeImporter &node, Value x) {
  return emitOdd(node, x, [&](Value x) {
    Value quotient = node.create<DivOp>(
        {times(node, x, 2), plus(node, node.create<NegOp>(x), 1)});
    return times(node, emitLog1p(node, quotient), 0.5);
  });
}

static Value emitCosh(NodeImporter &node, Value x) {
  Value power = node.create<ExpOp>(x);
  Value inverse = node.create<ExpOp>(node.create<NegOp>(x));
  return times(node, node.create<AddOp>({power, inverse}), 0.5);
}

static Value emitTan(NodeImporter &node, Value x) {
  return node.create<DivOp>({node.create<SinOp>(x), node.create<CosOp>(x)});
}

/// By the tangent: the difference of powers would be inexact for small x.
static Value emitSinh(NodeImporter &node, Value x) {
  return node.create<MulOp>({node.create<TanhOp>(x), emitCosh(node, x)});
}

//===----------------------------------------------------------------------===//
// Tests and bits of one operand
//===----------------------------------------------------------------------===//

static void importBitwiseNot(NodeImporter &node) {
  Value input = node.input(0);
  if (node.checkInteger(input, "input 0"))
    node.setOutput(node.create<NotOp>(input));
}

static void importNot(NodeImporter &node) {
  Value input = node.input(0);
  if (node.checkType(input, node.attrs().getI1Type(), "input 0"))
    node.setOutput(node.create<NotOp>(input));
}

static void importIsNaN(NodeImporter &node) {
  Value input = node.input(0);
  if (node.checkFloat(input, "input 0"))
    node.setOutput(node.create<IsNaNOp>(input, {}, node.attrs().getI1Type()));
}

static void importIsInf(NodeImporter &node) {
  bool negative = node.boolAttr("detect_negative", true);
  bool positive = node.boolAttr("detect_positive", true);
  Value input = node.input(0);
  if (!node.checkFloat(input, "input 0"))
    return;
  Value result = node.create<IsInfOp>(input, {}, node.attrs().getI1Type());
  Value zero = node.scalarLike(input, 0);
  if (!negative)
    result = node.create<AndOp>(
        {result, node.compare(ComparePredicate::gt, input, zero)});
  if (!positive)
    result = node.create<AndOp>(
        {result, node.compare(ComparePredicate::lt, input, zero)});
  node.setOutput(result);
}

//===----------------------------------------------------------------------===//
// Two and more operands
//===----------------------------------------------------------------------===//

template <typename OpTy>
static void importBinary(NodeImporter &node) {
  Value lhs = node.input(0), rhs = node.input(1);
  if (node.checkSameType({lhs, rhs}))
    node.setOutput(node.create<OpTy>({lhs, rhs}));
}

template <typename OpTy>
static void importLogical(NodeImporter &node) {
  Type i1 = node.attrs().getI1Type();
  Value lhs = node.input(0), rhs = node.input(1);
  if (node.checkType(lhs, i1, "input 0") && node.checkType(rhs, i1, "input 1"))
    node.setOutput(node.create<OpTy>({lhs, rhs}));
}

template <typename OpTy>
static void importBitwise(NodeImporter &node) {
  Value lhs = node.input(0), rhs = node.input(1);
  if (node.checkInteger(lhs, "input 0") && node.checkSameType({lhs, rhs}))
    node.setOutput(node.create<OpTy>({lhs, rhs}));
}

static void importBitShift(NodeImporter &node) {
  std::string direction = node.stringAttr("direction", "");
  if (direction == "LEFT")
    return importBitwise<ShiftLeftOp>(node);
  if (direction == "RIGHT")
    return importBitwise<ShiftRightOp>(node);
  node.emitError() << "attribute 'direction' is '" << direction
                   << "', expected LEFT or RIGHT";
}

template <ComparePredicate predicate>
static void importCompare(NodeImporter &node) {
  Value lhs = node.input(0), rhs = node.input(1);
  if (node.checkSameType({lhs, rhs}))
    node.setOutput(node.compare(predicate, lhs, rhs));
}

/// Max, Min, Sum: any number of operands.
template <typename OpTy>
static Value combine(NodeImporter &node) {
  SmallVector<Value> inputs = node.inputs();
  if (!node.checkSameType(inputs))
    return {};
  Value result = inputs[0];
  for (Value input : llvm::drop_begin(inputs))
    result = node.create<OpTy>({result, input});
  return result;
}

template <typename OpTy>
static void importVariadic(NodeImporter &node) {
  node.setOutput(combine<OpTy>(node));
}

static void importMean(NodeImporter &node) {
  Value sum = combine<AddOp>(node);
  if (node.checkFloat(sum, "input 0"))
    node.setOutput(
        node.create<DivOp>({sum, node.scalarLike(sum, node.numInputs())}));
}

/// The result has the type of the base; the exponent may be of another one.
static void importPow(NodeImporter &node) {
  Value base = node.input(0), exponent = node.input(1);
  if (!base || !exponent)
    return;
  Type type = node.elementType(base), common = type;
  Type exponentType = node.elementType(exponent);
  bool isWider =
      exponentType.getIntOrFloatBitWidth() > type.getIntOrFloatBitWidth();
  if (isa<FloatType>(exponentType) && (!isa<FloatType>(type) || isWider))
    common = exponentType;
  node.setOutput(node.cast(node.create<PowOp>({node.cast(base, common),
                                               node.cast(exponent, common)}),
                           type));
}

static void importMod(NodeImporter &node) {
  bool truncated = node.boolAttr("fmod");
  Value lhs = node.input(0), rhs = node.input(1);
  if (!node.checkSameType({lhs, rhs}))
    return;
  if (!truncated && isa<FloatType>(node.elementType(lhs))) {
    node.emitError() << "divides floats with fmod = 0, expected fmod = 1";
    return;
  }
  SmallVector<NamedAttribute> attributes;
  if (truncated)
    attributes.push_back(node.unit("truncated"));
  node.setOutput(node.create<ModOp>({lhs, rhs}, attributes));
}

static void importWhere(NodeImporter &node) {
  Value condition = node.input(0), lhs = node.input(1), rhs = node.input(2);
  if (!node.checkType(condition, node.attrs().getI1Type(), "input 0") ||
      !node.checkSameType({lhs, rhs}))
    return;
  node.setOutput(
      node.create<SelectOp>({condition, lhs, rhs}, {}, node.elementType(lhs)));
}

/// The bounds are attributes before opset 11 and inputs since.
static void importClip(NodeImporter &node) {
  Value result = node.input(0), low, high;
  if (node.opset() < 11) {
    if (auto bound = node.floatAttr("min"))
      low = node.scalarLike(result, *bound);
    if (auto bound = node.floatAttr("max"))
      high = node.scalarLike(result, *bound);
  } else {
    low = node.input(1);
    high = node.input(2);
  }
  if ((low && !node.checkSameType({result, low})) ||
      (high && !node.checkSameType({result, high})))
    return;
  if (low)
    result = node.create<MaxOp>({result, low});
  if (high)
    result = node.create<MinOp>({result, high});
  node.setOutput(result);
}

static void registerUnaryOps(OpRegistry &registry) {
  registry.add("Abs", 6, 1, importUnary<AbsOp>);
  registry.add("Acos", 7, 1, importFunction<emitAcos>);
  registry.add("Acosh", 9, 1, importFunction<emitAcosh>);
  registry.add("Asin", 7, 1, importFunction<emitAsin>);
  registry.add("Asinh", 9, 1, importFunction<emitAsinh>);
  registry.add("Atan", 7, 1, importFloatUnary<AtanOp>);
  registry.add("Atanh", 9, 1, importFunction<emitAtanh>);
  registry.add("BitwiseNot", 18, 1, importBitwiseNot);
  registry.add("Ceil", 6, 1, importFloatUnary<CeilOp>);
  registry.add("Cos", 7, 1, importFloatUnary<CosOp>);
  registry.add("Cosh", 9, 1, importFunction<emitCosh>);
  registry.add("Erf", 9, 1, importFloatUnary<ErfOp>);
  registry.add("Exp", 6, 1, importFloatUnary<ExpOp>);
  registry.add("Floor", 6, 1, importFloatUnary<FloorOp>);
  registry.add("IsInf", 10, 1, importIsInf);
  registry.add("IsNaN", 9, 1, importIsNaN);
  registry.add("Log", 6, 1, importFloatUnary<LogOp>);
  registry.add("Neg", 6, 1, importUnary<NegOp>);
  registry.add("Not", 1, 1, importNot);
  registry.add("Reciprocal", 6, 1, importFloatUnary<ReciprocalOp>);
  registry.add("Round", 11, 1, importFloatUnary<RoundOp>);
  registry.add("Sign", 9, 1, importUnary<SignOp>);
  registry.add("Sin", 7, 1, importFloatUnary<SinOp>);
  registry.add("Sinh", 9, 1, importFunction<emitSinh>);
  registry.add("Sqrt", 6, 1, importFloatUnary<SqrtOp>);
  registry.add("Tan", 7, 1, importFunction<emitTan>);
}

void nju::onnx_import::registerElementwiseOps(OpRegistry &registry) {
  registerUnaryOps(registry);
  registry.add("Add", 7, 2, importBinary<AddOp>);
  registry.add("And", 7, 2, importLogical<AndOp>);
  registry.add("BitShift", 11, 2, importBitShift);
  registry.add("BitwiseAnd", 18, 2, importBitwise<AndOp>);
  registry.add("BitwiseOr", 18, 2, importBitwise<OrOp>);
  registry.add("BitwiseXor", 18, 2, importBitwise<XorOp>);
  registry.add("Clip", 6, {1, 3}, importClip);
  registry.add("Div", 7, 2, importBinary<DivOp>);
  registry.add("Equal", 7, 2, importCompare<ComparePredicate::eq>);
  registry.add("Greater", 7, 2, importCompare<ComparePredicate::gt>);
  registry.add("GreaterOrEqual", 12, 2, importCompare<ComparePredicate::ge>);
  registry.add("Less", 7, 2, importCompare<ComparePredicate::lt>);
  registry.add("LessOrEqual", 12, 2, importCompare<ComparePredicate::le>);
  registry.add("Max", 8, {1, Arity::kAny}, importVariadic<MaxOp>);
  registry.add("Mean", 8, {1, Arity::kAny}, importMean);
  registry.add("Min", 8, {1, Arity::kAny}, importVariadic<MinOp>);
  registry.add("Mod", 10, 2, importMod);
  registry.add("Mul", 7, 2, importBinary<MulOp>);
  registry.add("Or", 7, 2, importLogical<OrOp>);
  registry.add("Pow", 7, 2, importPow);
  registry.add("Sub", 7, 2, importBinary<SubOp>);
  registry.add("Sum", 8, {1, Arity::kAny}, importVariadic<AddOp>);
  registry.add("Where", 9, 3, importWhere);
  registry.add("Xor", 7, 2, importLogical<XorOp>);
}
