//===- Param.cpp - Weights and constants -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "StoredData.h"
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

RankedTensorType nju::ParamOp::getDataType() {
  if (auto uniform = dyn_cast<UniformDataAttr>(getData()))
    return uniform.getType();
  return getStoredType(getData());
}

llvm::SmallVector<int64_t> nju::ParamOp::getMatrixShape() {
  llvm::SmallVector<int64_t> shape(getDataType().getShape());
  if (auto permutation = getPermutation())
    for (auto [i, dimension] : llvm::enumerate(*permutation))
      shape[i] = getDataType().getDimSize(dimension);
  return shape;
}

LogicalResult nju::ParamOp::verify() {
  RankedTensorType data = getDataType();
  if (!data || !data.hasStaticShape())
    return emitOpError()
           << "has data " << getData()
           << ", expected #nju.file, #nju.uniform or elements of a static "
           << "shape";
  FailureOr<llvm::SmallVector<int64_t>> shape = layoutShape(*this, data);
  auto type = cast<RankedTensorType>(getType());
  if (getFormat().has_value() != getPart().has_value() ||
      (getFormat() && getPanels()))
    return emitOpError() << "has a format or a part alone or besides panels, "
                         << "expected both without panels, or neither";
  auto uniform = dyn_cast<UniformDataAttr>(getData());
  if (getExact() &&
      (!getFormat() || !uniform ||
       getFormat()->getBits() != uniform.getCodes().getBits() ||
       getFormat()->getRank() != 1 || getFormat()->getScaleBits() == 8))
    return emitOpError() << "is exact, expected a format of rank 1, scales of "
                         << "16 or 32 bits, and #nju.uniform codes of as many "
                         << "bits";
  if (succeeded(shape) && getFormat()) {
    if (shape->size() != 2 || (*shape)[0] < 1 || (*shape)[1] < 1)
      return emitOpError() << "has a format, but its data is no matrix";
    auto expected =
        getFormat()->getPartType(*getPart(), (*shape)[0], (*shape)[1]);
    if (type != expected)
      return emitOpError() << "has type " << type << ", but its "
                           << stringifyLCQPart(*getPart()) << " are "
                           << expected;
    return success();
  }
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
