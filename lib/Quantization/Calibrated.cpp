//===- Calibrated.cpp - Quantizes weights by their outputs ----------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Quantization/Calibrated.h"

#include "BasisFit.h"
#include "CalibratedRows.h"
#include "CheckWeights.h"
#include "Correction.h"
#include "llvm/ADT/Twine.h"
#include <cmath>

using namespace nju::lcq;
using llvm::ArrayRef;
using llvm::Expected;
using llvm::Twine;

/// What is added to the diagonal of H, relative to its mean; as much as ten
/// times more each time that H is not positive in f32, up to the mean itself.
constexpr double kDamping = 0.01, kMaxDamping = 1;
/// What an element of H is at least, relative to the mean diagonal, or zero.
constexpr double kNegligible = 1e-15;

/// An error if H is not that of any activations.
template <typename T>
static Expected<double> getMeanDiagonal(ArrayRef<T> moments, int64_t columns) {
  if (int64_t(moments.size()) != columns * columns)
    return llvm::createStringError(
        Twine(moments.size()) + " second moments do not fit a matrix of " +
        Twine(columns) + " columns, expected " + Twine(columns * columns));
  double sum = 0;
  for (int64_t i = 0; i < columns; ++i) {
    for (int64_t j = 0; j < columns; ++j)
      if (!std::isfinite(moments[i * columns + j]))
        return llvm::createStringError("second moment of columns " + Twine(i) +
                                       " and " + Twine(j) +
                                       " is not finite, expected X'X of the "
                                       "layer's inputs");
    T own = moments[i * columns + i];
    if (own < 0)
      return llvm::createStringError("second moment of column " + Twine(i) +
                                     " is negative, expected X'X of the "
                                     "layer's inputs");
    sum += own;
  }
  if (sum == 0)
    return llvm::createStringError(
        "second moments are all zero: no calibration token reached the layer");
  return sum / columns;
}

/// H over its mean diagonal, with `damping` on the diagonal; the filling is the
/// identity.
template <typename T>
static void fillMoments(ArrayRef<T> moments, int64_t columns, double mean,
                        double damping, SquareMatrix &out) {
  for (int64_t i = 0; i < out.getStride(); ++i) {
    float *row = out.getRow(i);
    std::fill(row, row + out.getStride(), 0.f);
    for (int64_t j = 0; j < columns && i < columns; ++j) {
      double value = (double(moments[i * columns + j]) +
                      double(moments[j * columns + i])) /
                     (2 * mean);
      // Products with less could be subnormal, which is slow.
      row[j] = std::abs(value) < kNegligible ? 0 : value;
    }
    row[i] += i < columns ? damping : 1;
  }
}

template <typename T>
static llvm::Error calibrate(ArrayRef<T> moments, int64_t columns, double mean,
                             Calibration &calibration) {
  for (double damping = kDamping; damping <= kMaxDamping; damping *= 10) {
    fillMoments(moments, columns, mean, damping, calibration.moments);
    calibration.factor = calibration.moments;
    if (!factorizeFromBelow(calibration.factor))
      continue;
    for (int64_t j = 0; j < columns; ++j)
      calibration.importance.push_back(calibration.moments.getRow(j)[j]);
    return llvm::Error::success();
  }
  return llvm::createStringError("second moments are not positive, expected "
                                 "X'X of the layer's inputs");
}

namespace {

/// What each row cost: sums over rows must not depend on threads.
class RowReports {
public:
  RowReports(int64_t rows, int rounds)
      : stages(2 * rounds), objectives(rows * stages), results(rows),
        zeros(rows), squares(rows) {}

  void record(const CalibratedRows &block, ArrayRef<Tile> tiles, int stage) {
    forEachRow(tiles, [&](int64_t lane, int64_t row) {
      objectives[row * stages + stage] = block.getObjective(lane);
    });
  }
  void recordResult(const CalibratedRows &block, ArrayRef<Tile> tiles) {
    std::vector<double> zeroObjectives = block.getZeroObjectives();
    forEachRow(tiles, [&](int64_t lane, int64_t row) {
      results[row] = block.getObjective(lane);
      zeros[row] = zeroObjectives[lane];
      block.getSquares(lane, squares[row].squares, squares[row].errors);
    });
  }
  void sum(double mean, CalibrationReport &report) const {
    report = {};
    report.objectives.resize(stages);
    for (size_t row = 0; row < results.size(); ++row) {
      for (int stage = 0; stage < stages; ++stage)
        report.objectives[stage] += mean * objectives[row * stages + stage];
      report.objective += mean * results[row];
      report.zeroObjective += mean * zeros[row];
      report.weights.squares += squares[row].squares;
      report.weights.errors += squares[row].errors;
    }
  }

private:
  template <typename Body>
  static void forEachRow(ArrayRef<Tile> tiles, Body body) {
    for (size_t t = 0; t < tiles.size(); ++t)
      for (int64_t r = 0; r < tiles[t].getRows(); ++r)
        body(t * kLanes + r, tiles[t].getFirstRow() + r);
  }

