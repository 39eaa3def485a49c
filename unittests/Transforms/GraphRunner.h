//===- GraphRunner.h - Evaluates whole graphs in tests -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_UNITTESTS_TRANSFORMS_GRAPHRUNNER_H
#define NJU_UNITTESTS_TRANSFORMS_GRAPHRUNNER_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/MLIRContext.h"
#include "nju/Dialect/NJU/Analysis/HostTensor.h"
#include <string>
#include <vector>

namespace nju::test {

/// A model of test/fixtures/manifest.json.
struct Fixture {
  std::string name, path, kind, type;
  std::vector<int64_t> prompt;
  bool isLM() const { return kind != "graph"; }
};
std::vector<Fixture> allFixtures();

/// Runs a textual pass pipeline on the module.
mlir::LogicalResult runPipeline(mlir::ModuleOp module, llvm::StringRef passes);

/// Everything that nju-compile does before the lowering.
extern const char *const kRecognitionPipeline;

/// Inputs for a graph, by their roles: `tokens` as ids (for each row of the
/// batch), masks of ones, positions counting up from `past`, and random floats
/// for all other inputs.
std::vector<HostTensor> makeInputs(mlir::func::FuncOp function,
                                   llvm::ArrayRef<int64_t> tokens,
                                   int64_t batch, int64_t past);

/// All results of a function; empty, with a test failure, if that fails.
std::vector<HostTensor> evaluate(mlir::func::FuncOp function,
                                 llvm::ArrayRef<HostTensor> inputs);

/// Greatest difference over the greatest element of the first.
double relativeDifference(const HostTensor &expected, const HostTensor &actual);

} // namespace nju::test

#endif // NJU_UNITTESTS_TRANSFORMS_GRAPHRUNNER_H
