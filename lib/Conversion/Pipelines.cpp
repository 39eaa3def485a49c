//===- Pipelines.cpp - The way from nju to loops -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Conversion/Pipelines.h"
#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/MemRef/Transforms/Passes.h"
#include "mlir/Pass/PassOptions.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Transforms/Passes.h"
#include "nju/Codegen/CPU/CPUTarget.h"
#include "nju/Codegen/Passes.h"
#include "nju/Conversion/Passes.h"

using namespace mlir;

static void addCleanup(OpPassManager &pm) {
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
}

/// What is no target fails in a pass.
static bool emulatesBF16(StringRef target) {
  llvm::Expected<nju::CPUTarget> cpu = nju::CPUTarget::get(target);
  if (cpu)
    return cpu->emulatesBF16();
  llvm::consumeError(cpu.takeError());
  return false;
}

void nju::buildLinalgPipeline(OpPassManager &pm) {
  pm.addPass(createConvertNJUToLinalg());
  addCleanup(pm);
  pm.addPass(createFuseElementwise());
  addCleanup(pm);
  pm.addPass(createFuseEpilogues());
}

void nju::buildBufferizationPipeline(OpPassManager &pm) {
  pm.addPass(createBufferize());
  // Loops that carry a buffer give back the same one: results need no copy.
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createFinalizeSignature());
  addCleanup(pm);
}

void nju::buildKernelPipeline(OpPassManager &pm,
                              const LoweringOptions &options) {
  ExpandLibraryOpsOptions expand;
  expand.target = options.target;
  expand.compute = options.compute;
  expand.activations = options.activations;
  pm.addPass(createExpandLibraryOps(expand));
  pm.addPass(memref::createResolveShapedTypeResultDimsPass());
  pm.addPass(createLowerAffinePass());
  addCleanup(pm);

  pm.addPass(createOutlineKernels());
  pm.addPass(createJoinRowKernels());
  pm.addPass(createConvertKernelsToVector());
  pm.addPass(createLayoutWeights());
  pm.addPass(createPlanMemory());
  pm.addPass(createVerifyNoAlloc());
  pm.addPass(createLowerLaunches());
  if (emulatesBF16(options.target))
    pm.addPass(createEmulateBF16());
  addCleanup(pm);
}

void nju::buildLoweringPipeline(OpPassManager &pm,
                                const LoweringOptions &options) {
  buildLinalgPipeline(pm);
  if (options.stopAfterLinalg)
    return;
  buildBufferizationPipeline(pm);
  buildKernelPipeline(pm, options);
}

namespace {
struct PipelineOptions : PassPipelineOptions<PipelineOptions> {
  Option<std::string> target{*this, "target",
                             llvm::cl::desc("As --target of nju-compile"),
                             llvm::cl::init("host")};
  Option<std::string> compute{*this, "compute",
                              llvm::cl::desc("As --compute of nju-compile"),
                              llvm::cl::init("f32")};
  Option<std::string> activations{
      *this, "activations", llvm::cl::desc("As --activations of nju-compile"),
      llvm::cl::init("int8")};
  Option<bool> stopAfterLinalg{*this, "stop-after-linalg",
                               llvm::cl::desc("Stop with linalg on tensors"),
                               llvm::cl::init(false)};
};
} // namespace

void nju::registerLoweringPipeline() {
  PassPipelineRegistration<PipelineOptions>(
      "nju-lower-to-loops", "Lower nju ops to kernels of loops over vectors",
      [](OpPassManager &pm, const PipelineOptions &options) {
        buildLoweringPipeline(pm,
                              {options.target, options.compute,
                               options.activations, options.stopAfterLinalg});
      });
}
