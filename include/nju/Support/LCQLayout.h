//===- LCQLayout.h - Where quantized weights lie ----------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The packed layout of a matrix quantized by LCQ: what writes it, what
// multiplies it and what declares its size in the IR ask here. A tile is 16
// rows (output channels); it holds group after group, and of each group first
// the scales, 16 of each rank, and offsets, then lines of 64 bytes of codes, in
// which 4 columns of a row are next to each other.
//
//===----------------------------------------------------------------------===//

#ifndef NJU_SUPPORT_LCQLAYOUT_H
#define NJU_SUPPORT_LCQLAYOUT_H

#include <algorithm>
#include <cstdint>

namespace nju {

struct LCQLayout {
  static constexpr int64_t kTileRows = 16;
  static constexpr int64_t kUnitColumns = 4;
  static constexpr int64_t kLineBytes = 64;

  int64_t rows = 0, columns = 0;
  int64_t group = 0; ///< Columns of a group; the last may have fewer.
  int64_t bits = 0;  ///< Of a code: 2, 3 or 4.
  /// Bytes of the scales and offset of a row's group.
  int64_t scaleBytes = 0;

  /// Columns of the smallest number of whole lines.
  static constexpr int64_t getLineColumns(int64_t bits) {
    return bits == 3 ? 32 : 32 / bits;
  }

  int64_t getGroups() const { return (columns + group - 1) / group; }
  int64_t getTiles() const { return (rows + kTileRows - 1) / kTileRows; }
  /// Columns of group `g`, filled up to whole lines.
  int64_t getColumns(int64_t g) const {
    int64_t step = getLineColumns(bits);
    int64_t own = std::min(group, columns - g * group);
    return (own + step - 1) / step * step;
  }
  /// Bytes of group `g` of a tile.
  int64_t getGroupBytes(int64_t g) const {
    return kTileRows * scaleBytes + getColumns(g) * kTileRows * bits / 8;
  }
  int64_t getTileBytes() const {
    int64_t last = getGroups() - 1;
    return last * getGroupBytes(0) + getGroupBytes(last);
  }
};

} // namespace nju

#endif // NJU_SUPPORT_LCQLAYOUT_H
