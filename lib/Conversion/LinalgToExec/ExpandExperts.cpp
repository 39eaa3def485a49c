//===- ExpandExperts.cpp - Products of experts become launches -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "LibraryExpansion.h"
#include "nju/Conversion/Buffers.h"

using namespace mlir;
using namespace nju::exec;
using nju::ExpertArgument;

/// Place for a row of `columns` for each choice.
static Value allocateRows(ImplicitLocOpBuilder &b, Value order, int64_t columns,
                          Type element) {
  auto type = MemRefType::get({ShapedType::kDynamic, columns}, element);
  Value count = memref::DimOp::create(b, order, 0);
  return memref::AllocOp::create(b, type, count);
}

/// Where the weights lie, in the order of the op's operands.
static FailureOr<Value> createTable(ImplicitLocOpBuilder &b, LinearOp op) {
  llvm::SmallVector<Attribute> params;
  for (Value weight : op.getWeights()) {
    auto own = rootOf(weight).getDefiningOp<WeightOp>();
    if (!own)
      return op.emitOpError() << "chooses among weights that are no params";
    params.push_back(own.getParamAttr());
  }
  auto type =
      MemRefType::get({static_cast<int64_t>(params.size())}, b.getI64Type());
  return Value(WeightTableOp::create(b, type, b.getArrayAttr(params)));
}

/// The kernel's weights, as it wants them: codes in a line.
static llvm::SmallVector<ExpertOperand> describeWeights(LinearOp op) {
  llvm::SmallVector<ExpertOperand> weights;
  for (size_t i = 0; i < op.getWeights().size(); i += op.getExperts()) {
    auto type = cast<MemRefType>(op.getWeights()[i].getType());
    bool isCodes = op.getFormat() && (i / op.getExperts()) % 3 == 0;
    if (isCodes)
      type = MemRefType::get({type.getNumElements()}, type.getElementType());
    weights.push_back({{ExpertArgument::Weight, type}, {}});
  }
  return weights;
}

/// Numbers of choices by experts. Products with the same choices share them.
Expansion::Sorted Expansion::sorted(ImplicitLocOpBuilder &b, LinearOp op) {
  auto starts = MemRefType::get({static_cast<int64_t>(op.getExperts()) + 1},
                                b.getI64Type());
  for (const Sorted &known : sortings)
    if (known.choices == op.getChoices() && known.starts.getType() == starts)
      return known;
  Value choices = contiguous(b, op.getChoices());
  auto order = MemRefType::get({ShapedType::kDynamic}, b.getI64Type());
  Value count = memref::DimOp::create(b, flatten(b, choices, 0), 0);
  Sorted result{op.getChoices(), memref::AllocOp::create(b, starts),
                memref::AllocOp::create(b, order, count)};
  launch(b, library.sortChoices(), {}, {choices},
         {result.starts, result.order});
  sortings.push_back(result);
  return result;
}

/// The number of rows where each expert's are filled up to whole tiles.
static Value padded(ImplicitLocOpBuilder &b, const Value &order,
                    int64_t experts) {
  constexpr int64_t kMostFilling = 31;
  Value count = memref::DimOp::create(b, order, 0);
  Value used = arith::MinUIOp::create(
      b, count, arith::ConstantIndexOp::create(b, experts));
  Value filling = arith::MulIOp::create(
      b, used, arith::ConstantIndexOp::create(b, kMostFilling));
  return arith::AddIOp::create(b, count, filling);
}

void Expansion::launchExperts(ImplicitLocOpBuilder &b, func::FuncOp kernel,
                              const Sorted &sorted, Value table,
                              ArrayRef<ExpertOperand> operands, unsigned outs) {
  llvm::SmallVector<ExpertArgument> arguments;
  llvm::SmallVector<Value> buffers{sorted.starts};
  if (table)
    buffers.append({weightsOf(function), table});
  for (const ExpertOperand &operand : operands) {
    arguments.push_back(operand.argument);
    if (operand.buffer)
      buffers.push_back(operand.buffer);
  }
  launch(b, library.forExperts(kernel, arguments), {},
         ArrayRef<Value>(buffers).drop_back(outs),
         ArrayRef<Value>(buffers).take_back(outs));
}

