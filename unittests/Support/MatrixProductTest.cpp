//===- MatrixProductTest.cpp - Products of f32 matrices -------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Support/MatrixProduct.h"
#include <array>
#include <cmath>
#include <gtest/gtest.h>
#include <random>
#include <vector>

using namespace nju;

namespace {

using Floats = std::vector<float>;

// Errors are those of f32 sums of some hundred products.
constexpr double kTolerance = 2e-4;

Floats makeNormal(int64_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  Floats values(count);
  for (float &value : values)
    value = normal(generator);
  return values;
}

// Every kind of processor that this one can stand in for.
TEST(MatrixProduct, MultipliesAndAdds) {
  constexpr int64_t kStride = 150;
  for (const ProductKernels &kernels : getProductKernels())
    for (int64_t rows : {1, 5, 6, 17})
      for (int64_t depth : {0, 1, 16, 140}) {
        // The rows of A that are asked for early need not exist.
        Floats a = makeNormal(rows * kStride, 1);
        Floats b = makeNormal(depth * kProductColumns, 2);
        Floats c = makeNormal(rows * kProductColumns, 3), before = c;
        kernels.multiplyAdd(rows, depth, -0.5f, a.data(), kStride, b.data(),
                            kProductColumns, c.data(), kProductColumns);
        for (int64_t i = 0; i < rows; ++i)
          for (int64_t j = 0; j < kProductColumns; ++j) {
            double expected = before[i * kProductColumns + j];
            for (int64_t k = 0; k < depth; ++k)
              expected -= 0.5 * a[i * kStride + k] * b[k * kProductColumns + j];
            ASSERT_NEAR(c[i * kProductColumns + j], expected, kTolerance);
          }
      }
}

TEST(MatrixProduct, MultipliesStrips) {
  constexpr int64_t kDepth = 37, kRows = 16, kStride = 70;
  for (const ProductKernels &kernels : getProductKernels())
    for (int64_t rows : {1, 6, 7, 16})
      for (int64_t columns : {1, 15, 16, 33, 64}) {
        int64_t strip = kernels.packedRows;
        Floats a = makeNormal((kRows + strip) * kDepth, 4);
        Floats b = makeNormal(kDepth * kProductColumns, 5);
        Floats c = makeNormal(kRows * kStride, 6), before = c;
        kernels.multiplyPacked(rows, kDepth, a.data(), strip * kDepth, b.data(),
                               c.data(), kStride, columns);
        for (int64_t i = 0; i < kRows; ++i)
          for (int64_t j = 0; j < kStride; ++j) {
            double expected = before[i * kStride + j];
            if (i < rows && j < columns)
              for (int64_t k = 0; k < kDepth; ++k)
                expected +=
                    double(a[(i / strip * kDepth + k) * strip + i % strip]) *
                    b[k * kProductColumns + j];
            ASSERT_NEAR(c[i * kStride + j], expected, kTolerance);
          }
      }
}

// Both operands as they are and transposed, sizes that are multiples of nothing
// and depths of several pieces.
TEST(MatrixProduct, MultipliesMatrices) {
  for (auto [rows, columns, depth] : {std::array<int64_t, 3>{1, 1, 1},
                                      {7, 65, 3},
                                      {50, 130, 900},
                                      {400, 70, 33},
                                      {3, 5, 0}})
    for (bool aTransposed : {false, true})
      for (bool bTransposed : {false, true})
        for (ProductMode mode : {ProductMode::Assign, ProductMode::Add}) {
          int64_t cStride = columns + 3;
          Floats a = makeNormal(rows * depth, 7);
          Floats b = makeNormal(depth * columns, 8);
          Floats c = makeNormal(rows * cStride, 9), before = c;
          MatrixView left{a.data(), aTransposed ? 1 : depth,
                          aTransposed ? rows : 1};
          MatrixView right{b.data(), bTransposed ? 1 : columns,
                           bTransposed ? depth : 1};
          multiplyMatrices(rows, columns, depth, left, right, c.data(), cStride,
                           mode);
          for (int64_t i = 0; i < rows; ++i)
            for (int64_t j = 0; j < cStride; ++j) {
              bool inside = j < columns;
              double expected = inside && mode == ProductMode::Assign
                                    ? 0
                                    : before[i * cStride + j];
              for (int64_t k = 0; inside && k < depth; ++k)
                expected +=
                    double(
                        left.data[i * left.rowStride + k * left.columnStride]) *
                    right.data[k * right.rowStride + j * right.columnStride];
              ASSERT_NEAR(c[i * cStride + j], expected, kTolerance)
                  << rows << " " << columns << " " << depth;
            }
        }
}

TEST(MatrixProduct, MultipliesWithItself) {
  for (int64_t columns : {1, 64, 300})
    for (int64_t rows : {1, 500}) {
      int64_t stride = columns + 5;
      Floats x = makeNormal(rows * stride, 10);
      Floats h(columns * columns, NAN);
      multiplyTransposed(rows, columns, x.data(), stride, h.data());
      for (int64_t i = 0; i < columns; ++i)
        for (int64_t j = 0; j < columns; ++j) {
          double expected = 0;
          for (int64_t r = 0; r < rows; ++r)
            expected += double(x[r * stride + i]) * x[r * stride + j];
          ASSERT_NEAR(h[i * columns + j], expected, 5 * kTolerance);
          ASSERT_EQ(h[i * columns + j], h[j * columns + i]);
        }
    }
}

} // namespace
