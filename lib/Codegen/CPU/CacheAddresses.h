//===- CacheAddresses.h - Where keys and values lie -------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_CODEGEN_CPU_CACHEADDRESSES_H
#define NJU_LIB_CODEGEN_CPU_CACHEADDRESSES_H

#include "KernelBuilder.h"
#include "nju/Dialect/NJU/IR/CacheLayout.h"

namespace nju {

/// Positions in a block of the key cache; equal to NJU_ABI_CACHE_BLOCK.
constexpr int64_t kCacheBlock = 16;

/// The type that keys and values of a cache are loaded and stored as.
inline mlir::Type getElementType(CacheType type, mlir::Builder &b) {
  switch (type) {
  case CacheType::F32:
    return b.getF32Type();
  case CacheType::F16:
    return b.getF16Type();
  }
  llvm_unreachable("unknown cache type");
}

/// memref<?x(rest)xelement>: something of every token.
inline mlir::MemRefType tokensMemRef(llvm::ArrayRef<int64_t> rest,
                                     mlir::Type element) {
  llvm::SmallVector<int64_t> shape = {mlir::ShapedType::kDynamic};
  shape.append(rest.begin(), rest.end());
  return mlir::MemRefType::get(shape, element);
}

/// Addresses in the cache of one layer, in elements of the cache's type; see
/// nju_abi_step_args.
class CacheAddresses {
public:
  using Value = KernelBuilder::Value;

  /// `bytes` is the whole cache, `before` the bytes that a token takes in the
  /// layers before this one.
  CacheAddresses(KernelBuilder &k, Value bytes, Value before,
                 Value maxSequences, Value cacheTokens, int64_t heads,
                 int64_t headDim, mlir::Type element)
      : k(k), heads(heads) {
    Value positions = k.mul(maxSequences, cacheTokens);
    valueRegion = k.mul(positions, heads * headDim);
    auto type = mlir::MemRefType::get({mlir::ShapedType::kDynamic}, element);
    cache = mlir::memref::ViewOp::create(
        k.b, k.loc, type, bytes, k.mul(positions, before),
        mlir::ValueRange{k.mul(valueRegion, 2)});
    headSize = k.mul(cacheTokens, headDim);
  }

  /// Begin of the keys and of the values of a head of a sequence.
  Value keys(Value sequence, Value head) {
    return k.mul(k.add(k.mul(sequence, heads), head), headSize);
  }
  Value values(Value sequence, Value head) {
    return k.add(valueRegion, keys(sequence, head));
  }

  Value cache;

private:
  KernelBuilder &k;
  int64_t heads;
  Value headSize, valueRegion;
};

} // namespace nju

#endif // NJU_LIB_CODEGEN_CPU_CACHEADDRESSES_H
