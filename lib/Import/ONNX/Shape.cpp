//===- Shape.cpp - Shapes and data movement of ONNX -*- C++ -*-===//
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

/// A shape-like input: an i64 vector.
static Value inputVector(NodeImporter &node, int index) {
  Value value = node.input(index);
  std::string what = "input " + std::to_string(index);
  if (!node.checkType(value, node.attrs().getI64Type(), what) ||
      !node.checkRank(value, 1, what))
    return {};
  return value;
}

/// The same where i32 is allowed too.
static Value inputIndexVector(NodeImporter &node, int index) {
  Value value = node.input(index);
  std::string what = "input " + std::to_string(index);
  if (!node.checkRank(value, 1, what))
    return {};
  return node.cast(value, node.attrs().getI64Type());
}

/// Axes that are an attribute before opset `since` and an input since; no value
/// if they are left out.
static std::optional<SmallVector<int64_t>> readAxes(NodeImporter &node,
                                                    int64_t since, int index) {
  if (node.opset() < since)
    return node.intsAttr("axes");
  if (!node.hasInput(index))
    return std::nullopt;
  return node.requireInts(index, "axes");
}

//===----------------------------------------------------------------------===//
// Shapes
//===----------------------------------------------------------------------===//

static void importShape(NodeImporter &node) {
  Value input = node.input(0);
  int64_t rank = node.rank(input);
  auto clamp = [&](int64_t bound) {
    return std::min(std::max<int64_t>(bound < 0 ? bound + rank : bound, 0),
                    rank);
  };
  int64_t start = clamp(node.intAttr("start", 0));
  int64_t end = clamp(node.intAttr("end", rank));
  Value shape = node.shapeOf(input);
  if (start != 0 || end != rank)
    shape = node.slice(shape, 0, start, std::max(start, end));
  node.setOutput(shape);
}

static void importSize(NodeImporter &node) {
  node.setOutput(
      node.reduce<ReduceProdOp>(node.shapeOf(node.input(0)), {0}, false));
}

static void importReshape(NodeImporter &node) {
  bool allowZero = node.boolAttr("allowzero");
  Value input = node.input(0), shape = inputVector(node, 1);
  SmallVector<NamedAttribute> attributes;
  if (allowZero)
    attributes.push_back(node.unit("allow_zero"));
  node.setOutput(node.create<ReshapeOp>({input, shape}, attributes));
}

static void importFlatten(NodeImporter &node) {
  Value input = node.input(0);
  int64_t rank = node.rank(input);
  // Axis `rank` itself is allowed.
  int64_t axis = node.intAttr("axis", 1);
  axis = axis == rank ? rank : node.normalizeAxis(axis, rank);
  node.setOutput(node.flatten(input, axis));
}

static void importSqueeze(NodeImporter &node) {
  auto axes = readAxes(node, 13, 1);
  Value input = node.input(0);
  if (!input)
    return;
  if (axes)
    return node.setOutput(
        node.squeeze(input, node.normalizeAxes(*axes, node.rank(input))));
  SmallVector<int64_t> ones;
  for (auto [i, dim] : llvm::enumerate(node.dims(input))) {
    if (dim.isConstant(1))
      ones.push_back(static_cast<int64_t>(i));
    else if (!dim.isConstant() && !dim.isAtLeast(2))
      node.emitError() << "has no axes, but input 0 is " << input.getType()
                       << ", of which dimension " << i
                       << " may be 1; expected axes";
  }
  node.setOutput(node.squeeze(input, ones));
}

static void importUnsqueeze(NodeImporter &node) {
  auto axes = readAxes(node, 13, 1);
  Value input = node.input(0);
  if (!input)
    return;
  if (!axes) {
    node.emitError() << "has no axes, expected some";
    return;
  }
  int64_t rank = node.rank(input) + static_cast<int64_t>(axes->size());
  node.setOutput(node.unsqueeze(input, node.normalizeAxes(*axes, rank)));
}

