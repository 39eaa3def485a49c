//===- MatMulAMX.h - Products in bf16 with AMX tiles ------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_CODEGEN_CPU_MATMULAMX_H
#define NJU_LIB_CODEGEN_CPU_MATMULAMX_H

#include "KernelBuilder.h"
#include "nju/Codegen/CPU/KernelLibrary.h"

namespace nju {

/// Rows, and elements of k, of a tile of x in bf16.
inline constexpr int64_t kTileRows = 16, kTileDepth = 32;

/// Emits the body of a function of `KernelLibrary::linear` whose weights use
/// tiles.
void emitTileLinear(mlir::OpBuilder builder, const CPUTarget &target,
                    const LinearOptions &options, mlir::func::FuncOp function);

/// Packs the rows [begin, end) of x (memref<?x?xf32>) into tiles
/// (memref<?xbf16>), as `KernelLibrary::packRows` says.
void emitPackTiles(KernelBuilder &k, mlir::Value x, mlir::Value packed,
                   mlir::Value begin, mlir::Value end);

} // namespace nju

#endif // NJU_LIB_CODEGEN_CPU_MATMULAMX_H
