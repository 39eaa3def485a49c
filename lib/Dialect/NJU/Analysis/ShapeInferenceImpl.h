//===- ShapeInferenceImpl.h - What the op families of shape inference share -*-
// C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_DIALECT_NJU_ANALYSIS_SHAPEINFERENCEIMPL_H
#define NJU_LIB_DIALECT_NJU_ANALYSIS_SHAPEINFERENCEIMPL_H

#include "nju/Dialect/NJU/Analysis/ShapeInference.h"
#include "nju/Dialect/NJU/IR/NJU.h"

namespace nju::detail {

using Dims = ShapeInference::Dims;
using Content = std::optional<Dims>;

/// What is inferred for the one result of an op.
struct Inferred {
  Dims dims;
  mlir::Type elementType;
  Content content;
};
/// Failure: a diagnostic was given.
using InferResult = mlir::FailureOr<Inferred>;

/// The families: no value if the op is not of the family.
std::optional<InferResult> inferElementwise(ShapeInference &shapes,
                                            mlir::Operation *op);
std::optional<InferResult> inferShape(ShapeInference &shapes,
                                      mlir::Operation *op);
std::optional<InferResult> inferIndexing(ShapeInference &shapes,
                                         mlir::Operation *op);
std::optional<InferResult> inferReduction(ShapeInference &shapes,
                                          mlir::Operation *op);
std::optional<InferResult> inferExperts(ShapeInference &shapes,
                                        mlir::Operation *op);
std::optional<InferResult> inferMatMul(ShapeInference &shapes,
                                       mlir::Operation *op);
std::optional<InferResult> inferNormalization(ShapeInference &shapes,
                                              mlir::Operation *op);
std::optional<InferResult> inferAttention(ShapeInference &shapes,
                                          mlir::Operation *op);

/// A copy, since the map they come from changes when others are looked up.
inline Dims dimsOf(ShapeInference &shapes, mlir::Value value) {
  return Dims(shapes.dims(value));
}
inline Content contentOf(ShapeInference &shapes, mlir::Value value) {
  std::optional<llvm::ArrayRef<SymbolicExpr>> content = shapes.content(value);
  return content ? Content(Dims(*content)) : Content();
}
inline mlir::Type elementTypeOf(mlir::Value value) {
  return mlir::cast<mlir::RankedTensorType>(value.getType()).getElementType();
}

/// One of two dimensions that must be equal: the better known one. Null if they
/// are different numbers.
SymbolicExpr unify(SymbolicExpr a, SymbolicExpr b);
/// One dimension of a broadcast; null if it is impossible.
SymbolicExpr broadcastDim(SymbolicExpr a, SymbolicExpr b);
/// The broadcast of the operands, with a diagnostic on `op`.
mlir::FailureOr<Dims> broadcastOperands(ShapeInference &shapes,
                                        mlir::Operation *op,
                                        mlir::ValueRange operands);
/// Product of dimensions; 1 for none.
SymbolicExpr product(SymbolicContext &context,
                     llvm::ArrayRef<SymbolicExpr> dims);

/// A diagnostic unless 0 <= axis < rank.
mlir::LogicalResult checkAxis(mlir::Operation *op, int64_t axis, int64_t rank);
/// A diagnostic unless the axes are ascending and within the rank.
mlir::LogicalResult checkAxes(mlir::Operation *op, llvm::ArrayRef<int64_t> axes,
                              int64_t rank);
/// Elements of an i64 vector operand whose number must be known (dimensions,
/// bounds); with a diagnostic that calls it `name`.
mlir::FailureOr<Dims> vectorContent(ShapeInference &shapes, mlir::Operation *op,
                                    mlir::Value operand, llvm::StringRef name);
/// For diagnostics: dimensions as `[batch, 1, 2*s]`.
std::string toString(llvm::ArrayRef<SymbolicExpr> dims);

/// True if the tensor is one whose content is followed: rank 0 or 1 and at most
/// ShapeInference::kMaxContent elements.
bool isSmall(llvm::ArrayRef<SymbolicExpr> dims);

} // namespace nju::detail

#endif // NJU_LIB_DIALECT_NJU_ANALYSIS_SHAPEINFERENCEIMPL_H
