//===- Convolution.cpp - Convolutions of ONNX -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A convolution is a matrix product with the elements of its windows, each
// window being a row.
//
//===----------------------------------------------------------------------===//

#include "Windows.h"

using namespace mlir;
using namespace nju;
using namespace nju::onnx_import;

namespace {
/// A convolution of `input` `[N, groups * depth, s1, ...]` by `weight`
/// `[groups * filters, depth, k1, ...]`.
struct Convolution {
  Value input, weight, bias;
  int64_t groups, filters, depth;
  Windows windows;

  int64_t getRank() const { return windows.getRank(); }
  int64_t getWindowSize() const {
    int64_t size = 1;
    for (const Window &window : windows.get())
      size *= window.size;
    return size;
  }
};

/// The shape of a weight `[outer, inner, k1, ...]`.
struct WeightShape {
  int64_t outer, inner;
  SmallVector<int64_t> kernel;
};
} // namespace

static std::optional<WeightShape> readWeightShape(NodeImporter &node,
                                                  Value input, Value weight) {
  if (!input || !weight || !node.checkRank(weight, node.rank(input), "input 1"))
    return std::nullopt;
  SmallVector<int64_t> dims;
  for (int64_t dim = 0; dim < node.rank(weight); ++dim)
    if (std::optional<int64_t> size = node.staticDim(weight, dim))
      dims.push_back(*size);
  if (node.rank(weight) < 3 ||
      static_cast<int64_t>(dims.size()) != node.rank(weight)) {
    node.emitError() << "input 1 is " << weight.getType()
                     << ", expected a static shape of rank 3 or more";
    return std::nullopt;
  }
  return WeightShape{dims[0], dims[1],
                     SmallVector<int64_t>(llvm::drop_begin(dims, 2))};
}

