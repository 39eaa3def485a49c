//===- UniformReader.cpp - Values of weights that came quantized ----------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Dialect/NJU/Analysis/UniformReader.h"

#include "nju/Dialect/NJU/Analysis/ParamReader.h"
#include <memory>

using namespace mlir;
using namespace nju;

/// Packed bytes that are read at once, as a guide.
static constexpr int64_t kPieceBytes = int64_t(4) << 20;

llvm::Expected<UniformReader> UniformReader::create(UniformDataAttr data,
                                                    ReadBytes readBytes) {
  UniformReader reader(data, std::move(readBytes));
  Type f32 = Float32Type::get(data.getContext());
  llvm::Expected<HostTensor> scales = reader.readTensor(data.getScales());
  if (!scales)
    return scales.takeError();
  reader.scales = scales->converted(f32).elements<float>().vec();
  if (!isa<FileDataAttr>(data.getCodes().getData())) {
    llvm::Expected<HostTensor> codes =
        reader.readTensor(data.getCodes().getData());
    if (!codes)
      return codes.takeError();
    reader.codes = *codes;
  }
  if (llvm::Error error = reader.readZeroPoints())
    return std::move(error);
  return reader;
}

llvm::Expected<UniformReader> UniformReader::open(UniformDataAttr data,
                                                  StringRef folder) {
  auto files = std::make_shared<ParamReader>(folder);
  return create(data, [files](FileDataAttr file, uint64_t offset,
                              llvm::MutableArrayRef<char> to) {
    return files->readBytes(file, offset, to);
  });
}

llvm::Expected<HostTensor> UniformReader::readTensor(Attribute tensor) const {
  if (auto elements = dyn_cast<ElementsAttr>(tensor)) {
    FailureOr<HostTensor> values = HostTensor::fromAttr(elements);
    if (failed(values))
      return llvm::createStringError("its elements cannot be read");
    return *values;
  }
  auto file = cast<FileDataAttr>(tensor);
  HostTensor values = HostTensor::uninitialized(file.getType().getElementType(),
                                                file.getType().getShape());
  if (llvm::Error error = readBytes(
          file, 0, {values.mutableBytes(), size_t(values.getNumBytes())}))
    return std::move(error);
  return values;
}

llvm::Error UniformReader::readZeroPoints() {
  Attribute source = data.getZeroPoints();
  if (!source) {
    zeroPoints = {static_cast<float>(data.getZeroPoint())};
    return llvm::Error::success();
  }
  auto packed = dyn_cast<PackedIntegersAttr>(source);
  llvm::Expected<HostTensor> values =
      packed && isa<FileDataAttr>(packed.getData())
          ? HostTensor()
          : readTensor(packed ? packed.getData() : source);
  if (!values)
    return values.takeError();
  if (!packed) {
    Type f32 = Float32Type::get(data.getContext());
    zeroPoints = values->converted(f32).elements<float>().vec();
    return llvm::Error::success();
  }
  Region all{0, data.getNumBlocks(0), 0, data.getNumBlocks(1)};
  std::vector<uint8_t> codes(all.getNumElements());
  if (llvm::Error error = readPacked(packed, *values, all, codes))
    return error;
  zeroPoints.reserve(codes.size());
  for (uint8_t code : codes)
    zeroPoints.push_back(packed.getIsSigned()
                             ? llvm::SignExtend32(code, packed.getBits())
                             : code);
  return llvm::Error::success();
}

int UniformReader::getInteger(uint8_t code) const {
  PackedIntegersAttr codes = data.getCodes();
  return codes.getIsSigned() ? llvm::SignExtend32(code, codes.getBits()) : code;
}

/// The `count` elements of `bits` bits from bit `begin` of `bytes` on.
static void unpack(const uint8_t *bytes, int64_t begin, unsigned bits,
                   int64_t count, uint8_t *to) {
  unsigned mask = (1u << bits) - 1;
  for (int64_t i = 0, bit = begin; i < count; ++i, bit += bits)
    to[i] = bytes[bit / 8] >> (bit % 8) & mask;
}

llvm::Error UniformReader::readPacked(PackedIntegersAttr packed,
                                      const HostTensor &inMemory,
                                      const Region &region,
                                      llvm::MutableArrayRef<uint8_t> to) const {
  assert(int64_t(to.size()) == region.getNumElements() &&
         "expected room for the region");
  int64_t bits = packed.getBits(), rowBits = packed.getRowBits();
  int64_t width = region.columnEnd - region.column;
  if (to.empty())
    return llvm::Error::success();
  auto file = dyn_cast<FileDataAttr>(packed.getData());
  // What lies between narrow pieces of rows is not read.
  int64_t step = 2 * width * bits < rowBits
                     ? 1
                     : std::max<int64_t>(1, kPieceBytes * 8 /
                                                std::max<int64_t>(1, rowBits));
  std::vector<char> piece;
  for (int64_t row = region.row; row < region.rowEnd; row += step) {
    int64_t end = std::min(region.rowEnd, row + step);
    int64_t begin = row * rowBits + region.column * bits;
    int64_t last = (end - 1) * rowBits + region.columnEnd * bits;
    int64_t byte = begin / 8;
    const char *bytes = inMemory ? inMemory.bytes() + byte : nullptr;
    if (file) {
      piece.resize(llvm::divideCeilSigned(last, 8) - byte);
      if (llvm::Error error = readBytes(file, byte, piece))
        return error;
      bytes = piece.data();
    }
    for (int64_t r = row; r < end; ++r)
      unpack(reinterpret_cast<const uint8_t *>(bytes),
             begin - 8 * byte + (r - row) * rowBits, bits, width,
             to.data() + (r - region.row) * width);
  }
  return llvm::Error::success();
}

llvm::Error UniformReader::readCodes(const Region &region,
                                     llvm::MutableArrayRef<uint8_t> to) const {
  DenseI64ArrayAttr order = data.getColumnOrder();
  if (!order)
    return readPacked(data.getCodes(), codes, region, to);
  int64_t columns = data.getType().getDimSize(1), next = 0;
  std::vector<uint8_t> stored(columns);
  for (int64_t row = region.row; row < region.rowEnd; ++row) {
    if (llvm::Error error = readPacked(data.getCodes(), codes,
                                       {row, row + 1, 0, columns}, stored))
      return error;
    for (int64_t j = region.column; j < region.columnEnd; ++j)
      to[next++] = stored[order[j]];
  }
  return llvm::Error::success();
}

llvm::Error UniformReader::read(const Region &region,
                                llvm::MutableArrayRef<float> to) const {
  std::vector<uint8_t> own(region.getNumElements());
  if (llvm::Error error = readCodes(region, own))
    return error;
  int64_t blockColumns = data.getBlock()[1], next = 0;
  for (int64_t row = region.row; row < region.rowEnd; ++row)
    for (int64_t column = region.column; column < region.columnEnd;) {
      int64_t block = getBlock(row, column);
      float scale = scales[block];
      float zero = zeroPoints[zeroPoints.size() == 1 ? 0 : block];
      int64_t end = std::min(region.columnEnd,
                             column - column % blockColumns + blockColumns);
      for (; column < end; ++column, ++next)
        to[next] = scale * (static_cast<float>(getInteger(own[next])) - zero);
    }
  return llvm::Error::success();
}
