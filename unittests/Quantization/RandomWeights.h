//===- RandomWeights.h - Weights for tests ----------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_UNITTESTS_QUANTIZATION_RANDOMWEIGHTS_H
#define NJU_UNITTESTS_QUANTIZATION_RANDOMWEIGHTS_H

#include "../ExpectValue.h"
#include "nju/Quantization/QuantizedMatrix.h"
#include "nju/Quantization/WeightRows.h"
#include "gtest/gtest.h"
#include <cmath>
#include <random>
#include <vector>

namespace nju::lcq {

using nju::expectValue;

/// The same normal numbers on every machine (the standard leaves open how
/// std::normal_distribution makes them).
inline std::vector<float> makeNormal(int64_t count, unsigned seed,
                                     double deviation = 1) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float &value : values) {
    double u = (random() + 1.0) / 4294967297.0, v = random() / 4294967296.0;
    value = deviation * std::sqrt(-2 * std::log(u)) * std::cos(2 * M_PI * v);
  }
  return values;
}

/// |a - b| / |a|, Frobenius norms.
inline double getRelativeError(llvm::ArrayRef<float> a,
                               llvm::ArrayRef<float> b) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    error += (double(a[i]) - b[i]) * (double(a[i]) - b[i]);
    norm += double(a[i]) * a[i];
  }
  return std::sqrt(error / norm);
}

inline StridedWeights makeRows(const std::vector<float> &weights, int64_t rows,
                               int64_t columns) {
  return StridedWeights(weights.data(), WeightType::F32, rows, columns);
}

template <typename T>
std::string expectError(llvm::Expected<T> value) {
  if (value)
    return "no error";
  return llvm::toString(value.takeError());
}

} // namespace nju::lcq

#endif // NJU_UNITTESTS_QUANTIZATION_RANDOMWEIGHTS_H
