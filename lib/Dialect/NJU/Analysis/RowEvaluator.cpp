//===- RowEvaluator.cpp - Evaluates some rows of values -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Dialect/NJU/Analysis/RowEvaluator.h"
#include "StridedCopy.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include <limits>

using namespace mlir;
using namespace nju;

/// Values of fewer elements are evaluated as a whole.
static constexpr int64_t kSmall = 4096;

bool nju::isElementwise(Operation *op) {
  return isa<AbsOp, AtanOp, CeilOp, CosOp, ErfOp, ExpOp, FloorOp, LogOp, NegOp,
             ReciprocalOp, ReluOp, RoundOp, RsqrtOp, SigmoidOp, SignOp, SiluOp,
             SinOp, SoftplusOp, SqrtOp, TanhOp, GeluOp, IsInfOp, IsNaNOp, NotOp,
             AddOp, DivOp, MaxOp, MinOp, MulOp, PowOp, SubOp, ModOp, AndOp,
             OrOp, XorOp, ShiftLeftOp, ShiftRightOp, CompareOp, SelectOp,
             CastOp, SwiGLUOp>(op);
}

static int64_t rankOf(Value value) {
  return cast<RankedTensorType>(value.getType()).getRank();
}

static int64_t product(ArrayRef<int64_t> dims) {
  int64_t size = 1;
  for (int64_t dim : dims)
    size *= dim;
  return size;
}

/// A copy of a vector of integers with one entry changed.
static HostTensor withEntry(const HostTensor &tensor, int64_t index,
                            int64_t value) {
  llvm::SmallVector<int64_t> entries = tensor.getInts();
  entries[index] = value;
  return HostTensor::fromInts(tensor.getElementType(), tensor.getShape(),
                              entries);
}

LogicalResult RowEvaluator::fail(const llvm::Twine &why) {
  lastReason = why.str();
  return failure();
}

void RowEvaluator::bind(Value value, Provider provider) {
  if (!providers.count(value))
    dependent.clear();
  providers[value] = std::move(provider);
  for (auto entry = known.begin(); entry != known.end();)
    entry = entry->second.dependsOnBound ? known.erase(entry) : ++entry;
}

FailureOr<HostTensor> RowEvaluator::evaluate(Value value, RowRange range) {
  metBound = false;
  return rows(value, range);
}

FailureOr<HostTensor> RowEvaluator::rows(Value value, RowRange range) {
  Key key(value.getAsOpaquePointer(), range.axis, range.first, range.count);
  if (auto found = known.find(key); found != known.end()) {
    metBound |= found->second.dependsOnBound;
    return found->second.tensor;
  }
  bool before = metBound;
  metBound = false;
  Result result = compute(value, range);
  if (succeeded(result))
    known[key] = {*result, metBound};
  metBound |= before;
  return result;
}

FailureOr<HostTensor> RowEvaluator::compute(Value value, RowRange range) {
  if (auto provider = providers.find(value); provider != providers.end()) {
    Result bound = provider->second(range);
    metBound = true;
    return bound;
  }
  Operation *op = value.getDefiningOp();
  auto shape = evaluator.shapeOf(value);
  bool isSmall = shape && product(*shape) <= kSmall;
  if (op && (!isSmall || dependsOnBound(value)))
    if (std::optional<Result> result = computeOp(op, range))
      return *result;
  Result all = whole(value);
  return failed(all) ? all : take(*all, range);
}

/// True if rows of the value follow from what is bound here: the evaluator
/// would look for them in all that the bound value is computed of.
bool RowEvaluator::dependsOnBound(Value value) {
  llvm::SmallVector<Value> stack = {value};
  while (!stack.empty()) {
    Value top = stack.back();
    if (dependent.count(top)) {
      stack.pop_back();
      continue;
    }
    Operation *op = top.getDefiningOp();
    bool depends = providers.count(top), isKnown = true;
    if (op && !depends && !isa<ShapeOfOp>(op))
      for (Value operand : op->getOperands()) {
        auto found = dependent.find(operand);
        if (found == dependent.end()) {
          stack.push_back(operand);
          isKnown = false;
        } else {
          depends |= found->second;
        }
      }
    if (isKnown)
      dependent[top] = depends;
  }
  return dependent.lookup(value);
}

