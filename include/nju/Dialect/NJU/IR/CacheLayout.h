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

namespace nju {

/// The layers of the cache that the module's `nju.lm` describes, in order; null
/// if it describes none.
mlir::ArrayAttr getCacheLayers(mlir::ModuleOp module);

/// Elements that the keys of one token (or its values) take in these layers:
/// the sum of heads * head_dim.
int64_t getCacheElements(llvm::ArrayRef<mlir::Attribute> layers);

} // namespace nju

#endif // NJU_DIALECT_NJU_IR_CACHELAYOUT_H
