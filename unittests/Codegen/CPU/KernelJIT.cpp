//===- KernelJIT.cpp - Runs library kernels in the process ------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KernelJIT.h"
#include "mlir/Pass/PassManager.h"
#include "nju/Codegen/Passes.h"
#include "nju/Target/Emit.h"
#include "nju/Target/ToLLVM.h"
#include "llvm/ADT/APFloat.h"
#include "llvm/ExecutionEngine/Orc/ExecutionUtils.h"
#include "llvm/ExecutionEngine/Orc/LLJIT.h"
#include "llvm/TargetParser/Host.h"
#include <cmath>
#include <limits>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

using namespace nju::test;

struct KernelJIT::Impl {
  std::unique_ptr<llvm::orc::LLJIT> jit;
};

/// Linux gives a process the tiles only when it asks for them.
static bool requestTiles() {
#if defined(__linux__) && defined(__x86_64__)
  constexpr long requestPermission = 0x1023, tileData = 18;
  return syscall(SYS_arch_prctl, requestPermission, tileData) == 0;
#else
  return false;
#endif
}

KernelJIT::KernelJIT(llvm::StringRef targetName,
                     llvm::ArrayRef<Emitter> emitters, llvm::StringRef compute)
    : impl(std::make_unique<Impl>()) {
  mlir::DialectRegistry registry;
  registerTargetInterfaces(registry);
  mlir::MLIRContext context(registry);
  context.loadAllAvailableDialects();
  auto module = mlir::OwningOpRef<mlir::ModuleOp>(
      mlir::ModuleOp::create(mlir::UnknownLoc::get(&context)));
  auto target = llvm::cantFail(CPUTarget::get(targetName));
  if (target.hasAMXBF16() && !target.emulatesBF16())
    requestTiles();
  KernelLibrary library(*module, target,
                        llvm::cantFail(getComputeType(compute, target)));
  for (Emitter emit : emitters)
    emit(library).setPublic();
  if (target.emulatesBF16()) {
    mlir::PassManager passes(&context);
    passes.addPass(createEmulateBF16());
    if (failed(passes.run(*module)))
      llvm::report_fatal_error("emulation failed");
  }
  if (failed(lowerToLLVM(*module)))
    llvm::report_fatal_error("lowering failed");
  auto llvmContext = std::make_unique<llvm::LLVMContext>();
  auto code = translateToLLVMIR(*module, *llvmContext, target);
  if (!code)
    llvm::report_fatal_error("translation failed");
  auto builder = llvm::orc::JITTargetMachineBuilder(
      llvm::Triple("x86_64-unknown-linux-gnu"));
  builder.setCPU(target.getCPU().str());
  impl->jit = llvm::cantFail(llvm::orc::LLJITBuilder()
                                 .setJITTargetMachineBuilder(std::move(builder))
                                 .create());
  // LLVM turns loops into memset and memcpy.
  impl->jit->getMainJITDylib().addGenerator(llvm::cantFail(
      llvm::orc::DynamicLibrarySearchGenerator::GetForCurrentProcess(
          impl->jit->getDataLayout().getGlobalPrefix())));
  llvm::cantFail(impl->jit->addIRModule(
      llvm::orc::ThreadSafeModule(std::move(code), std::move(llvmContext))));
}

KernelJIT::~KernelJIT() = default;

void *KernelJIT::address(llvm::StringRef name) {
  llvm::ExitOnError check("KernelJIT: ");
  return check(impl->jit->lookup(name)).toPtr<void *>();
}

std::vector<std::string> nju::test::runnableTargets() {
  auto host = CPUTarget::get("host");
  if (!host) {
    llvm::consumeError(host.takeError());
    return {};
  }
  std::vector<std::string> targets = {"host"};
  if (host->hasAVX512())
    targets.push_back("x86-64-v3");
  return targets;
}

std::vector<std::string> nju::test::runnableTargetsWithTiles() {
  auto host = CPUTarget::get("host");
  if (!host) {
    llvm::consumeError(host.takeError());
    return {};
  }
  std::vector<std::string> targets;
  if (host->hasAVX512())
    targets.push_back("host+emulated-amx");
  if (host->hasAMXBF16() && requestTiles())
    targets.push_back("host");
  return targets;
}

float nju::test::flush(float value) {
  return std::abs(value) < std::numeric_limits<float>::min()
             ? std::copysign(0.0f, value)
             : value;
}

float nju::test::roundToBF16(float value) {
  llvm::APFloat rounded(flush(value));
  bool lost;
  rounded.convert(llvm::APFloat::BFloat(), llvm::APFloat::rmNearestTiesToEven,
                  &lost);
  return flush(float(rounded.convertToDouble()));
}

bool nju::test::isRunnable(llvm::StringRef name) {
  auto host = llvm::cantFail(CPUTarget::get("host"));
  auto target = llvm::cantFail(CPUTarget::get(name));
  return host.isX86() == target.isX86() &&
         llvm::all_of(
             target.getRequiredFeatures(),
             [&](llvm::StringRef feature) { return host.hasFeature(feature); });
}
