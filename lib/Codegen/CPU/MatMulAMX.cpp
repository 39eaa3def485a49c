//===- MatMulAMX.cpp - Products in bf16 with AMX tiles ----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A tile product multiplies 16 rows by 32 k by 16 columns in 16 cycles, and has
// to get its operands from the caches, which are the bottleneck:
//
//   for each group of up to 8 panels, which are dealt out to the workers
//     for each 512 rows: the sums of group and rows stay in L2
//       for each block of 256 k, for each panel of the group
//         the block of the panel is converted once, into 16 KB in L1
//         for each 32 rows: 2 x 2 tiles, in registers over the block of k
//
// Rows come from L2 then, and from beyond it once for a group. The weights are
// read once for 512 rows; the block of the next round is prefetched during the
// products.
//
// Up to 16 rows: reading the weights is all that counts. Two panels far apart
// are read at once, 32 k of each converted one step ahead of their product.
//
// All numbers of rows take the same instructions in the same order of k, so a
// row's result does not depend on the others.
//
//===----------------------------------------------------------------------===//

#include "MatMulAMX.h"
#include "LinearOperands.h"
#include "mlir/Dialect/AMX/AMXDialect.h"
#include "nju/Dialect/Exec/IR/KernelAttributes.h"
#include "nju/Dialect/NJU/IR/NJU.h"

using namespace mlir;
using namespace nju;

using Value = KernelBuilder::Value;
using Values = KernelBuilder::Values;

/// Rows, and columns, of a tile of sums.
static constexpr int64_t kTile = kTileRows;
/// Elements of k in a tile of bf16: a row of it is 64 bytes.
static constexpr int64_t kStep = kTileDepth;
/// Steps in a block of k.
static constexpr int64_t kBlockSteps = 8;
/// Tiles of 16 rows whose sums are kept.
static constexpr int64_t kRowTiles = 32;
/// Panels whose sums are kept.
static constexpr int64_t kGroup = 8;
/// Tiles across the columns of a panel.
static constexpr int64_t kHalves = kPanelColumns / kTile;
/// Weight rows (a cache line each) prefetched in each step of a 32-row block:
/// the whole next block in the time of 256 rows.
static constexpr int64_t kPrefetchRows = 4;

/// 32 elements of a row of x from k = `at` on, as bf16; zeros from `end` on
/// where that is given.
static Value loadRow(KernelBuilder &k, Value x, Value row, Value at,
                     Value end = nullptr) {
  Value halves[2];
  for (int64_t i = 0; i < 2; ++i) {
    Value first = k.add(at, i * kTile);
    if (!end) {
      halves[i] = k.loadVector(x, {row, first}, kTile);
      continue;
    }
    // The second half may begin behind the end.
    Value begin = k.min(first, end);
    auto lanes = VectorType::get({kTile}, k.b.getI1Type());
    Value mask =
        vector::CreateMaskOp::create(k.b, k.loc, lanes, k.sub(end, begin));
    halves[i] = vector::MaskedLoadOp::create(k.b, k.loc, k.vectorType(kTile), x,
                                             ValueRange{row, begin}, mask,
                                             k.splat(0.0f, kTile));
  }
  return k.toBF16(halves[0], halves[1]);
}

/// Packed rows as [tiles of 16 rows, steps, 16, 32].
static Value rowTiles(KernelBuilder &k, Value xp, Value rows, Value steps) {
  Value tiles = k.ceilDiv(rows, kTile);
  Value stride = k.mul(steps, kTile * kStep);
  auto index = [&](int64_t value) { return k.b.getIndexAttr(value); };
  int64_t dynamic = ShapedType::kDynamic;
  auto type = MemRefType::get(
      {dynamic, dynamic, kTile, kStep}, k.b.getBF16Type(),
      StridedLayoutAttr::get(k.b.getContext(), 0,
                             {dynamic, kTile * kStep, kStep, 1}));
  return memref::ReinterpretCastOp::create(
      k.b, k.loc, type, xp, index(0),
      ArrayRef<OpFoldResult>{tiles, steps, index(kTile), index(kStep)},
      ArrayRef<OpFoldResult>{stride, index(kTile * kStep), index(kStep),
                             index(1)});
}

