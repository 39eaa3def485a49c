//===- Sequence.cpp - Sequences of ONNX -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// Sequences exist at import only: their lengths and the positions that are
// looked up must be known.
#include "NodeImporter.h"

using namespace mlir;
using namespace nju;
using namespace nju::onnx_import;

static void importSequenceConstruct(NodeImporter &node) {
  node.setOutputSequence(0, node.inputs());
}

static void importSequenceEmpty(NodeImporter &node) {
  node.ignoreAttr("dtype");
  node.setOutputSequence(0, {});
}

/// The position that input `index` names, of `size` allowed ones.
static int64_t position(NodeImporter &node, int index, int64_t size) {
  return node.normalizeAxis(node.requireInt(index, "position"), size,
                            "position");
}

static void importSequenceAt(NodeImporter &node) {
  SmallVector<Value> values = node.inputSequence(0);
  int64_t index = position(node, 1, static_cast<int64_t>(values.size()));
  if (!node.hasFailed())
    node.setOutput(values[index]);
}

static void importSequenceInsert(NodeImporter &node) {
  SmallVector<Value> values = node.inputSequence(0);
  Value value = node.input(1);
  auto size = static_cast<int64_t>(values.size());
  int64_t index = node.hasInput(2) ? node.requireInt(2, "position") : size;
  // The end is a position too, but negative ones count from the last element.
  if (index != size)
    index = node.normalizeAxis(index, size, "position");
  if (node.hasFailed())
    return;
  values.insert(values.begin() + index, value);
  node.setOutputSequence(0, values);
}

static void importSequenceErase(NodeImporter &node) {
  SmallVector<Value> values = node.inputSequence(0);
  auto size = static_cast<int64_t>(values.size());
  int64_t index = node.hasInput(1) ? position(node, 1, size) : size - 1;
  if (node.hasFailed())
    return;
  if (values.empty()) {
    node.emitError() << "erases from an empty sequence";
    return;
  }
  values.erase(values.begin() + index);
  node.setOutputSequence(0, values);
}

static void importSequenceLength(NodeImporter &node) {
  SmallVector<Value> values = node.inputSequence(0);
  node.setOutput(node.index(static_cast<int64_t>(values.size())));
}

static void importConcatFromSequence(NodeImporter &node) {
  std::optional<int64_t> axis = node.intAttr("axis");
  bool newAxis = node.boolAttr("new_axis");
  SmallVector<Value> values = node.inputSequence(0);
  if (node.hasFailed() || !node.checkSameType(values))
    return;
  if (values.empty() || !axis) {
    node.emitError() << "joins an empty sequence or has no axis";
    return;
  }
  int64_t rank = node.rank(values[0]) + (newAxis ? 1 : 0);
  int64_t dim = node.normalizeAxis(*axis, rank);
  if (newAxis)
    for (Value &value : values)
      value = node.unsqueeze(value, {dim});
  node.setOutput(node.concat(values, dim));
}

/// Sizes of the parts of a dimension: `split` each, or those of a vector.
static std::optional<SmallVector<int64_t>> readParts(NodeImporter &node,
                                                     int64_t dim) {
  Value split = node.input(1);
  if (!split)
    return node.hasFailed()
               ? std::nullopt
               : std::optional(SmallVector<int64_t>(dim, int64_t(1)));
  SmallVector<int64_t> sizes = node.requireInts(1, "split");
  if (node.hasFailed())
    return std::nullopt;
  if (node.rank(split) == 1)
    return sizes;
  int64_t size = sizes.empty() ? 0 : sizes[0];
  if (size <= 0) {
    node.emitError() << "splits into parts of " << size
                     << ", expected 1 or more";
    return std::nullopt;
  }
  sizes.clear();
  for (int64_t start = 0; start < dim; start += size)
    sizes.push_back(std::min(size, dim - start));
  return sizes;
}

static void importSplitToSequence(NodeImporter &node) {
  constexpr int64_t kMostParts = 65536;
  int64_t axis = node.intAttr("axis", 0);
  bool keepDims = node.boolAttr("keepdims", true);
  Value input = node.input(0);
  if (!input)
    return;
  axis = node.normalizeAxis(axis, node.rank(input));
  std::optional<int64_t> dim = node.staticDim(input, axis);
  if (!dim || *dim > kMostParts) {
    node.emitError() << "splits dimension " << axis << " of " << input.getType()
                     << ", expected a static one of at most " << kMostParts;
    return;
  }
  auto sizes = readParts(node, *dim);
  if (!sizes)
    return;
  int64_t start = 0;
  SmallVector<Value> values;
  for (int64_t size : *sizes) {
    if (size < 0 || size > *dim - start)
      break;
    Value value = node.slice(input, axis, start, start + size);
    // keepdims only matters if the parts are not given.
    if (!keepDims && !node.hasInput(1))
      value = node.squeeze(value, {axis});
    values.push_back(value);
    start += size;
  }
  if (values.size() != sizes->size() || start != *dim) {
    node.emitError() << "has parts of [" << *sizes << "], which are not "
                     << "those of dimension " << axis << " of "
                     << input.getType();
    return;
  }
  node.setOutputSequence(0, values);
}

void nju::onnx_import::registerSequenceOps(OpRegistry &registry) {
  registry.add("ConcatFromSequence", 11, 1, importConcatFromSequence);
  registry.add("SequenceAt", 11, 2, importSequenceAt);
  registry.add("SequenceConstruct", 11, {1, Arity::kAny},
               importSequenceConstruct);
  registry.add("SequenceEmpty", 11, 0, importSequenceEmpty);
  registry.add("SequenceErase", 11, {1, 2}, importSequenceErase);
  registry.add("SequenceInsert", 11, {2, 3}, importSequenceInsert);
  registry.add("SequenceLength", 11, 1, importSequenceLength);
  registry.add("SplitToSequence", 11, {1, 2}, importSplitToSequence);
}
