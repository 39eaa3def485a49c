//===- WeightRows.cpp - Rows of a matrix to be quantized ------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Quantization/WeightRows.h"

#include "nju/Support/HalfFloat.h"
#include <algorithm>
#include <cassert>

using namespace nju::lcq;

/// Copies rows in blocks of columns: whichever elements lie side by side in the
/// source, both sides stay in the first cache.
template <typename T, typename Convert>
static void copyRows(const T *data, int64_t rows, int64_t columns,
                     int64_t rowStride, int64_t columnStride, float *out,
                     Convert convert) {
  constexpr int64_t kBlock = 16;
  if (columnStride == 1) {
    for (int64_t n = 0; n < rows; ++n)
      for (int64_t j = 0; j < columns; ++j)
        out[n * columns + j] = convert(data[n * rowStride + j]);
    return;
  }
  for (int64_t begin = 0; begin < columns; begin += kBlock) {
    int64_t end = std::min(columns, begin + kBlock);
    for (int64_t n = 0; n < rows; ++n)
      for (int64_t j = begin; j < end; ++j)
        out[n * columns + j] = convert(data[n * rowStride + j * columnStride]);
  }
}

llvm::Error StridedWeights::read(int64_t begin, int64_t end,
                                 llvm::MutableArrayRef<float> out) const {
  assert(int64_t(out.size()) == (end - begin) * getColumns() &&
         "expected room for the rows");
  auto copy = [&](auto *elements, auto convert) {
    copyRows(elements + begin * rowStride, end - begin, getColumns(), rowStride,
             columnStride, out.data(), convert);
  };
  switch (type) {
  case WeightType::F32:
    copy(static_cast<const float *>(data), [](float value) { return value; });
    break;
  case WeightType::F16:
    copy(static_cast<const uint16_t *>(data),
         [](uint16_t value) { return halfToFloat(value); });
    break;
  case WeightType::BF16:
    copy(static_cast<const uint16_t *>(data),
         [](uint16_t value) { return bfloatToFloat(value); });
    break;
  }
  return llvm::Error::success();
}
