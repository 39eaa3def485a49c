//===- Losses.cpp - What refinement minimizes -----------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Losses.h"

#include "nju/Support/Exponential.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/Parallel.h"
#include <cassert>
#include <cmath>
#include <vector>

using llvm::ArrayRef;

double nju::getSquaredError(ArrayRef<float> targets, ArrayRef<float> values,
                            double factor, float *gradient) {
  assert(targets.size() == values.size() && "expected a target for each value");
  double loss = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    double error = double(values[i]) - targets[i];
    loss += error * error;
    if (gradient)
      gradient[i] = float(2 * factor * error);
  }
  return loss;
}

/// softmax(row), and the logarithm of what its exponentials were divided by.
static double makeProbabilities(const float *row, int64_t columns,
                                std::vector<float> &result) {
  result.assign(row, row + columns);
  float largest = nju::getLargest(row, columns);
  float sum = nju::exponentiate(result.data(), columns, largest);
  for (float &value : result)
    value /= sum;
  return largest + std::log(double(sum));
}

static double getRowDivergence(const float *targets, const float *values,
                               int64_t columns, double factor,
                               float *gradient) {
  std::vector<float> p, q;
  double targetSum = makeProbabilities(targets, columns, p),
         valueSum = makeProbabilities(values, columns, q), loss = 0;
  for (int64_t i = 0; i < columns; ++i) {
    // A logit of minus infinity has no part in it.
    if (!std::isinf(targets[i]))
      loss += p[i] * (targets[i] - targetSum - (values[i] - valueSum));
    if (gradient)
      gradient[i] = float(factor * (double(q[i]) - p[i]));
  }
  return loss;
}

double nju::getDivergence(ArrayRef<float> targets, ArrayRef<float> values,
                          int64_t columns, double factor, float *gradient) {
  assert(targets.size() == values.size() && "expected a target for each value");
  int64_t rows = columns > 0 ? int64_t(values.size()) / columns : 0;
  std::vector<double> losses(rows);
  constexpr int64_t kRowBlock = 64;
  llvm::parallelFor(0, llvm::divideCeil(rows, kRowBlock), [&](size_t block) {
    int64_t end = std::min<int64_t>(rows, (block + 1) * kRowBlock);
    for (int64_t row = block * kRowBlock; row < end; ++row)
      losses[row] = getRowDivergence(
          targets.data() + row * columns, values.data() + row * columns,
          columns, factor, gradient ? gradient + row * columns : nullptr);
  });
  double loss = 0;
  for (double own : losses)
    loss += own;
  return loss;
}
