//===- CalibratedRows.h - Quantizes 64 rows by their outputs ----*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_QUANTIZATION_CALIBRATEDROWS_H
#define NJU_LIB_QUANTIZATION_CALIBRATEDROWS_H

#include "LinearAlgebra.h"
#include "Tile.h"

namespace nju::lcq {

/// What all rows of a matrix share.
struct Calibration {
  SquareMatrix moments; ///< H, damped, with a mean diagonal of about 1.
  SquareMatrix factor;  ///< N with H = N' N.
  std::vector<float> importance; ///< The diagonal of H.
};

/// Quantizes up to four tiles of a matrix. All arrays are [columns, 64], with
/// the columns filled up as those of H are; the filling has no error.
class CalibratedRows {
public:
  CalibratedRows(llvm::MutableArrayRef<Tile> tiles,
                 const Calibration &calibration, QuantizedMatrix &matrix);

  /// Assigns codes from the first to the last column and compensates the error
  /// of each in those that follow.
  void compensate();
  /// Solves for all scales of a row at once.
  void solveScales();
  /// Rounds the scales to what the matrix stores, and stores them.
  void roundScales();
  /// Gives each column in turn its best code.
  void descend();
  /// Stores the codes.
  void storeCodes() const;

  /// tr(E H E') of a row, in units of the calibration's H.
  double getObjective(int64_t row) const;
  /// The same with zeros in place of the weights.
  std::vector<double> getZeroObjectives() const;
  /// Sums of the squares of a row's weights and errors.
  void getSquares(int64_t row, double &weights, double &errors) const;

private:
  int64_t getEnd(int64_t g) const {
    return std::min(matrix.columns, (g + 1) * matrix.group);
  }
  void fitGroup(int64_t g);
  void assignGroup(int64_t g);
  void fillFactors(std::vector<float> &factors) const;
  void addNormalEquations(const std::vector<float> &factors, int64_t g,
                          std::vector<float> &system) const;
  void updateCodewords(int64_t g);
  void updateValues();
  void updateSums();

  llvm::MutableArrayRef<Tile> tiles;
  const Calibration &calibration;
  QuantizedMatrix &matrix;
  int64_t stride;      ///< Columns with the filling.
  unsigned parameters; ///< Scales and offset of a group.
  TileParameters groups[kTilesOfTask];
  std::vector<float> weights, values;
  std::vector<float> errors; ///< weights - values
  /// In `compensate` what the errors before a column add to its target; after
  /// it H errors.
  std::vector<float> sums;
  std::vector<uint8_t> codes;
  alignas(64) float codewords[16 * kPanel]; ///< Of the group at hand.
};

} // namespace nju::lcq

#endif // NJU_LIB_QUANTIZATION_CALIBRATEDROWS_H
