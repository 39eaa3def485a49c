//===- ErrorsTest.cpp - What the importer says to bad models -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ModelBuilder.h"
#include <gtest/gtest.h>
#include <numeric>

using namespace nju::test;
using onnx::AttributeProto;
using onnx::TensorProto;

/// The model is refused with one diagnostic, "model.onnx: MESSAGE".
static void expectError(const ModelBuilder &b, const std::string &message) {
  ImportResult result = importModel(b);
  EXPECT_EQ(result.ir, "");
  EXPECT_EQ(result.diagnostics, "model.onnx: " + message + "\n");
}

/// The same for a model of one node of inputs of the given types, and its
/// message, "model.onnx: node 'OP_y' (OP, opset N): MESSAGE".
struct OneNode {
  ModelBuilder b;
  onnx::NodeProto *node;
  std::string label;

  OneNode(const std::string &type, const std::vector<Dims> &inputs,
          int64_t opset = 17, int32_t elementType = TensorProto::FLOAT)
      : b(opset) {
    Names names;
    for (const Dims &dims : inputs) {
      names.push_back("x" + std::to_string(names.size()));
      b.input(names.back(), dims, elementType);
    }
    b.output("y");
    node = b.node(type, names, {"y"});
    label = "node '" + type + "_y' (" + type + ", opset " +
            std::to_string(opset) + "): ";
  }
  void expect(const std::string &message) { expectError(b, label + message); }
};

//===----------------------------------------------------------------------===//
// Files
//===----------------------------------------------------------------------===//

static std::string diagnosticsOfBytes(const std::string &bytes) {
  ImportResult result = importBytes(bytes);
  EXPECT_EQ(result.ir, "");
  return result.diagnostics;
}

TEST(ONNXErrors, FilesThatCannotBeRead) {
  auto load = [](const char *path) {
    return collect([&](mlir::MLIRContext *context) {
             return nju::importONNX(path, context);
           })
        .diagnostics;
  };
  EXPECT_EQ(load("/nonexistent/model.onnx"),
            "/nonexistent/model.onnx: cannot be read: No such file or "
            "directory\n");
  EXPECT_EQ(load("/dev/null"),
            "/dev/null: is no regular file; expected an ONNX model\n");
  EXPECT_EQ(load("/"), "/: is no regular file; expected an ONNX model\n");
}

TEST(ONNXErrors, BytesThatAreNoModel) {
  const std::string prefix = "model.onnx: is no ONNX model: ";
  EXPECT_EQ(diagnosticsOfBytes(""), prefix + "it has no graph\n");
  EXPECT_EQ(diagnosticsOfBytes("\x07"),
            prefix + "a malformed field at byte 0 of 1\n");
  EXPECT_EQ(diagnosticsOfBytes("\x08"),
            prefix + "a malformed number at byte 0 of 1\n");
  EXPECT_EQ(diagnosticsOfBytes("\x08\x01\x3a"),
            prefix + "a malformed length at byte 2 of 3\n");
  EXPECT_EQ(diagnosticsOfBytes("\x3a\x7f"),
            prefix + "a field that runs over the end at byte 0 of 2\n");
  EXPECT_EQ(diagnosticsOfBytes("\x0b"),
            prefix + "a field of unknown type at byte 0 of 1\n");
  // A node's name that is no message of its own is fine for the scanner, a
  // producer name that is a number is not for the parser.
  EXPECT_EQ(diagnosticsOfBytes(std::string("\x3a\x02\x0a\x01", 4)),
            prefix + "a field that runs over the end at byte 2 of 4\n");
}

TEST(ONNXErrors, ModelWithoutVersionOrOpset) {
  ModelBuilder b;
  b.model.clear_ir_version();
  expectError(b, "is no ONNX model: it has no IR version");
  ModelBuilder c;
  c.model.clear_opset_import();
  expectError(c, "says no opset; expected an ONNX model of IR version 3 or "
                 "newer");
}

TEST(ONNXErrors, NestedTooDeeply) {
  // A graph in an attribute of a node in a graph in ...
  std::string graph;
  auto wrap = [](char tag, const std::string &content) {
    std::string out(1, tag);
    uint64_t size = content.size();
    for (; size >= 0x80; size >>= 7)
      out.push_back(static_cast<char>(size | 0x80));
    out.push_back(static_cast<char>(size));
    return out + content;
  };
  for (int i = 0; i < 40; ++i)
    graph = wrap(0x0a, wrap(0x2a, wrap(0x32, graph)));
  std::string diagnostics = diagnosticsOfBytes(wrap(0x3a, graph));
  EXPECT_NE(diagnostics.find("messages nested too deeply at byte"),
            std::string::npos);
}

//===----------------------------------------------------------------------===//
// Graphs
//===----------------------------------------------------------------------===//

