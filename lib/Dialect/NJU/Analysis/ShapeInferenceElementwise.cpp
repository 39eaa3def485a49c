//===- ShapeInferenceElementwise.cpp - Shapes of element-wise and MLP ops -*-
// C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ShapeInferenceImpl.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace nju;
using namespace nju::detail;

/// A truth value that is not decided.
static SymbolicExpr undecided(SymbolicContext &context) {
  return context.unknown(0);
}
static SymbolicExpr anyNumber(SymbolicContext &context) {
  return context.unknown(std::numeric_limits<int64_t>::min());
}

//===----------------------------------------------------------------------===//
// Elements
//===----------------------------------------------------------------------===//

/// Numbers wrap around as integers of `type` do; f32 elements must be exact.
/// Null: not representable.
static SymbolicExpr wrap(SymbolicExpr expr, Type type) {
  std::optional<int64_t> number = expr.asConstant();
  if (!number)
    return expr;
  SymbolicContext &context = expr.getContext();
  if (type.isInteger(1))
    return context.constant(*number & 1);
  if (auto integer = dyn_cast<IntegerType>(type)) {
    APInt bits = APInt(64, *number, /*isSigned=*/true)
                     .trunc(std::min(integer.getWidth(), 64u));
    return context.constant(integer.isUnsigned()
                                ? static_cast<int64_t>(bits.getZExtValue())
                                : bits.getSExtValue());
  }
  return std::abs(*number) <= (int64_t(1) << 24) ? expr : SymbolicExpr();
}

/// a < b (or a <= b): 1, 0 or undecided.
static SymbolicExpr less(SymbolicExpr a, SymbolicExpr b, bool orEqual) {
  SymbolicContext &context = a.getContext();
  if ((b - a).isAtLeast(orEqual ? 0 : 1))
    return context.constant(1);
  if ((a - b).isAtLeast(orEqual ? 1 : 0))
    return context.constant(0);
  return undecided(context);
}

static SymbolicExpr equal(SymbolicExpr a, SymbolicExpr b) {
  SymbolicContext &context = a.getContext();
  if (a == b)
    return context.constant(1);
  if ((b - a).isAtLeast(1) || (a - b).isAtLeast(1))
    return context.constant(0);
  return undecided(context);
}

/// 1 for 0 and the reverse.
static SymbolicExpr negate(SymbolicExpr truth) {
  return truth.getContext().constant(1) - truth;
}

static SymbolicExpr compare(ComparePredicate predicate, SymbolicExpr a,
                            SymbolicExpr b) {
  switch (predicate) {
  case ComparePredicate::eq:
    return equal(a, b);
  case ComparePredicate::ne:
    return negate(equal(a, b));
  case ComparePredicate::lt:
    return less(a, b, false);
  case ComparePredicate::le:
    return less(a, b, true);
  case ComparePredicate::gt:
    return less(b, a, false);
  case ComparePredicate::ge:
    return less(b, a, true);
  }
  llvm_unreachable("all predicates are handled");
}

/// Integer division rounds towards zero; for floats only exact quotients are
/// known (a null expression otherwise).
static SymbolicExpr divide(SymbolicExpr a, SymbolicExpr b, Type type) {
  if (b.isConstant(0))
    return {};
  if (SymbolicExpr exact = a.exactDiv(b))
    return exact;
  if (!isa<IntegerType>(type))
    return {};
  if (a.isAtLeast(0) && b.isAtLeast(1))
    return a.floorDiv(b);
  std::optional<int64_t> x = a.asConstant(), y = b.asConstant();
  // INT64_MIN / -1 divides exactly, or overflows, and is not known then.
  if (x && y && *y != -1)
    return a.getContext().constant(*x / *y);
  return {};
}

static SymbolicExpr remainder(SymbolicExpr a, SymbolicExpr b, bool truncated,
                              Type type) {
  if (!isa<IntegerType>(type) || b.isConstant(0))
    return {};
  if (b.isAtLeast(1) && (!truncated || a.isAtLeast(0)))
    return a.mod(b);
  std::optional<int64_t> x = a.asConstant(), y = b.asConstant();
  if (!x || !y || *y == -1)
    return {};
  int64_t rest = *x % *y;
  if (!truncated && rest != 0 && (rest < 0) != (*y < 0))
    rest += *y;
  return a.getContext().constant(rest);
}

