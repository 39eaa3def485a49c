//===- ShapeInferenceIndexing.cpp - Shapes of concat, slice, gather and scatter
//-*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ShapeInferenceImpl.h"
#include "SliceBounds.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace nju;
using namespace nju::detail;

//===----------------------------------------------------------------------===//
// Concat
//===----------------------------------------------------------------------===//

static InferResult inferOp(ShapeInference &shapes, ConcatOp op) {
  if (op.getInputs().empty()) {
    op.emitOpError() << "has no operand, expected at least one";
    return failure();
  }
  Dims dims = dimsOf(shapes, op.getInputs()[0]);
  size_t axis = op.getAxis();
  if (failed(checkAxis(op, op.getAxis(), dims.size())))
    return failure();
  Content content = contentOf(shapes, op.getInputs()[0]);
  for (Value input : op.getInputs().drop_front()) {
    Dims next = dimsOf(shapes, input);
    bool fits = next.size() == dims.size() &&
                elementTypeOf(input) == elementTypeOf(op.getInputs()[0]);
    for (size_t i = 0; fits && i < dims.size(); ++i) {
      dims[i] = i == axis ? dims[i] + next[i] : unify(dims[i], next[i]);
      fits = static_cast<bool>(dims[i]);
    }
    if (!fits) {
      op.emitOpError() << "joins " << op.getInputs()[0].getType() << " and "
                       << input.getType() << " along dimension " << axis
                       << ", expected equal ranks, element types and other "
                       << "dimensions";
      return failure();
    }
    Content more = contentOf(shapes, input);
    if (content && more)
      content->append(*more);
    else
      content.reset();
  }
  if (!isSmall(dims))
    content.reset();
  return Inferred{dims, elementTypeOf(op.getInputs()[0]), content};
}

//===----------------------------------------------------------------------===//
// Slice
//===----------------------------------------------------------------------===//

/// Beyond this, a bound means "all": exporters write INT64_MAX or INT32_MAX.
static constexpr int64_t kFar = std::numeric_limits<int32_t>::max();

/// A bound as an index: negative ones count from the end; clamped to [low,
/// high]. Symbolic bounds are assumed to be within.
static SymbolicExpr resolveBound(SymbolicExpr bound, SymbolicExpr dim,
                                 SymbolicExpr low, SymbolicExpr high) {
  std::optional<int64_t> number = bound.asConstant();
  if (number && *number >= kFar)
    return high;
  if (number && *number <= -kFar)
    return low;
  if ((-bound).isAtLeast(1))
    bound = bound + dim;
  if (number)
    return SymbolicExpr::min(SymbolicExpr::max(bound, low), high);
  if ((low - bound).isAtLeast(0))
    return low;
  return (bound - high).isAtLeast(0) ? high : bound;
}

/// Length of `start : end : step` of a dimension.
static SymbolicExpr sliceLength(SymbolicExpr start, SymbolicExpr end,
                                int64_t step, SymbolicExpr dim) {
  SymbolicContext &context = dim.getContext();
  std::optional<int64_t> first = start.asConstant(), last = end.asConstant(),
                         size = dim.asConstant();
  if (first && last && size)
    return context.constant(resolveSlice(*first, *last, step, *size).count);
  SymbolicExpr zero = context.constant(0), length;
  if (step > 0) {
    SymbolicExpr from = resolveBound(start, dim, zero, dim);
    SymbolicExpr to = resolveBound(end, dim, zero, dim);
    length = (to - from).ceilDiv(context.constant(step));
  } else {
    SymbolicExpr from = resolveBound(start, dim, zero, dim - 1);
    SymbolicExpr to = resolveBound(end, dim, context.constant(-1), dim - 1);
    length = (to - from).ceilDiv(context.constant(std::max(step, -kFar)));
  }
  return length.isConstant() ? SymbolicExpr::max(length, zero) : length;
}

/// Elements of a slice of a vector whose bounds are numbers.
static Content sliceContent(ArrayRef<SymbolicExpr> elements, int64_t start,
                            int64_t end, int64_t step) {
  ResolvedSlice slice = resolveSlice(start, end, step, elements.size());
  Dims result;
  for (int64_t i = 0; i < slice.count; ++i)
    result.push_back(elements[slice.first + i * step]);
  return result;
}

