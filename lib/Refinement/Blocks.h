//===- Blocks.h - The layers of a model -------------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_REFINEMENT_BLOCKS_H
#define NJU_LIB_REFINEMENT_BLOCKS_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/StringSet.h"

namespace nju {

/// A layer of a model: what is computed between two points through which all
/// that trained weights have changed goes as one value.
struct ModelBlock {
  mlir::Value input; ///< Null for the first block.
  mlir::Value output;
  /// The params of its trained products, in order.
  llvm::SmallVector<llvm::StringRef> weights;
};

/// Cuts a straight-line function into blocks of one attention each (of none,
/// where the function has none: at every possible point). Trained weights that
/// no block has are those behind the last point: the output head.
llvm::SmallVector<ModelBlock> findBlocks(mlir::func::FuncOp function,
                                         const llvm::StringSet<> &trained);

} // namespace nju

#endif // NJU_LIB_REFINEMENT_BLOCKS_H
