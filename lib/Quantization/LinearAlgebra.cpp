//===- LinearAlgebra.cpp - Products and solvers for 64 lanes --------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "LinearAlgebra.h"

#include "nju/Support/VectorCode.h"
#include "llvm/Support/Parallel.h"
#include <algorithm>
#include <cmath>

using namespace nju;
using namespace nju::lcq;

namespace {

//===----------------------------------------------------------------------===//
// Chains of columns
//===----------------------------------------------------------------------===//

template <int Width>
NJU_INLINE void assignColumn(const ColumnChain &chain, int64_t j,
                             int64_t lane) {
  const float *row = chain.matrix + j * chain.matrixStride;
  int64_t at = j * kPanel + lane;
  Vector<Width> sum = load<Width>(chain.sum + at);
  for (int64_t i = 0; i < j; ++i)
    sum += row[i] * load<Width>(chain.changes + i * kPanel + lane);
  Vector<Width> base = load<Width>(chain.base + at);
  Vector<Width> target = base + (1 / row[j]) * sum;
  Vector<Width> value = load<Width>(chain.codewords + lane);
  Vector<Width> best = value - target;
  best = best < 0 ? -best : best;
  Mask<Width> code{};
  for (unsigned l = 1; l < chain.levels; ++l) {
    Vector<Width> codeword = load<Width>(chain.codewords + l * kPanel + lane);
    Vector<Width> distance = codeword - target;
    distance = distance < 0 ? -distance : distance;
    Mask<Width> nearer = distance < best;
    best = nearer ? distance : best;
    value = nearer ? codeword : value;
    code = nearer ? Mask<Width>{} + int(l) : code;
  }
  store<Width>(chain.changes + at, base - value);
  store<Width>(chain.values + at, value);
  for (int i = 0; i < Width; ++i)
    chain.codes[at + i] = code[i];
}

template <int Width>
NJU_INLINE void assignColumns(const ColumnChain &chain, int64_t first,
                              int64_t last) {
  for (int64_t j = first; j < last; ++j)
    for (int64_t lane = 0; lane < kPanel; lane += Width)
      assignColumn<Width>(chain, j, lane);
}

//===----------------------------------------------------------------------===//
// Systems in lanes
//===----------------------------------------------------------------------===//

template <int Width>
NJU_INLINE void addLaneProducts(int64_t count, const float *a, const float *b,
                                float *sum) {
  for (int64_t lane = 0; lane < kPanel; lane += Width) {
    Vector<Width> result = load<Width>(sum + lane);
    for (int64_t i = 0; i < count; ++i)
      result += load<Width>(a + i * kPanel + lane) *
                load<Width>(b + i * kPanel + lane);
    store<Width>(sum + lane, result);
  }
}

/// Cholesky's method for the lanes [lane, lane + Width).
template <int Width>
NJU_INLINE void solveSomeLanes(int64_t size, float *a, float *y, int64_t lane) {
  constexpr float kRidge = 1e-5f;
  auto at = [&](int64_t i, int64_t j) __attribute__((always_inline)) {
    return a + (i * (i + 1) / 2 + j) * kPanel + lane;
  };
  for (int64_t i = 0; i < size; ++i) {
    Vector<Width> right = load<Width>(y + i * kPanel + lane);
    for (int64_t j = 0; j <= i; ++j) {
      Vector<Width> value = load<Width>(at(i, j));
      Vector<Width> own = value;
      if (i == j)
        value += kRidge * value;
      for (int64_t k = 0; k < j; ++k)
        value -= load<Width>(at(i, k)) * load<Width>(at(j, k));
      if (j < i) {
        value *= load<Width>(at(j, j));
        right -= value * load<Width>(y + j * kPanel + lane);
      } else {
        // The diagonal holds inverses of the factor's.
        Mask<Width> usable = value > (0.5f * kRidge) * own;
        Vector<Width> pivot = usable ? value : Vector<Width>{} + 1.f;
        for (int l = 0; l < Width; ++l)
          pivot[l] = 1 / std::sqrt(pivot[l]);
        value = usable ? pivot : Vector<Width>{};
        right *= value;
      }
      store<Width>(at(i, j), value);
    }
    store<Width>(y + i * kPanel + lane, right);
  }
  for (int64_t i = size; i-- > 0;) {
    Vector<Width> x =
        load<Width>(y + i * kPanel + lane) * load<Width>(at(i, i));
    store<Width>(y + i * kPanel + lane, x);
    for (int64_t j = 0; j < i; ++j) {
      float *to = y + j * kPanel + lane;
      store<Width>(to, load<Width>(to) - load<Width>(at(i, j)) * x);
    }
  }
}

template <int Width>
NJU_INLINE void solveAllLanes(int64_t size, float *a, float *y) {
  for (int64_t lane = 0; lane < kPanel; lane += Width)
    solveSomeLanes<Width>(size, a, y, lane);
}

//===----------------------------------------------------------------------===//
// Variants for processors
//===----------------------------------------------------------------------===//

#define NJU_DEFINE_VARIANT(NAME, ATTRIBUTE, WIDTH)                             \
  ATTRIBUTE void assign##NAME(const ColumnChain &chain, int64_t first,         \
                              int64_t last) {                                  \
    assignColumns<WIDTH>(chain, first, last);                                  \
  }                                                                            \
  ATTRIBUTE void add##NAME(int64_t count, const float *a, const float *b,      \
                           float *sum) {                                       \
    addLaneProducts<WIDTH>(count, a, b, sum);                                  \
  }                                                                            \
  ATTRIBUTE void solve##NAME(int64_t size, float *a, float *y) {               \
    solveAllLanes<WIDTH>(size, a, y);                                          \
  }                                                                            \
  constexpr LaneKernels k##NAME = {assign##NAME, add##NAME, solve##NAME};
