//===- Elementwise.cpp - Element-wise ops to linalg -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace nju::lowering;

namespace {

/// Emits the arithmetic of one element. Values are in arithmetic types, which
/// are signless: `isUnsigned` comes from the nju op.
class Element {
public:
  Element(ImplicitLocOpBuilder &b, Type elementType)
      : b(b), isFloat(isa<FloatType>(elementType)),
        isUnsigned(isNatural(elementType)) {}

  Value unary(Operation *op, Value x);
  Value binary(Operation *op, Value lhs, Value rhs);
  Value compare(nju::ComparePredicate predicate, Value lhs, Value rhs);
  Value cast(Value x, Type from, Type to);

  Value sigmoid(Value x) {
    return make<arith::DivFOp>(number(x, 1), onePlusExpOfMinus(x));
  }
  Value silu(Value x) { return make<arith::DivFOp>(x, onePlusExpOfMinus(x)); }

private:
  /// Folds, so that shape computations on constants vanish at once.
  template <typename OpTy, typename... Args>
  Value make(Args &&...args) {
    return b.createOrFold<OpTy>(std::forward<Args>(args)...);
  }
  Value number(Value like, double value) {
    return emitNumber(b, like.getType(), value);
  }
  Value onePlusExpOfMinus(Value x) {
    Value power = make<math::ExpOp>(make<arith::NegFOp>(x));
    return make<arith::AddFOp>(number(x, 1), power);
  }
  Value floatUnary(Operation *op, Value x);
  Value integerUnary(Operation *op, Value x);
  Value gelu(Value x, bool tanh);
  Value softplus(Value x);
  Value floatSign(Value x);
  Value quotient(Value lhs, Value rhs);
  Value floatRemainder(Value lhs, Value rhs, bool truncated);
  Value remainder(Value lhs, Value rhs, bool truncated);
  Value power(Value lhs, Value rhs);
  Value shift(Value x, Value count, bool left);
  Value castFromFloat(Value x, Type to);
  Value isZero(Value x) {
    return make<arith::CmpIOp>(arith::CmpIPredicate::eq, x, number(x, 0));
  }

