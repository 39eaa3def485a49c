//===- Exponential.cpp - Exponentials of many numbers ---------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Support/Exponential.h"

#include <algorithm>
#include <limits>

using namespace nju;

namespace {

/// Numbers that are treated side by side, in vectors.
constexpr int64_t kLanes = 16;

NJU_INLINE float findLargest(const float *values, int64_t count) {
  float lanes[kLanes];
  std::fill(lanes, lanes + kLanes, -std::numeric_limits<float>::infinity());
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes)
    for (int64_t l = 0; l < kLanes; ++l)
      lanes[l] = lanes[l] < values[j + l] ? values[j + l] : lanes[l];
  for (; j < count; ++j)
    lanes[0] = std::max(lanes[0], values[j]);
  return *std::max_element(lanes, lanes + kLanes);
}

NJU_INLINE float raise(float *values, int64_t count, float shift) {
  float lanes[kLanes] = {};
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes)
    for (int64_t l = 0; l < kLanes; ++l) {
      values[j + l] = exponential(values[j + l] - shift);
      lanes[l] += values[j + l];
    }
  for (; j < count; ++j) {
    values[j] = exponential(values[j] - shift);
    lanes[0] += values[j];
  }
  double sum = 0;
  for (float lane : lanes)
    sum += lane;
  return static_cast<float>(sum);
}

struct ExponentialKernels {
  float (*getLargest)(const float *values, int64_t count);
  float (*exponentiate)(float *values, int64_t count, float shift);
};

#define NJU_DEFINE_VARIANT(NAME, ATTRIBUTE)                                    \
  ATTRIBUTE float largest##NAME(const float *values, int64_t count) {          \
    return findLargest(values, count);                                         \
  }                                                                            \
  ATTRIBUTE float exponentiate##NAME(float *values, int64_t count,             \
                                     float shift) {                            \
    return raise(values, count, shift);                                        \
  }                                                                            \
  constexpr ExponentialKernels k##NAME = {largest##NAME, exponentiate##NAME};
#if defined(__x86_64__)
NJU_DEFINE_VARIANT(AVX512, NJU_TARGET_AVX512)
NJU_DEFINE_VARIANT(AVX2, NJU_TARGET_AVX2)
#endif
NJU_DEFINE_VARIANT(Baseline, )
#undef NJU_DEFINE_VARIANT

} // namespace

static const ExponentialKernels &getKernels() {
  static const ExponentialKernels all[] = {
#if defined(__x86_64__)
      kAVX512, kAVX2,
#endif
      kBaseline};
  return all[getFirstVariant()];
}

float nju::getLargest(const float *values, int64_t count) {
  return getKernels().getLargest(values, count);
}

float nju::exponentiate(float *values, int64_t count, float shift) {
  return getKernels().exponentiate(values, count, shift);
}
