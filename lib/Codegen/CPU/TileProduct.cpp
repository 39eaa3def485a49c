//===- TileProduct.cpp - Products of many rows with AMX tiles ---*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TileProduct.h"
#include "mlir/Dialect/AMX/AMXDialect.h"
#include "nju/Dialect/Exec/IR/KernelAttributes.h"

using namespace mlir;
using namespace nju;

using Value = TileProduct::Value;
using Values = TileProduct::Values;

/// Tiles of 16 rows whose sums are kept.
static constexpr int64_t kRowTiles = 32;
/// Panels whose sums are kept.
static constexpr int64_t kGroup = 8;

//===----------------------------------------------------------------------===//
// Tiles
//===----------------------------------------------------------------------===//

static amx::TileType sumsType(KernelBuilder &k) {
  return amx::TileType::get({kTileRows, kTileRows}, k.b.getF32Type());
}

Value nju::loadTile(KernelBuilder &k, Value memref, ValueRange indices) {
  Type element = cast<MemRefType>(memref.getType()).getElementType();
  auto type = element.isF32()
                  ? sumsType(k)
                  : amx::TileType::get({kTileRows, kTileDepth}, element);
  return amx::TileLoadOp::create(k.b, k.loc, type, memref, indices);
}

void nju::storeTile(KernelBuilder &k, Value tile, Value memref,
                    ValueRange indices) {
  amx::TileStoreOp::create(k.b, k.loc, memref, indices, tile);
}

Value nju::zeroTile(KernelBuilder &k) {
  return amx::TileZeroOp::create(k.b, k.loc, sumsType(k));
}

Value nju::toPairs(KernelBuilder &k, Value even, Value odd) {
  llvm::SmallVector<int64_t> order;
  for (int64_t i = 0; i < kTileRows; ++i)
    order.append({i, kTileRows + i});
  Value both = k.toBF16(even, odd);
  return vector::ShuffleOp::create(k.b, k.loc, both, both, order);
}

Value nju::addTileProduct(KernelBuilder &k, Value a, Value b, Value sums) {
  return amx::TileMulFOp::create(k.b, k.loc, sums.getType(), a, b, sums);
}

//===----------------------------------------------------------------------===//
// Rows
//===----------------------------------------------------------------------===//

Value nju::loadTileRow(KernelBuilder &k, Value x, Value row, Value at,
                       Value end) {
  Value halves[2];
  for (int64_t i = 0; i < 2; ++i) {
    Value first = k.add(at, i * kTileRows);
    if (!end) {
      halves[i] = k.loadVector(x, {row, first}, kTileRows);
      continue;
    }
    // The second half may begin behind the end.
    Value begin = k.min(first, end);
    auto lanes = VectorType::get({kTileRows}, k.b.getI1Type());
    Value mask =
        vector::CreateMaskOp::create(k.b, k.loc, lanes, k.sub(end, begin));
    halves[i] = vector::MaskedLoadOp::create(
        k.b, k.loc, k.vectorType(kTileRows), x, ValueRange{row, begin}, mask,
        k.splat(0.0f, kTileRows));
  }
  return k.toBF16(halves[0], halves[1]);
}

/// Packed rows as [tiles of 16 rows, steps, 16, 32].
static Value rowTiles(KernelBuilder &k, Value packed, Value rows, Value steps) {
  Value tiles = k.ceilDiv(rows, kTileRows);
  Value stride = k.mul(steps, kTileRows * kTileDepth);
  auto index = [&](int64_t value) { return k.b.getIndexAttr(value); };
  int64_t dynamic = ShapedType::kDynamic;
  auto type = MemRefType::get(
      {dynamic, dynamic, kTileRows, kTileDepth}, k.b.getBF16Type(),
      StridedLayoutAttr::get(k.b.getContext(), 0,
                             {dynamic, kTileRows * kTileDepth, kTileDepth, 1}));
  return memref::ReinterpretCastOp::create(
      k.b, k.loc, type, packed, index(0),
      ArrayRef<OpFoldResult>{tiles, steps, index(kTileRows), index(kTileDepth)},
      ArrayRef<OpFoldResult>{stride, index(kTileRows * kTileDepth),
                             index(kTileDepth), index(1)});
}

Value nju::asTiles(KernelBuilder &k, Value bytes) {
  Type type = dynamicMemRef(1, k.b.getBF16Type());
  return memref::ViewOp::create(k.b, k.loc, type, bytes, k.index(0),
                                ValueRange{k.div(k.dim(bytes, 0), 2)});
}

