//===- ControlFlow.cpp - Control flow of ONNX -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "NodeImporter.h"

using namespace mlir;
using namespace nju;
using namespace nju::onnx_import;

/// Old exporters write an If where PyTorch code looks at a rank or a dimension.
/// Only the branch that is taken is imported, so the condition must be known.
static void importIf(NodeImporter &node) {
  const onnx::GraphProto *thenBranch = node.graphAttr("then_branch");
  const onnx::GraphProto *elseBranch = node.graphAttr("else_branch");
  Value condition = node.input(0);
  if (!node.checkType(condition, node.attrs().getI1Type(), "input 0"))
    return;
  if (!thenBranch || !elseBranch) {
    node.emitError() << "has no then_branch or no else_branch, expected both";
    return;
  }
  auto value = node.constantInts(condition);
  if (!value || value->size() != 1) {
    node.emitError() << "has a condition that depends on the model's inputs; "
                     << "expected one that follows from their ranks and static "
                     << "dimensions; export the branches as models of their "
                     << "own (a decoder not merged with the one for a past)";
    return;
  }
  const onnx::GraphProto &branch =
      value->front() != 0 ? *thenBranch : *elseBranch;
  if (branch.output_size() != node.numOutputs()) {
    node.emitError() << "has " << node.numOutputs()
                     << " outputs, but the branch that is taken has "
                     << branch.output_size();
    return;
  }
  auto results = node.graph().importSubgraph(branch, node.getScope());
  if (failed(results))
    return node.setFailed();
  for (auto [i, result] : llvm::enumerate(*results))
    node.setOutput(static_cast<int>(i), result);
}

void nju::onnx_import::registerControlFlowOps(OpRegistry &registry) {
  registry.add("If", 1, 1, importIf);
}