namespace {

/// A panel of one of the weights.
struct Panel {
  Value weights, number;
};

/// Emits the body of `linear` for AMX.
class TileLinearEmitter : LinearOperands {
public:
  TileLinearEmitter(KernelBuilder &k, const CPUTarget &target,
                    const LinearOptions &options, func::FuncOp function);

  void emit();

private:
  void emitFewRows(bool one);
  void emitFewRows(ArrayRef<Value> panels, bool one);
  void emitRows();
  void emitGroup(Value begin, Value end, Value row);
  void emitBlockOfDepth(Panel panel, Value slot, Value row, Value count,
                        Value begin, Value end, Value next);
  void emitTiles(int64_t count, Value slot, Value tile, Value row, Value begin,
                 Value end, llvm::function_ref<void(Value)> prefetch);
  Value weightRow(Panel panel, Value row, Value valid = nullptr);
  void convertPair(Panel panel, Value row, Value slot, Value pair, bool tail);
  void convertStep(Panel panel, Value step, Value slot);
  void prepare(ArrayRef<Panel> panels, Value step, bool one);
  void storePanel(Value panel, ArrayRef<Value> slots, Value row, Value count);

  Value loadTile(Value memref, ValueRange indices);
  Value loadSums(Value slot, Value tile, int64_t half);
  Value zeroSums();
  void storeSums(Value sums, Value slot, Value tile, int64_t half);
  Value multiply(Value a, Value b, Value sums);

  const CPUTarget &target;
  Value fullSteps, steps;
  /// x as tiles; a group's sums; a block of a panel, for each k-step the two
  /// tiles of 16 columns; two steps of a single row.
  Value tiles, sums, block, rowSteps;
};

} // namespace

TileLinearEmitter::TileLinearEmitter(KernelBuilder &k, const CPUTarget &target,
                                     const LinearOptions &options,
                                     func::FuncOp function)
    : LinearOperands(k, options, function), target(target) {
  fullSteps = k.div(depth, kStep);
  steps = k.ceilDiv(depth, kStep);
  tiles = rowTiles(k, xp, rows, steps);
  Type bf16 = k.b.getBF16Type();
  sums =
      k.scratch({kGroup, kRowTiles, kHalves, kTile, kTile}, k.b.getF32Type());
  block = k.scratch({kBlockSteps, kHalves, kTile, kStep}, bf16);
  rowSteps = k.scratch({2 * kStep}, bf16);
}

//===----------------------------------------------------------------------===//
// Tiles
//===----------------------------------------------------------------------===//

Value TileLinearEmitter::loadTile(Value memref, ValueRange indices) {
  auto type = amx::TileType::get({kTile, kStep}, k.b.getBF16Type());
  return amx::TileLoadOp::create(k.b, k.loc, type, memref, indices);
}

Value TileLinearEmitter::loadSums(Value slot, Value tile, int64_t half) {
  auto type = amx::TileType::get({kTile, kTile}, k.b.getF32Type());
  Value zero = k.index(0);
  return amx::TileLoadOp::create(
      k.b, k.loc, type, sums,
      ValueRange{slot, tile, k.index(half), zero, zero});
}

Value TileLinearEmitter::zeroSums() {
  auto type = amx::TileType::get({kTile, kTile}, k.b.getF32Type());
  return amx::TileZeroOp::create(k.b, k.loc, type);
}

void TileLinearEmitter::storeSums(Value value, Value slot, Value tile,
                                  int64_t half) {
  Value zero = k.index(0);
  amx::TileStoreOp::create(k.b, k.loc, sums,
                           ValueRange{slot, tile, k.index(half), zero, zero},
                           value);
}

Value TileLinearEmitter::multiply(Value a, Value b, Value value) {
  return amx::TileMulFOp::create(k.b, k.loc, value.getType(), a, b, value);
}

