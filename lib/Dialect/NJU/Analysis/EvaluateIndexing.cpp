//===- EvaluateIndexing.cpp - Evaluates concat, slice, gather and scatter -*-
// C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "EvaluatorImpl.h"
#include "SliceBounds.h"
#include "llvm/ADT/TypeSwitch.h"
#include <numeric>

using namespace mlir;
using namespace nju;
using namespace nju::detail;

using Shape = llvm::SmallVector<int64_t>;

static int64_t count(ArrayRef<int64_t> shape) {
  return countElements(shape).value_or(0);
}

static EvalResult evaluate(const Evaluation &e, ConcatOp op) {
  if (e.operands.empty())
    return e.fail("has no operand");
  Shape shape(e.operands[0].getShape());
  int64_t axis = op.getAxis();
  if (failed(e.checkAxis(axis, shape.size())))
    return failure();
  shape[axis] = 0;
  for (const HostTensor &operand : e.operands) {
    Shape other(operand.getShape());
    bool fits = other.size() == shape.size() &&
                operand.getElementType() == e.operands[0].getElementType();
    int64_t size = fits ? other[axis] : 0;
    if (fits)
      other[axis] = shape[axis];
    if (!fits || other != shape)
      return e.fail("cannot join " + toString(e.operands[0]) + " and " +
                    toString(operand));
    shape[axis] += size;
  }
  EvalResult result = e.allocate(e.operands[0].getElementType(), shape);
  if (failed(result))
    return result;
  int64_t size = result->getElementSize(), offset = 0;
  Shape strides = rowMajorStrides(shape);
  for (const HostTensor &operand : e.operands) {
    copyStrided(size, operand.getShape(), operand.bytes(),
                rowMajorStrides(operand.getShape()),
                result->mutableBytes() + offset * strides[axis] * size,
                strides);
    offset += operand.getDim(axis);
  }
  return result;
}

static EvalResult evaluate(const Evaluation &e, SliceOp op) {
  const HostTensor &input = e.operands[0];
  Shape starts = e.operands[1].getInts(), ends = e.operands[2].getInts(),
        steps = e.operands[3].getInts();
  Shape shape(input.getShape()), strides = rowMajorStrides(shape);
  size_t axes = op.getAxes().size();
  if (starts.size() != axes || ends.size() != axes || steps.size() != axes)
    return e.fail("has " + llvm::Twine(axes) + " axes and " +
                  llvm::Twine(starts.size()) + " starts");
  int64_t offset = 0;
  for (auto [i, axis] : llvm::enumerate(op.getAxes())) {
    if (failed(e.checkAxis(axis, input.getRank())))
      return failure();
    if (steps[i] == 0)
      return e.fail("has a step of 0");
    ResolvedSlice slice =
        resolveSlice(starts[i], ends[i], steps[i], shape[axis]);
    offset += slice.first * strides[axis];
    shape[axis] = slice.count;
    // The step of one element or none may be any number.
    if (slice.count > 1)
      strides[axis] *= steps[i];
  }
  EvalResult result = e.allocate(input.getElementType(), shape);
  if (failed(result) || result->getNumElements() == 0)
    return result;
  copyStrided(input.getElementSize(), shape,
              input.bytes() + offset * input.getElementSize(), strides,
              result->mutableBytes(), rowMajorStrides(shape));
  return result;
}

//===----------------------------------------------------------------------===//
// Gather
//===----------------------------------------------------------------------===//

/// An index that may count from the end; no value if it is out of range.
static std::optional<int64_t> resolveIndex(int64_t index, int64_t size) {
  if (index < -size || index >= size)
    return std::nullopt;
  return index < 0 ? index + size : index;
}

static EvalResult badIndex(const Evaluation &e, int64_t index, int64_t size) {
  return e.fail("index " + llvm::Twine(index) +
                " is out of range of a dimension of " + llvm::Twine(size));
}

static EvalResult evaluate(const Evaluation &e, GatherOp op) {
  const HostTensor &input = e.operands[0], &indices = e.operands[1];
  int64_t axis = op.getAxis();
  if (failed(e.checkAxis(axis, input.getRank())))
    return failure();
  ArrayRef<int64_t> from = input.getShape();
  Shape shape(from.take_front(axis));
  shape.append(indices.getShape().begin(), indices.getShape().end());
  shape.append(from.begin() + axis + 1, from.end());
  EvalResult result = e.allocate(input.getElementType(), shape);
  if (failed(result))
    return result;
  int64_t outer = count(from.take_front(axis)), size = from[axis],
          bytes = count(from.drop_front(axis + 1)) * input.getElementSize();
  Shape all = indices.getInts();
  for (int64_t &index : all) {
    std::optional<int64_t> resolved = resolveIndex(index, size);
    if (!resolved)
      return badIndex(e, index, size);
    index = *resolved;
  }
  char *to = result->mutableBytes();
  for (int64_t i = 0; i < outer; ++i)
    for (int64_t index : all) {
      std::memcpy(to, input.bytes() + (i * size + index) * bytes, bytes);
      to += bytes;
    }
  return result;
}

