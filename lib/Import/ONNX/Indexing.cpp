//===- Indexing.cpp - Gathers and scatters of ONNX -*- C++ -*-===//
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

/// An input of indices: i32 or i64; others are converted to i64.
static Value inputIndices(NodeImporter &node, int index, bool onlyI64) {
  Value value = node.input(index);
  if (!node.checkInteger(value, "input " + std::to_string(index)))
    return {};
  if (!onlyI64 && node.elementType(value).isSignlessInteger(32))
    return value;
  return node.cast(value, node.attrs().getI64Type());
}

template <typename OpTy>
static void importGather(NodeImporter &node) {
  int64_t axis = node.intAttr("axis", 0);
  Value input = node.input(0), indices = inputIndices(node, 1, false);
  if (!input || !indices)
    return;
  node.setOutput(node.create<OpTy>(
      {input, indices},
      node.i64("axis", node.normalizeAxis(axis, node.rank(input)))));
}

static void importGatherND(NodeImporter &node) {
  int64_t batchDims = node.intAttr("batch_dims", 0);
  Value input = node.input(0), indices = inputIndices(node, 1, true);
  if (!input || !indices)
    return;
  if (batchDims < 0 ||
      batchDims >= std::min(node.rank(input), node.rank(indices))) {
    node.emitError() << "attribute 'batch_dims' is " << batchDims
                     << ", expected 0 to "
                     << std::min(node.rank(input), node.rank(indices)) - 1;
    return;
  }
  node.setOutput(node.create<GatherNDOp>({input, indices},
                                         node.i64("batch_dims", batchDims)));
}

/// How a scatter combines an update with what was there.
static std::optional<NamedAttribute> readReduction(NodeImporter &node) {
  std::string name = node.stringAttr("reduction", "none");
  auto reduction = symbolizeScatterReduction(name == "none" ? "replace" : name);
  if (reduction && name != "replace")
    return node.attrs().getNamedAttr(
        "reduction",
        ScatterReductionAttr::get(node.graph().getContext(), *reduction));
  node.emitError() << "attribute 'reduction' is '" << name
                   << "', expected 'none', 'add', 'mul', 'max' or 'min'";
  return std::nullopt;
}

static void importScatterND(NodeImporter &node) {
  auto reduction = readReduction(node);
  if (!reduction)
    return;
  Value input = node.input(0), indices = inputIndices(node, 1, true);
  Value updates = node.input(2);
  if (node.checkSameType({input, updates}))
    node.setOutput(
        node.create<ScatterNDOp>({input, indices, updates}, *reduction));
}

/// scatter_nd with the full index vector of each element: the place of the
/// element in `indices`, but for `axis`, where it is the index itself.
static void importScatterElements(NodeImporter &node) {
  int64_t axis = node.intAttr("axis", 0);
  auto reduction = readReduction(node);
  if (!reduction)
    return;
  Value input = node.input(0), indices = inputIndices(node, 1, true);
  Value updates = node.input(2);
  if (!node.checkSameType({input, updates}) || !indices)
    return;
  int64_t rank = node.rank(input);
  axis = node.normalizeAxis(axis, rank);
  if (!node.checkRank(indices, rank, "input 1"))
    return;
  Value shape = node.shapeOf(indices);
  SmallVector<Value> places;
  for (int64_t dim = 0; dim < rank; ++dim) {
    Value place = indices;
    if (dim != axis) {
      SmallVector<int64_t> others;
      for (int64_t other = 0; other < rank; ++other)
        if (other != dim)
          others.push_back(other);
      Value iota = node.iota(node.dimScalar(indices, dim));
      place = node.create<BroadcastToOp>({node.unsqueeze(iota, others), shape});
    }
    places.push_back(node.unsqueeze(place, {rank}));
  }
  node.setOutput(node.create<ScatterNDOp>(
      {input, node.concat(places, rank), updates}, *reduction));
}

//===----------------------------------------------------------------------===//
// Chosen elements
//===----------------------------------------------------------------------===//

