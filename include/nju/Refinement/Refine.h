//===- Refine.h - Trains quantized weights by outputs -----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_REFINEMENT_REFINE_H
#define NJU_REFINEMENT_REFINE_H

#include "nju/Execution/Executor.h"
#include "nju/Quantization/LCQParameters.h"
#include <map>
#include <string>

namespace nju {

/// How long and how fast to train.
struct RefineOptions {
  RefineOptions();

  /// Steps of each block; 0: none is trained by itself.
  int blockSteps;
  /// Steps of the whole model; 0: blocks only.
  int steps;
  /// Rates of the matrices of a width in bits; they fall to zero like half a
  /// cosine. A rate of zero for weights freezes their codes.
  lcq::LCQRates blockRates[lcq::kMaxBits + 1], rates[lcq::kMaxBits + 1];
  /// Tokens of a step.
  int64_t batchTokens = 2048;
  /// The part of the sequences that is not trained on, but decides which of the
  /// states on the way is kept. With fewer than ten sequences, all decide.
  double heldOut = 0.1;
  /// Which sequences are held out, and the order of the others.
  unsigned seed = 1;
};

/// The loss that decides, before and after.
struct RefineLoss {
  double before = 0, after = 0;
};

/// What refinement did.
struct RefineReport {
  /// Of each block: squared error of its output over the square of the output.
  llvm::SmallVector<RefineLoss> blocks;
  /// Of a language model, the divergence of its tokens from those in full
  /// precision, in nats a token; of another model, as of a block.
  RefineLoss model;
};

/// Where refinement is.
struct RefineProgress {
  int block = 0, blocks = 0; ///< `block` == `blocks`: the whole model.
  int step = 0, steps = 0;
  double loss = 0;        ///< Of the last step.
  double heldOutLoss = 0; ///< The least so far.
};

/// Quantized matrices [columns, depth] by the names of their params.
using QuantizedParams = std::map<std::string, lcq::QuantizedMatrix>;

/// Trains quantized weights of nju.linear so that the outputs of a model are
/// those in full precision: first block by block, min over the block's matrices
/// of || F(x; W) - F(x; W_hat) ||^2 with the inputs x that the quantized blocks
/// before give ("Low-Rank Codebook based Quantization for Large Language
/// Models", Cai and Li, arXiv 2405.20973); then all matrices at once, by the
/// divergence of the logits. The state with the least loss on what is held out
/// is kept, the start included.
///
/// `function` is `@step`, or a graph of one sequence, in nju ops with packed
/// weights. Memory beside the weights in f32: 17 bytes a weight that is trained
/// (of one block, then of all), inputs and outputs of a block for all tokens or
/// what the output head gets for all tokens, and all activations for the tokens
/// of a step (of a block, then of the model). The same seed gives the same
/// result on one kind of processor, with any number of threads.
llvm::Error
refine(mlir::func::FuncOp function, const TokenBatch &tokens,
       ParamSource &params, QuantizedParams &matrices,
       const RefineOptions &options = {}, RefineReport *report = nullptr,
       llvm::function_ref<void(const RefineProgress &)> progress = nullptr);

} // namespace nju

#endif // NJU_REFINEMENT_REFINE_H