static void importExpand(NodeImporter &node) {
  Value input = node.input(0), shape = inputVector(node, 1);
  node.setOutput(node.create<BroadcastToOp>({input, shape}));
}

//===----------------------------------------------------------------------===//
// Data movement
//===----------------------------------------------------------------------===//

static void importTranspose(NodeImporter &node) {
  auto permutation = node.intsAttr("perm");
  Value input = node.input(0);
  if (!input)
    return;
  int64_t rank = node.rank(input);
  if (!permutation)
    permutation = llvm::to_vector(llvm::reverse(llvm::seq<int64_t>(0, rank)));
  SmallVector<int64_t> sorted = node.normalizeAxes(*permutation, rank);
  if (!node.hasFailed() && static_cast<int64_t>(sorted.size()) != rank)
    node.emitError() << "has " << sorted.size() << " entries in 'perm', "
                     << "expected " << rank;
  for (int64_t &dim : *permutation)
    dim = dim < 0 ? dim + rank : dim;
  node.setOutput(node.transpose(input, *permutation));
}

static void importConcat(NodeImporter &node) {
  std::optional<int64_t> axis = node.intAttr("axis");
  SmallVector<Value> inputs = node.inputs();
  if (!node.checkSameType(inputs))
    return;
  if (!axis) {
    node.emitError() << "has no attribute 'axis'";
    return;
  }
  node.setOutput(
      node.concat(inputs, node.normalizeAxis(*axis, node.rank(inputs[0]))));
}

/// The bounds are attributes before opset 10 and inputs since.
static void importSlice(NodeImporter &node) {
  Value input = node.input(0), starts, ends, steps;
  std::optional<SmallVector<int64_t>> axes;
  if (node.opset() < 10) {
    auto startInts = node.intsAttr("starts"), endInts = node.intsAttr("ends");
    axes = node.intsAttr("axes");
    if (!startInts || !endInts) {
      node.emitError() << "has no starts or no ends, expected both";
      return;
    }
    starts = node.constant(*startInts);
    ends = node.constant(*endInts);
  } else {
    starts = inputIndexVector(node, 1);
    ends = inputIndexVector(node, 2);
    if (node.hasInput(3))
      axes = node.requireInts(3, "axes");
    if (node.hasInput(4))
      steps = inputIndexVector(node, 4);
  }
  std::optional<int64_t> count = node.staticDim(starts, 0);
  if (node.hasFailed())
    return;
  if (!count) {
    node.emitError() << "has starts of " << starts.getType()
                     << ", expected a static number of them";
    return;
  }
  if (!axes)
    axes = llvm::to_vector(llvm::seq<int64_t>(0, *count));
  if (!steps)
    steps = node.constant(SmallVector<int64_t>(axes->size(), 1));
  for (int64_t &axis : *axes)
    axis = node.normalizeAxis(axis, node.rank(input));
  if (axes->empty())
    return node.setOutput(input);
  node.setOutput(node.create<SliceOp>({input, starts, ends, steps},
                                      node.array("axes", *axes)));
}

/// Split with sizes that are known here.
static void splitStatic(NodeImporter &node, Value input, int64_t axis,
                        ArrayRef<int64_t> sizes) {
  int64_t start = 0;
  for (auto [i, size] : llvm::enumerate(sizes)) {
    if (size < 0) {
      node.emitError() << "has a part of size " << size << ", expected 0 or "
                       << "more";
      return;
    }
    node.setOutput(static_cast<int>(i),
                   node.slice(input, axis, start, start + size));
    start += size;
  }
  std::optional<int64_t> dim = node.staticDim(input, axis);
  if (dim && *dim != start)
    node.emitError() << "has parts of " << start << " in all, but dimension "
                     << axis << " of " << input.getType() << " is " << *dim;
}

