//===- MatMulAMX.h - Products in bf16 with AMX tiles ------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_CODEGEN_CPU_MATMULAMX_H
#define NJU_LIB_CODEGEN_CPU_MATMULAMX_H

#include "TileProduct.h"
#include "nju/Codegen/CPU/KernelLibrary.h"

namespace nju {

/// Emits the body of a function of `KernelLibrary::linear` whose weights use
/// tiles.
void emitTileLinear(mlir::OpBuilder builder, const CPUTarget &target,
                    const LinearOptions &options, mlir::func::FuncOp function);

} // namespace nju

#endif // NJU_LIB_CODEGEN_CPU_MATMULAMX_H