TEST(ONNXErrors, Opsets) {
  expectError(ModelBuilder(25), "uses opset 25 of ai.onnx, expected 1 to 24; "
                                "export the model with an older opset");
  expectError(ModelBuilder(0), "uses opset 0 of ai.onnx, expected 1 to 24; "
                               "export the model with an older opset");
  ModelBuilder b;
  ModelBuilder::addOpset(b.model.add_opset_import(), "com.microsoft", 2);
  expectError(b, "uses opset 2 of com.microsoft, expected 1 to 1; export the "
                 "model with an older opset");
  OneNode old("Add", {{"2"}, {"2"}}, 6);
  old.expect("is supported from opset 7 of domain 'ai.onnx' on; export the "
             "model with a newer opset");
}

TEST(ONNXErrors, UnknownOps) {
  OneNode n("ImageDecoder", {{"2"}});
  n.expect("op 'ImageDecoder' of domain 'ai.onnx' is not supported, and the "
           "model has "
           "no function of this name");
  OneNode m("Gelu", {{"2"}});
  m.node->set_domain("my.domain");
  ImportResult result = importModel(m.b);
  EXPECT_EQ(result.diagnostics,
            "model.onnx: node 'Gelu_y' (my.domain.Gelu, opset 0): op 'Gelu' of "
            "domain 'my.domain' is not supported, and the model has no "
            "function of this name\n");
}

TEST(ONNXErrors, MissingOpsetOfADomain) {
  ModelBuilder b;
  b.model.mutable_opset_import(0)->set_domain("other");
  b.input("x", {"2"}).output("y");
  b.node("Relu", {"x"}, {"y"});
  expectError(b, "node 'Relu_y' (Relu, opset 0): the model imports no opset of "
                 "domain 'ai.onnx'");
}

TEST(ONNXErrors, Inputs) {
  auto withInput = [](int32_t type, const Dims &dims) {
    ModelBuilder b;
    return b.input("x", dims, type);
  };
  expectError(withInput(TensorProto::STRING, {"2"}),
              "input 'x' has element type STRING, expected a float, integer or "
              "BOOL type of 8 to 64 bits");
  expectError(withInput(99, {"2"}),
              "input 'x' has element type data type 99, expected a float, "
              "integer or BOOL type of 8 to 64 bits");
  expectError(withInput(TensorProto::FLOAT, {"-1"}),
              "input 'x' has a dimension of -1, expected 0 or more, or a name");
  expectError(withInput(TensorProto::FLOAT, {"4294967296", "4294967296"}),
              "input 'x' has dimensions whose product is too large for any "
              "memory");
  expectError(withInput(TensorProto::FLOAT, Dims(65, "1")),
              "input 'x' has rank 65, expected at most 64");
  ModelBuilder sequence;
  sequence.graph->add_input()->set_name("x");
  expectError(sequence, "input 'x' is no tensor, expected one");
  ModelBuilder shapeless;
  shapeless.input("x", {});
  shapeless.graph->mutable_input(0)
      ->mutable_type()
      ->mutable_tensor_type()
      ->clear_shape();
  expectError(shapeless, "input 'x' has no shape; export the model with the "
                         "ranks of its inputs");
}

TEST(ONNXErrors, Outputs) {
  ModelBuilder none;
  expectError(none, "the graph has no outputs");
  ModelBuilder dangling;
  dangling.output("y");
  expectError(dangling, "output 'y' is computed by no node");
  ModelBuilder twice;
  twice.input("x", {"2"}).output("x").output("x");
  expectError(twice, "output 'x' is listed twice");
  ModelBuilder sequence;
  sequence.input("x", {"2"}).output("s");
  sequence.node("SequenceConstruct", {"x"}, {"s"});
  expectError(sequence, "output 's' is a sequence, expected a tensor");
  ModelBuilder type;
  type.input("x", {"2"}).output("y");
  type.node("Relu", {"x"}, {"y"});
  ModelBuilder::setType(type.graph->mutable_output(0), TensorProto::INT64,
                        {"2"});
  expectError(type, "output 'y' is declared as INT64, but the graph computes "
                    "'tensor<2xf32>'");
}

TEST(ONNXErrors, WarnsOfDeclaredDimensionsThatDoNotFit) {
  ModelBuilder b;
  b.input("x", {"2"}).output("y");
  b.node("Relu", {"x"}, {"y"});
  ModelBuilder::setType(b.graph->mutable_output(0), TensorProto::FLOAT, {"3"});
  ImportResult result = importModel(b);
  EXPECT_NE(result.ir, "");
  EXPECT_EQ(result.diagnostics,
            "warning: model.onnx: output 'y' is declared with other dimensions "
            "than 'tensor<2xf32>', which the graph computes\n");
}

