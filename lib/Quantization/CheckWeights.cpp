//===- CheckWeights.cpp - Finds weights that are not finite ---------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "CheckWeights.h"

#include "llvm/ADT/Twine.h"
#include <cmath>
#include <cstring>

using llvm::Twine;

int64_t nju::lcq::findNotFinite(llvm::ArrayRef<float> values) {
  // Without a branch, so that this becomes vector code.
  bool found = false;
  for (float value : values) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    found |= (bits & 0x7f800000) == 0x7f800000;
  }
  if (!found)
    return -1;
  for (size_t i = 0; i < values.size(); ++i)
    if (!std::isfinite(values[i]))
      return i;
  return -1;
}

llvm::Error nju::lcq::checkFinite(llvm::ArrayRef<float> values,
                                  int64_t firstRow, int64_t columns) {
  int64_t index = findNotFinite(values);
  if (index < 0)
    return llvm::Error::success();
  const char *what = std::isnan(values[index]) ? "NaN" : "infinite";
  return llvm::createStringError(
      "weight in row " + Twine(firstRow + index / columns) + ", column " +
      Twine(index % columns) + " is " + what + ", expected finite weights");
}

llvm::Error nju::lcq::checkShape(int64_t rows, int64_t columns) {
  if (rows > 0 && columns > 0)
    return llvm::Error::success();
  return llvm::createStringError("matrix of " + Twine(rows) + " rows and " +
                                 Twine(columns) +
                                 " columns has no weights to quantize");
}
