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
using onnx::AttributeProto;
using onnx::TensorProto;

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

TEST(ONNXImport, DimensionsOfOutputsFollowFromTheInputs) {
  ModelBuilder b;
  b.input("x", {"past", "8"}).input("y", {"sequence", "8"}).output("z");
  setInt(b.node("Concat", {"x", "y"}, {"z"}), "axis", 0);
  ModelBuilder::setType(b.graph->mutable_output(0), TensorProto::FLOAT,
                        {"Concatz_dim_0", "8"});
  ImportResult result = importModel(b);
  EXPECT_EQ(result.diagnostics, "");
  EXPECT_TRUE(
      containsInOrder(result.ir, {"-> (tensor<?x8xf32> {nju.dims = [",
                                  "past + sequence", "nju.name = \"z\""}));
}

// A cache whose width has a name is still of one width.
TEST(ONNXImport, NarrowsInputsToWhatTheyAreJoinedWith) {
  ModelBuilder b;
  b.input("past", {"batch", "2", "past", "width"})
      .input("x", {"batch", "2", "new", "16"})
      .output("y")
      .output("z");
  setInt(b.node("Concat", {"past", "x"}, {"y"}), "axis", 2);
  b.node("Shape", {"past"}, {"z"});
  ImportResult result = importModel(b);
  EXPECT_EQ(result.diagnostics, "");
  EXPECT_TRUE(containsInOrder(
      result.ir, {"%arg0: tensor<?x2x?x16xf32>", "nju.name = \"past\"",
                  "nju.concat %arg0, %arg1", "tensor<?x2x?x16xf32>"}));
}

TEST(ONNXImport, SortsNodes) {
  ModelBuilder b;
  b.input("x", {"2"}).output("z");
  b.node("Sin", {"y"}, {"z"});
  b.node("Cos", {"x"}, {"y"});
  EXPECT_TRUE(containsInOrder(importModel(b).ir, {"nju.cos", "nju.sin"}));
}

TEST(ONNXImport, DropsWhatNoOutputNeeds) {
  ModelBuilder b;
  b.input("x", {"2"}).output("y");
  b.floats("unused", {32}, std::vector<float>(32));
  b.node("Add", {"x", "unused"}, {"z"});
  b.node("Relu", {"x"}, {"y"});
  std::string ir = importModel(b).ir;
  EXPECT_EQ(ir.find("nju.param"), std::string::npos);
}

TEST(ONNXImport, TellsConstantsFromWeights) {
  ModelBuilder b;
  b.output("f16").output("f17").output("i1024").output("i1025");
  b.floats("f16", {16}, std::vector<float>(16));
  b.floats("f17", {17}, std::vector<float>(17));
  b.ints("i1024", std::vector<int64_t>(1024, 7));
  b.ints("i1025", std::vector<int64_t>(1025, 7));
  std::string ir = importModel(b).ir;
  EXPECT_TRUE(containsInOrder(
      ir, {"nju.param @f17 : tensor<17xf32> = #nju.file<\"model.onnx\", ",
           "nju.param @i1025 : tensor<1025xi64> = dense<7>",
           "nju.constant dense<0.000000e+00> : tensor<16xf32>",
           "nju.param_ref @f17", "nju.constant dense<7> : tensor<1024xi64>",
           "nju.param_ref @i1025"}));
}

TEST(ONNXImport, ReadsElementsOfEveryType) {
  auto elements = [](int32_t type, const std::string &raw) {
    ModelBuilder b;
    b.output("w");
    b.initializer("w", type, {2})->set_raw_data(raw);
    return importModel(b).ir;
  };
  auto has = [](const std::string &ir, const std::string &text) {
    return ir.find("nju.constant dense<" + text) != std::string::npos;
  };
  std::string bytes("\x01\x00\x00\x00\xfe\xff\xff\xff", 8);
  EXPECT_TRUE(
      has(elements(TensorProto::INT32, bytes), "[1, -2]> : tensor<2xi32>"));
  EXPECT_TRUE(has(elements(TensorProto::UINT32, bytes),
                  "[1, 4294967294]> : tensor<2xui32>"));
  EXPECT_TRUE(
      has(elements(TensorProto::INT8, "\x01\xfe"), "[1, -2]> : tensor<2xi8>"));
  EXPECT_TRUE(has(elements(TensorProto::UINT8, "\x01\xfe"),
                  "[1, 254]> : tensor<2xui8>"));
  EXPECT_TRUE(has(elements(TensorProto::BOOL, std::string("\x00\x01", 2)),
                  "[false, true]> : tensor<2xi1>"));
  std::string halves("\x00\x3c\x00\xc0", 4);
  EXPECT_TRUE(has(elements(TensorProto::FLOAT16, halves),
                  "[1.000000e+00, -2.000000e+00]> : tensor<2xf16>"));
  std::string bfloats("\x80\x3f\x00\xc0", 4);
  EXPECT_TRUE(has(elements(TensorProto::BFLOAT16, bfloats),
                  "[1.000000e+00, -2.000000e+00]> : tensor<2xbf16>"));
}