TEST(ONNXErrors, Names) {
  ModelBuilder dangling;
  dangling.input("x", {"2"}).output("y");
  dangling.node("Add", {"x", "z"}, {"y"});
  expectError(dangling, "node 'Add_y' (Add, opset 17): input 'z' is neither an "
                        "input, an initializer nor an output of a node");
  ModelBuilder twice;
  twice.input("x", {"2"}).output("y");
  twice.node("Relu", {"x"}, {"y"});
  twice.node("Abs", {"x"}, {"y"});
  expectError(twice, "'y' is an output of two nodes, 'Relu_y' and 'Abs_y'; "
                     "expected one");
  ModelBuilder shadows;
  shadows.input("x", {"2"}).output("x");
  shadows.node("Relu", {"x"}, {"x"});
  expectError(shadows, "the graph has a cycle: 'Relu_x' -> 'Relu_x'");
  ModelBuilder input;
  input.input("x", {"2"}).input("x", {"3"}).output("x");
  expectError(input, "'x' is the name of two values");
  ModelBuilder output;
  output.input("x", {"2"}).input("y", {"2"}).output("y");
  output.node("Relu", {"x"}, {"y"});
  expectError(output, "'y' is the name of two values");
  ModelBuilder initializers;
  initializers.ints("w", {1});
  initializers.ints("w", {2});
  expectError(initializers, "'w' is the name of two initializers");
}

TEST(ONNXErrors, CyclesNameTheirNodes) {
  ModelBuilder b;
  b.input("x", {"2"}).output("d");
  b.node("Add", {"x", "c"}, {"a"});
  b.node("Relu", {"a"}, {"b"});
  b.node("Abs", {"b"}, {"c"});
  b.node("Neg", {"c"}, {"d"});
  expectError(b, "the graph has a cycle: 'Relu_b' -> 'Abs_c' -> 'Add_a' -> "
                 "'Relu_b'");
}

TEST(ONNXErrors, SparseInitializers) {
  ModelBuilder b;
  b.graph->add_sparse_initializer()->mutable_values()->set_name("w");
  expectError(b, "sparse initializer 'w' is not supported; expected a dense "
                 "one");
}

TEST(ONNXErrors, MoreOpsThanAllowed) {
  ModelBuilder b;
  b.input("x", {"2"}).output("z");
  b.node("Relu", {"x"}, {"y"});
  b.node("Relu", {"y"}, {"z"});
  nju::ONNXImportOptions options;
  options.maxOps = 1;
  EXPECT_EQ(importModel(b, "model.onnx", options).diagnostics,
            "model.onnx: becomes more than 1 operations with its functions "
            "inlined\n");
}

//===----------------------------------------------------------------------===//
// Initializers
//===----------------------------------------------------------------------===//

/// The error of a model whose output is the initializer 'w' of this type.
static void expectTensorError(llvm::function_ref<void(TensorProto *)> change,
                              const std::string &message,
                              int32_t type = TensorProto::FLOAT,
                              const std::vector<int64_t> &dims = {2}) {
  ModelBuilder b;
  b.output("w");
  change(b.initializer("w", type, dims));
  expectError(b, "initializer 'w' " + message);
}

TEST(ONNXErrors, Initializers) {
  auto nothing = [](TensorProto *) {};
  expectTensorError(
      nothing, "has 0 bytes of data, but its type 'tensor<2xf32>' needs 8");
  expectTensorError(
      [](TensorProto *w) { w->set_raw_data("abc"); },
      "has 3 bytes of data, but its type 'tensor<2xf32>' needs 8");
  expectTensorError([](TensorProto *w) { w->set_raw_data(std::string(99, 0)); },
                    "has 99 bytes of data, but its type 'tensor<2xf32>' needs "
                    "8");
  expectTensorError(nothing,
                    "has element type STRING, expected a float, integer or "
                    "BOOL type of 8 to 64 bits",
                    TensorProto::STRING);
  expectTensorError(nothing, "has a dimension of -2, expected 0 or more",
                    TensorProto::FLOAT, {-2});
  expectTensorError(nothing,
                    "has dimensions [4294967296, 4294967296, 0], which are "
                    "more elements than fit in any memory",
                    TensorProto::FLOAT, {1LL << 32, 1LL << 32, 0});
  expectTensorError(nothing, "has rank 65, expected at most 64",
                    TensorProto::FLOAT, std::vector<int64_t>(65, 1));
  expectTensorError([](TensorProto *w) { w->mutable_segment(); },
                    "is a segment of a tensor, expected a whole one");
}

//===----------------------------------------------------------------------===//
// Inputs and attributes of nodes
//===----------------------------------------------------------------------===//

TEST(ONNXErrors, NumbersOfInputs) {
  OneNode("Relu", {{"2"}, {"2"}}).expect("has 2 inputs, expected 1");
  OneNode("Clip", {}).expect("has 0 inputs, expected 1 to 3");
  OneNode("Concat", {}).expect("has 0 inputs, expected at least 1");
  OneNode left("Add", {{"2"}, {"2"}});
  left.node->set_input(0, "");
  left.expect("has no input 0, expected one");
  OneNode variadic("Sum", {{"2"}, {"2"}, {"2"}});
  variadic.node->set_input(1, "");
  variadic.expect("has no input 1, expected one");
}