FailureOr<HostTensor> RowEvaluator::whole(Value value) {
  if (dependsOnBound(value))
    return fail("depends on a value of which only rows are known");
  Result result = evaluator.evaluate(value);
  if (failed(result))
    return fail(evaluator.reason());
  return result;
}

FailureOr<HostTensor> RowEvaluator::take(const HostTensor &tensor,
                                         RowRange range) {
  llvm::SmallVector<int64_t> shape(tensor.getShape());
  if (range.first + range.count > shape[range.axis])
    return fail("row " + llvm::Twine(range.first + range.count - 1) +
                " is wanted of " + llvm::Twine(shape[range.axis]));
  llvm::SmallVector<int64_t> strides = detail::rowMajorStrides(shape);
  int64_t offset = range.first * strides[range.axis];
  shape[range.axis] = range.count;
  HostTensor result = HostTensor::uninitialized(tensor.getElementType(), shape);
  detail::copyStrided(tensor.getElementSize(), shape,
                      tensor.bytes() + offset * tensor.getElementSize(),
                      strides, result.mutableBytes(),
                      detail::rowMajorStrides(shape));
  return result;
}

FailureOr<HostTensor> RowEvaluator::apply(Operation *op,
                                          ArrayRef<HostTensor> operands) {
  return evaluateOp(op, operands, lastReason);
}

/// Rows of an operand that is broadcast: all of it if it has no such rows.
FailureOr<HostTensor>
RowEvaluator::operandRows(Value operand, int64_t resultRank, RowRange range) {
  int64_t axis = range.axis - (resultRank - rankOf(operand));
  auto shape = evaluator.shapeOf(operand);
  if (axis < 0 || (shape && (*shape)[axis] == 1)) {
    return axis < 0 ? whole(operand) : rows(operand, {axis, 0, 1});
  }
  return rows(operand, range.along(axis));
}

std::optional<FailureOr<HostTensor>> RowEvaluator::computeOp(Operation *op,
                                                             RowRange range) {
  if (isElementwise(op))
    return elementwise(op, range);
  if (isa<UnsqueezeOp, SqueezeOp>(op))
    return squeezed(op, range);
  if (isa<ReshapeOp>(op))
    return reshaped(op, range);
  if (auto transpose = dyn_cast<TransposeOp>(op)) {
    int64_t from = transpose.getPermutation()[range.axis];
    Result input = rows(op->getOperand(0), range.along(from));
    return failed(input) ? input : apply(op, *input);
  }
  if (isa<BroadcastToOp>(op))
    return broadcast(op, range);
  if (isa<TileOp>(op))
    return tiled(op, range);
  if (isa<SliceOp>(op))
    return sliced(op, range);
  if (isa<ConcatOp>(op))
    return concatenated(op, range);
  if (isa<GatherOp, GatherNDOp>(op))
    return gathered(op, range);
  if (isa<GatherElementsOp>(op))
    return picked(op, range);
  if (isa<TriluOp>(op))
    return triangle(op, range);
  if (isa<FillOp>(op))
    return filled(op, range);
  return std::nullopt;
}

std::optional<FailureOr<HostTensor>> RowEvaluator::elementwise(Operation *op,
                                                               RowRange range) {
  llvm::SmallVector<HostTensor> operands;
  for (Value operand : op->getOperands()) {
    Result tensor = operandRows(operand, rankOf(op->getResult(0)), range);
    if (failed(tensor))
      return tensor;
    operands.push_back(*tensor);
  }
  return apply(op, operands);
}

std::optional<FailureOr<HostTensor>> RowEvaluator::squeezed(Operation *op,
                                                            RowRange range) {
  bool inserts = isa<UnsqueezeOp>(op);
  llvm::SmallVector<int64_t> axes(
      op->getAttrOfType<DenseI64ArrayAttr>("axes").asArrayRef());
  llvm::sort(axes);
  if (inserts && llvm::is_contained(axes, range.axis))
    return std::nullopt;
  int64_t from = range.axis;
  for (int64_t axis : axes)
    if (inserts)
      from -= axis < range.axis ? 1 : 0;
    else
      from += axis <= from ? 1 : 0;
  Result input = rows(op->getOperand(0), range.along(from));
  return failed(input) ? input : apply(op, *input);
}

