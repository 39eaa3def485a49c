//===- Packing.h - Quantized weights as kernels read them -------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_QUANTIZATION_PACKING_H
#define NJU_QUANTIZATION_PACKING_H

#include "nju/Quantization/QuantizedMatrix.h"
#include "nju/Support/LCQLayout.h"

namespace nju::lcq {

/// Where everything lies in the packed form of a matrix: one stream that a
/// kernel for 16 rows in 16 lanes reads from front to back.
///
/// The stream is a sequence of tiles of 16 rows; a tile is a sequence of groups
/// in the order of the columns; a group is, without any padding between,
///   * for each rank 16 scales (int8, f16 or f32), row by row,
///   * 16 offsets (as the scales) or zero points (int8 or f32), if there are
///   any,
///   * lines of 64 bytes with the codes.
/// A unit is the 64 codes of 16 rows and 4 columns: byte 4 r + j is row r,
/// column j. Lines hold the codes c0, c1, ... of consecutive units:
///   * 4 bits: c0 | c1 << 4
///   * 2 bits: c0 | c1 << 2 | c2 << 4 | c3 << 6
///   * 3 bits: three lines for 8 units,
///       c0 | c6.bit2 << 3 | c1 << 4 | c7.bit2 << 7
///       c2 | c6.bit1 << 3 | c3 << 4 | c7.bit1 << 7
///       c4 | c6.bit0 << 3 | c5 << 4 | c7.bit0 << 7
/// The last tile is filled up with rows whose scales are zero, the last group
/// with columns of code 0 up to a whole line (three lines at 3 bits); a kernel
/// reads zeros for the x of those columns.
struct PackedLayout : LCQLayout {
  unsigned rank = 0;
  GroupForm scaleForm = GroupForm::Int8, offsetForm = GroupForm::Int8;
  OffsetKind offsetKind = OffsetKind::None;

  /// The layout of a matrix. An error if its forms are not those of a kernel
  /// (basis in int8) or its group is not whole lines.
  static llvm::Expected<PackedLayout> get(const QuantizedMatrix &matrix);

  /// Where group `g` of tile `t` begins.
  int64_t getOffset(int64_t t, int64_t g) const {
    return t * getTileBytes() + g * getGroupBytes(0);
  }
  /// Columns of `PackedMatrix::factors`.
  int64_t getFactorColumns() const {
    return scaleForm == GroupForm::Int8 ? getTiles() * kTileRows : 1;
  }
  /// Bytes of the stream.
  int64_t getBytes() const { return getTiles() * getTileBytes(); }
};

/// A matrix in the form that kernels read.
struct PackedMatrix {
  PackedLayout layout;
  std::vector<int8_t> basis; ///< [rank, 2^bits]
  /// What scales, then offsets, are multiplied with. With int8 [rank, or rank +
  /// 1 with offsets, tiles * 16]. With f16 powers of two, one for all scales
  /// and one for the offsets: [1 or 2, 1]. With scales in f32 a 1, [1, 1]. Zero
  /// points have none.
  std::vector<float> factors;
  std::vector<uint8_t> stream;

  /// Bytes of all that, padding included.
  int64_t getBytes() const {
    return stream.size() + basis.size() + factors.size() * sizeof(float);
  }
};

/// Packs a matrix. Not a bit of a code, scale, offset or factor is lost.
llvm::Expected<PackedMatrix> pack(const QuantizedMatrix &matrix);

/// The matrix that was packed.
QuantizedMatrix unpack(const PackedMatrix &packed);

} // namespace nju::lcq

#endif // NJU_QUANTIZATION_PACKING_H
