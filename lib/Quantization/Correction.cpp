//===- Correction.cpp - Weights that make up for errors before them -------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Correction.h"

#include "llvm/Support/Parallel.h"
#include <mutex>

using namespace nju;
using namespace nju::lcq;
using llvm::ArrayRef;

namespace {

/// Solves N'N s = y for 64 right sides at once.
class Solver {
public:
  explicit Solver(const SquareMatrix &factor)
      : lower(factor), upper(factor.getStride()) {
    llvm::parallelFor(0, upper.getStride(), [&](size_t row) {
      for (int64_t k = row; k < upper.getStride(); ++k)
        upper.getRow(row)[k] = lower.getRow(k)[row];
    });
  }

  int64_t getStride() const { return lower.getStride(); }

  /// Replaces y [getStride(), 64] by s.
  void solve(float *y) const {
    int64_t size = getStride();
    for (int64_t begin = size - kPanel; begin >= 0; begin -= kPanel) {
      int64_t end = begin + kPanel;
      multiplyAdd(kPanel, size - end, -1, upper.getRow(begin) + end, size,
                  y + end * kPanel, kPanel, y + begin * kPanel, kPanel);
      for (int64_t row = end; row-- > begin;)
        substitute(upper.getRow(row), row, row + 1, end, y);
    }
    for (int64_t begin = 0; begin < size; begin += kPanel) {
      multiplyAdd(kPanel, begin, -1, lower.getRow(begin), size, y, kPanel,
                  y + begin * kPanel, kPanel);
      for (int64_t row = begin; row < begin + kPanel; ++row)
        substitute(lower.getRow(row), row, begin, row, y);
    }
  }

private:
  /// Unknown `row`, of which those in [begin, end) are still to be taken off.
  static void substitute(const float *matrix, int64_t row, int64_t begin,
                         int64_t end, float *y) {
    float *own = y + row * kPanel;
    for (int64_t k = begin; k < end; ++k)
      for (int64_t lane = 0; lane < kPanel; ++lane)
        own[lane] -= matrix[k] * y[k * kPanel + lane];
    float inverse = 1 / matrix[row];
    for (int64_t lane = 0; lane < kPanel; ++lane)
      own[lane] *= inverse;
  }

  const SquareMatrix &lower;
  SquareMatrix upper;
};

} // namespace

double nju::lcq::getCorrectedShare(int64_t columns, int64_t tokens) {
  return tokens > columns ? 0.5 * (1 - double(columns) / double(tokens)) : 0;
}

llvm::Expected<std::vector<float>>
nju::lcq::correctWeights(const WeightRows &weights,
                         const InputDeviation &deviation, double scale,
                         const SquareMatrix &factor) {
  int64_t rows = weights.getRows(), columns = weights.getColumns();
  Solver solver(factor);
  double share = getCorrectedShare(columns, deviation.tokens);
  std::vector<float> result(rows * columns);
  llvm::Error failed = llvm::Error::success();
  std::mutex mutex;
  auto correct = [&](size_t panel) {
    int64_t begin = panel * kPanel, count = std::min(rows - begin, kPanel);
    llvm::MutableArrayRef<float> own(&result[begin * columns], count * columns);
    if (llvm::Error error = weights.read(begin, begin + count, own)) {
      std::lock_guard<std::mutex> lock(mutex);
      failed = llvm::joinErrors(std::move(failed), std::move(error));
      return;
    }
    std::vector<float> w(columns * kPanel), y(solver.getStride() * kPanel);
    for (int64_t r = 0; r < count; ++r)
      for (int64_t j = 0; j < columns; ++j)
        w[j * kPanel + r] = own[r * columns + j];
    multiplyAdd(columns, columns, float(share / scale), deviation.sums.data(),
                columns, w.data(), kPanel, y.data(), kPanel);
    solver.solve(y.data());
    for (int64_t r = 0; r < count; ++r)
      for (int64_t j = 0; j < columns; ++j)
        own[r * columns + j] += y[j * kPanel + r];
  };
  llvm::parallelFor(0, (rows + kPanel - 1) / kPanel, correct);
  if (failed)
    return std::move(failed);
  return result;
}
