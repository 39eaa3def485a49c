//===- QuantizedMatrix.h - A matrix as codes and codebook -------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_QUANTIZATION_QUANTIZEDMATRIX_H
#define NJU_QUANTIZATION_QUANTIZEDMATRIX_H

#include "nju/Quantization/LCQOptions.h"
#include "llvm/ADT/ArrayRef.h"
#include <cstdint>
#include <vector>

namespace nju::lcq {

/// How values that belong to groups (scales, offsets) are stored.
enum class GroupForm {
  Int8,    ///< int8, times one f32 for each plane and row (double quantization)
  F16,     ///< f16, times one power of two for the whole matrix
  F32,     ///< f32: for weights imported from other formats
  Integer, ///< int8 alone: zero points of other formats
};

/// The values [planes, rows, groups] of the groups of a matrix. Writing
/// different rows from several threads at once is safe; all else is not, while
/// somebody writes.
class GroupValues {
public:
  GroupValues() = default;
  GroupValues(GroupForm form, unsigned planes, int64_t rows, int64_t groups);

  GroupForm getForm() const { return form; }
  unsigned getPlanes() const { return planes; }
  int64_t getRows() const { return rows; }
  int64_t getGroups() const { return groups; }

  /// Stores the `groups` values of a row, and replaces them by what the form
  /// holds of them. Values of the form `Integer` must be integers of an int8.
  void storeRow(unsigned plane, int64_t row,
                llvm::MutableArrayRef<float> values);
  /// To be called once, when all rows are stored.
  void seal();

  /// A value, multiplied out.
  float get(unsigned plane, int64_t row, int64_t group) const;

  /// Whether the form `F16` holds these values to the bit.
  static bool holdsF16(llvm::ArrayRef<float> values);

  /// What is stored, for packing: int8 (`Int8`, `Integer`), f16 or f32 [planes,
  /// rows, groups]; of `Int8` the factors [planes, rows]; of `F16` the power of
  /// two.
  llvm::ArrayRef<int8_t> getInt8() const { return int8; }
  llvm::ArrayRef<uint16_t> getF16() const { return f16; }
  llvm::ArrayRef<float> getF32() const { return f32; }
  llvm::ArrayRef<float> getFactors() const { return factors; }
  float getUnit() const { return unit; }
  llvm::MutableArrayRef<int8_t> getInt8() { return int8; }
  llvm::MutableArrayRef<uint16_t> getF16() { return f16; }
  llvm::MutableArrayRef<float> getF32() { return f32; }
  llvm::MutableArrayRef<float> getFactors() { return factors; }
  void setUnit(float value) { unit = value; }

  /// Bits of everything that is stored.
  int64_t getStorageBits() const;

private:
  int64_t getIndex(unsigned plane, int64_t row, int64_t group) const {
    return (plane * rows + row) * groups + group;
  }

  GroupForm form = GroupForm::F32;
  unsigned planes = 0;
  int64_t rows = 0, groups = 0;
  std::vector<int8_t> int8;
  std::vector<uint16_t> f16;
  std::vector<float> f32; ///< Of `F16` the values until `seal`.
  std::vector<float> factors;
  float unit = 1;
};

/// What the offset of a group means.
enum class OffsetKind {
  None,
  Offset,    ///< B of LCQ: a codeword is sum_k s_k v_k - b
  ZeroPoint, ///< of rank 1, counted in scales: a codeword is s (v - z)
};

/// The basis V [rank, levels] of a matrix. It is int8 in LCQ: the kernels
/// multiply it as it is. Tables of other formats (NormalFloat) are f32.
struct Basis {
  unsigned rank = 1, levels = 0;
  bool isInt8 = true;
  std::vector<float> values; ///< [rank, levels]; integers of an int8 if isInt8.

  const float *getRow(unsigned k) const { return values.data() + k * levels; }
  int64_t getStorageBits() const {
    return int64_t(rank) * levels * (isInt8 ? 8 : 32);
  }
};

/// A matrix [rows = outputs, columns = inputs] whose weight (n, j) is
///   sum_k s[k, n, j / group] * v[k, code[n, j]] - b[n, j / group],
/// computed in f32 from left to right, each product and sum rounded by itself.
/// Const members are safe to call from several threads at once.
struct QuantizedMatrix {
  int64_t rows = 0, columns = 0;
  unsigned bits = 0;
  int64_t group = 0; ///< Columns of a group; the last of a row may be shorter.
  OffsetKind offsetKind = OffsetKind::None;
  Basis basis;
  GroupValues scales;         ///< [rank, rows, groups]
  GroupValues offsets;        ///< [1, rows, groups] unless there are none.
  std::vector<uint8_t> codes; ///< [rows, columns], one a byte.

  /// An empty matrix of a format: zero codes, scales and offsets.
  static QuantizedMatrix create(int64_t rows, int64_t columns,
                                const LCQOptions &options);

  unsigned getLevels() const { return 1u << bits; }
  int64_t getGroups() const { return (columns + group - 1) / group; }

  /// The codewords C[i, :] of a group, in the order of their codes.
  void getCodewords(int64_t row, int64_t groupOfRow,
                    llvm::MutableArrayRef<float> out) const;
  /// The weights of a row.
  void dequantizeRow(int64_t row, llvm::MutableArrayRef<float> out) const;
  /// The weights [rows, columns].
  std::vector<float> dequantize() const;

  /// Bits of codes, scales, offsets, factors and basis over rows * columns.
  /// Padding of a packed form is not counted here (see PackedLayout).
  double getBitsPerWeight() const;
};

/// The code of the codeword nearest to `value`; the lowest of several. `value`
/// must be finite.
unsigned getNearestCode(float value, llvm::ArrayRef<float> codewords);

} // namespace nju::lcq

#endif // NJU_QUANTIZATION_QUANTIZEDMATRIX_H
