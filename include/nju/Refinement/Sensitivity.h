//===- Sensitivity.h - What a model's outputs hang on -----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_REFINEMENT_SENSITIVITY_H
#define NJU_REFINEMENT_SENSITIVITY_H

#include "nju/Execution/Executor.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"

namespace nju {

/// By which tokens sensitivities are measured.
struct SensitivityOptions {
  int64_t tokens = 2048; ///< At most, of sequences from all over the batch.
  int64_t length = 128;  ///< Of a sequence, at most.
  unsigned seed = 1;
  /// The params that are asked for; none: all that are multiplied or looked up.
  /// What others give, as tables of rotary embeddings, needs no gradients.
  llvm::StringSet<> weights;
};

/// What a small error costs: the loss grows by half the squared error of a
/// token's values times this, for values that a matrix gives.
struct Sensitivity {
  double product = 0; ///< Of the outputs of products.
  double lookUp = 0;  ///< Of rows that are looked up.
};

/// The mean squared gradient of a loss with respect to each output of a matrix,
/// by the name of its param, such that noise in the weights costs what they
/// say: errors that one weight makes at several tokens of a sequence add up.
/// The loss of a language model is that of tokens which are drawn by its own
/// probabilities: these squares are the curvature of the divergence from the
/// model as it is (Fisher information). That of another graph is the squared
/// error of its first output.
///
/// A sequence is executed back and forth at a time; memory is that of its
/// activations and of one weight, if `params` keeps none. Fails if an op behind
/// a matrix has no gradient.
llvm::Expected<llvm::StringMap<Sensitivity>> measureSensitivities(
    mlir::func::FuncOp function, const TokenBatch &tokens, ParamSource &params,
    const SensitivityOptions &options = {},
    llvm::function_ref<void(int64_t done, int64_t total)> progress = nullptr);

} // namespace nju

#endif // NJU_REFINEMENT_SENSITIVITY_H
