//===- WeightRows.h - Rows of a matrix to be quantized ----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_QUANTIZATION_WEIGHTROWS_H
#define NJU_QUANTIZATION_WEIGHTROWS_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/Error.h"
#include <cstdint>

namespace nju::lcq {

/// A matrix [rows = outputs, columns = inputs] that is read in blocks of rows,
/// so that it need not lie in memory as f32, nor at all.
class WeightRows {
public:
  WeightRows(int64_t rows, int64_t columns) : rows(rows), columns(columns) {}
  virtual ~WeightRows() = default;

  int64_t getRows() const { return rows; }
  int64_t getColumns() const { return columns; }

  /// Writes the rows [begin, end) to `out`, row-major. Must be safe to call
  /// from several threads at once, and give the same values every time.
  virtual llvm::Error read(int64_t begin, int64_t end,
                           llvm::MutableArrayRef<float> out) const = 0;

private:
  int64_t rows, columns;
};

/// Types that weights are stored in.
enum class WeightType { F32, F16, BF16 };

/// Weights that lie in memory, or in a file that is mapped to it: element
/// (n, j) is the one at index n * rowStride + j * columnStride. The memory must
/// outlive the object.
class StridedWeights : public WeightRows {
public:
  StridedWeights(const void *data, WeightType type, int64_t rows,
                 int64_t columns, int64_t rowStride, int64_t columnStride)
      : WeightRows(rows, columns), data(data), type(type), rowStride(rowStride),
        columnStride(columnStride) {}
  /// Row-major weights.
  StridedWeights(const void *data, WeightType type, int64_t rows,
                 int64_t columns)
      : StridedWeights(data, type, rows, columns, columns, 1) {}

  llvm::Error read(int64_t begin, int64_t end,
                   llvm::MutableArrayRef<float> out) const override;

private:
  const void *data;
  WeightType type;
  int64_t rowStride, columnStride;
};

} // namespace nju::lcq

#endif // NJU_QUANTIZATION_WEIGHTROWS_H
