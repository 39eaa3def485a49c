//===- Evaluator.h - Interpreter of nju ops -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DIALECT_NJU_ANALYSIS_EVALUATOR_H
#define NJU_DIALECT_NJU_ANALYSIS_EVALUATOR_H

#include "mlir/IR/Operation.h"
#include "nju/Dialect/NJU/Analysis/HostTensor.h"
#include "nju/Dialect/NJU/Analysis/ParamReader.h"
#include "nju/Dialect/NJU/Analysis/ShapeInference.h"
#include "llvm/ADT/DenseMap.h"
#include <memory>
#include <string>

namespace nju {

struct EvaluatorOptions {
  /// Results of more elements are refused.
  int64_t maxElements = int64_t(1) << 26;
  /// Params of more bytes are refused.
  int64_t maxParamBytes = int64_t(1) << 30;
};

/// Evaluates nju values on concrete tensors, on demand: only what a value
/// depends on is computed, and nothing twice. This is the numeric truth of the
/// dialect: f16 and bf16 are computed in f32 and rounded once an op, f32 ops
/// round to f32 (sums of matmul, reductions and norms are formed in double),
/// integers wrap around.
///
/// The IR must stay as it is between calls. Not thread-safe.
class Evaluator {
public:
  /// With `shapes` (which must know the function's values), `nju.shape_of` and
  /// other small integer tensors follow from the dimensions of bound values
  /// alone, even where elements on the way are not known.
  explicit Evaluator(ShapeInference *shapes = nullptr,
                     EvaluatorOptions options = {});
  ~Evaluator();

  /// Gives a value its tensor. What depends on the value and was evaluated
  /// before is forgotten.
  void bind(mlir::Value value, HostTensor tensor);
  /// Gives a value its shape only: `nju.shape_of` works, its elements are
  /// unknown.
  void bindShape(mlir::Value value, llvm::ArrayRef<int64_t> shape);
  /// Forgets all bindings and results.
  void clear();

  /// The value's tensor, or failure if it depends on something unknown, has too
  /// many elements, or an op has no result for such operands (an index out of
  /// range); `reason()` then says why.
  mlir::FailureOr<HostTensor> evaluate(mlir::Value value);

  /// Why the last `evaluate` failed, for example "depends on the elements of
  /// argument 'past_key_values.0.key'" or "result of 9000000000 elements is too
  /// large"; with the location of the op it happened at, for diagnostics.
  llvm::StringRef reason() const { return lastReason; }
  std::optional<mlir::Location> reasonLocation() const { return lastLocation; }

  /// What is known of a value's shape without evaluating it: from its binding,
  /// its static type or the ShapeInference.
  std::optional<llvm::SmallVector<int64_t>> shapeOf(mlir::Value value);

private:
  struct Failure {
    std::string reason;
    std::optional<mlir::Location> location;
  };
  void solveSymbols();
  bool solve(SymbolicExpr expr, int64_t value);
  bool keepsSymbols(mlir::Value value, llvm::ArrayRef<int64_t> shape,
                    const HostTensor *tensor);
  void forgetDependents(mlir::Value value, bool keepSymbols);
  void forgetResults();
  bool isDone(mlir::Value value) const;
  std::optional<HostTensor> fromShapes(mlir::Value value);
  void step(llvm::SmallVectorImpl<mlir::Value> &stack);
  void compute(mlir::Operation *op);
  void readParam(ParamRefOp op);
  void fail(mlir::Value value, const llvm::Twine &reason);

  ShapeInference *shapes;
  EvaluatorOptions options;
  llvm::DenseMap<mlir::Value, HostTensor> bound, results;
  llvm::DenseMap<mlir::Value, llvm::SmallVector<int64_t>> boundShapes;
  llvm::DenseMap<SymbolicExpr, int64_t> symbols;
  llvm::DenseMap<mlir::Value, Failure> failures;
  std::unique_ptr<ParamReader> reader;
  std::string lastReason;
  std::optional<mlir::Location> lastLocation;
};

/// Computes one pure nju op from its operands (an operand that is left out of
/// the op is left out of `operands` too). Needs no bindings; `nju.param_ref` is
/// not among the ops it knows. On failure `reason` says why. Where a
/// dimension of the result follows from nothing else (nju.linear), it is taken
/// from the op's type.
mlir::FailureOr<HostTensor> evaluateOp(mlir::Operation *op,
                                       llvm::ArrayRef<HostTensor> operands,
                                       std::string &reason,
                                       int64_t maxElements = int64_t(1) << 26);

} // namespace nju

#endif // NJU_DIALECT_NJU_ANALYSIS_EVALUATOR_H