/// Split into parts whose sizes are the elements of a vector.
static void splitDynamic(NodeImporter &node, Value input, int64_t axis,
                         Value sizes) {
  Value ends = node.create<CumSumOp>(sizes, node.i64("axis", 0));
  Value starts = node.create<SubOp>({ends, sizes});
  for (int i = 0; i < node.numOutputs(); ++i)
    node.setOutput(i, node.slice(input, axis, node.slice(starts, 0, i, i + 1),
                                 node.slice(ends, 0, i, i + 1)));
}

/// Split into `count` equal parts, of which the last may be smaller.
static void splitEvenly(NodeImporter &node, Value input, int64_t axis,
                        int64_t count) {
  std::optional<int64_t> dim = node.staticDim(input, axis);
  if (dim) {
    int64_t part = llvm::divideCeil(*dim, count), start = 0;
    SmallVector<int64_t> sizes;
    for (int64_t i = 0; i < count; ++i, start += part)
      sizes.push_back(std::max<int64_t>(std::min(part, *dim - start), 0));
    return splitStatic(node, input, axis, sizes);
  }
  Value total = node.dimVector(input, axis);
  Value part = node.create<DivOp>(
      {node.create<AddOp>({total, node.constant({count - 1})}),
       node.constant({count})});
  for (int64_t i = 0; i < count; ++i) {
    Value start = node.create<MulOp>({part, node.constant({i})});
    Value end = i + 1 == count ? total : node.create<AddOp>({start, part});
    node.setOutput(static_cast<int>(i), node.slice(input, axis, start, end));
  }
}

/// The sizes are an attribute before opset 13 and an input since.
static void importSplit(NodeImporter &node) {
  int64_t axis = node.intAttr("axis", 0);
  auto numOutputs =
      node.opset() >= 18 ? node.intAttr("num_outputs") : std::nullopt;
  Value input = node.input(0);
  if (!input)
    return;
  axis = node.normalizeAxis(axis, node.rank(input));
  std::optional<SmallVector<int64_t>> sizes;
  Value sizesInput;
  if (node.opset() < 13)
    sizes = node.intsAttr("split");
  else if (node.hasInput(1)) {
    sizesInput = inputVector(node, 1);
    sizes = node.constantInts(sizesInput);
  }
  if (node.hasFailed())
    return;
  int64_t count = node.numOutputs();
  int64_t parts =
      sizes ? static_cast<int64_t>(sizes->size()) : numOutputs.value_or(count);
  if (parts != count) {
    node.emitError() << "is split into " << parts << " parts, but has " << count
                     << " outputs";
    return;
  }
  if (sizes)
    splitStatic(node, input, axis, *sizes);
  else if (sizesInput)
    splitDynamic(node, input, axis, sizesInput);
  else
    splitEvenly(node, input, axis, count);
}

static void importTile(NodeImporter &node) {
  Value input = node.input(0), repeats = inputVector(node, 1);
  node.setOutput(node.create<TileOp>({input, repeats}));
}

/// Pads of some axes only as pads of all.
static Value expandPads(NodeImporter &node, Value pads, ArrayRef<int64_t> axes,
                        int64_t rank) {
  auto count = static_cast<int64_t>(axes.size());
  Value zero = node.constant({0});
  SmallVector<Value> all(2 * rank, zero);
  for (auto [i, axis] : llvm::enumerate(axes)) {
    auto place = static_cast<int64_t>(i);
    all[axis] = node.slice(pads, 0, place, place + 1);
    all[rank + axis] = node.slice(pads, 0, count + place, count + place + 1);
  }
  return node.concat(all, 0);
}

