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

int64_t nju::getCacheElements(ArrayRef<Attribute> layers) {
  int64_t elements = 0;
  for (Attribute layer : layers) {
    auto dictionary = cast<DictionaryAttr>(layer);
    elements += dictionary.getAs<IntegerAttr>("heads").getInt() *
                dictionary.getAs<IntegerAttr>("head_dim").getInt();
  }
  return elements;
}
