//===- SliceBounds.h - Bounds of nju.slice -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_DIALECT_NJU_ANALYSIS_SLICEBOUNDS_H
#define NJU_LIB_DIALECT_NJU_ANALYSIS_SLICEBOUNDS_H

#include <algorithm>
#include <cstdint>
#include <limits>

namespace nju::detail {

/// The elements first, first + step, ... (`count` of them) of a dimension.
struct ResolvedSlice {
  int64_t first, count;
};

/// Resolves `start : end : step` as ONNX does: negative bounds count from the
/// end; a start is clamped to an index of the dimension, an end to one before
/// or after it. `step` is not 0, any bound may be any number.
inline ResolvedSlice resolveSlice(int64_t start, int64_t end, int64_t step,
                                  int64_t dim) {
  if (dim == 0)
    return {0, 0};
  if (start < 0)
    start += dim;
  if (end < 0)
    end += dim;
  if (step > 0) {
    start = std::clamp<int64_t>(start, 0, dim);
    end = std::clamp<int64_t>(end, 0, dim);
    return {start, end > start ? (end - start - 1) / step + 1 : 0};
  }
  start = std::clamp<int64_t>(start, 0, dim - 1);
  end = std::clamp<int64_t>(end, -1, dim - 1);
  int64_t back = -std::max(step, -std::numeric_limits<int64_t>::max());
  return {start, start > end ? (start - end - 1) / back + 1 : 0};
}

} // namespace nju::detail

#endif // NJU_LIB_DIALECT_NJU_ANALYSIS_SLICEBOUNDS_H
