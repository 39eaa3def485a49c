//===- UniformWeights.h - Weights that came quantized -----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_DRIVER_UNIFORMWEIGHTS_H
#define NJU_LIB_DRIVER_UNIFORMWEIGHTS_H

#include "nju/Quantization/Packing.h"
#include "nju/Transforms/QuantizableWeights.h"
#include "llvm/Support/Error.h"
#include <optional>

namespace nju {

/// The format that holds a weight's codes, scales and zero points as they are
/// in its data, an `#nju.uniform`. None if kernels have no such format: codes
/// of 8 bits, or blocks that are not whole lines of codes. Reads scales and
/// zero points.
llvm::Expected<std::optional<LCQAttr>>
chooseExactFormat(const QuantizableWeight &weight);

/// The matrix whose codes are `codes`, a param that is exact, in the form of
/// the kernels.
llvm::Expected<lcq::PackedMatrix> packExact(ParamOp codes);

/// What the codes, scales and zero points of such a matrix are, for the report.
std::string describeExact(LCQAttr format);

} // namespace nju

#endif // NJU_LIB_DRIVER_UNIFORMWEIGHTS_H
