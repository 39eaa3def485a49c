//===- CacheLayout.cpp - Sizes of the key/value cache -----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Dialect/NJU/IR/CacheLayout.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;

static constexpr std::pair<nju::CacheType, llvm::StringLiteral> kNames[] = {
    {nju::CacheType::F32, "f32"},
    {nju::CacheType::F16, "f16"},
    {nju::CacheType::Q8, "q8"},
    {nju::CacheType::Q4, "q4"}};

llvm::StringRef nju::stringifyCacheType(CacheType type) {
  for (auto &[known, name] : kNames)
    if (known == type)
      return name;
  llvm_unreachable("unknown cache type");
}

std::optional<nju::CacheType> nju::parseCacheType(llvm::StringRef name) {
  for (auto &[type, known] : kNames)
    if (known == name)
      return type;
  return std::nullopt;
}

llvm::StringRef nju::getCacheTypeNames() { return "f32, f16, q8 or q4"; }

//===----------------------------------------------------------------------===//
// CacheLayout
//===----------------------------------------------------------------------===//

/// Elements that share a scale and an offset: at least, for the vectors that
/// halves of a group are read in, and at most.
static constexpr int64_t kMinGroup = 8, kMaxGroup = 64;

int64_t nju::CacheLayout::getGroup() const {
  return std::min(headDim & -headDim, kMaxGroup);
}

int64_t nju::CacheLayout::getPositionBytes() const {
  switch (type) {
  case CacheType::F32:
    return 4 * headDim;
  case CacheType::F16:
    return 2 * headDim;
  case CacheType::Q8:
    return headDim;
  case CacheType::Q4:
    return headDim / 2;
  }
  llvm_unreachable("unknown cache type");
}

int64_t nju::CacheLayout::getValueBlockBytes() const {
  return isQuantized() ? getReference() : getFactors();
}

int64_t nju::CacheLayout::getKeyBlockBytes() const {
  // A multiple of 16, so that a token takes a whole number of bytes.
  int64_t reference =
      hasReference() ? llvm::alignTo(headDim + 2 * 2 * getGroups(), 16) : 0;
  return getValueBlockBytes() + reference;
}

std::string nju::CacheLayout::getProblem() const {
  if (!isQuantized() || headDim % kMinGroup == 0)
    return "";
  return llvm::formatv("heads have {0} elements, and {1} needs a multiple of "
                       "{2}: use f32 or f16",
                       headDim, stringifyCacheType(type), kMinGroup)
      .str();
}

//===----------------------------------------------------------------------===//
// The module's attribute
//===----------------------------------------------------------------------===//

ArrayAttr nju::getCacheLayers(ModuleOp module) {
  auto lm = module->getAttrOfType<DictionaryAttr>("nju.lm");
  return lm ? lm.getAs<ArrayAttr>("cache") : ArrayAttr();
}

std::optional<nju::CacheLayout> nju::getCacheLayout(Attribute layer) {
  auto entry = dyn_cast<DictionaryAttr>(layer);
  if (!entry)
    return std::nullopt;
  auto heads = entry.getAs<IntegerAttr>("heads");
  auto headDim = entry.getAs<IntegerAttr>("head_dim");
  auto name = entry.getAs<StringAttr>("type");
  auto type = name ? parseCacheType(name.getValue()) : std::nullopt;
  if (!heads || !headDim || !type || heads.getInt() < 1 || headDim.getInt() < 1)
    return std::nullopt;
  CacheLayout layout{*type, heads.getInt(), headDim.getInt()};
  if (!layout.getProblem().empty())
    return std::nullopt;
  return layout;
}

int64_t nju::getCacheBytes(ArrayRef<Attribute> layers) {
  int64_t bytes = 0;
  for (Attribute layer : layers)
    if (std::optional<CacheLayout> layout = getCacheLayout(layer))
      bytes += layout->getTokenBytes();
  return bytes;
}
