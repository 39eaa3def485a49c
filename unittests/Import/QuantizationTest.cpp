//===- QuantizationTest.cpp - Import of quantized weights -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ModelBuilder.h"
#include <gtest/gtest.h>

using namespace nju::test;
using onnx::TensorProto;

namespace {

constexpr int32_t kInt2 = 26;

/// y = x w' with w [3, 40] in blocks of 16, a MatMulNBits.
struct Product {
  ModelBuilder b{21};
  onnx::TensorProto *codes, *scales, *zeros;
  onnx::NodeProto *node;

  Product() {
    ModelBuilder::addOpset(b.model.add_opset_import(), "com.microsoft", 1);
    b.input("x", {"n", "40"}).output("y");
    codes = b.initializer("w", TensorProto::UINT8, {3, 3, 8});
    codes->set_raw_data(std::string(72, 'a'));
    scales = b.floats("s", {3, 3}, std::vector<float>(9, 0.5f));
    zeros = b.initializer("z", TensorProto::UINT8, {3, 2});
    zeros->set_raw_data(std::string(6, 'b'));
    node = b.node("MatMulNBits", {"x", "w", "s", "z"}, {"y"});
    node->set_domain("com.microsoft");
    for (auto [name, value] :
         {std::pair("K", 40), {"N", 3}, {"bits", 4}, {"block_size", 16}})
      setInt(node, name, value);
  }

  onnx::AttributeProto *attribute(const std::string &name) {
    for (onnx::AttributeProto &attribute : *node->mutable_attribute())
      if (attribute.name() == name)
        return &attribute;
    return nullptr;
  }
  void expect(const std::string &message) {
    ImportResult result = importModel(b);
    EXPECT_EQ(result.ir, "");
    EXPECT_EQ(result.diagnostics,
              "model.onnx: node 'MatMulNBits_y' (com.microsoft.MatMulNBits, "
              "opset 1): " +
                  message + "\n");
  }
};

/// y = x w, w [32, 6] from a DequantizeLinear in blocks of 16 along axis 0.
struct Dequantized {
  ModelBuilder b{21};
  onnx::TensorProto *codes, *scales, *zeros;
  onnx::NodeProto *node;

  Dequantized() {
    b.input("x", {"n", "32"}).output("y");
    codes = b.initializer("w", TensorProto::INT4, {32, 6});
    codes->set_raw_data(std::string(96, 'a'));
    scales = b.floats("s", {2, 6}, std::vector<float>(12, 0.5f));
    zeros = b.initializer("z", TensorProto::INT4, {2, 6});
    zeros->set_raw_data(std::string(6, 'b'));
    node = b.node("DequantizeLinear", {"w", "s", "z"}, {"d"});
    setInt(node, "axis", 0);
    setInt(node, "block_size", 16);
    b.node("MatMul", {"x", "d"}, {"y"});
  }
  void expect(const std::string &message) {
    ImportResult result = importModel(b);
    EXPECT_EQ(result.ir, "");
    EXPECT_EQ(result.diagnostics,
              "model.onnx: node 'DequantizeLinear_d' (DequantizeLinear, opset "
              "21): " +
                  message + "\n");
  }
};

bool contains(const ImportResult &result, const std::string &text) {
  return result.diagnostics.empty() &&
         result.ir.find(text) != std::string::npos;
}

} // namespace

//===----------------------------------------------------------------------===//
// MatMulNBits
//===----------------------------------------------------------------------===//

TEST(QuantizedImport, ProductsHaveOneParam) {
  Product p;
  ImportResult result = importModel(p.b);
  // Rows of three blocks of 8 bytes, and of 2 bytes of zero points.
  EXPECT_TRUE(
      contains(result, "nju.param @w : tensor<3x40xf32> = #nju.uniform<"))
      << result.diagnostics << result.ir;
  EXPECT_TRUE(contains(
      result, "tensor<72xui8>>, bits = 4, row_bits = 192, is_signed = false>"));
  EXPECT_TRUE(contains(result, "bits = 4, row_bits = 16, is_signed = false>, "
                               "zero_point = 8, block = [1, 16]"));
  EXPECT_TRUE(contains(result, "nju.matmul"));
}

TEST(QuantizedImport, ShapesCanBeFlat) {
  Product p;
  for (auto *tensor : {p.codes, p.scales, p.zeros}) {
    int64_t size = 1;
    for (int64_t dim : tensor->dims())
      size *= dim;
    tensor->clear_dims();
    tensor->add_dims(size);
  }
  EXPECT_TRUE(contains(importModel(p.b), "row_bits = 192"));
}

