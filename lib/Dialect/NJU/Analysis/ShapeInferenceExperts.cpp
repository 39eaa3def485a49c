//===- ShapeInferenceExperts.cpp - Shapes of mixtures of experts -*- C++ -*-===//
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

/// As many rows as choices; the verifier knows the columns.
template <typename OpTy>
static InferResult inferChosen(ShapeInference &shapes, OpTy op) {
  Dims dims = dimsOf(shapes, op.getChoices());
  if (!unify(dims.front(), dimsOf(shapes, op.getInput()).front())) {
    op.emitOpError() << "has input " << op.getInput().getType()
                     << " and choices " << op.getChoices().getType()
                     << ", expected the choices of as many tokens";
    return failure();
  }
  dims.push_back(
      shapes.getContext().constant(op.getType().getShape().back()));
  return Inferred{dims, elementTypeOf(op.getInput()), std::nullopt};
}

std::optional<InferResult> nju::detail::inferExperts(ShapeInference &shapes,
                                                     Operation *op) {
  if (auto matmul = dyn_cast<ExpertMatMulOp>(op))
    return inferChosen(shapes, matmul);
  if (auto linear = dyn_cast<ExpertLinearOp>(op))
    return inferChosen(shapes, linear);
  return std::nullopt;
}