//===----------------------------------------------------------------------===//
// Conversion of weights
//===----------------------------------------------------------------------===//

/// Row `row` of the panel in bf16; zeros where `valid` is given and false.
Value TileLinearEmitter::weightRow(Panel panel, Value row, Value valid) {
  auto type = VectorType::get({kPanelColumns}, k.b.getBF16Type());
  Value w = panel.weights, zero = k.index(0), value;
  if (cast<MemRefType>(w.getType()).getElementType().isBF16()) {
    value = vector::LoadOp::create(k.b, k.loc, type, w,
                                   ValueRange{panel.number, row, zero});
  } else {
    Value low = k.loadVector(w, {panel.number, row, zero}, kTile);
    Value high = k.loadVector(w, {panel.number, row, k.index(kTile)}, kTile);
    value = k.toBF16(low, high);
  }
  if (!valid)
    return value;
  Value none = arith::ConstantOp::create(k.b, k.loc, k.b.getZeroAttr(type));
  return arith::SelectOp::create(k.b, k.loc, valid, value, none);
}

/// Rows `row` and `row` + 1 of the panel become row `pair` of two tiles, their
/// elements in turn. A tile takes 4 columns of each 8, which is one instruction
/// for a tile; `storePanel` puts columns in order.
void TileLinearEmitter::convertPair(Panel panel, Value row, Value slot,
                                    Value pair, bool tail) {
  auto words = VectorType::get({kPanelColumns}, k.b.getI16Type());
  auto type = VectorType::get({kStep}, k.b.getBF16Type());
  Value halves[2];
  for (int64_t i = 0; i < 2; ++i) {
    Value at = k.add(row, i), valid;
    if (tail) {
      valid = k.less(at, depth);
      at = k.min(at, k.sub(depth, k.index(1)));
    }
    halves[i] = vector::BitCastOp::create(k.b, k.loc, words,
                                          weightRow(panel, at, valid));
  }
  for (int64_t half = 0; half < kHalves; ++half) {
    llvm::SmallVector<int64_t> order;
    for (int64_t eight = 0; eight < kPanelColumns; eight += 8)
      for (int64_t i = 0; i < 4; ++i) {
        order.push_back(eight + 4 * half + i);
        order.push_back(kPanelColumns + eight + 4 * half + i);
      }
    Value mixed =
        vector::ShuffleOp::create(k.b, k.loc, halves[0], halves[1], order);
    mixed = vector::BitCastOp::create(k.b, k.loc, type, mixed);
    k.storeVector(mixed, block, {slot, k.index(half), pair, k.index(0)});
  }
}

/// Step `step` of the panel, to place `slot` of the block. Behind the last row
/// are zeros.
void TileLinearEmitter::convertStep(Panel panel, Value step, Value slot) {
  Value first = k.mul(step, kStep);
  auto convert = [&](bool tail) {
    k.loop(k.index(0), k.index(kTile), [&](Value pair) {
      Value row = k.add(first, k.mul(pair, 2));
      if (int64_t distance = target.getPrefetchBytes())
        for (int64_t i = 0; i < 2; ++i)
          k.prefetch(panel.weights,
                     {panel.number,
                      k.add(row, i + distance / (2 * kPanelColumns)),
                      k.index(0)});
      convertPair(panel, row, slot, pair, tail);
    });
  };
  k.ifThenElse(
      k.less(step, fullSteps), [&] { convert(false); }, [&] { convert(true); });
}

//===----------------------------------------------------------------------===//
// Results
//===----------------------------------------------------------------------===//

