//===- RobustnessTest.cpp - Damaged models and large ones -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ModelBuilder.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FileUtilities.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include <chrono>
#include <gtest/gtest.h>
#include <random>

using namespace nju::test;
using onnx::TensorProto;

/// A model that uses most parts of the importer: weights of each kind, a
/// function with attributes, an If, sequences.
static std::string smallModel() {
  ModelBuilder b;
  b.input("x", {"batch", "sequence", "8"}).output("y").output("n");
  b.floats("w", {8, 8}, std::vector<float>(64, 0.5f));
  b.ints("shape", {0, -1, 2, 4});
  b.ints("split", {3, 5});
  b.initializer("condition", TensorProto::BOOL, {})->add_int32_data(1);
  auto *function = b.model.add_functions();
  function->set_domain("pkg");
  function->set_name("F");
  function->add_input("a");
  function->add_output("b");
  function->add_attribute("slope");
  ModelBuilder::addOpset(function->add_opset_import(), "", 17);
  auto *leaky = function->add_node();
  ModelBuilder::fillNode(leaky, "LeakyRelu", {"a"}, {"b"});
  addAttr(leaky, "alpha", onnx::AttributeProto::FLOAT)
      ->set_ref_attr_name("slope");
  b.node("MatMul", {"x", "w"}, {"m"});
  auto *call = b.node("F", {"m"}, {"f"});
  call->set_domain("pkg");
  setFloat(call, "slope", 0.5f);
  auto *branch = b.node("If", {"condition"}, {"c"});
  for (const char *name : {"then_branch", "else_branch"}) {
    auto *graph =
        addAttr(branch, name, onnx::AttributeProto::GRAPH)->mutable_g();
    ModelBuilder::fillNode(graph->add_node(), "Sin", {"f"}, {"r"});
    graph->add_output()->set_name("r");
  }
  setInt(b.node("SplitToSequence", {"c", "split"}, {"s"}), "axis", 2);
  setInt(b.node("ConcatFromSequence", {"s"}, {"j"}), "axis", 2);
  b.node("Reshape", {"j", "shape"}, {"r4"});
  setInts(b.node("Transpose", {"r4"}, {"t"}), "perm", {0, 2, 1, 3});
  setInt(b.node("Softmax", {"t"}, {"y"}), "axis", -1);
  b.node("Shape", {"t"}, {"n"});
  return b.model.SerializeAsString();
}

/// A model or an error, but never both and never neither.
static void expectModelOrError(const std::string &bytes) {
  ImportResult result = importBytes(bytes);
  bool hasError = false;
  llvm::SmallVector<llvm::StringRef> lines;
  llvm::StringRef(result.diagnostics).split(lines, '\n', -1, false);
  for (llvm::StringRef line : lines)
    hasError |= !line.starts_with("warning: ");
  EXPECT_EQ(hasError, result.ir.empty()) << result.diagnostics;
}

static std::vector<std::string> models() {
  std::vector<std::string> models{smallModel()};
  // One whole exported model, if it is there: it has many more ops.
  auto fixture = llvm::MemoryBuffer::getFile(
      NJU_SOURCE_DIR "/test/fixtures/gpt2-dynamo-opset18.onnx");
  if (fixture)
    models.push_back((*fixture)->getBuffer().str());
  return models;
}

TEST(ONNXRobustness, TheModelItselfIsImported) {
  for (const std::string &model : models())
    EXPECT_EQ(importBytes(model).diagnostics, "");
}

TEST(ONNXRobustness, TruncatedModels) {
  for (const std::string &model : models())
    for (size_t i = 0; i < 400; ++i)
      expectModelOrError(model.substr(0, model.size() * i / 400));
}

TEST(ONNXRobustness, FlippedBits) {
  std::mt19937 random(1);
  for (const std::string &model : models())
    for (int i = 0; i < 1500; ++i) {
      std::string damaged = model;
      for (unsigned flips = random() % 4 + 1; flips > 0; --flips)
        damaged[random() % damaged.size()] ^=
            static_cast<char>(1u << random() % 8);
      expectModelOrError(damaged);
    }
}

TEST(ONNXRobustness, ReplacedBytes) {
  std::mt19937 random(2);
  std::string model = smallModel();
  for (int i = 0; i < 3000; ++i) {
    std::string damaged = model;
    size_t start = random() % damaged.size();
    size_t size = std::min<size_t>(random() % 8, damaged.size() - start);
    for (size_t j = 0; j < size; ++j)
      damaged[start + j] = static_cast<char>(random());
    // Shift what follows as well.
    if (random() % 2)
      damaged.erase(start, random() % 8);
    expectModelOrError(damaged);
  }
}

