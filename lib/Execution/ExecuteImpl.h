//===- ExecuteImpl.h - What the op families of execution share --*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_EXECUTION_EXECUTEIMPL_H
#define NJU_LIB_EXECUTION_EXECUTEIMPL_H

#include "nju/Dialect/NJU/Analysis/HostTensor.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/Parallel.h"

namespace nju::detail {

/// The families: no value if the op is not of the family, or its operands are
/// not such that the family has fast code for them.
/// `room` as for executeOp.
std::optional<HostTensor> executeElementwise(mlir::Operation *op,
                                             llvm::ArrayRef<HostTensor> x,
                                             const HostTensor *room);
std::optional<HostTensor> executeNormalization(mlir::Operation *op,
                                               llvm::ArrayRef<HostTensor> x);
std::optional<HostTensor> executeMatMul(mlir::Operation *op,
                                        llvm::ArrayRef<HostTensor> x);
std::optional<HostTensor> executeAttention(mlir::Operation *op,
                                           llvm::ArrayRef<HostTensor> x);

llvm::Expected<HostTensor> executeCachedAttention(CachedAttentionOp op,
                                                  llvm::ArrayRef<HostTensor> x);

/// True if all are tensors of f32 with elements.
bool areFloats(llvm::ArrayRef<HostTensor> tensors);

/// All rows of several tensors, `width` elements each, one below the other.
HostTensor joinRows(llvm::ArrayRef<HostTensor> tensors, int64_t width);

/// Strides of the leading dimensions of a tensor of `shape`, seen as broadcast
/// to the leading dimensions of `to`; nothing if it cannot be. `keep` trailing
/// dimensions of both are not looked at.
std::optional<llvm::SmallVector<int64_t>>
getLeadingStrides(llvm::ArrayRef<int64_t> shape, llvm::ArrayRef<int64_t> to,
                  unsigned keep);

/// Where the row-major row `index` of `shape` begins with these strides.
int64_t getOffset(int64_t index, llvm::ArrayRef<int64_t> shape,
                  llvm::ArrayRef<int64_t> strides);

/// Calls `function` for pieces of [0, count) by all threads, with begin and
/// end; a piece has at most `piece`.
template <typename Function>
void forEachPiece(int64_t count, int64_t piece, Function function) {
  llvm::parallelFor(0, llvm::divideCeil(count, piece), [&](size_t index) {
    int64_t begin = int64_t(index) * piece;
    function(begin, std::min(count, begin + piece));
  });
}

/// Rows of so many elements are worth a piece of work.
inline int64_t getRowsPerPiece(int64_t width) {
  return std::max<int64_t>(1, (int64_t(1) << 15) / std::max<int64_t>(1, width));
}

} // namespace nju::detail

#endif // NJU_LIB_EXECUTION_EXECUTEIMPL_H
