//===- StridedCopy.h - Copies of strided tensors -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_DIALECT_NJU_ANALYSIS_STRIDEDCOPY_H
#define NJU_LIB_DIALECT_NJU_ANALYSIS_STRIDEDCOPY_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include <cstdint>

namespace nju::detail {

/// Strides in elements of a row-major tensor.
llvm::SmallVector<int64_t> rowMajorStrides(llvm::ArrayRef<int64_t> shape);

/// Copies a tensor of `shape` between two strided layouts; strides are in
/// elements and may be zero or negative. Pointers are to the first element.
void copyStrided(int64_t elementSize, llvm::ArrayRef<int64_t> shape,
                 const char *from, llvm::ArrayRef<int64_t> fromStrides,
                 char *to, llvm::ArrayRef<int64_t> toStrides);

/// Loop nest over several tensors with as few loops as possible: dimensions of
/// size 1 are dropped, and those that every tensor steps through without a gap
/// are joined. `strides[t][d]`: of tensor t. The shape has at least one
/// dimension afterwards.
void collapseLoops(llvm::SmallVectorImpl<int64_t> &shape,
                   llvm::MutableArrayRef<llvm::SmallVector<int64_t>> strides);

/// Calls `body(offsets)` for every index of all dimensions but the last.
/// `offsets[t]` is where tensor t is then. No call if the shape has no element.
template <typename Body>
void forEachRow(llvm::ArrayRef<int64_t> shape,
                llvm::ArrayRef<llvm::SmallVector<int64_t>> strides,
                Body &&body) {
  for (int64_t size : shape)
    if (size == 0)
      return;
  llvm::SmallVector<int64_t> index(shape.size(), 0), offsets(strides.size(), 0);
  int64_t outer = static_cast<int64_t>(shape.size()) - 1;
  while (true) {
    body(offsets);
    int64_t dim = outer - 1;
    for (; dim >= 0; --dim) {
      bool carries = ++index[dim] == shape[dim];
      for (size_t t = 0; t < strides.size(); ++t)
        offsets[t] +=
            carries ? -(shape[dim] - 1) * strides[t][dim] : strides[t][dim];
      if (!carries)
        break;
      index[dim] = 0;
    }
    if (dim < 0)
      return;
  }
}

} // namespace nju::detail

#endif // NJU_LIB_DIALECT_NJU_ANALYSIS_STRIDEDCOPY_H
