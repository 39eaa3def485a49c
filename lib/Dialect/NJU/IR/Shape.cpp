//===- Shape.cpp - Data movement and shapes -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Panels.h"

using namespace mlir;

/// True if `permutation` holds each of 0 .. size-1 once.
static bool isPermutation(ArrayRef<int64_t> permutation) {
  llvm::SmallVector<bool> seen(permutation.size(), false);
  for (int64_t i : permutation) {
    if (i < 0 || i >= static_cast<int64_t>(seen.size()) || seen[i])
      return false;
    seen[i] = true;
  }
  return true;
}

LogicalResult nju::TransposeOp::verify() {
  int64_t rank = getInput().getType().getRank();
  if (static_cast<int64_t>(getPermutation().size()) != rank ||
      !isPermutation(getPermutation()))
    return emitOpError() << "has permutation [" << getPermutation()
                         << "], expected each of 0 to " << rank - 1 << " once";
  return success();
}

OpFoldResult nju::TransposeOp::fold(FoldAdaptor) {
  for (auto [i, dim] : llvm::enumerate(getPermutation()))
    if (static_cast<int64_t>(i) != dim)
      return {};
  return getInput().getType() == getType() ? OpFoldResult(getInput())
                                           : OpFoldResult();
}

LogicalResult nju::EmbeddingOp::verify() {
  return verifyPanels(*this, getWeight().getType(), getColumns());
}
