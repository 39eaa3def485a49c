//===- GradientIndexing.cpp - Gradients of look-ups -----------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "GradientsImpl.h"

using namespace mlir;
using namespace nju;
using namespace nju::detail;

/// What was looked up several times gets the sum.
static LogicalResult runGather(const GradientRequest &r, GatherOp op) {
  const HostTensor &input = r.operands[0], &indices = r.operands[1];
  int64_t axis =
      op.getAxis() < 0 ? op.getAxis() + input.getRank() : int64_t(op.getAxis());
  int64_t outer = 1, inner = 1, dim = input.getDim(axis);
  for (int64_t i = 0; i < input.getRank(); ++i)
    (i < axis ? outer : inner) *= i == axis ? 1 : input.getDim(i);
  int64_t count = indices.getNumElements();
  const float *g = r.incoming();
  float *target = r.target(0);
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t i = 0; i < count; ++i) {
      int64_t index = indices.getInt(i);
      index += index < 0 ? dim : 0;
      for (int64_t e = 0; e < inner; ++e)
        target[(o * dim + index) * inner + e] += g[(o * count + i) * inner + e];
    }
  return success();
}

GradientResult nju::detail::gradientIndexing(const GradientRequest &r) {
  if (auto op = dyn_cast<GatherOp>(r.op))
    return runGather(r, op);
  return std::nullopt;
}
