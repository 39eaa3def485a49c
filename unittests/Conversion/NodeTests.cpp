//===- NodeTests.cpp - ONNX's own tests of its ops, compiled --------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "../Import/NodeTests.h"
#include "GraphJIT.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "nju/Import/ONNX/Import.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"
#include <cstdlib>

using namespace nju;
using namespace nju::test;

namespace {
/// An imported graph.
struct Imported {
  std::string text;
  std::vector<std::string> inputs;
};
} // namespace

/// None if the importer refuses the test: NodeConformance looks at why.
static std::optional<Imported> import(const NodeTest &test,
                                      const std::string &folder) {
  mlir::MLIRContext context;
  mlir::ScopedDiagnosticHandler quiet(&context, [](mlir::Diagnostic &) {});
  auto module = importONNX(test.writeModel(folder), &context);
  if (!module)
    return std::nullopt;
  Imported result;
  llvm::raw_string_ostream(result.text) << *module;
  auto main = module->lookupSymbol<mlir::func::FuncOp>("main");
  for (unsigned i = 0; i < main.getNumArguments(); ++i)
    result.inputs.push_back(
        main.getArgAttrOfType<mlir::StringAttr>(i, "nju.name").str());
  return result;
}

static void compileAndRun(const NodeTest &test, const Imported &imported,
                          const std::string &folder) {
  SCOPED_TRACE(test.name);
  GraphJIT jit(imported.text, "host", folder);
  ASSERT_TRUE(jit.isUsable());
  mlir::MLIRContext context;
  std::vector<HostTensor> inputs;
  for (const std::string &name : imported.inputs)
    inputs.push_back(test.getInput(name, &context));
  std::vector<HostTensor> results = jit.run(inputs, 2);
  for (auto [i, result] : llvm::enumerate(results))
    EXPECT_TRUE(
        isNear(result, test.getOutput(i, result.getType().getContext())))
        << "output " << i;
}

/// Every fourth test; NJU_NODE_TEST_STEP=1 compiles all.
TEST(NodeTests, ComputeWhatONNXSays) {
  llvm::SmallString<128> folder;
  ASSERT_FALSE(llvm::sys::fs::createUniqueDirectory("nju-nodes", folder));
  const char *set = std::getenv("NJU_NODE_TEST_STEP");
  size_t step = set ? std::max(1, std::atoi(set)) : 4;
  std::vector<NodeTest> tests = readKnownNodeTests();
  for (size_t i = 0; i < tests.size(); i += step)
    if (auto imported = import(tests[i], folder.str().str()))
      compileAndRun(tests[i], *imported, folder.str().str());
  llvm::sys::fs::remove_directories(folder);
}