TEST(ONNXErrors, Attributes) {
  OneNode unknown("Relu", {{"2"}});
  setInt(unknown.node, "alpha", 1);
  unknown.expect("has attribute 'alpha', which is not supported in this opset");
  OneNode type("Concat", {{"2"}});
  setFloat(type.node, "axis", 1);
  type.expect("attribute 'axis' is of type FLOAT, expected INT");
  OneNode missing("Concat", {{"2"}});
  missing.expect("has no attribute 'axis'");
  OneNode range("Softmax", {{"2", "3"}});
  setInt(range.node, "axis", 2);
  range.expect("axis is 2, expected -2 to 1");
  OneNode twice("ReduceMean", {{"2", "3"}});
  setInts(twice.node, "axes", {1, -1});
  twice.expect("axis 1 is listed twice");
}

TEST(ONNXErrors, Types) {
  OneNode("Sin", {{"2"}}, 17, TensorProto::INT64)
      .expect("input 0 is 'tensor<2xi64>', expected a tensor of floats");
  OneNode("Not", {{"2"}})
      .expect("input 0 is 'tensor<2xf32>', expected a tensor of 'i1'");
  ModelBuilder b;
  b.input("x", {"2"}).input("i", {"2"}, TensorProto::INT64).output("y");
  b.node("Add", {"x", "i"}, {"y"});
  expectError(b, "node 'Add_y' (Add, opset 17): has inputs 'tensor<2xf32>' and "
                 "'tensor<2xi64>', expected one element type");
  OneNode("Reshape", {{"2"}, {"2"}})
      .expect("input 1 is 'tensor<2xf32>', expected a tensor of 'i64'");
  OneNode("Expand", {{"2"}, {"2", "2"}}, 17, TensorProto::INT64)
      .expect("input 1 is 'tensor<2x2xi64>', expected rank 1");
}

TEST(ONNXErrors, SequencesAndTensors) {
  ModelBuilder b;
  b.input("x", {"2"}).output("y");
  b.node("SequenceConstruct", {"x"}, {"s"});
  b.node("Relu", {"s"}, {"y"});
  expectError(b, "node 'Relu_y' (Relu, opset 17): input 's' is a sequence, "
                 "expected a tensor");
  OneNode("SequenceLength", {{"2"}})
      .expect("input 'x0' is a tensor, expected a sequence");
}

TEST(ONNXErrors, OutputsThatAreNotComputed) {
  ModelBuilder b(23);
  b.input("x", {"1", "1", "2", "4"}).output("y");
  b.node("Attention", {"x", "x", "x"}, {"a", "", "", "scores"});
  b.node("Relu", {"scores"}, {"y"});
  expectError(b, "node 'Relu_y' (Relu, opset 23): uses output 3 of node "
                 "'Attention_a' (Attention), which is not supported");
}

TEST(ONNXErrors, InputsThatMustBeConstant) {
  ModelBuilder b;
  b.input("x", {"2"}).input("axes", {"1"}, TensorProto::INT64).output("y");
  b.node("Unsqueeze", {"x", "axes"}, {"y"});
  expectError(b, "node 'Unsqueeze_y' (Unsqueeze, opset 17): input 1 (axes) is "
                 "'tensor<1xi64>' and depends on the model's inputs; expected "
                 "constant integers");
  ModelBuilder c;
  c.input("x", {"2"}).output("y");
  c.ints("axis", {0, 1});
  c.node("CumSum", {"x", "axis"}, {"y"});
  expectError(c, "node 'CumSum_y' (CumSum, opset 17): input 1 (axis) has 2 "
                 "elements, expected 1");
}

TEST(ONNXErrors, ContradictingDimensions) {
  ImportResult result =
      importModel(OneNode("MatMul", {{"2", "3"}, {"4", "5"}}).b);
  EXPECT_EQ(result.ir, "");
  EXPECT_TRUE(llvm::StringRef(result.diagnostics)
                  .starts_with("model.onnx: node 'MatMul_y' (MatMul, opset "
                               "17): "));
  EXPECT_EQ(llvm::StringRef(result.diagnostics).count('\n'), 1u);
}

TEST(ONNXErrors, ResultsOfHighRank) {
  OneNode n("Unsqueeze", {{"2"}}, 11);
  std::vector<int64_t> axes(64);
  std::iota(axes.begin(), axes.end(), 0);
  setInts(n.node, "axes", axes);
  n.expect("has a result of rank 65, expected at most 64");
}

TEST(ONNXErrors, HugeResults) {
  ModelBuilder b;
  b.input("x", {"1"}).output("y");
  b.ints("shape", {1LL << 40, 1LL << 40});
  b.node("Expand", {"x", "shape"}, {"y"});
  ImportResult result = importModel(b);
  EXPECT_EQ(result.ir, "");
  EXPECT_TRUE(llvm::StringRef(result.diagnostics)
                  .starts_with("model.onnx: node 'Expand_y' (Expand, opset "
                               "17): "));
}

