//===- Reduction.cpp - Reductions to linalg -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace nju::lowering;

/// The least (or greatest) number of a type.
static TypedAttr extreme(Builder &b, Type elementType, bool least) {
  Type type = Lowering::arithmeticType(elementType);
  if (auto floatType = dyn_cast<FloatType>(type))
    return b.getFloatAttr(
        type, APFloat::getInf(floatType.getFloatSemantics(), least));
  unsigned width = type.getIntOrFloatBitWidth();
  if (isNatural(elementType))
    return b.getIntegerAttr(type, least ? APInt::getMinValue(width)
                                        : APInt::getMaxValue(width));
  return b.getIntegerAttr(type, least ? APInt::getSignedMinValue(width)
                                      : APInt::getSignedMaxValue(width));
}

static TypedAttr startOf(Operation *op, Builder &b, Type elementType) {
  Type type = Lowering::arithmeticType(elementType);
  if (isa<nju::ReduceMaxOp, nju::ReduceMinOp>(op))
    return extreme(b, elementType, isa<nju::ReduceMaxOp>(op));
  double value = isa<nju::ReduceProdOp>(op) ? 1 : 0;
  if (isa<FloatType>(type))
    return b.getFloatAttr(type, value);
  return b.getIntegerAttr(type, static_cast<int64_t>(value));
}

Value nju::lowering::combineElements(ImplicitLocOpBuilder &b,
                                     nju::ScatterReduction kind,
                                     Type elementType, Value acc, Value x) {
  using R = nju::ScatterReduction;
  bool isFloat = isa<FloatType>(elementType), natural = isNatural(elementType);
  switch (kind) {
  case R::replace:
    return x;
  case R::add:
    return isFloat ? b.createOrFold<arith::AddFOp>(acc, x)
                   : b.createOrFold<arith::AddIOp>(acc, x);
  case R::mul:
    return isFloat ? b.createOrFold<arith::MulFOp>(acc, x)
                   : b.createOrFold<arith::MulIOp>(acc, x);
  case R::max:
    if (isFloat)
      return b.createOrFold<arith::MaximumFOp>(acc, x);
    return natural ? b.createOrFold<arith::MaxUIOp>(acc, x)
                   : b.createOrFold<arith::MaxSIOp>(acc, x);
  case R::min:
    if (isFloat)
      return b.createOrFold<arith::MinimumFOp>(acc, x);
    return natural ? b.createOrFold<arith::MinUIOp>(acc, x)
                   : b.createOrFold<arith::MinSIOp>(acc, x);
  }
  llvm_unreachable("all kinds are handled");
}

static nju::ScatterReduction kindOf(Operation *op) {
  using R = nju::ScatterReduction;
  return isa<nju::ReduceMaxOp>(op)    ? R::max
         : isa<nju::ReduceMinOp>(op)  ? R::min
         : isa<nju::ReduceProdOp>(op) ? R::mul
                                      : R::add;
}

/// A number of elements as a scalar of an arithmetic type.
static Value countAs(ImplicitLocOpBuilder &b, Value count, Type type) {
  Value integer = b.createOrFold<arith::IndexCastOp>(
      isa<FloatType>(type) ? b.getI64Type() : type, count);
  if (!isa<FloatType>(type))
    return integer;
  return b.createOrFold<arith::SIToFPOp>(type, integer);
}

static Value divide(ImplicitLocOpBuilder &b, Value sum, Value count,
                    bool natural) {
  if (isa<FloatType>(sum.getType()))
    return arith::DivFOp::create(b, sum, count);
  Value one = emitNumber(b, count.getType(), 1);
  Value divisor = arith::MaxSIOp::create(b, count, one);
  if (natural)
    return arith::DivUIOp::create(b, sum, divisor);
  return arith::DivSIOp::create(b, sum, divisor);
}