/// Packs the sorted rows as products with dense weights read them.
llvm::SmallVector<ExpertOperand>
Expansion::packForExperts(ImplicitLocOpBuilder &b, LinearOp op,
                          const Sorted &sorted, Value rows,
                          nju::LinearOptions &options) {
  auto weight = cast<MemRefType>(op.getWeights().front().getType());
  options.weightType = weight.getElementType();
  nju::LinearUnit unit = library.unitOf(options.weightType);
  func::FuncOp pack = library.packRows(unit);
  int64_t columns = cast<MemRefType>(rows.getType()).getDimSize(1);
  auto count = [=](OpBuilder &b, Location loc, Value rows) {
    Value depth = arith::ConstantIndexOp::create(b, loc, columns);
    return nju::KernelLibrary::countPacked(b, loc, rows, depth, unit);
  };
  Value all = unit == nju::LinearUnit::Tiles
                  ? padded(b, sorted.order, op.getExperts())
                  : Value(memref::DimOp::create(b, sorted.order, 0));
  auto type = cast<MemRefType>(pack.getArgumentTypes().back());
  Value copy =
      memref::AllocOp::create(b, type, ValueRange{count(b, b.getLoc(), all)});
  llvm::SmallVector<ExpertOperand> operands{
      {{ExpertArgument::Rows}, rows},
      {{ExpertArgument::Packed, {}, columns, count}, copy}};
  launchExperts(b, pack, sorted, nullptr, operands, /*outs=*/1);
  return operands;
}

/// Rounds the sorted rows as products with quantized weights read them.
llvm::SmallVector<ExpertOperand>
Expansion::roundForExperts(ImplicitLocOpBuilder &b, const Sorted &sorted,
                           Value rows, const nju::LCQLinearOptions &options) {
  Rounded copies = allocateRounded(b, rows, rows, options);
  if (copies.key.first == 0)
    return {{{ExpertArgument::Rows}, rows},
            {{ExpertArgument::Whole}, copies.copies[0]},
            {{ExpertArgument::Whole}, copies.copies[1]},
            {{ExpertArgument::Whole}, copies.copies[2]}};
  int64_t columns = cast<MemRefType>(rows.getType()).getDimSize(1);
  nju::KernelLibrary *library = &this->library;
  auto count = [=](OpBuilder &b, Location loc, Value rows) {
    return library->countLCQRows(b, loc, rows, columns, options);
  };
  if (library->hasLCQTiles(activations)) {
    int64_t experts =
        cast<MemRefType>(sorted.starts.getType()).getDimSize(0) - 1;
    Value all = count(b, b.getLoc(), padded(b, sorted.order, experts));
    copies.copies[0] = memref::AllocOp::create(
        b, cast<MemRefType>(copies.copies[0].getType()), all);
  }
  llvm::SmallVector<ExpertOperand> operands{
      {{ExpertArgument::Rows}, rows},
      {{ExpertArgument::Packed, {}, columns, count}, copies.copies[0]},
      {{ExpertArgument::Rows}, copies.copies[1]},
      {{ExpertArgument::Rows}, copies.copies[2]}};
  launchExperts(b, library->packLCQRows(options.group, activations), sorted,
                nullptr, operands, /*outs=*/3);
  return operands;
}

LogicalResult Expansion::expandExperts(LinearOp op) {
  ImplicitLocOpBuilder b(op.getLoc(), op);
  FailureOr<Value> table = createTable(b, op);
  if (failed(table))
    return failure();
  Sorted order = sorted(b, op);
  Value input = flatten(b, contiguous(b, op.getInput()), 1);
  Value output = contiguous(b, op.getOutput());
  Value results = flatten(b, output, 1);
  auto columnsOf = [](Value rows) {
    return cast<MemRefType>(rows.getType()).getDimSize(1);
  };
  Value x = allocateRows(b, order.order, columnsOf(input), b.getF32Type());
  Value y = allocateRows(b, order.order, columnsOf(results), b.getF32Type());
  launch(b, library.gatherChoices(), {}, {input, order.order}, {x});

  Region *epilogue = op.getEpilogue().empty() ? nullptr : &op.getEpilogue();
  llvm::SmallVector<ExpertOperand> operands;
  func::FuncOp kernel;
  if (op.getFormat()) {
    nju::LCQLinearOptions options = getOptions(*op.getFormat());
    options.activations = activations;
    options.weights = op.getNumProducts();
    options.epilogue = epilogue;
    operands = roundForExperts(b, order, x, options);
    kernel = library.lcqLinear(options);
  } else {
    nju::LinearOptions options;
    options.weights = op.getNumProducts();
    options.epilogue = epilogue;
    operands = packForExperts(b, op, order, x, options);
    kernel = library.linear(options);
  }
  llvm::append_range(operands, describeWeights(op));
  operands.push_back({{ExpertArgument::Rows}, y});
  operands.push_back({{ExpertArgument::Item}, counter(b, op.getExperts())});
  launchExperts(b, kernel, order, *table, operands, /*outs=*/2);
  launch(b, library.scatterChoices(), {}, {y, order.order}, {results});
  if (output != op.getOutput())
    memref::CopyOp::create(b, output, op.getOutput());
  op.erase();
  return success();
}
