//===- Param.cpp - Weights and constants in the lowering -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace nju::lowering;

/// Elements in storage type: i1 becomes i8, signs are dropped.
static DenseElementsAttr toStorage(DenseElementsAttr value) {
  auto type = cast<RankedTensorType>(value.getType());
  RankedTensorType storage = Lowering::convert(type);
  if (storage == type)
    return value;
  unsigned width = storage.getElementTypeBitWidth();
  llvm::SmallVector<APInt> elements;
  for (const APInt &element : value.getValues<APInt>())
    elements.push_back(element.zextOrTrunc(width));
  return DenseElementsAttr::get(storage, elements);
}

static LogicalResult lowerConstant(nju::ConstantOp op, Lowering &lowering) {
  auto value = dyn_cast<DenseElementsAttr>(op.getValue());
  if (!value)
    return op.emitOpError() << "has a value that is no dense attribute, "
                            << "expected dense elements (weights are "
                            << "nju.param)";
  Value result = arith::ConstantOp::create(lowering.b, toStorage(value));
  lowering.bind(op, result);
  return success();
}

/// The reference stays, in storage type; so does the type of the parameter.
static LogicalResult lowerParamRef(nju::ParamRefOp op, Lowering &lowering) {
  RankedTensorType type = Lowering::convert(op.getType());
  auto param =
      SymbolTable::lookupNearestSymbolFrom<nju::ParamOp>(op, op.getParamAttr());
  param.setType(type);
  Value result = nju::ParamRefOp::create(lowering.b, type, op.getParamAttr());
  lowering.bind(op, result);
  return success();
}

void nju::lowering::populateParam(Table &table) {
  table.add<ConstantOp>(lowerConstant);
  table.add<ParamRefOp>(lowerParamRef);
}
