//===- Attention.cpp - Attention and rotary embeddings of large tensors ---===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ExecuteImpl.h"
#include "nju/Support/Exponential.h"
#include "nju/Support/MatrixProduct.h"
#include <cmath>

using namespace mlir;
using namespace nju;
using namespace nju::detail;

//===----------------------------------------------------------------------===//
// Rotary embeddings
//===----------------------------------------------------------------------===//

static void rotateRow(const float *x, const float *cos, const float *sin,
                      int64_t width, bool interleaved, float *y) {
  for (int64_t i = 0; i < width / 2; ++i) {
    int64_t a = interleaved ? 2 * i : i;
    int64_t b = interleaved ? 2 * i + 1 : i + width / 2;
    y[a] = x[a] * cos[a] - x[b] * sin[a];
    y[b] = x[b] * cos[b] + x[a] * sin[b];
  }
}

static std::optional<HostTensor> execute(RopeOp op, ArrayRef<HostTensor> x) {
  ArrayRef<int64_t> shape = x[0].getShape(), table = x[1].getShape();
  if (shape.empty() || table.empty() || table != x[2].getShape() ||
      table.back() > shape.back() || table.back() % 2 != 0)
    return std::nullopt;
  auto strides = getLeadingStrides(table, shape, 1);
  if (!strides)
    return std::nullopt;
  int64_t size = shape.back(), width = table.back();
  HostTensor result = HostTensor::uninitialized(x[0].getElementType(), shape);
  const float *from = x[0].elements<float>().data();
  const float *cos = x[1].elements<float>().data();
  const float *sin = x[2].elements<float>().data();
  float *to = result.mutableElements<float>().data();
  forEachPiece(x[0].getNumElements() / size, getRowsPerPiece(size),
               [&](int64_t begin, int64_t end) {
                 for (int64_t row = begin; row < end; ++row) {
                   int64_t at = getOffset(row, shape.drop_back(), *strides);
                   const float *source = from + row * size;
                   float *target = to + row * size;
                   rotateRow(source, cos + at, sin + at, width,
                             op.getInterleaved(), target);
                   std::copy(source + width, source + size, target + width);
                 }
               });
  return result;
}

//===----------------------------------------------------------------------===//
// One head
//===----------------------------------------------------------------------===//

namespace {

/// Rows in memory, `stride` apart.
template <typename T>
struct Rows {
  T *data;
  int64_t stride;
  T *operator[](int64_t index) const { return data + index * stride; }
};

/// Which keys a query sees, and what is added to its scores.
struct AttentionRule {
  /// The first query's place among the keys.
  int64_t offset = 0;
  bool causal = false;
  /// Keys that are seen, the query's own the last of them; causal only.
  int64_t window = std::numeric_limits<int64_t>::max();
  float slope = 0;
  /// What scores are capped by before anything is added; 0: by nothing.
  float softcap = 0;
  /// Addends, or null.
  const float *mask = nullptr;
  int64_t maskRowStride = 0, maskColumnStride = 0;
};

/// The attention of one head.
class HeadAttention {
public:
  HeadAttention(int64_t keys, int64_t depth, int64_t valueDepth, float scale,
                const AttentionRule &rule)
      : keys(keys), depth(depth), valueDepth(valueDepth), scale(scale),
        rule(rule), stride(llvm::alignTo(keys, kProductColumns)) {}

  void setKeys(Rows<const float> key, Rows<const float> value);
  void run(int64_t queries, Rows<const float> query, Rows<float> result);

private:
  static constexpr int64_t kQueries = 48;
  void runBlock(int64_t begin, int64_t end, Rows<const float> query,
                Rows<float> result);
  float weigh(int64_t query, float *scores, int64_t first, int64_t last) const;
  int64_t getFirst(int64_t query) const {
    int64_t place = query + rule.offset;
    return rule.causal && place >= rule.window ? place - rule.window + 1 : 0;
  }
  int64_t getEnd(int64_t query) const {
    return rule.causal ? std::clamp<int64_t>(query + rule.offset + 1, 0, keys)
                       : keys;
  }

  int64_t keys, depth, valueDepth;
  float scale;
  AttentionRule rule;
  int64_t stride; ///< Of the scores.
  /// Panels of 64 keys, [depth, 64] each, and of 64 of the values' columns,
  /// [keys, 64] each.
  std::vector<float> keyPanels, valuePanels, scores, sums;
};

} // namespace