/// Stores what becomes of the sums at `slots`, one of each of the weights, as
/// the rows from `row` on of y, `count` of them.
void TileLinearEmitter::storePanel(Value panel, ArrayRef<Value> slots,
                                   Value row, Value count) {
  Values columns, masks;
  for (int64_t half = 0; half < kHalves; ++half) {
    columns.push_back(k.add(k.mul(panel, kPanelColumns), half * kTile));
    masks.push_back(maskOf(columns.back()));
  }
  k.loop(k.index(0), count, [&](Value i) {
    Values products[kHalves];
    for (Value slot : slots) {
      Value halves[kHalves];
      for (int64_t half = 0; half < kHalves; ++half)
        halves[half] = k.loadVector(sums, {slot, k.div(i, kTile), k.index(half),
                                           k.rem(i, kTile), k.index(0)});
      for (int64_t half = 0; half < kHalves; ++half) {
        llvm::SmallVector<int64_t> order;
        for (int64_t c = half * kTile; c < (half + 1) * kTile; ++c)
          order.push_back((c % 8 / 4) * kTile + c / 8 * 4 + c % 4);
        products[half].push_back(
            vector::ShuffleOp::create(k.b, k.loc, halves[0], halves[1], order));
      }
    }
    for (int64_t half = 0; half < kHalves; ++half)
      store(products[half], k.add(row, i), columns[half], masks[half]);
  });
}

//===----------------------------------------------------------------------===//
// Up to 16 rows
//===----------------------------------------------------------------------===//

/// Converts step `step` of the panels, and of x where it is one row.
void TileLinearEmitter::prepare(ArrayRef<Panel> panels, Value step, bool one) {
  Value turn = k.rem(step, 2);
  if (one) {
    Value at = k.mul(step, kStep), place = k.mul(turn, kStep);
    Value zero = k.index(0);
    k.ifThenElse(
        k.less(step, fullSteps),
        [&] { k.storeVector(loadRow(k, x, zero, at), rowSteps, {place}); },
        [&] {
          k.storeVector(loadRow(k, x, zero, at, depth), rowSteps, {place});
        });
  }
  for (auto [i, panel] : llvm::enumerate(panels))
    convertStep(panel, step, k.add(k.mul(turn, 2), i));
}

/// All rows in the panels of these numbers of all weights, which are one or two
/// together. Where x is one row, all rows of its tile are that row.
void TileLinearEmitter::emitFewRows(ArrayRef<Value> numbers, bool one) {
  Value zero = k.index(0);
  llvm::SmallVector<Panel> sources;
  for (Value number : numbers)
    for (Value w : weights)
      sources.push_back({w, number});
  prepare(sources, zero, one);
  Values carried;
  for (size_t i = 0; i < sources.size() * kHalves; ++i)
    carried.push_back(zeroSums());
  carried =
      k.loop(zero, steps, k.index(1), carried, [&](Value step, Values values) {
        Value next = k.add(step, 1), turn = k.rem(step, 2);
        k.ifThen(k.less(next, steps), [&] { prepare(sources, next, one); });
        Value a;
        if (one)
          a = amx::TileLoadOp::create(
              k.b, k.loc, amx::TileType::get({kTile, kStep}, k.b.getBF16Type()),
              rowSteps, ValueRange{k.mul(turn, kStep)}, /*stride=*/zero);
        else
          a = loadTile(tiles, {zero, step, zero, zero});
        for (size_t i = 0; i < sources.size(); ++i)
          for (int64_t half = 0; half < kHalves; ++half) {
            Value b = loadTile(
                block, {k.add(k.mul(turn, 2), i), k.index(half), zero, zero});
            Value &value = values[i * kHalves + half];
            value = multiply(a, b, value);
          }
        return values;
      });
  for (size_t i = 0; i < sources.size(); ++i)
    for (int64_t half = 0; half < kHalves; ++half)
      storeSums(carried[i * kHalves + half], k.index(i), zero, half);
  for (auto [i, number] : llvm::enumerate(numbers)) {
    Values slots;
    for (size_t w = 0; w < weights.size(); ++w)
      slots.push_back(k.index(i * weights.size() + w));
    storePanel(number, slots, zero, rows);
  }
}

/// Two streams, of one matrix of weights or of two.
void TileLinearEmitter::emitFewRows(bool one) {
  dealPanels(2 / weights.size(),
             [&](ArrayRef<Value> numbers) { emitFewRows(numbers, one); });
}

