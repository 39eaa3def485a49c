//===- NodeTests.h - ONNX's own tests of its ops ----------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The node tests of the onnx package, which write_node_tests.py stored in the
// folder NJU_NODE_TESTS: each is a model of one node (or of the nodes that
// define it), its inputs and its expected outputs.
//
//===----------------------------------------------------------------------===//

#ifndef NJU_UNITTESTS_IMPORT_NODETESTS_H
#define NJU_UNITTESTS_IMPORT_NODETESTS_H

#include "nju/Dialect/NJU/Analysis/HostTensor.h"
#include "onnx-ml.pb.h"
#include <gtest/gtest.h>
#include <string>
#include <vector>

namespace nju::test {

struct NodeTest {
  std::string name;
  onnx::ModelProto model;
  std::vector<onnx::TensorProto> inputs, outputs;
  /// An op of the model that the importer does not know; "" if there is none.
  std::string unknownOp;

  /// The model is written to a file in `folder`; returns its path.
  std::string writeModel(const std::string &folder) const;
  /// The input of this name; null for types that NJU does not have.
  HostTensor getInput(llvm::StringRef name, mlir::MLIRContext *context) const;
  HostTensor getOutput(size_t index, mlir::MLIRContext *context) const;
};

/// All tests, by name. Integer inputs are initializers: axes and sizes are
/// constants in every exported model, and have to be for some ops.
std::vector<NodeTest> readNodeTests();
/// Those whose ops are all known to the importer.
std::vector<NodeTest> readKnownNodeTests();

/// With the relative error that ONNX's own runner allows for f32.
testing::AssertionResult isNear(const HostTensor &computed,
                                const HostTensor &expected);

} // namespace nju::test

#endif // NJU_UNITTESTS_IMPORT_NODETESTS_H
