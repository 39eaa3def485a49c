//===- Constant.cpp - Constants and casts of ONNX -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "NodeImporter.h"

using namespace mlir;
using namespace nju;
using namespace nju::onnx_import;

static void importConstant(NodeImporter &node) {
  const onnx::TensorProto *tensor = node.tensorAttr("value");
  std::optional<int64_t> integer = node.intAttr("value_int");
  auto integers = node.intsAttr("value_ints");
  std::optional<double> number = node.floatAttr("value_float");
  auto numbers = node.floatsAttr("value_floats");
  Type f32 = node.attrs().getF32Type();
  if (tensor && packedType(tensor->data_type())) {
    ImportedValue value;
    value.kind = ImportedValue::Packed;
    value.packed = tensor;
    return node.setOutput(0, value);
  }
  if (tensor)
    return node.setOutput(node.importTensor(*tensor, node.outputName(0)));
  if (integer)
    return node.setOutput(node.index(*integer));
  if (integers)
    return node.setOutput(node.constant(*integers));
  if (number)
    return node.setOutput(node.scalar(f32, *number));
  if (numbers)
    return node.setOutput(node.elements(DenseElementsAttr::get(
        RankedTensorType::get({static_cast<int64_t>(numbers->size())}, f32),
        ArrayRef<float>(*numbers))));
  if (!node.hasFailed())
    node.emitError() << "has no value of a supported type; expected a tensor, "
                     << "integers or floats";
}

static void importConstantOfShape(NodeImporter &node) {
  const onnx::TensorProto *tensor = node.tensorAttr("value");
  Value value = tensor ? node.importTensor(*tensor, node.outputName(0))
                       : node.scalar(node.attrs().getF32Type(), 0);
  if (!value)
    return;
  if (cast<RankedTensorType>(value.getType()).getShape() !=
          ArrayRef<int64_t>({1}) &&
      node.rank(value) != 0) {
    node.emitError() << "attribute 'value' is " << value.getType()
                     << ", expected one element";
    return;
  }
  if (node.rank(value) == 1)
    value = node.squeeze(value, {0});
  node.setOutput(
      node.create<FillOp>({node.input(0), value}, {}, node.elementType(value)));
}

static void importCast(NodeImporter &node) {
  std::optional<int64_t> to = node.intAttr("to");
  // Only matters for 8-bit floats, which are refused.
  node.ignoreAttr("saturate");
  node.ignoreAttr("round_mode");
  if (!to) {
    node.emitError() << "has no attribute 'to'";
    return;
  }
  bool isInt32 = static_cast<int32_t>(*to) == *to;
  Type type = isInt32 ? onnx_import::elementType(static_cast<int32_t>(*to),
                                                 node.graph().getContext())
                      : Type();
  if (!type) {
    node.emitError() << "converts to "
                     << (isInt32 ? dataTypeName(static_cast<int32_t>(*to))
                                 : std::to_string(*to))
                     << ", expected a float, integer or BOOL type of 8 to 64 "
                     << "bits";
    return;
  }
  node.setOutput(node.cast(node.input(0), type));
}

static void importCastLike(NodeImporter &node) {
  node.ignoreAttr("saturate");
  node.ignoreAttr("round_mode");
  Value like = node.input(1);
  if (like)
    node.setOutput(node.cast(node.input(0), node.elementType(like)));
}

static void importIdentity(NodeImporter &node) { node.forwardInput(0, 0); }

/// Dropout does nothing in inference.
static void importDropout(NodeImporter &node) {
  node.ignoreAttr("ratio");
  node.ignoreAttr("seed");
  node.ignoreAttr("is_test");
  if (node.hasInput(2) && node.requireInt(2, "training_mode") != 0) {
    node.emitError() << "is in training mode; export the model in inference "
                     << "mode";
    return;
  }
  Value input = node.input(0);
  node.setOutput(0, input);
  if (!node.wantsOutput(1))
    return;
  Type i1 = node.attrs().getI1Type();
  node.setOutput(1, node.create<FillOp>(
                        {node.shapeOf(input), node.scalar(i1, 1)}, {}, i1));
}

void nju::onnx_import::registerConstantOps(OpRegistry &registry) {
  registry.add("Cast", 6, 1, importCast);
  registry.add("CastLike", 15, 2, importCastLike);
  registry.add("Constant", 1, 0, importConstant);
  registry.add("ConstantOfShape", 9, 1, importConstantOfShape);
  registry.add("Dropout", 7, {1, 3}, importDropout);
  registry.add("Identity", 1, 1, importIdentity);
}