/// The pads are attributes before opset 11 and inputs since.
static void importPad(NodeImporter &node) {
  std::string mode = node.stringAttr("mode", "constant");
  Value input = node.input(0), pads, value;
  if (!input)
    return;
  if (mode != "constant") {
    node.emitError() << "has mode '" << mode << "', expected 'constant'";
    return;
  }
  if (node.opset() < 11) {
    auto ints = node.intsAttr("pads");
    if (ints)
      pads = node.constant(*ints);
    else
      node.emitError() << "has no attribute 'pads'";
    value = node.scalarLike(input, node.floatAttr("value", 0));
  } else {
    pads = inputVector(node, 1);
    value = node.input(2);
    if (!value)
      value = node.scalarLike(input, 0);
  }
  if (node.rank(value) == 1)
    value = node.squeeze(value, {0});
  if (!node.checkSameType({input, value}))
    return;
  if (node.hasInput(3)) {
    SmallVector<int64_t> axes = node.requireInts(3, "axes");
    for (int64_t &axis : axes)
      axis = node.normalizeAxis(axis, node.rank(input));
    if (node.hasFailed())
      return;
    pads = expandPads(node, pads, axes, node.rank(input));
  }
  node.setOutput(node.create<PadOp>({input, pads, value}));
}

//===----------------------------------------------------------------------===//
// Blocks of pixels
//===----------------------------------------------------------------------===//

namespace {
/// How an op splits or joins an image `[N, C, H, W]`.
struct Blocks {
  Value image;
  /// Of a block, in both directions.
  int64_t size;
  /// Whether the channels of a block follow each other ("CRD"), or the blocks
  /// of a channel do ("DCR").
  bool isChannelFirst;
};
} // namespace

static std::optional<Blocks> readBlocks(NodeImporter &node) {
  std::string mode = node.stringAttr("mode", "DCR");
  std::optional<int64_t> size = node.intAttr("blocksize");
  Value image = node.input(0);
  if (!node.checkRank(image, 4, "input 0"))
    return std::nullopt;
  if (mode != "DCR" && mode != "CRD") {
    node.emitError() << "attribute 'mode' is '" << mode
                     << "', expected DCR or CRD";
    return std::nullopt;
  }
  if (!size || *size < 1) {
    node.emitError() << "has no attribute 'blocksize' of at least 1";
    return std::nullopt;
  }
  return Blocks{image, *size, mode == "CRD"};
}

/// A reshape to six dimensions, a permutation, and a reshape to four.
static Value moveBlocks(NodeImporter &node, Value image, ArrayRef<Value> split,
                        ArrayRef<int64_t> permutation, ArrayRef<Value> joined) {
  return node.reshape(node.transpose(node.reshape(image, split), permutation),
                      joined);
}

static void importDepthToSpace(NodeImporter &node) {
  auto blocks = readBlocks(node);
  if (!blocks)
    return;
  auto [image, size, isChannelFirst] = *blocks;
  Value n = node.dimVector(image, 0), h = node.dimVector(image, 2),
        w = node.dimVector(image, 3), b = node.constant({size});
  Value depth = node.create<DivOp>(
      {node.dimVector(image, 1), node.constant({size * size})});
  auto times = [&](Value dim) { return node.create<MulOp>({dim, b}); };
  SmallVector<Value> joined{n, depth, times(h), times(w)};
  node.setOutput(isChannelFirst
                     ? moveBlocks(node, image, {n, depth, b, b, h, w},
                                  {0, 1, 4, 2, 5, 3}, joined)
                     : moveBlocks(node, image, {n, b, b, depth, h, w},
                                  {0, 3, 4, 1, 5, 2}, joined));
}

static void importSpaceToDepth(NodeImporter &node) {
  auto blocks = readBlocks(node);
  if (!blocks)
    return;
  auto [image, size, isChannelFirst] = *blocks;
  Value n = node.dimVector(image, 0), c = node.dimVector(image, 1),
        b = node.constant({size});
  Value h = node.create<DivOp>({node.dimVector(image, 2), b});
  Value w = node.create<DivOp>({node.dimVector(image, 3), b});
  Value depth = node.create<MulOp>({c, node.constant({size * size})});
  SmallVector<int64_t> permutation =
      isChannelFirst ? SmallVector<int64_t>{0, 1, 3, 5, 2, 4}
                     : SmallVector<int64_t>{0, 3, 5, 1, 2, 4};
  node.setOutput(moveBlocks(node, image, {n, c, h, b, w, b}, permutation,
                            {n, depth, h, w}));
}