TEST(ONNXImport, ReadsElementsFromTypedFields) {
  ModelBuilder b;
  b.output("a").output("b").output("c").output("d");
  auto *a = b.initializer("a", TensorProto::INT16, {2});
  a->add_int32_data(-3);
  a->add_int32_data(4);
  b.initializer("b", TensorProto::UINT64, {})->add_uint64_data(~0ull);
  b.initializer("c", TensorProto::DOUBLE, {})->add_double_data(0.5);
  b.initializer("d", TensorProto::FLOAT, {0});
  EXPECT_TRUE(containsInOrder(importModel(b).ir,
                              {"dense<[-3, 4]> : tensor<2xi16>",
                               "dense<18446744073709551615> : tensor<ui64>",
                               "dense<5.000000e-01> : tensor<f64>",
                               "dense<> : tensor<0xf32>"}));
}

TEST(ONNXImport, BigConstantsOfNodesAreWeights) {
  ModelBuilder b;
  b.output("w");
  auto *tensor =
      addAttr(b.node("Constant", {}, {"w"}), "value", AttributeProto::TENSOR)
          ->mutable_t();
  tensor->set_data_type(TensorProto::FLOAT);
  tensor->add_dims(100);
  tensor->set_raw_data(std::string(400, 0));
  EXPECT_TRUE(containsInOrder(
      importModel(b).ir,
      {"nju.param @w : tensor<100xf32> = #nju.file<\"model.onnx\", "}));
}

TEST(ONNXImport, KeepsSymbolsApart) {
  ModelBuilder b;
  b.output("main").output("step");
  b.floats("main", {17}, std::vector<float>(17));
  b.floats("step", {17}, std::vector<float>(17));
  EXPECT_TRUE(containsInOrder(importModel(b).ir,
                              {"nju.param @main_0", "nju.param @step_0",
                               "func.func @main", "param_ref @main_0"}));
}

TEST(ONNXImport, InputsWithAValueAreWeights) {
  ModelBuilder b;
  b.input("x", {"2"}).input("w", {"2"}).output("y");
  b.floats("w", {2}, {1, 2});
  b.node("Add", {"x", "w"}, {"y"});
  std::string ir = importModel(b).ir;
  EXPECT_TRUE(containsInOrder(ir, {"@main(%arg0: tensor<2xf32>", ") -> (",
                                   "nju.constant dense<[1.000000e+00, 2."}));
  EXPECT_EQ(ir.find("%arg1"), std::string::npos);
}

//===----------------------------------------------------------------------===//
// Old opsets
//===----------------------------------------------------------------------===//

TEST(ONNXImport, TranslatesAttributesOfOldOpsets) {
  ModelBuilder b(9);
  b.input("x", {"1", "4"}).output("y");
  setInts(b.node("Squeeze", {"x"}, {"a"}), "axes", {0});
  auto *slice = b.node("Slice", {"a"}, {"b"});
  setInts(setInts(slice, "starts", {1}), "ends", {3});
  auto *pad = b.node("Pad", {"b"}, {"c"});
  setFloat(setInts(pad, "pads", {0, 2}), "value", 5);
  setFloat(setFloat(b.node("Clip", {"c"}, {"d"}), "min", -1), "max", 1);
  setInts(b.node("ReduceSum", {"d"}, {"e"}), "axes", {0});
  setInts(b.node("Unsqueeze", {"e"}, {"y"}), "axes", {0});
  ImportResult result = importModel(b);
  EXPECT_EQ(result.diagnostics, "");
  EXPECT_TRUE(containsInOrder(
      result.ir,
      {"nju.squeeze", "axes = array<i64: 0>", "nju.slice", "-> tensor<2xf32>",
       "nju.pad", "-> tensor<4xf32>", "nju.max", "nju.min", "nju.reduce_sum",
       "keep_dims", "nju.unsqueeze", "-> tensor<1x1xf32>"}));
}

