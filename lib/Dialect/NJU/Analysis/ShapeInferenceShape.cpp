//===- ShapeInferenceShape.cpp - Shapes of reshapes, concatenations and
// generators -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ShapeInferenceImpl.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace nju;
using namespace nju::detail;

/// The operand's elements, if the result has as many and is small.
static Content sameContent(ShapeInference &shapes, Value input,
                           ArrayRef<SymbolicExpr> dims) {
  Content content = contentOf(shapes, input);
  if (!content || !isSmall(dims))
    return std::nullopt;
  size_t size = dims.empty() ? 1 : *dims[0].asConstant();
  return content->size() == size ? content : std::nullopt;
}

static InferResult inferOp(ShapeInference &shapes, ShapeOfOp op) {
  Dims dims = dimsOf(shapes, op.getInput());
  SymbolicExpr rank = shapes.getContext().constant(dims.size());
  return Inferred{{rank}, IntegerType::get(op.getContext(), 64), dims};
}

//===----------------------------------------------------------------------===//
// Reshape
//===----------------------------------------------------------------------===//

/// Replaces 0 by the operand's dimension and returns where -1 is, if anywhere.
static FailureOr<std::optional<size_t>>
readTarget(ReshapeOp op, Dims &target, ArrayRef<SymbolicExpr> from) {
  std::optional<size_t> rest;
  for (auto [i, dim] : llvm::enumerate(target)) {
    if (dim.isConstant(0) && !op.getAllowZero()) {
      if (i >= from.size()) {
        op.emitOpError() << "has shape " << toString(target) << " for operand "
                         << op.getInput().getType() << ", which has no "
                         << "dimension " << i << " for the 0 to copy";
        return failure();
      }
      dim = from[i];
    } else if (dim.isConstant(-1)) {
      if (rest) {
        op.emitOpError() << "has shape " << toString(target)
                         << ", expected at most one -1";
        return failure();
      }
      rest = i;
    }
  }
  return rest;
}

/// The one dimension that follows from the others: that of -1, or an unknown
/// one where all others are known.
static std::optional<size_t> followingDim(std::optional<size_t> rest,
                                          ArrayRef<SymbolicExpr> target) {
  if (rest)
    return rest;
  std::optional<size_t> unknown;
  for (auto [i, dim] : llvm::enumerate(target))
    if (!dim.isKnown()) {
      if (unknown)
        return std::nullopt;
      unknown = i;
    }
  return unknown;
}

static InferResult inferOp(ShapeInference &shapes, ReshapeOp op) {
  SymbolicContext &context = shapes.getContext();
  Dims from = dimsOf(shapes, op.getInput());
  FailureOr<Dims> content =
      vectorContent(shapes, op, op.getShape(), "the target shape");
  if (failed(content))
    return failure();
  Dims target = *content;
  FailureOr<std::optional<size_t>> rest = readTarget(op, target, from);
  if (failed(rest))
    return failure();

  SymbolicExpr total = product(context, from);
  std::optional<size_t> index = followingDim(*rest, target);
  auto mismatch = [&]() -> InferResult {
    op.emitOpError() << "cannot reshape " << op.getInput().getType() << " of "
                     << total.str() << " elements to " << toString(*content);
    return failure();
  };
  if (index) {
    Dims others = target;
    others.erase(others.begin() + *index);
    SymbolicExpr divisor = product(context, others), quotient;
    if (!divisor.isConstant(0))
      quotient = total.exactDiv(divisor);
    if (!quotient && *rest) {
      if (divisor.isConstant() && total.isConstant() && !total.isConstant(0))
        return mismatch();
      quotient =
          divisor.isConstant(0) ? context.constant(0) : total.floorDiv(divisor);
    }
    if (quotient)
      target[*index] = quotient;
  }
  SymbolicExpr count = product(context, target);
  if (count.isConstant() && total.isConstant() && count != total)
    return mismatch();
  return Inferred{target, elementTypeOf(op.getInput()),
                  sameContent(shapes, op.getInput(), target)};
}

//===----------------------------------------------------------------------===//
// Ranks and orders of dimensions
//===----------------------------------------------------------------------===//

static InferResult inferOp(ShapeInference &shapes, SqueezeOp op) {
  Dims from = dimsOf(shapes, op.getInput()), dims;
  if (failed(checkAxes(op, op.getAxes(), from.size())))
    return failure();
  for (auto [i, dim] : llvm::enumerate(from)) {
    if (!llvm::is_contained(op.getAxes(), static_cast<int64_t>(i))) {
      dims.push_back(dim);
    } else if (dim.isConstant() && !dim.isConstant(1)) {
      op.emitOpError() << "removes dimension " << i << " of "
                       << op.getInput().getType() << ", expected size 1";
      return failure();
    }
  }
  return Inferred{dims, elementTypeOf(op.getInput()),
                  sameContent(shapes, op.getInput(), dims)};
}

