//===- GroupFit.h - Fits the scales of 16 groups at once --------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_QUANTIZATION_GROUPFIT_H
#define NJU_LIB_QUANTIZATION_GROUPFIT_H

#include "llvm/ADT/ArrayRef.h"
#include <cstdint>

namespace nju::lcq {

/// Groups that are fitted side by side, one a lane. No lane sees another, and
/// no sum runs across lanes: results are the same bits on every machine.
constexpr int kLanes = 16;

/// 16 groups and the basis they share. Arrays with lanes are [..., 16].
struct GroupBatch {
  unsigned levels = 0, rank = 1;
  bool hasOffset = false;
  /// [rank, levels]. Of rank 1 in ascending order.
  const float *basis = nullptr;
  int64_t columns = 0;
  const float *weights = nullptr; ///< [columns, 16], `stride` floats apart
  int64_t stride = kLanes;
  /// How much the square of a column's error counts [columns]; null: all alike.
  const float *importance = nullptr;
};

/// Scales [rank, 16] and offsets [16] of a batch.
struct GroupParameters {
  alignas(64) float scales[3][kLanes] = {};
  alignas(64) float offset[kLanes] = {};
};

/// How often to look for what.
struct FitPlan {
  /// Whether to begin with the largest magnitudes, or with what is there.
  bool start = true;
  /// Rounds of: assign codes, solve for the scales.
  int rounds = 2;
  /// Whether to try multiples of the scales then, and one round more.
  bool search = true;
};

/// Weights of each code of the last assignment, by their importance: how many,
/// and their sum; [levels, 16].
struct CodeSums {
  alignas(64) float count[16][kLanes];
  alignas(64) float sum[16][kLanes];
};

/// Fits scales and offsets by least squares (lcq: alternately codes, then S and
/// B; multiples of S, because the alternation stops at the nearest minimum).
/// `errors` [16] gets the sums of squared errors of the last assignment, `sums`
/// (unless null) what the codes of the last assignment got.
void fitGroups(const GroupBatch &batch, const FitPlan &plan,
               GroupParameters &parameters, float *errors, CodeSums *sums);

/// Writes the nearest codes [columns, 16] for the codewords [levels, 16], the
/// lowest of several. `errors` [16] gets the sums of squared errors.
void assignCodes(const GroupBatch &batch, const float *codewords,
                 uint8_t *codes, float *errors);

/// The functions above for one kind of processor.
struct GroupKernels {
  decltype(&fitGroups) fit;
  decltype(&assignCodes) assign;
};

/// Those that this processor runs, the widest first. All give the same bits.
llvm::ArrayRef<GroupKernels> getGroupKernels();

} // namespace nju::lcq

#endif // NJU_LIB_QUANTIZATION_GROUPFIT_H
