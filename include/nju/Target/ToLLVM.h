//===- ToLLVM.h - From lowered functions to the LLVM dialect ----*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_TARGET_TOLLVM_H
#define NJU_TARGET_TOLLVM_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/DialectRegistry.h"

namespace nju {

/// Names of the entry functions that `lowerToLLVM` adds.
constexpr llvm::StringLiteral kStepEntry = "nju_step_entry";
constexpr llvm::StringLiteral kRunEntry = "nju_run_entry";

/// Registers what `lowerToLLVM` and `translateToLLVMIR` need: the dialects,
/// their conversions to the LLVM dialect and their translations. Call it before
/// the context is made.
void registerTargetInterfaces(mlir::DialectRegistry &registry);

/// Converts a module of functions on memrefs (arith, cf, func, math, memref,
/// omp, scf, vector) to the LLVM dialect. A function `@step` or `@main` of the
/// form that docs/architecture.md gives becomes the model's entry: the module
/// gets the function that nju_abi_step_args or nju_abi_run_args is for, and
/// every other function becomes internal. A module with neither keeps its
/// functions as they are. Prints a diagnostic on failure.
mlir::LogicalResult lowerToLLVM(mlir::ModuleOp module);

} // namespace nju

#endif // NJU_TARGET_TOLLVM_H