Value nju::getRowTiles(KernelBuilder &k, Value bytes, Value rows, Value depth) {
  return rowTiles(k, asTiles(k, k.flatten(bytes)), rows,
                  k.ceilDiv(depth, kTileDepth));
}

static void storeTileRow(KernelBuilder &k, Value value, Value tiles, Value row,
                         Value step) {
  k.storeVector(
      value, tiles,
      {k.div(row, kTileRows), step, k.rem(row, kTileRows), k.index(0)});
}

void nju::storeTileRow(KernelBuilder &k, Value low, Value high, Value tiles,
                       Value row, Value step) {
  ::storeTileRow(k, k.toBF16(low, high), tiles, row, step);
}

void nju::emitPackTiles(KernelBuilder &k, Value x, Value packed, Value begin,
                        Value end) {
  Value depth = k.dim(x, 1);
  Value fullSteps = k.div(depth, kTileDepth);
  Value steps = k.ceilDiv(depth, kTileDepth);
  Value tiles = rowTiles(k, packed, k.dim(x, 0), steps);
  k.loop(begin, end, [&](Value row) {
    auto store = [&](Value step, Value value) {
      ::storeTileRow(k, value, tiles, row, step);
    };
    k.loop(k.index(0), fullSteps, [&](Value step) {
      store(step, loadTileRow(k, x, row, k.mul(step, kTileDepth)));
    });
    k.ifThen(k.less(fullSteps, steps), [&] {
      store(fullSteps,
            loadTileRow(k, x, row, k.mul(fullSteps, kTileDepth), depth));
    });
  });
}

//===----------------------------------------------------------------------===//
// Operands
//===----------------------------------------------------------------------===//

TileProduct::TileProduct(KernelBuilder &k, Value packed, Value rows,
                         Value depth, int64_t matrices)
    : steps(k.ceilDiv(depth, kTileDepth)), k(k), rows(rows),
      matrices(matrices) {
  tiles = rowTiles(k, packed, rows, steps);
  sums = k.scratch({kGroup, kRowTiles, kHalves, kTileRows, kTileRows},
                   k.b.getF32Type());
  block = k.scratch({kBlockSteps, kHalves, kTileRows, kTileDepth},
                    k.b.getBF16Type());
}

Value TileProduct::loadRows(ValueRange indices) {
  Value tile = loadTile(k, tiles, indices);
  tile.getDefiningOp()->setAttr(exec::kStreamsAttr, k.b.getUnitAttr());
  return tile;
}

Value TileProduct::loadSums(Value slot, Value tile, int64_t half) {
  Value zero = k.index(0);
  return loadTile(k, sums, {slot, tile, k.index(half), zero, zero});
}

void TileProduct::storeSums(Value value, Value slot, Value tile, int64_t half) {
  Value zero = k.index(0);
  storeTile(k, value, sums, {slot, tile, k.index(half), zero, zero});
}

Values TileProduct::loadSumsOfRow(Value slot, Value row) {
  Values halves;
  for (int64_t half = 0; half < kHalves; ++half)
    halves.push_back(
        k.loadVector(sums, {slot, k.div(row, kTileRows), k.index(half),
                            k.rem(row, kTileRows), k.index(0)}));
  return halves;
}

