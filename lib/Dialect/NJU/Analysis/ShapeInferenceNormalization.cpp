//===- ShapeInferenceNormalization.cpp - Shapes of normalizations -*- C++
//-*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ShapeInferenceImpl.h"

using namespace mlir;
using namespace nju;
using namespace nju::detail;

std::optional<InferResult>
nju::detail::inferNormalization(ShapeInference &shapes, Operation *op) {
  if (!isa<LayerNormOp, RMSNormOp>(op))
    return std::nullopt;
  Dims dims = dimsOf(shapes, op->getOperand(0));
  if (dims.empty()) {
    op->emitOpError() << "has operand " << op->getOperand(0).getType()
                      << ", expected at least rank 1";
    return InferResult(failure());
  }
  for (Value scale : op->getOperands().drop_front()) {
    Dims scaleDims = dimsOf(shapes, scale);
    SymbolicExpr size;
    if (scaleDims.size() == 1)
      size = unify(dims.back(), scaleDims[0]);
    if (!size) {
      op->emitOpError() << "scales " << op->getOperand(0).getType() << " by "
                        << scale.getType() << ", expected a vector as long as "
                        << "the last dimension";
      return InferResult(failure());
    }
    dims.back() = size;
  }
  return InferResult(
      Inferred{dims, elementTypeOf(op->getOperand(0)), std::nullopt});
}
