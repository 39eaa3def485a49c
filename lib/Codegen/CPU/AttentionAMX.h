//===- AttentionAMX.h - Attention of many rows in bf16 ----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_CODEGEN_CPU_ATTENTIONAMX_H
#define NJU_LIB_CODEGEN_CPU_ATTENTIONAMX_H

#include "KernelBuilder.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "nju/Codegen/CPU/KernelLibrary.h"

namespace nju {

/// Most rows of a unit.
int64_t getTileRows(const CachedAttentionOptions &options);

/// Emits the body of `function`: what a unit of many rows gives. It has the
/// arguments of `KernelLibrary::cachedAttention` and, as indices, the unit's
/// first token, number of tokens, first position and number among the units of
/// its tokens, for each of which there are `parts` a key/value head; a batch
/// has more than `fewTokens` tokens then. `slopes`: a memref<Hxf32>, or null.
void emitTileAttention(KernelBuilder &k, const CachedAttentionOptions &options,
                       int64_t parts, int64_t fewTokens,
                       mlir::func::FuncOp function, mlir::Value slopes);

} // namespace nju

#endif // NJU_LIB_CODEGEN_CPU_ATTENTIONAMX_H
