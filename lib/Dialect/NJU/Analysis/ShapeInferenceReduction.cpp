//===- ShapeInferenceReduction.cpp - Shapes of reductions -*- C++ -*-===//
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

/// `from` without the reduced dimensions, or with 1 in their place.
static Dims reducedDims(ShapeInference &shapes, ArrayRef<SymbolicExpr> from,
                        ArrayRef<int64_t> axes, bool keepDims) {
  Dims dims;
  for (auto [i, dim] : llvm::enumerate(from)) {
    if (!llvm::is_contained(axes, static_cast<int64_t>(i)))
      dims.push_back(dim);
    else if (keepDims)
      dims.push_back(shapes.getContext().constant(1));
  }
  return dims;
}

/// The reduction of a whole vector of integers to one element; null if it is
/// not known.
static SymbolicExpr reduceElements(Operation *op,
                                   ArrayRef<SymbolicExpr> elements) {
  if (elements.empty() || isa<ReduceMeanOp>(op))
    return {};
  SymbolicExpr result = elements.front();
  for (SymbolicExpr element : elements.drop_front()) {
    if (isa<ReduceProdOp>(op))
      result = result * element;
    else if (isa<ReduceSumOp>(op))
      result = result + element;
    else if (isa<ReduceMaxOp>(op))
      result = SymbolicExpr::max(result, element);
    else
      result = SymbolicExpr::min(result, element);
  }
  return result;
}

static InferResult inferReduce(ShapeInference &shapes, Operation *op,
                               ArrayRef<int64_t> axes, bool keepDims) {
  Value input = op->getOperand(0);
  Dims from = dimsOf(shapes, input);
  if (failed(checkAxes(op, axes, from.size())))
    return failure();
  Inferred inferred{reducedDims(shapes, from, axes, keepDims),
                    elementTypeOf(input), std::nullopt};
  Content elements = contentOf(shapes, input);
  bool isWide = inferred.elementType.isInteger(64);
  if (elements && axes.size() == from.size() && isWide)
    if (SymbolicExpr result = reduceElements(op, *elements))
      inferred.content = Dims(1, result);
  return inferred;
}

static InferResult inferArg(ShapeInference &shapes, Operation *op, int64_t axis,
                            bool keepDims) {
  Dims from = dimsOf(shapes, op->getOperand(0));
  if (failed(checkAxis(op, axis, from.size())))
    return failure();
  return Inferred{reducedDims(shapes, from, axis, keepDims),
                  IntegerType::get(op->getContext(), 64), std::nullopt};
}

static InferResult inferTopK(ShapeInference &shapes, TopKOp op) {
  Dims dims = dimsOf(shapes, op.getInput());
  if (failed(checkAxis(op, op.getAxis(), dims.size())))
    return failure();
  SymbolicExpr &size = dims[op.getAxis()];
  std::optional<int64_t> known = size.asConstant();
  int64_t count = op.getCount();
  if (count < 0 || (known && count > *known)) {
    op.emitOpError() << "chooses " << count << " elements along dimension "
                     << op.getAxis() << " of " << op.getInput().getType()
                     << ", which has fewer";
    return failure();
  }
  size = size.getContext().constant(count);
  return Inferred{dims, IntegerType::get(op->getContext(), 64), std::nullopt};
}

static InferResult inferSoftmax(ShapeInference &shapes, SoftmaxOp op) {
  Dims dims = dimsOf(shapes, op.getInput());
  if (failed(checkAxis(op, op.getAxis(), dims.size())))
    return failure();
  return Inferred{dims, elementTypeOf(op.getInput()), std::nullopt};
}

std::optional<InferResult> nju::detail::inferReduction(ShapeInference &shapes,
                                                       Operation *op) {
  using Result = std::optional<InferResult>;
  return llvm::TypeSwitch<Operation *, Result>(op)
      .Case<ReduceMaxOp, ReduceMeanOp, ReduceMinOp, ReduceProdOp, ReduceSumOp>(
          [&](auto op) -> Result {
            return inferReduce(shapes, op, op.getAxes(), op.getKeepDims());
          })
      .Case<ArgMaxOp, ArgMinOp>([&](auto op) -> Result {
        return inferArg(shapes, op, op.getAxis(), op.getKeepDims());
      })
      .Case<SoftmaxOp>(
          [&](SoftmaxOp op) -> Result { return inferSoftmax(shapes, op); })
      .Case<TopKOp>([&](TopKOp op) -> Result { return inferTopK(shapes, op); })
      .Default([](Operation *) { return Result(); });
}
