//===- Calibrated.h - Quantizes weights by their outputs --------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_QUANTIZATION_CALIBRATED_H
#define NJU_QUANTIZATION_CALIBRATED_H

#include "nju/Quantization/DataFree.h"

namespace nju::lcq {

/// What calibrated quantization did. The objective is tr(E H E'), with E the
/// difference of the weights and H the second moments of the inputs, damped:
/// the squared error of the outputs over the calibration tokens.
struct CalibrationReport {
  /// The objective after the pass over the columns, then after each solution
  /// for the scales and each descent on the codes in turn; none is larger than
  /// the one before it. The last descent works with rounded scales and is not
  /// in this list.
  std::vector<double> objectives;
  /// The objective of the result.
  double objective = 0;
  /// The objective of zeros in place of the weights.
  double zeroObjective = 0;
  QuantizationError weights;
};

/// How the inputs X [tokens, columns] of a layer differ from the inputs X0 that
/// its weights were made for, since something before it was quantized, too.
struct InputDeviation {
  /// D = X'(X0 - X), [columns, columns]; empty: they are the same.
  llvm::ArrayRef<float> sums;
  int64_t tokens = 0;
};

/// Quantizes so that the outputs of a layer change little. `moments` [columns,
/// columns] is X'X, or a multiple, for the inputs X [tokens, columns] of the
/// layer; symmetric.
///
/// With a `deviation` D (or the same multiple of it) what is quantized are not
/// the weights W' but W + a H^-1 D W. With a = 1, X times that is as near as
/// can be to X0 W on these tokens; on others less is nearer: a is 1/2, and less
/// by the part (columns / tokens) that so many columns explain of anything.
///
/// The basis is fitted as without data, with the columns weighted by the
/// diagonal of H. Then the columns get their codes from the first to the last,
/// and the error of each is compensated in those that follow (GPTQ, Frantar et
/// al., arXiv 2210.17323; in the form of LDLQ, Chee et al., arXiv 2307.13304,
/// section 3); each group is fitted to the compensated weights. Then, `rounds`
/// times: all scales of a row are solved for at once, and the codes descend one
/// by one on tr(E H E'). Scales are rounded before the last descent.
///
/// H is damped by 1 % of its mean diagonal; more where f32 needs it.
/// Works on the threads of llvm::parallel; the result does not depend on their
/// number. Beside the result it needs memory for 2 * columns^2 floats, and a
/// thread for 64 rows: their weights five times, and 32 * u^2 floats for the u
/// scales of a row; with a deviation for all weights in f32, and columns^2
/// floats more. `report` may be null.
llvm::Expected<QuantizedMatrix>
quantizeCalibrated(const WeightRows &weights, llvm::ArrayRef<float> moments,
                   const LCQOptions &options, int rounds = 3,
                   CalibrationReport *report = nullptr,
                   const InputDeviation &deviation = {});
llvm::Expected<QuantizedMatrix>
quantizeCalibrated(const WeightRows &weights, llvm::ArrayRef<double> moments,
                   const LCQOptions &options, int rounds = 3,
                   CalibrationReport *report = nullptr);

} // namespace nju::lcq

#endif // NJU_QUANTIZATION_CALIBRATED_H
