//===- EvaluateShape.cpp - Evaluates reshapes, repetitions and generators -*-
// C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "EvaluatorImpl.h"
#include "HostElements.h"
#include "nju/Dialect/NJU/Analysis/ParamReader.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace nju;
using namespace nju::detail;

using Shape = llvm::SmallVector<int64_t>;

static std::string text(ArrayRef<int64_t> shape) {
  std::string result;
  llvm::raw_string_ostream os(result);
  os << "[";
  llvm::interleaveComma(shape, os);
  os << "]";
  return result;
}

static EvalResult evaluate(const Evaluation &e, ShapeOfOp) {
  ArrayRef<int64_t> shape = e.operands[0].getShape();
  return HostTensor::fromInts(e.resultElementType(),
                              {static_cast<int64_t>(shape.size())}, shape);
}

static EvalResult evaluate(const Evaluation &e, ReshapeOp op) {
  const HostTensor &input = e.operands[0];
  Shape target = e.operands[1].getInts();
  std::optional<size_t> rest;
  int64_t count = 1;
  bool fits = true;
  for (auto [i, size] : llvm::enumerate(target)) {
    if (size == 0 && !op.getAllowZero() &&
        static_cast<int64_t>(i) < input.getRank())
      size = input.getDim(i);
    if (size == -1 && !rest)
      rest = i;
    else if (size < 0 || llvm::MulOverflow(count, size, count))
      fits = false;
  }
  int64_t total = input.getNumElements();
  if (fits && rest) {
    fits = count == 0 ? total == 0 : total % count == 0;
    target[*rest] = count == 0 ? 0 : total / std::max<int64_t>(count, 1);
  } else {
    fits = fits && count == total;
  }
  if (!fits)
    return e.fail("cannot reshape " + toString(input) + " to " +
                  text(e.operands[1].getInts()));
  return input.reshaped(target);
}

static EvalResult evaluate(const Evaluation &e, SqueezeOp op) {
  Shape shape;
  for (auto [i, size] : llvm::enumerate(e.operands[0].getShape())) {
    if (!llvm::is_contained(op.getAxes(), static_cast<int64_t>(i)))
      shape.push_back(size);
    else if (size != 1)
      return e.fail("dimension " + llvm::Twine(i) + " of " +
                    toString(e.operands[0]) + " is not 1");
  }
  return e.operands[0].reshaped(shape);
}

static EvalResult evaluate(const Evaluation &e, UnsqueezeOp op) {
  Shape shape(e.operands[0].getShape());
  for (int64_t axis : op.getAxes()) {
    if (axis < 0 || axis > static_cast<int64_t>(shape.size()))
      return e.checkAxis(axis, shape.size());
    shape.insert(shape.begin() + axis, 1);
  }
  return e.operands[0].reshaped(shape);
}

static EvalResult evaluate(const Evaluation &e, TransposeOp op) {
  return permuteDimensions(e.operands[0], op.getPermutation());
}

//===----------------------------------------------------------------------===//
// Repetitions
//===----------------------------------------------------------------------===//

static EvalResult evaluate(const Evaluation &e, BroadcastToOp) {
  Shape target = e.operands[1].getInts();
  auto shape = broadcastShapes({e.operands[0].getShape(), target});
  if (!shape)
    return e.fail("cannot broadcast " + toString(e.operands[0]) + " to " +
                  text(target));
  return broadcastTensor(e, e.operands[0], *shape);
}