//===----------------------------------------------------------------------===//
// Single ops
//===----------------------------------------------------------------------===//

TEST(ONNXErrors, ElementwiseOps) {
  OneNode("Mod", {{"2"}, {"2"}})
      .expect("divides floats with fmod = 0, expected fmod = 1");
  OneNode gelu("Gelu", {{"2"}}, 20);
  setString(gelu.node, "approximate", "sigmoid");
  gelu.expect("attribute 'approximate' is 'sigmoid', expected 'none' or "
              "'tanh'");
  OneNode cast("Cast", {{"2"}});
  cast.expect("has no attribute 'to'");
  setInt(cast.node, "to", TensorProto::STRING);
  cast.expect("converts to STRING, expected a float, integer or BOOL type of 8 "
              "to 64 bits");
  OneNode wide("Cast", {{"2"}});
  setInt(wide.node, "to", 1LL << 40);
  wide.expect("converts to 1099511627776, expected a float, integer or BOOL "
              "type of 8 to 64 bits");
  ModelBuilder dropout;
  dropout.input("x", {"2"}).output("y");
  dropout.floats("ratio", {}, {0.5f});
  dropout.initializer("training", TensorProto::BOOL, {})->add_int32_data(1);
  dropout.node("Dropout", {"x", "ratio", "training"}, {"y"});
  expectError(dropout, "node 'Dropout_y' (Dropout, opset 17): is in training "
                       "mode; export the model in inference mode");
}

TEST(ONNXErrors, Constants) {
  OneNode("Constant", {})
      .expect("has no value of a supported type; expected a "
              "tensor, integers or floats");
  OneNode fill("ConstantOfShape", {{"2"}}, 17, TensorProto::INT64);
  auto *value =
      addAttr(fill.node, "value", AttributeProto::TENSOR)->mutable_t();
  value->set_data_type(TensorProto::INT64);
  value->add_dims(2);
  value->add_int64_data(1);
  value->add_int64_data(2);
  fill.expect("attribute 'value' is 'tensor<2xi64>', expected one element");
  value->set_data_type(TensorProto::STRING);
  fill.expect("tensor has element type STRING, expected a float, integer or "
              "BOOL type of 8 to 64 bits");
}

TEST(ONNXErrors, ShapeOps) {
  OneNode("Squeeze", {{"n", "2"}})
      .expect("has no axes, but input 0 is 'tensor<?x2xf32>', of which "
              "dimension 0 may be 1; expected axes");
  OneNode("Unsqueeze", {{"2"}}).expect("has no axes, expected some");
  OneNode transpose("Transpose", {{"2", "3"}});
  setInts(transpose.node, "perm", {0});
  transpose.expect("has 1 entries in 'perm', expected 2");
  OneNode("Slice", {{"2"}}, 9)
      .expect("has no starts or no ends, expected "
              "both");
  ModelBuilder slice;
  slice.input("x", {"2"}).input("s", {"n"}, TensorProto::INT64).output("y");
  slice.node("Slice", {"x", "s", "s"}, {"y"});
  expectError(slice, "node 'Slice_y' (Slice, opset 17): has starts of "
                     "'tensor<?xi64>', expected a static number of them");
  OneNode pad("Pad", {{"2"}}, 10);
  pad.expect("has no attribute 'pads'");
  setString(pad.node, "mode", "reflect");
  pad.expect("has mode 'reflect', expected 'constant'");
  OneNode eye("EyeLike", {{"2", "2"}});
  setInt(eye.node, "dtype", TensorProto::STRING);
  eye.expect("has result type STRING, expected a float, integer or BOOL type "
             "of 8 to 64 bits");
}

TEST(ONNXErrors, Splits) {
  auto split = [](const std::vector<int64_t> &sizes) {
    OneNode n("Split", {{"4"}}, 11);
    setInts(n.node, "split", sizes);
    return n;
  };
  split({1, 3}).expect("is split into 2 parts, but has 1 outputs");
  split({3}).expect("has parts of 3 in all, but dimension 0 of 'tensor<4xf32>' "
                    "is 4");
  split({-4}).expect("has a part of size -4, expected 0 or more");
}

TEST(ONNXErrors, IndexingOps) {
  ModelBuilder b;
  b.input("x", {"2"}).output("y");
  b.node("Gather", {"x", "x"}, {"y"});
  expectError(b, "node 'Gather_y' (Gather, opset 17): input 1 is "
                 "'tensor<2xf32>', expected a tensor of integers");
  OneNode gather("GatherND", {{"2"}, {"1"}}, 17, TensorProto::INT64);
  setInt(gather.node, "batch_dims", 1);
  gather.expect("attribute 'batch_dims' is 1, expected 0 to 0");
  OneNode scatter("ScatterND", {{"2"}, {"1", "1"}, {"1"}}, 18,
                  TensorProto::INT64);
  setString(scatter.node, "reduction", "mean");
  scatter.expect("attribute 'reduction' is 'mean', expected 'none', 'add', "
                 "'mul', 'max' or 'min'");
}

