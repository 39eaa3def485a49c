//===- Allocation.h - Formats of matrices under a budget --------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_QUANTIZATION_ALLOCATION_H
#define NJU_QUANTIZATION_ALLOCATION_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/Error.h"
#include <cstdint>
#include <vector>

namespace nju::lcq {

/// What a matrix could be.
struct FormatChoice {
  int64_t bytes = 0;
  double cost = 0; ///< What it adds to the loss.
};

/// Picks one choice of each matrix, so that all together take at most `budget`
/// bytes and the sum of costs is the least; the index of each. Exact while no
/// more than 2^13 sums of some matrices are worth to be kept (each smaller than
/// all that cost less); then of neighbours the one that costs less is kept. The
/// same choices give the same result on every machine. An error if the smallest
/// choices take more than the budget.
llvm::Expected<std::vector<size_t>>
allocateFormats(llvm::ArrayRef<std::vector<FormatChoice>> matrices,
                int64_t budget);

} // namespace nju::lcq

#endif // NJU_QUANTIZATION_ALLOCATION_H
