//===- Tile.h - 16 rows in 16 lanes -----------------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_QUANTIZATION_TILE_H
#define NJU_LIB_QUANTIZATION_TILE_H

#include "GroupFit.h"
#include "nju/Quantization/QuantizedMatrix.h"
#include "nju/Quantization/WeightRows.h"
#include "llvm/ADT/STLFunctionalExtras.h"

namespace nju::lcq {

/// 16 rows of a matrix, side by side; rows beyond the matrix are zero. Each row
/// is multiplied by a power of two that brings its largest magnitude to 1/2 to
/// 1: no square of a weight overflows, and no bit is lost.
class Tile {
public:
  Tile(int64_t firstRow, int64_t rows, int64_t columns,
       llvm::ArrayRef<float> values);

  int64_t getFirstRow() const { return firstRow; }
  int64_t getRows() const { return rows; }
  int64_t getColumns() const { return columns; }
  /// [columns, 16]
  const float *getWeights() const { return weights.data(); }
  float *getWeights() { return weights.data(); }
  /// What the stored rows are to be multiplied with, a power of two.
  float getUnit(int64_t row) const { return units[row]; }

private:
  int64_t firstRow, rows, columns;
  std::vector<float> weights;
  float units[kLanes], inverses[kLanes];
};

/// Scales and offsets of all groups of a tile, for weights as the tile has
/// them.
struct TileParameters {
  std::vector<GroupParameters> groups;

  /// Stores them in `matrix`, and replaces them by what it stores.
  void round(const Tile &tile, QuantizedMatrix &matrix);
};

/// The codewords [levels, 16] of 16 groups, `stride` floats apart. They are
/// those of `QuantizedMatrix::getCodewords`, but for the unit of the row.
void getCodewords(const GroupParameters &group, const QuantizedMatrix &matrix,
                  float *codewords, int64_t stride);

/// The batch of the tile's groups `g`, with the basis of the matrix.
GroupBatch getBatch(const Tile &tile, const QuantizedMatrix &matrix, int64_t g,
                    const float *importance);

/// Calls `body` on several threads with all tiles of a matrix, up to
/// `kTilesOfTask` neighbours at a time. An error names the first weight that is
/// not finite.
constexpr int64_t kTilesOfTask = 4;
llvm::Error
forEachTiles(const WeightRows &weights,
             llvm::function_ref<void(llvm::MutableArrayRef<Tile>)> body);

/// Reads the tile that begins with a row.
llvm::Expected<Tile> readTile(const WeightRows &weights, int64_t firstRow);

} // namespace nju::lcq

#endif // NJU_LIB_QUANTIZATION_TILE_H
