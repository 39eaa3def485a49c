//===- Normalization.cpp - Normalizations of ONNX -*- C++ -*-===//
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

/// The dimensions from `axis` to the last.
static SmallVector<int64_t> trailingAxes(NodeImporter &node, Value input,
                                         int64_t axis) {
  return llvm::to_vector(llvm::seq<int64_t>(axis, node.rank(input)));
}

/// True if nju's norms, which are over the last dimension and have vectors as
/// weights, do what is asked.
static bool isVectorNorm(NodeImporter &node, Value input, int64_t axis,
                         Value weight, Value bias) {
  int64_t rank = node.rank(input);
  auto fits = [&](Value vector) {
    return node.rank(vector) == 1 &&
           node.dims(vector)[0] == node.dims(input)[rank - 1];
  };
  return rank >= 1 && axis == rank - 1 && fits(weight) && (!bias || fits(bias));
}

/// 1 / sqrt(mean of squares + epsilon) over `axes`, which stay with size 1.
static Value emitInverseRoot(NodeImporter &node, Value x,
                             ArrayRef<int64_t> axes, double epsilon) {
  Value mean =
      node.reduce<ReduceMeanOp>(node.create<MulOp>({x, x}), axes, true);
  return node.create<RsqrtOp>(
      node.create<AddOp>({mean, node.scalarLike(x, epsilon)}));
}

namespace {
struct LayerNorm {
  Value result, mean, inverseRoot;
};
} // namespace

/// The three outputs of LayerNormalization; those that are not used become dead
/// code.
static LayerNorm emitLayerNorm(NodeImporter &node, Value input, int64_t axis,
                               Value weight, Value bias, double epsilon,
                               bool wantsStatistics) {
  LayerNorm norm;
  SmallVector<int64_t> axes = trailingAxes(node, input, axis);
  bool isVector = isVectorNorm(node, input, axis, weight, bias);
  if (isVector) {
    SmallVector<Value> operands{input, weight};
    if (bias)
      operands.push_back(bias);
    norm.result =
        node.create<LayerNormOp>(operands, node.f64("epsilon", epsilon));
  }
  if (isVector && !wantsStatistics)
    return norm;
  norm.mean = node.reduce<ReduceMeanOp>(input, axes, true);
  Value centred = node.create<SubOp>({input, norm.mean});
  norm.inverseRoot = emitInverseRoot(node, centred, axes, epsilon);
  if (isVector)
    return norm;
  norm.result = node.create<MulOp>(
      {node.create<MulOp>({centred, norm.inverseRoot}), weight});
  if (bias)
    norm.result = node.create<AddOp>({norm.result, bias});
  return norm;
}

static Value emitRMSNorm(NodeImporter &node, Value input, int64_t axis,
                         Value weight, double epsilon) {
  if (isVectorNorm(node, input, axis, weight, {}))
    return node.create<RMSNormOp>({input, weight},
                                  node.f64("epsilon", epsilon));
  Value inverse =
      emitInverseRoot(node, input, trailingAxes(node, input, axis), epsilon);
  return node.create<MulOp>({node.create<MulOp>({input, inverse}), weight});
}

/// Refuses element types that differ or are no floats.
static bool checkOperands(NodeImporter &node, ArrayRef<Value> values) {
  return node.checkFloat(values[0], "input 0") && node.checkSameType(values);
}

static void importLayerNormalization(NodeImporter &node) {
  int64_t axis = node.intAttr("axis", -1);
  double epsilon = node.floatAttr("epsilon", 1e-5);
  node.ignoreAttr("stash_type");
  Value input = node.input(0), weight = node.input(1), bias = node.input(2);
  if (!checkOperands(node, {input, weight}) ||
      (bias && !node.checkSameType({input, bias})))
    return;
  axis = node.normalizeAxis(axis, node.rank(input));
  LayerNorm norm = emitLayerNorm(node, input, axis, weight, bias, epsilon,
                                 node.wantsOutput(1) || node.wantsOutput(2));
  node.setOutput(0, norm.result);
  node.setOutput(1, norm.mean);
  node.setOutput(2, norm.inverseRoot);
}

