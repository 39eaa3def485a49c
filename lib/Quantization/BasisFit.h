//===- BasisFit.h - Fits the basis of a matrix ------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_QUANTIZATION_BASISFIT_H
#define NJU_LIB_QUANTIZATION_BASISFIT_H

#include "GroupFit.h"
#include "nju/Quantization/QuantizedMatrix.h"
#include "nju/Quantization/WeightRows.h"

namespace nju::lcq {

/// Fits the int8 basis of a matrix to some of its groups: those spread evenly
/// over it, about half a million weights at most, and those that weigh more
/// than these do. `importance` [columns] says how much the square of the error
/// in a column counts; empty: all alike.
llvm::Expected<Basis> fitBasis(const WeightRows &weights,
                               const LCQOptions &options,
                               llvm::ArrayRef<float> importance);

} // namespace nju::lcq

#endif // NJU_LIB_QUANTIZATION_BASISFIT_H
