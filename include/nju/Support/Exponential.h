//===- Exponential.h - Exponentials of many numbers -------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_SUPPORT_EXPONENTIAL_H
#define NJU_SUPPORT_EXPONENTIAL_H

#include "nju/Support/VectorCode.h"
#include <cmath>

namespace nju {

/// e^x within two units of the last place, without branches, so that loops over
/// it become vector code. Where the result is no normal number, it is about
/// 1e-38 or 2e38 instead. What is not a number stays so.
NJU_INLINE float exponential(float x) {
  x = x < -87.f ? -87.f : x;
  x = x > 88.f ? 88.f : x;
  // x = n ln 2 + r; adding 1.5 * 2^23 rounds to an integer. The coefficients
  // are those of Cephes, expf.c.
  constexpr float kRounder = 12582912.f;
  float n = (x * 1.44269504088896341f + kRounder) - kRounder;
  float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  float fraction = p * r * r + r + 1.f;
  int32_t bits = (static_cast<int32_t>(n) + 127) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof(power));
  return fraction * power;
}

/// What a cap on the scores of an attention makes of one.
inline float capScore(float score, float cap) {
  return cap * std::tanh(score / cap);
}

/// The largest of the values; minus infinity if there is none. What is not a
/// number is not larger.
float getLargest(const float *values, int64_t count);

/// Replaces values by exponential(value - shift), and returns their sum.
float exponentiate(float *values, int64_t count, float shift);

} // namespace nju

#endif // NJU_SUPPORT_EXPONENTIAL_H