/// RMSNormalization and, of ONNX Runtime, SimplifiedLayerNormalization.
static void importRMSNormalization(NodeImporter &node) {
  int64_t axis = node.intAttr("axis", -1);
  double epsilon = node.floatAttr("epsilon", 1e-5);
  node.ignoreAttr("stash_type");
  Value input = node.input(0), weight = node.input(1);
  if (!checkOperands(node, {input, weight}))
    return;
  axis = node.normalizeAxis(axis, node.rank(input));
  node.setOutput(emitRMSNorm(node, input, axis, weight, epsilon));
}

/// The sum of input, skip and bias, which com.microsoft's Skip ops normalize.
static Value emitSkip(NodeImporter &node, int biasIndex) {
  Value input = node.input(0), skip = node.input(1);
  Value bias = node.input(biasIndex);
  if (!checkOperands(node, {input, skip}) ||
      (bias && !node.checkSameType({input, bias})))
    return {};
  Value sum = node.create<AddOp>({input, skip});
  if (bias)
    sum = node.create<AddOp>({sum, bias});
  node.setOutput(3, sum);
  return sum;
}

static void importSkipRMSNormalization(NodeImporter &node) {
  double epsilon = node.floatAttr("epsilon", 1e-5);
  Value sum = emitSkip(node, 3), weight = node.input(2);
  if (node.checkSameType({sum, weight}))
    node.setOutput(emitRMSNorm(node, sum, node.rank(sum) - 1, weight, epsilon));
}

static void importSkipLayerNormalization(NodeImporter &node) {
  double epsilon = node.floatAttr("epsilon", 1e-12);
  Value sum = emitSkip(node, 4), weight = node.input(2), beta = node.input(3);
  if (!node.checkSameType({sum, weight}) ||
      (beta && !node.checkSameType({sum, beta})))
    return;
  node.setOutput(
      emitLayerNorm(node, sum, node.rank(sum) - 1, weight, beta, epsilon, false)
          .result);
}

static void importBatchNormalization(NodeImporter &node) {
  double epsilon = node.floatAttr("epsilon", 1e-5);
  node.ignoreAttr("momentum");
  node.ignoreAttr("spatial");
  if (node.boolAttr("training_mode")) {
    node.emitError() << "is in training mode; export the model in inference "
                     << "mode";
    return;
  }
  SmallVector<Value> inputs = node.inputs();
  if (!checkOperands(node, inputs))
    return;
  int64_t rank = node.rank(inputs[0]);
  for (int i = 1; i < 5; ++i) {
    if (!node.checkRank(inputs[i], 1, "input " + std::to_string(i)))
      return;
    inputs[i] = node.alongAxis(inputs[i], 1, rank);
  }
  Value deviation = node.create<SqrtOp>(
      node.create<AddOp>({inputs[4], node.scalarLike(inputs[4], epsilon)}));
  Value factor = node.create<DivOp>({inputs[1], deviation});
  Value centred = node.create<SubOp>({inputs[0], inputs[3]});
  node.setOutput(
      node.create<AddOp>({node.create<MulOp>({centred, factor}), inputs[2]}));
}

static void importInstanceNormalization(NodeImporter &node) {
  double epsilon = node.floatAttr("epsilon", 1e-5);
  SmallVector<Value> inputs = node.inputs();
  if (!checkOperands(node, inputs))
    return;
  int64_t rank = node.rank(inputs[0]);
  if (rank < 3 || !node.checkRank(inputs[1], 1, "input 1") ||
      !node.checkRank(inputs[2], 1, "input 2")) {
    node.emitError() << "input 0 is " << inputs[0].getType()
                     << ", expected rank 3 or more";
    return;
  }
  node.setOutput(
      emitLayerNorm(node, inputs[0], 2, node.alongAxis(inputs[1], 1, rank),
                    node.alongAxis(inputs[2], 1, rank), epsilon, false)
          .result);
}

