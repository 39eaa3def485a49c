//===- Windows.cpp - Windows that slide over dimensions -*- C++ -*-===//
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

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

/// An attribute of `count` integers that are at least `least`.
static std::optional<SmallVector<int64_t>>
readInts(NodeImporter &node, llvm::StringRef name, int64_t count,
         int64_t defaultValue, int64_t least) {
  SmallVector<int64_t> values = node.intsAttr(name).value_or(
      SmallVector<int64_t>(static_cast<size_t>(count), defaultValue));
  bool fits = static_cast<int64_t>(values.size()) == count &&
              llvm::all_of(values, [&](int64_t v) {
                return v >= least && v < (int64_t(1) << 31);
              });
  if (fits)
    return values;
  node.emitError() << "attribute '" << name << "' is [" << values
                   << "], expected " << count << " integers of at least "
                   << least;
  return std::nullopt;
}

/// Pads with which there are as many windows as elements over the stride.
bool Windows::readAutoPad(NodeImporter &node, Value input) {
  std::string mode = node.stringAttr("auto_pad", "NOTSET");
  if (mode == "NOTSET" || mode == "VALID")
    return true;
  if (mode != "SAME_UPPER" && mode != "SAME_LOWER") {
    node.emitError() << "attribute 'auto_pad' is '" << mode << "', expected "
                     << "NOTSET, VALID, SAME_UPPER or SAME_LOWER";
    return false;
  }
  for (auto [i, window] : llvm::enumerate(windows)) {
    int64_t dim = kFirstDim + static_cast<int64_t>(i);
    std::optional<int64_t> size = node.staticDim(input, dim);
    if (!size && window.stride != 1) {
      node.emitError() << "has auto_pad " << mode << ", and dimension " << dim
                       << " of input 0 is " << input.getType()
                       << ", expected a static one or stride 1";
      return false;
    }
    int64_t steps =
        size ? llvm::divideCeil(*size, window.stride) - 1 : int64_t(0);
    int64_t total = size ? steps * window.stride + window.getExtent() - *size
                         : window.getExtent() - 1;
    total = std::max<int64_t>(total, 0);
    window.padBegin = (mode == "SAME_LOWER" ? total + 1 : total) / 2;
    window.padEnd = total - window.padBegin;
  }
  return true;
}

/// What `ceil_mode` adds; a window that would begin behind the input and its
/// first pads does not count.
bool Windows::addExtra(NodeImporter &node, Value input) {
  for (auto [i, window] : llvm::enumerate(windows)) {
    int64_t dim = kFirstDim + static_cast<int64_t>(i);
    std::optional<int64_t> size = node.staticDim(input, dim);
    if (!size) {
      node.emitError() << "has ceil_mode = 1, and dimension " << dim
                       << " of input 0 is " << input.getType()
                       << ", expected a static one";
      return false;
    }
    int64_t begun = *size + window.padBegin, padded = begun + window.padEnd;
    int64_t rest = padded - window.getExtent();
    if (rest < 0)
      continue;
    int64_t last = llvm::divideCeil(rest, window.stride) * window.stride;
    if (last >= begun)
      last -= window.stride;
    window.extra = std::max<int64_t>(last + window.getExtent() - padded, 0);
  }
  return true;
}

std::optional<Windows>
Windows::readUnpadded(NodeImporter &node, Value input,
                      std::optional<SmallVector<int64_t>> kernel) {
  int64_t rank = node.rank(input) - kFirstDim;
  if (!input)
    return std::nullopt;
  if (rank < 1) {
    node.emitError() << "input 0 is " << input.getType()
                     << ", expected rank 3 or more";
    return std::nullopt;
  }
  auto kernelAttr = node.intsAttr("kernel_shape");
  if (!kernel && !kernelAttr) {
    node.emitError() << "has no attribute 'kernel_shape'";
    return std::nullopt;
  }
  if (kernelAttr) {
    kernelAttr = readInts(node, "kernel_shape", rank, 1, 1);
    if (kernelAttr && kernel && *kernel != *kernelAttr)
      node.emitError() << "attribute 'kernel_shape' is [" << *kernelAttr
                       << "], expected that of the weight, [" << *kernel << "]";
  }
  auto strides = readInts(node, "strides", rank, 1, 1);
  auto dilations = readInts(node, "dilations", rank, 1, 1);
  auto pads = readInts(node, "pads", 2 * rank, 0, 0);
  if (node.hasFailed() || !strides || !dilations || !pads)
    return std::nullopt;
  SmallVector<Window> windows;
  for (int64_t i = 0; i < rank; ++i)
    windows.push_back({(kernel ? *kernel : *kernelAttr)[i], (*strides)[i],
                       (*dilations)[i], (*pads)[i], (*pads)[rank + i]});
  return Windows(windows);
}