/// A reshape that leaves the rows' dimension alone.
std::optional<FailureOr<HostTensor>> RowEvaluator::reshaped(Operation *op,
                                                            RowRange range) {
  auto from = evaluator.shapeOf(op->getOperand(0));
  auto to = evaluator.shapeOf(op->getResult(0));
  if (!from || !to)
    return std::nullopt;
  int64_t before = product(ArrayRef<int64_t>(*to).take_front(range.axis));
  for (int64_t axis = 0; axis < static_cast<int64_t>(from->size()); ++axis) {
    if ((*from)[axis] != (*to)[range.axis] ||
        product(ArrayRef<int64_t>(*from).take_front(axis)) != before)
      continue;
    Result input = rows(op->getOperand(0), range.along(axis));
    if (failed(input))
      return input;
    llvm::SmallVector<int64_t> shape(*to);
    shape[range.axis] = range.count;
    if (input->getNumElements() != product(shape))
      return Result(fail("a reshape does not fit"));
    return Result(input->reshaped(shape));
  }
  return std::nullopt;
}

std::optional<FailureOr<HostTensor>> RowEvaluator::broadcast(Operation *op,
                                                             RowRange range) {
  Result shape = whole(op->getOperand(1));
  int64_t rank = rankOf(op->getResult(0));
  Result input = operandRows(op->getOperand(0), rank, range);
  if (failed(shape) || failed(input))
    return Result(failure());
  int64_t axis = range.axis - (rank - shape->getNumElements());
  if (axis >= 0 && shape->getInt(axis) != 1)
    shape = withEntry(*shape, axis, range.count);
  return apply(op, {*input, *shape});
}

/// Rows that are not repeated, or that lie within one repetition.
std::optional<FailureOr<HostTensor>> RowEvaluator::tiled(Operation *op,
                                                         RowRange range) {
  auto shape = evaluator.shapeOf(op->getOperand(0));
  Result repeats = whole(op->getOperand(1));
  if (failed(repeats) || !shape)
    return std::nullopt;
  int64_t size = (*shape)[range.axis];
  if (size == 0 || range.first % size + range.count > size)
    return std::nullopt;
  range.first %= size;
  Result input = rows(op->getOperand(0), range);
  if (failed(input))
    return input;
  return apply(op, {*input, withEntry(*repeats, range.axis, 1)});
}

std::optional<FailureOr<HostTensor>> RowEvaluator::sliced(Operation *op,
                                                          RowRange range) {
  auto slice = cast<SliceOp>(op);
  llvm::SmallVector<HostTensor> operands(1);
  for (Value bounds : op->getOperands().drop_front()) {
    Result tensor = whole(bounds);
    if (failed(tensor))
      return tensor;
    operands.push_back(*tensor);
  }
  for (auto [i, axis] : llvm::enumerate(slice.getAxes())) {
    if (axis != range.axis)
      continue;
    int64_t start = operands[1].getInt(i), end = operands[2].getInt(i);
    if (start < 0 || end < 0 || operands[3].getInt(i) != 1)
      return std::nullopt;
    range.first += start;
    if (range.first + range.count > end)
      return Result(fail("a slice has too few rows"));
    operands[1] = withEntry(operands[1], i, 0);
    operands[2] =
        withEntry(operands[2], i, std::numeric_limits<int64_t>::max());
  }
  Result input = rows(op->getOperand(0), range);
  if (failed(input))
    return input;
  operands[0] = *input;
  return apply(op, operands);
}

std::optional<FailureOr<HostTensor>>
RowEvaluator::concatenated(Operation *op, RowRange range) {
  bool joinsRows =
      static_cast<int64_t>(cast<ConcatOp>(op).getAxis()) == range.axis;
  llvm::SmallVector<HostTensor> parts;
  int64_t offset = 0;
  for (Value operand : op->getOperands()) {
    RowRange part = range;
    if (joinsRows) {
      auto shape = evaluator.shapeOf(operand);
      if (!shape)
        return std::nullopt;
      int64_t size = (*shape)[range.axis];
      part.first = std::max<int64_t>(range.first - offset, 0);
      part.count =
          std::min(range.first + range.count - offset, size) - part.first;
      offset += size;
      if (part.count <= 0)
        continue;
    }
    Result tensor = rows(operand, part);
    if (failed(tensor))
      return tensor;
    parts.push_back(*tensor);
  }
  if (parts.empty())
    return Result(fail("a concatenation has too few rows"));
  return apply(op, parts);
}

