//===- Shape.cpp - Data movement to linalg and tensor -*- C++ -*-===//
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

/// True if an index value cannot be negative by the way it was made.
static bool isSize(Value value) {
  if (std::optional<int64_t> constant = getConstantIntValue(value))
    return *constant >= 0;
  Operation *def = value.getDefiningOp();
  if (!def)
    return false;
  if (isa<tensor::DimOp, arith::DivUIOp>(def))
    return true;
  if (isa<arith::MaxSIOp>(def))
    return isSize(def->getOperand(0)) || isSize(def->getOperand(1));
  if (isa<arith::AddIOp, arith::MulIOp, arith::MinSIOp>(def))
    return isSize(def->getOperand(0)) && isSize(def->getOperand(1));
  if (auto select = dyn_cast<arith::SelectOp>(def))
    return isSize(select.getTrueValue()) && isSize(select.getFalseValue());
  return false;
}

static Value notNegative(Lowering &lowering, Value value) {
  return isSize(value) ? value : lowering.max(value, lowering.index(0));
}

/// Elements of an i64 vector as index values.
static llvm::SmallVector<Value> indices(Lowering &lowering, Value vector) {
  return llvm::map_to_vector(
      lowering.elements(lowering[vector]),
      [&](Value element) { return lowering.toIndex(element); });
}

/// Binds a result with the elements of small known tensors.
static LogicalResult bindElements(Operation *op, Lowering &lowering,
                                  ArrayRef<Value> elements) {
  RankedTensorType type = Lowering::convert(op->getResult(0).getType());
  lowering.bind(op->getResult(0), lowering.fromElements(type, elements));
  return success();
}

static bool isSmallVector(RankedTensorType type) {
  return type.hasStaticShape() && type.getRank() <= 1 &&
         type.getNumElements() <= kScalarElements;
}

static LogicalResult lowerShapeOf(nju::ShapeOfOp op, Lowering &lowering) {
  llvm::SmallVector<Value> sizes;
  for (Value dim : lowering.dims(lowering[op.getInput()]))
    sizes.push_back(lowering.fromIndex(dim, lowering.b.getI64Type()));
  return bindElements(op, lowering, sizes);
}

/// The dimensions that nju.reshape asks for: 0 copies and -1 is what is left.
/// Entries that are no sizes by the way they were made are looked at at run
/// time.
static llvm::SmallVector<Value> reshapeDims(nju::ReshapeOp op,
                                            Lowering &lowering) {
  llvm::SmallVector<Value> from = lowering.dims(lowering[op.getInput()]);
  llvm::SmallVector<Value> to = indices(lowering, op.getShape()), known;
  RankedTensorType type = op.getType();
  for (auto [i, dim] : llvm::enumerate(to)) {
    if (!type.isDynamicDim(i))
      dim = lowering.index(type.getDimSize(i));
    else if (!op.getAllowZero() && i < from.size() &&
             !dim.getDefiningOp<tensor::DimOp>())
      dim = lowering.selectEqual(dim, 0, from[i], dim);
    known.push_back(
        isSize(dim) ? dim
                    : lowering.selectEqual(dim, -1, lowering.index(1), dim));
  }
  Value rest = lowering.value(lowering.product(from));
  for (Value dim : known)
    rest = lowering.div(rest, dim);
  for (Value &dim : to)
    if (!isSize(dim))
      dim = lowering.selectEqual(dim, -1, rest, dim);
  for (auto [i, dim] : llvm::enumerate(to))
    if (type.isDynamicDim(i) && !isSize(dim))
      lowering.checkCompare(arith::CmpIPredicate::sge, dim, lowering.index(0),
                            "asks for a size of {0}, expected at least {1}");
  return to;
}

static LogicalResult lowerReshape(nju::ReshapeOp op, Lowering &lowering) {
  Value input = lowering[op.getInput()];
  RankedTensorType type = Lowering::convert(op.getType());
  auto known = lowering.known(input);
  if (known && isSmallVector(type))
    return bindElements(op, lowering, *known);
  llvm::SmallVector<Value> dims = reshapeDims(op, lowering);
  lowering.bind(op, lowering.reshape(input, type, dims), dims);
  return success();
}

