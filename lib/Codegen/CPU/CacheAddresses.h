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

/// memref<?x(rest)xelement>: something of every token.
inline mlir::MemRefType tokensMemRef(llvm::ArrayRef<int64_t> rest,
                                     mlir::Type element) {
  llvm::SmallVector<int64_t> shape = {mlir::ShapedType::kDynamic};
  shape.append(rest.begin(), rest.end());
  return mlir::MemRefType::get(shape, element);
}

/// Addresses in the cache of one layer, in elements of `cache`; see
/// nju_abi_step_args.
class CacheAddresses {
public:
  using Value = KernelBuilder::Value;

  /// `bytes` is the whole cache, `before` the bytes that a token takes in the
  /// layers before this one.
  CacheAddresses(KernelBuilder &k, Value bytes, Value before,
                 Value maxSequences, Value cacheTokens,
                 const CacheLayout &layout);

  /// Begin of the keys and of the values of a head of a sequence.
  Value keys(Value sequence, Value head) {
    return k.mul(k.add(k.mul(sequence, layout.heads), head), keyHead);
  }
  Value values(Value sequence, Value head) {
    return k.add(valueRegion,
                 k.mul(k.add(k.mul(sequence, layout.heads), head), valueHead));
  }

  CacheLayout layout;
  Value cache;                  ///< Of f32, f16 or, if quantized, bytes.
  Value factors;                ///< The same memory as f16, if quantized.
  int64_t keyBlock, valueBlock; ///< Elements of a block.

private:
  KernelBuilder &k;
  Value keyHead, valueHead, valueRegion;
};

} // namespace nju

#endif // NJU_LIB_CODEGEN_CPU_CACHEADDRESSES_H
