//===- Calibration.cpp - Second moments of a model's activations ----------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Execution/Calibration.h"

#include "ExecuteImpl.h"
#include "nju/Support/MatrixProduct.h"
#include <cmath>

using namespace mlir;
using namespace nju;

CalibrationConsumer::~CalibrationConsumer() = default;

namespace {

/// Makes moments of inputs, and hands them on.
class MomentsListener : public ExecutionListener {
public:
  explicit MomentsListener(CalibrationConsumer &consumer)
      : consumer(consumer) {}

  llvm::Error onProducts(Value input, ArrayRef<HostTensor> runs,
                         ArrayRef<HostTensor> original,
                         llvm::MutableArrayRef<Weight> weights) override;

private:
  CalibrationConsumer &consumer;
};

} // namespace

/// X'(X0 - X) for rows X and X0.
static std::vector<float> getDeviation(const HostTensor &x,
                                       const HostTensor &original, int64_t rows,
                                       int64_t columns) {
  std::vector<float> difference(rows * columns), result(columns * columns);
  ArrayRef<float> from = x.elements<float>(), to = original.elements<float>();
  for (size_t i = 0; i < difference.size(); ++i)
    difference[i] = to[i] - from[i];
  multiplyMatrices(columns, columns, rows, {from.data(), 1, columns},
                   {difference.data(), columns}, result.data(), columns);
  return result;
}

/// Fills in what products of rows make.
static llvm::Error computeMoments(ArrayRef<HostTensor> runs,
                                  ArrayRef<HostTensor> original,
                                  StringRef weight, InputMoments &result) {
  HostTensor x = nju::detail::joinRows(runs, result.columns);
  result.moments.resize(result.columns * result.columns);
  multiplyTransposed(result.numRows, result.columns, x.elements<float>().data(),
                     result.columns, result.moments.data());
  // A sum of squares is finite if and only if all of them are and fit f32.
  for (int64_t i = 0; i < result.columns; ++i)
    if (!std::isfinite(result.moments[i * result.columns + i]))
      return llvm::createStringError(
          "the inputs of weight '" + weight +
          "' are not finite on the calibration text (column " + llvm::Twine(i) +
          " of " + llvm::Twine(result.columns) + ")");
  if (runs.data() != original.data())
    result.deviation =
        getDeviation(x, nju::detail::joinRows(original, result.columns),
                     result.numRows, result.columns);
  return llvm::Error::success();
}

llvm::Error MomentsListener::onProducts(Value input, ArrayRef<HostTensor> runs,
                                        ArrayRef<HostTensor> original,
                                        llvm::MutableArrayRef<Weight> weights) {
  InputMoments result;
  result.input = input;
  result.columns = weights.front().matrix.getDepth();
  for (const HostTensor &run : runs)
    result.numRows +=
        run.getNumElements() / std::max<int64_t>(1, result.columns);
  if (consumer.needsMoments(weights))
    if (llvm::Error error = computeMoments(
            runs, original, weights.front().param.getSymName(), result))
      return error;
  return consumer.consume(result, weights);
}

llvm::Error nju::runCalibration(func::FuncOp function, const TokenBatch &tokens,
                                ParamSource &params,
                                CalibrationConsumer &consumer,
                                ExecutionStatistics *statistics) {
  auto arguments = makeArguments(function, tokens);
  if (!arguments)
    return arguments.takeError();
  MomentsListener listener(consumer);
  Executor executor(function, params, &listener);
  llvm::Error result = executor.runForListener(std::move(*arguments));
  if (statistics)
    *statistics = executor.getStatistics();
  return result;
}
