//===- Emit.cpp - LLVM IR, assembly, objects --------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Target/Emit.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"

using namespace llvm;

static std::unique_ptr<TargetMachine>
createTargetMachine(const nju::CPUTarget &target) {
  LLVMInitializeX86TargetInfo();
  LLVMInitializeX86Target();
  LLVMInitializeX86TargetMC();
  LLVMInitializeX86AsmPrinter();
  LLVMInitializeAArch64TargetInfo();
  LLVMInitializeAArch64Target();
  LLVMInitializeAArch64TargetMC();
  LLVMInitializeAArch64AsmPrinter();
  Triple triple(target.getTriple());
  std::string error;
  const Target *llvmTarget = TargetRegistry::lookupTarget(triple, error);
  if (!llvmTarget)
    return nullptr;
  return std::unique_ptr<TargetMachine>(llvmTarget->createTargetMachine(
      triple, target.getBaseCPU(), target.getFeatures(), TargetOptions(),
      Reloc::PIC_, std::nullopt, CodeGenOptLevel::Aggressive));
}

/// What MLIR's translation does not say about the functions it makes. Code of
/// several processors may come to lie in one module: each function says which
/// it is for.
static void setAttributes(Module &module, const nju::CPUTarget &target) {
  for (Function &function : module) {
    // No C++ exceptions pass through here.
    function.addFnAttr(Attribute::NoUnwind);
    if (function.isDeclaration())
      continue;
    function.addFnAttr("target-cpu", target.getBaseCPU());
    function.addFnAttr("tune-cpu", target.getCPU());
    function.addFnAttr("target-features", target.getFeatures());
    function.addFnAttr("no-trapping-math", "true");
    // Processors that LLVM prefers 256 bits for keep our 512-bit vectors.
    if (target.hasAVX512()) {
      function.addFnAttr("prefer-vector-width", "512");
      function.addFnAttr("min-legal-vector-width", "512");
    }
  }
  module.setPICLevel(PICLevel::BigPIC);
}

static void optimize(Module &module, TargetMachine &machine) {
  LoopAnalysisManager loops;
  FunctionAnalysisManager functions;
  CGSCCAnalysisManager components;
  ModuleAnalysisManager modules;
  PassBuilder builder(&machine);
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(components);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, components, modules);
  builder.buildPerModuleDefaultPipeline(OptimizationLevel::O3)
      .run(module, modules);
}

std::unique_ptr<Module> nju::translateToLLVMIR(mlir::ModuleOp module,
                                               LLVMContext &context,
                                               const CPUTarget &target) {
  std::unique_ptr<TargetMachine> machine = createTargetMachine(target);
  if (!machine) {
    module.emitError() << "this LLVM has no code generator for "
                       << target.getTriple();
    return nullptr;
  }
  // Weights have no place in LLVM IR; the caller still needs them.
  mlir::OwningOpRef<mlir::ModuleOp> code = module.clone();
  for (auto param : llvm::make_early_inc_range(code->getOps<ParamOp>()))
    param.erase();
  std::unique_ptr<Module> result =
      mlir::translateModuleToLLVMIR(*code, context, "nju_model");
  if (!result)
    return nullptr;
  result->setTargetTriple(Triple(target.getTriple()));
  result->setDataLayout(machine->createDataLayout());
  setAttributes(*result, target);
  optimize(*result, *machine);
  return result;
}

Error nju::emitCode(Module &module, const CPUTarget &target, CodeKind kind,
                    raw_pwrite_stream &out) {
  if (kind == CodeKind::LLVM) {
    module.print(out, nullptr);
    return Error::success();
  }
  std::unique_ptr<TargetMachine> machine = createTargetMachine(target);
  if (!machine)
    return createStringError("this LLVM has no code generator for " +
                             target.getTriple());
  legacy::PassManager passes;
  auto type = kind == CodeKind::Assembly ? CodeGenFileType::AssemblyFile
                                         : CodeGenFileType::ObjectFile;
  if (machine->addPassesToEmitFile(passes, out, nullptr, type))
    return createStringError("this LLVM cannot write object files for " +
                             target.getTriple());
  passes.run(module);
  return Error::success();
}
