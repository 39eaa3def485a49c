//===- MatMul.cpp - Products with packed weights ----------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Several rows: the weights are the outer loop, so that they are read from
// memory once, and a block of rows times a panel is accumulated in registers
// over all of K. Rows are cut evenly into the fewest blocks that fit the
// registers: nearly all blocks are nearly full, and few rows are one block.
//
// One row: reading the weights is all that counts. Several panels are read at
// once, each far from the others, so that memory sees several linear streams,
// each with a prefetch ahead of the hardware's where that helps (CPUTarget).
//
//===----------------------------------------------------------------------===//

#include "KernelBuilder.h"
#include "nju/Codegen/CPU/KernelLibrary.h"
#include "nju/Dialect/Exec/IR/KernelAttributes.h"
#include "nju/Dialect/NJU/IR/NJU.h"

using namespace mlir;
using namespace nju;

using Value = KernelBuilder::Value;
using Values = KernelBuilder::Values;

static constexpr int64_t kCacheLine = 64;

namespace {

/// Rows in a block times vectors in a tile, for a register file.
struct TileShape {
  int64_t rows;    ///< Most rows of a block.
  int64_t vectors; ///< Registers across the columns of a tile.
};

/// rows * vectors accumulators, the vectors of a weight row and a broadcast
/// fill the registers. NEON multiplies by an element of a register, so it holds
/// several factors at once.
TileShape tileShape(const CPUTarget &target) {
  if (!target.isX86())
    return TileShape{12, 2};
  return target.getVectorRegisters() == 32 ? TileShape{14, 2} : TileShape{6, 2};
}

/// Block `block` of the `blocks` blocks that `rows` rows are cut into.
struct RowBlock {
  Value begin, size;
};

RowBlock rowBlock(KernelBuilder &k, Value rows, Value blocks, Value block) {
  Value begin = k.div(k.mul(rows, block), blocks);
  Value end = k.div(k.mul(rows, k.add(block, 1)), blocks);
  return {begin, k.sub(end, begin)};
}

/// Emits the body of `linear`.
class LinearEmitter {
public:
  LinearEmitter(KernelBuilder &k, const CPUTarget &target,
                func::FuncOp function, bool hasBias)
      : k(k), target(target), tile(tileShape(target)),
        worker(function.getArgument(0)), workers(function.getArgument(1)),
        x(function.getArgument(2)), xp(function.getArgument(3)),
        w(function.getArgument(4)),
        bias(hasBias ? function.getArgument(5) : Value()),
        y(function.getArguments().back()) {
    rows = k.dim(x, 0);
    depth = k.dim(w, 1);
    columns = k.dim(y, 1);
    elementBytes = cast<MemRefType>(w.getType()).getElementTypeBitWidth() / 8;
  }

  void emit();

private:
  void emitOneRow(Value begin, Value end);
  void emitRows(Value begin, Value end);
  void emitOneRowOfPanels(ArrayRef<Value> panels);
  void emitBlock(int64_t size, RowBlock block, Value panel, Value column,
                 ArrayRef<Value> masks);
  void prefetchAhead(Value panel, Value at, Value column, int64_t bytes);
  Value maskOf(Value panel, Value column);
  Value biasOf(Value mask, Value panel, Value column);
  void storeResult(Value value, Value row, Value panel, Value column,
                   Value mask, Value biasVector);
  Value columnOf(Value panel, Value column) {
    return k.add(k.mul(panel, kPanelColumns), column);
  }

  KernelBuilder &k;
  const CPUTarget &target;
  TileShape tile;
  Value worker, workers, x, xp, w, bias, y;
  Value rows, depth, columns;
  int64_t elementBytes;
};

} // namespace

/// Prefetches the weights that lie the target's distance after row `at` of the
/// panel, `bytes` from `column` on.
void LinearEmitter::prefetchAhead(Value panel, Value at, Value column,
                                  int64_t bytes) {
  int64_t distance = target.getPrefetchBytes();
  if (distance == 0)
    return;
  Value ahead = k.add(at, distance / (kPanelColumns * elementBytes));
  for (int64_t byte = 0; byte < bytes; byte += kCacheLine)
    k.prefetch(w, {panel, ahead, k.add(column, byte / elementBytes)});
}