static EvalResult evaluate(const Evaluation &e, TileOp) {
  const HostTensor &input = e.operands[0];
  Shape repeats = e.operands[1].getInts(), shape, loops, from;
  if (repeats.size() != input.getShape().size())
    return e.fail("has " + llvm::Twine(repeats.size()) + " repeats for " +
                  toString(input));
  Shape own = rowMajorStrides(input.getShape());
  for (auto [i, repeat] : llvm::enumerate(repeats)) {
    int64_t size;
    if (llvm::MulOverflow(repeat, input.getDim(i), size))
      return e.fail("result of more than 2^63 elements is too large");
    shape.push_back(size);
    // Each dimension is a loop of repetitions around a loop of elements.
    loops.append({repeat, input.getDim(i)});
    from.append({0, own[i]});
  }
  EvalResult result = e.allocate(input.getElementType(), shape);
  if (succeeded(result))
    copyStrided(input.getElementSize(), loops, input.bytes(), from,
                result->mutableBytes(), rowMajorStrides(loops));
  return result;
}

static EvalResult evaluate(const Evaluation &e, FillOp) {
  const HostTensor &value = e.operands[1];
  if (value.getNumElements() != 1)
    return e.fail("fills with " + toString(value) + ", expected a scalar");
  return broadcastTensor(e, value.reshaped({}), e.operands[0].getInts());
}

//===----------------------------------------------------------------------===//
// Pad
//===----------------------------------------------------------------------===//

static EvalResult evaluate(const Evaluation &e, PadOp) {
  const HostTensor &input = e.operands[0];
  Shape pads = e.operands[1].getInts(), shape(input.getShape());
  size_t rank = shape.size();
  if (pads.size() != 2 * rank || e.operands[2].getNumElements() != 1)
    return e.fail("has " + llvm::Twine(pads.size()) + " pads for " +
                  toString(input));
  for (size_t i = 0; i < rank; ++i) {
    // Far from every size that could be allocated, and from overflow.
    pads[i] =
        std::clamp<int64_t>(pads[i], -(int64_t(1) << 60), int64_t(1) << 60);
    pads[rank + i] = std::clamp<int64_t>(pads[rank + i], -(int64_t(1) << 60),
                                         int64_t(1) << 60);
    shape[i] += pads[i] + pads[rank + i];
  }
  if (failed(e.checkSize(input.getElementType(), shape)))
    return failure();
  EvalResult result = broadcastTensor(e, e.operands[2].reshaped({}), shape);
  if (failed(result))
    return result;
  if (rank == 0)
    return input;
  // The box that input and result share.
  Shape inner(rank, 0), own = rowMajorStrides(input.getShape()),
                        strides = rowMajorStrides(shape);
  int64_t from = 0, to = 0;
  for (size_t i = 0; i < rank; ++i) {
    int64_t first = std::max<int64_t>(-pads[i], 0),
            last = std::min(input.getDim(i), input.getDim(i) + pads[rank + i]);
    inner[i] = std::max<int64_t>(last - first, 0);
    from += first * own[i];
    to += std::max<int64_t>(pads[i], 0) * strides[i];
  }
  if (countElements(inner).value_or(0) == 0)
    return result;
  int64_t size = input.getElementSize();
  copyStrided(size, inner, input.bytes() + from * size, own,
              result->mutableBytes() + to * size, strides);
  return result;
}

//===----------------------------------------------------------------------===//
// Generators
//===----------------------------------------------------------------------===//

/// max(ceil((limit - start) / delta), 0)
static std::optional<int64_t> rangeLength(double start, double limit,
                                          double delta) {
  double length = std::ceil((limit - start) / delta);
  if (!(length > 0))
    return 0;
  return length < 9e18 ? std::optional<int64_t>(length) : std::nullopt;
}