static EvalResult evaluate(const Evaluation &e, EmbeddingOp op) {
  const HostTensor &weight = e.operands[0], &indices = e.operands[1];
  int64_t columns = op.getColumns(), size = weight.getElementSize();
  if (weight.getRank() != 3 || columns > weight.getDim(0) * weight.getDim(2))
    return e.fail("cannot look up " + llvm::Twine(columns) + " columns of " +
                  toString(weight));
  int64_t depth = weight.getDim(1), width = weight.getDim(2);
  Shape shape(indices.getShape());
  shape.push_back(depth);
  EvalResult result = e.allocate(weight.getElementType(), shape);
  if (failed(result))
    return result;
  char *to = result->mutableBytes();
  for (int64_t index : indices.getInts()) {
    std::optional<int64_t> column = resolveIndex(index, columns);
    if (!column)
      return badIndex(e, index, columns);
    int64_t first = *column / width * depth * width + *column % width;
    copyStrided(size, {depth}, weight.bytes() + first * size, {width}, to, {1});
    to += depth * size;
  }
  return result;
}

static EvalResult evaluate(const Evaluation &e, GatherElementsOp op) {
  const HostTensor &input = e.operands[0], &indices = e.operands[1];
  int64_t axis = op.getAxis(), rank = input.getRank();
  if (failed(e.checkAxis(axis, rank)))
    return failure();
  bool fits = indices.getRank() == rank;
  for (int64_t i = 0; fits && i < rank; ++i)
    fits = i == axis || indices.getDim(i) <= input.getDim(i);
  if (!fits)
    return e.fail("cannot look up elements of " + toString(input) + " by " +
                  toString(indices));
  EvalResult result = e.allocate(input.getElementType(), indices.getShape());
  if (failed(result))
    return result;
  Shape strides = rowMajorStrides(input.getShape());
  int64_t size = input.getElementSize();
  for (int64_t i = 0, total = indices.getNumElements(); i < total; ++i) {
    int64_t rest = i, offset = 0;
    for (int64_t dim = rank - 1; dim >= 0; --dim) {
      if (dim != axis)
        offset += rest % indices.getDim(dim) * strides[dim];
      rest /= indices.getDim(dim);
    }
    std::optional<int64_t> index =
        resolveIndex(indices.getInt(i), input.getDim(axis));
    if (!index)
      return badIndex(e, indices.getInt(i), input.getDim(axis));
    std::memcpy(result->mutableBytes() + i * size,
                input.bytes() + (offset + *index * strides[axis]) * size, size);
  }
  return result;
}

//===----------------------------------------------------------------------===//
// Index vectors
//===----------------------------------------------------------------------===//

/// Element offset of the slice that the index vector at `first` names, in the
/// dimensions of `tensor` after the first `batch`.
static FailureOr<int64_t> vectorOffset(const Evaluation &e,
                                       const HostTensor &tensor,
                                       const HostTensor &indices, int64_t first,
                                       int64_t depth, int64_t batch) {
  Shape strides = rowMajorStrides(tensor.getShape());
  int64_t offset = 0;
  for (int64_t i = 0; i < depth; ++i) {
    int64_t size = tensor.getDim(batch + i), index = indices.getInt(first + i);
    std::optional<int64_t> resolved = resolveIndex(index, size);
    if (!resolved) {
      (void)badIndex(e, index, size);
      return failure();
    }
    offset += *resolved * strides[batch + i];
  }
  return offset;
}