void TileProduct::storeWeights(Value pairs, Value step, int64_t half,
                               Value pair) {
  k.storeVector(pairs, block, {step, k.index(half), pair, k.index(0)});
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

std::pair<Value, Value> TileProduct::getNext(const Block &block) {
  Value isLast = k.equal(block.end, steps);
  return {k.select(isLast, block.nextPanel, block.panel),
          k.select(isLast, k.index(0), block.end)};
}

/// The sums of `count` tiles of rows from tile `tile` of a block on, as they
/// are before its steps.
Values TileProduct::startSums(const Block &block, int64_t count, Value tile) {
  auto perTile = [&](llvm::function_ref<Value(int64_t, int64_t)> value) {
    Values values;
    for (int64_t r = 0; r < count; ++r)
      for (int64_t half = 0; half < kHalves; ++half)
        values.push_back(value(r, half));
    scf::YieldOp::create(k.b, k.loc, values);
  };
  llvm::SmallVector<Type> types(count * kHalves, sumsType(k));
  auto start = scf::IfOp::create(k.b, k.loc, types, k.equal(block.begin, 0),
                                 /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(k.b);
  k.b.setInsertionPointToStart(start.thenBlock());
  perTile([&](int64_t, int64_t) { return zeroTile(k); });
  k.b.setInsertionPointToStart(start.elseBlock());
  perTile([&](int64_t r, int64_t half) {
    return loadSums(block.slot, k.add(tile, r), half);
  });
  return Values(start.getResults());
}

/// Of the sums of the two tiles of rows from `tile` on, what one of a block's
/// steps prefetches.
void TileProduct::prefetchSums(const Block &block, Value tile, Value step) {
  constexpr int64_t lines = 2 * kHalves * kTileRows / kBlockSteps;
  for (int64_t i = 0; i < lines; ++i) {
    Value line = k.add(k.mul(step, lines), i);
    Value own = k.rem(line, kTileRows), part = k.div(line, kTileRows);
    memref::PrefetchOp::create(
        k.b, k.loc, sums,
        ValueRange{block.slot, k.add(tile, k.div(part, kHalves)),
                   k.rem(part, kHalves), own, k.index(0)},
        /*isWrite=*/false, /*localityHint=*/3, /*isDataCache=*/true);
  }
}

/// Adds the products of a block to the sums of `count` tiles of its rows from
/// tile `tile` on.
void TileProduct::multiplyTiles(const Block &block, int64_t count, Value tile,
                                const Callbacks &callbacks) {
  Value zero = k.index(0);
  Value turns = k.mul(k.div(tile, 2), k.sub(block.end, block.begin));
  Values found = k.loop(
      block.begin, block.end, k.index(1), startSums(block, count, tile),
      [&](Value step, Values values) {
        Value own = k.sub(step, block.begin);
        callbacks.prefetch(block, k.add(turns, own));
        prefetchSums(block, k.add(tile, count), own);
        Values a, b;
        for (int64_t half = 0; half < kHalves; ++half)
          b.push_back(loadWeights({own, k.index(half), zero, zero}));
        for (int64_t r = 0; r < count; ++r)
          a.push_back(
              loadRows({k.add(k.add(block.row, tile), r), step, zero, zero}));
        for (auto [i, value] : llvm::enumerate(values))
          value = addTileProduct(k, a[i / kHalves], b[i % kHalves], value);
        return values;
      });
  for (auto [i, value] : llvm::enumerate(found))
    storeSums(value, block.slot, k.add(tile, i / kHalves), i % kHalves);
}

void TileProduct::multiplyBlock(const Block &block,
                                const Callbacks &callbacks) {
  callbacks.convert(block);
  Value pairs = k.mul(k.div(block.count, 2), 2);
  k.loop(k.index(0), pairs, k.index(2),
         [&](Value tile) { multiplyTiles(block, 2, tile, callbacks); });
  k.ifThen(k.less(pairs, block.count),
           [&] { multiplyTiles(block, 1, pairs, callbacks); });
}

/// The panels [begin, end) of all matrices for the rows from `row` on, as many
/// as there are sums for.
void TileProduct::emitGroup(Value begin, Value end, Value row,
                            const Callbacks &callbacks) {
  Value count = k.min(k.sub(rows, row), k.index(kRowTiles * kTileRows));
  Value tileCount = k.ceilDiv(count, kTileRows), first = k.div(row, kTileRows);
  Value size = k.sub(end, begin);
  auto slotsOf = [&](Value panel) {
    Values slots{k.sub(panel, begin)};
    while (int64_t(slots.size()) < matrices)
      slots.push_back(k.add(slots.back(), size));
    return slots;
  };
  k.loop(k.index(0), steps, k.index(kBlockSteps), [&](Value step) {
    Value stepEnd = k.min(k.add(step, kBlockSteps), steps);
    k.loop(begin, end, [&](Value panel) {
      Values slots = slotsOf(panel);
      for (int64_t matrix = 0; matrix < matrices; ++matrix)
        multiplyBlock({matrix, panel, k.add(panel, size), slots[matrix], first,
                       tileCount, step, stepEnd},
                      callbacks);
    });
  });
  // Of a row, all panels: they are neighbours in y.
  k.loop(k.index(0), count, [&](Value own) {
    k.loop(begin, end, [&](Value panel) {
      callbacks.store(panel, slotsOf(panel), k.add(row, own), own);
    });
  });
}

/// All panels, in groups for whose sums there is room, but every worker gets
/// one.
void TileProduct::emit(Value panels, Value workers,
                       const Callbacks &callbacks) {
  Value size = k.min(k.ceilDiv(panels, workers), k.index(kGroup / matrices));
  callbacks.deal(k.ceilDiv(panels, size), [&](Value group) {
    Value begin = k.mul(group, size);
    Value end = k.min(k.add(begin, size), panels);
    k.loop(k.index(0), rows, k.index(kRowTiles * kTileRows),
           [&](Value row) { emitGroup(begin, end, row, callbacks); });
  });
}
