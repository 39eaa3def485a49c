//===- CalibratedRows.cpp - Quantizes 64 rows by their outputs ------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "CalibratedRows.h"

#include <algorithm>

using namespace nju::lcq;

/// Columns whose errors wait until they are added to the columns that follow,
/// and columns of a chain.
constexpr int64_t kPendingColumns = 128, kChainColumns = 64;
/// Depth of a product for which a panel stays in the second cache.
constexpr int64_t kDepth = 256;

CalibratedRows::CalibratedRows(llvm::MutableArrayRef<Tile> tiles,
                               const Calibration &calibration,
                               QuantizedMatrix &matrix)
    : tiles(tiles), calibration(calibration), matrix(matrix),
      stride(calibration.moments.getStride()),
      parameters(matrix.basis.rank +
                 (matrix.offsetKind != OffsetKind::None ? 1 : 0)),
      weights(stride * kPanel), values(stride * kPanel),
      errors(stride * kPanel), sums(stride * kPanel), codes(stride * kPanel) {
  for (size_t t = 0; t < tiles.size(); ++t) {
    groups[t].groups.resize(matrix.getGroups());
    for (int64_t j = 0; j < matrix.columns; ++j)
      std::copy_n(tiles[t].getWeights() + j * kLanes, kLanes,
                  weights.data() + j * kPanel + t * kLanes);
  }
}

/// Copies the codewords of group `g` to `codewords`.
void CalibratedRows::updateCodewords(int64_t g) {
  std::fill(std::begin(codewords), std::end(codewords), 0.f);
  for (size_t t = 0; t < tiles.size(); ++t)
    getCodewords(groups[t].groups[g], matrix, codewords + t * kLanes, kPanel);
}

//===----------------------------------------------------------------------===//
// Error compensation
//===----------------------------------------------------------------------===//

// With H = N' N, N lower, the best value of column j while the columns after it
// are still free is w_j + sum_{i < j} e_i N_ji / N_jj.

/// Fits group `g` to its compensated weights: what its columns should be, all
/// together, after the errors e before them. They are w + y with N_gg y = N_g
/// e.
void CalibratedRows::fitGroup(int64_t g) {
  int64_t begin = g * matrix.group, end = getEnd(g);
  constexpr int64_t kStep = 32;
  float *y = values.data();
  std::copy(sums.begin() + begin * kPanel, sums.begin() + end * kPanel,
            y + begin * kPanel);
  for (int64_t first = begin; first < end; first += kStep) {
    int64_t last = std::min(end, first + kStep);
    multiplyAdd(last - first, first - begin, -1,
                calibration.factor.getRow(first) + begin, stride,
                y + begin * kPanel, kPanel, y + first * kPanel, kPanel);
    for (int64_t j = first; j < last; ++j) {
      const float *row = calibration.factor.getRow(j);
      multiplyAdd(1, j - first, -1, row + first, stride, y + first * kPanel,
                  kPanel, y + j * kPanel, kPanel);
      for (int64_t lane = 0; lane < kPanel; ++lane)
        y[j * kPanel + lane] /= row[j];
    }
  }
  for (int64_t i = begin * kPanel; i < end * kPanel; ++i)
    values[i] += weights[i];

  FitPlan plan{true, matrix.basis.rank == 1 ? 2 : 4, true};
  for (size_t t = 0; t < tiles.size(); ++t) {
    GroupBatch batch =
        getBatch(tiles[t], matrix, g, calibration.importance.data());
    batch.weights = values.data() + begin * kPanel + t * kLanes;
    batch.stride = kPanel;
    alignas(64) float ignored[kLanes];
    fitGroups(batch, plan, groups[t].groups[g], ignored, nullptr);
  }
}

void CalibratedRows::assignGroup(int64_t g) {
  updateCodewords(g);
  int64_t begin = g * matrix.group, end = getEnd(g);
  for (int64_t first = begin; first < end; first += kChainColumns) {
    int64_t last = std::min(end, first + kChainColumns);
    const float *row = calibration.factor.getRow(first);
    multiplyAdd(last - first, first - begin, 1, row + begin, stride,
                errors.data() + begin * kPanel, kPanel,
                sums.data() + first * kPanel, kPanel);
    ColumnChain chain;
    chain.levels = matrix.getLevels();
    chain.codewords = codewords;
    chain.matrix = row + first;
    chain.matrixStride = stride;
    chain.base = weights.data() + first * kPanel;
    chain.sum = sums.data() + first * kPanel;
    chain.changes = errors.data() + first * kPanel;
    chain.values = values.data() + first * kPanel;
    chain.codes = codes.data() + first * kPanel;
    assignChain(chain, 0, last - first);
  }
}