static LogicalResult lowerUnitDims(Operation *op, Lowering &lowering,
                                   ArrayRef<Value> dims) {
  Value input = lowering[op->getOperand(0)];
  RankedTensorType type = Lowering::convert(op->getResult(0).getType());
  auto known = lowering.known(input);
  if (known && isSmallVector(type))
    return bindElements(op, lowering, *known);
  lowering.bind(op->getResult(0), lowering.reshape(input, type, dims), dims);
  return success();
}

static LogicalResult lowerSqueeze(nju::SqueezeOp op, Lowering &lowering) {
  llvm::SmallVector<Value> dims;
  for (auto [i, dim] : llvm::enumerate(lowering.dims(lowering[op.getInput()])))
    if (!llvm::is_contained(op.getAxes(), static_cast<int64_t>(i)))
      dims.push_back(dim);
  return lowerUnitDims(op, lowering, dims);
}

static LogicalResult lowerUnsqueeze(nju::UnsqueezeOp op, Lowering &lowering) {
  llvm::SmallVector<Value> dims = lowering.dims(lowering[op.getInput()]);
  for (int64_t axis : op.getAxes())
    dims.insert(dims.begin() + axis, lowering.index(1));
  return lowerUnitDims(op, lowering, dims);
}

/// If only dimensions of size 1 move, the elements stay where they are.
static LogicalResult lowerTranspose(nju::TransposeOp op, Lowering &lowering) {
  Value input = lowering[op.getInput()];
  llvm::SmallVector<Value> from = lowering.dims(input), dims;
  RankedTensorType type = Lowering::convert(op.getType());
  int64_t last = -1;
  bool moves = false;
  for (auto [i, dim] : llvm::enumerate(op.getPermutation())) {
    dims.push_back(from[dim]);
    if (type.getDimSize(i) == 1 || isConstantIntValue(from[dim], 1))
      continue;
    moves |= dim < last;
    last = dim;
  }
  if (moves)
    lowering.bind(op, lowering.transpose(input, op.getPermutation()));
  else
    lowering.bind(op, lowering.reshape(input, type, dims), dims);
  return success();
}

static LogicalResult lowerBroadcastTo(nju::BroadcastToOp op,
                                      Lowering &lowering) {
  Value input = lowering[op.getInput()];
  RankedTensorType type = Lowering::convert(op.getType());
  llvm::SmallVector<Value> from = lowering.dims(input);
  llvm::SmallVector<Value> dims = indices(lowering, op.getShape());
  dims.insert(dims.begin(), type.getRank() - dims.size(), lowering.index(1));
  for (auto [i, dim] : llvm::enumerate(from)) {
    Value &to = dims[dims.size() - from.size() + i];
    std::optional<int64_t> size = getConstantIntValue(dim);
    if (isConstantIntValue(to, 1) || (size && *size != 1))
      to = dim;
    else if (!size && to != dim && !getConstantIntValue(to))
      to = lowering.selectEqual(to, 1, dim, to);
  }
  dims = lowering.refine(type, dims);
  if (from == dims) {
    lowering.bind(op, input);
    return success();
  }
  AffineMap map = lowering.broadcast(input, dims);
  Value result = lowering.parallel(
      type, dims, {input}, {map},
      [](ImplicitLocOpBuilder &, ValueRange args) { return args[0]; });
  lowering.bind(op, result, dims);
  return success();
}

static LogicalResult lowerConcat(nju::ConcatOp op, Lowering &lowering) {
  RankedTensorType type = Lowering::convert(op.getType());
  llvm::SmallVector<Value> inputs, elements;
  bool known = isSmallVector(type);
  for (Value input : op.getInputs()) {
    inputs.push_back(lowering[input]);
    auto values = lowering.known(inputs.back());
    known &= values.has_value();
    if (known)
      elements.append(*values);
  }
  if (known)
    return bindElements(op, lowering, elements);
  lowering.bind(op, lowering.concat(type, inputs, op.getAxis()));
  return success();
}

namespace {
/// One axis of nju.slice.
struct AxisRange {
  Value start, size;
  int64_t step;
  Value dynamicStep;
};
} // namespace

