//===- Tape.h - Runs a part of a model back and forth -----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_REFINEMENT_TAPE_H
#define NJU_LIB_REFINEMENT_TAPE_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "nju/Execution/WeightMatrix.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"
#include <functional>

namespace nju {

/// The name of the param that a packed weight of a product refers to; empty
/// where it is another value.
llvm::StringRef getWeightName(LinearOp op);

/// The same of what looks up rows of a param: nju.embedding, or nju.gather.
llvm::StringRef getTableName(mlir::Operation *op);

/// The ops of a straight-line function that compute `output` from `inputs`, the
/// arguments and params, in order.
class GraphPart {
public:
  GraphPart() = default;
  /// `trained`: the params of nju.linear whose gradients are wanted.
  /// `lookedUp`, if not null: params for whose looked-up rows they are wanted,
  /// too. An error if a gradient must pass an op that has none.
  static llvm::Expected<GraphPart>
  find(mlir::Value output, llvm::ArrayRef<mlir::Value> inputs,
       const llvm::StringSet<> &trained,
       const llvm::StringSet<> *lookedUp = nullptr);

  llvm::ArrayRef<mlir::Operation *> getOps() const { return ops; }
  mlir::Value getOutput() const { return output; }
  /// Whether the value depends on a trained weight.
  bool isActive(mlir::Value value) const { return active.contains(value); }
  bool isTrained(mlir::Operation *op) const { return trained.contains(op); }
  /// Whether the op looks up rows whose gradients are wanted.
  bool isLookUp(mlir::Operation *op) const { return lookUps.contains(op); }

private:
  mlir::Value output;
  llvm::SmallVector<mlir::Operation *> ops;
  llvm::DenseSet<mlir::Value> active;
  llvm::DenseSet<mlir::Operation *> trained, lookUps;
};

/// Values of one run.
using ValueMap = llvm::DenseMap<mlir::Value, HostTensor>;
/// Matrices [columns, depth] by the name of the param, in the place of those of
/// the model.
using MatrixMap = llvm::StringMap<WeightMatrix>;
/// Gradients [columns, depth] by the name of the param.
using GradientMap = llvm::StringMap<std::vector<float>>;

/// Params that stay in memory once they were read, until `clear`.
class ParamCache : public ParamSource {
public:
  explicit ParamCache(ParamSource &source) : source(source) {}
  llvm::Expected<HostTensor> read(ParamOp param) override;
  llvm::Expected<WeightMatrix> readMatrix(ParamOp param) override;
  void clear();

private:
  ParamSource &source;
  llvm::DenseMap<mlir::Operation *, HostTensor> tensors;
  llvm::DenseMap<mlir::Operation *, WeightMatrix> matrices;
};

/// Reverse mode over a part of a function. All values that gradients need are
/// stored in the forward run and freed by the backward run, or by the next
/// forward run; nothing is computed twice but the probabilities of attention.
/// So memory is that of all activations of the part for the tokens of one run.
class Tape {
public:
  Tape(const GraphPart &part, ParamSource &params)
      : part(part), params(params) {}

  /// What computes nju.cached_attention in the place of `executeOp`.
  using AttentionFunction = std::function<llvm::Expected<HostTensor>(
      CachedAttentionOp, llvm::ArrayRef<HostTensor>)>;
  void setAttention(AttentionFunction function) {
    attention = std::move(function);
  }

  /// Takes the gradient with respect to the result of a trained product or of a
  /// look-up, and the input of the product (of a look-up nothing).
  using Observer = std::function<void(
      mlir::Operation *, const HostTensor &gradient, const HostTensor &input)>;
  /// `backward` then tells the observer, and makes no gradients with respect to
  /// matrices.
  void setObserver(Observer function) { observer = std::move(function); }

  /// Computes the part's output. Products whose param is in `matrices` use what
  /// is there. Without `keepsValues` a value is freed after its last use, and
  /// there is no way back.
  llvm::Expected<HostTensor>
  forward(const ValueMap &inputs, const MatrixMap &matrices, bool keepsValues);

  /// Adds the gradients with respect to the trained matrices, from that with
  /// respect to the output. `matrices` are those of `forward`.
  llvm::Error backward(HostTensor gradient, const MatrixMap &matrices,
                       GradientMap &gradients);

private:
  llvm::Expected<HostTensor> compute(mlir::Operation *op,
                                     const MatrixMap &matrices);
  llvm::Expected<WeightMatrix> getMatrix(mlir::Value weight,
                                         const MatrixMap &matrices);
  llvm::Error backwardLinear(LinearOp op, const HostTensor &gradient,
                             const MatrixMap &matrices, GradientMap &result);
  llvm::Error backwardOp(mlir::Operation *op, const HostTensor &gradient);
  void addGradient(mlir::Value value, HostTensor gradient);

  const GraphPart &part;
  ParamSource &params;
  AttentionFunction attention;
  Observer observer;
  ValueMap values;
  ValueMap gradientsOfValues;
};

} // namespace nju

#endif // NJU_LIB_REFINEMENT_TAPE_H
