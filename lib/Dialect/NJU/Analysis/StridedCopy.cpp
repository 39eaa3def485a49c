//===- StridedCopy.cpp - Copies of strided tensors -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "StridedCopy.h"
#include <cstring>

using llvm::ArrayRef;
using llvm::SmallVector;
using namespace nju::detail;

SmallVector<int64_t> nju::detail::rowMajorStrides(ArrayRef<int64_t> shape) {
  SmallVector<int64_t> strides(shape.size(), 1);
  for (size_t i = shape.size(); i > 1; --i)
    strides[i - 2] = strides[i - 1] * shape[i - 1];
  return strides;
}

void nju::detail::collapseLoops(
    llvm::SmallVectorImpl<int64_t> &shape,
    llvm::MutableArrayRef<SmallVector<int64_t>> strides) {
  size_t last = 0; // One after the last loop that is kept.
  for (size_t dim = 0; dim < shape.size(); ++dim) {
    if (shape[dim] == 1)
      continue;
    bool joins = last > 0;
    for (const SmallVector<int64_t> &stride : strides)
      joins = joins && stride[last - 1] == stride[dim] * shape[dim];
    size_t target = joins ? last - 1 : last++;
    shape[target] = joins ? shape[target] * shape[dim] : shape[dim];
    for (SmallVector<int64_t> &stride : strides)
      stride[target] = stride[dim];
  }
  size_t rank = last == 0 ? 1 : last;
  if (last == 0) {
    shape.assign(1, 1);
    for (SmallVector<int64_t> &stride : strides)
      stride.assign(1, 1);
  }
  shape.resize(rank);
  for (SmallVector<int64_t> &stride : strides)
    stride.resize(rank);
}

template <typename T>
static void copyRow(const char *from, int64_t fromStride, char *to,
                    int64_t toStride, int64_t count) {
  auto *source = reinterpret_cast<const T *>(from);
  auto *target = reinterpret_cast<T *>(to);
  for (int64_t i = 0; i < count; ++i)
    target[i * toStride] = source[i * fromStride];
}

void nju::detail::copyStrided(int64_t elementSize, ArrayRef<int64_t> shape,
                              const char *from, ArrayRef<int64_t> fromStrides,
                              char *to, ArrayRef<int64_t> toStrides) {
  SmallVector<int64_t> loops(shape);
  SmallVector<int64_t> strides[2] = {SmallVector<int64_t>(fromStrides),
                                     SmallVector<int64_t>(toStrides)};
  collapseLoops(loops, strides);
  int64_t count = loops.back(), step = strides[0].back(),
          toStep = strides[1].back();
  forEachRow(loops, strides, [&](ArrayRef<int64_t> offsets) {
    const char *source = from + offsets[0] * elementSize;
    char *target = to + offsets[1] * elementSize;
    if (step == 1 && toStep == 1)
      std::memcpy(target, source, count * elementSize);
    else if (elementSize == 1)
      copyRow<uint8_t>(source, step, target, toStep, count);
    else if (elementSize == 2)
      copyRow<uint16_t>(source, step, target, toStep, count);
    else if (elementSize == 4)
      copyRow<uint32_t>(source, step, target, toStep, count);
    else
      copyRow<uint64_t>(source, step, target, toStep, count);
  });
}
