//===- Normalization.cpp - Normalizations of large tensors ----------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ExecuteImpl.h"
#include <cmath>

using namespace mlir;
using namespace nju;
using namespace nju::detail;

/// One row: (x - mean) / sqrt(var + epsilon) * weight + bias; `bias` may be
/// null, and without `centers` the mean is taken for zero.
static void normalizeRow(const float *x, int64_t width, bool centers,
                         double epsilon, const float *weight, const float *bias,
                         float *y) {
  double sum = 0, squares = 0;
  if (centers)
    for (int64_t i = 0; i < width; ++i)
      sum += x[i];
  float mean = static_cast<float>(sum / width);
  for (int64_t i = 0; i < width; ++i) {
    double difference = x[i] - mean;
    squares += difference * difference;
  }
  auto scale = static_cast<float>(1 / std::sqrt(squares / width + epsilon));
  for (int64_t i = 0; i < width; ++i)
    y[i] = (x[i] - mean) * scale * weight[i] + (bias ? bias[i] : 0.f);
}

std::optional<HostTensor>
nju::detail::executeNormalization(Operation *op, ArrayRef<HostTensor> x) {
  auto rms = dyn_cast<RMSNormOp>(op);
  auto layer = dyn_cast<LayerNormOp>(op);
  if ((!rms && !layer) || !areFloats(x) || x[0].getRank() == 0)
    return std::nullopt;
  int64_t width = x[0].getShape().back();
  for (const HostTensor &scale : x.drop_front())
    if (scale.getRank() != 1 || scale.getDim(0) != width)
      return std::nullopt;
  double epsilon =
      (rms ? rms.getEpsilon() : layer.getEpsilon()).convertToDouble();
  HostTensor result =
      HostTensor::uninitialized(x[0].getElementType(), x[0].getShape());
  const float *from = x[0].elements<float>().data();
  const float *weight = x[1].elements<float>().data();
  const float *bias = x.size() > 2 ? x[2].elements<float>().data() : nullptr;
  float *to = result.mutableElements<float>().data();
  forEachPiece(x[0].getNumElements() / width, getRowsPerPiece(width),
               [&](int64_t begin, int64_t end) {
                 for (int64_t row = begin; row < end; ++row)
                   normalizeRow(from + row * width, width, bool(layer), epsilon,
                                weight, bias, to + row * width);
               });
  return result;
}