/// The rows are dimensions of the indices, or of what is looked up.
std::optional<FailureOr<HostTensor>> RowEvaluator::gathered(Operation *op,
                                                            RowRange range) {
  Value input = op->getOperand(0), indices = op->getOperand(1);
  int64_t firstIndex = 0, indexDims = rankOf(indices);
  if (auto gather = dyn_cast<GatherOp>(op))
    firstIndex = gather.getAxis();
  else if (cast<GatherNDOp>(op).getBatchDims() == 0)
    --indexDims;
  else
    return std::nullopt;
  int64_t axis = range.axis - firstIndex;
  if (axis >= 0 && axis < indexDims) {
    Result taken = rows(indices, range.along(axis));
    Result all = whole(input);
    return failed(taken) || failed(all) ? Result(failure())
                                        : apply(op, {*all, *taken});
  }
  if (!isa<GatherOp>(op))
    return std::nullopt;
  int64_t from = axis < 0 ? range.axis : range.axis - indexDims + 1;
  Result part = rows(input, range.along(from));
  Result all = whole(indices);
  return failed(part) || failed(all) ? Result(failure())
                                     : apply(op, {*part, *all});
}

/// Elements picked along the rows' dimension come from the rows between the
/// first and the last that are picked, if these are few.
std::optional<FailureOr<HostTensor>> RowEvaluator::picked(Operation *op,
                                                          RowRange range) {
  Value input = op->getOperand(0);
  auto shape = evaluator.shapeOf(input);
  Result indices = rows(op->getOperand(1), range);
  if (failed(indices) || !shape)
    return std::nullopt;
  RowRange from = range;
  if (int64_t(cast<GatherElementsOp>(op).getAxis()) == range.axis) {
    int64_t size = (*shape)[range.axis], last = -1;
    llvm::SmallVector<int64_t> picks;
    from.first = size;
    for (int64_t i = 0, count = indices->getNumElements(); i < count; ++i) {
      int64_t index = indices->getInt(i);
      picks.push_back(index < 0 ? index + size : index);
      from.first = std::min(from.first, picks.back());
      last = std::max(last, picks.back());
    }
    from.count = last - from.first + 1;
    if (from.first < 0 || last >= size || from.count > 2 * range.count)
      return std::nullopt;
    for (int64_t &pick : picks)
      pick -= from.first;
    indices = HostTensor::fromInts(indices->getElementType(),
                                   indices->getShape(), picks);
  }
  Result part = rows(input, from);
  return failed(part) ? part : apply(op, {*part, *indices});
}

std::optional<FailureOr<HostTensor>> RowEvaluator::triangle(Operation *op,
                                                            RowRange range) {
  int64_t rank = rankOf(op->getResult(0));
  Result input = rows(op->getOperand(0), range);
  Result k = whole(op->getOperand(1));
  if (failed(input) || failed(k))
    return Result(failure());
  // Row r of these is row first + r of all.
  int64_t shift = range.axis == rank - 2   ? range.first
                  : range.axis == rank - 1 ? -range.first
                                           : 0;
  HostTensor moved = HostTensor::fromInts(k->getElementType(), k->getShape(),
                                          {k->getInt(0) + shift});
  return apply(op, {*input, moved});
}

std::optional<FailureOr<HostTensor>> RowEvaluator::filled(Operation *op,
                                                          RowRange range) {
  Result shape = whole(op->getOperand(0));
  Result value = whole(op->getOperand(1));
  if (failed(shape) || failed(value))
    return Result(failure());
  if (range.first + range.count > shape->getInt(range.axis))
    return Result(fail("a constant has too few rows"));
  return apply(op, {withEntry(*shape, range.axis, range.count), *value});
}
