//===- LinearAlgebra.h - Products and solvers for 64 lanes ------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_QUANTIZATION_LINEARALGEBRA_H
#define NJU_LIB_QUANTIZATION_LINEARALGEBRA_H

#include "nju/Support/MatrixProduct.h"
#include "llvm/ADT/ArrayRef.h"
#include <cstdint>
#include <vector>

namespace nju::lcq {

/// Rows of weights that calibrated quantization treats side by side: they are
/// columns of a product.
constexpr int64_t kPanel = kProductColumns;

/// A square matrix whose size is filled up to a multiple of 64.
class SquareMatrix {
public:
  explicit SquareMatrix(int64_t size)
      : stride((size + kPanel - 1) / kPanel * kPanel), values(stride * stride) {
  }

  /// Rows and columns, with the filling.
  int64_t getStride() const { return stride; }
  float *getRow(int64_t row) { return values.data() + row * stride; }
  const float *getRow(int64_t row) const {
    return values.data() + row * stride;
  }

private:
  int64_t stride;
  std::vector<float> values;
};

/// Replaces a positive matrix H, of which the lower triangle is read, by the
/// lower triangle N with H = N' N; zeros above. False if H is not positive
/// within the precision of f32. Works on the threads of llvm::parallel; the
/// result does not depend on their number.
bool factorizeFromBelow(SquareMatrix &matrix);

/// Columns of 64 rows that get their codes one after the other.
struct ColumnChain {
  unsigned levels = 0;
  const float *codewords = nullptr; ///< [levels, 64]
  /// Row j holds how much the change of each column before it matters to column
  /// j, and on the diagonal how much its own does.
  const float *matrix = nullptr;
  int64_t matrixStride = 0;
  /// Target of column j: base_j + (sum_j + sum_i changes_i matrix_ji) /
  /// matrix_jj over the columns i before it; all [columns, 64].
  const float *base = nullptr, *sum = nullptr;
  float *changes = nullptr; ///< Gets base - value.
  float *values = nullptr;  ///< Gets the codeword; may be `base`.
  uint8_t *codes = nullptr;
};

/// Assigns the columns [first, last) of a chain the codewords nearest to their
/// targets; those before must have been assigned.
void assignChain(const ColumnChain &chain, int64_t first, int64_t last);

/// sum[64] += a b, for a and b [count, 64].
void addProducts(int64_t count, const float *a, const float *b, float *sum);

/// Solves 64 systems A x = y of `size` unknowns, side by side. `a` holds the
/// lower triangles, [size * (size + 1) / 2, 64]; both are overwritten, `y`
/// [size, 64] by x. What nothing determines becomes zero.
void solveLanes(int64_t size, float *a, float *y);

/// The functions above for one kind of processor.
struct LaneKernels {
  decltype(&assignChain) assign;
  decltype(&addProducts) add;
  decltype(&solveLanes) solve;
};

/// Those that this processor runs, the widest first.
llvm::ArrayRef<LaneKernels> getLaneKernels();

} // namespace nju::lcq

#endif // NJU_LIB_QUANTIZATION_LINEARALGEBRA_H