  ImplicitLocOpBuilder &b;
  bool isFloat, isUnsigned;
};

Value Element::gelu(Value x, bool tanh) {
  Value inner;
  if (tanh) {
    Value cube = make<arith::MulFOp>(make<arith::MulFOp>(x, x), x);
    Value sum =
        make<arith::AddFOp>(x, make<arith::MulFOp>(cube, number(x, 0.044715)));
    inner = make<math::TanhOp>(
        make<arith::MulFOp>(sum, number(x, 0.7978845608028654)));
  } else {
    inner = make<math::ErfOp>(
        make<arith::MulFOp>(x, number(x, 0.7071067811865476)));
  }
  Value half = make<arith::MulFOp>(x, number(x, 0.5));
  return make<arith::MulFOp>(half, make<arith::AddFOp>(number(x, 1), inner));
}

/// log(1 + exp(x)) without overflow: max(x, 0) + log1p(exp(-|x|)).
Value Element::softplus(Value x) {
  Value minus = make<arith::NegFOp>(make<math::AbsFOp>(x));
  Value tail = make<math::Log1pOp>(make<math::ExpOp>(minus));
  return make<arith::AddFOp>(make<arith::MaximumFOp>(x, number(x, 0)), tail);
}

Value Element::floatSign(Value x) {
  Value zero = number(x, 0);
  Value positive = make<arith::CmpFOp>(arith::CmpFPredicate::OGT, x, zero);
  Value negative = make<arith::CmpFOp>(arith::CmpFPredicate::OLT, x, zero);
  Value rest = make<arith::SelectOp>(negative, number(x, -1), x);
  return make<arith::SelectOp>(positive, number(x, 1), rest);
}

Value Element::floatUnary(Operation *op, Value x) {
  using namespace nju;
  return llvm::TypeSwitch<Operation *, Value>(op)
      .Case<AbsOp>([&](auto) { return make<math::AbsFOp>(x); })
      .Case<AtanOp>([&](auto) { return make<math::AtanOp>(x); })
      .Case<CeilOp>([&](auto) { return make<math::CeilOp>(x); })
      .Case<CosOp>([&](auto) { return make<math::CosOp>(x); })
      .Case<ErfOp>([&](auto) { return make<math::ErfOp>(x); })
      .Case<ExpOp>([&](auto) { return make<math::ExpOp>(x); })
      .Case<FloorOp>([&](auto) { return make<math::FloorOp>(x); })
      .Case<GeluOp>([&](GeluOp gelu) { return this->gelu(x, gelu.getTanh()); })
      .Case<LogOp>([&](auto) { return make<math::LogOp>(x); })
      .Case<NegOp>([&](auto) { return make<arith::NegFOp>(x); })
      .Case<ReciprocalOp>(
          [&](auto) { return make<arith::DivFOp>(number(x, 1), x); })
      .Case<ReluOp>(
          [&](auto) { return make<arith::MaximumFOp>(x, number(x, 0)); })
      .Case<RoundOp>([&](auto) { return make<math::RoundEvenOp>(x); })
      .Case<RsqrtOp>([&](auto) {
        return make<arith::DivFOp>(number(x, 1), make<math::SqrtOp>(x));
      })
      .Case<SigmoidOp>([&](auto) { return sigmoid(x); })
      .Case<SignOp>([&](auto) { return floatSign(x); })
      .Case<SiluOp>([&](auto) { return silu(x); })
      .Case<SinOp>([&](auto) { return make<math::SinOp>(x); })
      .Case<SoftplusOp>([&](auto) { return softplus(x); })
      .Case<SqrtOp>([&](auto) { return make<math::SqrtOp>(x); })
      .Case<TanhOp>([&](auto) { return make<math::TanhOp>(x); })
      .Case<IsInfOp>([&](auto) {
        return make<arith::CmpFOp>(
            arith::CmpFPredicate::OEQ, make<math::AbsFOp>(x),
            number(x, std::numeric_limits<double>::infinity()));
      })
      .Case<IsNaNOp>([&](auto) {
        return make<arith::CmpFOp>(arith::CmpFPredicate::UNO, x, x);
      })
      .Default([](Operation *) { return Value(); });
}

Value Element::integerUnary(Operation *op, Value x) {
  using namespace nju;
  if (isa<CeilOp, FloorOp, RoundOp>(op))
    return x;
  if (isa<NotOp>(op))
    return make<arith::XOrIOp>(x, number(x, x.getType().isInteger(1) ? 1 : -1));
  if (isa<IsInfOp, IsNaNOp>(op))
    return emitNumber(b, b.getI1Type(), 0);
  Value zero = number(x, 0);
  if (isa<NegOp>(op))
    return make<arith::SubIOp>(zero, x);
  if (isa<AbsOp>(op))
    return isUnsigned ? x : make<math::AbsIOp>(x);
  if (isa<ReluOp>(op))
    return isUnsigned ? x : make<arith::MaxSIOp>(x, zero);
  if (isa<ReciprocalOp>(op))
    return quotient(number(x, 1), x);
  if (!isa<SignOp>(op))
    return {};
  Value one = number(x, 1);
  if (isUnsigned)
    return make<arith::MinUIOp>(x, one);
  return make<arith::MaxSIOp>(make<arith::MinSIOp>(x, one), number(x, -1));
}

Value Element::unary(Operation *op, Value x) {
  return isFloat ? floatUnary(op, x) : integerUnary(op, x);
}

/// Truncated; 0 for a divisor of 0, and no trap for the lowest number by -1.
Value Element::quotient(Value lhs, Value rhs) {
  Value zero = number(lhs, 0), one = number(lhs, 1);
  Value byZero = isZero(rhs);
  if (isUnsigned) {
    Value divisor = make<arith::SelectOp>(byZero, one, rhs);
    return make<arith::SelectOp>(byZero, zero,
                                 make<arith::DivUIOp>(lhs, divisor));
  }
  Value byMinusOne =
      make<arith::CmpIOp>(arith::CmpIPredicate::eq, rhs, number(rhs, -1));
  Value special = make<arith::OrIOp>(byZero, byMinusOne);
  Value divisor = make<arith::SelectOp>(special, one, rhs);
  Value plain = make<arith::DivSIOp>(lhs, divisor);
  Value negated = make<arith::SubIOp>(zero, lhs);
  return make<arith::SelectOp>(
      byZero, zero, make<arith::SelectOp>(byMinusOne, negated, plain));
}

/// With the sign of the dividend if `truncated`, else of the divisor.
Value Element::remainder(Value lhs, Value rhs, bool truncated) {
  Value zero = number(lhs, 0);
  if (isFloat)
    return floatRemainder(lhs, rhs, truncated);
  Value product = make<arith::MulIOp>(quotient(lhs, rhs), rhs);
  Value rest = make<arith::SubIOp>(lhs, product);
  rest = make<arith::SelectOp>(isZero(rhs), zero, rest);
  if (truncated || isUnsigned)
    return rest;
  Value signs = make<arith::CmpIOp>(arith::CmpIPredicate::slt,
                                    make<arith::XOrIOp>(rest, rhs), zero);
  Value nonzero = make<arith::CmpIOp>(arith::CmpIPredicate::ne, rest, zero);
  Value adjust = make<arith::AndIOp>(signs, nonzero);
  return make<arith::SelectOp>(adjust, make<arith::AddIOp>(rest, rhs), rest);
}

Value Element::floatRemainder(Value lhs, Value rhs, bool truncated) {
  Value rest = make<arith::RemFOp>(lhs, rhs);
  if (truncated)
    return rest;
  Value zero = number(lhs, 0);
  auto less = [&](Value x) -> Value {
    return make<arith::CmpFOp>(arith::CmpFPredicate::OLT, x, zero);
  };
  Value nonzero = make<arith::CmpFOp>(arith::CmpFPredicate::ONE, rest, zero);
  Value signs = make<arith::XOrIOp>(less(rest), less(rhs));
  Value adjust = make<arith::AndIOp>(signs, nonzero);
  return make<arith::SelectOp>(adjust, make<arith::AddFOp>(rest, rhs), rest);
}

/// Integers go through f64, which is exact up to 2^53.
Value Element::power(Value lhs, Value rhs) {
  if (isFloat)
    return make<math::PowFOp>(lhs, rhs);
  Type type = lhs.getType(), wide = b.getF64Type();
  auto widen = [&](Value x) -> Value {
    if (isUnsigned)
      return make<arith::UIToFPOp>(wide, x);
    return make<arith::SIToFPOp>(wide, x);
  };
  Value result = make<math::PowFOp>(widen(lhs), widen(rhs));
  if (isUnsigned)
    return make<arith::FPToUIOp>(type, result);
  return make<arith::FPToSIOp>(type, result);
}

/// Counts that are no less than the width have no meaning to `arith`.
Value Element::shift(Value x, Value count, bool left) {
  unsigned width = x.getType().getIntOrFloatBitWidth();
  Value isLess = make<arith::CmpIOp>(arith::CmpIPredicate::ult, count,
                                     number(count, width));
  if (!left && !isUnsigned)
    return make<arith::ShRSIOp>(
        x, make<arith::SelectOp>(isLess, count, number(count, width - 1)));
  Value known = make<arith::SelectOp>(isLess, count, number(count, 0));
  Value shifted = left ? Value(make<arith::ShLIOp>(x, known))
                       : Value(make<arith::ShRUIOp>(x, known));
  return make<arith::SelectOp>(isLess, shifted, number(x, 0));
}

Value Element::binary(Operation *op, Value x, Value y) {
  using namespace nju;
  if (isa<PowOp>(op))
    return power(x, y);
  if (auto mod = dyn_cast<ModOp>(op))
    return remainder(x, y, mod.getTruncated());
  if (isFloat)
    return llvm::TypeSwitch<Operation *, Value>(op)
        .Case<AddOp>([&](auto) { return make<arith::AddFOp>(x, y); })
        .Case<SubOp>([&](auto) { return make<arith::SubFOp>(x, y); })
        .Case<MulOp>([&](auto) { return make<arith::MulFOp>(x, y); })
        .Case<DivOp>([&](auto) { return make<arith::DivFOp>(x, y); })
        .Case<MaxOp>([&](auto) { return make<arith::MaximumFOp>(x, y); })
        .Case<MinOp>([&](auto) { return make<arith::MinimumFOp>(x, y); })
        .Case<SwiGLUOp>([&](auto) { return make<arith::MulFOp>(silu(x), y); })
        .Default([](Operation *) { return Value(); });
  return llvm::TypeSwitch<Operation *, Value>(op)
      .Case<AddOp>([&](auto) { return make<arith::AddIOp>(x, y); })
      .Case<SubOp>([&](auto) { return make<arith::SubIOp>(x, y); })
      .Case<MulOp>([&](auto) { return make<arith::MulIOp>(x, y); })
      .Case<DivOp>([&](auto) { return quotient(x, y); })
      .Case<MaxOp>([&](auto) -> Value {
        if (isUnsigned)
          return make<arith::MaxUIOp>(x, y);
        return make<arith::MaxSIOp>(x, y);
      })
      .Case<MinOp>([&](auto) -> Value {
        if (isUnsigned)
          return make<arith::MinUIOp>(x, y);
        return make<arith::MinSIOp>(x, y);
      })
      .Case<AndOp>([&](auto) { return make<arith::AndIOp>(x, y); })
      .Case<OrOp>([&](auto) { return make<arith::OrIOp>(x, y); })
      .Case<XorOp>([&](auto) { return make<arith::XOrIOp>(x, y); })
      .Case<ShiftLeftOp>([&](auto) { return shift(x, y, /*left=*/true); })
      .Case<ShiftRightOp>([&](auto) { return shift(x, y, /*left=*/false); })
      .Default([](Operation *) { return Value(); });
}

Value Element::compare(nju::ComparePredicate predicate, Value lhs, Value rhs) {
  using F = arith::CmpFPredicate;
  using I = arith::CmpIPredicate;
  static constexpr F floats[] = {F::OEQ, F::UNE, F::OLT,
                                 F::OLE, F::OGT, F::OGE};
  static constexpr I integers[] = {I::eq,  I::ne,  I::slt,
                                   I::sle, I::sgt, I::sge};
  static constexpr I naturals[] = {I::eq,  I::ne,  I::ult,
                                   I::ule, I::ugt, I::uge};
  auto i = static_cast<unsigned>(predicate);
  if (isFloat)
    return make<arith::CmpFOp>(floats[i], lhs, rhs);
  return make<arith::CmpIOp>(isUnsigned ? naturals[i] : integers[i], lhs, rhs);
}

Value Element::castFromFloat(Value x, Type to) {
  Type target = Lowering::arithmeticType(to);
  if (to.isInteger(1))
    return make<arith::CmpFOp>(arith::CmpFPredicate::UNE, x, number(x, 0));
  if (to.isUnsignedInteger())
    return make<arith::FPToUIOp>(target, x);
  if (isa<IntegerType>(to))
    return make<arith::FPToSIOp>(target, x);
  unsigned from = x.getType().getIntOrFloatBitWidth();
  if (from < target.getIntOrFloatBitWidth())
    return make<arith::ExtFOp>(target, x);
  if (from > target.getIntOrFloatBitWidth())
    return make<arith::TruncFOp>(target, x);
  return x;
}

Value Element::cast(Value x, Type from, Type to) {
  Type target = Lowering::arithmeticType(to);
  if (isa<FloatType>(from))
    return castFromFloat(x, to);
  if (to.isInteger(1))
    return from.isInteger(1)
               ? x
               : make<arith::CmpIOp>(arith::CmpIPredicate::ne, x, number(x, 0));
  if (isa<FloatType>(to)) {
    if (isUnsigned)
      return make<arith::UIToFPOp>(target, x);
    return make<arith::SIToFPOp>(target, x);
  }
  unsigned width = x.getType().getIntOrFloatBitWidth();
  if (width > target.getIntOrFloatBitWidth())
    return make<arith::TruncIOp>(target, x);
  if (width == target.getIntOrFloatBitWidth())
    return x;
  if (isUnsigned)
    return make<arith::ExtUIOp>(target, x);
  return make<arith::ExtSIOp>(target, x);
}

} // namespace