/// One element of the result, null if nothing is known of it. `x` are the
/// operands' elements.
static SymbolicExpr element(Operation *op, ArrayRef<SymbolicExpr> x) {
  Type type = elementTypeOf(op->getOperand(0));
  if (isa<AndOp, OrOp, XorOp, NotOp>(op) && !type.isInteger(1))
    return {};
  return llvm::TypeSwitch<Operation *, SymbolicExpr>(op)
      .Case<AddOp>([&](auto) { return x[0] + x[1]; })
      .Case<SubOp>([&](auto) { return x[0] - x[1]; })
      .Case<MulOp>([&](auto) { return x[0] * x[1]; })
      .Case<DivOp>([&](auto) { return divide(x[0], x[1], type); })
      .Case<ModOp>([&](ModOp mod) {
        return remainder(x[0], x[1], mod.getTruncated(), type);
      })
      .Case<MinOp>([&](auto) { return SymbolicExpr::min(x[0], x[1]); })
      .Case<MaxOp>([&](auto) { return SymbolicExpr::max(x[0], x[1]); })
      .Case<AndOp>([&](auto) { return x[0] * x[1]; })
      .Case<OrOp>([&](auto) { return x[0] + x[1] - x[0] * x[1]; })
      .Case<XorOp>([&](auto) { return x[0] + x[1] - x[0] * x[1] * 2; })
      .Case<NotOp>([&](auto) { return negate(x[0]); })
      .Case<NegOp>([&](auto) { return -x[0]; })
      .Case<AbsOp>([&](auto) {
        if (x[0].isAtLeast(0))
          return x[0];
        return (-x[0]).isAtLeast(0) ? -x[0] : SymbolicExpr();
      })
      .Case<ReluOp>([&](auto) {
        return SymbolicExpr::max(x[0], x[0].getContext().constant(0));
      })
      .Case<CeilOp, FloorOp, RoundOp>([&](auto) { return x[0]; })
      .Case<CompareOp>(
          [&](CompareOp op) { return compare(op.getPredicate(), x[0], x[1]); })
      .Case<SelectOp>([&](auto) {
        if (x[0].isConstant())
          return x[0].isConstant(0) ? x[2] : x[1];
        return x[1] == x[2] ? x[1] : SymbolicExpr();
      })
      .Case<CastOp>([&](CastOp cast) {
        if (cast.getType().getElementType().isInteger(1))
          return negate(equal(x[0], x[0].getContext().constant(0)));
        Type to = cast.getType().getElementType();
        bool exact = isa<IntegerType>(to) || to.isF32() || to.isF64();
        return exact ? x[0] : SymbolicExpr();
      })
      .Default([](Operation *) { return SymbolicExpr(); });
}

/// Elements of the result from those of the operands, all of rank 0 or 1.
static Content elements(ShapeInference &shapes, Operation *op,
                        const Inferred &inferred) {
  if (!isSmall(inferred.dims))
    return std::nullopt;
  llvm::SmallVector<Dims> operands;
  for (Value operand : op->getOperands()) {
    Content content = contentOf(shapes, operand);
    if (!content)
      return std::nullopt;
    operands.push_back(std::move(*content));
  }
  SymbolicContext &context = shapes.getContext();
  int64_t size = inferred.dims.empty() ? 1 : *inferred.dims[0].asConstant();
  Dims result;
  for (int64_t i = 0; i < size; ++i) {
    llvm::SmallVector<SymbolicExpr, 3> x;
    for (const Dims &operand : operands) {
      // A contradiction of symbolic and static sizes may leave fewer.
      if (operand.size() != 1 && static_cast<int64_t>(operand.size()) != size)
        return std::nullopt;
      x.push_back(operand.size() == 1 ? operand[0] : operand[i]);
    }
    SymbolicExpr value = element(op, x);
    if (value)
      value = wrap(value, inferred.elementType);
    if (!value && !isa<IntegerType>(inferred.elementType))
      return std::nullopt;
    if (!value)
      value = inferred.elementType.isInteger(1) ? undecided(context)
                                                : anyNumber(context);
    result.push_back(value);
  }
  return result;
}

//===----------------------------------------------------------------------===//
// Dimensions
//===----------------------------------------------------------------------===//

static Type resultElementType(Operation *op) {
  if (isa<CompareOp, IsInfOp, IsNaNOp>(op))
    return IntegerType::get(op->getContext(), 1);
  if (auto cast = dyn_cast<CastOp>(op))
    return elementTypeOf(cast.getResult());
  if (auto select = dyn_cast<SelectOp>(op))
    return elementTypeOf(select.getTrueValue());
  return elementTypeOf(op->getOperand(0));
}

static bool isElementwise(Operation *op) {
  return isa<AbsOp, AddOp, AndOp, AtanOp, CastOp, CeilOp, CompareOp, CosOp,
             DivOp, ErfOp, ExpOp, FloorOp, GeluOp, IsInfOp, IsNaNOp, LogOp,
             MaxOp, MinOp, ModOp, MulOp, NegOp, NotOp, OrOp, PowOp,
             ReciprocalOp, ReluOp, RoundOp, RsqrtOp, SelectOp, ShiftLeftOp,
             ShiftRightOp, SigmoidOp, SignOp, SiluOp, SinOp, SoftplusOp, SqrtOp,
             SubOp, SwiGLUOp, TanhOp, XorOp>(op);
}

std::optional<InferResult> nju::detail::inferElementwise(ShapeInference &shapes,
                                                         Operation *op) {
  if (!isElementwise(op))
    return std::nullopt;
  FailureOr<Dims> dims = broadcastOperands(shapes, op, op->getOperands());
  if (failed(dims))
    return InferResult(failure());
  Inferred inferred{*dims, resultElementType(op), std::nullopt};
  inferred.content = elements(shapes, op, inferred);
  return InferResult(inferred);
}