namespace {
struct Bounds {
  Dims starts, ends, steps;
};
} // namespace

static FailureOr<Bounds> readBounds(ShapeInference &shapes, SliceOp op) {
  FailureOr<Dims> starts = vectorContent(shapes, op, op.getStarts(), "starts");
  FailureOr<Dims> ends = vectorContent(shapes, op, op.getEnds(), "ends");
  FailureOr<Dims> steps = vectorContent(shapes, op, op.getSteps(), "steps");
  if (failed(starts) || failed(ends) || failed(steps))
    return failure();
  size_t count = op.getAxes().size();
  if (starts->size() != count || ends->size() != count ||
      steps->size() != count) {
    op.emitOpError() << "has " << count << " axes, " << starts->size()
                     << " starts, " << ends->size() << " ends and "
                     << steps->size() << " steps, expected equal numbers";
    return failure();
  }
  return Bounds{*starts, *ends, *steps};
}

static InferResult inferOp(ShapeInference &shapes, SliceOp op) {
  Dims dims = dimsOf(shapes, op.getInput());
  FailureOr<Bounds> bounds = readBounds(shapes, op);
  if (failed(bounds))
    return failure();
  llvm::SmallVector<bool> seen(dims.size(), false);
  for (auto [i, axis] : llvm::enumerate(op.getAxes())) {
    if (failed(checkAxis(op, axis, dims.size())))
      return failure();
    if (seen[axis] || bounds->steps[i].isConstant(0)) {
      op.emitOpError() << "has axes [" << op.getAxes() << "] and steps "
                       << toString(bounds->steps)
                       << ", expected each axis once and no step of 0";
      return failure();
    }
    seen[axis] = true;
    std::optional<int64_t> step = bounds->steps[i].asConstant();
    dims[axis] = step ? sliceLength(bounds->starts[i], bounds->ends[i], *step,
                                    dims[axis])
                      : shapes.getContext().unknown();
  }
  Inferred inferred{dims, elementTypeOf(op.getInput()), std::nullopt};
  Content elements = contentOf(shapes, op.getInput());
  if (elements && op.getAxes().empty())
    inferred.content = elements;
  if (elements && op.getAxes().size() == 1 && dims.size() == 1) {
    std::optional<int64_t> start = bounds->starts[0].asConstant(),
                           end = bounds->ends[0].asConstant(),
                           step = bounds->steps[0].asConstant();
    if (start && end && step && dims[0].isConstant())
      inferred.content = sliceContent(*elements, *start, *end, *step);
  }
  return inferred;
}

//===----------------------------------------------------------------------===//
// Gather and scatter
//===----------------------------------------------------------------------===//

/// Elements of a gather from a vector by indices that are numbers.
static Content gatherContent(ShapeInference &shapes, GatherOp op,
                             ArrayRef<SymbolicExpr> dims) {
  Content elements = contentOf(shapes, op.getInput());
  Content indices = contentOf(shapes, op.getIndices());
  if (!elements || !indices || !isSmall(dims))
    return std::nullopt;
  Dims result;
  for (SymbolicExpr index : *indices) {
    std::optional<int64_t> number = index.asConstant();
    int64_t size = elements->size();
    if (!number || *number < -size || *number >= size)
      return std::nullopt;
    result.push_back((*elements)[*number < 0 ? *number + size : *number]);
  }
  return result;
}

static InferResult inferOp(ShapeInference &shapes, GatherOp op) {
  Dims from = dimsOf(shapes, op.getInput()),
       indices = dimsOf(shapes, op.getIndices());
  if (failed(checkAxis(op, op.getAxis(), from.size())))
    return failure();
  Dims dims(from.begin(), from.begin() + op.getAxis());
  dims.append(indices);
  dims.append(from.begin() + op.getAxis() + 1, from.end());
  if (auto numbers = shapes.constantContent(op.getIndices()))
    if (std::optional<int64_t> size = from[op.getAxis()].asConstant())
      for (int64_t index : *numbers)
        if (index < -*size || index >= *size) {
          op.emitOpError() << "has index " << index << " for dimension "
                           << op.getAxis() << " of " << op.getInput().getType()
                           << ", expected at least " << -*size
                           << " and less than " << *size;
          return failure();
        }
  return Inferred{dims, elementTypeOf(op.getInput()),
                  gatherContent(shapes, op, dims)};
}

