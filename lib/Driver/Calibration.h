//===- Calibration.h - The tokens that a model is calibrated with -*- C++
//-*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DRIVER_CALIBRATION_H
#define NJU_DRIVER_CALIBRATION_H

#include "nju/Execution/Executor.h"
#include <string>

namespace nju {

/// What a model is calibrated with.
struct CalibrationOptions {
  /// A text in UTF-8, or tokens as a `.npy` array: int32 or int64, [tokens] or
  /// [sequences, tokens]; see readTokenArray.
  std::string file;
  /// The model's file: a text's tokenizer is looked for beside it.
  std::string model = {};
  /// Tokens that are used, at most; from the begin of the file.
  int64_t maxTokens = 8192;
  /// Tokens of a sequence, at most. 0: what a language model was compiled for,
  /// and 128 for another graph.
  int64_t maxSequence = 0;
};

/// With fewer tokens than these, moments say nothing.
constexpr int64_t kLeastCalibrationTokens = 64;

/// Tokens of a sequence that a language model is compiled for; none for another
/// graph.
std::optional<int64_t> getMostTokens(mlir::func::FuncOp function);

/// The token that the tokenizer beside a model's file puts before a text; -1 if
/// there is no tokenizer, or no such token.
int32_t findBeginningToken(llvm::StringRef model);

/// Calibration data: options in, tokens out.
///
/// A text is cut in documents as `nju-run ppl` cuts it. For `@step` of a
/// language model each document becomes sequences of full length, the rest of
/// it a shorter one, and every sequence begins with what the tokenizer puts
/// before a text. For another graph each document, or if the text has but one
/// each line, is one sequence, with what the tokenizer puts around it; what is
/// longer than a sequence is left out. Sequences of an array are used as they
/// are; what is longer becomes several.
class CalibrationData {
public:
  explicit CalibrationData(CalibrationOptions options)
      : options(std::move(options)) {}

  /// The tokens for a function in the form that `nju-pack-weights` leaves.
  llvm::Expected<TokenBatch> read(mlir::func::FuncOp function) const;

private:
  CalibrationOptions options;
};

} // namespace nju

#endif // NJU_DRIVER_CALIBRATION_H
