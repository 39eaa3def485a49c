//===- WeightConversion.h - Rearranges and converts weights ---------*- C++
//-*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_TARGET_WEIGHTCONVERSION_H
#define NJU_LIB_TARGET_WEIGHTCONVERSION_H

#include "mlir/IR/Types.h"
#include "llvm/ADT/ArrayRef.h"
#include <cstdint>

namespace nju {

/// Converts `count` elements, rounding to nearest even. False if there is no
/// such conversion: floats become floats, and equal types are copied.
bool convertElements(const void *from, mlir::Type fromType, void *to,
                     mlir::Type toType, int64_t count);

/// Copies a row-major tensor of `shape`, whose elements have `width` bytes (1,
/// 2, 4 or 8), so that dimension i of the copy is dimension permutation[i].
void permute(const void *from, llvm::ArrayRef<int64_t> shape,
             llvm::ArrayRef<int64_t> permutation, void *to, int64_t width);

/// Packs the matrix [depth, columns], whose element (k, n) lies at
/// k * depthStride + n * columnStride, to [ceil(columns / panel), depth, panel]
/// and fills the last panel with zeros.
void packPanels(const void *from, int64_t depth, int64_t columns,
                int64_t depthStride, int64_t columnStride, int64_t panel,
                void *to, int64_t width);

} // namespace nju

#endif // NJU_LIB_TARGET_WEIGHTCONVERSION_H