static std::optional<int64_t> rangeLength(int64_t start, int64_t limit,
                                          int64_t delta) {
  if (delta > 0 ? start >= limit : start <= limit)
    return 0;
  // As unsigned numbers: the distance may be more than an int64 holds.
  uint64_t a = start, b = limit, step = delta;
  uint64_t distance = delta > 0 ? b - a : a - b;
  step = delta > 0 ? step : 0 - step;
  uint64_t length = (distance - 1) / step + 1;
  if (length > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
    return std::nullopt;
  return length;
}

static EvalResult evaluate(const Evaluation &e, RangeOp) {
  Type type = e.operands[0].getElementType();
  for (const HostTensor &operand : e.operands)
    if (operand.getNumElements() != 1)
      return e.fail("has operand " + toString(operand) + ", expected a scalar");
  auto run = [&](auto start, auto limit, auto delta, Type wide) -> EvalResult {
    using T = decltype(start);
    if (delta == T(0))
      return e.fail("has a delta of 0");
    std::optional<int64_t> length = rangeLength(start, limit, delta);
    if (!length)
      return e.fail("result of more than 2^63 elements is too large");
    EvalResult result = e.allocate(wide, {*length});
    if (failed(result))
      return result;
    T *to = result->mutableElements<T>().data();
    for (int64_t i = 0; i < *length; ++i)
      to[i] = start + static_cast<T>(i) * delta;
    return result->converted(type);
  };
  if (isa<FloatType>(type))
    return run(e.operands[0].getFloat(0), e.operands[1].getFloat(0),
               e.operands[2].getFloat(0), wideType(type));
  return run(e.operands[0].getInt(0), e.operands[1].getInt(0),
             e.operands[2].getInt(0), IntegerType::get(type.getContext(), 64));
}

static EvalResult evaluate(const Evaluation &e, TriluOp op) {
  const HostTensor &input = e.operands[0];
  if (input.getRank() < 2 || e.operands[1].getNumElements() != 1)
    return e.fail("has operand " + toString(input) +
                  ", expected at least rank 2");
  int64_t rows = input.getShape().take_back(2)[0],
          columns = input.getShape().back(), size = input.getElementSize();
  // Beyond the matrix one diagonal is as good as another.
  int64_t k = std::clamp(e.operands[1].getInt(0), -rows - 1, columns + 1);
  EvalResult result = e.allocate(input.getElementType(), input.getShape());
  if (failed(result) || result->getNumElements() == 0)
    return result;
  std::memcpy(result->mutableBytes(), input.bytes(), input.getNumBytes());
  char *row = result->mutableBytes();
  for (int64_t i = 0, all = input.getNumElements() / columns; i < all; ++i) {
    int64_t diagonal = i % rows + k;
    int64_t first =
        op.getUpper() ? 0 : std::clamp<int64_t>(diagonal + 1, 0, columns);
    int64_t last =
        op.getUpper() ? std::clamp<int64_t>(diagonal, 0, columns) : columns;
    std::memset(row + first * size, 0, (last - first) * size);
    row += columns * size;
  }
  return result;
}

static EvalResult evaluate(const Evaluation &e, NonZeroOp) {
  const HostTensor &input = e.operands[0];
  HostTensor truth = input.converted(IntegerType::get(e.op->getContext(), 1));
  ArrayRef<bool> elements = truth.elements<bool>();
  int64_t count = llvm::count(elements, true), rank = input.getRank(), next = 0;
  EvalResult result = e.allocate(e.resultElementType(), {rank, count});
  if (failed(result))
    return result;
  int64_t *to = result->mutableElements<int64_t>().data();
  for (auto [position, element] : llvm::enumerate(elements)) {
    if (!element)
      continue;
    int64_t rest = position;
    for (int64_t dim = rank - 1; dim >= 0; --dim) {
      to[dim * count + next] = rest % input.getDim(dim);
      rest /= input.getDim(dim);
    }
    ++next;
  }
  return result;
}

std::optional<EvalResult> nju::detail::evaluateShape(const Evaluation &e) {
  using Result = std::optional<EvalResult>;
  return llvm::TypeSwitch<Operation *, Result>(e.op)
      .Case<BroadcastToOp, FillOp, NonZeroOp, PadOp, RangeOp, ReshapeOp,
            ShapeOfOp, SqueezeOp, TileOp, TransposeOp, TriluOp, UnsqueezeOp>(
          [&](auto op) -> Result { return evaluate(e, op); })
      .Default([](Operation *) { return Result(); });
}
