//===- HostElements.h - Element types of host tensors -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_DIALECT_NJU_ANALYSIS_HOSTELEMENTS_H
#define NJU_LIB_DIALECT_NJU_ANALYSIS_HOSTELEMENTS_H

#include "mlir/IR/BuiltinTypes.h"
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

namespace nju::detail {

template <typename To, typename From>
To bitCast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

/// `value` as the float beside it whose last bit is 1, unless it is a float:
/// rounding that to fewer bits equals rounding `value` at once.
/// Source: Boldo and Melquiond, "When double rounding is odd", section 3.
inline float roundToOdd(double value) {
  float nearest = static_cast<float>(value);
  if (static_cast<double>(nearest) == value || std::isnan(value))
    return nearest;
  uint32_t bits = bitCast<uint32_t>(nearest);
  if (std::abs(static_cast<double>(nearest)) > std::abs(value))
    --bits;
  return bitCast<float>(bits | 1);
}

/// IEEE 754 binary16.
struct Half {
  uint16_t bits = 0;
  Half() = default;
  explicit Half(double value) : Half(roundToOdd(value)) {}
  explicit Half(float value) {
    uint32_t all = bitCast<uint32_t>(value), sign = (all >> 16) & 0x8000;
    uint32_t size = all & 0x7fffffff;
    if (size > 0x7f800000) // NaN
      bits = sign | 0x7e00;
    else if (size >= 0x47800000) // 65536 and above
      bits = sign | 0x7c00;
    else if (size < 0x38800000) // Subnormal: the addition of 1/2 rounds.
      bits = sign | (bitCast<uint32_t>(bitCast<float>(size) + 0.5f) -
                     bitCast<uint32_t>(0.5f));
    else
      bits = sign | ((size - 0x38000000 + 0xfff + ((size >> 13) & 1)) >> 13);
  }
  explicit operator float() const {
    uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
    uint32_t exponent = (bits >> 10) & 0x1f, fraction = bits & 0x3ff;
    if (exponent == 0x1f)
      return bitCast<float>(sign | 0x7f800000 | (fraction << 13));
    if (exponent == 0) {
      float size = static_cast<float>(fraction) * 0x1p-24f;
      return sign ? -size : size;
    }
    return bitCast<float>(sign | ((exponent + 112) << 23) | (fraction << 13));
  }
};

/// The upper half of an IEEE 754 binary32.
struct BFloat {
  uint16_t bits = 0;
  BFloat() = default;
  explicit BFloat(double value) : BFloat(roundToOdd(value)) {}
  explicit BFloat(float value) {
    uint32_t all = bitCast<uint32_t>(value);
    bits = std::isnan(value) ? ((all >> 16) & 0x8000) | 0x7fc0
                             : (all + 0x7fff + ((all >> 16) & 1)) >> 16;
  }
  explicit operator float() const {
    return bitCast<float>(static_cast<uint32_t>(bits) << 16);
  }
};

template <typename T>
constexpr bool isSmallFloat =
    std::is_same_v<T, Half> || std::is_same_v<T, BFloat>;

/// One element as `nju.cast` converts it.
template <typename To, typename From>
To convertElement(From from) {
  if constexpr (isSmallFloat<From>) {
    return convertElement<To>(static_cast<float>(from));
  } else if constexpr (std::is_same_v<To, bool>) {
    return from != From(0);
  } else if constexpr (isSmallFloat<To>) {
    if constexpr (std::is_same_v<From, float>)
      return To(from);
    else
      return To(static_cast<double>(from));
  } else if constexpr (std::is_integral_v<To> &&
                       std::is_floating_point_v<From>) {
    // The bounds are powers of two, which a float holds exactly.
    constexpr From low = static_cast<From>(std::numeric_limits<To>::min());
    constexpr int bits = std::numeric_limits<To>::digits;
    if (std::isnan(from))
      return 0;
    if (from <= low)
      return std::numeric_limits<To>::min();
    if (from >= std::ldexp(From(1), bits))
      return std::numeric_limits<To>::max();
    return static_cast<To>(from);
  } else {
    return static_cast<To>(from);
  }
}

/// Calls `f` with a value of the storage type of the element type, which must
/// be one that HostTensor holds.
template <typename F>
decltype(auto) visitElementType(mlir::Type type, F &&f) {
  if (type.isF32())
    return f(float());
  if (type.isF64())
    return f(double());
  if (type.isF16())
    return f(Half());
  if (type.isBF16())
    return f(BFloat());
  bool isUnsigned = type.isUnsignedInteger();
  switch (type.getIntOrFloatBitWidth()) {
  case 1:
    return f(bool());
  case 8:
    return isUnsigned ? f(uint8_t()) : f(int8_t());
  case 16:
    return isUnsigned ? f(uint16_t()) : f(int16_t());
  case 32:
    return isUnsigned ? f(uint32_t()) : f(int32_t());
  default:
    return isUnsigned ? f(uint64_t()) : f(int64_t());
  }
}

} // namespace nju::detail

#endif // NJU_LIB_DIALECT_NJU_ANALYSIS_HOSTELEMENTS_H
