//===- MatMul.cpp - Matrix products -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Panels.h"

using namespace mlir;

LogicalResult nju::verifyPanels(Operation *op, RankedTensorType weight,
                                int64_t columns) {
  if (weight.getRank() != 3 || !weight.hasStaticShape() ||
      weight.getDimSize(2) != kPanelColumns)
    return op->emitOpError()
           << "has weight " << weight << ", expected [panels, K, "
           << kPanelColumns << "]";
  int64_t most = weight.getDimSize(0) * kPanelColumns;
  if (columns > most - kPanelColumns && columns <= most)
    return success();
  InFlightDiagnostic error = op->emitOpError() << "has ";
  if (ShapedType::isDynamic(columns))
    error << "an unknown number of";
  else
    error << columns;
  return error << " columns of weight " << weight << ", expected between "
               << most - kPanelColumns + 1 << " and " << most;
}

LogicalResult nju::LinearOp::verify() {
  RankedTensorType input = getInput().getType(), weight = getWeight().getType();
  RankedTensorType result = getType();
  int64_t columns =
      result.getRank() ? result.getShape().back() : ShapedType::kDynamic;
  if (failed(verifyPanels(*this, weight, columns)))
    return failure();
  if (input.getRank() < 1 || result.getRank() != input.getRank() ||
      input.getShape().back() != weight.getDimSize(1))
    return emitOpError() << "multiplies " << input << " with weight " << weight
                         << ", expected a last dimension of "
                         << weight.getDimSize(1);
  if (getBias() && (getBias().getType().getRank() != 1 ||
                    getBias().getType().getDimSize(0) != columns))
    return emitOpError() << "has bias " << getBias().getType() << ", expected "
                         << columns << " elements";
  return success();
}
