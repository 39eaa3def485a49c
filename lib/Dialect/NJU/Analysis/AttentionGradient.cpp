//===- AttentionGradient.cpp - The gradient of one attention head ---------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "AttentionGradient.h"

#include "nju/Support/Exponential.h"
#include <algorithm>
#include <limits>

using namespace nju::detail;

AttentionGradient::AttentionGradient(int64_t keys, int64_t depth,
                                     int64_t valueDepth, double scale)
    : keys(keys), depth(depth), valueDepth(valueDepth), scale(float(scale)),
      keyColumns(depth * keys), valueColumns(valueDepth * keys),
      keySums(depth * keys), valueSums(valueDepth * keys), probabilities(keys),
      slopes(keys), scores(keys) {}

void AttentionGradient::setKeys(const float *keyRows, int64_t keyStride,
                                const float *valueRows, int64_t valueStride) {
  for (int64_t j = 0; j < keys; ++j) {
    for (int64_t d = 0; d < depth; ++d)
      keyColumns[d * keys + j] = keyRows[j * keyStride + d];
    for (int64_t d = 0; d < valueDepth; ++d)
      valueColumns[d * keys + j] = valueRows[j * valueStride + d];
  }
}

/// to[j] = sum over d of row[d] columns[d, j], for j in [begin, end).
static void project(const float *row, const std::vector<float> &columns,
                    int64_t depth, int64_t keys, int64_t begin, int64_t end,
                    float *to) {
  std::fill(to + begin, to + end, 0.f);
  for (int64_t d = 0; d < depth; ++d) {
    const float *column = columns.data() + d * keys;
    float factor = row[d];
    for (int64_t j = begin; j < end; ++j)
      to[j] += factor * column[j];
  }
}

/// sums[d, j] += row[d] weights[j].
static void spread(const float *row, const float *weights, int64_t depth,
                   int64_t keys, int64_t begin, int64_t end,
                   std::vector<float> &sums) {
  for (int64_t d = 0; d < depth; ++d) {
    float *sum = sums.data() + d * keys;
    float factor = row[d];
    for (int64_t j = begin; j < end; ++j)
      sum[j] += factor * weights[j];
  }
}

/// The sum of a[j] b[j], in 16 sums that a vector holds.
static float multiply(const float *a, const float *b, int64_t count) {
  constexpr int kLanes = 16;
  float sums[kLanes] = {};
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes)
    for (int l = 0; l < kLanes; ++l)
      sums[l] += a[j + l] * b[j + l];
  for (; j < count; ++j)
    sums[j % kLanes] += a[j] * b[j];
  float sum = 0;
  for (float part : sums)
    sum += part;
  return sum;
}

void AttentionGradient::add(const Query &q) {
  float *p = probabilities.data(), *s = slopes.data();
  int64_t begin = q.begin, end = q.end, count = end - begin;
  if (q.target)
    std::fill(q.target, q.target + depth, 0.f);
  project(q.query, keyColumns, depth, keys, begin, end, p);
  for (int64_t j = begin; j < end && softcap != 0; ++j)
    scores[j] = capScore(p[j] * scale, softcap);
  for (int64_t j = begin; j < end; ++j)
    p[j] = (softcap != 0 ? scores[j] : p[j] * scale) +
           (q.bias ? q.bias[j * q.biasStride] : 0.f);
  float largest = getLargest(p + begin, count);
  // A query that sees no key gives zeros, whatever the keys.
  if (largest == -std::numeric_limits<float>::infinity())
    return;
  float sum = exponentiate(p + begin, count, largest);
  for (int64_t j = begin; j < end; ++j)
    p[j] /= sum;
  spread(q.gradient, p, valueDepth, keys, begin, end, valueSums);
  project(q.gradient, valueColumns, valueDepth, keys, begin, end, s);
  float mean = multiply(p + begin, s + begin, count);
  for (int64_t j = begin; j < end; ++j)
    s[j] = scale * p[j] * (s[j] - mean);
  // c tanh'(s / c) / c = 1 - tanh(s / c)^2
  for (int64_t j = begin; j < end && softcap != 0; ++j)
    s[j] *= 1 - scores[j] / softcap * (scores[j] / softcap);
  spread(q.query, s, depth, keys, begin, end, keySums);
  if (q.target)
    for (int64_t d = 0; d < depth; ++d)
      q.target[d] =
          multiply(s + begin, keyColumns.data() + d * keys + begin, count);
}

void AttentionGradient::write(float *keyRows, int64_t keyStride,
                              float *valueRows, int64_t valueStride) const {
  for (int64_t j = 0; j < keys; ++j) {
    for (int64_t d = 0; keyRows && d < depth; ++d)
      keyRows[j * keyStride + d] = keySums[d * keys + j];
    for (int64_t d = 0; valueRows && d < valueDepth; ++d)
      valueRows[j * valueStride + d] = valueSums[d * keys + j];
  }
}
