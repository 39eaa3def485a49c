//===- Quantization.cpp - Quantized weights -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Dialect/NJU/IR/NJU.h"

using namespace mlir;
using nju::LCQLayout;

LogicalResult
nju::LCQAttr::verify(llvm::function_ref<InFlightDiagnostic()> emitError,
                     int64_t bits, int64_t group, int64_t rank,
                     int64_t scaleBits, bool offset, int64_t zeroBits) {
  if (bits < 2 || bits > 4)
    return emitError() << "#nju.lcq has " << bits
                       << " bits, expected 2, 3 or 4";
  int64_t step = LCQLayout::getLineColumns(bits);
  if (group < 1 || group % step != 0)
    return emitError() << "#nju.lcq has groups of " << group
                       << ", expected a multiple of " << step << " with codes "
                       << "of " << bits << " bits";
  if (rank < 1 || rank > 3)
    return emitError() << "#nju.lcq has rank " << rank
                       << ", expected 1, 2 or 3";
  if (scaleBits != 8 && scaleBits != 16 && scaleBits != 32)
    return emitError() << "#nju.lcq has scales of " << scaleBits
                       << " bits, expected 8, 16 or 32";
  if (zeroBits != 0 && zeroBits != 8 && zeroBits != 32)
    return emitError() << "#nju.lcq has zero points of " << zeroBits
                       << " bits, expected 8 or 32, or none";
  if (zeroBits != 0 && (rank != 1 || offset))
    return emitError() << "#nju.lcq has zero points, expected rank 1 and no "
                       << "offset";
  return success();
}

LCQLayout nju::LCQAttr::getLayout(int64_t columns, int64_t rows) const {
  LCQLayout layout;
  layout.rows = rows;
  layout.columns = columns;
  layout.group = getGroup();
  layout.bits = getBits();
  layout.scaleBytes =
      ((getRank() + getOffset()) * getScaleBits() + getZeroBits()) / 8;
  return layout;
}

RankedTensorType nju::LCQAttr::getPartType(LCQPart part, int64_t columns,
                                           int64_t rows) const {
  LCQLayout layout = getLayout(columns, rows);
  Type i8 = IntegerType::get(getContext(), 8);
  switch (part) {
  case LCQPart::Codes:
    return RankedTensorType::get({layout.getTiles(), layout.getTileBytes()},
                                 i8);
  case LCQPart::Basis:
    return RankedTensorType::get({getRank(), getLevels()}, i8);
  case LCQPart::Factors:
    break;
  }
  Type f32 = Float32Type::get(getContext());
  if (!hasFactors())
    return RankedTensorType::get({1, 1}, f32);
  if (getScaleBits() == 16)
    return RankedTensorType::get({1 + getOffset(), 1}, f32);
  return RankedTensorType::get(
      {getRank() + getOffset(), layout.getTiles() * LCQLayout::kTileRows}, f32);
}

/// The op's parts are those of a matrix [columns, rows].
template <typename OpTy>
static LogicalResult verifyParts(OpTy op, int64_t columns, int64_t rows) {
  if (ShapedType::isDynamic(columns) || ShapedType::isDynamic(rows) ||
      columns < 1 || rows < 1)
    return op.emitOpError() << "is of a matrix of unknown or no size, expected "
                            << "static numbers of columns and rows";
  nju::LCQAttr format = op.getFormat();
  std::pair<nju::LCQPart, Value> parts[] = {
      {nju::LCQPart::Codes, op.getCodes()},
      {nju::LCQPart::Basis, op.getBasis()},
      {nju::LCQPart::Factors, op.getFactors()}};
  for (auto [part, value] : parts)
    if (Type expected = format.getPartType(part, columns, rows);
        value.getType() != expected)
      return op.emitOpError()
             << "has " << stringifyLCQPart(part) << " of type "
             << value.getType() << ", expected " << expected << " for a matrix "
             << "of " << columns << " x " << rows << " in " << format;
  return success();
}

LogicalResult nju::LCQMatMulOp::verify() {
  RankedTensorType input = getInput().getType();
  RankedTensorType result = getType();
  if (input.getRank() < 1 || result.getRank() != input.getRank() ||
      input.getShape().drop_back() != result.getShape().drop_back())
    return emitOpError() << "makes " << result << " of " << input
                         << ", expected them to differ in the last dimension "
                         << "only";
  int64_t columns = result.getShape().back();
  if (failed(verifyParts(*this, input.getShape().back(), columns)))
    return failure();
  if (getBias() && (getBias().getType().getRank() != 1 ||
                    getBias().getType().getDimSize(0) != columns))
    return emitOpError() << "has bias " << getBias().getType() << ", expected "
                         << columns << " elements";
  return success();
}

LogicalResult nju::DequantizeOp::verify() {
  RankedTensorType result = getType();
  int64_t rank = getRows() ? getRows().getType().getRank() : 1;
  if (!result.getElementType().isF32() || result.getRank() != rank + 1)
    return emitOpError() << "has result " << result << ", expected f32 of rank "
                         << rank + 1;
  int64_t channels = getChannels();
  if (!getRows() && result.getDimSize(0) != channels)
    return emitOpError() << "has result " << result << " of " << channels
                         << " channels, expected as many rows";
  return verifyParts(*this, result.getShape().back(), channels);
}
