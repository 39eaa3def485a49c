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
  if (!value)
    return {};
  Type type = node.elementType(value);
  if (!type.isInteger() || type.isInteger(1)) {
    node.emitError() << "input " << index << " is " << value.getType()
                     << ", expected a tensor of integers";
    return {};
  }
  if (!onlyI64 && type.isSignlessInteger(32))
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

/// Refuses scatters that combine an update with what was there.
static bool replaces(NodeImporter &node) {
  std::string reduction = node.stringAttr("reduction", "none");
  if (reduction == "none")
    return true;
  node.emitError() << "has reduction '" << reduction << "', expected 'none'";
  return false;
}

static void importScatterND(NodeImporter &node) {
  if (!replaces(node))
    return;
  Value input = node.input(0), indices = inputIndices(node, 1, true);
  Value updates = node.input(2);
  if (node.checkSameType({input, updates}))
    node.setOutput(node.create<ScatterNDOp>({input, indices, updates}));
}

/// scatter_nd with the full index vector of each element: the place of the
/// element in `indices`, but for `axis`, where it is the index itself.
static void importScatterElements(NodeImporter &node) {
  int64_t axis = node.intAttr("axis", 0);
  if (!replaces(node))
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
  node.setOutput(
      node.create<ScatterNDOp>({input, node.concat(places, rank), updates}));
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
  SmallVector<int64_t> trailing;
  for (int64_t dim = 1; dim < rank - axis; ++dim)
    trailing.push_back(dim);
  Value places = node.unsqueeze(node.iota(depth), trailing);
  Value isHot = node.compare(ComparePredicate::eq,
                             node.unsqueeze(indices, {axis}), places);
  Value off = node.squeeze(node.slice(values, 0, 0, 1), {0});
  Value on = node.squeeze(node.slice(values, 0, 1, 2), {0});
  node.setOutput(
      node.create<SelectOp>({isHot, on, off}, {}, node.elementType(values)));
}

void nju::onnx_import::registerIndexingOps(OpRegistry &registry) {
  registry.add("Gather", 1, 2, importGather<GatherOp>);
  registry.add("GatherElements", 11, 2, importGather<GatherElementsOp>);
  registry.add("GatherND", 11, 2, importGatherND);
  registry.add("NonZero", 9, 1, importNonZero);
  registry.add("OneHot", 9, 3, importOneHot);
  registry.add("Scatter", 9, 3, importScatterElements);
  registry.add("ScatterElements", 11, 3, importScatterElements);
  registry.add("ScatterND", 11, 3, importScatterND);
}
