//===- EvaluateExperts.cpp - Evaluates mixtures of experts -*- C++ -*-===//
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

namespace {
/// Sizes of the product of a token's choice.
struct Sizes {
  int64_t depth, columns;
};
} // namespace

/// Calls `multiply(x, expert, y)` for each choice: a row of the input, the
/// operand that is the expert's weight, and a row of the result.
template <typename OpTy>
static EvalResult evaluateChosen(
    const Evaluation &e, OpTy op, Sizes sizes,
    llvm::function_ref<void(const float *, size_t, float *)> multiply) {
  const HostTensor &x = e.operands[0], &choices = e.operands[1];
  int64_t tokens = choices.getDim(0), count = choices.getDim(1);
  if (x.getDim(0) != tokens || x.getShape().back() != sizes.depth ||
      (x.getRank() == 3 && x.getDim(1) != count))
    return e.fail("cannot multiply " + toString(x) + " for choices " +
                  toString(choices));
  EvalResult result = e.allocate(Float32Type::get(e.op->getContext()),
                                 {tokens, count, sizes.columns});
  if (failed(result))
    return result;
  const float *from = x.elements<float>().data();
  float *to = result->mutableElements<float>().data();
  int64_t perRow = x.getRank() == 3 ? 1 : count;
  for (int64_t i = 0; i < tokens * count; ++i) {
    int64_t expert = choices.getInt(i);
    if (expert < 0 || expert >= static_cast<int64_t>(op.getWeights().size()))
      return e.fail("choice " + llvm::Twine(expert) + " is none of " +
                    llvm::Twine(op.getWeights().size()) + " experts");
    multiply(from + i / perRow * sizes.depth, 2 + expert,
             to + i * sizes.columns);
  }
  return result;
}

static EvalResult evaluate(const Evaluation &e, ExpertMatMulOp op) {
  const HostTensor &first = e.operands[2];
  Sizes sizes{first.getDim(0), first.getDim(1)};
  Type f64 = Float64Type::get(e.op->getContext());
  llvm::SmallVector<HostTensor> weights;
  for (const HostTensor &weight : e.operands.drop_front(2))
    weights.push_back(weight.converted(f64));
  return evaluateChosen(
      e, op, sizes, [&](const float *x, size_t operand, float *y) {
        const double *w = weights[operand - 2].elements<double>().data();
        llvm::SmallVector<double> sums(sizes.columns, 0.0);
        for (int64_t k = 0; k < sizes.depth; ++k)
          for (int64_t n = 0; n < sizes.columns; ++n)
            sums[n] += x[k] * w[k * sizes.columns + n];
        llvm::copy(sums, y);
      });
}

static EvalResult evaluate(const Evaluation &e, ExpertLinearOp op) {
  if (op.getFormat())
    return e.fail("quantized weights are not evaluated");
  Type f32 = Float32Type::get(e.op->getContext());
  llvm::SmallVector<HostTensor> weights;
  for (const HostTensor &weight : e.operands.drop_front(2))
    weights.push_back(weight.converted(f32));
  int64_t width = weights[0].getDim(2);
  Sizes sizes{weights[0].getDim(1), op.getType().getShape().back()};
  return evaluateChosen(
      e, op, sizes, [&](const float *x, size_t operand, float *y) {
        const float *panels = weights[operand - 2].elements<float>().data();
        for (int64_t n = 0; n < sizes.columns; ++n) {
          const float *panel = panels + n / width * sizes.depth * width;
          y[n] = 0;
          for (int64_t k = 0; k < sizes.depth; ++k)
            y[n] = std::fma(x[k], panel[k * width + n % width], y[n]);
        }
      });
}

std::optional<EvalResult> nju::detail::evaluateExperts(const Evaluation &e) {
  if (auto op = dyn_cast<ExpertMatMulOp>(e.op))
    return evaluate(e, op);
  if (auto op = dyn_cast<ExpertLinearOp>(e.op))
    return evaluate(e, op);
  return std::nullopt;
}
