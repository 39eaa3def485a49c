//===- Elementwise.cpp - Element-wise ops -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Dialect/NJU/IR/NJU.h"

using namespace mlir;

LogicalResult nju::CompareOp::verify() {
  Type lhs = getLhs().getType().getElementType();
  Type rhs = getRhs().getType().getElementType();
  if (lhs != rhs)
    return emitOpError() << "compares " << lhs << " with " << rhs
                         << ", expected one element type";
  return success();
}

LogicalResult nju::SelectOp::verify() {
  Type trueType = getTrueValue().getType().getElementType();
  Type falseType = getFalseValue().getType().getElementType();
  if (trueType != falseType || trueType != getType().getElementType())
    return emitOpError() << "chooses between " << trueType << " and "
                         << falseType << " for a result of "
                         << getType().getElementType()
                         << ", expected one element type";
  return success();
}

OpFoldResult nju::CastOp::fold(FoldAdaptor) {
  return getInput().getType() == getType() ? OpFoldResult(getInput())
                                           : OpFoldResult();
}
