//===- Normalization.cpp - Normalizations -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Dialect/NJU/IR/NJU.h"

using namespace mlir;

/// Both norms: a vector of weights as long as the last dimension.
static LogicalResult verifyScale(Operation *op, StringRef name,
                                 RankedTensorType input,
                                 RankedTensorType scale) {
  if (input.getRank() >= 1 && scale.getRank() == 1 &&
      scale.getDimSize(0) == input.getShape().back())
    return success();
  return op->emitOpError() << "has " << name << " " << scale << " for input "
                           << input << ", expected a vector as long as the "
                           << "last dimension";
}

LogicalResult nju::RMSNormOp::verify() {
  return verifyScale(*this, "weight", getInput().getType(),
                     getWeight().getType());
}

LogicalResult nju::LayerNormOp::verify() {
  if (failed(verifyScale(*this, "weight", getInput().getType(),
                         getWeight().getType())))
    return failure();
  if (!getBias())
    return success();
  return verifyScale(*this, "bias", getInput().getType(), getBias().getType());
}
