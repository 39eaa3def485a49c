//===- UniformReader.h - Values of weights that came quantized --*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DIALECT_NJU_ANALYSIS_UNIFORMREADER_H
#define NJU_DIALECT_NJU_ANALYSIS_UNIFORMREADER_H

#include "nju/Dialect/NJU/Analysis/HostTensor.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include "llvm/Support/Error.h"
#include <functional>
#include <vector>

namespace nju {

/// Reads the elements, or the codes, of an `#nju.uniform` a piece at a time.
/// Scales and zero points stay in memory. Not thread-safe.
class UniformReader {
public:
  /// Copies bytes from byte `offset` of a file's tensor on.
  using ReadBytes = std::function<llvm::Error(
      FileDataAttr file, uint64_t offset, llvm::MutableArrayRef<char> to)>;
  /// Rows [row, rowEnd) and columns [column, columnEnd) of the matrix.
  struct Region {
    int64_t row, rowEnd, column, columnEnd;
    int64_t getNumElements() const {
      return (rowEnd - row) * (columnEnd - column);
    }
  };

  /// Reads scales and zero points.
  static llvm::Expected<UniformReader> create(UniformDataAttr data,
                                              ReadBytes readBytes);
  /// The same from files in a folder (see ParamReader), which stay open.
  static llvm::Expected<UniformReader> open(UniformDataAttr data,
                                            llvm::StringRef folder);

  UniformDataAttr getData() const { return data; }
  /// [blocks of rows, blocks of columns].
  llvm::ArrayRef<float> getScales() const { return scales; }
  /// The same, or a single one for all.
  llvm::ArrayRef<float> getZeroPoints() const { return zeroPoints; }
  /// The index of an element's block in these (but for a single one).
  int64_t getBlock(int64_t row, int64_t column) const {
    llvm::ArrayRef<int64_t> block = data.getBlock();
    return row / block[0] * data.getNumBlocks(1) + column / block[1];
  }
  /// The integer that a code stands for.
  int getInteger(uint8_t code) const;

  /// The codes of a region, row-major, one a byte: its bits as they are stored.
  llvm::Error readCodes(const Region &region,
                        llvm::MutableArrayRef<uint8_t> to) const;
  /// The elements of a region, row-major.
  llvm::Error read(const Region &region, llvm::MutableArrayRef<float> to) const;

private:
  UniformReader(UniformDataAttr data, ReadBytes readBytes)
      : data(data), readBytes(std::move(readBytes)) {}

  llvm::Expected<HostTensor> readTensor(mlir::Attribute tensor) const;
  llvm::Error readPacked(PackedIntegersAttr packed, const HostTensor &inMemory,
                         const Region &region,
                         llvm::MutableArrayRef<uint8_t> to) const;
  llvm::Error readZeroPoints();

  UniformDataAttr data;
  ReadBytes readBytes;
  HostTensor codes; ///< Of an elements attribute.
  std::vector<float> scales, zeroPoints;
};

} // namespace nju

#endif // NJU_DIALECT_NJU_ANALYSIS_UNIFORMREADER_H
