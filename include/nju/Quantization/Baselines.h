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
#include <vector>

namespace nju::lcq {

/// Weights that another quantizer made, as ONNX's MatMulNBits, GPTQ and AWQ
/// store them: weight (n, j) is
///   scales[n, j / group] * (integer of codes[n, j] - zeroPoints[n, j / group])
/// in f32, both steps rounded.
struct UniformWeights {
  int64_t rows = 0, columns = 0;
  unsigned bits = 0; ///< Of a code, 2 to 4.
  int64_t group = 0;
  bool isSigned = false;         ///< Codes are in two's complement.
  std::vector<uint8_t> codes;    ///< [rows, columns], below 2^bits.
  std::vector<float> scales;     ///< [rows, groups]
  std::vector<float> zeroPoints; ///< [rows, groups], or one for all.
};

/// How scales and zero points are stored without loss.
struct UniformForm {
  GroupForm scales = GroupForm::F32;     ///< F16 or F32
  GroupForm zeroPoints = GroupForm::F32; ///< Integer or F32
  /// Whether all weights have one zero point, which the basis takes up.
  bool isCentered = false;
};

/// The smallest form that holds all of these to the bit.
UniformForm chooseForm(llvm::ArrayRef<float> scales,
                       llvm::ArrayRef<float> zeroPoints);

/// The matrix of these weights in the form that `chooseForm` gives, or one that
/// holds more: codes, scales and zero points are taken over, and dequantizing
/// gives the weights bit for bit.
llvm::Expected<QuantizedMatrix> importUniform(UniformWeights weights,
                                              const UniformForm &form);

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
