//===- WeightConversion.cpp - Rearranges and converts weights -------*- C++
//-*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "WeightConversion.h"
#include "mlir/IR/BuiltinTypes.h"
#include "llvm/ADT/SmallVector.h"
#include <algorithm>
#include <cstring>
#include <vector>

using namespace mlir;

//===----------------------------------------------------------------------===//
// Element types
//===----------------------------------------------------------------------===//

template <typename To, typename From>
static To bitCast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

static float fromHalf(uint16_t half) {
  uint32_t sign = uint32_t(half & 0x8000) << 16;
  uint32_t exponent = half >> 10 & 31, fraction = half & 1023;
  if (exponent == 31) // Infinity and NaN.
    return bitCast<float>(sign | 0x7f800000 | fraction << 13);
  if (exponent == 0) // Zero and subnormal numbers: fraction * 2^-24.
    return bitCast<float>(sign | bitCast<uint32_t>(fraction * 0x1p-24f));
  return bitCast<float>(sign | (exponent + 112) << 23 | fraction << 13);
}

/// `bits` shifted right by `shift`, rounded to nearest even.
static uint32_t shiftRounded(uint32_t bits, int shift) {
  uint32_t half = 1u << (shift - 1);
  uint32_t odd = bits >> shift & 1;
  return (bits + half - 1 + odd) >> shift;
}

static uint16_t toHalf(float value) {
  uint32_t bits = bitCast<uint32_t>(value);
  uint16_t sign = bits >> 16 & 0x8000;
  bits &= 0x7fffffff;
  if (bits > 0x7f800000)
    return sign | 0x7e00 | (bits >> 13 & 0x1ff);
  if (bits >= 0x47800000) // 65536 and more.
    return sign | 0x7c00;
  if (bits >= 0x38800000) // Normal; a carry may make it infinite, rightly.
    return sign | shiftRounded(bits - 0x38000000, 13);
  int shift = 126 - (bits >> 23);
  if (shift > 24)
    return sign;
  return sign | shiftRounded((bits & 0x7fffff) | 0x800000, shift);
}

static float fromBFloat(uint16_t value) {
  return bitCast<float>(uint32_t(value) << 16);
}

static uint16_t toBFloat(float value) {
  uint32_t bits = bitCast<uint32_t>(value);
  if ((bits & 0x7fffffff) > 0x7f800000)
    return bits >> 16 | 0x40;
  return shiftRounded(bits, 16);
}

/// f16 to f32 by look-up, since baseline x86-64 has no instruction for it.
static const float *halfTable() {
  static const std::vector<float> table = [] {
    std::vector<float> values(65536);
    for (uint32_t i = 0; i < 65536; ++i)
      values[i] = fromHalf(i);
    return values;
  }();
  return table.data();
}

template <typename From, typename To, typename Function>
static void map(const void *from, void *to, int64_t count, Function function) {
  auto *source = static_cast<const From *>(from);
  auto *target = static_cast<To *>(to);
  for (int64_t i = 0; i < count; ++i)
    target[i] = function(source[i]);
}

/// Widens to double in `apply`'s argument, by source type; false if it is no
/// float type.
template <typename To, typename Function>
static bool fromAny(const void *from, Type type, void *to, int64_t count,
                    Function narrow) {
  if (type.isF32())
    map<float, To>(from, to, count, [&](float x) { return narrow(x); });
  else if (type.isF64())
    map<double, To>(from, to, count, [&](double x) { return narrow(x); });
  else if (type.isF16())
    map<uint16_t, To>(from, to, count, [&, table = halfTable()](uint16_t x) {
      return narrow(table[x]);
    });
  else if (type.isBF16())
    map<uint16_t, To>(from, to, count,
                      [&](uint16_t x) { return narrow(fromBFloat(x)); });
  else
    return false;
  return true;
}

/// Rounds a double to the nearest odd float if it is inexact, so that a second
/// rounding to fewer bits gives what one rounding would.
static float roundToOdd(double value) {
  float nearest = static_cast<float>(value);
  if (nearest == value || nearest != nearest)
    return nearest;
  uint32_t bits = bitCast<uint32_t>(nearest);
  if (bits & 1)
    return nearest;
  bool above = (nearest > value) == (value > 0);
  return bitCast<float>(above ? bits - 1 : bits + 1);
}
static float roundToOdd(float value) { return value; }

