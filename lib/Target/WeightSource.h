//===- WeightSource.h - Where the bytes of a weight come from ---*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_TARGET_WEIGHTSOURCE_H
#define NJU_LIB_TARGET_WEIGHTSOURCE_H

#include "nju/Dialect/NJU/Analysis/UniformReader.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/Error.h"
#include <optional>
#include <vector>

namespace nju {

/// The files that weights are read from, opened once. Not thread-safe.
class SourceFiles {
public:
  explicit SourceFiles(llvm::StringRef folder) : folder(folder) {}
  ~SourceFiles();

  llvm::StringRef getFolder() const { return folder; }

  /// Reads `size` bytes at `offset` of `path`, which is relative to the folder.
  llvm::Error read(llvm::StringRef path, uint64_t offset, void *data,
                   size_t size);

private:
  struct File {
    int descriptor;
    uint64_t size;
  };
  llvm::Expected<File> open(llvm::StringRef path);

  std::string folder;
  llvm::StringMap<File> files;
};

/// The row-major tensor that a param is made from.
class WeightSource {
public:
  WeightSource(ParamOp param, SourceFiles &files);

  mlir::RankedTensorType getType() const { return type; }
  /// Bytes of an element.
  int64_t getWidth() const { return width; }

  /// Reads the elements whose index in `dimension` is in [begin, end) to
  /// `data`, row-major.
  llvm::Error readSlab(int64_t dimension, int64_t begin, int64_t end,
                       void *data);
  /// Reads `count` elements from the flat index `begin` on.
  llvm::Error readFlat(int64_t begin, int64_t count, void *data);

private:
  llvm::Error readRegion(const UniformReader::Region &region, void *data);

  SourceFiles &files;
  FileDataAttr file;
  UniformDataAttr uniform;
  std::optional<UniformReader> reader; ///< Of `uniform`, once it is read.
  mlir::RankedTensorType type;
  int64_t width;
  std::vector<char> elements; ///< Of an elements attribute.
};

} // namespace nju

#endif // NJU_LIB_TARGET_WEIGHTSOURCE_H
