//===- ShapeInferenceExperts.cpp - Shapes of mixtures of experts -*- C++
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

/// As many rows as choices.
template <typename OpTy>
static InferResult inferChosen(ShapeInference &shapes, OpTy op,
                               SymbolicExpr columns) {
  Dims dims = dimsOf(shapes, op.getChoices());
  if (!unify(dims.front(), dimsOf(shapes, op.getInput()).front())) {
    op.emitOpError() << "has input " << op.getInput().getType()
                     << " and choices " << op.getChoices().getType()
                     << ", expected the choices of as many tokens";
    return failure();
  }
  dims.push_back(columns);
  return Inferred{dims, elementTypeOf(op.getInput()), std::nullopt};
}

std::optional<InferResult> nju::detail::inferExperts(ShapeInference &shapes,
                                                     Operation *op) {
  if (auto matmul = dyn_cast<ExpertMatMulOp>(op))
    return inferChosen(shapes, matmul,
                       dimsOf(shapes, matmul.getWeights().front()).back());
  // Panels are filled up: the type knows the columns.
  if (auto linear = dyn_cast<ExpertLinearOp>(op))
    return inferChosen(
        shapes, linear,
        shapes.getContext().constant(linear.getType().getShape().back()));
  return std::nullopt;
}
