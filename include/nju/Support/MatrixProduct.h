//===- MatrixProduct.h - Products of f32 matrices ---------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Products for the compiler's own numerics: the largest vectors that this
// processor has, the threads of llvm::parallel. Results do not depend on the
// number of threads; their last bits depend on the processor.
//
//===----------------------------------------------------------------------===//

#ifndef NJU_SUPPORT_MATRIXPRODUCT_H
#define NJU_SUPPORT_MATRIXPRODUCT_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include <cstdint>

namespace nju {

/// Columns that are computed side by side.
constexpr int64_t kProductColumns = 64;

/// C += factor * A B for A [rows, depth], B [depth, 64] and C [rows, 64],
/// row-major with the given distances between rows. Additions are in ascending
/// order of depth. One thread; the rows of B should fit the second-level cache.
void multiplyAdd(int64_t rows, int64_t depth, float factor, const float *a,
                 int64_t aStride, const float *b, int64_t bStride, float *c,
                 int64_t cStride);

/// Elements of an f32 matrix in memory: element (i, j) lies at
/// data[i * rowStride + j * columnStride].
struct MatrixView {
  const float *data;
  int64_t rowStride;
  int64_t columnStride = 1;
};

/// What a product does with what C holds.
enum class ProductMode { Assign, Add };

/// C = A B, or C += A B, for A [rows, depth], B [depth, columns] and C [rows,
/// columns], whose rows are `cStride` apart; a transposed operand is one whose
/// strides are exchanged. Terms are added in ascending order, in pieces of some
/// hundred. Fastest with many rows: B is rearranged once, in slabs of at most
/// some megabytes.
void multiplyMatrices(int64_t rows, int64_t columns, int64_t depth,
                      MatrixView a, MatrixView b, float *c, int64_t cStride,
                      ProductMode mode = ProductMode::Assign);

/// Writes B's columns [column, column + count) as [depth, 64], and zeros to the
/// columns that 64 lack. Called from several threads.
using PanelWriter =
    llvm::function_ref<void(int64_t column, int64_t count, float *panel)>;

/// The same for a B that is not in memory as f32: `writePanel` is called once
/// for every 64 columns.
void multiplyMatrices(int64_t rows, int64_t columns, int64_t depth,
                      MatrixView a, PanelWriter writePanel, float *c,
                      int64_t cStride, ProductMode mode = ProductMode::Assign);

/// H = X'X for X [rows, columns], whose rows are `stride` apart: both triangles
/// of H [columns, columns], of which one is computed.
void multiplyTransposed(int64_t rows, int64_t columns, const float *x,
                        int64_t stride, float *h);

/// The functions that products are made of, for one kind of processor.
struct ProductKernels {
  decltype(&multiplyAdd) multiplyAdd;
  /// Rows of A that are computed side by side.
  int64_t packedRows;
  /// multiplyAdd with factor 1 for A in strips of `packedRows` rows, [depth,
  /// packedRows] each, and B [depth, 64]. The rows of C beyond the last strip's
  /// are left alone.
  void (*multiplyPacked)(int64_t rows, int64_t depth, const float *a,
                         int64_t stripStride, const float *b, float *c,
                         int64_t cStride, int64_t columns);
};

/// Those that this processor runs, the widest first.
llvm::ArrayRef<ProductKernels> getProductKernels();

} // namespace nju

#endif // NJU_SUPPORT_MATRIXPRODUCT_H
