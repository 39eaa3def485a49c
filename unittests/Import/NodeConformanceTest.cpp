//===- NodeConformanceTest.cpp - ONNX's own tests of its ops -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// Runs the node tests of the onnx package, which write_node_tests.py stored in
// the folder NJU_NODE_TESTS, with the evaluator: each is a model of one node
// (or of the nodes that define it), its inputs and its expected outputs. Why
// the importer refuses some is in the list of refusals below.
#include "ModelBuilder.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "nju/Dialect/NJU/Analysis/Evaluator.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include <cmath>
#include <gtest/gtest.h>

using namespace nju;
using namespace nju::test;

namespace {
struct NodeTest {
  std::string name;
  onnx::ModelProto model;
  std::vector<onnx::TensorProto> inputs, outputs;
};
} // namespace

static std::string readFile(const llvm::Twine &path) {
  auto buffer = llvm::MemoryBuffer::getFile(path);
  return buffer ? (*buffer)->getBuffer().str() : "";
}

static std::vector<onnx::TensorProto> readTensors(const std::string &folder,
                                                  const char *stem, int count) {
  std::vector<onnx::TensorProto> tensors(count);
  // Sequences have no file; the importer refuses their models.
  for (int i = 0; i < count; ++i)
    tensors[i].ParseFromString(
        readFile(folder + "/" + stem + "_" + llvm::Twine(i) + ".pb"));
  return tensors;
}

static NodeTest readTest(const std::string &folder) {
  NodeTest test;
  test.name = llvm::sys::path::filename(folder).str();
  EXPECT_TRUE(test.model.ParseFromString(readFile(folder + "/model.onnx")));
  const onnx::GraphProto &graph = test.model.graph();
  test.inputs = readTensors(folder, "input", graph.input_size());
  test.outputs = readTensors(folder, "output", graph.output_size());
  return test;
}

/// Makes initializers of integer and i1 inputs: axes and sizes are constants in
/// every exported model, and have to be for some ops.
static void bindIntegers(NodeTest &test) {
  onnx::GraphProto *graph = test.model.mutable_graph();
  for (int i = 0; i < graph->input_size(); ++i) {
    int32_t type = test.inputs[i].data_type();
    if (type != onnx::TensorProto::INT64 && type != onnx::TensorProto::INT32 &&
        type != onnx::TensorProto::BOOL)
      continue;
    onnx::TensorProto *tensor = graph->add_initializer();
    *tensor = test.inputs[i];
    tensor->set_name(graph->input(i).name());
  }
}

/// The tensor; its data are raw. Null for types that NJU does not have.
static HostTensor toHost(const onnx::TensorProto &tensor,
                         mlir::MLIRContext *context) {
  mlir::Builder b(context);
  auto typeOf = [&]() -> mlir::Type {
    using Tensor = onnx::TensorProto;
    switch (tensor.data_type()) {
    case Tensor::FLOAT:
      return b.getF32Type();
    case Tensor::DOUBLE:
      return b.getF64Type();
    case Tensor::FLOAT16:
      return b.getF16Type();
    case Tensor::BFLOAT16:
      return b.getBF16Type();
    case Tensor::BOOL:
      return b.getI1Type();
    case Tensor::INT8:
      return b.getIntegerType(8);
    case Tensor::INT16:
      return b.getIntegerType(16);
    case Tensor::INT32:
      return b.getI32Type();
    case Tensor::INT64:
      return b.getI64Type();
    case Tensor::UINT8:
      return b.getIntegerType(8, false);
    case Tensor::UINT16:
      return b.getIntegerType(16, false);
    case Tensor::UINT32:
      return b.getIntegerType(32, false);
    case Tensor::UINT64:
      return b.getIntegerType(64, false);
    default:
      return {};
    }
  };
  mlir::Type type = typeOf();
  if (!type)
    return {};
  llvm::SmallVector<int64_t> shape(tensor.dims().begin(), tensor.dims().end());
  HostTensor host(type, shape);
  if (host.getNumBytes() != static_cast<int64_t>(tensor.raw_data().size()))
    return {};
  std::copy(tensor.raw_data().begin(), tensor.raw_data().end(),
            host.mutableBytes());
  return host;
}

/// Largest relative error of an element type's ops, as ONNX's own runner allows
/// it for f32.
static double tolerance(mlir::Type type) {
  if (type.isF16())
    return 4e-3;
  if (type.isBF16())
    return 3e-2;
  return 1e-3;
}

static testing::AssertionResult isNear(const HostTensor &computed,
                                       const HostTensor &expected) {
  if (computed.getType() != expected.getType())
    return testing::AssertionFailure() << "other type than expected";
  bool isFloat = llvm::isa<mlir::FloatType>(expected.getElementType());
  double relative = tolerance(expected.getElementType());
  for (int64_t i = 0; i < expected.getNumElements(); ++i) {
    double x = computed.getFloat(i), y = expected.getFloat(i);
    bool fits = isFloat ? (std::isnan(x) && std::isnan(y)) || x == y ||
                              std::abs(x - y) <=
                                  relative * std::abs(y) + relative * 1e-2
                        : computed.getInt(i) == expected.getInt(i);
    if (!fits)
      return testing::AssertionFailure()
             << "element " << i << " is " << x << ", expected " << y;
  }
  return testing::AssertionSuccess();
}

/// What the importer says to a test, or "" if it takes it and the outputs are
/// right.
static std::string run(NodeTest &test, const std::string &folder) {
  bindIntegers(test);
  std::string path = folder + "/" + test.name + ".onnx";
  {
    std::error_code error;
    llvm::raw_fd_ostream file(path, error);
    file << test.model.SerializeAsString();
  }
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
    for (int j = 0; j < test.model.graph().input_size(); ++j)
      if (test.model.graph().input(j).name() == name.getValue())
        evaluator.bind(main.getArgument(i), toHost(test.inputs[j], &context));
  }
  mlir::Operation *ret = main.getBody().front().getTerminator();
  for (auto [i, value] : llvm::enumerate(ret->getOperands())) {
    auto computed = evaluator.evaluate(value);
    if (mlir::failed(computed)) {
      ADD_FAILURE() << test.name << ": " << evaluator.reason().str();
      continue;
    }
    EXPECT_TRUE(isNear(*computed, toHost(test.outputs[i], &context)))
        << test.name;
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
    "has reduction",                       // scatters that combine
    "divides floats with fmod = 0",        //
    "expected different letters",          // diagonals in Einsum
    "expected 'constant'",                 // other modes of Pad
    "is output 3 of node 'Y' (Attention)", // the scores of Attention
    "'left_window_size'",                  // opset 25
    "'right_window_size'",                 //
};

TEST(NodeConformance, ComputesWhatONNXSays) {
  llvm::StringSet<> known;
  for (const ONNXOpSupport &op : supportedONNXOps())
    known.insert(op.type);
  llvm::SmallString<128> scratch;
  ASSERT_FALSE(llvm::sys::fs::createUniqueDirectory("nju-nodes", scratch));
  unsigned numComputed = 0;
  std::error_code error;
  llvm::sys::fs::directory_iterator it(NJU_NODE_TESTS, error), end;
  for (; !error && it != end; it.increment(error)) {
    if (!llvm::sys::fs::is_directory(it->path()))
      continue;
    NodeTest test = readTest(it->path());
    bool isKnown =
        llvm::all_of(test.model.graph().node(), [&](const auto &node) {
          return known.contains(node.op_type());
        });
    if (!isKnown)
      continue;
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
  EXPECT_GE(numComputed, 1000u);
}