TEST(ONNXRobustness, RandomBytes) {
  std::mt19937 random(3);
  for (int i = 0; i < 2000; ++i) {
    std::string bytes(random() % 100, 0);
    for (char &byte : bytes)
      byte = static_cast<char>(random());
    expectModelOrError(bytes);
  }
}

/// A graph of tens of thousands of nodes takes seconds, not minutes.
TEST(ONNXRobustness, ManyNodes) {
  constexpr int kNodes = 20000;
  ModelBuilder b;
  b.input("x", {"batch", "8"}).output("v" + std::to_string(kNodes - 1));
  b.floats("w", {8, 8}, std::vector<float>(64));
  std::string last = "x";
  for (int i = 0; i < kNodes; ++i) {
    std::string name = "v" + std::to_string(i);
    if (i % 2)
      b.node("Relu", {last}, {name});
    else
      b.node("MatMul", {last, "w"}, {name});
    last = name;
  }
  auto start = std::chrono::steady_clock::now();
  ImportResult result = importModel(b);
  std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  EXPECT_EQ(result.diagnostics, "");
  EXPECT_LT(time.count(), 20);
  RecordProperty("seconds", std::to_string(time.count()));
}

/// Weights are not copied: a sparse file of 5 GB, of which a model of 2 weights
/// takes all but some bytes, is imported at once.
TEST(ONNXRobustness, WeightsOfMoreThanTwoGigabytes) {
  constexpr uint64_t kElements = 1ull << 29, kBytes = kElements * 4;
  auto varint = [](uint64_t value) {
    std::string out;
    for (; value >= 0x80; value >>= 7)
      out.push_back(static_cast<char>(value | 0x80));
    out.push_back(static_cast<char>(value));
    return out;
  };
  ModelBuilder b;
  b.output("w0").output("w1");
  b.graph->set_name("");
  std::string graph = b.graph->SerializeAsString();
  b.model.clear_graph();
  std::string head = b.model.SerializeAsString();
  // Field 5 of the graph is an initializer, field 9 of that its raw data.
  std::string tensors[2], fields[2];
  uint64_t size = graph.size();
  for (int i = 0; i < 2; ++i) {
    TensorProto proto;
    proto.set_name("w" + std::to_string(i));
    proto.set_data_type(TensorProto::FLOAT);
    proto.add_dims(kElements);
    fields[i] = proto.SerializeAsString() + "\x4a" + varint(kBytes);
    tensors[i] = "\x2a" + varint(fields[i].size() + kBytes);
    size += tensors[i].size() + fields[i].size() + kBytes;
  }
  llvm::SmallString<128> path;
  int file;
  ASSERT_FALSE(
      llvm::sys::fs::createTemporaryFile("nju-large", "onnx", file, path));
  llvm::FileRemover remover(path);
  {
    llvm::raw_fd_ostream os(file, /*shouldClose=*/true);
    os << head << "\x3a" << varint(size) << graph;
    for (int i = 0; i < 2; ++i) {
      os << tensors[i] << fields[i];
      os.seek(os.tell() + kBytes - 1);
      os << '\0';
    }
  }
  ImportResult result = collect([&](mlir::MLIRContext *context) {
    return nju::importONNX(path, context);
  });
  EXPECT_EQ(result.diagnostics, "");
  EXPECT_NE(result.ir.find("nju.param @w1 : tensor<536870912xf32> = #nju.file"),
            std::string::npos);
}

/// Expressions of dimensions that double in size with each node do not take
/// forever.
TEST(ONNXRobustness, DimensionsThatAreMultipliedOften) {
  ModelBuilder b;
  b.input("x", {"a", "b"}).output("y");
  b.node("Shape", {"x"}, {"shape"});
  b.node("ReduceSum", {"shape"}, {"s0"});
  for (int i = 0; i < 40; ++i) {
    std::string last = "s" + std::to_string(i);
    b.node("Mul", {last, last}, {"s" + std::to_string(i + 1)});
  }
  b.node("Expand", {"x", "s40"}, {"y"});
  auto start = std::chrono::steady_clock::now();
  expectModelOrError(b.model.SerializeAsString());
  std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  EXPECT_LT(time.count(), 20);
}