TEST(ONNXErrors, MatMulOps) {
  OneNode gemm("Gemm", {{"2", "2"}, {"2", "2"}}, 17, TensorProto::INT32);
  setFloat(gemm.node, "alpha", 2);
  gemm.expect("scales integers, expected alpha and beta of 1");
  OneNode fused("FusedMatMul", {{"2", "2"}, {"2", "2"}});
  fused.node->set_domain("com.microsoft");
  setInt(fused.node, "transBatchA", 1);
  expectError(fused.b, "node 'FusedMatMul_y' (com.microsoft.FusedMatMul, opset "
                       "1): transposes batch dimensions, which is not "
                       "supported");
  auto einsum = [](const std::string &equation) {
    OneNode n("Einsum", {{"2", "2"}});
    setString(n.node, "equation", equation);
    return n;
  };
  einsum("ij,jk->ik").expect("has the equation 'ij,jk->ik' for 1 operands");
  einsum("i->i").expect("has the term 'i' for an operand of "
                        "'tensor<2x2xf32>', expected a label a dimension");
  einsum("ii->i").expect("has the term 'ii', expected different letters");
  einsum("ij->ik").expect("has the output term 'ik', expected different labels "
                          "of the operands");
}

TEST(ONNXErrors, NormalizationOps) {
  OneNode batch("BatchNormalization", {{"2", "3"}, {"3"}, {"3"}, {"3"}, {"3"}});
  setInt(batch.node, "training_mode", 1);
  batch.expect("is in training mode; export the model in inference mode");
  OneNode("InstanceNormalization", {{"2", "3"}, {"3"}, {"3"}})
      .expect("input 0 is 'tensor<2x3xf32>', expected rank 3 or more");
}

TEST(ONNXErrors, AttentionOps) {
  OneNode("Attention", {{"1", "2", "8"}, {"1", "2", "8"}, {"1", "2", "8"}}, 23)
      .expect("has inputs of rank 3 and no q_num_heads or no kv_num_heads, "
              "expected both");
  OneNode heads("Attention",
                {{"1", "2", "8"}, {"1", "2", "8"}, {"1", "2", "8"}}, 23);
  setInt(heads.node, "q_num_heads", 3);
  setInt(heads.node, "kv_num_heads", 1);
  heads.expect("has 3 heads for an input of 'tensor<1x2x8xf32>', expected a "
               "divisor of the last dimension");
  Dims q{"1", "3", "2", "8"}, k{"1", "2", "2", "8"};
  OneNode("Attention", {q, k, k}, 23)
      .expect("has query 'tensor<1x3x2x8xf32>' and key 'tensor<1x2x2x8xf32>', "
              "expected a static size and numbers of heads, those of the query "
              "a multiple of the key's");
  OneNode past("Attention", {k, k, k, k}, 23);
  past.node->set_input(3, "");
  past.node->add_input("x3");
  past.expect("has only one of past_key and past_value");
  ModelBuilder padded(24);
  padded.input("x", k).input("n", {"1"}, TensorProto::INT64).output("y");
  padded.node("Attention", {"x", "x", "x", "", "x", "x", "n"}, {"y"});
  expectError(padded, "node 'Attention_y' (Attention, opset 24): has "
                      "nonpad_kv_seqlen and past_key, expected one");
}

TEST(ONNXErrors, RotaryEmbeddings) {
  Dims x{"1", "2", "3", "8"};
  OneNode("RotaryEmbedding", {x, {"1", "3", "2"}, {"1", "3", "2"}}, 23)
      .expect("rotates 8 elements of 'tensor<1x2x3x8xf32>' by tables of "
              "'tensor<1x3x2xf32>', expected a last dimension of half of that");
  OneNode("RotaryEmbedding", {x, {"3", "4"}, {"3", "4"}}, 23)
      .expect("the cosine table is 'tensor<3x4xf32>', expected rank 3");
  ModelBuilder b;
  b.input("x", x).input("t", {"3", "4"}).output("y");
  b.input("p", {"1"}, TensorProto::INT64);
  auto *node = b.node("RotaryEmbedding", {"x", "p", "t", "t"}, {"y"});
  node->set_domain("com.microsoft");
  setFloat(node, "scale", 2);
  expectError(b, "node 'RotaryEmbedding_y' (com.microsoft.RotaryEmbedding, "
                 "opset 1): is packed or scaled, which is not supported");
}