/// The attribute `group`, which divides `divided`; the channels of the input
/// have to be `channels` times as many. 0 after an error.
static int64_t readGroups(NodeImporter &node, Value input, int64_t divided,
                          std::optional<int64_t> depth) {
  int64_t groups = node.intAttr("group", 1);
  if (groups < 1 || divided % groups) {
    node.emitError() << "attribute 'group' is " << groups
                     << ", expected a divisor of dimension 0 of input 1, "
                     << divided;
    return 0;
  }
  int64_t channels = depth ? groups * *depth : divided;
  std::optional<int64_t> found = node.staticDim(input, 1);
  if (!found || *found == channels)
    return groups;
  node.emitError() << "input 0 has " << *found << " channels, expected "
                   << channels << " by group and input 1";
  return 0;
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

/// The permutation of `[N, C, o1, k1, o2, k2, ...]` to `[N, o..., C, k...]`.
static SmallVector<int64_t> windowsToRows(int64_t rank) {
  SmallVector<int64_t> permutation{0};
  for (int64_t i = 0; i < rank; ++i)
    permutation.push_back(Windows::kFirstDim + 2 * i);
  permutation.push_back(1);
  for (int64_t i = 0; i < rank; ++i)
    permutation.push_back(Windows::kFirstDim + 2 * i + 1);
  return permutation;
}

/// `[N, o..., sizes...]` of a value `[N, o..., ...]`.
static Value reshapeRows(NodeImporter &node, Value value, int64_t rank,
                         ArrayRef<int64_t> sizes) {
  SmallVector<Value> dims;
  for (int64_t dim = 0; dim <= rank; ++dim)
    dims.push_back(node.dimVector(value, dim));
  for (int64_t size : sizes)
    dims.push_back(node.constant({size}));
  return node.reshape(value, dims);
}

/// Each channel by a filter of its own: `[N, C, o...]`.
static Value emitDepthwise(NodeImporter &node, const Convolution &conv,
                           Value elements) {
  SmallVector<int64_t> shape{conv.groups};
  for (const Window &window : conv.windows.get())
    shape.append({1, window.size});
  Value weight = node.reshape(conv.weight, shape);
  return node.reduce<ReduceSumOp>(node.create<MulOp>({elements, weight}),
                                  conv.windows.getElementDims(), false);
}

/// `[N, o..., C]`.
static Value emitRows(NodeImporter &node, const Convolution &conv,
                      Value elements) {
  int64_t rank = conv.getRank(), depth = conv.depth * conv.getWindowSize();
  Value rows = node.transpose(elements, windowsToRows(rank));
  if (conv.groups == 1) {
    rows = reshapeRows(node, rows, rank, {depth});
    Value matrix = node.reshape(conv.weight, {conv.filters, depth});
    return node.create<MatMulOp>({rows, node.transpose(matrix, {1, 0})});
  }
  rows = reshapeRows(node, rows, rank, {conv.groups, 1, depth});
  Value matrices =
      node.reshape(conv.weight, {conv.groups, conv.filters, depth});
  Value product =
      node.create<MatMulOp>({rows, node.transpose(matrices, {0, 2, 1})});
  return reshapeRows(node, product, rank, {conv.groups * conv.filters});
}

static Value emitConvolution(NodeImporter &node, const Convolution &conv) {
  Value padded =
      conv.windows.pad(node, conv.input, node.scalarLike(conv.input, 0), true);
  Value elements = conv.windows.unfold(node, padded);
  int64_t rank = conv.getRank();
  if (conv.depth == 1 && conv.filters == 1) {
    Value result = emitDepthwise(node, conv, elements);
    if (!conv.bias)
      return result;
    return node.create<AddOp>(
        {result, node.alongAxis(conv.bias, 1, Windows::kFirstDim + rank)});
  }
  Value result = emitRows(node, conv, elements);
  if (conv.bias)
    result = node.create<AddOp>({result, conv.bias});
  SmallVector<int64_t> permutation{0, rank + 1};
  llvm::append_range(permutation, llvm::seq<int64_t>(1, rank + 1));
  return node.transpose(result, permutation);
}

/// Reads the attributes of a convolution of these operands.
static std::optional<Convolution> readConvolution(NodeImporter &node,
                                                  Value input, Value weight) {
  auto shape = readWeightShape(node, input, weight);
  if (!shape)
    return std::nullopt;
  int64_t groups = readGroups(node, input, shape->outer, shape->inner);
  auto windows = Windows::read(node, input, shape->kernel);
  if (!groups || !windows)
    return std::nullopt;
  return Convolution{
      input,        weight,  Value(), groups, shape->outer / groups,
      shape->inner, *windows};
}

static bool checkOperands(NodeImporter &node, Value input, Value weight,
                          Value bias) {
  return node.checkFloat(input, "input 0") &&
         node.checkSameType({input, weight}) &&
         (!bias || (node.checkRank(bias, 1, "input 2") &&
                    node.checkSameType({input, bias})));
}

static void importConv(NodeImporter &node) {
  Value input = node.input(0), weight = node.input(1), bias = node.input(2);
  if (!checkOperands(node, input, weight, bias))
    return;
  auto conv = readConvolution(node, input, weight);
  if (!conv)
    return;
  conv->bias = bias;
  node.setOutput(emitConvolution(node, *conv));
}

//===----------------------------------------------------------------------===//
// Transposed convolutions
//===----------------------------------------------------------------------===//

/// `stride - 1` zeros between the elements of a dimension.
static Value spread(NodeImporter &node, Value value, int64_t dim,
                    int64_t stride) {
  if (stride == 1)
    return value;
  int64_t rank = node.rank(value);
  SmallVector<int64_t> pads(2 * (rank + 1), 0);
  pads[rank + 1 + dim + 1] = stride - 1;
  Value padded =
      node.create<PadOp>({node.unsqueeze(value, {dim + 1}), node.constant(pads),
                          node.scalarLike(value, 0)});
  SmallVector<Value> dims;
  for (int64_t i = 0; i < rank; ++i) {
    Value size = node.dimVector(value, i);
    dims.push_back(
        i == dim ? node.create<MulOp>({size, node.constant({stride})}) : size);
  }
  return node.slice(node.reshape(padded, dims), dim, 0, 1 - stride);
}

/// The weight `[C, filters, k...]` of the input's side as that of the output's,
/// `[groups * filters, C / groups, k...]`, the windows mirrored.
static Value turnWeight(NodeImporter &node, Value weight,
                        const WeightShape &shape, int64_t groups) {
  auto rank = static_cast<int64_t>(shape.kernel.size());
  SmallVector<int64_t> split{groups, shape.outer / groups, shape.inner},
      joined{groups * shape.inner, shape.outer / groups}, permutation{0, 2, 1};
  for (int64_t i = 0; i < rank; ++i) {
    split.push_back(shape.kernel[i]);
    joined.push_back(shape.kernel[i]);
    permutation.push_back(3 + i);
    weight = node.slice(weight, Windows::kFirstDim + i, -1,
                        std::numeric_limits<int64_t>::min(), -1);
  }
  return node.reshape(node.transpose(node.reshape(weight, split), permutation),
                      joined);
}

/// Pads by which the output of each dimension has its size: those of the
/// attributes, or those that `output_shape` or `auto_pad` ask for.
static bool readTransposedPads(NodeImporter &node, Value input,
                               SmallVector<Window> &windows) {
  auto rank = static_cast<int64_t>(windows.size());
  SmallVector<int64_t> more =
      node.intsAttr("output_padding").value_or(SmallVector<int64_t>(rank, 0));
  auto shape = node.intsAttr("output_shape");
  std::string mode = node.stringAttr("auto_pad", "NOTSET");
  bool isSame = mode == "SAME_UPPER" || mode == "SAME_LOWER";
  if (static_cast<int64_t>(more.size()) != rank ||
      (shape && static_cast<int64_t>(shape->size()) != rank)) {
    node.emitError() << "has 'output_padding' or 'output_shape' of another "
                     << "length than " << rank;
    return false;
  }
  for (int64_t i = 0; i < rank; ++i) {
    Window &window = windows[i];
    window.extra = more[i];
    if (!shape && !isSame)
      continue;
    std::optional<int64_t> size = node.staticDim(input, Windows::kFirstDim + i);
    if (!size) {
      node.emitError() << "has output_shape or auto_pad, and input 0 is "
                       << input.getType() << ", expected static dimensions";
      return false;
    }
    int64_t wanted = shape ? (*shape)[i] : *size * window.stride;
    int64_t total = (*size - 1) * window.stride + window.extra +
                    window.getExtent() - wanted;
    // What is missing is added at the end.
    window.extra += std::max<int64_t>(-total, 0);
    total = std::max<int64_t>(total, 0);
    window.padBegin = mode == "SAME_UPPER" ? total / 2 : total - total / 2;
    window.padEnd = total - window.padBegin;
  }
  return true;
}

/// A convolution over the input with zeros between its elements.
static void importConvTranspose(NodeImporter &node) {
  Value input = node.input(0), weight = node.input(1), bias = node.input(2);
  if (!checkOperands(node, input, weight, bias))
    return;
  auto shape = readWeightShape(node, input, weight);
  if (!shape)
    return;
  int64_t groups = readGroups(node, input, shape->outer, std::nullopt);
  auto read = Windows::readUnpadded(node, input, shape->kernel);
  if (!groups || !read)
    return;
  SmallVector<Window> windows(read->get());
  if (!readTransposedPads(node, input, windows))
    return;
  for (auto [i, window] : llvm::enumerate(windows)) {
    input = spread(node, input, Windows::kFirstDim + int64_t(i), window.stride);
    int64_t border = window.getExtent() - 1;
    window.padBegin = border - window.padBegin;
    window.padEnd = border - window.padEnd + window.extra;
    window.stride = 1;
    window.extra = 0;
  }
  node.setOutput(emitConvolution(
      node, {input, turnWeight(node, weight, *shape, groups), bias, groups,
             shape->inner, shape->outer / groups, Windows(windows)}));
}

void nju::onnx_import::registerConvolutionOps(OpRegistry &registry) {
  registry.add("Conv", 1, {2, 3}, importConv);
  registry.add("ConvTranspose", 1, {2, 3}, importConvTranspose);
}
