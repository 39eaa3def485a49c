//===- Training.h - Trains the matrices of a part of a model ----*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_REFINEMENT_TRAINING_H
#define NJU_LIB_REFINEMENT_TRAINING_H

#include "Tape.h"
#include "nju/Refinement/Refine.h"

namespace nju {

/// Tokens that are executed at once.
struct Sample {
  ValueMap arguments;
  int64_t tokens = 0;
  HostTensor input;  ///< Of the present block.
  HostTensor target; ///< What the present part is to give, or comes from.
};

/// Samples that one step is trained by.
using SampleGroup = llvm::SmallVector<Sample>;

/// What a part's output is compared by.
enum class LossKind { SquaredError, Divergence };

/// A matrix while it is trained.
struct TrainedMatrix {
  std::string name;
  lcq::LCQParameters parameters;
  lcq::LCQRates rates;
};

/// Trains the matrices that a part of a model depends on.
class Training {
public:
  Training(const GraphPart &part, mlir::Value input, ParamSource &params,
           LossKind kind, std::vector<TrainedMatrix> &matrices)
      : part(part), input(input), params(params), kind(kind),
        matrices(matrices) {}

  /// The targets of samples are values of `value`, from which `head` makes what
  /// the part is to give, each time anew. For LossKind::Divergence.
  void setTargetHead(mlir::Value value, const GraphPart *head) {
    targetValue = value;
    targetHead = head;
  }

  /// Trains for `steps` steps on the groups in a random order, and leaves the
  /// matrices in the state with the least loss on `deciding`.
  llvm::Expected<RefineLoss>
  run(llvm::ArrayRef<SampleGroup> groups,
      llvm::ArrayRef<const Sample *> deciding, int steps, unsigned seed,
      llvm::function_ref<void(int step, double loss, double least)> progress);

  /// The matrices as products use them now.
  MatrixMap getMatrices() const;

private:
  struct Best {
    double loss;
    std::vector<lcq::LCQParameters::State> states;
  };
  ValueMap bind(const Sample &sample) const;
  llvm::Expected<HostTensor> getTarget(const Sample &sample) const;
  llvm::Expected<double> getLoss(const Sample &sample, const HostTensor &output,
                                 double factor, HostTensor *gradient) const;
  llvm::Expected<double> step(const SampleGroup &group, double rate);
  llvm::Expected<double> decide(llvm::ArrayRef<const Sample *> deciding);
  void update();
  void restore(const Best &best);

  const GraphPart &part;
  mlir::Value input;
  ParamSource &params;
  LossKind kind;
  std::vector<TrainedMatrix> &matrices;
  mlir::Value targetValue;
  const GraphPart *targetHead = nullptr;
};

} // namespace nju

#endif // NJU_LIB_REFINEMENT_TRAINING_H
