//===- HalfFloat.h - Conversions of 16-bit floats ---------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_SUPPORT_HALFFLOAT_H
#define NJU_SUPPORT_HALFFLOAT_H

#include <cstdint>
#include <cstring>

namespace nju {

/// Without branches, so that loops over it become vector code on every CPU.
inline float halfToFloat(uint16_t half) {
  // Shifted into place, the exponent is too small by 112; a product puts that
  // right and normalizes subnormals.
  uint32_t shifted = uint32_t(half & 0x7fff) << 13;
  float magnitude;
  std::memcpy(&magnitude, &shifted, 4);
  magnitude *= 0x1p112f;
  uint32_t bits;
  std::memcpy(&bits, &magnitude, 4);
  bits |= (half & 0x7c00) == 0x7c00 ? 0x7f800000u : 0u;
  bits |= uint32_t(half & 0x8000) << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

/// Rounds a finite value to nearest even. Values beyond f16 become infinite.
inline uint16_t floatToHalf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  uint32_t sign = bits >> 16 & 0x8000;
  bits &= 0x7fffffff;
  if (bits >= 0x47800000) // 65536
    return sign | 0x7c00;
  if (bits < 0x38800000) { // 2^-14: subnormal, in units of 2^-24
    float magnitude;
    std::memcpy(&magnitude, &bits, 4);
    // The addition rounds at the place of the last bit.
    magnitude += 0x1p-1f;
    std::memcpy(&bits, &magnitude, 4);
    return sign | (bits - 0x3f000000);
  }
  bits += 0xfff + (bits >> 13 & 1);
  return sign | ((bits - 0x38000000) >> 13);
}

inline float bfloatToFloat(uint16_t bfloat) {
  uint32_t bits = uint32_t(bfloat) << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

} // namespace nju

#endif // NJU_SUPPORT_HALFFLOAT_H