TEST(QuantizedImport, OrderOfColumns) {
  Product p;
  auto *groups = p.b.initializer("g", TensorProto::INT32, {40});
  for (int i = 0; i < 40; ++i)
    groups->add_int32_data(i / 16);
  p.node->add_input("g");
  // As they lie anyway.
  ImportResult natural = importModel(p.b);
  EXPECT_TRUE(contains(natural, "#nju.uniform"));
  EXPECT_FALSE(contains(natural, "nju.gather"));
  // The first block takes the last 16 columns.
  for (int i = 0; i < 40; ++i)
    groups->set_int32_data(i, i >= 24 ? 0 : i >= 16 ? 2 : 1);
  ImportResult turned = importModel(p.b);
  EXPECT_TRUE(contains(turned, "column_order = [24, 25, 26"));
  EXPECT_TRUE(contains(turned, "nju.gather"));
  groups->set_int32_data(0, 0);
  p.expect("g_idx has 17 columns in block 0, expected 16");
  groups->set_int32_data(0, 3);
  p.expect("g_idx has block 3, expected 0 to 2");
  groups->set_int32_data(0, -1);
  p.expect("g_idx has block -1, expected 0 to 2");
  groups->clear_int32_data();
  groups->set_dims(0, 1);
  groups->add_int32_data(0);
  p.expect("g_idx have shape [1], expected [40]");
  groups->set_data_type(TensorProto::FLOAT);
  groups->clear_int32_data();
  groups->add_float_data(0);
  p.expect("g_idx is no tensor of INT32, expected one");
}

TEST(QuantizedImport, AttributesOfProducts) {
  auto refuse = [](const char *name, int64_t value, const char *message) {
    Product p;
    p.attribute(name)->set_i(value);
    p.expect(message);
  };
  refuse("bits", 3, "attribute 'bits' is 3, expected 2, 4 or 8");
  refuse("bits", 0, "attribute 'bits' is 0, expected 2, 4 or 8");
  refuse(
      "block_size", 24,
      "attribute 'block_size' is 24, expected a power of two of at least 16");
  refuse("block_size", -16,
         "attribute 'block_size' is -16, expected a power of two of at least "
         "16");
  refuse("K", 0, "attribute 'K' is 0, expected 1 to 1073741824");
  refuse("N", int64_t(1) << 40,
         "attribute 'N' is 1099511627776, expected 1 to 1073741824");
  refuse("K", 48, "multiplies 'tensor<?x40xf32>', expected K = 48 columns");
  refuse("K", 50, "codes have shape [3, 3, 8], expected [3, 4, 8]");
  refuse("N", 4, "codes have shape [3, 3, 8], expected [4, 3, 8]");
  Product p;
  setInt(p.node, "weight_prepacked", 1);
  p.expect("has weights in the layout of a device, expected "
           "weight_prepacked = 0");
}

TEST(QuantizedImport, TensorsOfProducts) {
  Product scales;
  scales.scales->set_dims(0, 1);
  scales.scales->set_raw_data(std::string(12, 'a'));
  scales.expect("scales have shape [1, 3], expected [3, 3]");
  Product types;
  types.scales->set_data_type(TensorProto::INT32);
  types.expect("scales are no floats, expected FLOAT, FLOAT16 or BFLOAT16");
  Product zeros;
  zeros.zeros->set_dims(1, 3);
  zeros.zeros->set_raw_data(std::string(9, 'a'));
  zeros.expect("zero points have shape [3, 3], expected [3, 2]");
  Product wide;
  wide.zeros->set_data_type(TensorProto::INT8);
  wide.expect("zero points have another type than the codes, expected packed "
              "integers or floats");
  Product codes;
  codes.codes->set_data_type(TensorProto::INT8);
  codes.expect("B is no tensor of UINT8, expected one");
  Product computed;
  computed.b.input("c", {"3", "3", "8"}, TensorProto::UINT8);
  computed.node->set_input(1, "c");
  computed.expect("input 1 (B) is computed by the graph, expected a constant");
  Product small;
  small.codes->set_raw_data("a");
  small.expect("input 'w' has 1 bytes of data, but its type 'tensor<3x3x8xui8>'"
               " needs 72");
}

//===----------------------------------------------------------------------===//
// DequantizeLinear and GatherBlockQuantized
//===----------------------------------------------------------------------===//

