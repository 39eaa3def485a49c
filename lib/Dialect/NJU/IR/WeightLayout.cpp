//===- WeightLayout.cpp - Where weights lie in the weight file --*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Dialect/NJU/IR/WeightLayout.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;

static constexpr llvm::StringLiteral kOffset = "nju.offset";
static constexpr llvm::StringLiteral kBytes = "nju.weight_bytes";

int64_t nju::getWeightBytes(RankedTensorType type) {
  return type.getNumElements() *
         llvm::divideCeil(type.getElementTypeBitWidth(), 8);
}

void nju::assignWeightOffsets(ModuleOp module) {
  if (module->hasAttr(kBytes))
    return;
  Builder builder(module.getContext());
  SymbolTable symbols(module);
  int64_t end = 0, used = 0;
  module.walk([&](ParamRefOp ref) {
    auto param = symbols.lookup<ParamOp>(ref.getParam());
    if (!param || getWeightOffset(param))
      return;
    end = llvm::alignTo(used, kWeightAlignment);
    param->setAttr(kOffset, builder.getI64IntegerAttr(end));
    used = end + getWeightBytes(cast<RankedTensorType>(param.getType()));
  });
  module->setAttr(
      kBytes, builder.getI64IntegerAttr(llvm::alignTo(used, kWeightAlignment)));
}

std::optional<int64_t> nju::getWeightOffset(ParamOp param) {
  if (auto offset = param->getAttrOfType<IntegerAttr>(kOffset))
    return offset.getInt();
  return std::nullopt;
}

int64_t nju::getWeightFileBytes(ModuleOp module) {
  auto bytes = module->getAttrOfType<IntegerAttr>(kBytes);
  return bytes ? bytes.getInt() : 0;
}