/// Since opset 10 the number of elements is an input.
static void importTopK(NodeImporter &node) {
  int64_t axis = node.intAttr("axis", -1);
  bool largest = node.boolAttr("largest", true);
  node.ignoreAttr("sorted");
  Value input = node.input(0);
  std::optional<int64_t> count =
      node.opset() < 10 ? node.intAttr("k")
                        : node.requireInt(1, "the number of elements");
  if (!input || node.hasFailed())
    return;
  if (!count) {
    node.emitError() << "has no attribute 'k'";
    return;
  }
  axis = node.normalizeAxis(axis, node.rank(input));
  SmallVector<NamedAttribute> attributes{node.i64("axis", axis),
                                         node.i64("count", *count)};
  if (!largest)
    attributes.push_back(node.unit("least"));
  Value indices =
      node.create<TopKOp>(input, attributes, node.attrs().getI64Type());
  node.setOutput(0, node.create<GatherElementsOp>({input, indices},
                                                  node.i64("axis", axis)));
  node.setOutput(1, indices);
}

/// The slices, or without an axis the elements, that a vector of booleans
/// marks; it may be shorter than the dimension.
static void importCompress(NodeImporter &node) {
  std::optional<int64_t> axis = node.intAttr("axis");
  Value input = node.input(0), marks = node.input(1);
  if (!input || !node.checkType(marks, node.attrs().getI1Type(), "input 1") ||
      !node.checkRank(marks, 1, "input 1"))
    return;
  if (!axis)
    input = node.reshape(input, {-1});
  int64_t dim = node.normalizeAxis(axis.value_or(0), node.rank(input));
  Value places = node.create<NonZeroOp>(marks, {}, node.attrs().getI64Type());
  node.setOutput(node.create<GatherOp>({input, node.squeeze(places, {0})},
                                       node.i64("axis", dim)));
}

/// The first elements of each sequence, as many as its length says, in reverse.
static void importReverseSequence(NodeImporter &node) {
  int64_t batchAxis = node.intAttr("batch_axis", 1);
  int64_t timeAxis = node.intAttr("time_axis", 0);
  Value input = node.input(0), lengths = inputIndices(node, 1, true);
  if (!input || !lengths || !node.checkRank(lengths, 1, "input 1"))
    return;
  batchAxis = node.normalizeAxis(batchAxis, node.rank(input), "batch_axis");
  timeAxis = node.normalizeAxis(timeAxis, node.rank(input), "time_axis");
  if (batchAxis + timeAxis != 1) {
    node.emitError() << "has batch_axis " << batchAxis << " and time_axis "
                     << timeAxis << ", expected 0 and 1, or 1 and 0";
    return;
  }
  Value steps = node.iota(node.dimScalar(input, timeAxis));
  lengths = node.unsqueeze(lengths, {timeAxis});
  steps = node.unsqueeze(steps, {batchAxis});
  Value isReversed = node.compare(ComparePredicate::lt, steps, lengths);
  Value last = node.create<SubOp>({lengths, node.index(1)});
  Value places = node.create<SelectOp>(
      {isReversed, node.create<SubOp>({last, steps}), steps}, {},
      node.attrs().getI64Type());
  SmallVector<int64_t> trailing =
      llvm::to_vector(llvm::seq<int64_t>(2, node.rank(input)));
  places = node.create<BroadcastToOp>(
      {node.unsqueeze(places, trailing), node.shapeOf(input)});
  node.setOutput(node.create<GatherElementsOp>({input, places},
                                               node.i64("axis", timeAxis)));
}