TEST(ONNXErrors, SequenceOps) {
  auto at = [](int64_t position) {
    ModelBuilder b;
    b.input("x", {"4"}).output("y");
    b.ints("i", {position});
    b.node("SequenceConstruct", {"x"}, {"s"});
    b.node("SequenceAt", {"s", "i"}, {"y"});
    return b;
  };
  expectError(at(1), "node 'SequenceAt_y' (SequenceAt, opset 17): position is "
                     "1, expected -1 to 0");
  ModelBuilder join;
  join.output("y");
  join.node("SequenceEmpty", {}, {"s"});
  setInt(join.node("ConcatFromSequence", {"s"}, {"y"}), "axis", 0);
  expectError(join, "node 'ConcatFromSequence_y' (ConcatFromSequence, opset "
                    "17): joins an empty sequence or has no axis");
  ModelBuilder erase;
  erase.output("y");
  erase.node("SequenceEmpty", {}, {"s"});
  erase.node("SequenceErase", {"s"}, {"y"});
  expectError(erase, "node 'SequenceErase_y' (SequenceErase, opset 17): erases "
                     "from an empty sequence");
}

TEST(ONNXErrors, SplitToSequence) {
  OneNode("SplitToSequence", {{"n"}})
      .expect("splits dimension 0 of 'tensor<?xf32>', expected a static one of "
              "at most 65536");
  auto split = [](const std::vector<int64_t> &shape, int64_t size) {
    ModelBuilder b;
    b.input("x", {"4"}).output("y");
    b.intsOfShape("size", shape, {size});
    b.node("SplitToSequence", {"x", "size"}, {"y"});
    return b;
  };
  const std::string label = "node 'SplitToSequence_y' (SplitToSequence, opset "
                            "17): ";
  expectError(split({}, 0), label + "splits into parts of 0, expected 1 or "
                                    "more");
  expectError(split({1}, 5), label + "has parts of [5], which are not those of "
                                     "dimension 0 of 'tensor<4xf32>'");
}

TEST(ONNXErrors, ChosenElements) {
  OneNode reversed("ReverseSequence", {{"2", "3"}, {"2"}}, 17);
  reversed.b.graph->mutable_input(1)
      ->mutable_type()
      ->mutable_tensor_type()
      ->set_elem_type(TensorProto::INT64);
  setInt(setInt(reversed.node, "time_axis", 1), "batch_axis", 1);
  reversed.expect("has batch_axis 1 and time_axis 1, expected 0 and 1, or 1 "
                  "and 0");

  OneNode scatter("TensorScatter", {{"2", "4", "3"}, {"2", "1", "3"}}, 24);
  setString(scatter.node, "mode", "ring");
  scatter.expect("has mode 'ring' and axis 1, expected 'linear' or 'circular' "
                 "and an axis behind the batch");

  OneNode top("TopK", {{"2", "3"}}, 9);
  top.expect("has no attribute 'k'");

  OneNode many("TopK", {{"2", "3"}}, 9);
  setInt(many.node, "k", 4);
  many.expect("'nju.top_k' op chooses 4 elements along dimension 1 of "
              "'tensor<2x3xf32>', which has fewer");

  OneNode compress("Compress", {{"2", "3"}, {"2"}});
  compress.expect("input 1 is 'tensor<2xf32>', expected a tensor of 'i1'");
}

TEST(ONNXErrors, Bits) {
  OneNode shift("BitShift", {{"2"}, {"2"}}, 17, TensorProto::UINT8);
  setString(shift.node, "direction", "UP");
  shift.expect("attribute 'direction' is 'UP', expected LEFT or RIGHT");

  OneNode floats("BitwiseNot", {{"2"}}, 18);
  floats.expect("input 0 is 'tensor<2xf32>', expected a tensor of integers");
}

TEST(ONNXErrors, Quantize) {
  OneNode wide("QuantizeLinear", {{"4"}, {}, {}});
  wide.expect("quantizes to 'f32', expected integers of 8 or 16 bits");

  OneNode narrow("QuantizeLinear", {{"4"}, {}}, 21);
  setInt(narrow.node, "output_dtype", TensorProto::INT4);
  narrow.expect("attribute 'output_dtype' is 22, expected INT8, UINT8, INT16 "
                "or UINT16");

  OneNode blocks("QuantizeLinear", {{"n", "4"}, {"2", "4"}}, 21);
  setInt(setInt(blocks.node, "axis", 0), "block_size", 2);
  blocks.expect("has blocks of 'tensor<?x4xf32>' with 'tensor<2x4xf32>', "
                "expected the same rank and a static number of elements along "
                "the axis");

  OneNode floats("MatMulInteger", {{"2", "2"}, {"2", "2"}});
  floats.expect("input 0 is 'tensor<2x2xf32>', expected a tensor of integers");
}

TEST(ONNXErrors, Blocks) {
  OneNode none("DepthToSpace", {{"1", "4", "2", "2"}});
  none.expect("has no attribute 'blocksize' of at least 1");

  OneNode mode("SpaceToDepth", {{"1", "4", "2", "2"}});
  setString(setInt(mode.node, "blocksize", 2), "mode", "RDC");
  mode.expect("attribute 'mode' is 'RDC', expected DCR or CRD");
}