/// A bound of a slice: counted from the end if negative, then clamped to
/// [low, dim + low], where `low` is 0 or, for a negative step, -1.
static Value sliceBound(Lowering &lowering, Value bound, Value dim,
                        int64_t low) {
  Value lowest = lowering.index(low);
  Value highest = lowering.add(dim, lowest);
  if (std::optional<int64_t> constant = getConstantIntValue(bound)) {
    constexpr int64_t large = std::numeric_limits<int32_t>::max();
    if (*constant >= large)
      return highest;
    if (*constant < -large)
      return lowest;
    if (*constant < 0)
      return lowering.max(lowering.add(dim, bound), lowest);
    if (*constant == 0 && low == 0)
      return bound;
    return lowering.min(bound, highest);
  }
  if (isSize(bound))
    return lowering.min(bound, highest);
  ImplicitLocOpBuilder &b = lowering.b;
  Value negative = arith::CmpIOp::create(b, arith::CmpIPredicate::slt, bound,
                                         lowering.index(0));
  Value counted =
      arith::SelectOp::create(b, negative, lowering.add(bound, dim), bound);
  return lowering.min(lowering.max(counted, lowest), highest);
}

static FailureOr<AxisRange> sliceRange(nju::SliceOp op, Lowering &lowering,
                                       Value start, Value end, Value step,
                                       Value dim) {
  std::optional<int64_t> constant = getConstantIntValue(step);
  if (!constant || *constant == 0)
    return op.emitOpError() << "has a step that is "
                            << (constant ? "zero" : "computed at run time")
                            << ", expected a nonzero constant";
  int64_t low = *constant > 0 ? 0 : -1;
  Value from = sliceBound(lowering, start, dim, low);
  Value to = sliceBound(lowering, end, dim, low);
  Value length =
      *constant > 0 ? lowering.sub(to, from) : lowering.sub(from, to);
  length = notNegative(lowering, length);
  int64_t stride = std::abs(*constant);
  Value size = lowering.div(lowering.add(length, lowering.index(stride - 1)),
                            lowering.index(stride));
  return AxisRange{from, size, *constant, step};
}

/// Slices that skip or go backwards copy element by element.
static Value sliceWithSteps(Lowering &lowering, Value input,
                            RankedTensorType type, ArrayRef<Value> dims,
                            ArrayRef<std::optional<AxisRange>> ranges) {
  llvm::SmallVector<Value> starts, steps;
  for (const std::optional<AxisRange> &range : ranges) {
    starts.push_back(range ? range->start : Value());
    steps.push_back(range ? range->dynamicStep : Value());
  }
  return lowering.parallel(
      type, dims, {}, {}, [&](ImplicitLocOpBuilder &b, ValueRange) {
        llvm::SmallVector<Value> position;
        for (auto [i, start] : llvm::enumerate(starts)) {
          Value own = linalg::IndexOp::create(b, i);
          if (start)
            own = arith::AddIOp::create(
                b, start, arith::MulIOp::create(b, own, steps[i]));
          position.push_back(own);
        }
        return tensor::ExtractOp::create(b, input, position).getResult();
      });
}

static LogicalResult lowerSlice(nju::SliceOp op, Lowering &lowering) {
  Value input = lowering[op.getInput()];
  RankedTensorType type = Lowering::convert(op.getType());
  llvm::SmallVector<Value> dims = lowering.dims(input);
  llvm::SmallVector<Value> offsets(dims.size(), lowering.index(0));
  llvm::SmallVector<Value> starts = indices(lowering, op.getStarts()),
                           ends = indices(lowering, op.getEnds()),
                           steps = indices(lowering, op.getSteps());
  llvm::SmallVector<std::optional<AxisRange>> ranges(dims.size());
  bool unitSteps = true;
  for (auto [i, axis] : llvm::enumerate(op.getAxes())) {
    FailureOr<AxisRange> range =
        sliceRange(op, lowering, starts[i], ends[i], steps[i], dims[axis]);
    if (failed(range))
      return failure();
    unitSteps &= range->step == 1;
    offsets[axis] = range->start;
    dims[axis] = range->size;
    ranges[axis] = *range;
  }
  auto known = lowering.known(input);
  std::optional<int64_t> start =
      offsets.size() == 1 ? getConstantIntValue(offsets[0]) : std::nullopt;
  if (known && start && unitSteps && isSmallVector(type))
    return bindElements(
        op, lowering,
        ArrayRef<Value>(*known).slice(*start, type.getNumElements()));
  dims = lowering.refine(type, dims);
  lowering.bind(op,
                unitSteps ? lowering.slice(input, offsets, dims, type)
                          : sliceWithSteps(lowering, input, type, dims, ranges),
                dims);
  return success();
}

