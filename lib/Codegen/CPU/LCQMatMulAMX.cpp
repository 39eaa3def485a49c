//===- LCQMatMulAMX.cpp - LCQ products with AMX tiles -----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Many rows of x in bf16 times the dense weights, rounded to bf16: a panel are
// two tiles of 16 rows of weights, of which a block of k is dequantized for all
// rows. Integers would have to leave the tiles at the end of each group to be
// scaled, which takes longer than their products.
//
//===----------------------------------------------------------------------===//

#include "LCQMatMulAMX.h"
#include "LCQWeights.h"
#include "TileProduct.h"

using namespace mlir;
using namespace nju;

using Value = KernelBuilder::Value;
using Values = KernelBuilder::Values;

static constexpr int64_t kHalves = TileProduct::kHalves;
static_assert(kTileRows == LCQStream::kTileRows);

namespace {

/// Emits the body of `lcqLinear` for many rows with AMX.
class LCQTileEmitter : LinearResult {
public:
  /// `options` are those of x in f32: what is looked up are the entries.
  LCQTileEmitter(KernelBuilder &k, const CPUTarget &target,
                 const LCQLinearOptions &options, func::FuncOp function);
  void emit();

private:
  using Part = LCQWeights::Part;

  void convert(const TileProduct::Block &block);
  void convertGroup(LCQWeights &w, const Part &part, int64_t half, Value group,
                    const TileProduct::Block &block);
  void prefetch(const TileProduct::Block &block, Value turn);
  void clearRest(const LCQWeights &w, const TileProduct::Block &block);
  void storePairs(ArrayRef<Value> columns, Value column, int64_t half);
  void storeRow(Value panel, ArrayRef<Value> slots, Value row, Value own);

  const LCQLinearOptions &options;
  Value workers, next;
  std::vector<LCQWeights> weights;
  TileProduct product;
  Value packed; ///< Tiles that the result becomes rows of, or null.
};

} // namespace

LCQTileEmitter::LCQTileEmitter(KernelBuilder &k, const CPUTarget &target,
                               const LCQLinearOptions &options,
                               func::FuncOp function)
    : LinearResult(k, options.epilogue, options.others,
                   LCQWeights::getResultArguments(function, options)),
      options(options), workers(function.getArgument(1)),
      next(function.getArguments().back()),
      weights(LCQWeights::getAll(k, target, options,
                                 k.dim(function.getArgument(2), 1), function)),
      product(k, asTiles(k, k.flatten(function.getArgument(3))), rows,
              k.dim(function.getArgument(2), 1), options.weights) {
  if (options.packs)
    packed = getRowTiles(k, *std::prev(function.args_end(), 2), rows, columns);
}

//===----------------------------------------------------------------------===//
// Conversion of weights
//===----------------------------------------------------------------------===//

/// Stores some columns of a half, of which the first is column `column` of the
/// block: two of them, their elements in turn, are a row of a tile.
void LCQTileEmitter::storePairs(ArrayRef<Value> columns, Value column,
                                int64_t half) {
  Value step = k.div(column, kTileDepth);
  Value first = k.div(k.rem(column, kTileDepth), 2);
  for (size_t j = 0; j < columns.size(); j += 2)
    product.storeWeights(toPairs(k, columns[j], columns[j + 1]), step, half,
                         k.add(first, j / 2));
}

/// Of a group of a tile, the sets that are in the block.
void LCQTileEmitter::convertGroup(LCQWeights &w, const Part &part, int64_t half,
                                  Value group,
                                  const TileProduct::Block &block) {
  Value first = k.mul(group, options.group);
  Value blockBegin = k.mul(block.begin, kTileDepth);
  Value blockEnd = k.min(k.mul(block.end, kTileDepth), w.padded);
  Value begin = k.sub(k.max(blockBegin, first), first);
  Value end = k.sub(k.min(blockEnd, k.add(first, options.group)), first);
  Value own = w.getGroup(part.tile, group);
  Values scales = w.loadDenseScales(part, own);
  k.loop(k.div(begin, w.getSetColumns()), k.div(end, w.getSetColumns()),
         [&](Value set) {
           // The products of the block before brought it into L2.
           Values columns =
               w.dequantize(part, own, set, scales, /*distance=*/0);
           Value at = k.add(first, k.mul(set, w.getSetColumns()));
           storePairs(columns, k.sub(at, blockBegin), half);
         });
}

