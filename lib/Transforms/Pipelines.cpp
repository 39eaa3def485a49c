//===- Pipelines.cpp - Passes on the graph, in order ------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Transforms/Pipelines.h"

#include "mlir/Pass/PassRegistry.h"
#include "mlir/Transforms/Passes.h"
#include "nju/Transforms/Passes.h"

using namespace mlir;

/// Folds what is constant, and removes what nobody uses.
static void addCleanUp(OpPassManager &manager) {
  manager.addPass(nju::createFoldConstants());
  manager.addPass(createCanonicalizerPass());
  manager.addPass(createCSEPass());
}

void nju::buildGraphPipeline(OpPassManager &manager,
                             const GraphPipelineOptions &options) {
  manager.addPass(createInferShapes());
  addCleanUp(manager);
  manager.addPass(createWidenFloats());
  addCleanUp(manager);
  manager.addPass(createRecognize());
  addCleanUp(manager);
  ToLMFormOptions form;
  form.maxTokens = options.maxTokens;
  form.maxSequences = options.maxSequences;
  form.maxBatchTokens = options.maxBatchTokens;
  form.cacheType = options.cacheType;
  manager.addPass(createToLMForm(form));
  addCleanUp(manager);
  manager.addPass(createShareWeights());
  manager.addPass(createPackWeights());
  addCleanUp(manager);
}

void nju::registerGraphPipeline() {
  PassPipelineRegistration<GraphPipelineOptions>(
      "nju-graph-pipeline",
      "From an imported graph to @step or @main with packed weights",
      buildGraphPipeline);
}
