//===- LMStep.h - The step of a language model -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_TRANSFORMS_LMSTEP_H
#define NJU_LIB_TRANSFORMS_LMSTEP_H

#include "LMAttention.h"
#include "mlir/IR/PatternMatch.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/SetVector.h"

namespace nju {

/// What of the graph the step computes.
struct LMPlan {
  /// Data ops in the order of the graph, the roots of the attentions among
  /// them, but nothing else that an attention replaces.
  llvm::SmallVector<mlir::Operation *> ops;
  llvm::DenseMap<mlir::Operation *, LMAttention *> attentionOf;
  /// Ops that no attention depends on: computed for the wanted rows only.
  llvm::DenseSet<mlir::Operation *> rowOps;
  /// Positional operands of the ops that are numbers to compute with or
  /// indices: what a position's row of them is must not depend on the length.
  llvm::SetVector<mlir::Value> tables;
  /// Lookups of positions in a weight.
  llvm::SmallVector<GatherOp> lookups;
};

/// Plans the step; proves that nothing but the attentions mixes tokens.
mlir::FailureOr<LMPlan> planStep(LMGraph &graph,
                                 llvm::MutableArrayRef<LMAttention> attentions);

/// Operands that say how an op moves elements, such as a shape: they are
/// derived from the result instead of being computed.
bool isShapeOperand(mlir::OpOperand &operand);

/// Rows of positional values.
class PositionTables {
public:
  PositionTables(LMGraph &graph, int64_t maxTokens);

  struct Table {
    /// The dimension of the value that counts tokens; none: `elements` is the
    /// value for all lengths.
    std::optional<int64_t> axis;
    /// `[maxTokens, other dimensions...]`.
    HostTensor elements;
    /// Row p is p plus this number (integers only).
    std::optional<int64_t> offset;
  };
  /// The table of a positional value, checked for several lengths.
  mlir::FailureOr<const Table *> get(mlir::Value value);

  int64_t getMaxTokens() const { return maxTokens; }

private:
  mlir::FailureOr<Table> make(mlir::Value value);
  mlir::FailureOr<HostTensor> rowsAt(mlir::Value value, unsigned sample,
                                     std::optional<int64_t> axis);

  LMGraph &graph;
  int64_t maxTokens;
  llvm::SmallVector<LMLength> lengths;
  llvm::SmallVector<std::unique_ptr<Evaluator>> evaluators;
  llvm::DenseMap<mlir::Value, std::unique_ptr<Table>> tables;
};

/// Writes `@step` into the function's module. `maxTokens` has been checked.
mlir::FailureOr<mlir::func::FuncOp>
buildStep(LMGraph &graph, const LMPlan &plan, PositionTables &tables);

/// Patterns that cancel what moves elements back and forth.
void populateLMCleanup(mlir::RewritePatternSet &patterns);

} // namespace nju

#endif // NJU_LIB_TRANSFORMS_LMSTEP_H
