//===- Tile.cpp - 16 rows in 16 lanes -------------------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Tile.h"

#include "CheckWeights.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/Parallel.h"
#include <algorithm>
#include <cmath>
#include <string>

using namespace nju::lcq;
using llvm::ArrayRef;

/// Rows that are read together: 64 side by side 16-bit weights of a matrix that
/// is stored by columns are two cache lines.
constexpr int64_t kRowsOfTask = kTilesOfTask * kLanes;

Tile::Tile(int64_t firstRow, int64_t rows, int64_t columns,
           ArrayRef<float> values)
    : firstRow(firstRow), rows(rows), columns(columns),
      weights(columns * kLanes) {
  for (int64_t r = 0; r < kLanes; ++r) {
    units[r] = inverses[r] = 1;
    if (r >= rows)
      continue;
    float magnitude = 0;
    for (float value : values.slice(r * columns, columns))
      magnitude = std::max(magnitude, std::abs(value));
    int exponent;
    std::frexp(magnitude, &exponent);
    // Both the unit and its inverse are normal numbers.
    exponent = std::clamp(exponent, -126, 126);
    units[r] = std::ldexp(1.f, exponent);
    inverses[r] = std::ldexp(1.f, -exponent);
  }
  constexpr int64_t kBlock = 16;
  for (int64_t begin = 0; begin < columns; begin += kBlock) {
    int64_t end = std::min(columns, begin + kBlock);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t j = begin; j < end; ++j)
        weights[j * kLanes + r] = values[r * columns + j] * inverses[r];
  }
}

void TileParameters::round(const Tile &tile, QuantizedMatrix &matrix) {
  std::vector<float> values(groups.size());
  auto store = [&](GroupValues &to, unsigned plane, int64_t row, auto member) {
    for (size_t g = 0; g < groups.size(); ++g)
      values[g] = member(groups[g])[row] * tile.getUnit(row);
    to.storeRow(plane, tile.getFirstRow() + row, values);
    for (size_t g = 0; g < groups.size(); ++g)
      member(groups[g])[row] = values[g] / tile.getUnit(row);
  };
  for (int64_t row = 0; row < tile.getRows(); ++row) {
    for (unsigned k = 0; k < matrix.basis.rank; ++k)
      store(matrix.scales, k, row,
            [k](GroupParameters &group) { return group.scales[k]; });
    if (matrix.offsetKind != OffsetKind::None)
      store(matrix.offsets, 0, row,
            [](GroupParameters &group) { return group.offset; });
  }
}

void nju::lcq::getCodewords(const GroupParameters &group,
                            const QuantizedMatrix &matrix, float *codewords,
                            int64_t stride) {
  bool hasOffset = matrix.offsetKind != OffsetKind::None;
  for (unsigned l = 0; l < matrix.getLevels(); ++l)
    for (int64_t r = 0; r < kLanes; ++r) {
      float codeword = 0;
      for (unsigned k = 0; k < matrix.basis.rank; ++k) {
        float term = group.scales[k][r] * matrix.basis.getRow(k)[l];
        codeword = k == 0 ? term : codeword + term;
      }
      if (hasOffset)
        codeword -= group.offset[r];
      codewords[l * stride + r] = codeword;
    }
}

GroupBatch nju::lcq::getBatch(const Tile &tile, const QuantizedMatrix &matrix,
                              int64_t g, const float *importance) {
  GroupBatch batch;
  batch.levels = matrix.getLevels();
  batch.rank = matrix.basis.rank;
  batch.hasOffset = matrix.offsetKind != OffsetKind::None;
  batch.basis = matrix.basis.values.data();
  int64_t begin = g * matrix.group;
  batch.columns = std::min(matrix.group, tile.getColumns() - begin);
  batch.weights = tile.getWeights() + begin * kLanes;
  batch.importance = importance ? importance + begin : nullptr;
  return batch;
}

llvm::Expected<Tile> nju::lcq::readTile(const WeightRows &weights,
                                        int64_t firstRow) {
  int64_t columns = weights.getColumns();
  int64_t rows = std::min<int64_t>(kLanes, weights.getRows() - firstRow);
  std::vector<float> values(rows * columns);
  if (llvm::Error error = weights.read(firstRow, firstRow + rows, values))
    return std::move(error);
  if (llvm::Error error = checkFinite(values, firstRow, columns))
    return std::move(error);
  return Tile(firstRow, rows, columns, values);
}

using TileBody = llvm::function_ref<void(llvm::MutableArrayRef<Tile>)>;

/// Reads the rows of a task and calls `body` with their tiles.
static llvm::Error runTask(const WeightRows &weights, int64_t begin,
                           TileBody body) {
  int64_t end = std::min(weights.getRows(), begin + kRowsOfTask);
  int64_t columns = weights.getColumns();
  std::vector<float> values((end - begin) * columns);
  if (llvm::Error error = weights.read(begin, end, values))
    return error;
  if (llvm::Error error = checkFinite(values, begin, columns))
    return error;
  llvm::SmallVector<Tile, kTilesOfTask> tiles;
  for (int64_t row = begin; row < end; row += kLanes) {
    int64_t rows = std::min<int64_t>(kLanes, end - row);
    tiles.emplace_back(
        row, rows, columns,
        ArrayRef<float>(values).slice((row - begin) * columns, rows * columns));
  }
  values = {};
  body(tiles);
  return llvm::Error::success();
}

llvm::Error nju::lcq::forEachTiles(const WeightRows &weights, TileBody body) {
  int64_t tasks = (weights.getRows() + kRowsOfTask - 1) / kRowsOfTask;
  std::vector<std::string> errors(tasks);
  llvm::parallelFor(0, tasks, [&](size_t task) {
    if (llvm::Error error = runTask(weights, task * kRowsOfTask, body))
      errors[task] = llvm::toString(std::move(error));
  });
  // The first of the matrix, whichever thread met its own first.
  for (const std::string &error : errors)
    if (!error.empty())
      return llvm::createStringError(error);
  return llvm::Error::success();
}
