//===- FunctionsTest.cpp - Functions, branches and sequences -*- C++ -*-===//
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

/// Adds a function of the domain "pkg.test" to the model.
static onnx::FunctionProto *addFunction(ModelBuilder &b,
                                        const std::string &name,
                                        const Names &inputs,
                                        const Names &outputs) {
  auto *function = b.model.add_functions();
  function->set_domain("pkg.test");
  function->set_name(name);
  for (const std::string &input : inputs)
    function->add_input(input);
  for (const std::string &output : outputs)
    function->add_output(output);
  ModelBuilder::addOpset(function->add_opset_import(), "", 17);
  return function;
}

static onnx::NodeProto *addNode(onnx::FunctionProto *function,
                                const std::string &type, const Names &inputs,
                                const Names &outputs) {
  auto *node = function->add_node();
  ModelBuilder::fillNode(node, type, inputs, outputs);
  return node;
}

static onnx::NodeProto *call(ModelBuilder &b, const std::string &name,
                             const Names &inputs, const Names &outputs) {
  auto *node = b.node(name, inputs, outputs);
  node->set_domain("pkg.test");
  return node;
}

static void expectError(const ModelBuilder &b, const std::string &message) {
  ImportResult result = importModel(b);
  EXPECT_EQ(result.ir, "");
  EXPECT_EQ(result.diagnostics, "model.onnx: " + message + "\n");
}

static size_t count(const ImportResult &result, llvm::StringRef text) {
  EXPECT_EQ(result.diagnostics, "");
  return llvm::StringRef(result.ir).count(text);
}

//===----------------------------------------------------------------------===//
// Functions
//===----------------------------------------------------------------------===//

TEST(ONNXFunctions, AreInlinedWithTheirAttributes) {
  ModelBuilder b;
  b.input("x", {"2"}).output("z");
  auto *function = addFunction(b, "Leaky", {"a"}, {"b"});
  function->add_attribute("slope");
  auto *reference = addAttr(addNode(function, "LeakyRelu", {"a"}, {"b"}),
                            "alpha", AttributeProto::FLOAT);
  reference->set_ref_attr_name("slope");
  setFloat(call(b, "Leaky", {"x"}, {"y"}), "slope", 0.5f);
  setFloat(call(b, "Leaky", {"y"}, {"z"}), "slope", 0.25f);
  ImportResult result = importModel(b);
  EXPECT_EQ(count(result, "nju.select"), 2u);
  EXPECT_EQ(count(result, "dense<5.000000e-01>"), 1u);
  EXPECT_EQ(count(result, "dense<2.500000e-01>"), 1u);
}

TEST(ONNXFunctions, AttributesMayHaveDefaultsOrBeLeftOut) {
  ModelBuilder b;
  b.input("x", {"2"}).output("y").output("z");
  auto *function = addFunction(b, "Leaky", {"a"}, {"b", "c"});
  auto *standard = function->add_attribute_proto();
  standard->set_name("slope");
  standard->set_type(AttributeProto::FLOAT);
  standard->set_f(0.5f);
  function->add_attribute("other");
  addAttr(addNode(function, "LeakyRelu", {"a"}, {"b"}), "alpha",
          AttributeProto::FLOAT)
      ->set_ref_attr_name("slope");
  addAttr(addNode(function, "LeakyRelu", {"a"}, {"c"}), "alpha",
          AttributeProto::FLOAT)
      ->set_ref_attr_name("other");
  call(b, "Leaky", {"x"}, {"y", "z"});
  ImportResult result = importModel(b);
  EXPECT_EQ(count(result, "dense<5.000000e-01>"), 1u);
  EXPECT_EQ(count(result, "dense<0.00999999977>"), 1u);
}

TEST(ONNXFunctions, InputsMayBeLeftOut) {
  ModelBuilder b;
  b.input("x", {"2"}).output("y");
  auto *function = addFunction(b, "Limit", {"a", "low", "high"}, {"b"});
  addNode(function, "Clip", {"a", "low", "high"}, {"b"});
  b.floats("high", {}, {1});
  call(b, "Limit", {"x", "", "high"}, {"y"});
  ImportResult result = importModel(b);
  EXPECT_EQ(count(result, "nju.min"), 1u);
  EXPECT_EQ(count(result, "nju.max"), 0u);
}

