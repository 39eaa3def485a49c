//===- LinearOperands.h - Operands of a product ---------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_CODEGEN_CPU_LINEAROPERANDS_H
#define NJU_LIB_CODEGEN_CPU_LINEAROPERANDS_H

#include "KernelBuilder.h"
#include "nju/Codegen/CPU/KernelLibrary.h"

namespace nju {

/// The arguments of a function that `KernelLibrary::linear` makes, and what is
/// done with them whatever the product is computed with.
class LinearOperands {
public:
  using Value = KernelBuilder::Value;

  LinearOperands(KernelBuilder &k, const LinearOptions &options,
                 mlir::func::FuncOp function);

  /// Lanes of the vector at `column` that are columns of y.
  Value maskOf(Value column);
  /// Stores what the epilogue makes of the products, one of each weight, as the
  /// columns from `column` on.
  void store(llvm::ArrayRef<Value> products, Value row, Value column,
             Value mask);

  /// Deals out work; every worker must do so once: `count` panels at a time,
  /// as `KernelBuilder::dealApart` does.
  void dealPanels(int64_t count,
                  llvm::function_ref<void(llvm::ArrayRef<Value>)> body);
  /// The same for `count` items of any kind.
  void deal(Value count, llvm::function_ref<void(Value)> body) {
    k.deal(count, next, workers, body);
  }

  KernelBuilder &k;
  const LinearOptions &options;
  Value workers, x, xp, y;
  llvm::SmallVector<Value> weights;
  /// Sizes: x is [rows, depth], y [rows, columns].
  Value rows, depth, columns, panels;

private:
  Value next;
  llvm::SmallVector<Value> others;
};

} // namespace nju

#endif // NJU_LIB_CODEGEN_CPU_LINEAROPERANDS_H
