//===- NJUDialect.cpp - The nju dialect -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/IR/DialectImplementation.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;

#include "nju/Dialect/NJU/IR/NJUDialect.cpp.inc"
#include "nju/Dialect/NJU/IR/NJUEnums.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "nju/Dialect/NJU/IR/NJUAttributes.cpp.inc"
#define GET_OP_CLASSES
#include "nju/Dialect/NJU/IR/NJUOps.cpp.inc"

void nju::NJUDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "nju/Dialect/NJU/IR/NJUAttributes.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "nju/Dialect/NJU/IR/NJUOps.cpp.inc"
      >();
}

/// Folders of i1, index and small integer results materialize as constants.
Operation *nju::NJUDialect::materializeConstant(OpBuilder &builder,
                                                Attribute value, Type type,
                                                Location loc) {
  auto elements = dyn_cast<ElementsAttr>(value);
  if (!elements || elements.getShapedType() != type)
    return nullptr;
  return ConstantOp::create(builder, loc, elements);
}
