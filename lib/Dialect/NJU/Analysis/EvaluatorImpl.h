//===- EvaluatorImpl.h - What the op families of the evaluator share -*- C++
//-*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_DIALECT_NJU_ANALYSIS_EVALUATORIMPL_H
#define NJU_LIB_DIALECT_NJU_ANALYSIS_EVALUATORIMPL_H

#include "StridedCopy.h"
#include "mlir/IR/Operation.h"
#include "nju/Dialect/NJU/Analysis/HostTensor.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include <string>

namespace nju::detail {

using EvalResult = mlir::FailureOr<HostTensor>;

/// One op to be evaluated.
struct Evaluation {
  mlir::Operation *op;
  llvm::ArrayRef<HostTensor> operands;
  std::string &reason;
  int64_t maxElements;

  mlir::LogicalResult fail(const llvm::Twine &why) const {
    reason = why.str();
    return mlir::failure();
  }
  /// The element type that the op's type says.
  mlir::Type resultElementType() const {
    return mlir::cast<mlir::RankedTensorType>(op->getResult(0).getType())
        .getElementType();
  }
  /// A tensor to be written, unless it is too large or has a negative
  /// dimension.
  EvalResult allocate(mlir::Type elementType,
                      llvm::ArrayRef<int64_t> shape) const;
  mlir::LogicalResult checkSize(mlir::Type elementType,
                                llvm::ArrayRef<int64_t> shape) const;
  mlir::LogicalResult checkAxis(int64_t axis, int64_t rank) const;
};

/// The families: no value if the op is not of the family.
std::optional<EvalResult> evaluateElementwise(const Evaluation &evaluation);
std::optional<EvalResult> evaluateShape(const Evaluation &evaluation);
std::optional<EvalResult> evaluateIndexing(const Evaluation &evaluation);
std::optional<EvalResult> evaluateReduction(const Evaluation &evaluation);
std::optional<EvalResult> evaluateExperts(const Evaluation &evaluation);
std::optional<EvalResult> evaluateMatMul(const Evaluation &evaluation);
std::optional<EvalResult> evaluateNormalization(const Evaluation &evaluation);
std::optional<EvalResult> evaluateAttention(const Evaluation &evaluation);

/// The NumPy broadcast of shapes, or no value if they do not fit.
std::optional<llvm::SmallVector<int64_t>>
broadcastShapes(llvm::ArrayRef<llvm::ArrayRef<int64_t>> shapes);
/// Strides of a row-major tensor seen with a shape that it is broadcast to.
llvm::SmallVector<int64_t> broadcastStrides(llvm::ArrayRef<int64_t> shape,
                                            llvm::ArrayRef<int64_t> to);
/// The tensor broadcast to a shape.
EvalResult broadcastTensor(const Evaluation &evaluation,
                           const HostTensor &tensor,
                           llvm::ArrayRef<int64_t> shape);

/// The larger (smaller) one; NaN if one is NaN.
template <typename T>
T pick(T a, T b, bool larger) {
  if (a != a || b != b)
    return a != a ? a : b;
  return (a < b) == larger ? b : a;
}

/// The type that elements of `type` are computed in: f64 for every float, i64
/// for every other integer (ui64 for itself).
mlir::Type wideType(mlir::Type type);
/// "2x3xf32" for messages.
std::string toString(const HostTensor &tensor);

} // namespace nju::detail

#endif // NJU_LIB_DIALECT_NJU_ANALYSIS_EVALUATORIMPL_H
