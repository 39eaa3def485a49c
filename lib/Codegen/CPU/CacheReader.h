//===- CacheReader.h - Keys and values as vectors ---------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_CODEGEN_CPU_CACHEREADER_H
#define NJU_LIB_CODEGEN_CPU_CACHEREADER_H

#include "CacheAddresses.h"

namespace nju {

/// Elements of a head that are a vector.
struct CachePiece {
  int64_t column, size;
};

/// Codes of `size` bytes from `at` on, as f32: a vector, or for two codes a
/// byte that of the low and that of the high ones.
KernelBuilder::Values loadCodes(KernelBuilder &k, const CacheAddresses &cache,
                                KernelBuilder::Value at, int64_t size,
                                int64_t digits);

/// Writes the reference of the block of keys that begins at `block` to a row of
/// a memref<?x(headDim)xf32>.
void loadReference(KernelBuilder &k, const CacheAddresses &cache,
                   KernelBuilder::Value block, KernelBuilder::Value memref,
                   KernelBuilder::Value row);

/// Emits what reads a cache as vectors of f32; what is quantized is dequantized
/// in registers.
class CacheReader {
public:
  using Value = KernelBuilder::Value;
  using Values = KernelBuilder::Values;
  using Addresses = llvm::function_ref<void(const Values &)>;

  /// For `blocks` blocks of keys at once, and values in chunks of `chunk`
  /// positions.
  CacheReader(KernelBuilder &k, const CacheAddresses &cache, int64_t blocks,
              int64_t chunk);

  /// What a row of a head is made of. Values of as many pieces as a byte has
  /// codes, from a multiple of that on, are read at once.
  llvm::ArrayRef<CachePiece> getPieces() const { return pieces; }

  /// Goes through the elements of a head, in an order that nothing but the
  /// layout decides: `body(d, keys, sums)` gets element d of the keys in the
  /// blocks that begin at `begins`, and gives new sums. `after` gets addresses
  /// of the lines that were read; `unroll` rows of codes are done in one step
  /// of a loop.
  Values
  forEachKey(const Values &begins, const Values &sums, int64_t unroll,
             llvm::function_ref<Values(Value, const Values &, Values)> body,
             Addresses after);

  /// To be called before values in `blocks` blocks from `block` on are loaded,
  /// those of a chunk; `values` is where the head's begin.
  void openChunk(Value values, Value block, Value blocks);

  /// Pieces of the value at `position`, which is number `inChunk` of its chunk;
  /// `lines` become addresses of the lines that were read.
  Values loadValue(Value values, Value position, Value inChunk,
                   llvm::ArrayRef<CachePiece> pieces, Values &lines);

private:
  /// What a vector of codes is multiplied by, and what is added.
  struct Factors {
    Value scale, offset;
  };
  Values forEachCode(const Values &begins, Values sums, int64_t unroll,
                     llvm::function_ref<Values(Value, const Values &, Values)>,
                     Addresses after);
  llvm::SmallVector<Factors> loadKeyFactors(const Values &begins, Value group);
  Value loadFactors(Value at, int64_t size);

  KernelBuilder &k;
  const CacheAddresses &cache;
  const CacheLayout &layout;
  int64_t blockVectors; ///< That the positions of a block are.
  llvm::SmallVector<CachePiece> pieces;
  /// On the stack: the blocks' references, and scales and offsets of each group
  /// of the chunk's values.
  Value references, valueFactors;
};

} // namespace nju

#endif // NJU_LIB_CODEGEN_CPU_CACHEREADER_H