void CalibratedRows::compensate() {
  int64_t pending = 0; // The first column whose errors wait.
  for (int64_t g = 0; g < matrix.getGroups(); ++g) {
    int64_t begin = g * matrix.group, end = getEnd(g);
    multiplyAdd(end - begin, begin - pending, 1,
                calibration.factor.getRow(begin) + pending, stride,
                errors.data() + pending * kPanel, kPanel,
                sums.data() + begin * kPanel, kPanel);
    fitGroup(g);
    assignGroup(g);
    bool isLast = g + 1 == matrix.getGroups();
    if (isLast || getEnd(g + 1) - pending > kPendingColumns) {
      for (int64_t k = pending; k < end && !isLast; k += kDepth)
        multiplyAdd(stride - end, std::min(kDepth, end - k), 1,
                    calibration.factor.getRow(end) + k, stride,
                    errors.data() + k * kPanel, kPanel,
                    sums.data() + end * kPanel, kPanel);
      pending = end;
    }
  }
  updateSums();
}

//===----------------------------------------------------------------------===//
// Scales
//===----------------------------------------------------------------------===//

/// H errors.
void CalibratedRows::updateSums() {
  std::fill(sums.begin(), sums.end(), 0.f);
  for (int64_t k = 0; k < stride; k += kDepth)
    multiplyAdd(stride, std::min(kDepth, stride - k), 1,
                calibration.moments.getRow(0) + k, stride,
                errors.data() + k * kPanel, kPanel, sums.data(), kPanel);
}

/// Values and errors of the present scales and codes.
void CalibratedRows::updateValues() {
  for (int64_t g = 0; g < matrix.getGroups(); ++g) {
    updateCodewords(g);
    for (int64_t i = g * matrix.group * kPanel; i < getEnd(g) * kPanel; ++i) {
      values[i] = codewords[codes[i] * kPanel + i % kPanel];
      errors[i] = weights[i] - values[i];
    }
  }
  updateSums();
}

/// How each weight depends on the scales and the offset of its group:
/// [parameters, columns, 64].
void CalibratedRows::fillFactors(std::vector<float> &factors) const {
  factors.assign(parameters * stride * kPanel, 0);
  for (unsigned p = 0; p < parameters; ++p) {
    float *out = factors.data() + p * stride * kPanel;
    for (int64_t i = 0; i < matrix.columns * kPanel; ++i)
      out[i] = p < matrix.basis.rank ? matrix.basis.getRow(p)[codes[i]] : -1;
  }
}

/// Adds the columns of group `g` of F' H F to the lower triangles [.., 64].
void CalibratedRows::addNormalEquations(const std::vector<float> &factors,
                                        int64_t g,
                                        std::vector<float> &system) const {
  int64_t begin = g * matrix.group, rows = matrix.columns - begin;
  std::vector<float> product(rows * kPanel);
  for (unsigned q = 0; q < parameters; ++q) {
    std::fill(product.begin(), product.end(), 0.f);
    multiplyAdd(rows, getEnd(g) - begin, 1,
                calibration.moments.getRow(begin) + begin, stride,
                factors.data() + (q * stride + begin) * kPanel, kPanel,
                product.data(), kPanel);
    int64_t column = g * parameters + q;
    for (int64_t other = g; other < matrix.getGroups(); ++other)
      for (unsigned p = other == g ? q : 0; p < parameters; ++p) {
        int64_t row = other * parameters + p, first = other * matrix.group;
        addProducts(getEnd(other) - first,
                    factors.data() + (p * stride + first) * kPanel,
                    product.data() + (first - begin) * kPanel,
                    system.data() + (row * (row + 1) / 2 + column) * kPanel);
      }
  }
}

