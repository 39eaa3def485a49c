//===- EvaluateAttention.cpp - Evaluates attention and rotary embeddings -*- C++
//-*-===//
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

using Shape = llvm::SmallVector<int64_t>;

//===----------------------------------------------------------------------===//
// Rotary embeddings
//===----------------------------------------------------------------------===//

static void rotateRow(const double *x, const double *cos, const double *sin,
                      double *y, int64_t width, bool interleaved) {
  for (int64_t i = 0; i < width / 2; ++i) {
    int64_t a = interleaved ? 2 * i : i,
            b = interleaved ? 2 * i + 1 : i + width / 2;
    y[a] = x[a] * cos[a] - x[b] * sin[a];
    y[b] = x[b] * cos[b] + x[a] * sin[b];
  }
}

static EvalResult evaluate(const Evaluation &e, RopeOp op) {
  const HostTensor &input = e.operands[0];
  Type f64 = Float64Type::get(e.op->getContext());
  int64_t width = e.operands[1].getRank() ? e.operands[1].getShape().back() : 0;
  int64_t size = input.getRank() ? input.getShape().back() : 0;
  Shape table(input.getShape());
  bool fits = width > 0 && width % 2 == 0 && width <= size &&
              e.operands[1].getShape() == e.operands[2].getShape();
  if (fits) {
    table.back() = width;
    auto shape = broadcastShapes({e.operands[1].getShape(), table});
    fits = shape && *shape == table;
  }
  if (!fits)
    return e.fail("cannot rotate " + toString(input) + " by " +
                  toString(e.operands[1]));
  EvalResult cos = broadcastTensor(e, e.operands[1].converted(f64), table),
             sin = broadcastTensor(e, e.operands[2].converted(f64), table),
             result = e.allocate(f64, input.getShape());
  if (failed(cos) || failed(sin) || failed(result))
    return failure();
  HostTensor x = input.converted(f64);
  std::memcpy(result->mutableBytes(), x.bytes(), x.getNumBytes());
  for (int64_t row = 0, rows = x.getNumElements() / size; row < rows; ++row)
    rotateRow(x.elements<double>().data() + row * size,
              cos->elements<double>().data() + row * width,
              sin->elements<double>().data() + row * width,
              result->mutableElements<double>().data() + row * size, width,
              op.getInterleaved());
  return result->converted(input.getElementType());
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

namespace {
/// Sizes of one attention: see nju.attention.
struct Sizes {
  int64_t batch, heads, groups, queries, keys, depth, valueDepth;
};
} // namespace

static std::optional<Sizes> attentionSizes(ArrayRef<HostTensor> x) {
  for (int i = 0; i < 3; ++i)
    if (x[i].getRank() != 4)
      return std::nullopt;
  Sizes s{x[0].getDim(0), x[0].getDim(1), x[1].getDim(1), x[0].getDim(2),
          x[1].getDim(2), x[0].getDim(3), x[2].getDim(3)};
  bool fits = s.groups > 0 && s.heads % s.groups == 0 &&
              x[1].getShape() ==
                  ArrayRef<int64_t>({s.batch, s.groups, s.keys, s.depth}) &&
              x[2].getShape() ==
                  ArrayRef<int64_t>({s.batch, s.groups, s.keys, s.valueDepth});
  return fits ? std::optional<Sizes>(s) : std::nullopt;
}

/// One query: `scores` is room for one number a key, `mask` null or one number
/// a key; only the first `visible` keys are seen. No key gives zeros.
static void attend(const Sizes &s, const double *query, const double *keys,
                   const double *values, const double *mask, double scale,
                   int64_t visible, llvm::MutableArrayRef<double> scores,
                   double *result) {
  double largest = -std::numeric_limits<double>::infinity(), sum = 0;
  for (int64_t j = 0; j < visible; ++j) {
    double score = 0;
    for (int64_t d = 0; d < s.depth; ++d)
      score += query[d] * keys[j * s.depth + d];
    scores[j] = score * scale + (mask ? mask[j] : 0.0);
    largest = std::max(largest, scores[j]);
  }
  std::fill(result, result + s.valueDepth, 0.0);
  if (largest == -std::numeric_limits<double>::infinity())
    return;
  for (int64_t j = 0; j < visible; ++j) {
    double weight = std::exp(scores[j] - largest);
    sum += weight;
    for (int64_t d = 0; d < s.valueDepth; ++d)
      result[d] += weight * values[j * s.valueDepth + d];
  }
  for (int64_t d = 0; d < s.valueDepth; ++d)
    result[d] /= sum;
}

static EvalResult evaluate(const Evaluation &e, AttentionOp op) {
  std::optional<Sizes> sizes = attentionSizes(e.operands);
  if (!sizes)
    return e.fail("attention of " + toString(e.operands[0]) + ", " +
                  toString(e.operands[1]) + " and " + toString(e.operands[2]) +
                  ", whose dimensions do not fit");
  const Sizes &s = *sizes;
  Type f64 = Float64Type::get(e.op->getContext());
  EvalResult result =
      e.allocate(f64, {s.batch, s.heads, s.queries, s.valueDepth});
  if (failed(result))
    return result;
  llvm::SmallVector<HostTensor> x;
  for (const HostTensor &operand : e.operands)
    x.push_back(operand.converted(f64));
  if (x.size() > 3) {
    Shape scores = {s.batch, s.heads, s.queries, s.keys};
    auto shape = broadcastShapes({x[3].getShape(), scores});
    if (!shape || *shape != scores)
      return e.fail("cannot broadcast the mask " + toString(e.operands[3]) +
                    " to the scores");
    EvalResult mask = broadcastTensor(e, x[3], scores);
    if (failed(mask))
      return mask;
    x[3] = *mask;
  }
  llvm::SmallVector<double> scores(s.keys);
  const double *query = x[0].elements<double>().data(),
               *key = x[1].elements<double>().data(),
               *value = x[2].elements<double>().data();
  double *to = result->mutableElements<double>().data();
  for (int64_t row = 0, rows = s.batch * s.heads * s.queries; row < rows;
       ++row) {
    int64_t i = row % s.queries, head = row / s.queries % s.heads,
            batch = row / s.queries / s.heads;
    int64_t group = batch * s.groups + head / (s.heads / s.groups);
    int64_t visible =
        op.getCausal()
            ? std::clamp<int64_t>(i + s.keys - s.queries + 1, 0, s.keys)
            : s.keys;
    attend(s, query + row * s.depth, key + group * s.keys * s.depth,
           value + group * s.keys * s.valueDepth,
           x.size() > 3 ? x[3].elements<double>().data() + row * s.keys
                        : nullptr,
           op.getScale().convertToDouble(), visible, scores,
           to + row * s.valueDepth);
  }
  return result->converted(e.operands[0].getElementType());
}

std::optional<EvalResult> nju::detail::evaluateAttention(const Evaluation &e) {
  if (auto op = dyn_cast<RopeOp>(e.op))
    return evaluate(e, op);
  if (auto op = dyn_cast<AttentionOp>(e.op))
    return evaluate(e, op);
  return std::nullopt;
}
