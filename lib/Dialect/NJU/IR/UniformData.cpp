//===- UniformData.cpp - Weights that came quantized -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "StoredData.h"
#include "nju/Dialect/NJU/IR/NJU.h"

using namespace mlir;

LogicalResult nju::PackedIntegersAttr::verify(
    llvm::function_ref<InFlightDiagnostic()> emitError, Attribute data,
    int64_t bits, int64_t rowBits, bool) {
  RankedTensorType type = nju::getStoredType(data);
  if (!type || type.getRank() != 1 || !type.hasStaticShape() ||
      !type.getElementType().isUnsignedInteger(8))
    return emitError() << "#nju.packed has data " << data
                       << ", expected a #nju.file or elements of tensor<?xui8>";
  if (bits != 2 && bits != 4 && bits != 8)
    return emitError() << "#nju.packed has elements of " << bits
                       << " bits, expected 2, 4 or 8";
  if (rowBits < 0 || rowBits % bits != 0)
    return emitError() << "#nju.packed has rows of " << rowBits
                       << " bits, expected a multiple of " << bits;
  return success();
}

bool nju::PackedIntegersAttr::holds(int64_t rows, int64_t columns) const {
  int64_t bits = 0, own = 0;
  // A row is never longer than from its begin to the next.
  if (rows == 0 || columns == 0)
    return true;
  if (llvm::MulOverflow(columns, getBits(), own) ||
      llvm::MulOverflow(rows - 1, getRowBits(), bits) ||
      llvm::AddOverflow(bits, own, bits))
    return false;
  return (rows == 1 || own <= getRowBits()) &&
         llvm::divideCeilSigned(bits, 8) <=
             getStoredType(getData()).getNumElements();
}

int64_t nju::UniformDataAttr::getNumBlocks(int64_t dimension) const {
  return llvm::divideCeilSigned(getType().getDimSize(dimension),
                                getBlock()[dimension]);
}

/// Whether these are the numbers 0 to count - 1 in some order.
static bool isPermutation(ArrayRef<int64_t> numbers, int64_t count) {
  llvm::SmallVector<bool> seen(numbers.size());
  for (int64_t number : numbers) {
    if (number < 0 || number >= count || number >= int64_t(seen.size()) ||
        seen[number])
      return false;
    seen[number] = true;
  }
  return int64_t(numbers.size()) == count;
}

LogicalResult nju::UniformDataAttr::verify(
    llvm::function_ref<InFlightDiagnostic()> emitError,
    PackedIntegersAttr codes, Attribute scales, Attribute zeroPoints, int64_t,
    DenseI64ArrayAttr block, DenseI64ArrayAttr columnOrder,
    RankedTensorType type) {
  if (type.getRank() != 2 || !type.hasStaticShape() ||
      !type.getElementType().isF32())
    return emitError() << "#nju.uniform is of type " << type
                       << ", expected a matrix of f32 of a static shape";
  if (block.size() != 2 || block[0] < 1 || block[1] < 1)
    return emitError() << "#nju.uniform has blocks of [" << block.asArrayRef()
                       << "], expected two numbers of at least 1";
  if (!codes.holds(type.getDimSize(0), type.getDimSize(1)))
    return emitError() << "#nju.uniform has codes " << codes
                       << ", which are no matrix " << type;
  if (columnOrder && !isPermutation(columnOrder, type.getDimSize(1)))
    return emitError() << "#nju.uniform has an order of " << columnOrder.size()
                       << " columns, expected a permutation of "
                       << type.getDimSize(1);
  llvm::SmallVector<int64_t> blocks;
  for (int64_t i : {0, 1})
    blocks.push_back(llvm::divideCeilSigned(type.getDimSize(i), block[i]));
  auto isTensor = [&](Attribute data) {
    RankedTensorType own = nju::getStoredType(data);
    return own && own.getShape() == ArrayRef<int64_t>(blocks) &&
           isa<Float32Type, Float16Type, BFloat16Type>(own.getElementType());
  };
  if (!isTensor(scales))
    return emitError() << "#nju.uniform has scales " << scales
                       << ", expected floats of shape [" << blocks << "]";
  auto packed = dyn_cast_or_null<PackedIntegersAttr>(zeroPoints);
  if (zeroPoints && !isTensor(zeroPoints) &&
      !(packed && packed.holds(blocks[0], blocks[1])))
    return emitError() << "#nju.uniform has zero points " << zeroPoints
                       << ", expected #nju.packed or floats of shape ["
                       << blocks << "]";
  return success();
}
