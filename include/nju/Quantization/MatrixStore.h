//===- MatrixStore.h - Quantized matrices on disk ---------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_QUANTIZATION_MATRIXSTORE_H
#define NJU_QUANTIZATION_MATRIXSTORE_H

#include "nju/Quantization/DataFree.h"
#include "nju/Quantization/Packing.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <optional>
#include <string>

namespace nju::lcq {

/// A matrix as kernels read it, and what quantizing it cost.
struct StoredMatrix {
  std::vector<int8_t> basis;
  std::vector<float> factors;
  std::vector<uint8_t> codes; ///< PackedMatrix::stream
  QuantizationError weights;  ///< of the weights
  /// With calibration, squared error of the outputs over their squares.
  std::optional<double> outputError;
};

/// A folder with a file for each matrix. What an interrupted run finished, the
/// next one finds: a matrix is known by its name and a key, which must say
/// everything that its values depend on. Files appear complete or not at all,
/// and have a checksum. Not thread-safe.
class MatrixStore {
public:
  /// The folder is created by the first `save`.
  explicit MatrixStore(llvm::StringRef folder) : folder(folder) {}

  llvm::StringRef getFolder() const { return folder; }
  /// The matrix of that name, if it is there, was saved with the same key and
  /// can be read.
  std::optional<StoredMatrix> load(llvm::StringRef name,
                                   llvm::StringRef key) const;
  llvm::Error save(llvm::StringRef name, llvm::StringRef key,
                   const StoredMatrix &matrix);
  /// Removes the files and the folder, unless others lie there, too.
  void remove();

private:
  std::string getPath(llvm::StringRef name) const;

  std::string folder;
};

} // namespace nju::lcq

#endif // NJU_QUANTIZATION_MATRIXSTORE_H