/// The value everywhere, then the operand, or what negative pads leave of it,
/// in its place.
static LogicalResult lowerPad(nju::PadOp op, Lowering &lowering) {
  Value input = lowering[op.getInput()];
  RankedTensorType type = Lowering::convert(op.getType());
  llvm::SmallVector<Value> dims = lowering.dims(input);
  llvm::SmallVector<Value> pads = indices(lowering, op.getPads());
  size_t rank = dims.size();
  Value zero = lowering.index(0);
  llvm::SmallVector<Value> total, from, kept, to;
  for (size_t i = 0; i < rank; ++i) {
    Value before = pads[i], after = pads[i + rank];
    total.push_back(notNegative(
        lowering, lowering.add(lowering.add(dims[i], before), after)));
    from.push_back(lowering.min(
        isSize(before) ? zero : lowering.max(lowering.sub(zero, before), zero),
        dims[i]));
    to.push_back(lowering.min(notNegative(lowering, before), total[i]));
    Value end = isSize(after)
                    ? dims[i]
                    : lowering.min(dims[i], lowering.add(dims[i], after));
    kept.push_back(notNegative(lowering, lowering.sub(end, from[i])));
  }
  total = lowering.refine(type, total);
  Value value = lowering.elements(lowering[op.getValue()])[0];
  Value result = lowering.filled(type, total, value);
  llvm::SmallVector<int64_t> shape;
  for (Value size : kept)
    shape.push_back(getConstantIntValue(size).value_or(ShapedType::kDynamic));
  Value part = lowering.slice(input, from, kept, type.clone(shape));
  lowering.bind(op, lowering.insert(part, result, to), total);
  return success();
}

static LogicalResult lowerTile(nju::TileOp op, Lowering &lowering) {
  Value input = lowering[op.getInput()];
  RankedTensorType type = Lowering::convert(op.getType());
  llvm::SmallVector<Value> own = lowering.dims(input), dims;
  for (auto [dim, repeat] : llvm::zip(own, indices(lowering, op.getRepeats())))
    dims.push_back(lowering.mul(dim, notNegative(lowering, repeat)));
  dims = lowering.refine(type, dims);
  Value result = lowering.parallel(
      type, dims, {}, {}, [&](ImplicitLocOpBuilder &b, ValueRange) {
        llvm::SmallVector<Value> position;
        for (auto [i, dim] : llvm::enumerate(own)) {
          Value index = linalg::IndexOp::create(b, i);
          position.push_back(
              dim == dims[i] ? index : arith::RemUIOp::create(b, index, dim));
        }
        return tensor::ExtractOp::create(b, input, position).getResult();
      });
  lowering.bind(op, result, dims);
  return success();
}

/// max(ceil((limit - start) / delta), 0)
static Value rangeSize(Lowering &lowering, Value start, Value limit,
                       Value delta) {
  ImplicitLocOpBuilder &b = lowering.b;
  Value zero = lowering.index(0);
  if (isa<FloatType>(start.getType())) {
    Value steps =
        arith::DivFOp::create(b, arith::SubFOp::create(b, limit, start), delta);
    Value whole = arith::FPToSIOp::create(b, b.getI64Type(),
                                          math::CeilOp::create(b, steps));
    return lowering.max(arith::IndexCastOp::create(b, b.getIndexType(), whole),
                        zero);
  }
  Value distance =
      lowering.sub(lowering.toIndex(limit), lowering.toIndex(start));
  Value step = lowering.toIndex(delta);
  if (isConstantIntValue(step, 1))
    return notNegative(lowering, distance);
  if (getConstantIntValue(step) == 0)
    return zero;
  return lowering.max(b.createOrFold<arith::CeilDivSIOp>(distance, step), zero);
}

