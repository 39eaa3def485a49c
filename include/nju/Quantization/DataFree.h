//===- DataFree.h - Quantizes weights without data --------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_QUANTIZATION_DATAFREE_H
#define NJU_QUANTIZATION_DATAFREE_H

#include "nju/Quantization/QuantizedMatrix.h"
#include "nju/Quantization/WeightRows.h"

namespace nju::lcq {

/// What quantization cost, as sums over all weights.
struct QuantizationError {
  double squares = 0; ///< of the weights
  double errors = 0;  ///< of the differences, squared

  /// Relative error of the weights in the Frobenius norm.
  double getRelative() const;
};

/// Quantizes by the weights alone: alternating least squares for codes, scales
/// and basis, with a search over multiples of the scales. The basis is fitted
/// to a sample, rounded to int8, and the scales are fitted to what it was
/// rounded to; codes are the nearest to the codewords of the rounded scales.
///
/// Beside the result it needs memory for 64 rows a thread and for the sample
/// (2 MB). Works on the threads of llvm::parallel; the result depends neither
/// on their number nor on the processor. `error` may be null.
///
/// A group of zeros stays exactly zero. Weights of magnitude below 2^-126 may
/// become zero. A weight that is NaN or infinite is an error.
llvm::Expected<QuantizedMatrix>
quantizeDataFree(const WeightRows &weights, const LCQOptions &options,
                 QuantizationError *error = nullptr);

} // namespace nju::lcq

#endif // NJU_QUANTIZATION_DATAFREE_H
