//===- Correction.h - Weights that make up for errors before them -*- C++ -*-=//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_QUANTIZATION_CORRECTION_H
#define NJU_LIB_QUANTIZATION_CORRECTION_H

#include "LinearAlgebra.h"
#include "nju/Quantization/WeightRows.h"

namespace nju::lcq {

/// How much of the deviation is made up for: all of it fits the calibration
/// tokens best, and others worse.
constexpr float kCorrectedShare = 0.5f;

/// W + kCorrectedShare H^-1 D W, row-major, for weights that are the rows of
/// W': with all of it, X times that is as near as can be to X0 W, where X0 are
/// the inputs that the weights are for, X those that they get, H = X'X and D =
/// X'(X0 - X). `deviation` is D; H is scale * N'N for `factor` N, which is of
/// lower triangular form.
llvm::Expected<std::vector<float>>
correctWeights(const WeightRows &weights, llvm::ArrayRef<float> deviation,
               double scale, const SquareMatrix &factor);

} // namespace nju::lcq

#endif // NJU_LIB_QUANTIZATION_CORRECTION_H
