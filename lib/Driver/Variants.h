//===- Variants.h - One model's code for several processors -----*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DRIVER_VARIANTS_H
#define NJU_DRIVER_VARIANTS_H

#include "Report.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "nju/Codegen/CPU/CPUTarget.h"
#include "llvm/IR/Module.h"
#include <memory>
#include <vector>

namespace nju {

/// The lowered code of a model for one processor.
struct LoweredVariant {
  CPUTarget target;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  LoweredCosts costs;
};

/// Fails if none of the targets can compute in what --compute=`compute` says.
llvm::Error checkCompute(llvm::StringRef compute,
                         llvm::ArrayRef<CPUTarget> targets);

/// Lowers a module that `buildBufferizationPipeline` has run on for each
/// target. The targets come in the order of what they need, the most first;
/// where one gets the code of the next it is left out. Those that cannot
/// compute in `compute`, which is what --compute says, compute in f32.
/// `activations` is what --activations says. Prints a diagnostic on failure.
mlir::FailureOr<std::vector<LoweredVariant>>
lowerVariants(mlir::ModuleOp module, llvm::ArrayRef<CPUTarget> targets,
              llvm::StringRef compute, llvm::StringRef activations);

/// "x86-64-v4, x86-64-v3": how the variants are tuned.
std::string listProcessors(llvm::ArrayRef<LoweredVariant> variants);

/// Lowers the variants to LLVM IR and puts them into one module, with the
/// descriptor. Null, after a diagnostic, on failure.
std::unique_ptr<llvm::Module>
translateVariants(llvm::MutableArrayRef<LoweredVariant> variants,
                  llvm::LLVMContext &context, llvm::StringRef signature,
                  llvm::StringRef stem);

} // namespace nju

#endif // NJU_DRIVER_VARIANTS_H