#if defined(__x86_64__)
NJU_DEFINE_VARIANT(AVX512, NJU_TARGET_AVX512, 16)
NJU_DEFINE_VARIANT(AVX2, NJU_TARGET_AVX2, 8)
#endif
NJU_DEFINE_VARIANT(Baseline, , 4)
#undef NJU_DEFINE_VARIANT

} // namespace

llvm::ArrayRef<LaneKernels> nju::lcq::getLaneKernels() {
  static const LaneKernels all[] = {
#if defined(__x86_64__)
      kAVX512, kAVX2,
#endif
      kBaseline};
  return llvm::ArrayRef<LaneKernels>(all).drop_front(getFirstVariant());
}

void nju::lcq::assignChain(const ColumnChain &chain, int64_t first,
                           int64_t last) {
  getLaneKernels().front().assign(chain, first, last);
}

void nju::lcq::addProducts(int64_t count, const float *a, const float *b,
                           float *sum) {
  getLaneKernels().front().add(count, a, b, sum);
}

void nju::lcq::solveLanes(int64_t size, float *a, float *y) {
  getLaneKernels().front().solve(size, a, y);
}

//===----------------------------------------------------------------------===//
// Factorization
//===----------------------------------------------------------------------===//

/// Factorizes the block of 64 x 64 at `block`, in f64. `inverse` gets the
/// inverse of the factor's transpose, by rows.
static bool factorizeDiagonal(float *block, int64_t stride,
                              std::vector<float> &inverse) {
  std::vector<double> n(kPanel * kPanel), inverted(kPanel * kPanel);
  for (int64_t k = kPanel; k-- > 0;)
    for (int64_t j = k + 1; j-- > 0;) {
      // H_kj = sum over i >= k of N_ik N_ij.
      double value = block[k * stride + j];
      for (int64_t i = k + 1; i < kPanel; ++i)
        value -= n[i * kPanel + k] * n[i * kPanel + j];
      if (j == k && !(value > 0))
        return false;
      n[k * kPanel + j] = j == k ? std::sqrt(value) : value / n[k * kPanel + k];
    }
  // N' X = I with N' upper: from the bottom up, column by column.
  for (int64_t column = 0; column < kPanel; ++column)
    for (int64_t i = column + 1; i-- > 0;) {
      double value = i == column ? 1 : 0;
      for (int64_t k = i + 1; k <= column; ++k)
        value -= n[k * kPanel + i] * inverted[k * kPanel + column];
      inverted[i * kPanel + column] = value / n[i * kPanel + i];
    }
  for (int64_t i = 0; i < kPanel; ++i)
    for (int64_t j = 0; j < kPanel; ++j)
      block[i * stride + j] = n[i * kPanel + j];
  inverse.assign(inverted.begin(), inverted.end());
  return true;
}

bool nju::lcq::factorizeFromBelow(SquareMatrix &matrix) {
  int64_t stride = matrix.getStride(), blocks = stride / kPanel;
  std::vector<float> inverse, panel(kPanel * stride);
  for (int64_t b = blocks; b-- > 0;) {
    float *block = matrix.getRow(b * kPanel);
    if (!factorizeDiagonal(block + b * kPanel, stride, inverse))
      return false;
    // The block's rows before the diagonal: N_b'^-1 H_b.
    llvm::parallelFor(0, b, [&](size_t column) {
      float result[kPanel * kPanel] = {};
      multiplyAdd(kPanel, kPanel, 1, inverse.data(), kPanel,
                  block + column * kPanel, stride, result, kPanel);
      for (int64_t r = 0; r < kPanel; ++r)
        for (int64_t j = 0; j < kPanel; ++j) {
          int64_t at = column * kPanel + j;
          block[r * stride + at] = result[r * kPanel + j];
          panel[at * kPanel + r] = result[r * kPanel + j];
        }
    });
    // All before: H -= N_b' N_b, on and below the diagonal.
    llvm::parallelFor(0, b, [&](size_t row) {
      for (size_t column = 0; column <= row; ++column)
        multiplyAdd(kPanel, kPanel, -1, panel.data() + row * kPanel * kPanel,
                    kPanel, block + column * kPanel, stride,
                    matrix.getRow(row * kPanel) + column * kPanel, stride);
    });
  }
  for (int64_t row = 0; row < stride; ++row)
    std::fill(matrix.getRow(row) + row + 1, matrix.getRow(row) + stride, 0.f);
  return true;
}
