//===- CacheLayout.cpp - Sizes of the key/value cache -----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Dialect/NJU/IR/CacheLayout.h"

using namespace mlir;

ArrayAttr nju::getCacheLayers(ModuleOp module) {
  auto lm = module->getAttrOfType<DictionaryAttr>("nju.lm");
  return lm ? lm.getAs<ArrayAttr>("cache") : ArrayAttr();
}

llvm::StringRef nju::stringifyCacheType(CacheType type) {
  switch (type) {
  case CacheType::F32:
    return "f32";
  case CacheType::F16:
    return "f16";
  }
  llvm_unreachable("unknown cache type");
}

std::optional<nju::CacheType> nju::parseCacheType(llvm::StringRef name) {
  for (CacheType type : {CacheType::F32, CacheType::F16})
    if (stringifyCacheType(type) == name)
      return type;
  return std::nullopt;
}

nju::CacheType nju::getCacheType(Attribute layer) {
  auto type = cast<DictionaryAttr>(layer).getAs<StringAttr>("type");
  return parseCacheType(type ? type.getValue() : "").value_or(CacheType::F32);
}

int64_t nju::getCacheBytes(ArrayRef<Attribute> layers) {
  int64_t bytes = 0;
  for (Attribute layer : layers) {
    auto dictionary = cast<DictionaryAttr>(layer);
    int64_t elements = dictionary.getAs<IntegerAttr>("heads").getInt() *
                       dictionary.getAs<IntegerAttr>("head_dim").getInt();
    int64_t size = getCacheType(layer) == CacheType::F32 ? 4 : 2;
    bytes += 2 * elements * size;
  }
  return bytes;
}
