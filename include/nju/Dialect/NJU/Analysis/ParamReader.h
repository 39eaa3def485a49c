//===- ParamReader.h - Values of nju.param -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DIALECT_NJU_ANALYSIS_PARAMREADER_H
#define NJU_DIALECT_NJU_ANALYSIS_PARAMREADER_H

#include "nju/Dialect/NJU/Analysis/HostTensor.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/Error.h"
#include <string>

namespace nju {

/// Reads the values of `nju.param`s from the files of a model. Keeps the files
/// open; not thread-safe.
class ParamReader {
public:
  /// `folder`: what the paths of `#nju.file` are relative to. A path that is
  /// absolute or contains ".." is refused.
  explicit ParamReader(llvm::StringRef folder) : folder(folder.str()) {}
  ~ParamReader();
  ParamReader(const ParamReader &) = delete;
  ParamReader &operator=(const ParamReader &) = delete;

  /// The tensor `data`, as it is stored, or dequantized. Fails as readLogical
  /// does.
  mlir::FailureOr<HostTensor> readData(ParamOp param, int64_t maxBytes);
  /// The tensor before it is cut in panels: `data` permuted and converted to
  /// the element type of the param. Fails, and says why in `reason()`, if the
  /// param has more than `maxBytes` (of its own and its file's element type) or
  /// its file cannot be read from beginning to end.
  mlir::FailureOr<HostTensor> readLogical(ParamOp param, int64_t maxBytes);
  /// The tensor that `nju.param_ref` yields, panels included.
  mlir::FailureOr<HostTensor> read(ParamOp param, int64_t maxBytes);

  /// The elements of a tensor whose index in `dimension` is in [begin, end):
  /// what is larger than memory is read so, a slab after the other.
  mlir::FailureOr<HostTensor> readSlab(FileDataAttr file, int64_t dimension,
                                       int64_t begin, int64_t end);

  /// Copies bytes from byte `offset` of a file's tensor on, to where it ends at
  /// most.
  llvm::Error readBytes(FileDataAttr file, uint64_t offset,
                        llvm::MutableArrayRef<char> to);

  /// Why the last call failed, as a diagnostic says it.
  llvm::StringRef reason() const { return lastReason; }

private:
  mlir::FailureOr<HostTensor> readFile(FileDataAttr file);
  mlir::FailureOr<HostTensor> readUniform(UniformDataAttr data);
  mlir::FailureOr<int> open(FileDataAttr file);
  mlir::LogicalResult fail(const llvm::Twine &reason);

  std::string folder;
  std::string lastReason;
  /// File descriptors by path.
  llvm::StringMap<int> files;
};

/// `data` with dimension i being its dimension `permutation[i]`.
HostTensor permuteDimensions(const HostTensor &data,
                             llvm::ArrayRef<int64_t> permutation);

} // namespace nju

#endif // NJU_DIALECT_NJU_ANALYSIS_PARAMREADER_H
