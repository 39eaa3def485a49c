//===- UniformWeights.cpp - Weights that came quantized ---------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "UniformWeights.h"

#include "nju/Dialect/NJU/Analysis/UniformReader.h"
#include "nju/Dialect/NJU/IR/ModelFolder.h"
#include "nju/Quantization/Baselines.h"

using namespace mlir;
using namespace nju;

/// Kernels have code for groups up to this size; longer blocks become several
/// groups with equal scales. Inputs that are rounded have a scale for each
/// group, too, and the more groups, the less they lose.
static constexpr int64_t kMostColumns = 256, kColumnsOfLongBlocks = 128;

/// The columns of a group in a matrix of `columns` columns in blocks of
/// `block`; none if no group does.
static std::optional<int64_t> chooseGroup(int64_t bits, int64_t columns,
                                          int64_t block) {
  int64_t step = LCQLayout::getLineColumns(bits);
  if (block >= columns)
    return std::min<int64_t>(llvm::alignTo(columns, step),
                             kColumnsOfLongBlocks);
  if (block <= kMostColumns)
    return block % step == 0 ? std::optional(block) : std::nullopt;
  for (int64_t group = kColumnsOfLongBlocks; group >= step; group -= step)
    if (block % group == 0)
      return group;
  return std::nullopt;
}

static llvm::Expected<UniformReader> openData(ParamOp param) {
  return UniformReader::open(
      cast<UniformDataAttr>(param.getData()),
      getModelFolder(param->getParentOfType<ModuleOp>()));
}

llvm::Expected<std::optional<LCQAttr>>
nju::chooseExactFormat(const QuantizableWeight &weight) {
  ParamOp param = weight.param;
  auto data = cast<UniformDataAttr>(param.getData());
  int64_t bits = data.getCodes().getBits();
  if (bits > int64_t(lcq::kMaxBits))
    return std::nullopt;
  std::optional<int64_t> group =
      chooseGroup(bits, weight.columns, data.getBlock()[weight.permutation[0]]);
  if (!group)
    return std::nullopt;
  llvm::Expected<UniformReader> reader = openData(param);
  if (!reader)
    return reader.takeError();
  lcq::UniformForm form =
      lcq::chooseForm(reader->getScales(), reader->getZeroPoints());
  int64_t scaleBits = form.scales == lcq::GroupForm::F16 ? 16 : 32;
  int64_t zeroBits = form.isCentered                              ? 0
                     : form.zeroPoints == lcq::GroupForm::Integer ? 8
                                                                  : 32;
  return LCQAttr::get(param.getContext(), bits, *group, /*rank=*/1, scaleBits,
                      /*offset=*/false, zeroBits);
}

/// The codes [rows, columns] of the matrix whose dimension 0, that of the
/// columns, is dimension `columnDimension` of the data.
static llvm::Error readCodes(const UniformReader &reader,
                             int64_t columnDimension,
                             std::vector<uint8_t> &codes) {
  RankedTensorType type = reader.getData().getType();
  int64_t rows = type.getDimSize(0), columns = type.getDimSize(1);
  codes.resize(rows * columns);
  if (columnDimension == 1)
    return reader.readCodes({0, rows, 0, columns}, codes);
  // Strips of the data's columns, so that the whole is not there twice.
  int64_t step = std::max<int64_t>(1, (int64_t(16) << 20) / rows);
  std::vector<uint8_t> strip;
  for (int64_t begin = 0; begin < columns; begin += step) {
    int64_t end = std::min(columns, begin + step), width = end - begin;
    strip.resize(rows * width);
    if (llvm::Error error = reader.readCodes({0, rows, begin, end}, strip))
      return error;
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < width; ++j)
        codes[(begin + j) * rows + i] = strip[i * width + j];
  }
  return llvm::Error::success();
}

/// What of each block belongs to each group [rows, groups].
static std::vector<float> spreadBlocks(const UniformReader &reader,
                                       llvm::ArrayRef<float> values,
                                       const lcq::UniformWeights &weights,
                                       int64_t columnDimension) {
  std::vector<float> spread;
  for (int64_t row = 0; row < weights.rows; ++row)
    for (int64_t column = 0; column < weights.columns; column += weights.group)
      spread.push_back(
          values[columnDimension == 1 ? reader.getBlock(row, column)
                                      : reader.getBlock(column, row)]);
  return spread;
}

llvm::Expected<lcq::PackedMatrix> nju::packExact(ParamOp codes) {
  llvm::Expected<UniformReader> reader = openData(codes);
  if (!reader)
    return reader.takeError();
  LCQAttr format = *codes.getFormat();
  SmallVector<int64_t> shape = codes.getMatrixShape();
  int64_t columnDimension =
      codes.getPermutation() ? (*codes.getPermutation())[0] : 0;
  lcq::UniformWeights weights;
  weights.columns = shape[0];
  weights.rows = shape[1];
  weights.bits = format.getBits();
  weights.group = format.getGroup();
  weights.isSigned = reader->getData().getCodes().getIsSigned();
  weights.scales =
      spreadBlocks(*reader, reader->getScales(), weights, columnDimension);
  weights.zeroPoints = {reader->getZeroPoints().front()};
  if (format.getZeroBits() && reader->getZeroPoints().size() > 1)
    weights.zeroPoints = spreadBlocks(*reader, reader->getZeroPoints(), weights,
                                      columnDimension);
  if (llvm::Error error = readCodes(*reader, columnDimension, weights.codes))
    return std::move(error);
  lcq::UniformForm form;
  form.scales =
      format.getScaleBits() == 16 ? lcq::GroupForm::F16 : lcq::GroupForm::F32;
  form.zeroPoints = format.getZeroBits() == 32 ? lcq::GroupForm::F32
                                               : lcq::GroupForm::Integer;
  form.isCentered = format.getZeroBits() == 0;
  llvm::Expected<lcq::QuantizedMatrix> matrix =
      lcq::importUniform(std::move(weights), form);
  if (!matrix)
    return matrix.takeError();
  return lcq::pack(*matrix);
}

std::string nju::describeExact(LCQAttr format) {
  std::string text =
      llvm::formatv("as given: bits={0},group={1},scales=f{2}",
                    format.getBits(), format.getGroup(), format.getScaleBits())
          .str();
  if (format.getZeroBits())
    text +=
        format.getZeroBits() == 8 ? ",zero-points=int8" : ",zero-points=f32";
  return text;
}