static Type elementTypeOf(Value value) {
  return cast<RankedTensorType>(value.getType()).getElementType();
}

Value nju::lowering::emitElement(Operation *op, ImplicitLocOpBuilder &b,
                                 ValueRange elements) {
  if (isa<nju::SelectOp>(op)) {
    Value condition = Lowering::load(b, elements[0], b.getI1Type());
    return b.createOrFold<arith::SelectOp>(condition, elements[1], elements[2]);
  }
  Type from = elementTypeOf(op->getOperand(0));
  Type to = elementTypeOf(op->getResult(0));
  llvm::SmallVector<Value> x;
  for (auto [element, operand] : llvm::zip(elements, op->getOperands()))
    x.push_back(Lowering::load(b, element, elementTypeOf(operand)));
  Element element(b, from);
  Value result;
  if (isa<nju::CastOp>(op))
    result = element.cast(x[0], from, to);
  else if (auto compare = dyn_cast<nju::CompareOp>(op))
    result = element.compare(compare.getPredicate(), x[0], x[1]);
  else if (x.size() == 1)
    result = element.unary(op, x[0]);
  else
    result = element.binary(op, x[0], x[1]);
  return result ? Lowering::store(b, result, to) : Value();
}

/// True if the op has a meaning for its element type.
static bool isDefined(Operation *op) {
  if (isa<FloatType>(elementTypeOf(op->getOperand(0))))
    return !isa<nju::NotOp, nju::AndOp, nju::OrOp, nju::XorOp, nju::ShiftLeftOp,
                nju::ShiftRightOp>(op);
  return !isa<nju::AtanOp, nju::CosOp, nju::ErfOp, nju::ExpOp, nju::GeluOp,
              nju::LogOp, nju::RsqrtOp, nju::SigmoidOp, nju::SiluOp, nju::SinOp,
              nju::SoftplusOp, nju::SqrtOp, nju::TanhOp, nju::SwiGLUOp>(op);
}