static InferResult inferOp(ShapeInference &shapes, UnsqueezeOp op) {
  Dims from = dimsOf(shapes, op.getInput()), dims;
  size_t rank = from.size() + op.getAxes().size(), next = 0;
  if (failed(checkAxes(op, op.getAxes(), rank)))
    return failure();
  for (size_t i = 0; i < rank; ++i)
    dims.push_back(llvm::is_contained(op.getAxes(), static_cast<int64_t>(i))
                       ? shapes.getContext().constant(1)
                       : from[next++]);
  return Inferred{dims, elementTypeOf(op.getInput()),
                  sameContent(shapes, op.getInput(), dims)};
}

static InferResult inferOp(ShapeInference &shapes, TransposeOp op) {
  Dims from = dimsOf(shapes, op.getInput()), dims;
  llvm::SmallVector<bool> seen(from.size(), false);
  for (int64_t dim : op.getPermutation())
    if (dim >= 0 && dim < static_cast<int64_t>(from.size()) && !seen[dim]) {
      seen[dim] = true;
      dims.push_back(from[dim]);
    }
  if (dims.size() != from.size() || op.getPermutation().size() != from.size()) {
    op.emitOpError() << "has permutation [" << op.getPermutation()
                     << "] for an operand of rank " << from.size()
                     << ", expected each dimension once";
    return failure();
  }
  return Inferred{dims, elementTypeOf(op.getInput()),
                  sameContent(shapes, op.getInput(), dims)};
}

//===----------------------------------------------------------------------===//
// Repetitions
//===----------------------------------------------------------------------===//

/// `size` times the one element, or nothing if they are many.
static Content repeated(SymbolicExpr element, ArrayRef<SymbolicExpr> dims) {
  if (!isSmall(dims))
    return std::nullopt;
  return Dims(dims.empty() ? 1 : *dims[0].asConstant(), element);
}

static InferResult inferOp(ShapeInference &shapes, BroadcastToOp op) {
  Dims from = dimsOf(shapes, op.getInput());
  FailureOr<Dims> content = vectorContent(shapes, op, op.getShape(), "shape");
  if (failed(content))
    return failure();
  Dims dims = *content;
  if (from.size() > dims.size())
    dims.insert(dims.begin(), from.size() - dims.size(),
                shapes.getContext().constant(1));
  size_t offset = dims.size() - from.size();
  for (size_t i = 0; i < from.size(); ++i) {
    SymbolicExpr dim = broadcastDim(from[i], dims[offset + i]);
    if (!dim) {
      op.emitOpError() << "cannot broadcast dimension " << i << " of "
                       << op.getInput().getType() << " to shape "
                       << toString(*content);
      return failure();
    }
    dims[offset + i] = dim;
  }
  Inferred inferred{dims, elementTypeOf(op.getInput()), std::nullopt};
  if (Content elements = contentOf(shapes, op.getInput()))
    inferred.content = elements->size() == 1
                           ? repeated(elements->front(), dims)
                           : sameContent(shapes, op.getInput(), dims);
  return inferred;
}

static InferResult inferOp(ShapeInference &shapes, TileOp op) {
  Dims from = dimsOf(shapes, op.getInput()), dims;
  FailureOr<Dims> repeats =
      vectorContent(shapes, op, op.getRepeats(), "repeats");
  if (failed(repeats))
    return failure();
  if (repeats->size() != from.size()) {
    op.emitOpError() << "has " << repeats->size() << " repeats for "
                     << op.getInput().getType() << ", expected one a dimension";
    return failure();
  }
  for (auto [dim, repeat] : llvm::zip(from, *repeats))
    dims.push_back(dim * repeat);
  Inferred inferred{dims, elementTypeOf(op.getInput()), std::nullopt};
  Content elements = contentOf(shapes, op.getInput());
  if (elements && isSmall(dims)) {
    size_t size = dims.empty() ? 1 : *dims[0].asConstant();
    inferred.content.emplace();
    for (size_t i = 0; i < size && !elements->empty(); ++i)
      inferred.content->push_back((*elements)[i % elements->size()]);
    if (inferred.content->size() != size)
      inferred.content.reset();
  }
  return inferred;
}

static InferResult inferOp(ShapeInference &shapes, FillOp op) {
  FailureOr<Dims> dims = vectorContent(shapes, op, op.getShape(), "shape");
  if (failed(dims))
    return failure();
  Inferred inferred{*dims, elementTypeOf(op.getValue()), std::nullopt};
  Content value = contentOf(shapes, op.getValue());
  if (value && value->size() == 1)
    inferred.content = repeated(value->front(), *dims);
  return inferred;
}

//===----------------------------------------------------------------------===//
// Range
//===----------------------------------------------------------------------===//