//===----------------------------------------------------------------------===//
// Tensors made from numbers
//===----------------------------------------------------------------------===//

static void importRange(NodeImporter &node) {
  SmallVector<Value> inputs = node.inputs();
  if (!node.checkSameType(inputs))
    return;
  for (Value &value : inputs)
    if (node.rank(value) == 1)
      value = node.squeeze(value, {0});
  node.setOutput(node.create<RangeOp>(inputs));
}

static void importTrilu(NodeImporter &node) {
  bool upper = node.boolAttr("upper", true);
  Value input = node.input(0), k = node.input(1);
  k = k ? node.cast(k, node.attrs().getI64Type()) : node.index(0);
  if (node.rank(k) == 1)
    k = node.squeeze(k, {0});
  SmallVector<NamedAttribute> attributes;
  if (upper)
    attributes.push_back(node.unit("upper"));
  node.setOutput(node.create<TriluOp>({input, k}, attributes));
}

static void importEyeLike(NodeImporter &node) {
  int64_t k = node.intAttr("k", 0);
  std::optional<int64_t> dataType = node.intAttr("dtype");
  Value input = node.input(0);
  if (!node.checkRank(input, 2, "input 0"))
    return;
  Type type = dataType
                  ? onnx_import::elementType(static_cast<int32_t>(*dataType),
                                             node.graph().getContext())
                  : node.elementType(input);
  if (!type) {
    node.emitError() << "has result type "
                     << dataTypeName(static_cast<int32_t>(*dataType))
                     << ", expected a float, integer or BOOL type of 8 to 64 "
                     << "bits";
    return;
  }
  Value rows = node.unsqueeze(node.iota(node.dimScalar(input, 0)), {1});
  Value columns = node.iota(node.dimScalar(input, 1));
  Value shifted = node.create<AddOp>({rows, node.index(k)});
  node.setOutput(
      node.cast(node.compare(ComparePredicate::eq, shifted, columns), type));
}

static void importCumSum(NodeImporter &node) {
  bool exclusive = node.boolAttr("exclusive");
  bool reverse = node.boolAttr("reverse");
  Value input = node.input(0);
  int64_t axis = node.requireInt(1, "axis");
  if (!input || node.hasFailed())
    return;
  SmallVector<NamedAttribute> attributes{
      node.i64("axis", node.normalizeAxis(axis, node.rank(input)))};
  if (exclusive)
    attributes.push_back(node.unit("exclusive"));
  if (reverse)
    attributes.push_back(node.unit("reverse"));
  node.setOutput(node.create<CumSumOp>(input, attributes));
}

void nju::onnx_import::registerShapeOps(OpRegistry &registry) {
  registry.add("Concat", 4, {1, Arity::kAny}, importConcat);
  registry.add("CumSum", 11, 2, importCumSum);
  registry.add("Expand", 8, 2, importExpand);
  registry.add("DepthToSpace", 1, 1, importDepthToSpace);
  registry.add("EyeLike", 9, 1, importEyeLike);
  registry.add("Flatten", 1, 1, importFlatten);
  registry.add("Pad", 2, {1, 4}, importPad);
  registry.add("Range", 11, 3, importRange);
  registry.add("Reshape", 5, 2, importReshape);
  registry.add("Shape", 1, 1, importShape);
  registry.add("Size", 1, 1, importSize);
  registry.add("Slice", 1, {1, 5}, importSlice);
  registry.add("SpaceToDepth", 1, 1, importSpaceToDepth);
  registry.add("Split", 2, {1, 2}, importSplit);
  registry.add("Squeeze", 1, {1, 2}, importSqueeze);
  registry.add("Tile", 6, 2, importTile);
  registry.add("Transpose", 1, 1, importTranspose);
  registry.add("Trilu", 14, {1, 2}, importTrilu);
  registry.add("Unsqueeze", 1, {1, 2}, importUnsqueeze);
}