static LogicalResult lowerRange(nju::RangeOp op, Lowering &lowering) {
  RankedTensorType type = Lowering::convert(op.getType());
  Value start = lowering.elements(lowering[op.getStart()])[0];
  Value limit = lowering.elements(lowering[op.getLimit()])[0];
  Value delta = lowering.elements(lowering[op.getDelta()])[0];
  llvm::SmallVector<Value> dims =
      lowering.refine(type, rangeSize(lowering, start, limit, delta));
  auto element = [&](ImplicitLocOpBuilder &b, Value index) -> Value {
    Type elementType = start.getType();
    if (isa<FloatType>(elementType)) {
      Value i = b.createOrFold<arith::IndexCastOp>(b.getI64Type(), index);
      Value factor = b.createOrFold<arith::SIToFPOp>(elementType, i);
      return b.createOrFold<arith::AddFOp>(
          start, b.createOrFold<arith::MulFOp>(factor, delta));
    }
    Value i = b.createOrFold<arith::IndexCastOp>(elementType, index);
    return b.createOrFold<arith::AddIOp>(
        start, b.createOrFold<arith::MulIOp>(i, delta));
  };
  if (isSmallVector(type)) {
    llvm::SmallVector<Value> elements;
    for (int64_t i = 0; i < type.getDimSize(0); ++i)
      elements.push_back(element(lowering.b, lowering.index(i)));
    return bindElements(op, lowering, elements);
  }
  Value result = lowering.parallel(
      type, dims, {}, {}, [&](ImplicitLocOpBuilder &b, ValueRange) {
        return element(b, linalg::IndexOp::create(b, 0));
      });
  lowering.bind(op, result, dims);
  return success();
}

static LogicalResult lowerFill(nju::FillOp op, Lowering &lowering) {
  RankedTensorType type = Lowering::convert(op.getType());
  llvm::SmallVector<Value> dims = indices(lowering, op.getShape());
  for (Value &dim : dims)
    dim = notNegative(lowering, dim);
  dims = lowering.refine(type, dims);
  Value value = lowering[op.getValue()];
  auto known = lowering.known(value);
  if (known && isSmallVector(type))
    return bindElements(
        op, lowering,
        llvm::SmallVector<Value>(type.getNumElements(), (*known)[0]));
  if (known) {
    lowering.bind(op, lowering.filled(type, dims, (*known)[0]), dims);
    return success();
  }
  llvm::SmallVector<AffineExpr> exprs(
      cast<RankedTensorType>(value.getType()).getRank(),
      lowering.b.getAffineConstantExpr(0));
  AffineMap map =
      AffineMap::get(type.getRank(), 0, exprs, lowering.b.getContext());
  Value result = lowering.parallel(
      type, dims, {value}, {map},
      [](ImplicitLocOpBuilder &, ValueRange args) { return args[0]; });
  lowering.bind(op, result, dims);
  return success();
}

static LogicalResult lowerTrilu(nju::TriluOp op, Lowering &lowering) {
  Value input = lowering[op.getInput()];
  RankedTensorType type = Lowering::convert(op.getType());
  Value k = lowering.toIndex(lowering.elements(lowering[op.getK()])[0]);
  int64_t rank = type.getRank();
  Value result = lowering.parallel(
      type, lowering.dims(input), {input},
      {lowering.b.getMultiDimIdentityMap(rank)},
      [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
        Value row = linalg::IndexOp::create(b, rank - 2);
        Value column = linalg::IndexOp::create(b, rank - 1);
        Value diagonal = arith::AddIOp::create(b, row, k);
        Value keep =
            arith::CmpIOp::create(b,
                                  op.getUpper() ? arith::CmpIPredicate::sge
                                                : arith::CmpIPredicate::sle,
                                  column, diagonal);
        Value zero = emitNumber(b, args[0].getType(), 0);
        return arith::SelectOp::create(b, keep, args[0], zero);
      });
  lowering.bind(op, result);
  return success();
}

void nju::lowering::populateShape(Table &table) {
  table.add<BroadcastToOp>(lowerBroadcastTo);
  table.add<ConcatOp>(lowerConcat);
  table.add<FillOp>(lowerFill);
  table.add<PadOp>(lowerPad);
  table.add<RangeOp>(lowerRange);
  table.add<ReshapeOp>(lowerReshape);
  table.add<ShapeOfOp>(lowerShapeOf);
  table.add<SliceOp>(lowerSlice);
  table.add<SqueezeOp>(lowerSqueeze);
  table.add<TileOp>(lowerTile);
  table.add<TransposeOp>(lowerTranspose);
  table.add<TriluOp>(lowerTrilu);
  table.add<UnsqueezeOp>(lowerUnsqueeze);
}
