//===- LinearOperands.cpp - Operands of a product -------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "LinearOperands.h"

using namespace mlir;
using namespace nju;

using Value = KernelBuilder::Value;
using Values = KernelBuilder::Values;

LinearOperands::LinearOperands(KernelBuilder &k, const LinearOptions &options,
                               func::FuncOp function)
    : k(k), options(options) {
  ArrayRef<BlockArgument> arguments = function.getArguments();
  workers = arguments[1];
  x = arguments[2];
  xp = arguments[3];
  llvm::append_range(weights, arguments.slice(4, options.weights));
  llvm::append_range(others,
                     arguments.drop_front(4 + options.weights).drop_back(2));
  y = arguments.drop_back().back();
  next = arguments.back();
  rows = k.dim(x, 0);
  depth = k.dim(weights.front(), 1);
  columns = k.dim(y, 1);
  panels = k.dim(weights.front(), 0);
}

Value LinearOperands::maskOf(Value column) {
  return k.firstLanes(k.sub(columns, column));
}

void LinearOperands::store(ArrayRef<Value> products, Value row, Value column,
                           Value mask) {
  Value result = products.front();
  if (options.epilogue) {
    Values arguments(products);
    for (auto [other, rank] : llvm::zip_equal(others, options.others)) {
      Values at{row, column};
      arguments.push_back(
          k.loadMasked(other, ArrayRef(at).take_back(rank), mask));
    }
    result = k.elementwise(options.epilogue->front(), arguments);
  }
  k.storeMasked(result, y, {row, column}, mask);
}

void LinearOperands::dealPanels(
    int64_t count, llvm::function_ref<void(ArrayRef<Value>)> body) {
  k.dealApart(panels, count, next, workers, body);
}
