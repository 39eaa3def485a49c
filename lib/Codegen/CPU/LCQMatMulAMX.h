//===- LCQMatMulAMX.h - LCQ products with AMX tiles -------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_CODEGEN_CPU_LCQMATMULAMX_H
#define NJU_LIB_CODEGEN_CPU_LCQMATMULAMX_H

#include "nju/Codegen/CPU/KernelLibrary.h"

namespace nju {

/// Emits the body of a function with the arguments of `lcqLinear` for many rows
/// on a target with AMX, whose xq are rows that `emitPackTiles` makes.
void emitTileLCQLinear(mlir::OpBuilder builder, const CPUTarget &target,
                       const LCQLinearOptions &options,
                       mlir::func::FuncOp function);

} // namespace nju

#endif // NJU_LIB_CODEGEN_CPU_LCQMATMULAMX_H
