//===- GradientNormalization.cpp - Gradients of normalizations ------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "GradientsImpl.h"
#include <cmath>

using namespace mlir;
using namespace nju;
using namespace nju::detail;

/// With c = x - mean (of RMS norm: x), r = 1 / sqrt(mean(c^2) + epsilon) and
/// h = g weight: dx = r (h - mean(h) - c r^2 mean(h c)); of RMS norm without
/// the second term.
static void runRow(const float *x, const float *weight, const float *g,
                   double epsilon, bool isCentered, int64_t size, float *to) {
  double mean = 0, squares = 0, sum = 0, products = 0;
  for (int64_t i = 0; isCentered && i < size; ++i)
    mean += x[i];
  mean /= double(size);
  for (int64_t i = 0; i < size; ++i) {
    double c = x[i] - mean, h = double(g[i]) * weight[i];
    squares += c * c;
    sum += h;
    products += h * c;
  }
  double r = 1 / std::sqrt(squares / double(size) + epsilon);
  double shift = isCentered ? sum / double(size) : 0;
  double slope = r * r * products / double(size);
  for (int64_t i = 0; i < size; ++i)
    to[i] =
        float(r * (double(g[i]) * weight[i] - shift - (x[i] - mean) * slope));
}

static LogicalResult runRows(const GradientRequest &r, double epsilon,
                             bool isCentered) {
  int64_t size = r.operands[0].getShape().back();
  int64_t rows = size ? r.gradient.getNumElements() / size : 0;
  HostTensor weight = r.operands[1].converted(r.gradient.getElementType());
  for (int64_t row = 0; row < rows; ++row)
    runRow(r.operand(0) + row * size, weight.elements<float>().data(),
           r.incoming() + row * size, epsilon, isCentered, size,
           r.target(0) + row * size);
  return success();
}

GradientResult nju::detail::gradientNormalization(const GradientRequest &r) {
  if (auto op = dyn_cast<RMSNormOp>(r.op))
    return runRows(r, op.getEpsilon().convertToDouble(), false);
  if (auto op = dyn_cast<LayerNormOp>(r.op))
    return runRows(r, op.getEpsilon().convertToDouble(), true);
  return std::nullopt;
}