static LogicalResult lowerReduce(Operation *op, Lowering &lowering) {
  Value input = lowering[op->getOperand(0)];
  auto inputType = cast<RankedTensorType>(op->getOperand(0).getType());
  Type elementType = inputType.getElementType();
  auto axes = op->getAttrOfType<DenseI64ArrayAttr>("axes").asArrayRef();
  bool keepDims = op->hasAttr("keep_dims");
  RankedTensorType type = Lowering::convert(op->getResult(0).getType());
  TypedAttr start = startOf(op, lowering.b, elementType);
  nju::ScatterReduction kind = kindOf(op);
  auto known = lowering.known(input);
  if (known && axes.size() == 1 && inputType.getRank() == 1 &&
      !isa<nju::ReduceMeanOp>(op) && isa<IntegerType>(elementType)) {
    Value result = lowering.scalar(start);
    for (Value element : *known)
      result =
          combineElements(lowering.b, kind, elementType, result,
                          Lowering::load(lowering.b, element, elementType));
    result = Lowering::store(lowering.b, result, elementType);
    lowering.bind(op->getResult(0), lowering.fromElements(type, result));
    return success();
  }
  Value result = lowering.reduce(
      input, axes, start, [&](ImplicitLocOpBuilder &b, ValueRange args) {
        return combineElements(b, kind, elementType, args[1],
                               Lowering::load(b, args[0], elementType));
      });
  auto reduced = cast<RankedTensorType>(result.getType());
  bool mean = isa<nju::ReduceMeanOp>(op);
  if (mean || reduced.getElementType() != type.getElementType()) {
    llvm::SmallVector<Value> counted;
    for (int64_t axis : axes)
      counted.push_back(lowering.dim(input, axis));
    Value count = countAs(lowering.b, lowering.value(lowering.product(counted)),
                          reduced.getElementType());
    result = lowering.elementwise(
        reduced.clone(type.getElementType()), {result},
        [&](ImplicitLocOpBuilder &b, ValueRange x) {
          Value y =
              mean ? divide(b, x[0], count, isNatural(elementType)) : x[0];
          return Lowering::store(b, y, elementType);
        });
  }
  llvm::SmallVector<Value> dims = lowering.dims(result);
  if (keepDims)
    for (int64_t axis : axes)
      dims.insert(dims.begin() + axis, lowering.index(1));
  lowering.bind(op->getResult(0), lowering.reshape(result, type, dims), dims);
  return success();
}

/// Best value and its index, reduced together; the index is the result.
static Value argReduce(Operation *op, Lowering &lowering, Value input,
                       Type elementType, int64_t axis, bool last) {
  ImplicitLocOpBuilder &b = lowering.b;
  bool greatest = isa<nju::ArgMaxOp>(op);
  bool isFloat = isa<FloatType>(elementType), natural = isNatural(elementType);
  auto inputType = cast<RankedTensorType>(input.getType());
  int64_t rank = inputType.getRank();
  llvm::SmallVector<Value> kept = lowering.dims(input);
  llvm::SmallVector<int64_t> shape(inputType.getShape());
  llvm::SmallVector<utils::IteratorType> iterators(
      rank, utils::IteratorType::parallel);
  iterators[axis] = utils::IteratorType::reduction;
  kept.erase(kept.begin() + axis);
  shape.erase(shape.begin() + axis);
  AffineMap all = b.getMultiDimIdentityMap(rank), rest = all.dropResult(axis);
  TypedAttr start = extreme(b, elementType, greatest);
  auto bestType = RankedTensorType::get(shape, start.getType());
  auto indexType = RankedTensorType::get(shape, b.getI64Type());
  Value best = lowering.filled(bestType, kept, lowering.scalar(start));
  Value at =
      lowering.filled(indexType, kept, lowering.number(b.getI64Type(), 0));
  using F = arith::CmpFPredicate;
  using I = arith::CmpIPredicate;
  F floats = greatest ? (last ? F::OGE : F::OGT) : (last ? F::OLE : F::OLT);
  I naturals = greatest ? (last ? I::uge : I::ugt) : (last ? I::ule : I::ult);
  I integers = greatest ? (last ? I::sge : I::sgt) : (last ? I::sle : I::slt);
  auto build = [&](OpBuilder &builder, Location loc, ValueRange args) {
    ImplicitLocOpBuilder nested(loc, builder);
    Value x = Lowering::load(nested, args[0], elementType);
    Value better;
    if (isFloat)
      better = arith::CmpFOp::create(nested, floats, x, args[1]);
    else
      better = arith::CmpIOp::create(nested, natural ? naturals : integers, x,
                                     args[1]);
    Value here = arith::IndexCastOp::create(
        nested, nested.getI64Type(), linalg::IndexOp::create(nested, axis));
    linalg::YieldOp::create(
        nested,
        ValueRange{arith::SelectOp::create(nested, better, x, args[1]),
                   arith::SelectOp::create(nested, better, here, args[2])});
  };
  Value result = linalg::GenericOp::create(
                     b, TypeRange{bestType, indexType}, ValueRange{input},
                     ValueRange{best, at}, ArrayRef<AffineMap>{all, rest, rest},
                     iterators, build)
                     .getResult(1);
  lowering.setDims(result, lowering.refine(indexType, kept));
  return result;
}

