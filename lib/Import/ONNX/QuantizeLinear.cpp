//===- QuantizeLinear.cpp - Quantization of activations ---------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What rounds values of the graph to integers, and products of such integers.
//
//===----------------------------------------------------------------------===//

#include "Quantization.h"

using namespace mlir;
using namespace nju;
using namespace nju::onnx_import;

static bool isQuantizedType(Type type) {
  return type && type.isInteger() &&
         llvm::is_contained({8u, 16u}, type.getIntOrFloatBitWidth());
}

static bool checkQuantizedType(NodeImporter &node, Type type) {
  if (isQuantizedType(type))
    return true;
  node.emitError() << "quantizes to " << type
                   << ", expected integers of 8 or 16 bits";
  return false;
}

/// `round(x) + zero`, limited to what the quantized `type` holds. `zero` may be
/// null.
static Value emitSaturated(NodeImporter &node, Value x, Value zero, Type type) {
  Value rounded = node.create<RoundOp>(x);
  if (zero)
    rounded =
        node.create<AddOp>({rounded, node.cast(zero, node.elementType(x))});
  unsigned bits = type.getIntOrFloatBitWidth();
  double count = double(1 << bits);
  double least = type.isUnsignedInteger() ? 0 : -count / 2;
  Value high = node.create<MinOp>(
      {rounded, node.scalarLike(rounded, least + count - 1)});
  return node.cast(node.create<MaxOp>({high, node.scalarLike(rounded, least)}),
                   type);
}

static void importQuantizeLinear(NodeImporter &node) {
  node.ignoreAttr("saturate");
  node.ignoreAttr("precision");
  Value x = node.input(0), scale = node.input(1), zero = node.input(2);
  if (!x || !node.checkFloat(scale, "input 1"))
    return;
  Blocking blocking = readBlocking(node, node.rank(x), isQuantizedType,
                                   "INT8, UINT8, INT16 or UINT16");
  if (node.hasFailed())
    return;
  Type f32 = node.attrs().getF32Type(), type = blocking.result;
  if (zero)
    type = node.elementType(zero);
  else if (!type)
    type = node.attrs().getIntegerType(8, /*isSigned=*/false);
  if (!checkQuantizedType(node, type))
    return;
  if (zero)
    zero = spreadBlocks(node, zero, x, blocking);
  scale = node.cast(spreadBlocks(node, scale, x, blocking), f32);
  Value quotient = node.create<DivOp>({node.cast(x, f32), scale});
  node.setOutput(emitSaturated(node, quotient, zero, type));
}

/// To unsigned bytes, by the least and the greatest element.
static void importDynamicQuantizeLinear(NodeImporter &node) {
  Value x = node.input(0);
  if (!node.checkType(x, node.attrs().getF32Type(), "input 0"))
    return;
  Type byte = node.attrs().getIntegerType(8, /*isSigned=*/false);
  auto axes = llvm::to_vector(llvm::seq<int64_t>(0, node.rank(x)));
  Value zero = node.scalarLike(x, 0), one = node.scalarLike(x, 1);
  Value least =
      node.create<MinOp>({node.reduce<ReduceMinOp>(x, axes, false), zero});
  Value most =
      node.create<MaxOp>({node.reduce<ReduceMaxOp>(x, axes, false), zero});
  Value range = node.create<SubOp>({most, least});
  // Zeros alone have any scale.
  Value isZero = node.compare(ComparePredicate::eq, range, zero);
  Value scale = node.create<SelectOp>(
      {isZero, one, node.create<DivOp>({range, node.scalarLike(x, 255)})}, {},
      node.elementType(x));
  Value origin = node.create<NegOp>(node.create<DivOp>({least, scale}));
  Value zeroPoint = emitSaturated(node, origin, {}, byte);
  node.setOutput(
      0, emitSaturated(node, node.create<DivOp>({x, scale}), zeroPoint, byte));
  node.setOutput(1, scale);
  node.setOutput(2, zeroPoint);
}

//===----------------------------------------------------------------------===//
// Products of integers
//===----------------------------------------------------------------------===//

/// A scale or zero point of a matrix: one number, or one for each row (column)
/// as a vector, or with the matrix's rank.
static Value alongMatrix(NodeImporter &node, Value value, bool byRow) {
  if (node.rank(value) != 1)
    return value;
  if (node.staticDim(value, 0) == 1)
    return node.squeeze(value, {0});
  return byRow ? node.unsqueeze(value, {1}) : value;
}

/// An operand of a product less its zero point, as i32.
static Value emitCentred(NodeImporter &node, int index, int zeroIndex,
                         bool isLeft) {
  Type i32 = node.attrs().getI32Type();
  Value x = node.input(index), zero = node.input(zeroIndex);
  if (!node.checkInteger(x, "input " + std::to_string(index)))
    return {};
  x = node.cast(x, i32);
  if (!zero)
    return x;
  if (!node.checkInteger(zero, "input " + std::to_string(zeroIndex)))
    return {};
  return node.create<SubOp>(
      {x, node.cast(alongMatrix(node, zero, isLeft), i32)});
}

static void importMatMulInteger(NodeImporter &node) {
  Value a = emitCentred(node, 0, 2, true), b = emitCentred(node, 1, 3, false);
  node.setOutput(node.create<MatMulOp>({a, b}));
}

static void importQLinearMatMul(NodeImporter &node) {
  Type f32 = node.attrs().getF32Type();
  Value a = emitCentred(node, 0, 2, true), b = emitCentred(node, 3, 5, false);
  Value zero = node.input(7);
  auto scale = [&](int index, bool isLeft) {
    Value value = node.input(index);
    bool fits = node.checkFloat(value, "input " + std::to_string(index));
    return fits ? node.cast(alongMatrix(node, value, isLeft), f32) : Value();
  };
  Value left = scale(1, true), right = scale(4, false), result = scale(6, true);
  Type type = node.elementType(zero);
  if (!zero || !checkQuantizedType(node, type))
    return;
  Value sum = node.cast(node.create<MatMulOp>({a, b}), f32);
  Value scaled = node.create<MulOp>({node.create<MulOp>({sum, left}), right});
  node.setOutput(emitSaturated(node, node.create<DivOp>({scaled, result}),
                               alongMatrix(node, zero, true), type));
}

void nju::onnx_import::registerQuantizeLinearOps(OpRegistry &registry) {
  registry.add("DynamicQuantizeLinear", 11, 1, importDynamicQuantizeLinear);
  registry.add("MatMulInteger", 10, {2, 4}, importMatMulInteger);
  registry.add("QLinearMatMul", 10, 8, importQLinearMatMul);
  registry.add("QuantizeLinear", 10, {2, 3}, importQuantizeLinear);
  registry.add("QuantizeLinear", 1, {2, 3}, importQuantizeLinear, kMicrosoft);
}