/// Small tensors whose elements are all known scalars stay scalars.
static bool lowerToScalars(Operation *op, RankedTensorType type,
                           ArrayRef<Value> operands, Lowering &lowering) {
  if (!type.hasStaticShape() || type.getNumElements() > kScalarElements ||
      type.getRank() > 1)
    return false;
  llvm::SmallVector<llvm::SmallVector<Value>> elements;
  for (Value operand : operands) {
    auto known = lowering.known(operand);
    if (!known)
      return false;
    elements.push_back(*known);
  }
  llvm::SmallVector<Value> result;
  for (int64_t i = 0; i < type.getNumElements(); ++i) {
    llvm::SmallVector<Value> x;
    for (llvm::ArrayRef<Value> operand : elements)
      x.push_back(operand[operand.size() == 1 ? 0 : i]);
    result.push_back(emitElement(op, lowering.b, x));
  }
  lowering.bind(op->getResult(0), lowering.fromElements(type, result));
  return true;
}

static LogicalResult lowerElementwise(Operation *op, Lowering &lowering) {
  if (!isDefined(op))
    return op->emitOpError()
           << "is not defined for elements of type "
           << elementTypeOf(op->getOperand(0))
           << ", expected another type (the model may lack a cast)";
  RankedTensorType type = Lowering::convert(op->getResult(0).getType());
  llvm::SmallVector<Value> operands;
  for (Value operand : op->getOperands())
    operands.push_back(lowering[operand]);
  if (lowerToScalars(op, type, operands, lowering))
    return success();
  Value result = lowering.elementwise(
      type, operands, [&](ImplicitLocOpBuilder &b, ValueRange elements) {
        return emitElement(op, b, elements);
      });
  lowering.bind(op->getResult(0), result);
  return success();
}

void nju::lowering::populateElementwise(Table &table) {
  table.addAll<AbsOp, AtanOp, CeilOp, CosOp, ErfOp, ExpOp, FloorOp, LogOp,
               NegOp, ReciprocalOp, ReluOp, RoundOp, RsqrtOp, SigmoidOp, SignOp,
               SiluOp, SinOp, SoftplusOp, SqrtOp, TanhOp, GeluOp, IsInfOp,
               IsNaNOp, NotOp, AddOp, DivOp, MaxOp, MinOp, MulOp, PowOp, SubOp,
               ModOp, AndOp, OrOp, XorOp, ShiftLeftOp, ShiftRightOp, CompareOp,
               SelectOp, CastOp>(lowerElementwise);
}

void nju::lowering::populateMLP(Table &table) {
  table.addAll<SwiGLUOp>(lowerElementwise);
}
