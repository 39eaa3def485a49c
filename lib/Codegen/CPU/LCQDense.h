//===- LCQDense.h - LCQ products with x in f32 ------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_CODEGEN_CPU_LCQDENSE_H
#define NJU_LIB_CODEGEN_CPU_LCQDENSE_H

#include "KernelBuilder.h"
#include "nju/Codegen/CPU/KernelLibrary.h"

namespace nju {

/// Emits the body of `KernelLibrary::lcqLinear` for ActivationType::F32.
void emitDenseLCQLinear(KernelBuilder &k, const CPUTarget &target,
                        const LCQLinearOptions &options,
                        mlir::func::FuncOp function);

} // namespace nju

#endif // NJU_LIB_CODEGEN_CPU_LCQDENSE_H