static LogicalResult lowerArg(Operation *op, Lowering &lowering) {
  Value input = lowering[op->getOperand(0)];
  int64_t axis = op->getAttrOfType<IntegerAttr>("axis").getInt();
  Type elementType =
      cast<RankedTensorType>(op->getOperand(0).getType()).getElementType();
  Value result =
      argReduce(op, lowering, input, elementType, axis, op->hasAttr("last"));
  llvm::SmallVector<Value> dims = lowering.dims(result);
  if (op->hasAttr("keep_dims"))
    dims.insert(dims.begin() + axis, lowering.index(1));
  RankedTensorType type = Lowering::convert(op->getResult(0).getType());
  lowering.bind(op->getResult(0), lowering.reshape(result, type, dims), dims);
  return success();
}

Value nju::lowering::emitSoftmax(Value tensor, int64_t axis, bool log,
                                 Lowering &lowering, bool emptyIsZero) {
  ImplicitLocOpBuilder &b = lowering.b;
  auto type = cast<RankedTensorType>(tensor.getType());
  Type elementType = type.getElementType();
  Type arithmetic = Lowering::arithmeticType(elementType);
  AffineMap all = b.getMultiDimIdentityMap(type.getRank());
  AffineMap rest = all.dropResult(axis);
  llvm::SmallVector<Value> dims = lowering.dims(tensor);
  Value greatest =
      lowering.reduce(tensor, axis, extreme(b, elementType, /*least=*/true),
                      [&](ImplicitLocOpBuilder &b, ValueRange x) -> Value {
                        return arith::MaximumFOp::create(
                            b, Lowering::load(b, x[0], elementType), x[1]);
                      });
  auto wide = type.clone(arithmetic);
  auto shifted = [&](ImplicitLocOpBuilder &b, ValueRange x) -> Value {
    return arith::SubFOp::create(b, Lowering::load(b, x[0], elementType), x[1]);
  };
  Value power =
      lowering.parallel(wide, dims, {tensor, greatest}, {all, rest},
                        [&](ImplicitLocOpBuilder &b, ValueRange x) -> Value {
                          return math::ExpOp::create(b, shifted(b, x));
                        });
  Value sum =
      lowering.reduce(power, axis, b.getFloatAttr(arithmetic, 0.0),
                      [&](ImplicitLocOpBuilder &b, ValueRange x) -> Value {
                        return arith::AddFOp::create(b, x[0], x[1]);
                      });
  llvm::SmallVector<Value> inputs{power, sum};
  llvm::SmallVector<AffineMap> maps{all, rest};
  if (emptyIsZero) {
    inputs.push_back(greatest);
    maps.push_back(rest);
  }
  if (!log)
    return lowering.parallel(
        type, dims, inputs, maps,
        [&](ImplicitLocOpBuilder &b, ValueRange x) -> Value {
          Value y = arith::DivFOp::create(b, x[0], x[1]);
          if (emptyIsZero) {
            double infinity = std::numeric_limits<double>::infinity();
            Value isEmpty =
                arith::CmpFOp::create(b, arith::CmpFPredicate::OEQ, x[2],
                                      emitNumber(b, x[2].getType(), -infinity));
            y = arith::SelectOp::create(b, isEmpty,
                                        emitNumber(b, y.getType(), 0), y);
          }
          return Lowering::store(b, y, elementType);
        });
  return lowering.parallel(
      type, dims, {tensor, greatest, sum}, {all, rest, rest},
      [&](ImplicitLocOpBuilder &b, ValueRange x) -> Value {
        Value y = arith::SubFOp::create(b, shifted(b, x),
                                        math::LogOp::create(b, x[2]));
        return Lowering::store(b, y, elementType);
      });
}

static LogicalResult lowerSoftmax(nju::SoftmaxOp op, Lowering &lowering) {
  lowering.bind(op, emitSoftmax(lowering[op.getInput()], op.getAxis(),
                                op.getLog(), lowering));
  return success();
}

void nju::lowering::populateReduction(Table &table) {
  table.addAll<ReduceMaxOp, ReduceMeanOp, ReduceMinOp, ReduceProdOp,
               ReduceSumOp>(lowerReduce);
  table.addAll<ArgMaxOp, ArgMinOp>(lowerArg);
  table.add<SoftmaxOp>(lowerSoftmax);
}