TEST(ONNXImport, SoftmaxOfOldOpsetsIsOverAllTrailingDimensions) {
  auto softmax = [](int64_t opset, int64_t axis) {
    ModelBuilder b(opset);
    b.input("x", {"n", "2", "3"}).output("y");
    setInt(b.node("Softmax", {"x"}, {"y"}), "axis", axis);
    return importModel(b).ir;
  };
  EXPECT_TRUE(containsInOrder(softmax(11, 1),
                              {"nju.reshape", "nju.softmax", "axis = 1 : i64",
                               "(tensor<?x6xf32>) -> tensor<?x6xf32>",
                               "nju.reshape", "-> tensor<?x2x3xf32>"}));
  EXPECT_TRUE(containsInOrder(softmax(11, 2), {"nju.softmax %arg0"}));
  EXPECT_TRUE(
      containsInOrder(softmax(13, 1), {"nju.softmax %arg0 {axis = 1 : i64}"}));
}

//===----------------------------------------------------------------------===//
// Ops that come in several forms
//===----------------------------------------------------------------------===//

TEST(ONNXImport, NormsOverTheLastDimensionAreOneOp) {
  auto norm = [](const Dims &weight, int64_t axis) {
    ModelBuilder b;
    b.input("x", {"n", "4", "8"}).input("w", weight).output("y");
    setInt(b.node("LayerNormalization", {"x", "w"}, {"y"}), "axis", axis);
    return importModel(b).ir;
  };
  EXPECT_TRUE(
      containsInOrder(norm({"8"}, -1), {"nju.layer_norm %arg0, %arg1"}));
  EXPECT_TRUE(
      containsInOrder(norm({"4", "8"}, 1),
                      {"nju.reduce_mean", "array<i64: 1, 2>", "nju.rsqrt"}));
}

TEST(ONNXImport, AttentionIsCausalWhereQueriesAndNewKeysCorrespond) {
  auto attention = [](const std::string &keys, bool hasPast) {
    ModelBuilder b(23);
    b.input("q", {"b", "4", "s", "8"}).input("k", {"b", "2", keys, "8"});
    b.input("p", {"b", "2", "past", "8"}).output("y");
    Names inputs{"q", "k", "k"};
    if (hasPast)
      inputs.insert(inputs.end(), {"", "p", "p"});
    setInt(b.node("Attention", inputs, {"y"}), "is_causal", 1);
    return importModel(b).ir;
  };
  EXPECT_TRUE(containsInOrder(attention("s", false),
                              {"nju.attention %arg0, %arg1, %arg1 {causal"}));
  EXPECT_TRUE(
      containsInOrder(attention("s", true),
                      {"nju.concat %arg2, %arg1", "nju.attention", "{causal"}));
  // Unlike nju.attention, ONNX counts from the first key.
  EXPECT_TRUE(containsInOrder(attention("t", false),
                              {"nju.compare", "le", "nju.select",
                               "nju.attention", " mask(", "{scale"}));
}

TEST(ONNXImport, CustomOpsOfONNXRuntime) {
  ModelBuilder b;
  b.input("x", {"n", "8"}).input("w", {"8"}).output("y").output("z");
  auto *node = b.node("SkipSimplifiedLayerNormalization", {"x", "x", "w"},
                      {"y", "", "", "z"});
  node->set_domain("com.microsoft");
  setFloat(node, "epsilon", 0.5f);
  EXPECT_TRUE(containsInOrder(importModel(b).ir, {"nju.add", "nju.rms_norm",
                                                  "epsilon = 5.000000e-01"}));
}

TEST(ONNXImport, ListsItsOps) {
  std::vector<nju::ONNXOpSupport> ops = nju::supportedONNXOps();
  auto find = [&](const std::string &domain, const std::string &type) {
    return llvm::find_if(ops, [&](const nju::ONNXOpSupport &op) {
      return op.domain == domain && op.type == type;
    });
  };
  auto attention = find("ai.onnx", "Attention");
  ASSERT_NE(attention, ops.end());
  EXPECT_EQ(attention->firstOpset, 23);
  EXPECT_EQ(attention->lastOpset, 24);
  EXPECT_NE(find("com.microsoft", "Gelu"), ops.end());
  EXPECT_EQ(find("ai.onnx", "ImageDecoder"), ops.end());
}
