//===- Pooling.cpp - Poolings of ONNX -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Windows.h"

using namespace mlir;
using namespace nju;
using namespace nju::onnx_import;

/// The least number of a type, which no maximum is less than.
static Value emitLeast(NodeImporter &node, Type type) {
  auto scalarType = RankedTensorType::get({}, type);
  if (auto floats = dyn_cast<FloatType>(type))
    return node.elements(DenseElementsAttr::get(
        scalarType,
        llvm::APFloat::getInf(floats.getFloatSemantics(), /*Negative=*/true)));
  unsigned bits = type.getIntOrFloatBitWidth();
  return node.elements(DenseElementsAttr::get(
      scalarType, type.isUnsignedInteger()
                      ? llvm::APInt::getZero(bits)
                      : llvm::APInt::getSignedMinValue(bits)));
}

template <typename OpTy>
static Value reduceWindows(NodeImporter &node, const Windows &windows,
                           Value padded) {
  return node.reduce<OpTy>(windows.unfold(node, padded),
                           windows.getElementDims(), false);
}

static void importMaxPool(NodeImporter &node) {
  node.ignoreAttr("storage_order");
  Value x = node.input(0);
  if (node.wantsOutput(1)) {
    node.emitError() << "has output 1 (places of the largest), which is not "
                     << "computed; expected one output";
    return;
  }
  auto windows = Windows::read(node, x);
  if (!windows)
    return;
  Value padded = windows->pad(node, x, emitLeast(node, node.elementType(x)),
                              /*withExtra=*/true);
  node.setOutput(reduceWindows<ReduceMaxOp>(node, *windows, padded));
}

/// How many elements of each window count, `[1, 1, o1, o2, ...]`.
static Value countElements(NodeImporter &node, const Windows &windows, Value x,
                           bool countsPads) {
  Value one = node.scalarLike(x, 1), zero = node.scalarLike(x, 0);
  SmallVector<Value> dims(Windows::kFirstDim, node.constant({1}));
  for (int64_t dim = Windows::kFirstDim; dim < node.rank(x); ++dim)
    dims.push_back(node.dimVector(x, dim));
  Value ones = node.create<FillOp>({node.concat(dims, 0), one});
  ones = countsPads
             ? windows.padExtra(node, windows.pad(node, ones, one, false), zero)
             : windows.pad(node, ones, zero, true);
  return reduceWindows<ReduceSumOp>(node, windows, ones);
}

static std::optional<Windows> readFloatWindows(NodeImporter &node, Value x) {
  if (!node.checkFloat(x, "input 0"))
    return std::nullopt;
  return Windows::read(node, x);
}

static void importAveragePool(NodeImporter &node) {
  bool countsPads = node.boolAttr("count_include_pad");
  Value x = node.input(0);
  auto windows = readFloatWindows(node, x);
  if (!windows)
    return;
  Value padded = windows->pad(node, x, node.scalarLike(x, 0), true);
  bool isPartial = windows->hasExtra() || (windows->hasPads() && !countsPads);
  if (!isPartial)
    return node.setOutput(reduceWindows<ReduceMeanOp>(node, *windows, padded));
  node.setOutput(
      node.create<DivOp>({reduceWindows<ReduceSumOp>(node, *windows, padded),
                          countElements(node, *windows, x, countsPads)}));
}

/// `(sum of |x|^p)^(1/p)`, `sum` being a function of the powers.
template <typename Sum>
static void emitLpNorm(NodeImporter &node, Value x, Sum sum) {
  int64_t p = node.intAttr("p", 2);
  if (p < 1) {
    node.emitError() << "attribute 'p' is " << p << ", expected at least 1";
    return;
  }
  Value powers = node.create<AbsOp>(x);
  if (p != 1)
    powers = node.create<PowOp>({powers, node.scalarLike(x, double(p))});
  Value result = sum(powers);
  if (p != 1)
    result = node.create<PowOp>({result, node.scalarLike(x, 1 / double(p))});
  node.setOutput(result);
}

static void importLpPool(NodeImporter &node) {
  Value x = node.input(0);
  auto windows = readFloatWindows(node, x);
  if (!windows)
    return;
  emitLpNorm(node, x, [&](Value powers) {
    Value padded = windows->pad(node, powers, node.scalarLike(x, 0), true);
    return reduceWindows<ReduceSumOp>(node, *windows, padded);
  });
}

//===----------------------------------------------------------------------===//
// Over all elements of a channel
//===----------------------------------------------------------------------===//

static bool checkSpatial(NodeImporter &node, Value x) {
  if (!node.checkFloat(x, "input 0"))
    return false;
  if (node.rank(x) > Windows::kFirstDim)
    return true;
  node.emitError() << "input 0 is " << x.getType()
                   << ", expected rank 3 or more";
  return false;
}

static SmallVector<int64_t> spatialDims(NodeImporter &node, Value x) {
  return llvm::to_vector(llvm::seq<int64_t>(Windows::kFirstDim, node.rank(x)));
}

template <typename OpTy>
static void importGlobalPool(NodeImporter &node) {
  Value x = node.input(0);
  if (checkSpatial(node, x))
    node.setOutput(node.reduce<OpTy>(x, spatialDims(node, x), true));
}

static void importGlobalLpPool(NodeImporter &node) {
  Value x = node.input(0);
  if (checkSpatial(node, x))
    emitLpNorm(node, x, [&](Value powers) {
      return node.reduce<ReduceSumOp>(powers, spatialDims(node, x), true);
    });
}

void nju::onnx_import::registerPoolingOps(OpRegistry &registry) {
  registry.add("AveragePool", 7, 1, importAveragePool);
  registry.add("GlobalAveragePool", 1, 1, importGlobalPool<ReduceMeanOp>);
  registry.add("GlobalLpPool", 2, 1, importGlobalLpPool);
  registry.add("GlobalMaxPool", 1, 1, importGlobalPool<ReduceMaxOp>);
  registry.add("LpPool", 2, 1, importLpPool);
  registry.add("MaxPool", 8, 1, importMaxPool);
}
