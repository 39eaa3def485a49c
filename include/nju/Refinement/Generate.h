//===- Generate.h - Calibration text that a model says itself ---*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_REFINEMENT_GENERATE_H
#define NJU_REFINEMENT_GENERATE_H

#include "nju/Execution/Executor.h"
#include "llvm/ADT/STLFunctionalExtras.h"

namespace nju {

/// What text a model is to say.
struct GenerateOptions {
  int64_t tokens = 1 << 16; ///< Of all sequences.
  /// The token that every sequence begins with. Without one (-1), sequences
  /// begin with a token drawn evenly from the vocabulary.
  int32_t beginning = -1;
  /// Ends a sequence, and begins another one. -1: only `length` ends one.
  int32_t end = -1;
  int64_t length = 256; ///< Of a sequence, at most.
  /// Sequences that are made side by side.
  int64_t sequences = 64;
  unsigned seed = 1;
};

/// Text for calibration where there is none: sequences that the model `@step`
/// makes, each token drawn by its probability (temperature 1). All sequences
/// grow by one token at a time, keys and values being kept; the same seed gives
/// the same text on one kind of processor.
llvm::Expected<TokenBatch> generateTokens(
    mlir::func::FuncOp step, ParamSource &params,
    const GenerateOptions &options,
    llvm::function_ref<void(int64_t done, int64_t total)> progress = nullptr);

} // namespace nju

#endif // NJU_REFINEMENT_GENERATE_H
