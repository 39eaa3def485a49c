//===- WeightFile.h - Writes the packed weights of a model ------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_TARGET_WEIGHTFILE_H
#define NJU_TARGET_WEIGHTFILE_H

#include "mlir/IR/BuiltinOps.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/Support/Error.h"
#include <cstdint>
#include <string>

namespace nju {

/// What the signature says about a weight file.
struct WeightFileInfo {
  uint64_t bytes = 0; ///< Length of the data section.
  std::string hash;   ///< Its checksum (nju/checksum.h), in hexadecimal.
};

/// Where the writer gets quantized matrices from.
class QuantizedWeights {
public:
  virtual ~QuantizedWeights() = default;
  /// The bytes of a param that has a format, valid until the next call.
  virtual llvm::Expected<llvm::ArrayRef<char>> get(ParamOp param) = 0;
};

/// Bytes of the data section written so far, and all of them.
using WeightProgress = llvm::function_ref<void(uint64_t, uint64_t)>;

/// Writes the params that `assignWeightOffsets` gave a place to the safetensors
/// file `path` (docs/abi.md), which appears complete or not at all. Sources are
/// the files of the module's attribute `nju.folder` and elements attributes.
/// They are read and written in pieces; memory stays at a few hundred MB
/// however large the model is. A diagnostic at the param says what is wrong
/// with its source; other failures are reported at the module. Params with a
/// format are what `quantized` gives, which must be there if the module has
/// such params.
mlir::FailureOr<WeightFileInfo> writeWeightFile(
    mlir::ModuleOp module, llvm::StringRef path,
    WeightProgress progress = [](uint64_t, uint64_t) {},
    QuantizedWeights *quantized = nullptr);

} // namespace nju

#endif // NJU_TARGET_WEIGHTFILE_H
