//===- Calibration.h - Second moments of a model's activations --*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_EXECUTION_CALIBRATION_H
#define NJU_EXECUTION_CALIBRATION_H

#include "nju/Execution/Executor.h"

namespace nju {

/// What is known of the input of some products.
struct InputMoments {
  mlir::Value input;
  /// Rows that the input has, over all runs.
  int64_t numRows = 0;
  int64_t columns = 0;
  /// X'X for the rows X, which matrices replaced before have changed: [columns,
  /// columns], symmetric.
  std::vector<float> moments;
  /// X'(X0 - X) for the rows X0 of the model as it is: [columns, columns];
  /// empty if they are the same.
  std::vector<float> deviation;
};

/// Takes moments, one input after the other, in the order of execution.
class CalibrationConsumer {
public:
  virtual ~CalibrationConsumer();

  /// Whether `consume` reads moments when it is called with these weights;
  /// without, it gets none of them.
  virtual bool needsMoments(llvm::ArrayRef<ExecutionListener::Weight> weights) {
    return true;
  }

  /// Called once for every input of packed weights, before it is multiplied,
  /// with each weight that it feeds. What is in `moments` may be moved away,
  /// and memory is freed when this returns. A matrix that it replaces in
  /// `weights` is used for the rest of the run, so that what comes after sees
  /// the outputs of the new weights, beside those of the old ones.
  virtual llvm::Error
  consume(InputMoments &moments,
          llvm::MutableArrayRef<ExecutionListener::Weight> weights) = 0;
};

/// Runs `function` on the tokens and gives the moments of every input of packed
/// weights to the consumer. Memory: the values that live at the same time
/// (`statistics`), and two matrices of moments. Fails if an input whose moments
/// are needed has elements that are not finite.
llvm::Error runCalibration(mlir::func::FuncOp function,
                           const TokenBatch &tokens, ParamSource &params,
                           CalibrationConsumer &consumer,
                           ExecutionStatistics *statistics = nullptr);

} // namespace nju

#endif // NJU_EXECUTION_CALIBRATION_H
