//===- AttentionAMX.cpp - Attention of many rows in bf16 --------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A unit's keys and values are converted to tiles of bf16 chunk by chunk, which
// takes some rows to pay. Then, for each two tiles of rows:
//
//   scores = queries x keys, by tiles, to memory
//   for each row: the greatest score so far; where that grows, what the row has
//     summed up becomes less; weights = exp(score - greatest), as tiles
//   sums += weights x values, by tiles
//
// Queries, keys, values and weights are rounded to bf16; sums are f32. What a
// row gets is added up in an order that its position alone decides. Positions
// that it does not see, but another row of its tiles does, have the weight 0: a
// value there that is not finite makes it NaN.
//
//===----------------------------------------------------------------------===//

#include "AttentionAMX.h"
#include "AttentionOperands.h"
#include "TileProduct.h"

using namespace mlir;
using namespace nju;

using Value = KernelBuilder::Value;
using Values = KernelBuilder::Values;

/// Rows that are computed together: two tiles.
static constexpr int64_t kRowTiles = 2, kRows = kRowTiles * kTileRows;
/// Elements of the queries of a unit, and rows: they stay in L2.
static constexpr int64_t kUnitElements = 32768, kUnitRows = 256;
/// Steps of k (of positions) in a chunk.
static constexpr int64_t kChunkSteps = kAttentionChunk / kTileDepth;
static_assert(kCacheBlock == kTileRows, "a block of keys is a tile's columns");

/// Finite, so that scores of -inf have a distance from it.
static constexpr float kLeastGreatest = -1e30f;
static constexpr float kLog2E = 1.44269504088896341f;

namespace {

class TileAttention {
public:
  TileAttention(AttentionOperands &operands, CacheReader &reader);
  void emit(const AttentionUnit &unit);

private:
  void begin(const AttentionUnit &unit);
  void packQueries(const AttentionUnit &unit);
  void convertKeys(const AttentionUnit &unit, Value chunk, Value blocks);
  void convertValues(const AttentionUnit &unit, Value chunk, Value steps);
  void emitChunk(const AttentionUnit &unit, Value chunk);
  void emitRows(const AttentionUnit &unit, Value pair, Value chunk);
  void emitScores(Value pair, Value steps);
  void emitSoftmax(const AttentionUnit &unit, Value unitRow, Value row,
                   Value chunk, Value steps);
  void emitWeights(Value unitRow, Value row, int64_t steps);
  void rescale(Value unitRow, Value factor);
  void emitWeightedSums(Value pair, Value steps);
  void emitWeightedSums(Value pair, int64_t column, int64_t columns,
                        Value steps);
  void emitResults(const AttentionUnit &unit);

  AttentionOperands &operands;
  CacheReader &reader;
  KernelBuilder &k;
  int64_t headDim;
  int64_t headSteps; ///< Steps of k that a head is.
  // On the stack. Of a unit: queries as tiles, [tile of rows, step, 16, 32]; of
  // each row the weighted sum of values, lanes of the sum of the weights, and
  // the greatest score.
  Value queries, sums, weightSums, greatest;
  // Of a chunk: keys as tiles, [16 positions, step, pair of elements, 32],
  // values as tiles, [32 positions, 16 columns, pair of positions, 32], and a
  // block of keys in f32.
  Value keys, values, keyRows;
  // Of two tiles of rows: scores, and weights as tiles, [tile, step, 16, 32].
  Value scores, weights;
};

} // namespace

bool KernelLibrary::hasAttentionTiles(
    const CachedAttentionOptions &options) const {
  CacheLayout layout = options.getCacheLayout();
  int64_t together = layout.isQuantized()
                         ? layout.getGroup() / layout.getDigits()
                         : options.headDim;
  return compute != ComputeType::F32 && target.hasAMXBF16() &&
         target.hasAVX512() && together % kTileRows == 0;
}

int64_t nju::getTileRows(const CachedAttentionOptions &options) {
  int64_t rows = std::min(kUnitElements / options.headDim, kUnitRows);
  return std::max(rows / kRows * kRows, kRows);
}

TileAttention::TileAttention(AttentionOperands &operands, CacheReader &reader)
    : operands(operands), reader(reader), k(operands.k),
      headDim(operands.options.headDim),
      headSteps(llvm::divideCeil(headDim, kTileDepth)) {
  int64_t rows = getTileRows(operands.options);
  Type f32 = k.b.getF32Type(), bf16 = k.b.getBF16Type();
  auto tiles = [&](int64_t outer, int64_t inner) {
    return k.scratch({outer, inner, kTileRows, kTileDepth}, bf16);
  };
  queries = tiles(rows / kTileRows, headSteps);
  sums = k.scratch({rows, headDim}, f32);
  weightSums = k.scratch({rows, kTileRows}, f32);
  greatest = k.scratch({rows}, f32);
  keys = tiles(kAttentionChunk / kTileRows, headSteps);
  values = tiles(kChunkSteps, headDim / kTileRows);
  keyRows = k.scratch({headSteps * kTileDepth, kTileRows}, f32);
  scores = k.scratch({kRows, kAttentionChunk}, f32);
  weights = tiles(kRowTiles, kChunkSteps);
}