TEST(ONNXFunctions, AreChosenByOverload) {
  ModelBuilder b;
  b.input("x", {"2"}).output("y");
  addNode(addFunction(b, "F", {"a"}, {"b"}), "Sin", {"a"}, {"b"});
  auto *cosine = addFunction(b, "F", {"a"}, {"b"});
  cosine->set_overload("cosine");
  addNode(cosine, "Cos", {"a"}, {"b"});
  call(b, "F", {"x"}, {"y"})->set_overload("cosine");
  ImportResult result = importModel(b);
  EXPECT_EQ(count(result, "nju.cos"), 1u);
  EXPECT_EQ(count(result, "nju.sin"), 0u);
}

TEST(ONNXFunctions, MayCallFunctionsAndUseOtherOpsets) {
  ModelBuilder b(13);
  b.input("x", {"2"}).output("y");
  auto *inner = addFunction(b, "Inner", {"a"}, {"b"});
  inner->mutable_opset_import(0)->set_version(20);
  addNode(inner, "Gelu", {"a"}, {"b"});
  auto *outer = addFunction(b, "Outer", {"a"}, {"b"});
  addNode(outer, "Inner", {"a"}, {"t"})->set_domain("pkg.test");
  addNode(outer, "Relu", {"t"}, {"b"});
  call(b, "Outer", {"x"}, {"y"});
  ImportResult result = importModel(b);
  EXPECT_EQ(count(result, "nju.gelu"), 1u);
  EXPECT_EQ(count(result, "nju.relu"), 1u);
}

TEST(ONNXFunctions, ReplaceOpsOfTheSameName) {
  ModelBuilder b;
  b.input("x", {"2"}).output("y");
  auto *function = addFunction(b, "Relu", {"a"}, {"b"});
  function->set_domain("");
  addNode(function, "Abs", {"a"}, {"b"});
  b.node("Relu", {"x"}, {"y"});
  EXPECT_EQ(count(importModel(b), "nju.abs"), 1u);
}

TEST(ONNXFunctions, ErrorsNameTheCall) {
  ModelBuilder b;
  b.input("x", {"2"}).output("y");
  auto *function = addFunction(b, "F", {"a"}, {"b"});
  addNode(function, "ImageDecoder", {"a"}, {"b"});
  call(b, "F", {"x"}, {"y"});
  expectError(b, "node 'F_y/ImageDecoder_b' (ImageDecoder, opset 17): op "
                 "'ImageDecoder' of domain "
                 "'ai.onnx' is not supported, and the model has no function of "
                 "this name");
}

TEST(ONNXFunctions, MustNotCallThemselves) {
  ModelBuilder b;
  b.input("x", {"2"}).output("y");
  auto *function = addFunction(b, "F", {"a"}, {"b"});
  addNode(function, "F", {"a"}, {"b"})->set_domain("pkg.test");
  call(b, "F", {"x"}, {"y"});
  expectError(b, "node 'F_y/F_b' (function pkg.test.F): is called by itself or "
                 "more than 64 calls deep");
}

TEST(ONNXFunctions, ThatGrowExponentiallyAreStopped) {
  ModelBuilder b;
  b.input("x", {"2"}).output("y");
  for (int i = 0; i < 40; ++i) {
    auto *function = addFunction(b, "F" + std::to_string(i), {"a"}, {"c"});
    std::string next = i == 39 ? "Relu" : "F" + std::to_string(i + 1);
    for (auto *node : {addNode(function, next, {"a"}, {"b"}),
                       addNode(function, next, {"b"}, {"c"})})
      node->set_domain(i == 39 ? "" : "pkg.test");
  }
  call(b, "F0", {"x"}, {"y"});
  nju::ONNXImportOptions options;
  options.maxOps = 1000;
  EXPECT_EQ(importModel(b, "model.onnx", options).diagnostics,
            "model.onnx: becomes more than 1000 operations with its functions "
            "inlined\n");
}

TEST(ONNXFunctions, CallsThatDoNotFit) {
  auto make = [] {
    ModelBuilder b;
    b.input("x", {"2"}).output("y");
    addNode(addFunction(b, "F", {"a"}, {"b"}), "Relu", {"a"}, {"b"});
    return b;
  };
  const std::string label = "node 'F_y' (function pkg.test.F): ";
  ModelBuilder inputs = make();
  call(inputs, "F", {"x", "x"}, {"y"});
  expectError(inputs, label + "is called with 2 inputs and 1 outputs, expected "
                              "at most 1 and 1");
  ModelBuilder attributes = make();
  setInt(call(attributes, "F", {"x"}, {"y"}), "axis", 1);
  expectError(attributes, label + "has attribute 'axis', which the function "
                                  "does not have");
  ModelBuilder dangling = make();
  call(dangling, "F", {"z"}, {"y"});
  expectError(dangling, label + "input 'z' is neither an input, an initializer "
                                "nor an output of a node");
  ModelBuilder output = make();
  output.model.mutable_functions(0)->set_output(0, "c");
  call(output, "F", {"x"}, {"y"});
  expectError(output, label + "output 'c' of the function is computed by no "
                              "node");
  ModelBuilder twice = make();
  *twice.model.add_functions() = twice.model.functions(0);
  expectError(twice, "has two functions 'F' of domain 'pkg.test'");
}

