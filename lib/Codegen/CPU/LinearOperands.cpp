//===- LinearOperands.cpp - Operands of a product -------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "LinearOperands.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace nju;

using Value = KernelBuilder::Value;
using Values = KernelBuilder::Values;

RowBlock nju::rowBlock(KernelBuilder &k, Value rows, Value blocks,
                       Value block) {
  Value begin = k.div(k.mul(rows, block), blocks);
  Value end = k.div(k.mul(rows, k.add(block, 1)), blocks);
  return {begin, k.sub(end, begin)};
}

RowBlock nju::rowBlockOf(KernelBuilder &k, Value rows, Value blocks,
                         Value row) {
  // The first block whose end is behind the row.
  Value behind = k.ceilDiv(k.mul(k.add(row, 1), blocks), rows);
  return rowBlock(k, rows, blocks, k.sub(behind, k.index(1)));
}

LinearResult::LinearResult(KernelBuilder &k, Region *epilogue,
                           ArrayRef<int64_t> ranks, ValueRange arguments)
    : k(k), y(arguments.back()), rows(k.dim(y, 0)), columns(k.dim(y, 1)),
      epilogue(epilogue), ranks(ranks), others(arguments.drop_back()) {}

Value LinearResult::maskOf(Value column) {
  return k.firstLanes(k.sub(columns, column));
}

Value LinearResult::finish(ArrayRef<Value> products, Value row, Value column,
                           Value mask) {
  if (!epilogue)
    return products.front();
  Values arguments(products);
  for (auto [other, rank] : llvm::zip_equal(others, ranks)) {
    Values at{row, column};
    arguments.push_back(
        k.loadMasked(other, ArrayRef(at).take_back(rank), mask));
  }
  return k.elementwise(epilogue->front(), arguments);
}

void LinearResult::store(ArrayRef<Value> products, Value row, Value column,
                         Value mask) {
  Value result = finish(products, row, column, mask);
  k.storeMasked(result, y, {row, column}, mask);
}

std::string nju::nameWithEpilogue(std::string name, Region *epilogue,
                                  ArrayRef<int64_t> ranks,
                                  llvm::StringMap<unsigned> &epilogues) {
  if (!epilogue)
    return name;
  std::string text = name;
  llvm::raw_string_ostream key(text);
  for (int64_t rank : ranks)
    key << ' ' << rank;
  llvm::DenseMap<Value, unsigned> numbers;
  auto addNumber = [&](Value value) {
    numbers.try_emplace(value, numbers.size());
  };
  Block &block = epilogue->front();
  llvm::for_each(block.getArguments(), addNumber);
  for (Operation &op : block) {
    key << '\n' << op.getName() << op.getAttrDictionary();
    for (Value operand : op.getOperands()) {
      Attribute constant;
      if (matchPattern(operand, m_Constant(&constant)))
        key << ' ' << constant;
      else
        key << " %" << numbers.lookup(operand);
    }
    key << op.getResultTypes();
    llvm::for_each(op.getResults(), addNumber);
  }
  unsigned number = epilogues.try_emplace(text, epilogues.size()).first->second;
  return name + "_epilogue" + std::to_string(number);
}

LinearOperands::LinearOperands(KernelBuilder &k, const LinearOptions &options,
                               func::FuncOp function)
    : LinearResult(
          k, options.epilogue, options.others,
          function.getArguments().drop_front(4 + options.weights).drop_back()),
      options(options) {
  ArrayRef<BlockArgument> arguments = function.getArguments();
  workers = arguments[1];
  x = arguments[2];
  xp = arguments[3];
  llvm::append_range(weights, arguments.slice(4, options.weights));
  next = arguments.back();
  depth = k.dim(weights.front(), 1);
  panels = k.dim(weights.front(), 0);
}

void LinearOperands::dealPanels(
    int64_t count, llvm::function_ref<void(ArrayRef<Value>)> body) {
  k.dealApart(panels, count, next, workers, body);
}
