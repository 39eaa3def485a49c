//===- Signature.h - The signature of a model -------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_RUNTIME_SIGNATURE_H
#define NJU_RUNTIME_SIGNATURE_H

#include "Status.h"
#include "nju/abi.h"

#include <string>
#include <vector>

namespace nju {

/// An element type of the signature.
struct ElementType {
  const char *name;   ///< "bf16"
  uint8_t code;       ///< DLDataTypeCode
  uint8_t bits;       ///< of one element in memory
  const char *stored; ///< The safetensors name, "BF16".
  uint32_t getSize() const { return bits / 8; }
};

/// Looks a type up by the signature's name; null if there is none.
const ElementType *findElementType(const std::string &name);

/// A dimension: a size, or a name and size -1.
struct Dimension {
  int64_t size = -1;
  std::string name;
};

/// An input or output of a graph.
struct TensorType {
  std::string name;
  const ElementType *type = nullptr;
  std::vector<Dimension> shape;
};

/// The cache of one layer.
struct CacheLayer {
  int64_t heads;
  int64_t headDim;
  std::string type; ///< "f32", "f16", "q8" or "q4"
  /// Bytes of NJU_ABI_CACHE_BLOCK positions of a head: keys, values.
  int64_t blockBytes[2];

  /// Bytes of the keys (part 0) or the values (part 1) of one head for `tokens`
  /// tokens, whole blocks. 64 bits can count them for any `tokens` below 2^31.
  uint64_t getHeadBytes(int part, int64_t tokens) const {
    return uint64_t(blockBytes[part]) * uint64_t(tokens / NJU_ABI_CACHE_BLOCK);
  }
};

/// What a variant of the code needs.
struct Variant {
  std::string name; ///< "x86-64-v4"
  std::vector<std::string> features;
};

/// The parsed JSON of a descriptor; docs/abi.md says what the fields mean.
struct Signature {
  std::string name;
  bool isLanguageModel = false;

  std::string target;            ///< What --target was.
  std::vector<Variant> variants; ///< In the descriptor's order.

  bool hasWeights = false;
  std::string weightsFile;
  uint64_t weightsBytes = 0;
  std::string weightsHash;

  int64_t vocabulary = 0;
  int64_t maxTokens = 0;
  int64_t maxSequences = 0;
  int64_t maxBatchTokens = 0;
  int64_t arenaBytes = 0;
  std::vector<CacheLayer> cache;

  std::vector<TensorType> inputs;
  std::vector<TensorType> outputs;
};

/// Parses and checks `text`; a bad signature is NJU_DATA_LOSS and names the
/// field.
nju_status parseSignature(const char *text, size_t length,
                          Signature &signature);

} // namespace nju

#endif // NJU_RUNTIME_SIGNATURE_H
