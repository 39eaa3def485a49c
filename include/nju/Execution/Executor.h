//===- Executor.h - Runs a model on the host --------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_EXECUTION_EXECUTOR_H
#define NJU_EXECUTION_EXECUTOR_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "nju/Execution/WeightMatrix.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"
#include <vector>

namespace nju {

/// Text as token numbers.
struct TokenBatch {
  std::vector<std::vector<int32_t>> sequences;

  int64_t countTokens() const;
};

/// A value in each of the runs that are executed side by side; one tensor if it
/// is the same in all of them.
using RunTensors = llvm::SmallVector<HostTensor, 1>;

/// The arguments of a function for these tokens. `@step` of a language model
/// gets all tokens at once, and all rows. Another graph must have an argument
/// for token numbers (integers of one or two dimensions whose name says `ids`
/// or `tokens`): it gets a run for each sequence, with a batch of 1, masks of
/// ones and zeros for what tells kinds of tokens apart. Positions count up from
/// 0. Fails for functions with arguments that tokens do not determine, and for
/// tokens that are not in the vocabulary.
llvm::Expected<llvm::SmallVector<RunTensors>>
makeArguments(mlir::func::FuncOp function, const TokenBatch &tokens);

/// What an execution tells while it runs.
class ExecutionListener {
public:
  virtual ~ExecutionListener();

  /// A packed weight that is about to be used.
  struct Weight {
    ParamOp param;
    WeightMatrix matrix;
  };
  /// Called when an input of `nju.linear` has been computed, with the weights
  /// of all products that multiply it (each once). `runs` is the input as it is
  /// with the weights that it left in `weights` in earlier calls, `original` as
  /// it is with those of the model: the same array if no product before was
  /// changed. It may keep copies of both, which are not written to afterwards.
  virtual llvm::Error onProducts(mlir::Value input,
                                 llvm::ArrayRef<HostTensor> runs,
                                 llvm::ArrayRef<HostTensor> original,
                                 llvm::MutableArrayRef<Weight> weights) = 0;
};

/// What an execution took.
struct ExecutionStatistics {
  /// Bytes of all values and weights at the same time, at most. What an op
  /// needs while it runs is not in it: some megabytes of rearranged operands,
  /// and for ops that are computed by the evaluator twice their operands.
  int64_t peakBytes = 0;
  /// Bytes of weights that were read, each time they were.
  int64_t weightBytes = 0;
};

/// Runs a straight-line function of nju ops, op by op, for all runs at once. A
/// value is freed after its last use; a weight is read when it is needed, and
/// dropped. Where a listener replaced a weight, what depends on it is computed
/// with both, side by side. The IR must stay as it is while it runs.
class Executor {
public:
  Executor(mlir::func::FuncOp function, ParamSource &params,
           ExecutionListener *listener = nullptr)
      : function(function), params(params), listener(listener) {}

  /// Runs all ops that the results depend on, which are those of the replaced
  /// weights; `arguments` are freed after their last use.
  llvm::Expected<llvm::SmallVector<RunTensors>>
  run(llvm::SmallVector<RunTensors> arguments);

  /// Runs what the listener's inputs depend on; what only results depend on is
  /// left out.
  llvm::Error runForListener(llvm::SmallVector<RunTensors> arguments);

  const ExecutionStatistics &getStatistics() const { return statistics; }

private:
  struct LiveBytes {
    int64_t values = 0, bytes = 0;
    bool isOwn = false; ///< Nobody outside of the run has it.
  };
  void plan(bool forListener);
  void addNeeded(mlir::Value value, llvm::DenseSet<mlir::Operation *> &needed);
  llvm::Error runOps(llvm::SmallVector<RunTensors> arguments);
  llvm::Error runOp(mlir::Operation *op);
  llvm::Expected<RunTensors> compute(mlir::Operation *op);
  llvm::Expected<RunTensors> computeLinear(LinearOp op);
  llvm::Expected<RunTensors> multiply(LinearOp op, ParamOp param,
                                      const HostTensor &bias);
  llvm::ArrayRef<HostTensor> getOriginal(llvm::ArrayRef<HostTensor> runs) const;
  llvm::ArrayRef<HostTensor> getReplaced(llvm::ArrayRef<HostTensor> runs) const;
  llvm::Error replace(ExecutionListener::Weight &weight);
  llvm::Expected<RunTensors> computeExperts(ExpertLinearOp op);
  llvm::Expected<RunTensors> computeEmbedding(EmbeddingOp op);
  llvm::Error set(mlir::Value value, RunTensors tensors);
  void release(mlir::Value value);
  void own(const HostTensor &tensor);
  const HostTensor *findRoom(mlir::Operation *op,
                             llvm::ArrayRef<HostTensor> operands, size_t runs);
  llvm::Error announce(mlir::Value input, const RunTensors &runs);
  llvm::Expected<WeightMatrix> readWeight(ParamOp param);
  void releaseWeight(ParamOp param);
  void finishWeight(ParamOp param, const RunTensors &results);
  ParamOp findParam(mlir::Value weight);
  void count(const HostTensor &tensor, int64_t values);

  mlir::func::FuncOp function;
  ParamSource &params;
  ExecutionListener *listener;
  ExecutionStatistics statistics;
  llvm::SmallVector<mlir::Operation *> ops; ///< To be run, in order.
  llvm::DenseMap<mlir::Value, int64_t> usesLeft;
  /// Behind a replaced weight, tensors of all runs with the original weights
  /// and then of all runs with those in their place.
  llvm::DenseMap<mlir::Value, RunTensors> values;
  size_t numRuns = 1;
  /// The products that an input feeds, for the listener.
  llvm::DenseMap<mlir::Value, llvm::SmallVector<LinearOp>> products;
  /// Weights in memory, by their params, what is in their place, and how often
  /// they will be used.
  llvm::DenseMap<mlir::Operation *, WeightMatrix> weights, replaced;
  llvm::DenseMap<mlir::Operation *, int64_t> weightUsesLeft;
  /// Values that share some memory, by its address.
  llvm::DenseMap<const char *, LiveBytes> live;
  int64_t liveBytes = 0;
};

} // namespace nju

#endif // NJU_EXECUTION_EXECUTOR_H