//===----------------------------------------------------------------------===//
// Tiles of bf16
//===----------------------------------------------------------------------===//

/// Queries times the scale. Behind the last row it is repeated, which nobody
/// looks at.
void TileAttention::packQueries(const AttentionUnit &unit) {
  Value last = k.sub(unit.rows, k.index(1));
  Value scale = k.broadcast(operands.scale);
  k.loop(k.index(0), k.mul(k.ceilDiv(unit.rows, kRows), kRows), [&](Value row) {
    Value from = k.min(row, last);
    Value token = operands.tokenOf(unit, from);
    Value head = operands.headOf(unit, from);
    auto load = [&](int64_t column) {
      return column < headDim
                 ? k.mulf(
                       k.loadVector(operands.q, {token, head, k.index(column)}),
                       scale)
                 : k.splat(0.0f);
    };
    for (int64_t step = 0; step < headSteps; ++step) {
      int64_t column = step * kTileDepth;
      storeTileRow(k, load(column), load(column + kTileRows), queries, row,
                   k.index(step));
    }
  });
}

/// Nothing seen yet.
void TileAttention::begin(const AttentionUnit &unit) {
  packQueries(unit);
  k.loop(k.index(0), k.mul(k.ceilDiv(unit.rows, kRows), kRows), [&](Value row) {
    for (int64_t column = 0; column < headDim; column += kTileRows)
      k.storeVector(k.splat(0.0f), sums, {row, k.index(column)});
    k.storeVector(k.splat(0.0f), weightSums, {row, k.index(0)});
    k.store(k.f32(kLeastGreatest), greatest, {row});
  });
  for (int64_t d = headDim; d < headSteps * kTileDepth; ++d)
    k.storeVector(k.splat(0.0f), keyRows, {k.index(d), k.index(0)});
}

/// The first `blocks` blocks of the chunk.
void TileAttention::convertKeys(const AttentionUnit &unit, Value chunk,
                                Value blocks) {
  Value first = k.div(chunk, kCacheBlock);
  k.loop(k.index(0), blocks, [&](Value block) {
    reader.forEachKey(
        {operands.keysAt(unit, k.add(first, block))}, {}, /*unroll=*/1,
        [&](Value d, const Values &row, const Values &) {
          k.storeVector(row.front(), keyRows, {d, k.index(0)});
          return Values();
        },
        [](const Values &) {});
    k.loop(k.index(0), k.index(headSteps * kTileDepth / 2), [&](Value pair) {
      Value even = k.mul(pair, 2);
      Value pairs =
          toPairs(k, k.loadVector(keyRows, {even, k.index(0)}),
                  k.loadVector(keyRows, {k.add(even, 1), k.index(0)}));
      k.storeVector(
          pairs, keys,
          {block, k.div(pair, kTileRows), k.rem(pair, kTileRows), k.index(0)});
    });
  });
}

/// Those of the first `steps` steps of the chunk; zeros behind the last token.
void TileAttention::convertValues(const AttentionUnit &unit, Value chunk,
                                  Value steps) {
  Value end = k.add(unit.run.position, unit.run.count);
  Value last = k.sub(end, k.index(1)), zero = k.index(0);
  reader.openChunk(unit.values, k.div(chunk, kCacheBlock),
                   k.ceilDiv(k.min(k.mul(steps, kTileDepth), k.sub(end, chunk)),
                             kCacheBlock));
  auto load = [&](Value position) {
    Value valid = k.less(position, end), own = k.min(position, last);
    Values lines, row = reader.loadValue(unit.values, own, k.sub(own, chunk),
                                         reader.getPieces(), lines);
    for (Value &piece : row)
      piece = k.select(valid, piece, k.splat(0.0f));
    return row;
  };
  k.loop(zero, k.mul(steps, kTileRows), [&](Value pair) {
    Value even = k.add(chunk, k.mul(pair, 2));
    Values rows[] = {load(even), load(k.add(even, 1))};
    for (auto [i, piece] : llvm::enumerate(reader.getPieces()))
      k.storeVector(toPairs(k, rows[0][i], rows[1][i]), values,
                    {k.div(pair, kTileRows), k.index(piece.column / kTileRows),
                     k.rem(pair, kTileRows), zero});
  });
}

