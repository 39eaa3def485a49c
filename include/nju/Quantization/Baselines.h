//===- Baselines.h - Formats of others as rank 1 ----------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_QUANTIZATION_BASELINES_H
#define NJU_QUANTIZATION_BASELINES_H

#include "nju/Quantization/QuantizedMatrix.h"
#include "nju/Quantization/WeightRows.h"

namespace nju::lcq {

/// Weights that another quantizer made: weight (n, j) is
///   scales[n, j / group] * (codes[n, j] - zeroPoints[n, j / group])
/// in f32, as in ONNX's MatMulNBits, GPTQ and AWQ. `codes` [rows, columns] are
/// below 2^bits, `scales` and `zeroPoints` [rows, groups]. Dequantizing gives
/// these weights bit for bit; with `GroupForm::F16` if the scales are f16.
llvm::Expected<QuantizedMatrix>
importUniform(int64_t rows, int64_t columns, unsigned bits, int64_t group,
              llvm::ArrayRef<uint8_t> codes, llvm::ArrayRef<float> scales,
              llvm::ArrayRef<int8_t> zeroPoints,
              GroupForm scaleForm = GroupForm::F32);

/// Asymmetric round-to-nearest: the scale of a group is (max - min) / (2^bits -
/// 1) over its weights and 0, the zero point -round(min / scale).
llvm::Expected<QuantizedMatrix>
quantizeRoundToNearest(const WeightRows &weights, unsigned bits, int64_t group);

/// The NormalFloat table of 2^bits values between -1 and 1, in ascending order
/// (QLoRA, Dettmers et al., arXiv 2305.14314, section 3).
std::vector<float> getNormalFloatTable(unsigned bits);

/// NormalFloat: the nearest of absmax * table, by absmax of each group.
llvm::Expected<QuantizedMatrix>
quantizeNormalFloat(const WeightRows &weights, unsigned bits, int64_t group);

/// The value below which a standard normal variable lies with `probability`,
/// which is in (0, 1).
double getNormalQuantile(double probability);

} // namespace nju::lcq

#endif // NJU_QUANTIZATION_BASELINES_H
