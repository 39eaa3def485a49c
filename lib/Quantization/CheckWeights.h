//===- CheckWeights.h - Finds weights that are not finite -------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_QUANTIZATION_CHECKWEIGHTS_H
#define NJU_LIB_QUANTIZATION_CHECKWEIGHTS_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/Error.h"
#include <cstdint>

namespace nju::lcq {

/// The index of the first value that is NaN or infinite, or -1.
int64_t findNotFinite(llvm::ArrayRef<float> values);

/// An error that names the first weight of `values`, rows of `columns` weights
/// from `firstRow` on, which is not finite.
llvm::Error checkFinite(llvm::ArrayRef<float> values, int64_t firstRow,
                        int64_t columns);

/// An error if there is nothing to quantize.
llvm::Error checkShape(int64_t rows, int64_t columns);

} // namespace nju::lcq

#endif // NJU_LIB_QUANTIZATION_CHECKWEIGHTS_H