std::optional<Windows>
Windows::read(NodeImporter &node, Value input,
              std::optional<SmallVector<int64_t>> kernel) {
  auto result = readUnpadded(node, input, kernel);
  bool isCeil = node.boolAttr("ceil_mode");
  if (!result || !result->readAutoPad(node, input) ||
      (isCeil && !result->addExtra(node, input)))
    return std::nullopt;
  return result;
}

//===----------------------------------------------------------------------===//
// Padding
//===----------------------------------------------------------------------===//

bool Windows::hasPads() const {
  return llvm::any_of(windows, [](const Window &window) {
    return window.padBegin || window.padEnd;
  });
}

bool Windows::hasExtra() const {
  return llvm::any_of(windows,
                      [](const Window &window) { return window.extra; });
}

static Value emitPad(NodeImporter &node, Value value, Value fill,
                     ArrayRef<int64_t> begins, ArrayRef<int64_t> ends) {
  SmallVector<int64_t> pads(Windows::kFirstDim, 0);
  llvm::append_range(pads, begins);
  pads.append(Windows::kFirstDim, 0);
  llvm::append_range(pads, ends);
  if (llvm::all_of(pads, [](int64_t pad) { return pad == 0; }))
    return value;
  return node.create<PadOp>({value, node.constant(pads), fill});
}

Value Windows::pad(NodeImporter &node, Value value, Value fill,
                   bool withExtra) const {
  SmallVector<int64_t> begins, ends;
  for (const Window &window : windows) {
    begins.push_back(window.padBegin);
    ends.push_back(window.padEnd + (withExtra ? window.extra : 0));
  }
  return emitPad(node, value, fill, begins, ends);
}

Value Windows::padExtra(NodeImporter &node, Value value, Value fill) const {
  SmallVector<int64_t> begins(windows.size(), 0), ends;
  for (const Window &window : windows)
    ends.push_back(window.extra);
  return emitPad(node, value, fill, begins, ends);
}

//===----------------------------------------------------------------------===//
// Unfolding
//===----------------------------------------------------------------------===//

/// How many windows fit into a dimension, as an i64 scalar.
static Value countWindows(NodeImporter &node, Value value, int64_t dim,
                          const Window &window) {
  if (std::optional<int64_t> size = node.staticDim(value, dim)) {
    int64_t rest = *size - window.getExtent();
    return node.index(rest < 0 ? 0 : rest / window.stride + 1);
  }
  Value rest = node.create<SubOp>(
      {node.dimScalar(value, dim), node.index(window.getExtent())});
  if (window.stride != 1)
    rest = node.create<DivOp>({rest, node.index(window.stride)});
  Value count = node.create<AddOp>({rest, node.index(1)});
  return node.create<MaxOp>({count, node.index(0)});
}

Value nju::onnx_import::unfoldDim(NodeImporter &node, Value value, int64_t dim,
                                  const Window &window) {
  if (window.size == 1 && window.stride == 1)
    return node.unsqueeze(value, {dim + 1});
  Value count = countWindows(node, value, dim, window);
  bool isPatch = window.stride == window.size && window.dilation == 1;
  if (isPatch) {
    Value size = node.index(window.size);
    Value used = node.create<MulOp>({count, size});
    value =
        node.slice(value, dim, node.constant({0}), node.unsqueeze(used, {0}));
    SmallVector<Value> dims;
    for (int64_t i = 0; i < node.rank(value); ++i) {
      dims.push_back(i == dim ? node.unsqueeze(count, {0})
                              : node.dimVector(value, i));
      if (i == dim)
        dims.push_back(node.constant({window.size}));
    }
    return node.reshape(value, dims);
  }
  Value begins = node.iota(count), places = node.iota(node.index(window.size));
  if (window.stride != 1)
    begins = node.create<MulOp>({begins, node.index(window.stride)});
  if (window.dilation != 1)
    places = node.create<MulOp>({places, node.index(window.dilation)});
  Value indices = node.create<AddOp>({node.unsqueeze(begins, {1}), places});
  return node.create<GatherOp>({value, indices}, node.i64("axis", dim));
}

Value Windows::unfold(NodeImporter &node, Value padded) const {
  if (node.hasFailed())
    return {};
  for (int64_t i = getRank() - 1; i >= 0; --i)
    padded = unfoldDim(node, padded, kFirstDim + i, windows[i]);
  return padded;
}

SmallVector<int64_t> Windows::getElementDims() const {
  SmallVector<int64_t> dims;
  for (int64_t i = 0; i < getRank(); ++i)
    dims.push_back(kFirstDim + 2 * i + 1);
  return dims;
}
