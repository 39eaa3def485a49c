//===- MatMul.cpp - Matrix products -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Dialect/NJU/IR/NJU.h"

using namespace mlir;

LogicalResult nju::LinearOp::verify() {
  RankedTensorType input = getInput().getType(), weight = getWeight().getType();
  RankedTensorType result = getType();
  if (weight.getRank() != 3 || !weight.hasStaticShape() ||
      weight.getDimSize(2) != kPanelColumns)
    return emitOpError() << "has weight " << weight << ", expected [panels, K, "
                         << kPanelColumns << "]";
  if (input.getRank() < 1 || result.getRank() != input.getRank() ||
      input.getShape().back() != weight.getDimSize(1))
    return emitOpError() << "multiplies " << input << " with weight " << weight
                         << ", expected a last dimension of "
                         << weight.getDimSize(1);
  int64_t columns = result.getShape().back();
  if (ShapedType::isDynamic(columns) ||
      llvm::divideCeil(columns, kPanelColumns) !=
          static_cast<uint64_t>(weight.getDimSize(0)))
    return emitOpError() << "has result " << result << ", expected between "
                         << (weight.getDimSize(0) - 1) * kPanelColumns + 1
                         << " and " << weight.getDimSize(0) * kPanelColumns
                         << " columns";
  if (getBias() && (getBias().getType().getRank() != 1 ||
                    getBias().getType().getDimSize(0) != columns))
    return emitOpError() << "has bias " << getBias().getType() << ", expected "
                         << columns << " elements";
  return success();
}
