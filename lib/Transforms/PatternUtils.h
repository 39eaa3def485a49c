//===- PatternUtils.h - Matching of decomposed structures -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What the rules of several structures share: numbers in the graph, and the
// arithmetic forms in which exporters write them.
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_TRANSFORMS_PATTERNUTILS_H
#define NJU_LIB_TRANSFORMS_PATTERNUTILS_H

#include "nju/Dialect/NJU/IR/NJU.h"
#include <optional>

namespace nju {

/// The number that a constant of one element holds; looks through casts.
std::optional<double> matchNumber(mlir::Value value);

/// True if `a` is `b` up to the rounding of an f32.
bool isClose(double a, double b);

/// A value and a number that meet in one operation.
struct WithNumber {
  mlir::Value value;
  double number;
};

/// `value * number`, also written as a division by a number or a negation. The
/// rank of the result is that of `value`.
std::optional<WithNumber> matchScaled(mlir::Value value);

/// `value + number`, also written as a subtraction of a number.
std::optional<WithNumber> matchShifted(mlir::Value value);

/// x if `value` is `x * x` or `x ^ 2`.
mlir::Value matchSquare(mlir::Value value);

/// x if `value` is `1 / x`.
mlir::Value matchReciprocal(mlir::Value value);

/// x if `value` is the square root of x.
mlir::Value matchSquareRoot(mlir::Value value);

/// x if `value` is the mean of x over its last dimension, which is kept.
mlir::Value matchMeanOfLast(mlir::Value value);

/// A constant tensor whose elements are all `number`.
mlir::Value createSplat(mlir::OpBuilder &builder, mlir::Location loc,
                        mlir::RankedTensorType type, double number);

/// True if the value is a constant tensor whose elements are all `number`.
bool isSplat(mlir::Value value, double number);

/// Rank of a tensor value.
inline int64_t rankOf(mlir::Value value) {
  return mlir::cast<mlir::RankedTensorType>(value.getType()).getRank();
}

/// Last dimension of a tensor value; ShapedType::kDynamic for a scalar.
int64_t lastDim(mlir::Value value);

} // namespace nju

#endif // NJU_LIB_TRANSFORMS_PATTERNUTILS_H
