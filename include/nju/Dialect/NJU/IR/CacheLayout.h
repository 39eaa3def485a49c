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

/// What keys and values are kept as; the value of --kv.
enum class CacheType { F32, F16 };

/// "f32", "f16".
llvm::StringRef stringifyCacheType(CacheType type);
std::optional<CacheType> parseCacheType(llvm::StringRef name);

/// The layers of the cache that the module's `nju.lm` describes, in order; null
/// if it describes none.
mlir::ArrayAttr getCacheLayers(mlir::ModuleOp module);

/// What a layer of them is kept as: its `type`, f32 if it has none that is
/// known.
CacheType getCacheType(mlir::Attribute layer);

/// Bytes that keys and values of one token take in these layers.
int64_t getCacheBytes(llvm::ArrayRef<mlir::Attribute> layers);

} // namespace nju

#endif // NJU_DIALECT_NJU_IR_CACHELAYOUT_H
