//===- Emit.h - LLVM IR, assembly, objects, shared libraries ----*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_TARGET_EMIT_H
#define NJU_TARGET_EMIT_H

#include "mlir/IR/BuiltinOps.h"
#include "nju/Codegen/CPU/CPUTarget.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/Module.h"
#include <memory>
#include <string>

namespace nju {

enum class CodeKind { LLVM, Assembly, Object };

/// Translates a module in the LLVM dialect to LLVM IR for `target` and runs
/// LLVM's -O3 pipeline over it. Null, after a diagnostic, on failure.
std::unique_ptr<llvm::Module> translateToLLVMIR(mlir::ModuleOp module,
                                                llvm::LLVMContext &context,
                                                const CPUTarget &target);

/// Writes the code of an optimised module to `out`.
llvm::Error emitCode(llvm::Module &module, const CPUTarget &target,
                     CodeKind kind, llvm::raw_pwrite_stream &out);

/// How to link a model.
struct LinkOptions {
  /// Embed the runtime (libnju_runtime.a): the library then exports the C API
  /// too and needs no libnju_runtime.so.
  bool embedRuntime = false;
  /// Linker; empty: ld.lld of the LLVM that we were built with, else of PATH.
  std::string linker;
  /// libnju_runtime.a; empty: beside our executable, in ../lib.
  std::string runtimeArchive;
};

/// Links the object file `object` to the shared library `output`, which appears
/// complete or not at all. It needs libc, libm and, if the code is parallel,
/// LLVM's libomp, whose folder is recorded as run path. `stem` is the one given
/// to addDescriptor. Errors say what the linker said, or what is missing.
llvm::Error linkSharedLibrary(llvm::StringRef object, llvm::StringRef output,
                              llvm::StringRef stem, const LinkOptions &options);

} // namespace nju

#endif // NJU_TARGET_EMIT_H
