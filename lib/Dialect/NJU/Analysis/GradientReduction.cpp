//===- GradientReduction.cpp - Gradients of reductions --------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "EvaluatorImpl.h"
#include "GradientsImpl.h"
#include <cmath>

using namespace mlir;
using namespace nju;
using namespace nju::detail;

/// dx = y (g - sum g y); of the logarithm dx = g - exp(y) sum g.
static LogicalResult runSoftmax(const GradientRequest &r, SoftmaxOp op) {
  ArrayRef<int64_t> shape = r.result.getShape();
  int64_t axis = op.getAxis() < 0 ? op.getAxis() + r.result.getRank()
                                  : int64_t(op.getAxis());
  int64_t stride = rowMajorStrides(shape)[axis], size = shape[axis];
  const float *y = r.output(), *g = r.incoming();
  float *to = r.target(0);
  int64_t rows = size ? r.result.getNumElements() / size : 0;
  for (int64_t row = 0; row < rows; ++row) {
    int64_t at = row / stride * stride * size + row % stride;
    double sum = 0;
    for (int64_t i = 0; i < size; ++i)
      sum += double(g[at + i * stride]) *
             (op.getLog() ? 1. : double(y[at + i * stride]));
    for (int64_t i = 0; i < size; ++i) {
      int64_t index = at + i * stride;
      to[index] = op.getLog() ? g[index] - std::exp(y[index]) * float(sum)
                              : y[index] * (g[index] - float(sum));
    }
  }
  return success();
}

/// Each element gets the gradient of its sum, times `factor`.
static LogicalResult runSum(const GradientRequest &r, ArrayRef<int64_t> axes,
                            bool isMean) {
  SmallVector<int64_t> shape(r.operands[0].getShape()), kept(shape);
  double factor = 1;
  for (int64_t axis : axes) {
    kept[axis] = 1;
    factor *= isMean ? double(shape[axis]) : 1;
  }
  SmallVector<int64_t> strides[2] = {broadcastStrides(kept, shape),
                                     rowMajorStrides(shape)};
  collapseLoops(shape, strides);
  const float *g = r.incoming();
  float *to = r.target(0);
  forEachRow(shape, strides, [&](ArrayRef<int64_t> offsets) {
    for (int64_t i = 0; i < shape.back(); ++i)
      to[offsets[1] + i * strides[1].back()] =
          float(g[offsets[0] + i * strides[0].back()] / factor);
  });
  return success();
}

GradientResult nju::detail::gradientReduction(const GradientRequest &r) {
  if (auto op = dyn_cast<SoftmaxOp>(r.op))
    return runSoftmax(r, op);
  if (auto op = dyn_cast<ReduceSumOp>(r.op))
    return runSum(r, op.getAxes(), false);
  if (auto op = dyn_cast<ReduceMeanOp>(r.op))
    return runSum(r, op.getAxes(), true);
  return std::nullopt;
}
