//===- AttentionGradient.h - The gradient of one attention head -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_DIALECT_NJU_ANALYSIS_ATTENTIONGRADIENT_H
#define NJU_LIB_DIALECT_NJU_ANALYSIS_ATTENTIONGRADIENT_H

#include <cstdint>
#include <vector>

namespace nju::detail {

/// The gradients of `softmax(cap(scale q k') + bias) v` for the keys of one
/// head and any number of queries, one after the other. Probabilities are
/// computed again, so that memory does not grow with the square of the length.
class AttentionGradient {
public:
  AttentionGradient(int64_t keys, int64_t depth, int64_t valueDepth,
                    double scale);

  /// cap(s) = c * tanh(s / c); without, s.
  void setSoftcap(double c) { softcap = float(c); }

  /// Rows of `depth` keys and `valueDepth` values, that many elements apart.
  void setKeys(const float *keys, int64_t keyStride, const float *values,
               int64_t valueStride);

  struct Query {
    const float *query = nullptr, *gradient = nullptr;
    /// The keys that it sees.
    int64_t begin = 0, end = 0;
    /// What is added to the score of key j: bias[j * biasStride]. May be null.
    const float *bias = nullptr;
    int64_t biasStride = 0;
    /// Gets the gradient with respect to the query; may be null.
    float *target = nullptr;
  };
  void add(const Query &query);

  /// Writes the sums of the gradients with respect to keys and values, unless
  /// the pointer is null.
  void write(float *keys, int64_t keyStride, float *values,
             int64_t valueStride) const;

private:
  int64_t keys, depth, valueDepth;
  float scale, softcap = 0;
  /// Transposed, [depth, keys]: loops run over the keys.
  std::vector<float> keyColumns, valueColumns, keySums, valueSums;
  std::vector<float> probabilities, slopes, scores;
};

} // namespace nju::detail

#endif // NJU_LIB_DIALECT_NJU_ANALYSIS_ATTENTIONGRADIENT_H