TEST(QuantizedImport, WeightsOfDequantizeLinear) {
  Dequantized d;
  ImportResult result = importModel(d.b);
  EXPECT_TRUE(
      contains(result, "nju.param @w : tensor<32x6xf32> = #nju.uniform<"))
      << result.diagnostics << result.ir;
  EXPECT_TRUE(contains(result, "bits = 4, row_bits = 24, is_signed = true>"));
  EXPECT_TRUE(contains(result, "block = [16, 1]"));
  // Two bits, and through other nodes.
  d.codes->set_data_type(kInt2);
  d.codes->set_raw_data(std::string(48, 'a'));
  d.zeros->set_data_type(kInt2);
  d.zeros->set_raw_data(std::string(3, 'a'));
  d.b.node("Identity", {"w"}, {"v"});
  d.node->set_input(0, "v");
  EXPECT_TRUE(contains(importModel(d.b), "bits = 2, row_bits = 12"));
}

TEST(QuantizedImport, TensorsOfDequantizeLinear) {
  Dequantized blocks;
  blocks.scales->set_dims(0, 3);
  blocks.scales->set_raw_data(std::string(72, 'a'));
  blocks.expect("scales have shape [3, 6], expected [2, 6]");
  Dequantized zeros;
  zeros.zeros->set_dims(1, 5);
  zeros.zeros->set_raw_data(std::string(5, 'b'));
  zeros.expect("zero points have shape [2, 5], expected that of the scales, "
               "[2, 6]");
  Dequantized types;
  types.zeros->set_data_type(TensorProto::UINT4);
  types.expect("zero points have another type than the codes");
  Dequantized axis;
  axis.node->mutable_attribute(0)->set_i(2);
  axis.expect("axis is 2, expected -2 to 1");
  Dequantized size;
  size.node->mutable_attribute(1)->set_i(-1);
  size.expect("attribute 'block_size' is -1, expected 0 or more");
  Dequantized result;
  setInt(result.node, "output_dtype", TensorProto::INT8);
  result.expect("attribute 'output_dtype' is 3, expected FLOAT, FLOAT16 or "
                "BFLOAT16");
  // Only matrices are weights.
  Dequantized rank;
  rank.codes->clear_dims();
  for (int64_t dim : {2, 16, 6})
    rank.codes->add_dims(dim);
  rank.expect("input 'w' has element type INT4, expected a float, integer or "
              "BOOL type of 8 to 64 bits");
}

TEST(QuantizedImport, IntegersOfLessThanAByteAreNoTensors) {
  ModelBuilder b(21);
  b.output("w");
  b.initializer("w", TensorProto::UINT4, {4})->set_raw_data("ab");
  EXPECT_EQ(importModel(b).diagnostics,
            "model.onnx: output 'w' has element type UINT4, expected a float, "
            "integer or BOOL type of 8 to 64 bits\n");
}

TEST(QuantizedImport, LookUps) {
  auto build = [](int32_t type, int64_t axis, int64_t bits) {
    ModelBuilder b(21);
    ModelBuilder::addOpset(b.model.add_opset_import(), "com.microsoft", 1);
    b.input("i", {"n"}, TensorProto::INT64).output("y");
    b.initializer("e", type, {5, 16})
        ->set_raw_data(std::string(type == TensorProto::INT4 ? 40 : 80, 'a'));
    b.floats("s", {5, type == TensorProto::UINT8 ? 2 : 1},
             std::vector<float>(type == TensorProto::UINT8 ? 10 : 5, 0.5f));
    auto *node = b.node("GatherBlockQuantized", {"e", "i", "s"}, {"y"});
    node->set_domain("com.microsoft");
    setInt(node, "quantize_axis", axis);
    setInt(node, "block_size", 16);
    setInt(node, "bits", bits);
    return importModel(b);
  };
  const std::string prefix = "model.onnx: node 'GatherBlockQuantized_y' "
                             "(com.microsoft.GatherBlockQuantized, opset 1): ";
  // Two codes a byte, which count from 8 unless they have a type of their own.
  EXPECT_TRUE(
      contains(build(TensorProto::UINT8, 1, 4),
               "zero_point = 8, block = [1, 16], type = tensor<5x32xf32>"));
  EXPECT_TRUE(contains(build(TensorProto::INT4, -1, 4),
                       "block = [1, 16], type = tensor<5x16xf32>"));
  EXPECT_EQ(build(TensorProto::UINT8, 0, 4).diagnostics,
            prefix + "attribute 'quantize_axis' is 0, expected 1\n");
  EXPECT_EQ(build(TensorProto::UINT8, 1, 3).diagnostics,
            prefix + "attribute 'bits' is 3, expected 2, 4 or 8\n");
  EXPECT_EQ(build(TensorProto::INT8, 1, 8).diagnostics,
            prefix + "data have shape [5, 16] or another type than expected, "
                     "which is a matrix of UINT8, INT4 or UINT4\n");
}
