//===- Normalization.cpp - Normalizations to linalg -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace nju::lowering;

namespace {
/// What both norms need of their input.
struct Rows {
  Rows(Value input, Lowering &lowering)
      : input(input), type(cast<RankedTensorType>(input.getType())),
        elementType(type.getElementType()),
        arithmetic(Lowering::arithmeticType(elementType)),
        all(lowering.b.getMultiDimIdentityMap(type.getRank())),
        rest(all.dropResult(type.getRank() - 1)),
        last(all.getSubMap({static_cast<unsigned>(type.getRank() - 1)})),
        dims(lowering.dims(input)) {
    Value size = lowering.fromIndex(dims.back(), lowering.b.getI64Type());
    count = lowering.b.createOrFold<arith::SIToFPOp>(arithmetic, size);
  }

  /// Sum over the last dimension of `term`.
  Value sum(Lowering &lowering, ArrayRef<Value> inputs,
            ArrayRef<AffineMap> maps, Lowering::Body term) {
    ImplicitLocOpBuilder &b = lowering.b;
    auto sumType =
        RankedTensorType::get(type.getShape().drop_back(), arithmetic);
    ArrayRef<Value> kept = ArrayRef<Value>(dims).drop_back();
    Value start =
        lowering.filled(sumType, kept, lowering.number(arithmetic, 0));
    llvm::SmallVector<AffineMap> allMaps(maps);
    allMaps.push_back(rest);
    llvm::SmallVector<utils::IteratorType> iterators(
        type.getRank(), utils::IteratorType::parallel);
    iterators.back() = utils::IteratorType::reduction;
    auto build = [&](OpBuilder &builder, Location loc, ValueRange args) {
      ImplicitLocOpBuilder nested(loc, builder);
      Value y = arith::AddFOp::create(nested, args.back(), term(nested, args));
      linalg::YieldOp::create(nested, y);
    };
    Value result =
        linalg::GenericOp::create(b, TypeRange{sumType}, inputs,
                                  ValueRange{start}, allMaps, iterators, build)
            .getResult(0);
    lowering.setDims(result, lowering.refine(sumType, kept));
    return result;
  }

  Value load(ImplicitLocOpBuilder &b, Value x) const {
    return Lowering::load(b, x, elementType);
  }

  Value input;
  RankedTensorType type;
  Type elementType, arithmetic;
  AffineMap all, rest, last;
  llvm::SmallVector<Value> dims;
  /// Length of a row.
  Value count;
};
} // namespace

/// 1 / sqrt(sum / count + epsilon)
static Value inverseRoot(ImplicitLocOpBuilder &b, Value sum, Value count,
                         double epsilon) {
  Value mean = arith::DivFOp::create(b, sum, count);
  Value shifted =
      arith::AddFOp::create(b, mean, emitNumber(b, sum.getType(), epsilon));
  return arith::DivFOp::create(b, emitNumber(b, sum.getType(), 1),
                               math::SqrtOp::create(b, shifted));
}

static Type elementTypeOf(Value value) {
  return cast<RankedTensorType>(value.getType()).getElementType();
}

static LogicalResult lowerRMSNorm(nju::RMSNormOp op, Lowering &lowering) {
  Rows rows(lowering[op.getInput()], lowering);
  Type weightType = elementTypeOf(op.getWeight());
  double epsilon = op.getEpsilon().convertToDouble();
  Value squares = rows.sum(lowering, {rows.input}, {rows.all},
                           [&](ImplicitLocOpBuilder &b, ValueRange x) -> Value {
                             Value y = rows.load(b, x[0]);
                             return arith::MulFOp::create(b, y, y);
                           });
  Value result = lowering.parallel(
      Lowering::convert(op.getType()), rows.dims,
      {rows.input, squares, lowering[op.getWeight()]},
      {rows.all, rows.rest, rows.last},
      [&](ImplicitLocOpBuilder &b, ValueRange x) -> Value {
        Value factor = inverseRoot(b, x[1], rows.count, epsilon);
        Value y = arith::MulFOp::create(b, rows.load(b, x[0]), factor);
        y = arith::MulFOp::create(b, y, Lowering::load(b, x[2], weightType));
        return Lowering::store(b, y, elementTypeOf(op));
      });
  lowering.bind(op, result);
  return success();
}

static LogicalResult lowerLayerNorm(nju::LayerNormOp op, Lowering &lowering) {
  Rows rows(lowering[op.getInput()], lowering);
  Type weightType = elementTypeOf(op.getWeight());
  double epsilon = op.getEpsilon().convertToDouble();
  Value sum = rows.sum(lowering, {rows.input}, {rows.all},
                       [&](ImplicitLocOpBuilder &b, ValueRange x) {
                         return rows.load(b, x[0]);
                       });
  auto centered = [&](ImplicitLocOpBuilder &b, ValueRange x) -> Value {
    Value mean = arith::DivFOp::create(b, x[1], rows.count);
    return arith::SubFOp::create(b, rows.load(b, x[0]), mean);
  };
  Value squares = rows.sum(lowering, {rows.input, sum}, {rows.all, rows.rest},
                           [&](ImplicitLocOpBuilder &b, ValueRange x) -> Value {
                             Value y = centered(b, x);
                             return arith::MulFOp::create(b, y, y);
                           });
  llvm::SmallVector<Value> inputs{rows.input, sum, squares,
                                  lowering[op.getWeight()]};
  llvm::SmallVector<AffineMap> maps{rows.all, rows.rest, rows.rest, rows.last};
  if (op.getBias()) {
    inputs.push_back(lowering[op.getBias()]);
    maps.push_back(rows.last);
  }
  Value result = lowering.parallel(
      Lowering::convert(op.getType()), rows.dims, inputs, maps,
      [&](ImplicitLocOpBuilder &b, ValueRange x) -> Value {
        Value factor = inverseRoot(b, x[2], rows.count, epsilon);
        Value y = arith::MulFOp::create(b, centered(b, x), factor);
        y = arith::MulFOp::create(b, y, Lowering::load(b, x[3], weightType));
        if (op.getBias())
          y = arith::AddFOp::create(
              b, y, Lowering::load(b, x[4], elementTypeOf(op.getBias())));
        return Lowering::store(b, y, elementTypeOf(op));
      });
  lowering.bind(op, result);
  return success();
}

void nju::lowering::populateNormalization(Table &table) {
  table.add<LayerNormOp>(lowerLayerNorm);
  table.add<RMSNormOp>(lowerRMSNorm);
}