//===----------------------------------------------------------------------===//
// If
//===----------------------------------------------------------------------===//

/// `y = condition ? sin(x) : cos(x)` as an If that captures x.
static void addIf(ModelBuilder &b) {
  auto *node = b.node("If", {"condition"}, {"y"});
  for (auto [branch, op] :
       {std::pair("then_branch", "Sin"), std::pair("else_branch", "Cos")}) {
    auto *graph = addAttr(node, branch, AttributeProto::GRAPH)->mutable_g();
    graph->set_name(branch);
    ModelBuilder::fillNode(graph->add_node(), op, {"x"}, {"r"});
    graph->add_output()->set_name("r");
  }
}

TEST(ONNXControlFlow, ImportsTheBranchThatIsTaken) {
  for (bool taken : {true, false}) {
    ModelBuilder b;
    b.input("x", {"n", taken ? "1" : "2"}).output("y");
    b.ints("one", {1});
    setInt(b.node("Shape", {"x"}, {"dims"}), "start", 1);
    b.node("Equal", {"dims", "one"}, {"equal"});
    b.node("Squeeze", {"equal"}, {"condition"});
    addIf(b);
    ImportResult result = importModel(b);
    EXPECT_EQ(count(result, "nju.sin"), taken ? 1u : 0u);
    EXPECT_EQ(count(result, "nju.cos"), taken ? 0u : 1u);
  }
}

TEST(ONNXControlFlow, RefusesConditionsThatAreNotKnown) {
  ModelBuilder b;
  b.input("x", {"2"}).input("condition", {}, TensorProto::BOOL).output("y");
  addIf(b);
  expectError(b,
              "node 'If_y' (If, opset 17): has a condition that depends on "
              "the model's inputs; expected one that follows from their "
              "ranks and static dimensions; export the branches as models of "
              "their own (a decoder not merged with the one for a past)");
}

TEST(ONNXControlFlow, RefusesBranchesThatDoNotFit) {
  auto make = [] {
    ModelBuilder b;
    b.input("x", {"2"}).output("y");
    b.initializer("condition", TensorProto::BOOL, {})->add_int32_data(1);
    addIf(b);
    return b;
  };
  auto branchOf = [](ModelBuilder &b) {
    return b.graph->mutable_node(0)->mutable_attribute(0)->mutable_g();
  };
  ModelBuilder missing = make();
  missing.graph->mutable_node(0)->mutable_attribute()->RemoveLast();
  expectError(missing, "node 'If_y' (If, opset 17): has no then_branch or no "
                       "else_branch, expected both");
  ModelBuilder outputs = make();
  branchOf(outputs)->add_output()->set_name("x");
  expectError(outputs, "node 'If_y' (If, opset 17): has 1 outputs, but the "
                       "branch that is taken has 2");
  ModelBuilder dangling = make();
  branchOf(dangling)->mutable_output(0)->set_name("z");
  expectError(dangling, "output 'z' of the subgraph 'then_branch' is computed "
                        "by no node");
}

//===----------------------------------------------------------------------===//
// Sequences
//===----------------------------------------------------------------------===//

TEST(ONNXSequences, AreResolvedAtImport) {
  ModelBuilder b;
  b.input("x", {"4"}).output("y").output("n");
  b.intsOfShape("size", {}, {3});
  b.intsOfShape("minus_one", {}, {-1});
  b.node("SplitToSequence", {"x", "size"}, {"parts"});
  b.node("SequenceAt", {"parts", "minus_one"}, {"last"});
  b.node("SequenceInsert", {"parts", "last", "minus_one"}, {"three"});
  b.node("SequenceErase", {"three"}, {"two"});
  setInt(b.node("ConcatFromSequence", {"two"}, {"y"}), "axis", 0);
  b.node("SequenceLength", {"two"}, {"n"});
  ImportResult result = importModel(b);
  // x[0:3] and x[3:4].
  EXPECT_EQ(count(result, "(tensor<3xf32>, tensor<1xf32>) -> tensor<4xf32>"),
            1u);
  EXPECT_EQ(count(result, "nju.constant dense<2> : tensor<i64>"), 1u);
}
