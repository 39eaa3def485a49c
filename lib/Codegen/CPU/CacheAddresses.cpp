//===- CacheAddresses.cpp - Where keys and values lie -----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "CacheAddresses.h"

using namespace mlir;
using namespace nju;

/// The type that keys and values of a cache, or their codes, are read as.
static Type getElementType(CacheType type, Builder &b) {
  switch (type) {
  case CacheType::F32:
    return b.getF32Type();
  case CacheType::F16:
    return b.getF16Type();
  case CacheType::Q8:
  case CacheType::Q4:
    return b.getI8Type();
  }
  llvm_unreachable("unknown cache type");
}

CacheAddresses::CacheAddresses(KernelBuilder &k, Value bytes, Value before,
                               Value maxSequences, Value cacheTokens,
                               const CacheLayout &layout)
    : layout(layout), k(k) {
  Type element = getElementType(layout.type, k.b);
  int64_t size = element.getIntOrFloatBitWidth() / 8;
  keyBlock = layout.getKeyBlockBytes() / size;
  valueBlock = layout.getValueBlockBytes() / size;
  Value blocks = k.div(cacheTokens, kCacheBlock);
  keyHead = k.mul(blocks, keyBlock);
  valueHead = k.mul(blocks, valueBlock);
  Value heads = k.mul(maxSequences, layout.heads);
  valueRegion = k.mul(heads, keyHead);
  Value elements = k.add(valueRegion, k.mul(heads, valueHead));
  Value begin = k.mul(k.mul(maxSequences, cacheTokens), before);
  auto view = [&](Type type, Value count) -> Value {
    auto memref = MemRefType::get({ShapedType::kDynamic}, type);
    return memref::ViewOp::create(k.b, k.loc, memref, bytes, begin,
                                  ValueRange{count});
  };
  cache = view(element, elements);
  if (layout.isQuantized())
    factors = view(k.b.getF16Type(), k.div(elements, 2));
}
