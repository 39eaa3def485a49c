//===- Pipelines.h - The way from nju to loops ------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_CONVERSION_PIPELINES_H
#define NJU_CONVERSION_PIPELINES_H

#include "mlir/Pass/PassManager.h"
#include <string>

namespace nju {

struct LoweringOptions {
  /// The processor, as --target of nju-compile. The caller has checked it.
  std::string target = "host";
  /// What products with f16 and bf16 weights are computed in, as --compute of
  /// nju-compile. The caller has checked it, too.
  std::string compute = "f32";
  /// What products with quantized weights round x to, as --activations.
  std::string activations = "int8";
  /// Stop with fused linalg ops on tensors.
  bool stopAfterLinalg = false;
};

/// The parts of the pipeline below, in order. The last alone asks for the
/// target: code for several processors shares what comes before.
void buildLinalgPipeline(mlir::OpPassManager &pm);
void buildBufferizationPipeline(mlir::OpPassManager &pm);
void buildKernelPipeline(mlir::OpPassManager &pm,
                         const LoweringOptions &options);

/// Adds the passes that turn a module of nju ops on tensors (in LM form or with
/// a `@main`) into `@step` or `@main` on memrefs, with kernels of loops over
/// vectors, calls and barriers: what `lowerToLLVM` takes. The module gets
/// `nju.weights_bytes` and, with a step, `nju.arena_bytes`; every `nju.param`
/// that is left has its place in the weight data, `nju.offset`. i1 is i8 in the
/// functions' types from the first pass on: who needs the model's own types
/// reads them before.
/// The context's registry needs `registerBufferizationModels`.
void buildLoweringPipeline(mlir::OpPassManager &pm,
                           const LoweringOptions &options);

/// `--nju-lower-to-loops{target=... compute=... activations=...
/// stop-after-linalg}` of nju-opt.
void registerLoweringPipeline();

} // namespace nju

#endif // NJU_CONVERSION_PIPELINES_H
