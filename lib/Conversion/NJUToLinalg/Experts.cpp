//===- Experts.cpp - Mixtures of experts to exec -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"
#include "nju/Dialect/Exec/IR/Exec.h"

using namespace mlir;
using namespace nju::lowering;

static LogicalResult lowerExpertLinear(nju::ExpertLinearOp op,
                                       Lowering &lowering) {
  Value choices = lowering[op.getChoices()];
  RankedTensorType type = op.getType();
  llvm::SmallVector<Value> dims = lowering.dims(choices);
  dims.push_back(lowering.index(type.getShape().back()));
  llvm::SmallVector<Value> weights;
  for (Value weight : op.getWeights())
    weights.push_back(lowering[weight]);
  auto product = nju::exec::LinearOp::create(
      lowering.b, type, lowering[op.getInput()], weights, choices,
      /*others=*/ValueRange(), lowering.empty(type, dims), op.getFormatAttr(),
      lowering.b.getI64IntegerAttr(op.getNumExperts()));
  lowering.bind(op, product.getResult(), dims);
  return success();
}

void nju::lowering::populateExperts(Table &table) {
  table.add<ExpertLinearOp>(lowerExpertLinear);
}
