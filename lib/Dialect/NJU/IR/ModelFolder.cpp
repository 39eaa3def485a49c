//===- ModelFolder.cpp - Where the files of a model lie -------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Dialect/NJU/IR/ModelFolder.h"

using namespace mlir;

static constexpr llvm::StringLiteral kAttribute = "nju.folder";

llvm::StringRef nju::getModelFolder(ModuleOp module) {
  auto folder = module->getAttrOfType<StringAttr>(kAttribute);
  return folder ? folder.getValue() : ".";
}

void nju::setModelFolder(ModuleOp module, llvm::StringRef folder) {
  module->setAttr(kAttribute, StringAttr::get(module.getContext(), folder));
}