//===----------------------------------------------------------------------===//
// Many rows
//===----------------------------------------------------------------------===//

/// Adds the products of the k-steps [begin, end) to the sums of `count` tiles
/// of 16 rows from tile `tile` of the sums on, which is tile `row` + `tile` of
/// x. Calls `prefetch` in each step.
void TileLinearEmitter::emitTiles(int64_t count, Value slot, Value tile,
                                  Value row, Value begin, Value end,
                                  llvm::function_ref<void(Value)> prefetch) {
  Value zero = k.index(0);
  auto perTile = [&](llvm::function_ref<Value(int64_t, int64_t)> value) {
    Values values;
    for (int64_t r = 0; r < count; ++r)
      for (int64_t half = 0; half < kHalves; ++half)
        values.push_back(value(r, half));
    return values;
  };
  llvm::SmallVector<Type> types(
      count * kHalves, amx::TileType::get({kTile, kTile}, k.b.getF32Type()));
  auto start = scf::IfOp::create(k.b, k.loc, types, k.equal(begin, 0),
                                 /*withElseRegion=*/true);
  {
    OpBuilder::InsertionGuard guard(k.b);
    k.b.setInsertionPointToStart(start.thenBlock());
    auto zeros = perTile([&](int64_t, int64_t) { return zeroSums(); });
    scf::YieldOp::create(k.b, k.loc, zeros);
    k.b.setInsertionPointToStart(start.elseBlock());
    auto loaded = perTile([&](int64_t r, int64_t half) {
      return loadSums(slot, k.add(tile, r), half);
    });
    scf::YieldOp::create(k.b, k.loc, loaded);
  }
  Values values = k.loop(
      begin, end, k.index(1), Values(start.getResults()),
      [&](Value step, Values values) {
        prefetch(step);
        Values a, b;
        for (int64_t half = 0; half < kHalves; ++half)
          b.push_back(
              loadTile(block, {k.sub(step, begin), k.index(half), zero, zero}));
        for (int64_t r = 0; r < count; ++r)
          a.push_back(
              loadTile(tiles, {k.add(k.add(row, tile), r), step, zero, zero}));
        return perTile([&](int64_t r, int64_t half) {
          return multiply(a[r], b[half], values[r * kHalves + half]);
        });
      });
  for (int64_t r = 0; r < count; ++r)
    for (int64_t half = 0; half < kHalves; ++half)
      storeSums(values[r * kHalves + half], slot, k.add(tile, r), half);
}

/// Adds the products of the k-steps [begin, end) of the panel to the sums at
/// `slot`, for `count` tiles of rows from tile `row` of x on. Prefetches as
/// many steps of panel `next` from the row of weights on that follows, or from
/// the first after the last.
void TileLinearEmitter::emitBlockOfDepth(Panel panel, Value slot, Value row,
                                         Value count, Value begin, Value end,
                                         Value next) {
  k.loop(begin, end,
         [&](Value step) { convertStep(panel, step, k.sub(step, begin)); });
  Value last =
      arith::CmpIOp::create(k.b, k.loc, arith::CmpIPredicate::eq, end, steps);
  Value nextPanel =
      arith::SelectOp::create(k.b, k.loc, last, next, panel.number);
  Value nextRow =
      arith::SelectOp::create(k.b, k.loc, last, k.index(0), k.mul(end, kStep));
  auto emit = [&](int64_t size, Value tile) {
    Value before = k.mul(k.div(tile, 2), kBlockSteps * kPrefetchRows);
    emitTiles(size, slot, tile, row, begin, end, [&](Value step) {
      Value ahead = k.add(before, k.mul(k.sub(step, begin), kPrefetchRows));
      for (int64_t i = 0; i < kPrefetchRows; ++i)
        memref::PrefetchOp::create(
            k.b, k.loc, panel.weights,
            ValueRange{nextPanel, k.add(k.add(nextRow, ahead), i), k.index(0)},
            /*isWrite=*/false, /*localityHint=*/2, /*isDataCache=*/true);
    });
  };
  Value pairs = k.mul(k.div(count, 2), 2);
  k.loop(k.index(0), pairs, k.index(2), [&](Value tile) { emit(2, tile); });
  k.ifThen(k.less(pairs, count), [&] { emit(1, pairs); });
}

