//===- ExecuteOp.cpp - Computes one op on large tensors -------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Execution/ExecuteOp.h"

#include "ExecuteImpl.h"
#include "nju/Dialect/NJU/Analysis/Evaluator.h"

using namespace mlir;
using namespace nju;
using namespace nju::detail;

bool nju::detail::areFloats(ArrayRef<HostTensor> tensors) {
  return llvm::all_of(tensors, [](const HostTensor &tensor) {
    return tensor.getElementType().isF32() && tensor.getNumElements() > 0;
  });
}

HostTensor nju::detail::joinRows(ArrayRef<HostTensor> tensors, int64_t width) {
  if (tensors.size() == 1)
    return tensors[0];
  int64_t rows = 0;
  for (const HostTensor &tensor : tensors)
    rows += tensor.getNumElements() / width;
  HostTensor all =
      HostTensor::uninitialized(tensors[0].getElementType(), {rows, width});
  char *to = all.mutableBytes();
  for (const HostTensor &tensor : tensors) {
    std::memcpy(to, tensor.bytes(), tensor.getNumBytes());
    to += tensor.getNumBytes();
  }
  return all;
}

std::optional<llvm::SmallVector<int64_t>>
nju::detail::getLeadingStrides(ArrayRef<int64_t> shape, ArrayRef<int64_t> to,
                               unsigned keep) {
  if (shape.size() < keep || shape.size() > to.size())
    return std::nullopt;
  int64_t stride = 1;
  for (int64_t size : shape.take_back(keep))
    stride *= size;
  llvm::SmallVector<int64_t> strides(to.size() - keep, 0);
  for (size_t i = keep; i < shape.size(); ++i) {
    int64_t size = shape[shape.size() - 1 - i];
    if (size != 1 && size != to[to.size() - 1 - i])
      return std::nullopt;
    strides[to.size() - 1 - i] = size == 1 ? 0 : stride;
    stride *= size;
  }
  return strides;
}

int64_t nju::detail::getOffset(int64_t index, ArrayRef<int64_t> shape,
                               ArrayRef<int64_t> strides) {
  int64_t offset = 0;
  for (size_t i = strides.size(); i > 0; --i) {
    offset += index % shape[i - 1] * strides[i - 1];
    index /= shape[i - 1];
  }
  return offset;
}

/// Looking up all rows in their order gives the tensor itself.
static std::optional<HostTensor> executeGather(Operation *op,
                                               ArrayRef<HostTensor> x) {
  auto gather = dyn_cast<GatherOp>(op);
  if (!gather || x[1].getRank() != 1 ||
      int64_t(gather.getAxis()) >= x[0].getRank() ||
      x[0].getDim(gather.getAxis()) != x[1].getDim(0))
    return std::nullopt;
  for (int64_t i = 0; i < x[1].getDim(0); ++i)
    if (x[1].getInt(i) != i)
      return std::nullopt;
  return x[0];
}

llvm::Expected<HostTensor> nju::executeOp(Operation *op,
                                          ArrayRef<HostTensor> operands,
                                          const HostTensor *room) {
  if (auto attention = dyn_cast<CachedAttentionOp>(op))
    return executeCachedAttention(attention, operands);
  if (auto result = executeElementwise(op, operands, room))
    return *result;
  for (auto family :
       {executeNormalization, executeMatMul, executeAttention, executeGather})
    if (std::optional<HostTensor> result = family(op, operands))
      return *result;
  std::string reason;
  FailureOr<HostTensor> result =
      evaluateOp(op, operands, reason, std::numeric_limits<int64_t>::max());
  if (failed(result))
    return llvm::createStringError(reason);
  return *result;
}
