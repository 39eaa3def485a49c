//===- LCQParameters.h - A quantized matrix that is trained -----*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_QUANTIZATION_LCQPARAMETERS_H
#define NJU_QUANTIZATION_LCQPARAMETERS_H

#include "nju/Quantization/QuantizedMatrix.h"
#include "nju/Quantization/WeightRows.h"

namespace nju::lcq {

/// How far one step of training goes, for each kind of parameter, in units of
/// the parameter's own size (see LCQParameters).
struct LCQRates {
  double scales = 4e-3;
  double basis = 1e-3;
  double offsets = 4e-3;
  double weights = 3e-3; ///< Without effect while codes are frozen.

  LCQRates operator*(double factor) const {
    return {scales * factor, basis * factor, offsets * factor,
            weights * factor};
  }
};

/// Gradients with respect to scales [rank, rows, groups], basis [rank, levels]
/// and offsets [rows, groups].
struct CodebookGradients {
  std::vector<double> scales, basis, offsets;
};

/// The gradients of a loss by those with respect to the weights, `gradient`
/// [rows, columns], the codes staying as they are: with dC the sums of the
/// gradients of all weights of a group and a code, dS = V dC', dV = S dC, dB =
/// - sum of dC over the codes. Of the codebook only its form, scales and basis
/// matter. The result does not depend on the number of threads.
CodebookGradients getCodebookGradients(const QuantizedMatrix &matrix,
                                       llvm::ArrayRef<float> gradient);

/// A weight matrix quantized by LCQ as the function of real parameters that can
/// be trained: scales S, basis V, offsets B and, behind the codes, weights W.
/// All are trained relative to a size of their own, so that one rate serves
/// every group: u / 127 for the scales of a group, 127 for the basis, u for
/// offsets and weights, u being the largest magnitude among the codewords of
/// the group at the start. At the beginning the matrix is that of the start.
///
/// Codes are the nearest to W, at each step anew, or frozen. V is rounded to
/// int8, and scales and offsets to the form that stores them when
/// `setRounded` says so; gradients pass through all these as if they were not
/// there ("straight-through"). Takes 17 bytes a weight.
class LCQParameters {
public:
  /// `start` must be a matrix of the forms of LCQ; `weights` what it was
  /// quantized from. A weight whose code in `start` is not that of the nearest
  /// codeword (error compensation chose it so) is replaced by its codeword:
  /// else the first step would lose what was compensated.
  static llvm::Expected<LCQParameters> create(const QuantizedMatrix &start,
                                              const WeightRows &weights);

  int64_t getRows() const { return matrix.rows; }
  int64_t getColumns() const { return matrix.columns; }

  /// Codes stay as they are now, and weights behind them are not trained.
  void setCodesFrozen(bool value) { codesFrozen = value; }
  /// Whether scales and offsets are rounded as they are stored.
  void setRounded(bool value) { rounded = value; }

  /// Makes codebooks and codes from the parameters, and from them the weights
  /// [rows, columns] that `getValues` gives.
  void update();
  llvm::ArrayRef<float> getValues() const { return values; }

  /// One step of Adam (Kingma and Ba, arXiv 1412.6980; decays .9 and .99)
  /// against `gradient`, that of the loss with respect to the values of the
  /// last `update`. The result does not depend on the number of threads.
  void step(llvm::ArrayRef<float> gradient, const LCQRates &rates);

  /// What training has changed.
  struct State {
    std::vector<float> scales, basis, offsets, weights;
    std::vector<uint8_t> codes;
  };
  State getState() const;
  /// Back to an earlier state.
  void setState(const State &state);
  /// Adam's averages begin anew.
  void resetAverages();

  /// The matrix of the parameters, with scales and offsets rounded: what it
  /// dequantizes to are the values after `setRounded(true)` and `update()`.
  QuantizedMatrix finalize();

private:
  /// Parameters with Adam's averages.
  struct Trained {
    std::vector<float> values, means, squares;
  };

  LCQParameters() = default;
  void storeCodebooks();
  void assignCodes(int64_t row);
  void stepWeights(llvm::ArrayRef<float> gradient, double rate);

  /// The present codes and codebooks; scales and offsets in f32, or rounded.
  QuantizedMatrix matrix;
  GroupForm form = GroupForm::Int8;
  std::vector<float> units; ///< u [rows, groups]
  Trained scales, basis, offsets, weights;
  std::vector<float> values;
  bool codesFrozen = false, rounded = false;
  int64_t steps = 0;
};

} // namespace nju::lcq

#endif // NJU_QUANTIZATION_LCQPARAMETERS_H