/// Lanes of the vector at `column` of the panel that are columns of y.
Value LinearEmitter::maskOf(Value panel, Value column) {
  Value left = k.broadcastI32(k.sub(columns, columnOf(panel, column)));
  return arith::CmpIOp::create(k.b, k.loc, arith::CmpIPredicate::slt,
                               k.lanesI32(), left);
}

Value LinearEmitter::biasOf(Value mask, Value panel, Value column) {
  if (!bias)
    return Value();
  return vector::MaskedLoadOp::create(k.b, k.loc, k.vectorType(k.lanes), bias,
                                      ValueRange{columnOf(panel, column)}, mask,
                                      k.splat(0.0f));
}

void LinearEmitter::storeResult(Value value, Value row, Value panel,
                                Value column, Value mask, Value biasVector) {
  if (biasVector)
    value = k.addf(value, biasVector);
  vector::MaskedStoreOp::create(
      k.b, k.loc, y, ValueRange{row, columnOf(panel, column)}, mask, value);
}

/// Row 0 of y in `panels`, all of their columns at once.
void LinearEmitter::emitOneRowOfPanels(ArrayRef<Value> panels) {
  int64_t vectors = kPanelColumns / k.lanes;
  Value zero = k.index(0);
  Values sums(panels.size() * vectors, k.splat(0.0f));
  sums = k.loop(zero, depth, k.index(1), sums, [&](Value at, Values sums) {
    Value factor = k.broadcast(k.load(x, {zero, at}));
    for (auto [p, panel] : llvm::enumerate(panels)) {
      prefetchAhead(panel, at, zero, kPanelColumns * elementBytes);
      for (int64_t v = 0; v < vectors; ++v) {
        Value weights = k.loadVector(w, {panel, at, k.index(v * k.lanes)});
        Value &sum = sums[p * vectors + v];
        sum = k.fma(factor, weights, sum);
      }
    }
    return sums;
  });
  for (auto [p, panel] : llvm::enumerate(panels))
    for (int64_t v = 0; v < vectors; ++v) {
      Value column = k.index(v * k.lanes);
      Value mask = maskOf(panel, column);
      storeResult(sums[p * vectors + v], zero, panel, column, mask,
                  biasOf(mask, panel, column));
    }
}

/// The panels [begin, end) for one row: as many contiguous ranges as there are
/// cursors, read side by side, then what is left.
void LinearEmitter::emitOneRow(Value begin, Value end) {
  Value length = k.div(k.sub(end, begin), target.getReadStreams());
  k.loop(begin, k.add(begin, length), [&](Value first) {
    Values panels{first};
    for (int64_t c = 1; c < target.getReadStreams(); ++c)
      panels.push_back(k.add(panels.back(), length));
    emitOneRowOfPanels(panels);
  });
  Value rest = k.add(begin, k.mul(length, target.getReadStreams()));
  k.loop(rest, end, [&](Value panel) { emitOneRowOfPanels({panel}); });
}

/// `size` rows times the tile at `column` of the panel, accumulated over K.
void LinearEmitter::emitBlock(int64_t size, RowBlock block, Value panel,
                              Value column, ArrayRef<Value> masks) {
  int64_t vectors = tile.vectors;
  Value packed = k.mul(block.begin, depth);
  Values sums(size * vectors, k.splat(0.0f));
  sums =
      k.loop(k.index(0), depth, k.index(1), sums, [&](Value at, Values sums) {
        prefetchAhead(panel, at, column, vectors * k.lanes * elementBytes);
        Values weights;
        for (int64_t v = 0; v < vectors; ++v)
          weights.push_back(
              k.loadVector(w, {panel, at, k.add(column, v * k.lanes)}));
        Value factors = k.add(packed, k.mul(at, size));
        for (int64_t r = 0; r < size; ++r) {
          Value factor = k.broadcast(k.load(xp, {k.add(factors, r)}));
          for (int64_t v = 0; v < vectors; ++v) {
            Value &sum = sums[r * vectors + v];
            sum = k.fma(factor, weights[v], sum);
          }
        }
        return sums;
      });
  for (int64_t v = 0; v < vectors; ++v) {
    Value at = k.add(column, v * k.lanes);
    Value biasVector = biasOf(masks[v], panel, at);
    for (int64_t r = 0; r < size; ++r)
      storeResult(sums[r * vectors + v], k.add(block.begin, r), panel, at,
                  masks[v], biasVector);
  }
}

