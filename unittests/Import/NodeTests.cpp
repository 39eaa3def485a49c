//===- NodeTests.cpp - ONNX's own tests of its ops ------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "NodeTests.h"
#include "mlir/IR/Builders.h"
#include "nju/Import/ONNX/Import.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"
#include <cmath>

using namespace nju;
using namespace nju::test;

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

testing::AssertionResult nju::test::isNear(const HostTensor &computed,
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

std::string NodeTest::writeModel(const std::string &folder) const {
  std::string path = folder + "/" + name + ".onnx";
  std::error_code error;
  llvm::raw_fd_ostream file(path, error);
  file << model.SerializeAsString();
  return path;
}

HostTensor NodeTest::getInput(llvm::StringRef name,
                              mlir::MLIRContext *context) const {
  for (int i = 0; i < model.graph().input_size(); ++i)
    if (model.graph().input(i).name() == name)
      return toHost(inputs[i], context);
  return {};
}

HostTensor NodeTest::getOutput(size_t index, mlir::MLIRContext *context) const {
  return toHost(outputs[index], context);
}

std::vector<NodeTest> nju::test::readNodeTests() {
  llvm::StringSet<> known;
  for (const ONNXOpSupport &op : supportedONNXOps())
    known.insert(op.type);
  std::vector<NodeTest> tests;
  std::error_code error;
  llvm::sys::fs::directory_iterator it(NJU_NODE_TESTS, error), end;
  for (; !error && it != end; it.increment(error)) {
    if (!llvm::sys::fs::is_directory(it->path()))
      continue;
    NodeTest test = readTest(it->path());
    for (const onnx::NodeProto &node : test.model.graph().node())
      if (!known.contains(node.op_type()))
        test.unknownOp = node.op_type();
    bindIntegers(test);
    tests.push_back(std::move(test));
  }
  llvm::sort(tests, [](const NodeTest &a, const NodeTest &b) {
    return a.name < b.name;
  });
  return tests;
}

std::vector<NodeTest> nju::test::readKnownNodeTests() {
  std::vector<NodeTest> tests = readNodeTests();
  llvm::erase_if(tests,
                 [](const NodeTest &test) { return !test.unknownOp.empty(); });
  return tests;
}