/// The panels [begin, end) of all weights for the rows from `row` on, as many
/// as there are sums for.
void TileLinearEmitter::emitGroup(Value begin, Value end, Value row) {
  Value count = k.min(k.sub(rows, row), k.index(kRowTiles * kTile));
  Value tileCount = k.ceilDiv(count, kTile), first = k.div(row, kTile);
  Value size = k.sub(end, begin);
  auto slotsOf = [&](Value panel) {
    Values slots{k.sub(panel, begin)};
    while (slots.size() < weights.size())
      slots.push_back(k.add(slots.back(), size));
    return slots;
  };
  k.loop(k.index(0), steps, k.index(kBlockSteps), [&](Value step) {
    Value stepEnd = k.min(k.add(step, kBlockSteps), steps);
    k.loop(begin, end, [&](Value panel) {
      for (auto [w, slot] : llvm::zip_equal(weights, slotsOf(panel)))
        emitBlockOfDepth({w, panel}, slot, first, tileCount, step, stepEnd,
                         k.add(panel, size));
    });
  });
  k.loop(begin, end,
         [&](Value panel) { storePanel(panel, slotsOf(panel), row, count); });
}

/// All panels, in groups for whose sums there is room, but every worker gets
/// one.
void TileLinearEmitter::emitRows() {
  int64_t most = kGroup / weights.size();
  Value size = k.min(k.ceilDiv(panels, workers), k.index(most));
  deal(k.ceilDiv(panels, size), [&](Value group) {
    Value begin = k.mul(group, size);
    Value end = k.min(k.add(begin, size), panels);
    k.loop(k.index(0), rows, k.index(kRowTiles * kTile),
           [&](Value row) { emitGroup(begin, end, row); });
  });
}

void TileLinearEmitter::emit() {
  k.ifThenElse(
      k.equal(rows, 1), [&] { emitFewRows(/*one=*/true); },
      [&] {
        // No rows are many: there is no tile of them to read.
        Value few = k.less(k.sub(rows, k.index(1)), k.index(kTile));
        k.ifThenElse(
            few, [&] { emitFewRows(/*one=*/false); }, [&] { emitRows(); });
      });
}

void nju::emitTileLinear(OpBuilder builder, const CPUTarget &target,
                         const LinearOptions &options, func::FuncOp function) {
  // Inlined, it would add to the stack of its caller, and its tiles would not
  // survive the calls there.
  function->setAttr("passthrough", builder.getStrArrayAttr({"noinline"}));
  // Sums come in vectors of a tile's row, also where AMX is emulated.
  KernelBuilder k(builder, function.getLoc(), kTile);
  TileLinearEmitter(k, target, options, function).emit();
}

/// Packs the rows [begin, end) of x into tiles.
void nju::emitPackTiles(KernelBuilder &k, Value x, Value xp, Value begin,
                        Value end) {
  Value depth = k.dim(x, 1);
  Value fullSteps = k.div(depth, kStep), steps = k.ceilDiv(depth, kStep);
  Value tiles = rowTiles(k, xp, k.dim(x, 0), steps);
  k.loop(begin, end, [&](Value row) {
    auto store = [&](Value step, Value value) {
      k.storeVector(value, tiles,
                    {k.div(row, kTile), step, k.rem(row, kTile), k.index(0)});
    };
    k.loop(k.index(0), fullSteps, [&](Value step) {
      store(step, loadRow(k, x, row, k.mul(step, kStep)));
    });
    k.ifThen(k.less(fullSteps, steps), [&] {
      store(fullSteps, loadRow(k, x, row, k.mul(fullSteps, kStep), depth));
    });
  });
}
