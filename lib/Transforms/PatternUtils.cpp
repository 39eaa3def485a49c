//===- PatternUtils.cpp - Matching of decomposed structures -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "PatternUtils.h"
#include <cmath>

using namespace mlir;
using namespace nju;

std::optional<double> nju::matchNumber(Value value) {
  while (auto cast = value.getDefiningOp<CastOp>())
    value = cast.getInput();
  auto constant = value.getDefiningOp<ConstantOp>();
  if (!constant || constant.getValue().getNumElements() != 1)
    return std::nullopt;
  auto elements = dyn_cast<DenseElementsAttr>(constant.getValue());
  if (!elements)
    return std::nullopt;
  if (isa<FloatType>(elements.getElementType())) {
    APFloat number = *elements.value_begin<APFloat>();
    bool losesInfo = false;
    number.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven,
                   &losesInfo);
    return number.convertToDouble();
  }
  if (elements.getElementType().isSignlessInteger())
    return (*elements.value_begin<APInt>()).signedRoundToDouble();
  return std::nullopt;
}

bool nju::isClose(double a, double b) {
  return std::abs(a - b) <= 1e-6 * std::abs(b);
}

/// The number in `number`, if meeting it leaves the rank of `other` alone.
static std::optional<double> numberBeside(Value number, Value other) {
  if (rankOf(number) > rankOf(other))
    return std::nullopt;
  return matchNumber(number);
}

/// One operand of a commutative op is a number.
static std::optional<WithNumber> splitNumber(Value lhs, Value rhs) {
  if (auto number = numberBeside(rhs, lhs))
    return WithNumber{lhs, *number};
  if (auto number = numberBeside(lhs, rhs))
    return WithNumber{rhs, *number};
  return std::nullopt;
}

std::optional<WithNumber> nju::matchScaled(Value value) {
  if (auto mul = value.getDefiningOp<MulOp>())
    return splitNumber(mul.getLhs(), mul.getRhs());
  if (auto neg = value.getDefiningOp<NegOp>())
    return WithNumber{neg.getInput(), -1.0};
  auto div = value.getDefiningOp<DivOp>();
  if (!div || !isa<FloatType>(div.getType().getElementType()))
    return std::nullopt;
  auto number = numberBeside(div.getRhs(), div.getLhs());
  if (!number || *number == 0.0)
    return std::nullopt;
  return WithNumber{div.getLhs(), 1.0 / *number};
}

std::optional<WithNumber> nju::matchShifted(Value value) {
  if (auto add = value.getDefiningOp<AddOp>())
    return splitNumber(add.getLhs(), add.getRhs());
  auto sub = value.getDefiningOp<SubOp>();
  if (!sub)
    return std::nullopt;
  auto number = numberBeside(sub.getRhs(), sub.getLhs());
  if (!number)
    return std::nullopt;
  return WithNumber{sub.getLhs(), -*number};
}

/// x if `value` is `x ^ exponent`.
static Value matchPower(Value value, double exponent) {
  auto pow = value.getDefiningOp<PowOp>();
  if (!pow)
    return nullptr;
  auto number = numberBeside(pow.getRhs(), pow.getLhs());
  return number && *number == exponent ? pow.getLhs() : Value();
}

Value nju::matchSquare(Value value) {
  auto mul = value.getDefiningOp<MulOp>();
  if (mul && mul.getLhs() == mul.getRhs())
    return mul.getLhs();
  return matchPower(value, 2.0);
}

Value nju::matchReciprocal(Value value) {
  if (auto reciprocal = value.getDefiningOp<ReciprocalOp>())
    return reciprocal.getInput();
  if (auto div = value.getDefiningOp<DivOp>()) {
    auto number = numberBeside(div.getLhs(), div.getRhs());
    return number && *number == 1.0 ? div.getRhs() : Value();
  }
  return matchPower(value, -1.0);
}

Value nju::matchSquareRoot(Value value) {
  if (auto sqrt = value.getDefiningOp<SqrtOp>())
    return sqrt.getInput();
  return matchPower(value, 0.5);
}

int64_t nju::lastDim(Value value) {
  auto type = cast<RankedTensorType>(value.getType());
  return type.getRank() ? type.getShape().back() : ShapedType::kDynamic;
}

/// True for a reduction over the last dimension alone, which is kept.
template <typename ReduceOp>
static bool reducesLast(ReduceOp op) {
  int64_t rank = op.getInput().getType().getRank();
  return op.getKeepDims() && op.getAxes().size() == 1 &&
         op.getAxes().front() == rank - 1;
}

Value nju::matchMeanOfLast(Value value) {
  if (auto mean = value.getDefiningOp<ReduceMeanOp>())
    return reducesLast(mean) ? mean.getInput() : Value();
  std::optional<WithNumber> scaled = matchScaled(value);
  if (!scaled)
    return nullptr;
  auto sum = scaled->value.getDefiningOp<ReduceSumOp>();
  if (!sum || !reducesLast(sum) ||
      ShapedType::isDynamic(lastDim(sum.getInput())))
    return nullptr;
  double size = static_cast<double>(lastDim(sum.getInput()));
  return isClose(scaled->number * size, 1.0) ? sum.getInput() : Value();
}

Value nju::createSplat(OpBuilder &builder, Location loc, RankedTensorType type,
                       double number) {
  Attribute element = builder.getFloatAttr(type.getElementType(), number);
  return ConstantOp::create(builder, loc,
                            DenseElementsAttr::get(type, element));
}

bool nju::isSplat(Value value, double number) {
  auto constant = value.getDefiningOp<ConstantOp>();
  if (!constant)
    return false;
  auto elements = dyn_cast<DenseElementsAttr>(constant.getValue());
  if (!elements || !elements.isSplat() ||
      !isa<FloatType>(elements.getElementType()))
    return false;
  APFloat element = elements.getSplatValue<APFloat>();
  bool losesInfo = false;
  element.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven,
                  &losesInfo);
  return element.convertToDouble() == number;
}
