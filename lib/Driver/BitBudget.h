//===- BitBudget.h - Bits of each weight under a budget ---------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_DRIVER_BITBUDGET_H
#define NJU_LIB_DRIVER_BITBUDGET_H

#include "QuantizationPlan.h"
#include "nju/Execution/Calibration.h"
#include "nju/Quantization/Allocation.h"
#include "nju/Quantization/WeightRows.h"
#include "nju/Refinement/Sensitivity.h"
#include "llvm/ADT/STLFunctionalExtras.h"

namespace nju {

/// Chooses the format of each weight, so that all together take at most so many
/// bits a weight, everything counted, and lose little.
///
/// Some rows of each matrix are quantized in every format. What a format costs
/// is, with calibration, the growth of the loss that the squared error of the
/// outputs makes (Sensitivity.h), or where a model has no gradients the
/// relative squared error of the outputs, times the number of weights; without,
/// that of the weights.
class BitBudget : CalibrationConsumer {
public:
  using ShowProgress = llvm::function_ref<void(uint64_t done, uint64_t total)>;

  /// `weights`: all that a module has; those of them that are too small to gain
  /// anything stay as they are and are not counted.
  BitBudget(double bitsPerWeight, llvm::ArrayRef<QuantizableWeight> weights);

  /// Measures formats by the weights alone.
  llvm::Error measureWeights(ShowProgress progress);
  /// Measures them by what `function` makes of tokens. The module is the one
  /// that the weights are of.
  llvm::Error measureOutputs(mlir::func::FuncOp function,
                             const TokenBatch &tokens, ParamSource &params,
                             ShowProgress progress);

  /// The format of each weight. An error if the smallest formats take more
  /// bits.
  llvm::Expected<std::vector<QuantizationPlan::Format>> choose() const;

private:
  struct Candidate {
    lcq::LCQOptions format;
    lcq::FormatChoice choice;
  };
  struct Matrix {
    QuantizableWeight weight;
    std::vector<Candidate> candidates; ///< None if it stays as it is.

    int64_t countElements() const { return weight.rows * weight.columns; }
  };

  llvm::Error
  consume(InputMoments &moments,
          llvm::MutableArrayRef<ExecutionListener::Weight> weights) override;
  llvm::Error addProduct(Matrix &matrix, const InputMoments &moments);
  llvm::Error addLookUps(Matrix &matrix, const TokenBatch &tokens);
  Matrix *findMatrix(llvm::StringRef name);
  void findSensitivities(mlir::func::FuncOp function, const TokenBatch &tokens,
                         ParamSource &params);
  void advance(const Matrix &matrix);

  double bitsPerWeight;
  std::vector<Matrix> matrices; ///< As many as there are weights.
  int64_t elements = 0;         ///< Of what is quantized.
  /// By name; none where the model has no gradients.
  std::optional<llvm::StringMap<Sensitivity>> sensitivities;
  ShowProgress progress = nullptr;
  uint64_t measured = 0; ///< Elements.
};

} // namespace nju

#endif // NJU_LIB_DRIVER_BITBUDGET_H
