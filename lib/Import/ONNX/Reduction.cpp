//===- Reduction.cpp - Reductions and softmax of ONNX -*- C++ -*-===//
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

namespace {
/// What a reduction reduces; the attributes and inputs of all are the same.
struct Reduction {
  Value input;
  SmallVector<int64_t> axes;
  bool keepDims = true;
  /// Without axes the node is told to do nothing.
  bool isIdentity = false;
};
} // namespace

/// The axes are an attribute before opset `axesSince` and an input since.
static std::optional<Reduction> readReduction(NodeImporter &node,
                                              int64_t axesSince) {
  Reduction reduction;
  reduction.keepDims = node.boolAttr("keepdims", true);
  reduction.input = node.input(0);
  int64_t rank = node.rank(reduction.input);
  SmallVector<int64_t> axes;
  bool isNoop = false;
  if (node.opset() < axesSince) {
    axes = node.intsAttr("axes").value_or(SmallVector<int64_t>());
  } else {
    isNoop = node.boolAttr("noop_with_empty_axes");
    axes = node.requireInts(1, "axes");
  }
  if (node.hasFailed())
    return std::nullopt;
  reduction.isIdentity = isNoop && axes.empty();
  if (axes.empty())
    axes = llvm::to_vector(llvm::seq<int64_t>(0, rank));
  reduction.axes = node.normalizeAxes(axes, rank);
  if (node.hasFailed())
    return std::nullopt;
  return reduction;
}

template <typename OpTy>
static Value emit(NodeImporter &node, const Reduction &reduction, Value input) {
  return node.reduce<OpTy>(input, reduction.axes, reduction.keepDims);
}

template <typename OpTy, int64_t axesSince = 18>
static void importReduce(NodeImporter &node) {
  auto reduction = readReduction(node, axesSince);
  if (!reduction)
    return;
  node.setOutput(reduction->isIdentity
                     ? reduction->input
                     : emit<OpTy>(node, *reduction, reduction->input));
}

/// Max and Min; of booleans (or, and) they are those of the bytes 0 and 1.
template <typename OpTy>
static void importReduceExtreme(NodeImporter &node) {
  auto reduction = readReduction(node, 18);
  if (!reduction)
    return;
  if (reduction->isIdentity)
    return node.setOutput(reduction->input);
  Type type = node.elementType(reduction->input);
  Type byte = node.attrs().getIntegerType(8, /*isSigned=*/false);
  bool isBool = type && type.isInteger(1);
  Value input = isBool ? node.cast(reduction->input, byte) : reduction->input;
  node.setOutput(node.cast(emit<OpTy>(node, *reduction, input), type));
}

/// Reductions that are a sum of a function of the elements, and a function of
/// the sum.
template <Value (*before)(NodeImporter &, Value),
          Value (*after)(NodeImporter &, Value)>
static void importReduceSumOf(NodeImporter &node) {
  auto reduction = readReduction(node, 18);
  if (!reduction)
    return;
  if (reduction->isIdentity)
    return node.setOutput(reduction->input);
  Value sum =
      emit<ReduceSumOp>(node, *reduction, before(node, reduction->input));
  node.setOutput(after(node, sum));
}

static Value same(NodeImporter &, Value x) { return x; }
static Value absolute(NodeImporter &node, Value x) {
  return node.create<AbsOp>(x);
}
static Value square(NodeImporter &node, Value x) {
  return node.create<MulOp>({x, x});
}
static Value squareRoot(NodeImporter &node, Value x) {
  return node.checkFloat(x, "input 0") ? node.create<SqrtOp>(x) : Value();
}
static Value logarithm(NodeImporter &node, Value x) {
  return node.checkFloat(x, "input 0") ? node.create<LogOp>(x) : Value();
}

/// `max x + log(sum(exp(x - max x)))`, which does not overflow.
static void importReduceLogSumExp(NodeImporter &node) {
  auto reduction = readReduction(node, 18);
  if (!reduction || !node.checkFloat(reduction->input, "input 0"))
    return;
  if (reduction->isIdentity)
    return node.setOutput(reduction->input);
  Value x = reduction->input;
  Value max = node.reduce<ReduceMaxOp>(x, reduction->axes, true);
  Value exp = node.create<ExpOp>(node.create<SubOp>({x, max}));
  Value sum = node.reduce<ReduceSumOp>(exp, reduction->axes, true);
  Value result = node.create<AddOp>({max, node.create<LogOp>(sum)});
  if (!reduction->keepDims)
    result = node.squeeze(result, reduction->axes);
  node.setOutput(result);
}