/// The one element of a float constant.
static std::optional<double> floatConstant(Value value) {
  auto constant = value.getDefiningOp<ConstantOp>();
  if (!constant || !isa<FloatType>(elementTypeOf(value)))
    return std::nullopt;
  auto values = constant.getValue().tryGetValues<APFloat>();
  if (!values || constant.getValue().getNumElements() != 1)
    return std::nullopt;
  return (*values->begin()).convertToDouble();
}

/// The length for floats that are no integers.
static SymbolicExpr floatRangeLength(SymbolicContext &context, RangeOp op) {
  std::optional<double> start = floatConstant(op.getStart()),
                        limit = floatConstant(op.getLimit()),
                        delta = floatConstant(op.getDelta());
  if (!start || !limit || !delta)
    return context.unknown();
  double length = std::ceil((*limit - *start) / *delta);
  if (!(length < 9e18))
    return context.unknown();
  return context.constant(length > 0 ? static_cast<int64_t>(length) : 0);
}

static InferResult inferOp(ShapeInference &shapes, RangeOp op) {
  SymbolicContext &context = shapes.getContext();
  for (Value operand : op->getOperands())
    if (SymbolicExpr count = product(context, dimsOf(shapes, operand));
        count.isConstant() && !count.isConstant(1)) {
      op.emitOpError() << "has an operand of type " << operand.getType()
                       << ", expected a scalar";
      return failure();
    }
  Type type = elementTypeOf(op.getStart());
  Content start = contentOf(shapes, op.getStart()),
          limit = contentOf(shapes, op.getLimit()),
          delta = contentOf(shapes, op.getDelta());
  if (!start || !limit || !delta || start->size() != 1 || limit->size() != 1 ||
      delta->size() != 1)
    return Inferred{{floatRangeLength(context, op)}, type, std::nullopt};
  SymbolicExpr step = delta->front(), span = limit->front() - start->front();
  if (step.isConstant(0)) {
    op.emitOpError() << "has a delta of 0, expected another number";
    return failure();
  }
  std::optional<int64_t> number = step.asConstant();
  if (!number)
    return Inferred{{context.unknown()}, type, std::nullopt};
  SymbolicExpr length = span.ceilDiv(step);
  // A symbolic range is assumed to run forward, as `arange(p, p + s)`.
  if (length.isConstant())
    length = SymbolicExpr::max(length, context.constant(0));
  Inferred inferred{{length}, type, std::nullopt};
  if (isSmall(inferred.dims)) {
    inferred.content.emplace();
    for (int64_t i = 0; i < *length.asConstant(); ++i)
      inferred.content->push_back(start->front() + step * i);
  }
  return inferred;
}

//===----------------------------------------------------------------------===//
// The rest
//===----------------------------------------------------------------------===//

static InferResult inferOp(ShapeInference &shapes, PadOp op) {
  Dims dims = dimsOf(shapes, op.getInput());
  FailureOr<Dims> pads = vectorContent(shapes, op, op.getPads(), "pads");
  if (failed(pads))
    return failure();
  if (pads->size() != 2 * dims.size()) {
    op.emitOpError() << "has " << pads->size() << " pads for "
                     << op.getInput().getType() << ", expected two a dimension";
    return failure();
  }
  for (size_t i = 0, rank = dims.size(); i < rank; ++i)
    dims[i] = dims[i] + (*pads)[i] + (*pads)[rank + i];
  return Inferred{dims, elementTypeOf(op.getInput()), std::nullopt};
}

static InferResult inferOp(ShapeInference &shapes, CumSumOp op) {
  Dims dims = dimsOf(shapes, op.getInput());
  if (failed(checkAxis(op, op.getAxis(), dims.size())))
    return failure();
  return Inferred{dims, elementTypeOf(op.getInput()), std::nullopt};
}

static InferResult inferOp(ShapeInference &shapes, TriluOp op) {
  Dims dims = dimsOf(shapes, op.getInput());
  if (dims.size() < 2) {
    op.emitOpError() << "has operand " << op.getInput().getType()
                     << ", expected at least rank 2";
    return failure();
  }
  return Inferred{dims, elementTypeOf(op.getInput()), std::nullopt};
}

static InferResult inferOp(ShapeInference &shapes, NonZeroOp op) {
  SymbolicContext &context = shapes.getContext();
  size_t rank = dimsOf(shapes, op.getInput()).size();
  return Inferred{{context.constant(rank), context.unknown()},
                  IntegerType::get(op.getContext(), 64),
                  std::nullopt};
}

std::optional<InferResult> nju::detail::inferShape(ShapeInference &shapes,
                                                   Operation *op) {
  using Result = std::optional<InferResult>;
  return llvm::TypeSwitch<Operation *, Result>(op)
      .Case<BroadcastToOp, CumSumOp, FillOp, NonZeroOp, PadOp, RangeOp,
            ReshapeOp, ShapeOfOp, SqueezeOp, TileOp, TransposeOp, TriluOp,
            UnsqueezeOp>([&](auto op) -> Result { return inferOp(shapes, op); })
      .Default([](Operation *) { return Result(); });
}