// The weights are F s for the scales s (and offsets) of all groups of a row:
// (F' H F) d = F' H e is the change d that minimizes the objective.
void CalibratedRows::solveScales() {
  std::vector<float> factors;
  fillFactors(factors);
  int64_t size = matrix.getGroups() * parameters;
  std::vector<float> system(size * (size + 1) / 2 * kPanel);
  std::vector<float> changes(size * kPanel);
  for (int64_t g = 0; g < matrix.getGroups(); ++g) {
    addNormalEquations(factors, g, system);
    int64_t begin = g * matrix.group;
    for (unsigned p = 0; p < parameters; ++p)
      addProducts(getEnd(g) - begin,
                  factors.data() + (p * stride + begin) * kPanel,
                  sums.data() + begin * kPanel,
                  changes.data() + (g * parameters + p) * kPanel);
  }
  solveLanes(size, system.data(), changes.data());
  for (size_t t = 0; t < tiles.size(); ++t)
    for (int64_t g = 0; g < matrix.getGroups(); ++g)
      for (unsigned p = 0; p < parameters; ++p)
        for (int64_t r = 0; r < kLanes; ++r) {
          GroupParameters &group = groups[t].groups[g];
          float &value =
              p < matrix.basis.rank ? group.scales[p][r] : group.offset[r];
          value += changes[(g * parameters + p) * kPanel + t * kLanes + r];
        }
  updateValues();
}

void CalibratedRows::roundScales() {
  for (size_t t = 0; t < tiles.size(); ++t)
    groups[t].round(tiles[t], matrix);
  updateValues();
}

//===----------------------------------------------------------------------===//
// Codes
//===----------------------------------------------------------------------===//

void CalibratedRows::descend() {
  std::vector<float> changes(kChainColumns * kPanel);
  for (int64_t begin = 0; begin < matrix.columns; begin += kChainColumns) {
    int64_t end = std::min(matrix.columns, begin + kChainColumns);
    ColumnChain chain;
    chain.levels = matrix.getLevels();
    chain.codewords = codewords;
    chain.matrix = calibration.moments.getRow(begin) + begin;
    chain.matrixStride = stride;
    chain.base = chain.values = values.data() + begin * kPanel;
    chain.sum = sums.data() + begin * kPanel;
    chain.changes = changes.data();
    chain.codes = codes.data() + begin * kPanel;
    for (int64_t g = begin / matrix.group; g * matrix.group < end; ++g) {
      updateCodewords(g);
      assignChain(chain, std::max(begin, g * matrix.group) - begin,
                  std::min(end, getEnd(g)) - begin);
    }
    multiplyAdd(stride, end - begin, 1, calibration.moments.getRow(0) + begin,
                stride, changes.data(), kPanel, sums.data(), kPanel);
    for (int64_t i = begin * kPanel; i < end * kPanel; ++i)
      errors[i] = weights[i] - values[i];
  }
}

void CalibratedRows::storeCodes() const {
  for (size_t t = 0; t < tiles.size(); ++t)
    for (int64_t r = 0; r < tiles[t].getRows(); ++r) {
      uint8_t *out =
          matrix.codes.data() + (tiles[t].getFirstRow() + r) * matrix.columns;
      for (int64_t j = 0; j < matrix.columns; ++j)
        out[j] = codes[j * kPanel + t * kLanes + r];
    }
}

//===----------------------------------------------------------------------===//
// What it cost
//===----------------------------------------------------------------------===//

double CalibratedRows::getObjective(int64_t row) const {
  double objective = 0, unit = tiles[row / kLanes].getUnit(row % kLanes);
  for (int64_t j = 0; j < matrix.columns; ++j)
    objective += double(errors[j * kPanel + row]) * sums[j * kPanel + row];
  return objective * unit * unit;
}

std::vector<double> CalibratedRows::getZeroObjectives() const {
  std::vector<float> products(stride * kPanel);
  for (int64_t k = 0; k < stride; k += kDepth)
    multiplyAdd(stride, std::min(kDepth, stride - k), 1,
                calibration.moments.getRow(0) + k, stride,
                weights.data() + k * kPanel, kPanel, products.data(), kPanel);
  std::vector<double> objectives(kPanel);
  for (size_t row = 0; row < tiles.size() * kLanes; ++row) {
    double unit = tiles[row / kLanes].getUnit(row % kLanes);
    for (int64_t j = 0; j < matrix.columns; ++j)
      objectives[row] +=
          unit * unit * weights[j * kPanel + row] * products[j * kPanel + row];
  }
  return objectives;
}

void CalibratedRows::getSquares(int64_t row, double &ofWeights,
                                double &ofErrors) const {
  double unit = tiles[row / kLanes].getUnit(row % kLanes);
  ofWeights = ofErrors = 0;
  for (int64_t j = 0; j < matrix.columns; ++j) {
    double weight = weights[j * kPanel + row] * unit;
    double error = errors[j * kPanel + row] * unit;
    ofWeights += weight * weight;
    ofErrors += error * error;
  }
}
