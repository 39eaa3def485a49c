//===- CacheLayout.h - Sizes of the key/value cache -------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DIALECT_NJU_IR_CACHELAYOUT_H
#define NJU_DIALECT_NJU_IR_CACHELAYOUT_H

#include "mlir/IR/BuiltinOps.h"
#include <optional>

namespace nju {

/// What keys and values are kept as; the value of --kv. Q8 and Q4 are codes of
/// 8 and 4 bits with a scale and an offset for each group of a head's elements.
enum class CacheType { F32, F16, Q8, Q4 };

/// "f32", "f16", "q8", "q4".
llvm::StringRef stringifyCacheType(CacheType type);
std::optional<CacheType> parseCacheType(llvm::StringRef name);
/// "f32, f16, q8 or q4", for messages.
llvm::StringRef getCacheTypeNames();

/// Positions in a block of the cache; equal to NJU_ABI_CACHE_BLOCK.
constexpr int64_t kCacheBlock = 16;

/// How the keys and values of a layer lie in the cache: see docs/abi.md. Sizes
/// and places are in bytes, those within a block from its begin.
struct CacheLayout {
  CacheType type = CacheType::F32;
  int64_t heads = 0, headDim = 0;

  bool isQuantized() const {
    return type == CacheType::Q8 || type == CacheType::Q4;
  }
  /// Elements in a byte of codes.
  int64_t getDigits() const { return type == CacheType::Q4 ? 2 : 1; }
  /// The largest code.
  int64_t getMaxCode() const { return type == CacheType::Q4 ? 15 : 255; }
  /// Keys are stored as differences from a reference, the block's first.
  bool hasReference() const { return type == CacheType::Q4; }

  /// Elements that share a scale and an offset: the largest power of two up to
  /// 64 that divides a head.
  int64_t getGroup() const;
  int64_t getGroups() const { return headDim / getGroup(); }
  /// Of what is no scale or offset of a position.
  int64_t getPositionBytes() const;
  /// Scales of a group's 16 positions and their offsets behind them, f16.
  static constexpr int64_t kFactorBytes = 2 * 2 * kCacheBlock;
  int64_t getFactors() const { return kCacheBlock * getPositionBytes(); }
  /// The reference's codes, and then scale and offset of each group.
  int64_t getReference() const {
    return getFactors() + getGroups() * kFactorBytes;
  }

  /// Of 16 positions of a head.
  int64_t getKeyBlockBytes() const;
  int64_t getValueBlockBytes() const;
  /// Of a position in all heads.
  int64_t getTokenBytes() const {
    return heads * (getKeyBlockBytes() + getValueBlockBytes()) / kCacheBlock;
  }

  /// Why heads of this size cannot be kept so, in words; empty if they can.
  std::string getProblem() const;
};

/// The layers of the cache that the module's `nju.lm` describes, in order; null
/// if it describes none.
mlir::ArrayAttr getCacheLayers(mlir::ModuleOp module);

/// What a layer of them says; none if something is missing or unknown.
std::optional<CacheLayout> getCacheLayout(mlir::Attribute layer);

/// Bytes that keys and values of one token take in these layers; those that
/// `getCacheLayout` does not know count for nothing.
int64_t getCacheBytes(llvm::ArrayRef<mlir::Attribute> layers);

} // namespace nju

#endif // NJU_DIALECT_NJU_IR_CACHELAYOUT_H
