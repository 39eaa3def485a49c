//===- LinearAlgebraTest.cpp - Products and solvers -----------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "LinearAlgebra.h"
#include "RandomWeights.h"

using namespace nju::lcq;

namespace {

using Floats = std::vector<float>;

// All of it on every kind of processor that this one can stand in for; f32, so
// errors are those of sums of some hundred products.
constexpr double kTolerance = 1e-4;

TEST(LinearAlgebra, AddsProductsInLanes) {
  Floats a = makeNormal(33 * kPanel, 4), b = makeNormal(33 * kPanel, 5);
  for (const LaneKernels &kernels : getLaneKernels()) {
    Floats sum(kPanel, 1);
    kernels.add(33, a.data(), b.data(), sum.data());
    for (int64_t lane = 0; lane < kPanel; ++lane) {
      double expected = 1;
      for (int64_t i = 0; i < 33; ++i)
        expected += double(a[i * kPanel + lane]) * b[i * kPanel + lane];
      EXPECT_NEAR(sum[lane], expected, kTolerance);
    }
  }
}

TEST(LinearAlgebra, SolvesInLanes) {
  constexpr int64_t kSize = 9, kUndetermined = 4;
  // A = L L' with a strong diagonal; one unknown has no equation.
  Floats l = makeNormal(kSize * kSize * kPanel, 6, 0.3);
  Floats x = makeNormal(kSize * kPanel, 7);
  auto at = [&](int64_t i, int64_t j, int64_t lane) -> double {
    if (j > i || i == kUndetermined || j == kUndetermined)
      return 0;
    return l[(i * kSize + j) * kPanel + lane] + (i == j ? 2 : 0);
  };
  for (const LaneKernels &kernels : getLaneKernels()) {
    Floats a(kSize * (kSize + 1) / 2 * kPanel), y(kSize * kPanel);
    for (int64_t lane = 0; lane < kPanel; ++lane) {
      x[kUndetermined * kPanel + lane] = 0;
      for (int64_t i = 0; i < kSize; ++i)
        for (int64_t j = 0; j < kSize; ++j) {
          double value = 0;
          for (int64_t k = 0; k < kSize; ++k)
            value += at(i, k, lane) * at(j, k, lane);
          if (j <= i)
            a[(i * (i + 1) / 2 + j) * kPanel + lane] = value;
          y[i * kPanel + lane] += value * x[j * kPanel + lane];
        }
    }
    kernels.solve(kSize, a.data(), y.data());
    // The ridge of 1e-5.
    for (int64_t i = 0; i < kSize * kPanel; ++i)
      EXPECT_NEAR(y[i], x[i], 1e-3);
  }
}

TEST(LinearAlgebra, AssignsColumnsOneAfterTheOther) {
  constexpr int64_t kColumns = 40;
  constexpr unsigned kLevels = 8;
  Floats base = makeNormal(kColumns * kPanel, 8);
  Floats sum = makeNormal(kColumns * kPanel, 9);
  Floats matrix = makeNormal(kColumns * kColumns, 10);
  for (int64_t j = 0; j < kColumns; ++j)
    matrix[j * kColumns + j] = 3;
  Floats codewords = makeNormal(kLevels * kPanel, 11);
  for (const LaneKernels &kernels : getLaneKernels()) {
    Floats changes(base.size()), values(base.size());
    std::vector<uint8_t> codes(base.size());
    ColumnChain chain;
    chain.levels = kLevels;
    chain.codewords = codewords.data();
    chain.matrix = matrix.data();
    chain.matrixStride = kColumns;
    chain.base = base.data();
    chain.sum = sum.data();
    chain.changes = changes.data();
    chain.values = values.data();
    chain.codes = codes.data();
    kernels.assign(chain, 0, 25);
    kernels.assign(chain, 25, kColumns);
    for (int64_t i = 0; i < kColumns * kPanel; ++i) {
      int64_t j = i / kPanel, lane = i % kPanel;
      double target = sum[i];
      for (int64_t k = 0; k < j; ++k)
        target += double(changes[k * kPanel + lane]) * matrix[j * kColumns + k];
      target = base[i] + target / 3;
      EXPECT_EQ(values[i], codewords[codes[i] * kPanel + lane]);
      EXPECT_EQ(changes[i], base[i] - values[i]);
      for (unsigned l = 0; l < kLevels; ++l)
        EXPECT_LE(std::abs(values[i] - target),
                  std::abs(codewords[l * kPanel + lane] - target) + kTolerance);
    }
  }
}

TEST(LinearAlgebra, FactorizesFromBelow) {
  // Less than a panel, just one, and several.
  for (int64_t size : {1, 64, 200}) {
    Floats x = makeNormal(2 * size * size, 12);
    SquareMatrix matrix(size);
    int64_t stride = matrix.getStride();
    auto get = [&](int64_t i, int64_t j) {
      double sum = i == j ? 1 : 0;
      for (int64_t t = 0; t < 2 * size && i < size && j < size; ++t)
        sum += double(x[t * size + i]) * x[t * size + j] / size;
      return sum;
    };
    for (int64_t i = 0; i < stride; ++i)
      for (int64_t j = 0; j < stride; ++j)
        matrix.getRow(i)[j] = get(i, j);
    ASSERT_TRUE(factorizeFromBelow(matrix));
    for (int64_t i = 0; i < stride; ++i)
      for (int64_t j = 0; j < stride; ++j) {
        double sum = 0;
        for (int64_t k = 0; k < stride; ++k)
          sum += double(matrix.getRow(k)[i]) * matrix.getRow(k)[j];
        ASSERT_NEAR(sum, get(i, j), kTolerance) << size;
        if (j > i)
          ASSERT_EQ(matrix.getRow(i)[j], 0);
      }
    matrix.getRow(0)[0] = -1;
    EXPECT_FALSE(factorizeFromBelow(matrix));
  }
}

} // namespace
