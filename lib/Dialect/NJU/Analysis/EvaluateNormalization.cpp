//===- EvaluateNormalization.cpp - Evaluates normalizations -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "EvaluatorImpl.h"
#include <cmath>

using namespace mlir;
using namespace nju;
using namespace nju::detail;

/// x / sqrt(mean(x^2) + epsilon), in place.
static void normalize(llvm::MutableArrayRef<double> row, double epsilon) {
  double sum = 0;
  for (double value : row)
    sum += value * value;
  double scale = 1.0 / std::sqrt(sum / row.size() + epsilon);
  for (double &value : row)
    value *= scale;
}

static void center(llvm::MutableArrayRef<double> row) {
  double sum = 0;
  for (double value : row)
    sum += value;
  for (double &value : row)
    value -= sum / row.size();
}

std::optional<EvalResult>
nju::detail::evaluateNormalization(const Evaluation &e) {
  auto rms = dyn_cast<RMSNormOp>(e.op);
  auto layer = dyn_cast<LayerNormOp>(e.op);
  if (!rms && !layer)
    return std::nullopt;
  const HostTensor &input = e.operands[0];
  int64_t width = input.getRank() ? input.getShape().back() : 0;
  for (const HostTensor &scale : e.operands.drop_front())
    if (input.getRank() == 0 || scale.getRank() != 1 ||
        scale.getDim(0) != width)
      return e.fail("cannot scale " + toString(input) + " by " +
                    toString(scale));
  if (failed(e.checkSize(input.getElementType(), input.getShape())))
    return EvalResult(failure());

  Type f64 = Float64Type::get(e.op->getContext());
  llvm::SmallVector<HostTensor> x;
  for (const HostTensor &operand : e.operands)
    x.push_back(operand.converted(f64));
  // A copy: converted() shares the data of a tensor that is f64 already.
  HostTensor result = HostTensor::uninitialized(f64, input.getShape());
  llvm::MutableArrayRef<double> all = result.mutableElements<double>();
  llvm::copy(x[0].elements<double>(), all.begin());
  double epsilon =
      (rms ? rms.getEpsilon() : layer.getEpsilon()).convertToDouble();
  for (int64_t start = 0, size = all.size(); start < size; start += width) {
    llvm::MutableArrayRef<double> row = all.slice(start, width);
    if (layer)
      center(row);
    normalize(row, epsilon);
    for (int64_t i = 0; i < width; ++i) {
      row[i] *= x[1].elements<double>()[i];
      if (x.size() > 2)
        row[i] += x[2].elements<double>()[i];
    }
  }
  return EvalResult(result.converted(input.getElementType()));
}