template <typename OpTy>
static void importArg(NodeImporter &node) {
  int64_t axis = node.intAttr("axis", 0);
  bool keepDims = node.boolAttr("keepdims", true);
  bool last = node.boolAttr("select_last_index");
  Value input = node.input(0);
  if (!input)
    return;
  SmallVector<NamedAttribute> attributes{
      node.i64("axis", node.normalizeAxis(axis, node.rank(input)))};
  if (keepDims)
    attributes.push_back(node.unit("keep_dims"));
  if (last)
    attributes.push_back(node.unit("last"));
  node.setOutput(
      node.create<OpTy>(input, attributes, node.attrs().getI64Type()));
}

/// Since opset 13 over one dimension; before, over all from `axis` on.
template <bool log>
static void importSoftmax(NodeImporter &node) {
  bool isFlat = node.opset() < 13;
  int64_t axis = node.intAttr("axis", isFlat ? 1 : -1);
  Value input = node.input(0);
  if (!node.checkFloat(input, "input 0"))
    return;
  int64_t rank = node.rank(input);
  axis = node.normalizeAxis(axis, rank);
  bool isOneDim = !isFlat || axis == rank - 1;
  SmallVector<NamedAttribute> attributes{node.i64("axis", isOneDim ? axis : 1)};
  if (log)
    attributes.push_back(node.unit("log"));
  if (isOneDim)
    return node.setOutput(node.create<SoftmaxOp>(input, attributes));
  Value matrix = node.create<SoftmaxOp>(node.flatten(input, axis), attributes);
  node.setOutput(node.reshapeLike(matrix, input));
}

/// 1 at the first of the largest elements, 0 elsewhere. Since opset 13 over one
/// dimension; before, over all from `axis` on.
static void importHardmax(NodeImporter &node) {
  bool isFlat = node.opset() < 13;
  int64_t axis = node.intAttr("axis", isFlat ? 1 : -1);
  Value input = node.input(0);
  if (!node.checkFloat(input, "input 0"))
    return;
  axis = node.normalizeAxis(axis, node.rank(input));
  Value x = isFlat ? node.flatten(input, axis) : input;
  if (isFlat)
    axis = 1;
  Value largest =
      node.create<ArgMaxOp>(x, {node.i64("axis", axis), node.unit("keep_dims")},
                            node.attrs().getI64Type());
  Value places =
      node.alongAxis(node.iota(node.dimScalar(x, axis)), axis, node.rank(x));
  Value result = node.cast(node.compare(ComparePredicate::eq, largest, places),
                           node.elementType(input));
  node.setOutput(isFlat ? node.reshapeLike(result, input) : result);
}

void nju::onnx_import::registerReductionOps(OpRegistry &registry) {
  registry.add("ArgMax", 1, 1, importArg<ArgMaxOp>);
  registry.add("ArgMin", 1, 1, importArg<ArgMinOp>);
  registry.add("Hardmax", 1, 1, importHardmax);
  registry.add("LogSoftmax", 1, 1, importSoftmax<true>);
  registry.add("ReduceL1", 1, {1, 2}, importReduceSumOf<absolute, same>);
  registry.add("ReduceL2", 1, {1, 2}, importReduceSumOf<square, squareRoot>);
  registry.add("ReduceLogSum", 1, {1, 2}, importReduceSumOf<same, logarithm>);
  registry.add("ReduceLogSumExp", 1, {1, 2}, importReduceLogSumExp);
  registry.add("ReduceMax", 1, {1, 2}, importReduceExtreme<ReduceMaxOp>);
  registry.add("ReduceMean", 1, {1, 2}, importReduce<ReduceMeanOp>);
  registry.add("ReduceMin", 1, {1, 2}, importReduceExtreme<ReduceMinOp>);
  registry.add("ReduceProd", 1, {1, 2}, importReduce<ReduceProdOp>);
  registry.add("ReduceSum", 1, {1, 2}, importReduce<ReduceSumOp, 13>);
  registry.add("ReduceSumSquare", 1, {1, 2}, importReduceSumOf<square, same>);
  registry.add("Softmax", 1, 1, importSoftmax<false>);
}