TEST(ONNXErrors, Losses) {
  const char *type = "SoftmaxCrossEntropyLoss";
  OneNode reduction(type, {{"2", "3"}, {"2"}});
  reduction.expect("input 1 is 'tensor<2xf32>', expected a tensor of i32 or "
                   "i64");

  OneNode rank(type, {{"2"}, {"2"}});
  rank.expect("input 0 is 'tensor<2xf32>', expected a dimension of samples and "
              "one of classes");

  OneNode median(type, {{"2", "3"}, {"2"}});
  median.b.graph->mutable_input(1)
      ->mutable_type()
      ->mutable_tensor_type()
      ->set_elem_type(TensorProto::INT64);
  setString(median.node, "reduction", "median");
  median.expect("attribute 'reduction' is 'median', expected 'none', 'sum' or "
                "'mean'");
}

TEST(ONNXErrors, Windows) {
  const Dims image{"1", "4", "5", "5"};
  OneNode none("AveragePool", {image});
  none.expect("has no attribute 'kernel_shape'");

  OneNode rank("MaxPool", {{"1", "4"}});
  setInts(rank.node, "kernel_shape", {2});
  rank.expect("input 0 is 'tensor<1x4xf32>', expected rank 3 or more");

  OneNode strides("MaxPool", {image});
  setInts(setInts(strides.node, "kernel_shape", {2, 2}), "strides", {1, 0});
  strides.expect("attribute 'strides' is [1, 0], expected 2 integers of at "
                 "least 1");

  OneNode places("MaxPool", {image});
  setInts(places.node, "kernel_shape", {2, 2});
  places.node->add_output("places");
  places.expect("has output 1 (places of the largest), which is not computed; "
                "expected one output");

  OneNode automatic("MaxPool", {image});
  setString(setInts(automatic.node, "kernel_shape", {2, 2}), "auto_pad",
            "SAME");
  automatic.expect("attribute 'auto_pad' is 'SAME', expected NOTSET, VALID, "
                   "SAME_UPPER or SAME_LOWER");

  OneNode same("MaxPool", {{"1", "4", "n"}});
  setInts(setInts(same.node, "kernel_shape", {2}), "strides", {2});
  setString(same.node, "auto_pad", "SAME_UPPER");
  same.expect("has auto_pad SAME_UPPER, and dimension 2 of input 0 is "
              "'tensor<1x4x?xf32>', expected a static one or stride 1");

  OneNode ceil("MaxPool", {{"1", "4", "n"}});
  setInt(setInts(ceil.node, "kernel_shape", {2}), "ceil_mode", 1);
  ceil.expect("has ceil_mode = 1, and dimension 2 of input 0 is "
              "'tensor<1x4x?xf32>', expected a static one");

  OneNode power("LpPool", {image}, 18);
  setInt(setInts(power.node, "kernel_shape", {2, 2}), "p", 0);
  power.expect("attribute 'p' is 0, expected at least 1");

  OneNode global("GlobalMaxPool", {{"1", "4"}});
  global.expect("input 0 is 'tensor<1x4xf32>', expected rank 3 or more");
}

TEST(ONNXErrors, Convolutions) {
  const Dims image{"1", "4", "5", "5"};
  OneNode dynamic("Conv", {image, {"m", "4", "3", "3"}});
  dynamic.expect("input 1 is 'tensor<?x4x3x3xf32>', expected a static shape of "
                 "rank 3 or more");

  OneNode groups("Conv", {image, {"6", "2", "3", "3"}});
  setInt(groups.node, "group", 4);
  groups.expect("attribute 'group' is 4, expected a divisor of dimension 0 of "
                "input 1, 6");

  OneNode channels("Conv", {image, {"6", "3", "3", "3"}});
  channels.expect("input 0 has 4 channels, expected 3 by group and input 1");

  OneNode kernel("Conv", {image, {"6", "4", "3", "3"}});
  setInts(kernel.node, "kernel_shape", {3, 2});
  kernel.expect("attribute 'kernel_shape' is [3, 2], expected that of the "
                "weight, [3, 3]");

  OneNode padding("ConvTranspose", {image, {"4", "6", "3", "3"}});
  setInts(padding.node, "output_padding", {1});
  padding.expect("has 'output_padding' or 'output_shape' of another length "
                 "than 2");

  OneNode shape("ConvTranspose", {{"1", "4", "n"}, {"4", "6", "3"}});
  setInts(shape.node, "output_shape", {9});
  shape.expect("has output_shape or auto_pad, and input 0 is "
               "'tensor<1x4x?xf32>', expected static dimensions");
}

TEST(ONNXErrors, NormsOfChannels) {
  OneNode groups("GroupNormalization", {{"1", "4", "5"}, {"2"}, {"2"}}, 18);
  setInt(groups.node, "num_groups", 3);
  groups.expect("input 0 is 'tensor<1x4x5xf32>', expected a static number of "
                "channels that num_groups divides");

  OneNode power("LpNormalization", {{"2", "3"}});
  setInt(power.node, "p", 3);
  power.expect("attribute 'p' is 3, expected 1 or 2");

  OneNode local("LRN", {{"1", "4", "5"}});
  local.expect("has no attribute 'size' of at least 1, or no channels");
}
