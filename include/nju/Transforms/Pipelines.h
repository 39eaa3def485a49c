//===- Pipelines.h - Passes on the graph, in order --------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_TRANSFORMS_PIPELINES_H
#define NJU_TRANSFORMS_PIPELINES_H

#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassOptions.h"

namespace nju {

/// Limits of the step; see --nju-to-lm-form.
struct GraphPipelineOptions
    : public mlir::PassPipelineOptions<GraphPipelineOptions> {
  Option<int64_t> maxTokens{*this, "max-tokens", llvm::cl::init(0),
                            llvm::cl::desc("longest sequence; 0: automatic")};
  Option<int64_t> maxSequences{*this, "max-sequences", llvm::cl::init(8),
                               llvm::cl::desc("sequences of a session")};
  Option<int64_t> maxBatchTokens{*this, "max-batch-tokens", llvm::cl::init(512),
                                 llvm::cl::desc("tokens of a step")};
  Option<std::string> cacheType{
      *this, "cache-type", llvm::cl::init("f32"),
      llvm::cl::desc("what keys and values are kept as: "
                     "f32, f16, q8 or q4")};
};

/// From an imported graph to the form that is lowered: `@step` for a causal
/// language model, `@main` otherwise; structures recognised, weights packed.
void buildGraphPipeline(mlir::OpPassManager &manager,
                        const GraphPipelineOptions &options);

/// Registers it as --nju-graph-pipeline.
void registerGraphPipeline();

} // namespace nju

#endif // NJU_TRANSFORMS_PIPELINES_H