bool nju::convertElements(const void *from, Type fromType, void *to,
                          Type toType, int64_t count) {
  if (fromType == toType) {
    int64_t bits = fromType.isIndex() ? 64 : fromType.getIntOrFloatBitWidth();
    std::memcpy(to, from, count * ((bits + 7) / 8));
    return true;
  }
  if (toType.isF32())
    return fromAny<float>(from, fromType, to, count,
                          [](auto x) { return static_cast<float>(x); });
  if (toType.isF64())
    return fromAny<double>(from, fromType, to, count,
                           [](auto x) { return static_cast<double>(x); });
  if (toType.isF16())
    return fromAny<uint16_t>(from, fromType, to, count,
                             [](auto x) { return toHalf(roundToOdd(x)); });
  if (toType.isBF16())
    return fromAny<uint16_t>(from, fromType, to, count,
                             [](auto x) { return toBFloat(roundToOdd(x)); });
  return false;
}

//===----------------------------------------------------------------------===//
// Order of elements
//===----------------------------------------------------------------------===//

/// Calls `function` with a null pointer of the unsigned type of `width` bytes.
template <typename Function>
static void dispatch(int64_t width, Function function) {
  switch (width) {
  case 1:
    return function(static_cast<uint8_t *>(nullptr));
  case 2:
    return function(static_cast<uint16_t *>(nullptr));
  case 4:
    return function(static_cast<uint32_t *>(nullptr));
  default:
    return function(static_cast<uint64_t *>(nullptr));
  }
}

template <typename T>
static void permuteElements(const T *from, ArrayRef<int64_t> sizes,
                            ArrayRef<int64_t> strides, T *to) {
  if (sizes.empty()) {
    *to = *from;
    return;
  }
  if (sizes.size() == 1) {
    for (int64_t i = 0; i < sizes[0]; ++i)
      to[i] = from[i * strides[0]];
    return;
  }
  int64_t inner = 1;
  for (int64_t size : sizes.drop_front())
    inner *= size;
  for (int64_t i = 0; i < sizes[0]; ++i)
    permuteElements(from + i * strides[0], sizes.drop_front(),
                    strides.drop_front(), to + i * inner);
}

void nju::permute(const void *from, ArrayRef<int64_t> shape,
                  ArrayRef<int64_t> permutation, void *to, int64_t width) {
  llvm::SmallVector<int64_t> strides(shape.size(), 1), sizes, order;
  for (int64_t i = int64_t(shape.size()) - 2; i >= 0; --i)
    strides[i] = strides[i + 1] * shape[i + 1];
  for (int64_t dimension : permutation) {
    sizes.push_back(shape[dimension]);
    order.push_back(strides[dimension]);
  }
  dispatch(width, [&](auto *null) {
    using T = std::remove_pointer_t<decltype(null)>;
    permuteElements(static_cast<const T *>(from), sizes, order,
                    static_cast<T *>(to));
  });
}

/// One panel of `columns` columns.
template <typename T>
static void packPanel(const T *from, int64_t depth, int64_t columns,
                      int64_t depthStride, int64_t columnStride, int64_t panel,
                      T *to) {
  if (columnStride == 1) {
    for (int64_t k = 0; k < depth; ++k, to += panel) {
      std::copy_n(from + k * depthStride, columns, to);
      std::fill(to + columns, to + panel, T(0));
    }
    return;
  }
  // A transpose: in blocks whose lines stay in the first-level cache.
  constexpr int64_t block = 64;
  for (int64_t k0 = 0; k0 < depth; k0 += block) {
    int64_t k1 = std::min(depth, k0 + block);
    for (int64_t n = 0; n < columns; ++n)
      for (int64_t k = k0; k < k1; ++k)
        to[k * panel + n] = from[k * depthStride + n * columnStride];
    for (int64_t k = k0; k < k1; ++k)
      std::fill(to + k * panel + columns, to + (k + 1) * panel, T(0));
  }
}

void nju::packPanels(const void *from, int64_t depth, int64_t columns,
                     int64_t depthStride, int64_t columnStride, int64_t panel,
                     void *to, int64_t width) {
  dispatch(width, [&](auto *null) {
    using T = std::remove_pointer_t<decltype(null)>;
    for (int64_t n = 0; n < columns; n += panel)
      packPanel(static_cast<const T *>(from) + n * columnStride, depth,
                std::min(panel, columns - n), depthStride, columnStride, panel,
                static_cast<T *>(to) + n * depth);
  });
}
