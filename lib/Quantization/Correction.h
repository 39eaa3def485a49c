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
#include "nju/Quantization/Calibrated.h"

namespace nju::lcq {

/// How much of a deviation is made up for. All of it fits the calibration
/// tokens best, and others worse; of tokens that are no more than the columns,
/// none.
double getCorrectedShare(int64_t columns, int64_t tokens);

/// W + a H^-1 D W, row-major, for weights that are the rows of W'; a is the
/// share above, H = X'X = scale * N'N for `factor` N, which is of lower
/// triangular form.
llvm::Expected<std::vector<float>>
correctWeights(const WeightRows &weights, const InputDeviation &deviation,
               double scale, const SquareMatrix &factor);

} // namespace nju::lcq

#endif // NJU_LIB_QUANTIZATION_CORRECTION_H
