//===- MatMulAMX.cpp - Products in bf16 with AMX tiles ----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Many rows: see TileProduct.h. The block of a panel that comes next is
// prefetched during the products.
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

static constexpr int64_t kTile = kTileRows, kStep = kTileDepth;
static constexpr int64_t kHalves = TileProduct::kHalves;
static_assert(kHalves * kTile == kPanelColumns);
/// Weight rows (a cache line each) prefetched in each step of a 32-row block:
/// the whole next block in the time of 512 rows.
static constexpr int64_t kPrefetchRows = 2;

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
  Value weightRow(Panel panel, Value row, Value valid = nullptr);
  void convertPair(Panel panel, Value row, Value slot, Value pair, bool tail);
  void convertStep(Panel panel, Value step, Value slot);
  void prefetch(const TileProduct::Block &block, Value turn);
  void prepare(ArrayRef<Panel> panels, Value step, bool one);
  void storeRow(Value panel, ArrayRef<Value> slots, Value row, Value own);

  const CPUTarget &target;
  TileProduct product;
  Value fullSteps;
  Value rowSteps; ///< Two steps of a single row.
};

} // namespace

TileLinearEmitter::TileLinearEmitter(KernelBuilder &k, const CPUTarget &target,
                                     const LinearOptions &options,
                                     func::FuncOp function)
    : LinearOperands(k, options, function), target(target),
      product(k, xp, rows, depth, weights.size()),
      fullSteps(k.div(depth, kStep)),
      rowSteps(k.scratch({2 * kStep}, k.b.getBF16Type())) {}

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
/// for a tile; `storeRow` puts columns in order.
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
    product.storeWeights(mixed, slot, half, pair);
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

/// Stores what becomes of row `own` of the sums at `slots`, one of each of the
/// weights, as row `row` of y.
void TileLinearEmitter::storeRow(Value panel, ArrayRef<Value> slots, Value row,
                                 Value own) {
  Values products[kHalves];
  for (Value slot : slots) {
    Values halves = product.loadSumsOfRow(slot, own);
    for (int64_t half = 0; half < kHalves; ++half) {
      llvm::SmallVector<int64_t> order;
      for (int64_t c = half * kTile; c < (half + 1) * kTile; ++c)
        order.push_back((c % 8 / 4) * kTile + c / 8 * 4 + c % 4);
      products[half].push_back(
          vector::ShuffleOp::create(k.b, k.loc, halves[0], halves[1], order));
    }
  }
  for (int64_t half = 0; half < kHalves; ++half) {
    Value column = k.add(k.mul(panel, kPanelColumns), half * kTile);
    store(products[half], row, column, maskOf(column));
  }
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
        [&] { k.storeVector(loadTileRow(k, x, zero, at), rowSteps, {place}); },
        [&] {
          k.storeVector(loadTileRow(k, x, zero, at, depth), rowSteps, {place});
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
    carried.push_back(zeroTile(k));
  carried = k.loop(
      zero, product.steps, k.index(1), carried, [&](Value step, Values values) {
        Value next = k.add(step, 1), turn = k.rem(step, 2);
        k.ifThen(k.less(next, product.steps),
                 [&] { prepare(sources, next, one); });
        Value a;
        if (one)
          a = amx::TileLoadOp::create(
              k.b, k.loc, amx::TileType::get({kTile, kStep}, k.b.getBF16Type()),
              rowSteps, ValueRange{k.mul(turn, kStep)}, /*stride=*/zero);
        else
          a = product.loadRows({zero, step, zero, zero});
        for (size_t i = 0; i < sources.size(); ++i)
          for (int64_t half = 0; half < kHalves; ++half) {
            Value b = product.loadWeights(
                {k.add(k.mul(turn, 2), i), k.index(half), zero, zero});
            Value &value = values[i * kHalves + half];
            value = addTileProduct(k, a, b, value);
          }
        return values;
      });
  for (size_t i = 0; i < sources.size(); ++i)
    for (int64_t half = 0; half < kHalves; ++half)
      product.storeSums(carried[i * kHalves + half], k.index(i), zero, half);
  for (size_t i = 0; i < numbers.size(); ++i) {
    Values slots;
    for (size_t w = 0; w < weights.size(); ++w)
      slots.push_back(k.index(i * weights.size() + w));
    k.loop(zero, rows,
           [&](Value row) { storeRow(numbers[i], slots, row, row); });
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

/// Of the steps that follow a block's, some rows of weights.
void TileLinearEmitter::prefetch(const TileProduct::Block &block, Value turn) {
  auto [panel, step] = product.getNext(block);
  Value ahead = k.add(k.mul(step, kStep), k.mul(turn, kPrefetchRows));
  for (int64_t i = 0; i < kPrefetchRows; ++i)
    memref::PrefetchOp::create(k.b, k.loc, weights[block.matrix],
                               ValueRange{panel, k.add(ahead, i), k.index(0)},
                               /*isWrite=*/false, /*localityHint=*/2,
                               /*isDataCache=*/true);
}

void TileLinearEmitter::emitRows() {
  product.emit(panels, workers,
               {[&](Value count, llvm::function_ref<void(Value)> body) {
                  deal(count, body);
                },
                [&](const TileProduct::Block &block) {
                  k.loop(block.begin, block.end, [&](Value step) {
                    convertStep({weights[block.matrix], block.panel}, step,
                                k.sub(step, block.begin));
                  });
                },
                [&](const TileProduct::Block &block, Value turn) {
                  prefetch(block, turn);
                },
                [&](Value panel, ArrayRef<Value> slots, Value row, Value own) {
                  storeRow(panel, slots, row, own);
                }});
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