  int stages;
  std::vector<double> objectives, results, zeros;
  std::vector<QuantizationError> squares;
};

} // namespace

/// Quantizes a matrix for which everything is known to be right.
static Expected<QuantizedMatrix>
quantizeRows(const WeightRows &weights, const Calibration &calibration,
             double mean, const LCQOptions &options, int rounds,
             CalibrationReport *report) {
  Expected<Basis> basis = fitBasis(weights, options, calibration.importance);
  if (!basis)
    return basis.takeError();
  int64_t rows = weights.getRows();
  QuantizedMatrix matrix =
      QuantizedMatrix::create(rows, weights.getColumns(), options);
  matrix.basis = std::move(*basis);
  RowReports reports(rows, rounds);
  llvm::Error failed =
      forEachTiles(weights, [&](llvm::MutableArrayRef<Tile> tiles) {
        CalibratedRows block(tiles, calibration, matrix);
        block.compensate();
        reports.record(block, tiles, 0);
        for (int round = 0; round < rounds; ++round) {
          block.solveScales();
          reports.record(block, tiles, 2 * round + 1);
          if (round + 1 == rounds)
            block.roundScales();
          block.descend();
          if (round + 1 < rounds)
            reports.record(block, tiles, 2 * round + 2);
        }
        block.storeCodes();
        reports.recordResult(block, tiles);
      });
  if (failed)
    return std::move(failed);
  matrix.scales.seal();
  matrix.offsets.seal();
  if (report)
    reports.sum(mean, *report);
  return matrix;
}

static llvm::Error checkDeviation(ArrayRef<float> deviation, int64_t columns) {
  if (!deviation.empty() && int64_t(deviation.size()) != columns * columns)
    return llvm::createStringError(
        Twine(deviation.size()) + " deviations do not fit a matrix of " +
        Twine(columns) + " columns, expected " + Twine(columns * columns));
  for (size_t i = 0; i < deviation.size(); ++i)
    if (!std::isfinite(deviation[i]))
      return llvm::createStringError(
          "deviation of columns " + Twine(i / columns) + " and " +
          Twine(i % columns) +
          " is not finite, expected X'(X0 - X) of the layer's inputs");
  return llvm::Error::success();
}

template <typename T>
static Expected<QuantizedMatrix>
quantizeBy(const WeightRows &weights, ArrayRef<T> moments,
           const LCQOptions &options, int rounds, CalibrationReport *report,
           const InputDeviation &deviation) {
  if (llvm::Error invalid = options.verify())
    return std::move(invalid);
  int64_t rows = weights.getRows(), columns = weights.getColumns();
  if (llvm::Error empty = checkShape(rows, columns))
    return std::move(empty);
  if (rounds < 1)
    return llvm::createStringError(
        Twine(rounds) + " rounds of calibration, expected 1 or more");
  Expected<double> mean = getMeanDiagonal(moments, columns);
  if (!mean)
    return mean.takeError();
  Calibration calibration{SquareMatrix(columns), SquareMatrix(columns), {}};
  if (llvm::Error error = calibrate(moments, columns, *mean, calibration))
    return std::move(error);
  if (llvm::Error error = checkDeviation(deviation.sums, columns))
    return std::move(error);
  if (deviation.sums.empty())
    return quantizeRows(weights, calibration, *mean, options, rounds, report);
  Expected<std::vector<float>> corrected =
      correctWeights(weights, deviation, *mean, calibration.factor);
  if (!corrected)
    return corrected.takeError();
  StridedWeights target(corrected->data(), WeightType::F32, rows, columns);
  return quantizeRows(target, calibration, *mean, options, rounds, report);
}

Expected<QuantizedMatrix>
nju::lcq::quantizeCalibrated(const WeightRows &weights, ArrayRef<float> moments,
                             const LCQOptions &options, int rounds,
                             CalibrationReport *report,
                             const InputDeviation &deviation) {
  return quantizeBy(weights, moments, options, rounds, report, deviation);
}

Expected<QuantizedMatrix> nju::lcq::quantizeCalibrated(
    const WeightRows &weights, ArrayRef<double> moments,
    const LCQOptions &options, int rounds, CalibrationReport *report) {
  return quantizeBy(weights, moments, options, rounds, report, {});
}
