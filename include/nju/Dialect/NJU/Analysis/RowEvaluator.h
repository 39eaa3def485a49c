//===- RowEvaluator.h - Evaluates some rows of values -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DIALECT_NJU_ANALYSIS_ROWEVALUATOR_H
#define NJU_DIALECT_NJU_ANALYSIS_ROWEVALUATOR_H

#include "nju/Dialect/NJU/Analysis/Evaluator.h"
#include <functional>
#include <map>
#include <tuple>

namespace nju {

/// Elements `first` to `first + count` of one dimension, all of the others.
struct RowRange {
  int64_t axis, first, count;
  RowRange along(int64_t otherAxis) const { return {otherAxis, first, count}; }
};

/// Evaluates some rows of a value without the others: a mask over all pairs of
/// 32768 tokens does not fit into memory. Ops that compute a row from the same
/// row of their operands are evaluated for these rows; what is small, and
/// operands of all other ops, are evaluated as a whole.
class RowEvaluator {
public:
  /// Gives the rows of a value that is bound. What it returns need not have the
  /// value's dimensions except for that of the rows.
  using Provider = std::function<mlir::FailureOr<HostTensor>(RowRange)>;

  /// Bindings of `evaluator` hold here, too; it must not change.
  explicit RowEvaluator(Evaluator &evaluator) : evaluator(evaluator) {}

  /// Binds a value; forgets rows that depend on bound values.
  void bind(mlir::Value value, Provider provider);

  /// The rows, or failure; `reason()` then says why.
  mlir::FailureOr<HostTensor> evaluate(mlir::Value value, RowRange range);
  /// Forgets all rows, to free memory.
  void clear() { known.clear(); }

  llvm::StringRef reason() const { return lastReason; }

private:
  using Result = mlir::FailureOr<HostTensor>;
  using Key = std::tuple<void *, int64_t, int64_t, int64_t>;
  struct Rows {
    HostTensor tensor;
    bool dependsOnBound;
  };

  Result rows(mlir::Value value, RowRange range);
  Result compute(mlir::Value value, RowRange range);
  std::optional<Result> computeOp(mlir::Operation *op, RowRange range);
  std::optional<Result> elementwise(mlir::Operation *op, RowRange range);
  std::optional<Result> squeezed(mlir::Operation *op, RowRange range);
  std::optional<Result> reshaped(mlir::Operation *op, RowRange range);
  std::optional<Result> broadcast(mlir::Operation *op, RowRange range);
  std::optional<Result> tiled(mlir::Operation *op, RowRange range);
  std::optional<Result> sliced(mlir::Operation *op, RowRange range);
  std::optional<Result> concatenated(mlir::Operation *op, RowRange range);
  std::optional<Result> gathered(mlir::Operation *op, RowRange range);
  std::optional<Result> picked(mlir::Operation *op, RowRange range);
  std::optional<Result> triangle(mlir::Operation *op, RowRange range);
  std::optional<Result> filled(mlir::Operation *op, RowRange range);
  Result whole(mlir::Value value);
  bool dependsOnBound(mlir::Value value);
  Result take(const HostTensor &tensor, RowRange range);
  Result operandRows(mlir::Value operand, int64_t resultRank, RowRange range);
  Result apply(mlir::Operation *op, llvm::ArrayRef<HostTensor> operands);
  mlir::LogicalResult fail(const llvm::Twine &why);

  Evaluator &evaluator;
  llvm::DenseMap<mlir::Value, Provider> providers;
  std::map<Key, Rows> known;
  /// Values that are known to depend on a bound one, or not to.
  llvm::DenseMap<mlir::Value, bool> dependent;
  /// Whether what is computed now has met a bound value.
  bool metBound = false;
  std::string lastReason;
};

/// Ops that compute each element of the result from the same element of every
/// operand, broadcast.
bool isElementwise(mlir::Operation *op);

} // namespace nju

#endif // NJU_DIALECT_NJU_ANALYSIS_ROWEVALUATOR_H