void HeadAttention::setKeys(Rows<const float> key, Rows<const float> value) {
  keyPanels.assign(stride * depth, 0);
  for (int64_t j = 0; j < keys; ++j)
    for (int64_t d = 0; d < depth; ++d)
      keyPanels[(j / kProductColumns * depth + d) * kProductColumns +
                j % kProductColumns] = key[j][d];
  int64_t width = llvm::alignTo(valueDepth, kProductColumns);
  valuePanels.assign(width * keys, 0);
  for (int64_t j = 0; j < keys; ++j)
    for (int64_t d = 0; d < valueDepth; d += kProductColumns)
      std::copy_n(value[j] + d, std::min(kProductColumns, valueDepth - d),
                  &valuePanels[d * keys + j * kProductColumns]);
}

/// Turns the scores of the keys [first, last) into weights and returns their
/// sum; 0 if no key is seen.
float HeadAttention::weigh(int64_t query, float *scores, int64_t first,
                           int64_t last) const {
  if (rule.softcap != 0)
    for (int64_t j = first; j < last; ++j)
      scores[j] = capScore(scores[j], rule.softcap);
  if (rule.mask)
    for (int64_t j = first; j < last; ++j)
      scores[j] +=
          rule.mask[query * rule.maskRowStride + j * rule.maskColumnStride];
  if (rule.slope != 0)
    for (int64_t j = first; j < last; ++j)
      scores[j] += rule.slope * float(j - query - rule.offset);
  float largest = getLargest(scores + first, last - first);
  if (largest == -std::numeric_limits<float>::infinity()) {
    // What is not a number is not larger, but must not become zero.
    bool isNumber = std::all_of(scores + first, scores + last,
                                [](float score) { return score == score; });
    std::fill(scores + first, scores + last, 0.f);
    return isNumber ? 0 : std::numeric_limits<float>::quiet_NaN();
  }
  return exponentiate(scores + first, last - first, largest);
}

void HeadAttention::runBlock(int64_t begin, int64_t end,
                             Rows<const float> query, Rows<float> result) {
  int64_t rows = end - begin, first = getFirst(begin), last = getEnd(end - 1);
  first = first / kProductColumns * kProductColumns;
  std::fill(scores.begin(), scores.end(), 0.f);
  for (int64_t j = first; j < last; j += kProductColumns)
    multiplyAdd(rows, depth, scale, query[begin], query.stride,
                &keyPanels[j * depth], kProductColumns, &scores[j], stride);
  float totals[kQueries];
  for (int64_t r = 0; r < rows; ++r) {
    float *row = &scores[r * stride];
    int64_t from = std::max(first, getFirst(begin + r));
    int64_t to = std::max(from, getEnd(begin + r));
    totals[r] = weigh(begin + r, row, from, to);
    std::fill(row + first, row + from, 0.f);
    std::fill(row + to, row + stride, 0.f);
  }
  for (int64_t d = 0; d < valueDepth; d += kProductColumns) {
    std::fill(sums.begin(), sums.end(), 0.f);
    multiplyAdd(rows, std::max<int64_t>(0, last - first), 1, &scores[first],
                stride, &valuePanels[d * keys + first * kProductColumns],
                kProductColumns, sums.data(), kProductColumns);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = 0; i < std::min(kProductColumns, valueDepth - d); ++i)
        result[begin + r][d + i] =
            totals[r] == 0 ? 0 : sums[r * kProductColumns + i] / totals[r];
  }
}

void HeadAttention::run(int64_t queries, Rows<const float> query,
                        Rows<float> result) {
  scores.resize(kQueries * stride);
  sums.resize(kQueries * kProductColumns);
  for (int64_t begin = 0; begin < queries; begin += kQueries)
    runBlock(begin, std::min(begin + kQueries, queries), query, result);
}

//===----------------------------------------------------------------------===//
// nju.attention
//===----------------------------------------------------------------------===//

static std::optional<HostTensor> execute(AttentionOp op,
                                         ArrayRef<HostTensor> x) {
  for (int i = 0; i < 3; ++i)
    if (x[i].getRank() != 4)
      return std::nullopt;
  int64_t batch = x[0].getDim(0), heads = x[0].getDim(1),
          queries = x[0].getDim(2), depth = x[0].getDim(3),
          groups = x[1].getDim(1), keys = x[1].getDim(2),
          valueDepth = x[2].getDim(3);
  if (heads % groups != 0 ||
      x[1].getShape() != ArrayRef<int64_t>({batch, groups, keys, depth}) ||
      x[2].getShape() != ArrayRef<int64_t>({batch, groups, keys, valueDepth}))
    return std::nullopt;
  AttentionRule rule;
  rule.causal = op.getCausal();
  rule.offset = keys - queries;
  llvm::SmallVector<int64_t> scores = {batch, heads, queries, keys};
  llvm::SmallVector<int64_t> maskStrides(4, 0);
  if (x.size() > 3) {
    auto strides = getLeadingStrides(x[3].getShape(), scores, 0);
    if (!strides)
      return std::nullopt;
    maskStrides = *strides;
    rule.maskRowStride = maskStrides[2];
    rule.maskColumnStride = maskStrides[3];
  }
  HostTensor result = HostTensor::uninitialized(
      x[0].getElementType(), {batch, heads, queries, valueDepth});
  float *to = result.mutableElements<float>().data();
  auto scale = static_cast<float>(op.getScale().convertToDouble());
  llvm::parallelFor(0, batch * heads, [&](size_t task) {
    int64_t at = task, b = at / heads, head = at % heads;
    int64_t group = b * groups + head / (heads / groups);
    AttentionRule own = rule;
    if (x.size() > 3)
      own.mask = x[3].elements<float>().data() + b * maskStrides[0] +
                 head * maskStrides[1];
    HeadAttention attention(keys, depth, valueDepth, scale, own);
    attention.setKeys(
        {x[1].elements<float>().data() + group * keys * depth, depth},
        {x[2].elements<float>().data() + group * keys * valueDepth,
         valueDepth});
    attention.run(queries,
                  {x[0].elements<float>().data() + at * queries * depth, depth},
                  {to + at * queries * valueDepth, valueDepth});
  });
  return result;
}

