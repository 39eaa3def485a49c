//===- DataFree.cpp - Quantizes weights without data ----------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Quantization/DataFree.h"

#include "BasisFit.h"
#include "CheckWeights.h"
#include "Tile.h"
#include <cmath>

using namespace nju::lcq;

double QuantizationError::getRelative() const {
  return squares > 0 ? std::sqrt(errors / squares) : 0;
}

namespace {

/// What a row cost, in order: sums over rows must not depend on threads.
using RowErrors = std::vector<QuantizationError>;

/// Writes the nearest codes of a tile.
void assignTile(const Tile &tile, const TileParameters &parameters,
                QuantizedMatrix &matrix, RowErrors &rowErrors) {
  alignas(64) float codewords[16 * kLanes], errors[kLanes];
  std::vector<uint8_t> codes(matrix.group * kLanes);
  for (int64_t g = 0; g < matrix.getGroups(); ++g) {
    getCodewords(parameters.groups[g], matrix, codewords, kLanes);
    GroupBatch batch = getBatch(tile, matrix, g, nullptr);
    assignCodes(batch, codewords, codes.data(), errors);
    for (int64_t r = 0; r < tile.getRows(); ++r) {
      int64_t row = tile.getFirstRow() + r;
      uint8_t *out =
          matrix.codes.data() + row * matrix.columns + g * matrix.group;
      for (int64_t j = 0; j < batch.columns; ++j)
        out[j] = codes[j * kLanes + r];
      double unit = tile.getUnit(r);
      rowErrors[row].errors += errors[r] * unit * unit;
    }
  }
  for (int64_t r = 0; r < tile.getRows(); ++r) {
    double squares = 0;
    for (int64_t j = 0; j < matrix.columns; ++j)
      squares +=
          tile.getWeights()[j * kLanes + r] * tile.getWeights()[j * kLanes + r];
    double unit = tile.getUnit(r);
    rowErrors[tile.getFirstRow() + r].squares = squares * unit * unit;
  }
}

void quantizeTile(const Tile &tile, const FitPlan &plan,
                  QuantizedMatrix &matrix, RowErrors &rowErrors) {
  TileParameters parameters;
  parameters.groups.resize(matrix.getGroups());
  alignas(64) float errors[kLanes];
  for (int64_t g = 0; g < matrix.getGroups(); ++g)
    fitGroups(getBatch(tile, matrix, g, nullptr), plan, parameters.groups[g],
              errors, nullptr);
  parameters.round(tile, matrix);
  assignTile(tile, parameters, matrix, rowErrors);
}

} // namespace

llvm::Expected<QuantizedMatrix>
nju::lcq::quantizeDataFree(const WeightRows &weights, const LCQOptions &options,
                           QuantizationError *error) {
  if (llvm::Error invalid = options.verify())
    return std::move(invalid);
  if (llvm::Error empty = checkShape(weights.getRows(), weights.getColumns()))
    return std::move(empty);
  llvm::Expected<Basis> basis = fitBasis(weights, options, {});
  if (!basis)
    return basis.takeError();
  QuantizedMatrix matrix =
      QuantizedMatrix::create(weights.getRows(), weights.getColumns(), options);
  matrix.basis = std::move(*basis);
  RowErrors rowErrors(matrix.rows);
  // The further ranks begin at zero and need more rounds.
  FitPlan plan{true, options.rank == 1 ? 2 : 4, true};
  llvm::Error failed =
      forEachTiles(weights, [&](llvm::MutableArrayRef<Tile> tiles) {
        for (Tile &tile : tiles)
          quantizeTile(tile, plan, matrix, rowErrors);
      });
  if (failed)
    return std::move(failed);
  matrix.scales.seal();
  matrix.offsets.seal();
  if (error) {
    *error = {};
    for (const QuantizationError &row : rowErrors) {
      error->squares += row.squares;
      error->errors += row.errors;
    }
  }
  return matrix;
}
