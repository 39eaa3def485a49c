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

/// The code of a model for one processor: what `translateToLLVMIR` made of a
/// module in which `lowerToLLVM` found an entry.
struct VariantCode {
  std::string name; ///< As in the signature.
  std::unique_ptr<llvm::Module> module;
};

/// Puts the variants, in the signature's order, into one module and adds the
/// one exported symbol, `nju_model_descriptor`, and its alias
/// `nju_model_descriptor_<toIdentifier(stem)>`, which two models in one program
/// need. `signature` is JSON (docs/abi.md). What several variants define is
/// told apart by a suffix, `.<toIdentifier(name)>`.
llvm::Expected<std::unique_ptr<llvm::Module>>
combineVariants(std::vector<VariantCode> variants, llvm::StringRef signature,
                llvm::StringRef stem);

/// Writes the code of an optimised module to `out`. `target` is that of one of
/// its variants.
llvm::Error emitCode(llvm::Module &module, const CPUTarget &target,
                     CodeKind kind, llvm::raw_pwrite_stream &out);

/// How to link a model.
struct LinkOptions {
  /// Embed the runtime (libnju_runtime.a): the library then exports the C API
  /// too and needs no libnju_runtime.so.
  bool embedRuntime = false;
  /// The processor (CPUTarget::getTriple); empty: this machine's.
  std::string triple;
  /// Folder that holds the root of a system for that processor, with its
  /// libraries; empty: this machine's own, and for another processor where
  /// Debian's packages for cross compilation put them.
  std::string sysroot;
  /// Linker; empty: ld.lld of the LLVM that we were built with, else of PATH.
  std::string linker;
  /// libnju_runtime.a; empty: beside our executable, in ../lib.
  std::string runtimeArchive;
};

/// Fails, with a message that says what to install, if what a model is linked
/// with is not there.
llvm::Error checkLinking(const LinkOptions &options);

/// Links the object file `object` to the shared library `output`, which appears
/// complete or not at all. It needs libc, libm and, if the code is parallel,
/// LLVM's libomp, whose folder is recorded as run path. `stem` is the one given
/// to combineVariants. Errors say what the linker said, or what is missing.
llvm::Error linkSharedLibrary(llvm::StringRef object, llvm::StringRef output,
                              llvm::StringRef stem, const LinkOptions &options);

} // namespace nju

#endif // NJU_TARGET_EMIT_H
