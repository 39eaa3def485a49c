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

/// Rows that are multiplied together.
struct RowBlock {
  mlir::Value begin, size;
};

/// Block `block` of the `blocks` blocks that `rows` rows are cut into, as
/// evenly as possible.
RowBlock rowBlock(KernelBuilder &k, mlir::Value rows, mlir::Value blocks,
                  mlir::Value block);
/// The block that row `row` is in.
RowBlock rowBlockOf(KernelBuilder &k, mlir::Value rows, mlir::Value blocks,
                    mlir::Value row);

/// What becomes of products whatever they are computed with: what an epilogue
/// makes of them is stored as y.
class LinearResult {
public:
  using Value = KernelBuilder::Value;

  /// The last arguments of a function: the other operands of the epilogue,
  /// whose ranks are `ranks`, and y.
  LinearResult(KernelBuilder &k, mlir::Region *epilogue,
               llvm::ArrayRef<int64_t> ranks, mlir::ValueRange arguments);

  /// Lanes of the vector at `column` that are columns of y.
  Value maskOf(Value column);
  /// What the epilogue makes of the products, one of each weight, of the
  /// columns from `column` on.
  Value finish(llvm::ArrayRef<Value> products, Value row, Value column,
               Value mask);
  /// Stores that.
  void store(llvm::ArrayRef<Value> products, Value row, Value column,
             Value mask);

  KernelBuilder &k;
  Value y, rows, columns; ///< y is [rows, columns].

private:
  mlir::Region *epilogue;
  llvm::ArrayRef<int64_t> ranks;
  mlir::ValueRange others;
};

/// `name` with a number for the epilogue, if there is one: of kernels that are
/// alike otherwise, those with equal names have equal epilogues. `epilogues`
/// holds those seen, as text.
std::string nameWithEpilogue(std::string name, mlir::Region *epilogue,
                             llvm::ArrayRef<int64_t> ranks,
                             llvm::StringMap<unsigned> &epilogues);

/// The arguments of a function that `KernelLibrary::linear` makes, and what is
/// done with them whatever the product is computed with.
class LinearOperands : public LinearResult {
public:
  LinearOperands(KernelBuilder &k, const LinearOptions &options,
                 mlir::func::FuncOp function);

  /// Deals out work; every worker must do so once: `count` panels at a time,
  /// as `KernelBuilder::dealApart` does.
  void dealPanels(int64_t count,
                  llvm::function_ref<void(llvm::ArrayRef<Value>)> body);
  /// The same for `count` items of any kind.
  void deal(Value count, llvm::function_ref<void(Value)> body) {
    k.deal(count, next, workers, body);
  }

  const LinearOptions &options;
  Value workers, x, xp;
  llvm::SmallVector<Value> weights;
  /// Sizes: x is [rows, depth].
  Value depth, panels;

private:
  Value next;
};

} // namespace nju

#endif // NJU_LIB_CODEGEN_CPU_LINEAROPERANDS_H