/// The panels [begin, end) for several rows.
void LinearEmitter::emitRows(Value begin, Value end) {
  Value blocks = k.ceilDiv(rows, tile.rows);
  k.loop(begin, end, [&](Value panel) {
    int64_t width = tile.vectors * k.lanes;
    k.loop(k.index(0), k.index(kPanelColumns), k.index(width),
           [&](Value column) {
             Values masks;
             for (int64_t v = 0; v < tile.vectors; ++v)
               masks.push_back(maskOf(panel, k.add(column, v * k.lanes)));
             k.loop(k.index(0), blocks, [&](Value number) {
               RowBlock block = rowBlock(k, rows, blocks, number);
               k.switchOn(block.size, 2, tile.rows, [&](int64_t size) {
                 emitBlock(size, block, panel, column, masks);
               });
             });
           });
  });
}

void LinearEmitter::emit() {
  auto [begin, end] = k.share(k.dim(w, 0), worker, workers);
  k.ifThenElse(
      k.equal(rows, 1),
      [&, begin = begin, end = end] { emitOneRow(begin, end); },
      [&, begin = begin, end = end] { emitRows(begin, end); });
}

static MemRefType dynamicMemRef(int64_t rank, Type element) {
  return MemRefType::get(llvm::SmallVector<int64_t>(rank, ShapedType::kDynamic),
                         element);
}

func::FuncOp KernelLibrary::linear(Type weightType, bool bias) {
  Builder types(module.getContext());
  std::string name = "nju_linear_";
  llvm::raw_string_ostream(name) << weightType << (bias ? "_bias" : "");
  if (func::FuncOp known = lookup(name))
    return known;
  Type f32 = types.getF32Type();
  auto weight = MemRefType::get(
      {ShapedType::kDynamic, ShapedType::kDynamic, kPanelColumns}, weightType);
  llvm::SmallVector<Type> arguments = {
      types.getIndexType(), types.getIndexType(), dynamicMemRef(2, f32),
      dynamicMemRef(1, f32), weight};
  if (bias)
    arguments.push_back(dynamicMemRef(1, f32));
  arguments.push_back(dynamicMemRef(2, f32));
  func::FuncOp function = create(name, arguments);
  OpBuilder builder = OpBuilder::atBlockBegin(function.addEntryBlock());
  KernelBuilder k(builder, module.getLoc(), target.getVectorLanes());
  LinearEmitter(k, target, function, bias).emit();
  func::ReturnOp::create(k.b, k.loc);
  return function;
}

func::FuncOp KernelLibrary::packRows() {
  constexpr llvm::StringLiteral name = "nju_pack_rows";
  if (func::FuncOp known = lookup(name))
    return known;
  Builder types(module.getContext());
  Type f32 = types.getF32Type();
  func::FuncOp function =
      create(name, {types.getIndexType(), types.getIndexType(),
                    dynamicMemRef(2, f32), dynamicMemRef(1, f32)});
  OpBuilder builder = OpBuilder::atBlockBegin(function.addEntryBlock());
  KernelBuilder k(builder, module.getLoc(), target.getVectorLanes());
  function.setArgAttr(2, exec::kRowsAttr, builder.getI64IntegerAttr(0));
  function->setAttr(exec::kIdleForOneRowAttr, builder.getUnitAttr());
  Value x = function.getArgument(2), xp = function.getArgument(3);
  Value rows = k.dim(x, 0), depth = k.dim(x, 1);
  auto [begin, end] =
      k.share(rows, function.getArgument(0), function.getArgument(1));
  k.ifThen(k.less(k.index(1), rows), [&, begin = begin, end = end] {
    Value blocks = k.ceilDiv(rows, tileShape(target).rows);
    // Of each block that some of the worker's rows are in, those rows.
    k.loop(k.index(0), blocks, [&](Value number) {
      RowBlock block = rowBlock(k, rows, blocks, number);
      Value first = k.sub(k.max(begin, block.begin), block.begin);
      Value last = k.min(end, k.add(block.begin, block.size));
      last = k.sub(k.max(last, block.begin), block.begin);
      Value base = k.mul(block.begin, depth);
      k.ifThen(k.less(first, last), [&] {
        k.loop(k.index(0), depth, [&](Value at) {
          Value group = k.add(base, k.mul(at, block.size));
          k.loop(first, last, [&](Value r) {
            k.store(k.load(x, {k.add(block.begin, r), at}), xp,
                    {k.add(group, r)});
          });
        });
      });
    });
  });
  func::ReturnOp::create(k.b, k.loc);
  return function;
}
