//===- ShapeInferenceMatMul.cpp - Shapes of matrix products -*- C++ -*-===//
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

static LogicalResult mismatch(MatMulOp op) {
  return op.emitOpError() << "cannot multiply " << op.getLhs().getType()
                          << " with " << op.getRhs().getType()
                          << ", expected the last dimension of the first to be "
                          << "the second to last of the second, and the "
                          << "dimensions before to be equal or 1";
}

static InferResult inferOp(ShapeInference &shapes, MatMulOp op) {
  SymbolicExpr one = shapes.getContext().constant(1);
  Dims lhs = dimsOf(shapes, op.getLhs()), rhs = dimsOf(shapes, op.getRhs());
  if (lhs.empty() || rhs.empty())
    return mismatch(op);
  bool isRow = lhs.size() == 1, isColumn = rhs.size() == 1;
  if (isRow)
    lhs.insert(lhs.begin(), one);
  if (isColumn)
    rhs.push_back(one);
  if (!unify(lhs.back(), rhs[rhs.size() - 2]))
    return mismatch(op);
  SymbolicExpr rows = lhs[lhs.size() - 2], columns = rhs.back();

  ArrayRef<SymbolicExpr> a = ArrayRef<SymbolicExpr>(lhs).drop_back(2),
                         b = ArrayRef<SymbolicExpr>(rhs).drop_back(2);
  Dims dims(std::max(a.size(), b.size()), one);
  size_t offsetA = dims.size() - a.size(), offsetB = dims.size() - b.size();
  for (size_t i = 0; i < dims.size(); ++i) {
    dims[i] = broadcastDim(i < offsetA ? one : a[i - offsetA],
                           i < offsetB ? one : b[i - offsetB]);
    if (!dims[i])
      return mismatch(op);
  }
  if (!isRow)
    dims.push_back(rows);
  if (!isColumn)
    dims.push_back(columns);
  return Inferred{dims, elementTypeOf(op.getLhs()), std::nullopt};
}

/// The number of columns is known to the type only: panels are filled up.
static InferResult inferOp(ShapeInference &shapes, LinearOp op) {
  Dims dims = dimsOf(shapes, op.getInput());
  RankedTensorType type = op.getType();
  if (dims.empty() || type.getRank() < 1 ||
      ShapedType::isDynamic(type.getShape().back())) {
    op.emitOpError() << "has input " << op.getInput().getType()
                     << " and result " << type
                     << ", expected a static last dimension of the result";
    return failure();
  }
  dims.back() = shapes.getContext().constant(type.getShape().back());
  return Inferred{dims, elementTypeOf(op.getInput()), std::nullopt};
}

std::optional<InferResult> nju::detail::inferMatMul(ShapeInference &shapes,
                                                    Operation *op) {
  if (auto matmul = dyn_cast<MatMulOp>(op))
    return inferOp(shapes, matmul);
  if (auto linear = dyn_cast<LinearOp>(op))
    return inferOp(shapes, linear);
  return std::nullopt;
}
