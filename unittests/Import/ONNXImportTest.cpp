//===- ONNXImportTest.cpp - Imports small ONNX models -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ModelBuilder.h"
#include <gtest/gtest.h>

using namespace nju::test;

/// True if the parts occur in the text, one behind the other.
static testing::AssertionResult containsInOrder(llvm::StringRef text,
                                                const Names &parts) {
  llvm::StringRef rest = text;
  for (const std::string &part : parts) {
    size_t place = rest.find(part);
    if (place == llvm::StringRef::npos)
      return testing::AssertionFailure()
             << "no '" << part << "' (in this order) in:\n"
             << text.str();
    rest = rest.drop_front(place + part.size());
  }
  return testing::AssertionSuccess();
}

TEST(ONNXImport, NamesInputsOutputsAndDimensions) {
  ModelBuilder b;
  b.input("x", {"batch", "4", ""}).output("y");
  b.node("Relu", {"x"}, {"y"});
  ImportResult result = importModel(b, "/models/relu.onnx");
  EXPECT_EQ(result.diagnostics, "");
  EXPECT_TRUE(containsInOrder(
      result.ir,
      {"nju.folder = \"/models\"",
       "@main(%arg0: tensor<?x4x?xf32> {nju.dims = [\"batch\", \"\", \"\"], "
       "nju.name = \"x\"})",
       "nju.dims = [\"batch\", \"\", \"\"], nju.name = \"y\"}",
       "nju.relu %arg0 : (tensor<?x4x?xf32>) -> tensor<?x4x?xf32>"}));
}
