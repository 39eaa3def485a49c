//===- GradientMatMul.cpp - Gradients of matrix products ------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "EvaluatorImpl.h"
#include "GradientsImpl.h"
#include "nju/Support/MatrixProduct.h"

using namespace mlir;
using namespace nju;
using namespace nju::detail;

/// dA = G B', dB = A' G, for each matrix of the batch.
static LogicalResult runMatMul(const GradientRequest &r) {
  SmallVector<int64_t> lhs(r.operands[0].getShape()),
      rhs(r.operands[1].getShape()), batch(r.result.getShape());
  // A row or a column lacks a dimension here and in the result.
  if (rhs.size() == 1)
    rhs.push_back(1);
  else
    batch.pop_back();
  if (lhs.size() == 1)
    lhs.insert(lhs.begin(), 1);
  else
    batch.pop_back();
  int64_t m = lhs[lhs.size() - 2], k = lhs.back(), n = rhs.back();
  SmallVector<int64_t> strides[2] = {
      broadcastStrides(ArrayRef<int64_t>(lhs).drop_back(2), batch),
      broadcastStrides(ArrayRef<int64_t>(rhs).drop_back(2), batch)};
  // One more loop, since forEachRow leaves the last one to its body.
  batch.push_back(1);
  for (auto &own : strides)
    own.push_back(0);
  const float *a = r.operand(0), *b = r.operand(1), *g = r.incoming();
  float *da = r.target(0), *db = r.target(1);
  forEachRow(batch, strides, [&](ArrayRef<int64_t> offsets) {
    int64_t atA = offsets[0] * m * k, atB = offsets[1] * k * n;
    if (da)
      multiplyMatrices(m, k, n, {g, n}, {b + atB, 1, n}, da + atA, k,
                       ProductMode::Add);
    if (db)
      multiplyMatrices(k, n, m, {a + atA, 1, k}, {g, n}, db + atB, n,
                       ProductMode::Add);
    g += m * n;
  });
  return success();
}

GradientResult nju::detail::gradientMatMul(const GradientRequest &r) {
  if (isa<MatMulOp>(r.op))
    return runMatMul(r);
  return std::nullopt;
}
