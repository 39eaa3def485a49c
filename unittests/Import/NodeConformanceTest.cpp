//===- NodeConformanceTest.cpp - ONNX's own tests of its ops -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// Runs the node tests of the onnx package with the evaluator. Why the importer
// refuses some is in the list of refusals below.
#include "ConformanceReport.h"
#include "NodeTests.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "nju/Dialect/NJU/Analysis/Evaluator.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include "nju/Import/ONNX/Import.h"
#include "llvm/Support/FileSystem.h"

using namespace nju;
using namespace nju::test;

namespace {
/// What came of a test; both are "" if it passed.
struct Outcome {
  std::string refusal; ///< What the importer says.
  std::string failure;
};
} // namespace

static Outcome run(const NodeTest &test, const std::string &folder) {
  std::string path = test.writeModel(folder);
  mlir::MLIRContext context;
  std::string diagnostics;
  mlir::ScopedDiagnosticHandler handler(
      &context, [&](mlir::Diagnostic &d) { diagnostics += d.str() + "\n"; });
  mlir::OwningOpRef<mlir::ModuleOp> module = importONNX(path, &context);
  if (!module)
    return {diagnostics.empty() ? "no diagnostic" : diagnostics, ""};
  auto main = module->lookupSymbol<mlir::func::FuncOp>("main");
  Evaluator evaluator;
  for (unsigned i = 0; i < main.getNumArguments(); ++i) {
    auto name = main.getArgAttrOfType<mlir::StringAttr>(i, "nju.name");
    evaluator.bind(main.getArgument(i), test.getInput(name, &context));
  }
  mlir::Operation *ret = main.getBody().front().getTerminator();
  for (auto [i, value] : llvm::enumerate(ret->getOperands())) {
    auto computed = evaluator.evaluate(value);
    if (mlir::failed(computed))
      return {"", evaluator.reason().str()};
    if (auto near = isNear(*computed, test.getOutput(i, &context)); !near)
      return {"", near.message()};
  }
  return {"", diagnostics};
}

/// What the importer refuses of ops that it otherwise knows: a part of its
/// diagnostic, and what that is called in the report.
static const std::pair<const char *, const char *> kRefusals[] = {
    {"has element type", "element type"}, // strings, types below a byte
    {"converts to", "element type"},
    {"is no tensor, expected one", "sequence or optional"},
    {"is a sequence, expected a tensor", "sequence or optional"},
    {"'Optional' of domain", "sequence or optional"},
    {"is in training mode", "training mode"},
    {"places of the largest", "indices of the largest"}, // of MaxPool
    {"divides floats with fmod = 0", "floats without fmod"},
    {"expected different letters", "diagonal"}, // in Einsum
    {"expected 'constant'", "other modes"},     // of Pad
    {"is output 3 of node 'Y' (Attention)", "output of the scores"},
    {"'left_window_size'", "attribute of opset 25"},
    {"'right_window_size'", "attribute of opset 25"},
};

/// What the report calls a diagnostic; "" if it is none of the above.
static std::string reasonOf(llvm::StringRef diagnostic) {
  for (auto [known, reason] : kRefusals)
    if (diagnostic.contains(known))
      return reason;
  return "";
}

/// Runs the test for the report.
static void add(const NodeTest &test, const std::string &folder,
                ConformanceReport &report) {
  if (!test.unknownOp.empty())
    return report.addRefused(test, "`" + test.unknownOp + "` is not known");
  Outcome outcome = run(test, folder);
  std::string reason = reasonOf(outcome.refusal);
  EXPECT_EQ(outcome.failure, "") << test.name;
  EXPECT_TRUE(outcome.refusal.empty() || !reason.empty())
      << test.name << ": " << outcome.refusal;
  if (!outcome.failure.empty())
    report.addFailed(test);
  else if (outcome.refusal.empty())
    report.addPassed(test);
  else
    report.addRefused(test, reason);
}

TEST(NodeConformance, ComputesWhatONNXSays) {
  llvm::SmallString<128> scratch;
  ASSERT_FALSE(llvm::sys::fs::createUniqueDirectory("nju-nodes", scratch));
  std::vector<NodeTest> tests = readNodeTests();
  ConformanceReport report(tests);
  for (const NodeTest &test : tests)
    add(test, scratch.str().str(), report);
  llvm::sys::fs::remove_directories(scratch);
  EXPECT_GE(report.getNumPassed(), 1300u);
  EXPECT_TRUE(report.isPage(NJU_CONFORMANCE_PAGE));
}
