//===- LowRank.h - Codebooks of low rank ------------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_QUANTIZATION_LOWRANK_H
#define NJU_QUANTIZATION_LOWRANK_H

#include "llvm/ADT/ArrayRef.h"
#include <cstdint>
#include <vector>

namespace nju::lcq {

/// The `rank` eigenvectors [rank, size] of the symmetric matrix [size, size]
/// that have the largest eigenvalues, largest first, of length 1; the element
/// of the largest magnitude of each is positive.
std::vector<double> getPrincipalAxes(llvm::ArrayRef<double> matrix,
                                     unsigned size, unsigned rank);

/// The rows of `codebooks` [groups, levels] as sums of `rank` basis rows:
/// codebooks ~ scales^T basis, the nearest in the Frobenius norm (truncated
/// singular value decomposition). Returns the basis [rank, levels]; `scales`
/// gets [rank, groups].
std::vector<double> factorizeCodebooks(llvm::ArrayRef<double> codebooks,
                                       int64_t groups, unsigned levels,
                                       unsigned rank,
                                       std::vector<double> &scales);

} // namespace nju::lcq

#endif // NJU_QUANTIZATION_LOWRANK_H