std::optional<HostTensor>
nju::detail::executeAttention(Operation *op, ArrayRef<HostTensor> x) {
  if (!areFloats(x))
    return std::nullopt;
  if (auto rope = dyn_cast<RopeOp>(op))
    return execute(rope, x);
  if (auto attention = dyn_cast<AttentionOp>(op))
    return execute(attention, x);
  return std::nullopt;
}

//===----------------------------------------------------------------------===//
// nju.cached_attention
//===----------------------------------------------------------------------===//

/// Where each sequence begins among the tokens, and the number of tokens; an
/// error if one is not a whole text.
static llvm::Expected<std::vector<int64_t>>
findSequences(const HostTensor &positions, const HostTensor &sequences) {
  std::vector<int64_t> begins;
  llvm::DenseSet<int64_t> seen;
  int64_t tokens = positions.getNumElements();
  for (int64_t i = 0; i < tokens; ++i) {
    if (i == 0 || sequences.getInt(i) != sequences.getInt(i - 1)) {
      begins.push_back(i);
      if (!seen.insert(sequences.getInt(i)).second)
        return llvm::createStringError("the tokens of sequence " +
                                       llvm::Twine(sequences.getInt(i)) +
                                       " do not follow each other");
    }
    if (positions.getInt(i) != i - begins.back())
      return llvm::createStringError(
          "token " + llvm::Twine(i - begins.back()) + " of sequence " +
          llvm::Twine(sequences.getInt(i)) + " has position " +
          llvm::Twine(positions.getInt(i)) +
          ", expected the positions from 0 on");
  }
  begins.push_back(tokens);
  return begins;
}

llvm::Expected<HostTensor>
nju::detail::executeCachedAttention(CachedAttentionOp op,
                                    ArrayRef<HostTensor> x) {
  for (int i = 0; i < 3; ++i)
    if (x[i].getRank() != 4 || x[i].getDim(0) != 1 ||
        x[i].getDim(1) != x[3].getNumElements() ||
        x[i].getDim(3) != x[0].getDim(3))
      return llvm::createStringError("operand " + llvm::Twine(i) +
                                     " does not have the tokens' shape");
  auto begins = findSequences(x[3], x[4]);
  if (!begins)
    return begins.takeError();
  int64_t heads = x[0].getDim(2), groups = x[1].getDim(2),
          depth = x[0].getDim(3);
  HostTensor result =
      HostTensor::uninitialized(x[0].getElementType(), x[0].getShape());
  float *to = result.mutableElements<float>().data();
  auto scale = static_cast<float>(op.getScale().convertToDouble());
  int64_t count = begins->size() - 1;
  llvm::parallelFor(0, count * heads, [&](size_t task) {
    int64_t head = int64_t(task) % heads, group = head / (heads / groups);
    int64_t begin = (*begins)[task / heads], end = (*begins)[task / heads + 1];
    AttentionRule rule;
    rule.causal = true;
    if (op.getWindow())
      rule.window = *op.getWindow();
    if (op.getSlopes())
      rule.slope = (*op.getSlopes())[head];
    if (op.getSoftcap())
      rule.softcap = float(op.getSoftcap()->convertToDouble());
    auto rowsOf = [&](const HostTensor &tensor, int64_t own) {
      int64_t stride = tensor.getDim(2) * depth;
      return Rows<const float>{tensor.elements<float>().data() +
                                   begin * stride + own * depth,
                               stride};
    };
    HeadAttention attention(end - begin, depth, depth, scale, rule);
    attention.setKeys(rowsOf(x[1], group), rowsOf(x[2], group));
    attention.run(end - begin, rowsOf(x[0], head),
                  {to + begin * heads * depth + head * depth, heads * depth});
  });
  return result;
}