/// Of the codes that follow a block's in its matrix, a line of each tile.
void LCQTileEmitter::prefetch(const TileProduct::Block &block, Value turn) {
  LCQWeights &w = weights[block.matrix];
  auto [panel, step] = product.getNext(block);
  Value group = k.div(k.mul(step, kTileDepth), options.group);
  for (int64_t half = 0; half < kHalves; ++half) {
    Value begin = w.getGroup(k.add(k.mul(panel, kHalves), half), group);
    w.prefetch(k.add(begin, k.mul(turn, LCQStream::kLine)));
  }
}

/// Zeros for the columns that the last step has behind those of the weights.
void LCQTileEmitter::clearRest(const LCQWeights &w,
                               const TileProduct::Block &block) {
  Value blockBegin = k.mul(block.begin, kTileDepth);
  Value first = k.max(w.padded, blockBegin);
  Values zeros(2, k.splat(0.0f));
  k.loop(first, k.mul(block.end, kTileDepth), k.index(2), [&](Value column) {
    for (int64_t half = 0; half < kHalves; ++half)
      storePairs(zeros, k.sub(column, blockBegin), half);
  });
}

void LCQTileEmitter::convert(const TileProduct::Block &block) {
  LCQWeights &w = weights[block.matrix];
  Value last = k.sub(k.ceilDiv(columns, kTileRows), k.index(1));
  Value begin = k.div(k.mul(block.begin, kTileDepth), options.group);
  Value end =
      k.min(k.ceilDiv(k.mul(block.end, kTileDepth), options.group), w.groups);
  for (int64_t half = 0; half < kHalves; ++half) {
    // Behind an odd tile, it comes again.
    Value tile = k.min(k.add(k.mul(block.panel, kHalves), half), last);
    k.loop(begin, end, [&](Value group) {
      convertGroup(w, Part{tile, 0}, half, group, block);
    });
  }
  clearRest(w, block);
}

//===----------------------------------------------------------------------===//
// Results
//===----------------------------------------------------------------------===//

void LCQTileEmitter::storeRow(Value panel, ArrayRef<Value> slots, Value row,
                              Value own) {
  Values products[kHalves];
  for (Value slot : slots)
    for (auto [half, sums] : llvm::enumerate(product.loadSumsOfRow(slot, own)))
      products[half].push_back(sums);
  Value begin = k.mul(panel, kHalves * kTileRows);
  Values results;
  for (int64_t half = 0; half < kHalves; ++half) {
    // Behind an odd tile, nothing is stored.
    Value column = k.min(k.add(begin, half * kTileRows), columns);
    Value mask = maskOf(column);
    if (!packed) {
      store(products[half], row, column, mask);
      continue;
    }
    Value result = finish(products[half], row, column, mask);
    results.push_back(k.select(mask, result, k.splat(0.0f)));
  }
  if (packed)
    storeTileRow(k, results[0], results[1], packed, row, panel);
}

void LCQTileEmitter::emit() {
  product.emit(k.ceilDiv(columns, kHalves * kTileRows), workers,
               {[&](Value count, llvm::function_ref<void(Value)> body) {
                  k.deal(count, next, workers, body);
                },
                [&](const TileProduct::Block &block) { convert(block); },
                [&](const TileProduct::Block &block, Value turn) {
                  prefetch(block, turn);
                },
                [&](Value panel, ArrayRef<Value> slots, Value row, Value own) {
                  storeRow(panel, slots, row, own);
                }});
}

void nju::emitTileLCQLinear(OpBuilder builder, const CPUTarget &target,
                            const LCQLinearOptions &options,
                            func::FuncOp function) {
  // Inlined, its tiles would be configured, and its stack taken, for few rows,
  // too.
  function->setAttr("passthrough", builder.getStrArrayAttr({"noinline"}));
  KernelBuilder k(builder, function.getLoc(), kTileRows);
  LCQLinearOptions dense = options;
  dense.activations = ActivationType::F32;
  LCQTileEmitter(k, target, dense, function).emit();
}