//===----------------------------------------------------------------------===//
// Scores and weights
//===----------------------------------------------------------------------===//

/// Scores of two tiles of rows at the positions of the first `steps` steps.
void TileAttention::emitScores(Value pair, Value steps) {
  constexpr int64_t tiles = kTileDepth / kTileRows;
  Value zero = k.index(0), first = k.mul(pair, kRowTiles);
  k.loop(zero, steps, [&](Value step) {
    Values found(kRowTiles * tiles);
    for (Value &tile : found)
      tile = zeroTile(k);
    for (int64_t s = 0; s < headSteps; ++s) {
      Values a, b;
      for (int64_t i = 0; i < tiles; ++i)
        b.push_back(loadTile(
            k, keys, {k.add(k.mul(step, tiles), i), k.index(s), zero, zero}));
      for (int64_t r = 0; r < kRowTiles; ++r)
        a.push_back(
            loadTile(k, queries, {k.add(first, r), k.index(s), zero, zero}));
      for (auto [i, tile] : llvm::enumerate(found))
        tile = addTileProduct(k, a[i / tiles], b[i % tiles], tile);
    }
    for (auto [i, tile] : llvm::enumerate(found))
      storeTile(k, tile, scores,
                {k.index(i / tiles * kTileRows),
                 k.add(k.mul(step, kTileDepth), i % tiles * kTileRows)});
  });
}

/// What a row has summed up, times `factor`.
void TileAttention::rescale(Value unitRow, Value factor) {
  auto multiply = [&](Value memref, int64_t column) {
    Value own = k.loadVector(memref, {unitRow, k.index(column)});
    k.storeVector(k.mulf(own, factor), memref, {unitRow, k.index(column)});
  };
  multiply(weightSums, 0);
  for (int64_t column = 0; column < headDim; column += kTileRows)
    multiply(sums, column);
}

/// Row `row` of the weights, of `steps` steps of scores.
void TileAttention::emitWeights(Value unitRow, Value row, int64_t steps) {
  Values own;
  for (int64_t i = 0; i < steps * kTileDepth; i += kTileRows)
    own.push_back(k.loadVector(scores, {row, k.index(i)}));
  auto larger = [&](Value x, Value y) { return k.maxf(x, y); };
  Values most = own;
  while (most.size() > 1) {
    size_t rest = (most.size() + 1) / 2;
    for (size_t i = 0; i + rest < most.size(); ++i)
      most[i] = larger(most[i], most[i + rest]);
    most.resize(rest);
  }
  Value before = k.load(greatest, {unitRow});
  Value now = k.maxf(k.reduce(most.front(), larger), before);
  Value grows =
      arith::CmpFOp::create(k.b, k.loc, arith::CmpFPredicate::OGT, now, before);
  k.ifThen(grows, [&] {
    Value distance = k.mulf(k.subf(before, now), k.f32(kLog2E));
    rescale(unitRow, k.exp2OfNonPositive(k.broadcast(distance)));
    k.store(now, greatest, {unitRow});
  });
  Value factor = k.splat(kLog2E);
  Value shift = k.broadcast(k.mulf(now, k.f32(-kLog2E)));
  for (Value &value : own)
    value = k.exp2OfNonPositive(k.fma(value, factor, shift));
  for (int64_t step = 0; step < steps; ++step)
    storeTileRow(k, own[2 * step], own[2 * step + 1], weights, row,
                 k.index(step));
  Value sum = k.loadVector(weightSums, {unitRow, k.index(0)});
  for (Value value : own)
    sum = k.addf(sum, value);
  k.storeVector(sum, weightSums, {unitRow, k.index(0)});
}

void TileAttention::emitSoftmax(const AttentionUnit &unit, Value unitRow,
                                Value row, Value chunk, Value steps) {
  operands.emitBounds(unit, unitRow, scores, row, chunk,
                      k.mul(steps, kTileDepth));
  k.switchOn(steps, 1, kChunkSteps,
             [&](int64_t count) { emitWeights(unitRow, row, count); });
}

//===----------------------------------------------------------------------===//
// Sums of values
//===----------------------------------------------------------------------===//

