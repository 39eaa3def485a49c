//===- GradientAttention.cpp - Gradients of attention and rotary embeddings
//===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "AttentionGradient.h"
#include "EvaluatorImpl.h"
#include "GradientsImpl.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/Support/Parallel.h"

using namespace mlir;
using namespace nju;
using namespace nju::detail;

//===----------------------------------------------------------------------===//
// Rotary embeddings
//===----------------------------------------------------------------------===//

/// The transposed rotation.
static void rotateRow(const float *g, const float *cos, const float *sin,
                      float *to, int64_t width, bool interleaved) {
  for (int64_t i = 0; i < width / 2; ++i) {
    int64_t a = interleaved ? 2 * i : i,
            b = interleaved ? 2 * i + 1 : i + width / 2;
    to[a] = g[a] * cos[a] + g[b] * sin[b];
    to[b] = g[b] * cos[b] - g[a] * sin[a];
  }
}

static LogicalResult runRope(const GradientRequest &r, RopeOp op) {
  SmallVector<int64_t> shape(r.gradient.getShape());
  int64_t size = shape.back(), width = r.operands[1].getShape().back();
  float *to = r.target(0);
  std::copy_n(r.incoming(), r.gradient.getNumElements(), to);
  // Rows of the tables, broadcast; a loop over nothing for forEachRow's body.
  shape.back() = width;
  SmallVector<int64_t> strides[2] = {
      broadcastStrides(r.operands[1].getShape(), shape),
      rowMajorStrides(r.gradient.getShape())};
  if (size == 0)
    return success();
  forEachRow(shape, strides, [&](ArrayRef<int64_t> offsets) {
    rotateRow(r.incoming() + offsets[1], r.operand(1) + offsets[0],
              r.operand(2) + offsets[0], to + offsets[1], width,
              op.getInterleaved());
  });
  return success();
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

static LogicalResult runAttention(const GradientRequest &r, AttentionOp op) {
  ArrayRef<int64_t> q = r.operands[0].getShape(), v = r.operands[2].getShape();
  int64_t heads = q[1], queries = q[2], depth = q[3], groups = v[1],
          keys = v[2], valueDepth = v[3];
  SmallVector<int64_t> scores = {q[0], heads, queries, keys}, maskStrides;
  const float *mask = nullptr;
  if (r.operands.size() > 3) {
    if (!r.operands[3].getElementType().isF32())
      return r.fail("a mask that is not f32");
    mask = r.operand(3);
    maskStrides = broadcastStrides(r.operands[3].getShape(), scores);
  }
  llvm::parallelFor(0, q[0] * groups, [&](size_t at) {
    int64_t batch = int64_t(at) / groups, group = int64_t(at) % groups;
    AttentionGradient head(keys, depth, valueDepth,
                           op.getScale().convertToDouble());
    head.setKeys(r.operand(1) + at * keys * depth, depth,
                 r.operand(2) + at * keys * valueDepth, valueDepth);
    for (int64_t h = group * (heads / groups);
         h < (group + 1) * (heads / groups); ++h)
      for (int64_t i = 0; i < queries; ++i) {
        AttentionGradient::Query query;
        int64_t row = (batch * heads + h) * queries + i;
        query.end = op.getCausal()
                        ? std::clamp<int64_t>(i + keys - queries + 1, 0, keys)
                        : keys;
        query.query = r.operand(0) + row * depth;
        query.gradient = r.incoming() + row * valueDepth;
        if (mask) {
          query.bias = mask + batch * maskStrides[0] + h * maskStrides[1] +
                       i * maskStrides[2];
          query.biasStride = maskStrides[3];
        }
        query.target = r.target(0) ? r.target(0) + row * depth : nullptr;
        head.add(query);
      }
    head.write(r.target(1) ? r.target(1) + at * keys * depth : nullptr, depth,
               r.target(2) ? r.target(2) + at * keys * valueDepth : nullptr,
               valueDepth);
  });
  return success();
}

/// The tokens of each sequence, which begin at position 0.
static FailureOr<SmallVector<SmallVector<int64_t>>>
findSequences(const GradientRequest &r) {
  llvm::MapVector<int64_t, SmallVector<int64_t>> tokens;
  for (int64_t t = 0, count = r.operands[3].getNumElements(); t < count; ++t) {
    SmallVector<int64_t> &own = tokens[r.operands[4].getInt(t)];
    if (r.operands[3].getInt(t) != int64_t(own.size()))
      return r.fail("sequences whose positions are not 0, 1, 2, ...");
    own.push_back(t);
  }
  SmallVector<SmallVector<int64_t>> result;
  for (auto &[sequence, own] : tokens)
    result.push_back(std::move(own));
  return result;
}

namespace {
/// One key head of one sequence, with the query heads that use it. Its rows
/// are gathered to lie one after the other.
class SequenceGradient {
public:
  SequenceGradient(const GradientRequest &r, CachedAttentionOp op,
                   ArrayRef<int64_t> tokens, int64_t group)
      : r(r), op(op), tokens(tokens), group(group),
        heads(r.operands[0].getDim(2)), groups(r.operands[1].getDim(2)),
        depth(r.operands[0].getDim(3)) {}

  void run() {
    int64_t count = tokens.size();
    std::vector<float> keys = gather(1), values = gather(2);
    AttentionGradient head(count, depth, depth,
                           op.getScale().convertToDouble());
    if (op.getSoftcap())
      head.setSoftcap(op.getSoftcap()->convertToDouble());
    head.setKeys(keys.data(), depth, values.data(), depth);
    for (int64_t h = group * (heads / groups);
         h < (group + 1) * (heads / groups); ++h)
      addHead(head, h);
    head.write(keys.data(), depth, values.data(), depth);
    scatter(1, keys);
    scatter(2, values);
  }

private:
  void addHead(AttentionGradient &head, int64_t h) {
    std::vector<float> bias;
    for (auto [position, token] : llvm::enumerate(tokens)) {
      AttentionGradient::Query query;
      int64_t p = position, row = (token * heads + h) * depth;
      query.begin =
          op.getWindow() ? std::max<int64_t>(0, p - *op.getWindow() + 1) : 0;
      query.end = p + 1;
      if (op.getSlopes()) {
        bias.resize(p + 1);
        for (int64_t j = 0; j <= p; ++j)
          bias[j] = (*op.getSlopes())[h] * float(j - p);
        query.bias = bias.data();
        query.biasStride = 1;
      }
      query.query = r.operand(0) + row;
      query.gradient = r.incoming() + row;
      query.target = r.target(0) ? r.target(0) + row : nullptr;
      head.add(query);
    }
  }
  std::vector<float> gather(unsigned operand) const {
    std::vector<float> rows;
    for (int64_t token : tokens) {
      const float *row = r.operand(operand) + (token * groups + group) * depth;
      rows.insert(rows.end(), row, row + depth);
    }
    return rows;
  }
  void scatter(unsigned operand, const std::vector<float> &rows) const {
    if (r.target(operand))
      for (auto [i, token] : llvm::enumerate(tokens))
        std::copy_n(rows.data() + i * depth, depth,
                    r.target(operand) + (token * groups + group) * depth);
  }

  const GradientRequest &r;
  CachedAttentionOp op;
  ArrayRef<int64_t> tokens;
  int64_t group, heads, groups, depth;
};
} // namespace

static LogicalResult runCachedAttention(const GradientRequest &r,
                                        CachedAttentionOp op) {
  auto sequences = findSequences(r);
  if (failed(sequences))
    return failure();
  int64_t groups = r.operands[1].getDim(2);
  llvm::parallelFor(0, sequences->size() * groups, [&](size_t at) {
    SequenceGradient(r, op, (*sequences)[at / groups], at % groups).run();
  });
  return success();
}

GradientResult nju::detail::gradientAttention(const GradientRequest &r) {
  if (auto op = dyn_cast<RopeOp>(r.op))
    return runRope(r, op);
  if (auto op = dyn_cast<AttentionOp>(r.op))
    return runAttention(r, op);
  if (auto op = dyn_cast<CachedAttentionOp>(r.op))
    return runCachedAttention(r, op);
  return std::nullopt;
}
