//===- Param.cpp - Weights and constants -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Dialect/NJU/IR/NJU.h"

using namespace mlir;

/// Shape that the stored tensor has after permutation and panels.
static FailureOr<llvm::SmallVector<int64_t>>
layoutShape(nju::ParamOp op, RankedTensorType data) {
  llvm::SmallVector<int64_t> shape(data.getShape());
  if (auto permutation = op.getPermutation()) {
    if (permutation->size() != shape.size())
      return failure();
    for (auto [i, dim] : llvm::enumerate(*permutation)) {
      if (dim < 0 || dim >= data.getRank())
        return failure();
      shape[i] = data.getDimSize(dim);
    }
  }
  if (auto panels = op.getPanels()) {
    if (shape.size() != 2 || *panels < 1)
      return failure();
    int64_t count = llvm::divideCeil(shape[1], *panels);
    shape = {count, shape[0], static_cast<int64_t>(*panels)};
  }
  return shape;
}

LogicalResult nju::ParamOp::verify() {
  RankedTensorType data;
  if (auto file = dyn_cast<FileDataAttr>(getData()))
    data = file.getType();
  else if (auto elements = dyn_cast<ElementsAttr>(getData()))
    data = dyn_cast<RankedTensorType>(elements.getShapedType());
  if (!data || !data.hasStaticShape())
    return emitOpError()
           << "has data " << getData()
           << ", expected #nju.file or elements of a static shape";
  FailureOr<llvm::SmallVector<int64_t>> shape = layoutShape(*this, data);
  auto type = cast<RankedTensorType>(getType());
  if (failed(shape) || type.getShape() != llvm::ArrayRef<int64_t>(*shape))
    return emitOpError() << "has type " << type
                         << ", which its data and layout do not give";
  return success();
}

LogicalResult
nju::ParamRefOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto param = symbols.lookupNearestSymbolFrom<ParamOp>(*this, getParamAttr());
  if (!param)
    return emitOpError() << "refers to " << getParamAttr()
                         << ", which is no nju.param";
  if (param.getType() != getType())
    return emitOpError() << "has type " << getType() << ", but "
                         << getParamAttr() << " is " << param.getType();
  return success();
}

OpFoldResult nju::ConstantOp::fold(FoldAdaptor) { return getValueAttr(); }