static InferResult inferOp(ShapeInference &shapes, EmbeddingOp op) {
  Dims dims = dimsOf(shapes, op.getIndices());
  dims.push_back(dimsOf(shapes, op.getWeight())[1]);
  return Inferred{dims, elementTypeOf(op.getWeight()), std::nullopt};
}

static InferResult inferOp(ShapeInference &shapes, GatherElementsOp op) {
  Dims from = dimsOf(shapes, op.getInput()),
       dims = dimsOf(shapes, op.getIndices());
  if (failed(checkAxis(op, op.getAxis(), from.size())))
    return failure();
  if (dims.size() != from.size()) {
    op.emitOpError() << "has input " << op.getInput().getType()
                     << " and indices " << op.getIndices().getType()
                     << ", expected equal ranks";
    return failure();
  }
  return Inferred{dims, elementTypeOf(op.getInput()), std::nullopt};
}

static InferResult inferOp(ShapeInference &shapes, GatherNDOp op) {
  Dims from = dimsOf(shapes, op.getInput()),
       indices = dimsOf(shapes, op.getIndices());
  int64_t batch = op.getBatchDims();
  std::optional<int64_t> depth =
      indices.empty() ? std::nullopt : indices.back().asConstant();
  if (!depth || batch < 0 || batch >= static_cast<int64_t>(indices.size()) ||
      *depth < 1 || batch + *depth > static_cast<int64_t>(from.size())) {
    op.emitOpError() << "has input " << op.getInput().getType() << ", indices "
                     << op.getIndices().getType() << " and " << batch
                     << " batch dimensions, expected a last dimension "
                     << "of the indices that is static and fits the input";
    return failure();
  }
  Dims dims(indices.begin(), indices.end() - 1);
  for (int64_t i = 0; i < batch; ++i)
    if (!(dims[i] = unify(from[i], indices[i]))) {
      op.emitOpError() << "has input " << op.getInput().getType()
                       << " and indices " << op.getIndices().getType()
                       << ", expected equal batch dimensions";
      return failure();
    }
  dims.append(from.begin() + batch + *depth, from.end());
  return Inferred{dims, elementTypeOf(op.getInput()), std::nullopt};
}

static InferResult inferOp(ShapeInference &shapes, ScatterNDOp op) {
  Dims dims = dimsOf(shapes, op.getInput()),
       indices = dimsOf(shapes, op.getIndices()),
       updates = dimsOf(shapes, op.getUpdates());
  std::optional<int64_t> depth =
      indices.empty() ? std::nullopt : indices.back().asConstant();
  int64_t rank = dims.size();
  bool fits = depth && *depth >= 1 && *depth <= rank;
  if (fits) {
    Dims expected(indices.begin(), indices.end() - 1);
    expected.append(dims.begin() + *depth, dims.end());
    fits = expected.size() == updates.size();
    for (size_t i = 0; fits && i < expected.size(); ++i)
      fits = static_cast<bool>(unify(expected[i], updates[i]));
  }
  if (!fits) {
    op.emitOpError() << "has input " << op.getInput().getType() << ", indices "
                     << op.getIndices().getType() << " and updates "
                     << op.getUpdates().getType()
                     << ", whose dimensions do not fit";
    return failure();
  }
  return Inferred{dims, elementTypeOf(op.getInput()), std::nullopt};
}

std::optional<InferResult> nju::detail::inferIndexing(ShapeInference &shapes,
                                                      Operation *op) {
  using Result = std::optional<InferResult>;
  return llvm::TypeSwitch<Operation *, Result>(op)
      .Case<ConcatOp, EmbeddingOp, GatherElementsOp, GatherNDOp, GatherOp,
            ScatterNDOp, SliceOp>(
          [&](auto op) -> Result { return inferOp(shapes, op); })
      .Default([](Operation *) { return Result(); });
}