/// A cache with new rows of each sequence written from `write_indices` on;
/// "circular" ones go on at the beginning.
static void importTensorScatter(NodeImporter &node) {
  std::string mode = node.stringAttr("mode", "linear");
  int64_t axis = node.intAttr("axis", -2);
  Value cache = node.input(0), update = node.input(1);
  if (!node.checkSameType({cache, update}))
    return;
  int64_t rank = node.rank(cache);
  axis = node.normalizeAxis(axis, rank);
  if (axis == 0 || !node.checkRank(update, rank, "input 1") ||
      (mode != "linear" && mode != "circular")) {
    node.emitError() << "has mode '" << mode << "' and axis " << axis
                     << ", expected 'linear' or 'circular' and an axis behind "
                     << "the batch";
    return;
  }
  // As if the batch and the axis were the first dimensions.
  SmallVector<int64_t> permutation{0, axis}, inverse(rank);
  for (int64_t dim = 1; dim < rank; ++dim)
    if (dim != axis)
      permutation.push_back(dim);
  for (auto [to, from] : llvm::enumerate(permutation))
    inverse[from] = static_cast<int64_t>(to);
  Value rows = node.iota(node.dimScalar(update, axis));
  if (node.hasInput(2)) {
    Value begins = inputIndices(node, 2, true);
    if (!node.checkRank(begins, 1, "input 2"))
      return;
    rows = node.create<AddOp>({rows, node.unsqueeze(begins, {1})});
  }
  if (mode == "circular")
    rows = node.create<ModOp>({rows, node.dimScalar(cache, axis)});
  Value batches = node.iota(node.dimScalar(update, 0));
  Value shape =
      node.concat({node.dimVector(update, 0), node.dimVector(update, axis)}, 0);
  auto spread = [&](Value indices) {
    return node.unsqueeze(node.create<BroadcastToOp>({indices, shape}), {2});
  };
  Value places =
      node.concat({spread(node.unsqueeze(batches, {1})), spread(rows)}, 2);
  Value result =
      node.create<ScatterNDOp>({node.transpose(cache, permutation), places,
                                node.transpose(update, permutation)});
  node.setOutput(node.transpose(result, inverse));
}

static void importNonZero(NodeImporter &node) {
  node.setOutput(
      node.create<NonZeroOp>(node.input(0), {}, node.attrs().getI64Type()));
}

/// `indices == iota(depth)` along a new axis chooses between the two values.
static void importOneHot(NodeImporter &node) {
  int64_t axis = node.intAttr("axis", -1);
  Type i64 = node.attrs().getI64Type();
  Value indices = node.input(0), depth = node.input(1), values = node.input(2);
  if (!node.checkRank(values, 1, "input 2") || !indices || !depth)
    return;
  int64_t rank = node.rank(indices) + 1;
  axis = node.normalizeAxis(axis, rank);
  if (node.rank(depth) == 1)
    depth = node.squeeze(depth, {0});
  depth = node.cast(depth, i64);
  indices = node.cast(indices, i64);
  // Negative indices count from the end.
  Value isNegative = node.compare(ComparePredicate::lt, indices, node.index(0));
  Value wrapped = node.create<AddOp>({indices, depth});
  indices = node.create<SelectOp>({isNegative, wrapped, indices}, {}, i64);
  Value places = node.alongAxis(node.iota(depth), axis, rank);
  Value isHot = node.compare(ComparePredicate::eq,
                             node.unsqueeze(indices, {axis}), places);
  Value off = node.squeeze(node.slice(values, 0, 0, 1), {0});
  Value on = node.squeeze(node.slice(values, 0, 1, 2), {0});
  node.setOutput(
      node.create<SelectOp>({isHot, on, off}, {}, node.elementType(values)));
}

void nju::onnx_import::registerIndexingOps(OpRegistry &registry) {
  registry.add("Compress", 9, 2, importCompress);
  registry.add("Gather", 1, 2, importGather<GatherOp>);
  registry.add("GatherElements", 11, 2, importGather<GatherElementsOp>);
  registry.add("GatherND", 11, 2, importGatherND);
  registry.add("NonZero", 9, 1, importNonZero);
  registry.add("OneHot", 9, 3, importOneHot);
  registry.add("ReverseSequence", 10, 2, importReverseSequence);
  registry.add("Scatter", 9, 3, importScatterElements);
  registry.add("ScatterElements", 11, 3, importScatterElements);
  registry.add("ScatterND", 11, 3, importScatterND);
  registry.add("TensorScatter", 24, {2, 3}, importTensorScatter);
  registry.add("TopK", 1, {1, 2}, importTopK);
}
