//===- Signature.h - What a model says about itself -------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_TARGET_SIGNATURE_H
#define NJU_TARGET_SIGNATURE_H

#include "mlir/IR/BuiltinOps.h"
#include "nju/Codegen/CPU/CPUTarget.h"
#include "nju/Dialect/NJU/IR/CacheLayout.h"
#include "nju/Target/WeightFile.h"
#include <optional>
#include <string>
#include <vector>

namespace nju {

/// An input or output of a graph.
struct TensorSignature {
  struct Dimension {
    int64_t size = 0; ///< Counts if `name` is empty.
    std::string name;
  };
  std::string name, type; ///< Type as docs/abi.md spells it.
  std::vector<Dimension> shape;
};

/// What is particular to a language model.
struct LanguageModelSignature {
  int64_t vocabulary = 0, maxTokens = 0, maxSequences = 0, maxBatchTokens = 0;
  int64_t arenaBytes = 0;
  int64_t bytesPerToken = 0, flopsPerToken = 0;
  std::vector<CacheLayout> cache;
};

/// The signature of docs/abi.md.
struct ModelSignature {
  std::string name;
  std::optional<LanguageModelSignature> lm;
  std::vector<TensorSignature> inputs, outputs;
  std::string weightsFile; ///< Plain file name; empty: no weights.
  WeightFileInfo weights;

  /// `target` is the value of --target, `variants` what there is code for.
  std::string toJSON(llvm::StringRef target,
                     llvm::ArrayRef<CPUTarget> variants) const;
};

/// Reads the signature of a module in the nju dialect: of `@step` (LM form, its
/// weights packed) if there is one, else of `@main`. What only later phases
/// know (arenaBytes, weightsFile, weights) is left for the caller to set.
/// Prints a diagnostic on failure.
mlir::FailureOr<ModelSignature> readSignature(mlir::ModuleOp module,
                                              llvm::StringRef name);

/// Two for each multiply-add that one token needs of an op's matrix of weights;
/// 0 for an op that has none.
int64_t countFlops(mlir::Operation *op);

/// The C header that goes with a model.
std::string generateHeader(const ModelSignature &signature);

/// `stem` with everything but letters and digits replaced by '_': what C names
/// are made from.
std::string toIdentifier(llvm::StringRef stem);

} // namespace nju

#endif // NJU_TARGET_SIGNATURE_H