static EvalResult evaluate(const Evaluation &e, GatherNDOp op) {
  const HostTensor &input = e.operands[0], &indices = e.operands[1];
  int64_t batch = op.getBatchDims();
  int64_t depth = indices.getRank() ? indices.getShape().back() : 0;
  ArrayRef<int64_t> from = input.getShape(), by = indices.getShape();
  if (batch < 0 || batch >= indices.getRank() ||
      batch + depth > input.getRank() ||
      from.take_front(batch) != by.take_front(batch))
    return e.fail("cannot look up slices of " + toString(input) + " by " +
                  toString(indices));
  Shape shape(by.drop_back());
  shape.append(from.begin() + batch + depth, from.end());
  EvalResult result = e.allocate(input.getElementType(), shape);
  if (failed(result))
    return result;
  int64_t vectors = count(by.drop_back()),
          batches = count(from.take_front(batch)),
          perBatch = vectors / std::max<int64_t>(batches, 1),
          batchSize = count(from.drop_front(batch)),
          size = input.getElementSize(),
          bytes = count(from.drop_front(batch + depth)) * size;
  for (int64_t i = 0; i < vectors; ++i) {
    FailureOr<int64_t> offset =
        vectorOffset(e, input, indices, i * depth, depth, batch);
    if (failed(offset))
      return failure();
    int64_t start = i / perBatch * batchSize + *offset;
    std::memcpy(result->mutableBytes() + i * bytes,
                input.bytes() + start * size, bytes);
  }
  return result;
}

template <typename T>
static T combine(ScatterReduction reduction, T a, T b) {
  // Signed numbers wrap around as unsigned ones.
  using U = std::conditional_t<std::is_same_v<T, int64_t>, uint64_t, T>;
  switch (reduction) {
  case ScatterReduction::replace:
    return b;
  case ScatterReduction::add:
    return static_cast<T>(U(a) + U(b));
  case ScatterReduction::mul:
    return static_cast<T>(U(a) * U(b));
  case ScatterReduction::max:
    return pick(a, b, true);
  case ScatterReduction::min:
    return pick(a, b, false);
  }
  llvm_unreachable("all reductions are handled");
}

/// Combines `count` elements from `offset` on with those of `updates` from
/// `first` on. Both tensors have one of the types that are computed in.
static void combineElements(ScatterReduction reduction, HostTensor &into,
                            int64_t offset, const HostTensor &updates,
                            int64_t first, int64_t count) {
  auto run = [&](auto zero) {
    using T = decltype(zero);
    T *to = into.mutableElements<T>().data() + offset;
    const T *from = updates.elements<T>().data() + first;
    for (int64_t i = 0; i < count; ++i)
      to[i] = combine(reduction, to[i], from[i]);
  };
  Type type = into.getElementType();
  if (type.isF64())
    return run(double());
  type.isUnsignedInteger() ? run(uint64_t()) : run(int64_t());
}

static EvalResult evaluate(const Evaluation &e, ScatterNDOp op) {
  const HostTensor &input = e.operands[0], &indices = e.operands[1],
                   &updates = e.operands[2];
  int64_t depth = indices.getRank() ? indices.getShape().back() : -1;
  bool fits = depth >= 0 && depth <= input.getRank();
  if (fits) {
    Shape expected(indices.getShape().drop_back());
    expected.append(input.getShape().begin() + depth, input.getShape().end());
    fits = updates.getShape() == ArrayRef<int64_t>(expected);
  }
  if (!fits)
    return e.fail("cannot replace slices of " + toString(input) + " at " +
                  toString(indices) + " by " + toString(updates));
  bool replaces = op.getReduction() == ScatterReduction::replace;
  Type type = input.getElementType(),
       compute = replaces ? type : wideType(type);
  EvalResult result = e.allocate(compute, input.getShape());
  if (failed(result))
    return result;
  HostTensor start = input.converted(compute), by = updates.converted(compute);
  std::memcpy(result->mutableBytes(), start.bytes(), start.getNumBytes());
  int64_t size = start.getElementSize(),
          slice = count(input.getShape().drop_front(depth));
  for (int64_t i = 0, all = count(indices.getShape().drop_back()); i < all;
       ++i) {
    FailureOr<int64_t> offset =
        vectorOffset(e, input, indices, i * depth, depth, 0);
    if (failed(offset))
      return failure();
    if (replaces)
      std::memcpy(result->mutableBytes() + *offset * size,
                  by.bytes() + i * slice * size, slice * size);
    else
      combineElements(op.getReduction(), *result, *offset, by, i * slice,
                      slice);
  }
  return result->converted(type);
}

std::optional<EvalResult> nju::detail::evaluateIndexing(const Evaluation &e) {
  using Result = std::optional<EvalResult>;
  return llvm::TypeSwitch<Operation *, Result>(e.op)
      .Case<ConcatOp, EmbeddingOp, GatherElementsOp, GatherNDOp, GatherOp,
            ScatterNDOp, SliceOp>(
          [&](auto op) -> Result { return evaluate(e, op); })
      .Default([](Operation *) { return Result(); });
}
