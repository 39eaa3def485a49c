//===- AttentionOperands.h - What attention works on ------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_CODEGEN_CPU_ATTENTIONOPERANDS_H
#define NJU_LIB_CODEGEN_CPU_ATTENTIONOPERANDS_H

#include "CacheReader.h"
#include "nju/Codegen/CPU/KernelLibrary.h"
#include <limits>

namespace nju {

/// Positions whose scores a softmax is formed of at once: chunks start at
/// multiples of it.
inline constexpr int64_t kAttentionChunk = 128;

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Tokens that follow each other in the batch and in a sequence.
struct AttentionRun {
  mlir::Value starts; ///< There is one that starts here; else the rest is void.
  mlir::Value token, count;
  mlir::Value position; ///< Of the first token.
  mlir::Value firstChunk, chunks;
};

/// A run and query heads of one key/value head: the rows are all heads of the
/// first token, of the second, and so on.
struct AttentionUnit {
  AttentionRun run;
  mlir::Value number; ///< Of the key/value head and the part of its group.
  mlir::Value firstHead, heads, rows;
  mlir::Value keys, values;
};

/// The arguments of a function that `KernelLibrary::cachedAttention` makes, and
/// what is done with them whatever products are computed with.
class AttentionOperands {
public:
  using Value = KernelBuilder::Value;
  using Values = KernelBuilder::Values;

  /// The heads of a group make `parts` units. No tiles are used up to
  /// `fewTokens` tokens. `slopes`: a memref<Hxf32>, or null.
  AttentionOperands(KernelBuilder &k, const CachedAttentionOptions &options,
                    int64_t parts, int64_t fewTokens,
                    mlir::ValueRange arguments, Value slopes);

  /// Of a run that has its tokens.
  void setChunks(AttentionRun &run);
  AttentionUnit unitOf(const AttentionRun &run, Value number);

  /// The first position that the token at `position` sees.
  Value windowBegin(Value position);
  /// Some token at a position from `first` to `last` sees something of the
  /// chunk.
  Value see(Value first, Value last, Value chunk);
  /// The token at `position` does.
  Value sees(Value position, Value chunk) {
    return see(position, position, chunk);
  }
  /// Where keys and values of a block of a unit begin.
  Value keysAt(const AttentionUnit &unit, Value block) {
    return k.add(unit.keys, k.mul(block, addresses.keyBlock));
  }
  Value valuesAt(const AttentionUnit &unit, Value block) {
    return k.add(unit.values, k.mul(block, addresses.valueBlock));
  }
  /// Of a row of a unit.
  Value positionOf(const AttentionUnit &unit, Value row) {
    return k.add(unit.run.position, k.div(row, unit.heads));
  }
  Value tokenOf(const AttentionUnit &unit, Value row) {
    return k.add(unit.run.token, k.div(row, unit.heads));
  }
  Value headOf(const AttentionUnit &unit, Value row) {
    return k.add(unit.firstHead, k.rem(row, unit.heads));
  }

  /// Caps the `count` scores of row `row` of `scores`, adds the slope's part of
  /// the unit's row `unitRow`, and makes those of positions -inf that its token
  /// does not see; the first is that of position `chunk`.
  void emitBounds(const AttentionUnit &unit, Value unitRow, Value scores,
                  Value row, Value chunk, Value count);

  /// Stores 32 elements of a head of a token, from `column` on, where the
  /// results are packed if they are to be.
  void storePair(Value low, Value high, Value token, Value head,
                 int64_t column);

  KernelBuilder &k;
  const CachedAttentionOptions &options;
  int64_t group; ///< Query heads of a key/value head.
  int64_t parts; ///< Units that they make.
  int64_t fewTokens;
  Value worker, workers, cacheTokens, scale, q, positions, sequences, y;
  Value partials, counters, slopes;
  CacheAddresses addresses;
  Value packed; ///< Tiles that results become rows of, or null.

private:
  void emitSoftcap(Value scores, Value row, Value count);
  void emitMask(const AttentionUnit &unit, Value unitRow, Value scores,
                Value row, Value chunk, Value count);
};

} // namespace nju

#endif // NJU_LIB_CODEGEN_CPU_ATTENTIONOPERANDS_H