/// Over groups of channels. The scale and bias are of a group before opset 21,
/// of a channel since.
static void importGroupNormalization(NodeImporter &node) {
  double epsilon = node.floatAttr("epsilon", 1e-5);
  std::optional<int64_t> groups = node.intAttr("num_groups");
  node.ignoreAttr("stash_type");
  SmallVector<Value> inputs = node.inputs();
  if (!checkOperands(node, inputs))
    return;
  int64_t rank = node.rank(inputs[0]);
  std::optional<int64_t> channels =
      rank > 1 ? node.staticDim(inputs[0], 1) : std::nullopt;
  if (!groups || !channels || *groups < 1 || *channels % *groups ||
      !node.checkRank(inputs[1], 1, "input 1") ||
      !node.checkRank(inputs[2], 1, "input 2")) {
    node.emitError() << "input 0 is " << inputs[0].getType()
                     << ", expected a static number of channels that "
                     << "num_groups divides";
    return;
  }
  Value grouped =
      node.create<ReshapeOp>({inputs[0], node.constant({0, *groups, -1})});
  Value mean = node.reduce<ReduceMeanOp>(grouped, {2}, true);
  Value centred = node.create<SubOp>({grouped, mean});
  Value result = node.create<MulOp>(
      {centred, emitInverseRoot(node, centred, {2}, epsilon)});
  auto affine = [&](Value x, ArrayRef<Value> operands) {
    return node.create<AddOp>(
        {node.create<MulOp>({x, operands[0]}), operands[1]});
  };
  bool isByGroup = node.opset() < 21;
  SmallVector<Value> factors;
  for (Value vector : {inputs[1], inputs[2]})
    factors.push_back(node.alongAxis(vector, 1, isByGroup ? 3 : rank));
  if (isByGroup)
    result = affine(result, factors);
  result = node.reshapeLike(result, inputs[0]);
  node.setOutput(isByGroup ? result : affine(result, factors));
}

static void importLpNormalization(NodeImporter &node) {
  int64_t axis = node.intAttr("axis", -1), p = node.intAttr("p", 2);
  Value x = node.input(0);
  if (!node.checkFloat(x, "input 0"))
    return;
  if (p != 1 && p != 2) {
    node.emitError() << "attribute 'p' is " << p << ", expected 1 or 2";
    return;
  }
  axis = node.normalizeAxis(axis, node.rank(x));
  Value powers = p == 1 ? node.create<AbsOp>(x) : node.create<MulOp>({x, x});
  Value norm = node.reduce<ReduceSumOp>(powers, {axis}, true);
  if (p == 2)
    norm = node.create<SqrtOp>(norm);
  // Zeros stay zeros.
  Value zero = node.scalarLike(x, 0);
  Value isZero = node.compare(ComparePredicate::eq, norm, zero);
  Value quotient = node.create<DivOp>({x, norm});
  node.setOutput(
      node.create<SelectOp>({isZero, zero, quotient}, {}, node.elementType(x)));
}

static void importMeanVarianceNormalization(NodeImporter &node) {
  auto axes = node.intsAttr("axes").value_or(SmallVector<int64_t>{0, 2, 3});
  Value x = node.input(0);
  if (!node.checkFloat(x, "input 0"))
    return;
  axes = node.normalizeAxes(axes, node.rank(x));
  if (node.hasFailed())
    return;
  Value centred =
      node.create<SubOp>({x, node.reduce<ReduceMeanOp>(x, axes, true)});
  Value variance = node.reduce<ReduceMeanOp>(
      node.create<MulOp>({centred, centred}), axes, true);
  Value deviation = node.create<AddOp>(
      {node.create<SqrtOp>(variance), node.scalarLike(x, 1e-9)});
  node.setOutput(node.create<DivOp>({centred, deviation}));
}