/// Of `columns` tiles of columns from `column` on.
void TileAttention::emitWeightedSums(Value pair, int64_t column,
                                     int64_t columns, Value steps) {
  Value zero = k.index(0);
  auto place = [&](size_t i) {
    int64_t r = i / columns, c = column + i % columns;
    return Values{k.add(k.mul(pair, kRows), r * kTileRows),
                  k.index(c * kTileRows)};
  };
  Values found;
  for (int64_t i = 0; i < kRowTiles * columns; ++i)
    found.push_back(loadTile(k, sums, place(i)));
  found = k.loop(zero, steps, k.index(1), found, [&](Value step, Values found) {
    Values a, b;
    for (int64_t c = 0; c < columns; ++c)
      b.push_back(loadTile(k, values, {step, k.index(column + c), zero, zero}));
    for (int64_t r = 0; r < kRowTiles; ++r)
      a.push_back(loadTile(k, weights, {k.index(r), step, zero, zero}));
    for (auto [i, tile] : llvm::enumerate(found))
      tile = addTileProduct(k, a[i / columns], b[i % columns], tile);
    return found;
  });
  for (auto [i, tile] : llvm::enumerate(found))
    storeTile(k, tile, sums, place(i));
}

void TileAttention::emitWeightedSums(Value pair, Value steps) {
  int64_t tiles = headDim / kTileRows;
  for (int64_t column = 0; column < tiles; column += 2)
    emitWeightedSums(pair, column, std::min<int64_t>(2, tiles - column), steps);
}

//===----------------------------------------------------------------------===//
// Units
//===----------------------------------------------------------------------===//

/// What the chunk adds to two tiles of rows.
void TileAttention::emitRows(const AttentionUnit &unit, Value pair,
                             Value chunk) {
  Value begin = k.mul(pair, kRows), one = k.index(1);
  Value end = k.min(k.add(begin, kRows), unit.rows);
  Value first = operands.positionOf(unit, begin);
  Value last = operands.positionOf(unit, k.sub(end, one));
  k.ifThen(operands.see(first, last, chunk), [&] {
    Value chunkEnd = k.add(chunk, kAttentionChunk);
    Value count = k.sub(k.min(chunkEnd, k.add(last, 1)), chunk);
    Value steps = k.ceilDiv(count, kTileDepth);
    emitScores(pair, steps);
    k.loop(k.index(0), k.index(kRows), [&](Value row) {
      emitSoftmax(unit, k.add(begin, row), row, chunk, steps);
    });
    emitWeightedSums(pair, steps);
  });
}

void TileAttention::emitChunk(const AttentionUnit &unit, Value chunk) {
  Value end = k.min(k.add(chunk, kAttentionChunk),
                    k.add(unit.run.position, unit.run.count));
  Value count = k.sub(end, chunk);
  convertKeys(unit, chunk, k.ceilDiv(count, kCacheBlock));
  convertValues(unit, chunk, k.ceilDiv(count, kTileDepth));
  k.loop(k.index(0), k.ceilDiv(unit.rows, kRows),
         [&](Value pair) { emitRows(unit, pair, chunk); });
}

void TileAttention::emitResults(const AttentionUnit &unit) {
  k.loop(k.index(0), unit.rows, [&](Value row) {
    Value sum = k.loadVector(weightSums, {row, k.index(0)});
    sum = k.reduce(sum, [&](Value x, Value y) { return k.addf(x, y); });
    Value all = k.broadcast(k.divf(k.f32(1.0f), sum));
    Value token = operands.tokenOf(unit, row);
    Value head = operands.headOf(unit, row);
    auto load = [&](int64_t column) {
      return k.mulf(k.loadVector(sums, {row, k.index(column)}), all);
    };
    int64_t pairs = headDim / kTileDepth * kTileDepth;
    for (int64_t column = 0; column < pairs; column += kTileDepth)
      operands.storePair(load(column), load(column + kTileRows), token, head,
                         column);
    if (pairs < headDim)
      k.storeVector(load(pairs), operands.y, {token, head, k.index(pairs)});
  });
}

void TileAttention::emit(const AttentionUnit &unit) {
  begin(unit);
  k.loop(k.index(0), unit.run.chunks, [&](Value number) {
    emitChunk(unit, k.mul(k.add(unit.run.firstChunk, number), kAttentionChunk));
  });
  emitResults(unit);
}

void nju::emitTileAttention(KernelBuilder &k,
                            const CachedAttentionOptions &options,
                            int64_t parts, int64_t fewTokens,
                            func::FuncOp function, Value slopes) {
  // Inlined, its tiles would be configured, and its stack taken, for few rows,
  // too.
  function->setAttr("passthrough", k.b.getStrArrayAttr({"noinline"}));
  ValueRange arguments = function.getArguments();
  AttentionOperands operands(k, options, parts, fewTokens,
                             arguments.drop_back(4), slopes);
  CacheReader reader(k, operands.addresses, /*blocks=*/1, kAttentionChunk);
  ValueRange own = arguments.take_back(4);
  AttentionRun run;
  run.token = own[0];
  run.count = own[1];
  run.position = own[2];
  operands.setChunks(run);
  TileAttention(operands, reader).emit(operands.unitOf(run, own[3]));
}
