//===- NodeConformanceTest.cpp - ONNX's own tests of its ops -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// Runs the node tests of the onnx package with the evaluator. Why the importer
// refuses some is in the list of refusals below.
#include "NodeTests.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "nju/Dialect/NJU/Analysis/Evaluator.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include "nju/Import/ONNX/Import.h"
#include "llvm/Support/FileSystem.h"

using namespace nju;
using namespace nju::test;

/// What the importer says to a test, or "" if it takes it and the outputs are
/// right.
static std::string run(const NodeTest &test, const std::string &folder) {
  std::string path = test.writeModel(folder);
  mlir::MLIRContext context;
  std::string diagnostics;
  mlir::ScopedDiagnosticHandler handler(
      &context, [&](mlir::Diagnostic &d) { diagnostics += d.str() + "\n"; });
  mlir::OwningOpRef<mlir::ModuleOp> module = importONNX(path, &context);
  if (!module)
    return diagnostics.empty() ? "no diagnostic" : diagnostics;
  EXPECT_EQ(diagnostics, "") << test.name;
  auto main = module->lookupSymbol<mlir::func::FuncOp>("main");
  Evaluator evaluator;
  for (unsigned i = 0; i < main.getNumArguments(); ++i) {
    auto name = main.getArgAttrOfType<mlir::StringAttr>(i, "nju.name");
    evaluator.bind(main.getArgument(i), test.getInput(name, &context));
  }
  mlir::Operation *ret = main.getBody().front().getTerminator();
  for (auto [i, value] : llvm::enumerate(ret->getOperands())) {
    auto computed = evaluator.evaluate(value);
    if (mlir::failed(computed)) {
      ADD_FAILURE() << test.name << ": " << evaluator.reason().str();
      continue;
    }
    EXPECT_TRUE(isNear(*computed, test.getOutput(i, &context))) << test.name;
  }
  return "";
}

/// What the importer refuses of ops that it otherwise knows.
static const char *kRefusals[] = {
    "has element type",                    // strings, types below a byte
    "converts to",                         // the same
    "is no tensor, expected one",          // sequences and optionals
    "is a sequence, expected a tensor",    //
    "'Optional' of domain",                //
    "is in training mode",                 //
    "places of the largest",               // of MaxPool
    "divides floats with fmod = 0",        //
    "expected different letters",          // diagonals in Einsum
    "expected 'constant'",                 // other modes of Pad
    "is output 3 of node 'Y' (Attention)", // the scores of Attention
    "'left_window_size'",                  // opset 25
    "'right_window_size'",                 //
};

TEST(NodeConformance, ComputesWhatONNXSays) {
  llvm::SmallString<128> scratch;
  ASSERT_FALSE(llvm::sys::fs::createUniqueDirectory("nju-nodes", scratch));
  unsigned numComputed = 0;
  for (const NodeTest &test : readKnownNodeTests()) {
    std::string message = run(test, scratch.str().str());
    llvm::StringRef refusal = message;
    numComputed += refusal.empty();
    EXPECT_TRUE(refusal.empty() ||
                llvm::any_of(
                    kRefusals,
                    [&](const char *known) { return refusal.contains(known); }))
        << test.name << ": " << refusal.str();
  }
  llvm::sys::fs::remove_directories(scratch);
  RecordProperty("computed", static_cast<int>(numComputed));
  EXPECT_GE(numComputed, 1300u);
}