/// By the squares of the channels around each.
static void importLRN(NodeImporter &node) {
  double alpha = node.floatAttr("alpha", 1e-4);
  double beta = node.floatAttr("beta", 0.75), bias = node.floatAttr("bias", 1);
  std::optional<int64_t> size = node.intAttr("size");
  Value x = node.input(0);
  if (!node.checkFloat(x, "input 0"))
    return;
  if (!size || *size < 1 || node.rank(x) < 2) {
    node.emitError() << "has no attribute 'size' of at least 1, or no channels";
    return;
  }
  int64_t rank = node.rank(x);
  SmallVector<int64_t> pads(2 * rank, 0);
  pads[1] = (*size - 1) / 2;
  pads[rank + 1] = *size - 1 - pads[1];
  Value squares = node.create<PadOp>(
      {node.create<MulOp>({x, x}), node.constant(pads), node.scalarLike(x, 0)});
  Window window;
  window.size = *size;
  Value sum =
      node.reduce<ReduceSumOp>(unfoldDim(node, squares, 1, window), {2}, false);
  Value scaled = node.create<AddOp>(
      {node.create<MulOp>({sum, node.scalarLike(x, alpha / double(*size))}),
       node.scalarLike(x, bias)});
  Value divisor = node.create<PowOp>({scaled, node.scalarLike(x, beta)});
  node.setOutput(node.create<DivOp>({x, divisor}));
}

/// Of each sequence the number of ones in a mask `[B, S]`, as i32; zeros
/// without a mask.
static Value emitMaskIndex(NodeImporter &node, Value mask, Value ids) {
  Type i32 = node.attrs().getI32Type();
  if (mask)
    return node.cast(node.reduce<ReduceSumOp>(mask, {1}, false), i32);
  return node.create<FillOp>({node.dimVector(ids, 0), node.scalar(i32, 0)});
}

/// Rows of the tables of words, positions and, where there are any, segments,
/// added and normalized.
static void importEmbedLayerNormalization(NodeImporter &node) {
  double epsilon = node.floatAttr("epsilon", 1e-12);
  node.ignoreAttr("mask_index_type");
  Value ids = node.input(0), segments = node.input(1), words = node.input(2);
  Value table = node.input(3), segmentTable = node.input(4);
  Value weight = node.input(5), bias = node.input(6);
  Value positions = node.input(8);
  for (int required : {2, 3, 5, 6})
    if (!node.requireInput(required))
      return;
  if (!checkOperands(node, {words, table, weight, bias}) ||
      !node.checkRank(ids, 2, "input 0"))
    return;
  if (!segments != !segmentTable) {
    node.emitError() << "has only one of segment_ids and segment_embedding";
    return;
  }
  auto lookUp = [&](Value rows, Value indices) {
    return node.create<GatherOp>({rows, indices}, node.i64("axis", 0));
  };
  if (!positions)
    positions = node.iota(node.dimScalar(ids, 1));
  Value sum =
      node.create<AddOp>({lookUp(words, ids), lookUp(table, positions)});
  if (segments && node.checkSameType({words, segmentTable}))
    sum = node.create<AddOp>({sum, lookUp(segmentTable, segments)});
  node.setOutput(
      0, emitLayerNorm(node, sum, 2, weight, bias, epsilon, false).result);
  if (node.wantsOutput(1))
    node.setOutput(1, emitMaskIndex(node, node.input(7), ids));
  node.setOutput(2, sum);
}

void nju::onnx_import::registerNormalizationOps(OpRegistry &registry) {
  registry.add("BatchNormalization", 9, 5, importBatchNormalization);
  registry.add("EmbedLayerNormalization", 1, {1, 9},
               importEmbedLayerNormalization, kMicrosoft);
  registry.add("GroupNormalization", 18, 3, importGroupNormalization);
  registry.add("InstanceNormalization", 6, 3, importInstanceNormalization);
  registry.add("LayerNormalization", 17, {2, 3}, importLayerNormalization);
  registry.add("LRN", 1, 1, importLRN);
  registry.add("LpNormalization", 1, 1, importLpNormalization);
  registry.add("MeanVarianceNormalization", 9, 1,
               importMeanVarianceNormalization);
  registry.add("RMSNormalization", 23, 2, importRMSNormalization);
  for (llvm::StringRef domain :
       {llvm::StringRef(), llvm::StringRef(kMicrosoft)})
    registry.add("SimplifiedLayerNormalization", 1, 2, importRMSNormalization,
                 domain);
  registry.add("LayerNormalization", 1, {2, 3}, importLayerNormalization,
               kMicrosoft);
  registry.add("SkipLayerNormalization", 1, {3, 5},
               importSkipLayerNormalization, kMicrosoft);
  registry.add("SkipSimplifiedLayerNormalization", 1, {3, 4},
               importSkipRMSNormalization, kMicrosoft);
}
