//===- WeightLayout.h - Where weights lie in the weight file ----*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The lowering addresses weights by constant offsets, and the writer of the
// weight file puts them there. Both ask here.
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DIALECT_NJU_IR_WEIGHTLAYOUT_H
#define NJU_DIALECT_NJU_IR_WEIGHTLAYOUT_H

#include "mlir/IR/BuiltinOps.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include <optional>

namespace nju {

/// Every tensor starts at a multiple of this many bytes of the data section;
/// equal to NJU_ABI_ALIGNMENT.
constexpr int64_t kWeightAlignment = 64;

/// Bytes of a tensor in the weight file: row-major, i1 as one byte.
int64_t getWeightBytes(mlir::RankedTensorType type);

/// Gives every nju.param that a nju.param_ref uses its place in the weight
/// file: the attribute `nju.offset` (i64, bytes from the begin of the data
/// section), in the order of first use, which is the order of execution. The
/// module gets `nju.weight_bytes`, the length of the data section. Params that
/// nobody uses get no offset and are not written. Call it once, while the
/// param_refs are there; a second call changes nothing.
void assignWeightOffsets(mlir::ModuleOp module);

/// What `assignWeightOffsets` chose; none for a param that is not written.
std::optional<int64_t> getWeightOffset(ParamOp param);

/// Length of the data section in bytes; 0 before `assignWeightOffsets`.
int64_t getWeightFileBytes(mlir::ModuleOp module);

} // namespace nju

#endif // NJU_DIALECT_NJU_IR_WEIGHTLAYOUT_H
