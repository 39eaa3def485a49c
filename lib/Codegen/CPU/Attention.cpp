//===- Attention.cpp - Attention over the key/value cache -------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A row is a token and a query head. Its result is made of chunks of positions
// that start at multiples of kAttentionChunk: each has its own maximum, sum of
// exponentials and weighted sum of values (a record), and records are combined
// from left to right. So nothing but the row's position decides the order of
// the arithmetic, and the chunks may be computed in any order by anybody:
//
// * Tokens that follow each other in a sequence are a run. A unit of work is a
//   run and the query heads of one key/value head; its rows are the rows of a
//   small matrix product, so that a key or a value loaded is used for many.
// * With many tokens, units are dealt out. With few, their chunks are: a worker
//   gets a contiguous share of all chunks. The records of a unit that several
//   workers have a part of lie in memory, and who finishes last combines them.
//
//===----------------------------------------------------------------------===//

#include "AttentionAMX.h"
#include "AttentionOperands.h"
#include "LCQWeights.h"

using namespace mlir;
using namespace nju;

using Value = KernelBuilder::Value;
using Values = KernelBuilder::Values;

/// Rows of a unit with several tokens: enough to use a chunk many times while
/// it is in the cache, few enough for the rows to stay there too.
static constexpr int64_t kUnitRows = 48;
/// Most heads that a unit takes from a group.
static constexpr int64_t kUnitHeads = 32;
/// Elements of the queries of a unit: bounds what lies on the stack.
static constexpr int64_t kUnitElements = 8192;
/// Tokens up to which chunks are dealt out instead of units, and the bytes of
/// records that this may cost.
static constexpr int64_t kSplitTokens = 8, kSplitBytes = 4 << 20;

/// Tiles of so many rows are a token alone, as a rule, and compute about as
/// long as they read: keys are prefetched while values are used, and the other
/// way round. With fewer rows the processor's own prefetch is faster, with more
/// what is read lies in the cache already.
static constexpr int64_t kPrefetchRows[] = {4, 8};

namespace {

/// Sizes that follow from the options and the target.
struct AttentionShape {
  AttentionShape(const CachedAttentionOptions &options,
                 const CPUTarget &target);

  int64_t lanes;
  int64_t registers;    ///< Of the processor.
  int64_t accumulators; ///< Those for sums.
  int64_t tileRows;     ///< Most rows whose sums are in registers at once.
  int64_t scoreVectors; ///< Of positions, for each row: whole cache blocks.
  int64_t parts;        ///< Units that the heads of a group make.
  int64_t heads;        ///< Most of a unit.
  int64_t maxTokens;    ///< Of a unit.
  int64_t maxRows;      ///< Of a unit.
  int64_t sumColumn;    ///< Of a record: where the sum's lanes begin.
  int64_t recordSize;   ///< Elements: weighted sum, lanes of the sum, maximum.

  int64_t maxColumn() const { return sumColumn + lanes; }
};

/// Rows of a unit that are in registers at once.
struct Tile {
  Value begin, size;
  Value first, last; ///< Positions of its first and its last token.
};

/// A record in memory: a row of a memref<?x(recordSize)>.
struct Record {
  Value memref, row;
};

/// Emits the body of `cachedAttention`.
class AttentionEmitter : public AttentionOperands {
public:
  AttentionEmitter(KernelBuilder &k, const CPUTarget &target,
                   const CachedAttentionOptions &options, func::FuncOp function,
                   Value slopes, func::FuncOp tiles);
  void emit();

private:
  AttentionRun runAt(Value token, Value next);
  std::pair<Value, Value> ownChunks(const AttentionRun &run, Value offset,
                                    Value number);
  void emitChunks(const AttentionUnit &unit, Value from, Value to);
  void emitUnit(const AttentionUnit &unit, Value from, Value to);
  void emitChunk(const AttentionUnit &unit, Value chunk, Value whole,
                 Value stored);
  void emitTile(const AttentionUnit &unit, const Tile &tile, Value chunk,
                Value whole, Value stored);
  void emitScores(int64_t rows, const AttentionUnit &unit, const Tile &tile,
                  Value chunk, Value blocks);
  void emitSoftmax(const AttentionUnit &unit, const Tile &tile, Value row,
                   Value chunk, Value blocks);
  void emitWeightedSums(const AttentionUnit &unit, int64_t rows, Value firstRow,
                        Value chunk, Value from, Value to, bool first);
  void emitCombination(const Record &state, const Record &record);
  void emitArrival(const AttentionUnit &unit, Value count);
  void emitResults(const AttentionUnit &unit);
  void copyQueries(const AttentionUnit &unit);
  void clearStates(const AttentionUnit &unit);

  static bool prefetches(int64_t rows) {
    return kPrefetchRows[0] <= rows && rows <= kPrefetchRows[1];
  }
  void prefetch(int64_t rows, const Values &at, Value distance) {
    if (prefetches(rows))
      for (Value index : at)
        k.prefetch(addresses.cache, k.add(index, distance));
  }
  /// Where the record of a chunk (by its number in the unit) of a row goes that
  /// other workers read.
  Record storedRecord(const AttentionUnit &unit, Value row, Value chunk) {
    Value number =
        k.add(k.mul(tokenOf(unit, row), options.heads), headOf(unit, row));
    return {partials, k.add(k.mul(number, capacity), chunk)};
  }
  /// Calls `body(column, size)` for the vectors of a row of D elements.
  void forEachPiece(llvm::function_ref<void(Value, int64_t)> body);
  Value onStack(int64_t rows, int64_t columns) {
    return k.scratch({rows, columns}, k.b.getF32Type());
  }

  AttentionShape shape;
  func::FuncOp tiles; ///< `emitTileAttention`, or null.
  ValueRange arguments;
  CacheReader reader;
  // On the stack: a unit's queries, times the scale, and records of what came
  // before; a tile's scores, and records of the chunk at hand.
  Value queries, states, scores, records;
  Value capacity; ///< Chunks of a sequence.
  Value split;    ///< Chunks are dealt out, from `begin` to `end`.
  Value most;     ///< Tokens of a run.
  Value begin, end;
};

} // namespace

AttentionShape::AttentionShape(const CachedAttentionOptions &options,
                               const CPUTarget &target)
    : lanes(target.getVectorLanes()) {
  registers = target.getVectorRegisters();
  accumulators = registers == 32 ? 24 : 12;
  int64_t group = options.heads / options.kvHeads;
  // Few enough streams of keys for the processor to follow.
  scoreVectors = std::max<int64_t>(2, kCacheBlock / lanes);
  int64_t most = std::max<int64_t>(1, kUnitElements / options.headDim);
  tileRows = std::min(accumulators / scoreVectors, most);
  parts = llvm::divideCeil(group, std::min(kUnitHeads, most));
  heads = llvm::divideCeil(group, parts);
  maxTokens = std::max<int64_t>(1, std::min(kUnitRows, most) / heads);
  maxRows = maxTokens * heads;
  sumColumn = llvm::alignTo(options.headDim, lanes);
  recordSize = sumColumn + 2 * lanes;
}

AttentionEmitter::AttentionEmitter(KernelBuilder &k, const CPUTarget &target,
                                   const CachedAttentionOptions &options,
                                   func::FuncOp function, Value slopes,
                                   func::FuncOp tiles)
    : AttentionOperands(k, options, AttentionShape(options, target).parts,
                        LCQRowsLayout::getRowsBeforeTiles(target),
                        function.getArguments(), slopes),
      shape(options, target), tiles(tiles), arguments(function.getArguments()),
      reader(k, addresses, shape.scoreVectors * k.lanes / kCacheBlock,
             kAttentionChunk) {
  queries = onStack(shape.maxRows, options.headDim);
  states = onStack(shape.maxRows, shape.recordSize);
  scores = onStack(shape.tileRows, kAttentionChunk);
  records = onStack(shape.tileRows, shape.recordSize);
  most = k.index(shape.maxTokens);
  if (tiles)
    most = k.select(
        k.less(k.index(fewTokens), k.dim(q, 0)),
        k.index(std::max(getTileRows(options) / shape.heads, shape.maxTokens)),
        most);
}

void AttentionEmitter::forEachPiece(
    llvm::function_ref<void(Value, int64_t)> body) {
  for (CachePiece piece : reader.getPieces())
    body(k.index(piece.column), piece.size);
}

/// The run that starts at `token`, unless it belongs to one before (`next` is
/// where that ended).
AttentionRun AttentionEmitter::runAt(Value token, Value next) {
  AttentionRun run;
  run.token = token;
  run.starts = k.less(next, k.add(token, 1));
  run.position = k.loadIndex(positions, {token});
  Value sequence = k.load(sequences, {token});
  Value left = k.sub(k.dim(q, 0), token);
  Value end = k.select(run.starts, k.min(left, most), k.index(1));
  run.count = k.loop(k.index(1), end, k.index(1), {k.index(1)},
                     [&](Value i, Values count) -> Values {
                       Value other = k.add(token, i);
                       Value follows =
                           k.both(k.equal(k.load(sequences, {other}), sequence),
                                  k.equal(k.loadIndex(positions, {other}),
                                          k.add(run.position, i)));
                       follows = k.both(follows, k.equal(count[0], i));
                       return {k.select(follows, k.add(count[0], 1), count[0])};
                     })[0];
  setChunks(run);
  return run;
}

void AttentionEmitter::copyQueries(const AttentionUnit &unit) {
  k.loop(k.index(0), unit.rows, [&](Value row) {
    Value token = tokenOf(unit, row), head = headOf(unit, row);
    forEachPiece([&](Value column, int64_t size) {
      Value part = k.loadVector(q, {token, head, column}, size);
      k.storeVector(k.mulf(part, k.broadcast(scale, size)), queries,
                    {row, column});
    });
  });
}

/// Nothing seen yet: the rest of a state counts for nothing then.
void AttentionEmitter::clearStates(const AttentionUnit &unit) {
  k.loop(k.index(0), unit.rows, [&](Value row) {
    k.store(k.f32(-kInfinity), states, {row, k.index(shape.maxColumn())});
  });
}

/// scores[r][i] = q_r . k_i of the `blocks` blocks of the chunk, for the `rows`
/// rows of the tile. Past the last block its keys are read again; nobody looks
/// at those scores.
void AttentionEmitter::emitScores(int64_t rows, const AttentionUnit &unit,
                                  const Tile &tile, Value chunk, Value blocks) {
  int64_t vectors = shape.scoreVectors;
  int64_t blockVectors = kCacheBlock / k.lanes;
  int64_t atOnce = vectors / blockVectors;
  Value first = k.div(chunk, kCacheBlock);
  Value last = k.add(first, k.sub(blocks, k.index(1)));
  Value toValues = k.sub(valuesAt(unit, first), keysAt(unit, first));
  k.loop(k.index(0), blocks, k.index(atOnce), [&](Value block) {
    Values bases;
    for (int64_t u = 0; u < atOnce; ++u) {
      Value number = k.min(k.add(k.add(first, block), u), last);
      bases.push_back(keysAt(unit, number));
    }
    Values sums(rows * vectors, k.splat(0.0f));
    sums = reader.forEachKey(
        bases, sums, prefetches(rows) ? 4 : 1,
        [&](Value d, const Values &keys, Values sums) {
          for (int64_t r = 0; r < rows; ++r) {
            Value factor =
                k.broadcast(k.load(queries, {k.add(tile.begin, r), d}));
            for (int64_t i = 0; i < vectors; ++i)
              sums[r * vectors + i] =
                  k.fma(factor, keys[i], sums[r * vectors + i]);
          }
          return sums;
        },
        // The values of the chunk are about as many, and are read next.
        [&](const Values &at) { prefetch(rows, at, toValues); });
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = 0; i < vectors; ++i)
        k.storeVector(
            sums[r * vectors + i], scores,
            {k.index(r), k.add(k.mul(block, kCacheBlock), i * k.lanes)});
  });
}

/// scores[row] = exp(scores[row] - maximum), and the maximum and the sum of a
/// record.
void AttentionEmitter::emitSoftmax(const AttentionUnit &unit, const Tile &tile,
                                   Value row, Value chunk, Value blocks) {
  Value unitRow = k.add(tile.begin, row);
  Value count = k.mul(blocks, kCacheBlock), step = k.index(k.lanes);
  Value zero = k.index(0);
  emitBounds(unit, unitRow, scores, row, chunk, count);
  Value most = k.loop(zero, count, step, {k.splat(-kInfinity)},
                      [&](Value i, Values most) -> Values {
                        Value score = k.loadVector(scores, {row, i});
                        return {k.maxf(score, most[0])};
                      })[0];
  Value maximum =
      k.reduce(most, [&](Value x, Value y) { return k.maxf(x, y); });
  Value shift = k.broadcast(maximum);
  Value sum = k.loop(zero, count, step, {k.splat(0.0f)},
                     [&](Value i, Values sum) -> Values {
                       Value score = k.loadVector(scores, {row, i});
                       Value weight = k.expOfNonPositive(k.subf(score, shift));
                       k.storeVector(weight, scores, {row, i});
                       return {k.addf(sum[0], weight)};
                     })[0];
  k.storeVector(sum, records, {row, k.index(shape.sumColumn)});
  k.store(maximum, records, {row, k.index(shape.maxColumn())});
}

/// records[r] += sum over the positions [from, to) of weight * value, for
/// `rows` rows from `firstRow` of the tile on; = if it is the `first` sum.
void AttentionEmitter::emitWeightedSums(const AttentionUnit &unit, int64_t rows,
                                        Value firstRow, Value chunk, Value from,
                                        Value to, bool first) {
  // Registers are for the sums, a vector of values for each of a row's, and two
  // weights; LLVM keeps constants of the exponential in some of the others.
  int64_t free = shape.registers == 32 ? 27 : 14;
  int64_t most = std::clamp<int64_t>(
      free / (rows + 1), 1, std::max<int64_t>(1, shape.accumulators / rows));
  int64_t digits = addresses.layout.getDigits();
  int64_t loads = reader.getPieces().size() / digits;
  int64_t passes = llvm::divideCeil(loads, std::max<int64_t>(1, most / digits));
  // To the keys of the next chunk.
  Value block = k.div(chunk, kCacheBlock);
  Value toKeys =
      k.sub(keysAt(unit, k.add(block, kAttentionChunk / kCacheBlock)),
            valuesAt(unit, block));
  for (int64_t p = 0; p < passes; ++p) {
    int64_t firstLoad = loads * p / passes;
    auto pass = reader.getPieces().slice(
        firstLoad * digits, (loads * (p + 1) / passes - firstLoad) * digits);
    Values sums;
    for (int64_t r = 0; r < rows; ++r)
      for (CachePiece piece : pass)
        sums.push_back(
            first ? k.splat(0.0f, piece.size)
                  : k.loadVector(records,
                                 {k.add(firstRow, r), k.index(piece.column)},
                                 piece.size));
    sums = k.loop(from, to, k.index(1), sums, [&](Value j, Values sums) {
      Value scoreColumn = k.sub(j, chunk);
      Values lines;
      Values values =
          reader.loadValue(unit.values, j, scoreColumn, pass, lines);
      for (int64_t r = 0; r < rows; ++r) {
        Value weight = k.load(scores, {k.add(firstRow, r), scoreColumn});
        for (auto [i, piece] : llvm::enumerate(pass)) {
          Value &sum = sums[r * pass.size() + i];
          sum = k.fma(k.broadcast(weight, piece.size), values[i], sum);
        }
      }
      prefetch(rows, lines, toKeys);
      return sums;
    });
    for (int64_t r = 0; r < rows; ++r)
      for (auto [i, piece] : llvm::enumerate(pass))
        k.storeVector(sums[r * pass.size() + i], records,
                      {k.add(firstRow, r), k.index(piece.column)});
  }
}

/// state = state and what `record` adds to it.
void AttentionEmitter::emitCombination(const Record &state,
                                       const Record &record) {
  Value maxColumn = k.index(shape.maxColumn());
  Value before = k.load(state.memref, {state.row, maxColumn});
  Value now = k.load(record.memref, {record.row, maxColumn});
  Value grows =
      arith::CmpFOp::create(k.b, k.loc, arith::CmpFPredicate::OGT, now, before);
  Value empty = arith::CmpFOp::create(k.b, k.loc, arith::CmpFPredicate::OEQ,
                                      before, k.f32(-kInfinity));
  // One of the two factors is exp(0).
  Value difference = k.select(grows, k.subf(before, now), k.subf(now, before));
  Value less = vector::ExtractOp::create(
      k.b, k.loc, k.expOfNonPositive(k.broadcast(difference, 4)), int64_t(0));
  Value one = k.f32(1.0f);
  Value oldFactor = k.select(grows, less, one);
  Value newFactor = k.select(grows, one, less);
  k.store(k.select(grows, now, before), state.memref, {state.row, maxColumn});
  auto combine = [&](Value column, int64_t size) {
    Value old = k.loadVector(state.memref, {state.row, column}, size);
    Value part = k.loadVector(record.memref, {record.row, column}, size);
    old = k.mulf(old, k.broadcast(oldFactor, size));
    old = k.select(empty, k.splat(0.0f, size), old);
    Value sum = k.fma(part, k.broadcast(newFactor, size), old);
    k.storeVector(sum, state.memref, {state.row, column});
  };
  forEachPiece(combine);
  combine(k.index(shape.sumColumn), k.lanes);
}

/// Records of a tile's rows for the chunk, which go into the states, or if
/// another worker has a part of the unit, to memory.
void AttentionEmitter::emitTile(const AttentionUnit &unit, const Tile &tile,
                                Value chunk, Value whole, Value stored) {
  Value chunkEnd = k.add(chunk, kAttentionChunk);
  Value seenEnd = k.min(chunkEnd, k.add(tile.last, 1));
  Value blocks = k.ceilDiv(k.sub(seenEnd, chunk), kCacheBlock);
  // Positions that every row sees: [from, to).
  Value from = k.min(k.max(chunk, windowBegin(tile.last)), seenEnd);
  Value to = k.max(from, k.min(seenEnd, k.add(tile.first, 1)));
  auto forEachRow = [&](llvm::function_ref<void(Value, Value)> body) {
    k.loop(k.index(0), tile.size, [&](Value row) {
      Value position = positionOf(unit, k.add(tile.begin, row));
      k.ifThen(sees(position, chunk), [&] { body(row, position); });
    });
  };
  k.switchOn(tile.size, 1, shape.tileRows, [&](int64_t rows) {
    emitScores(rows, unit, tile, chunk, blocks);
  });
  forEachRow([&](Value row, Value position) {
    emitSoftmax(unit, tile, row, chunk, blocks);
    if (options.window)
      emitWeightedSums(unit, 1, row, chunk, k.max(chunk, windowBegin(position)),
                       k.min(from, k.add(position, 1)), /*first=*/true);
  });
  k.switchOn(tile.size, 1, shape.tileRows, [&](int64_t rows) {
    emitWeightedSums(unit, rows, k.index(0), chunk, from, to,
                     /*first=*/!options.window);
  });
  forEachRow([&](Value row, Value position) {
    Value left = k.max(to, windowBegin(position));
    Value own = k.min(chunkEnd, k.add(position, 1));
    k.ifThen(k.less(left, own), [&] {
      emitWeightedSums(unit, 1, row, chunk, left, own, /*first=*/false);
    });
    Value unitRow = k.add(tile.begin, row);
    k.ifThenElse(
        whole, [&] { emitCombination({states, unitRow}, {records, row}); },
        [&] {
          Record record = storedRecord(unit, unitRow, stored);
          for (int64_t column = 0; column < shape.recordSize; column += k.lanes)
            k.storeVector(k.loadVector(records, {row, k.index(column)}),
                          record.memref, {record.row, k.index(column)});
        });
  });
}

/// The chunk at position `chunk`, which is number `stored` of the unit's.
void AttentionEmitter::emitChunk(const AttentionUnit &unit, Value chunk,
                                 Value whole, Value stored) {
  Value end = k.min(k.add(chunk, kAttentionChunk),
                    k.add(unit.run.position, unit.run.count));
  reader.openChunk(unit.values, k.div(chunk, kCacheBlock),
                   k.ceilDiv(k.sub(end, chunk), kCacheBlock));
  Value tiles = k.ceilDiv(unit.rows, shape.tileRows);
  k.loop(k.index(0), tiles, [&](Value number) {
    Tile tile;
    tile.begin = k.div(k.mul(unit.rows, number), tiles);
    Value tileEnd = k.div(k.mul(unit.rows, k.add(number, 1)), tiles);
    tile.size = k.sub(tileEnd, tile.begin);
    tile.first = positionOf(unit, tile.begin);
    tile.last = positionOf(unit, k.sub(tileEnd, k.index(1)));
    k.ifThen(see(tile.first, tile.last, chunk),
             [&] { emitTile(unit, tile, chunk, whole, stored); });
  });
}

void AttentionEmitter::emitResults(const AttentionUnit &unit) {
  k.loop(k.index(0), unit.rows, [&](Value row) {
    Value sum = k.loadVector(states, {row, k.index(shape.sumColumn)});
    sum = k.reduce(sum, [&](Value x, Value y) { return k.addf(x, y); });
    Value token = tokenOf(unit, row), head = headOf(unit, row);
    auto load = [&](Value column, int64_t size) {
      Value part = k.loadVector(states, {row, column}, size);
      return k.divf(part, k.broadcast(sum, size));
    };
    if (options.packs) {
      for (int64_t column = 0; column < options.headDim; column += 2 * k.lanes)
        storePair(load(k.index(column), k.lanes),
                  load(k.index(column + k.lanes), k.lanes), token, head,
                  column);
      return;
    }
    forEachPiece([&](Value column, int64_t size) {
      k.storeVector(load(column, size), y, {token, head, column});
    });
  });
}

/// `count` chunks of a unit that others have a part of are in memory. The
/// worker after which none is missing combines them, and leaves the counter as
/// the next launch needs it.
void AttentionEmitter::emitArrival(const AttentionUnit &unit, Value count) {
  auto toI32 = [&](Value value) -> Value {
    return arith::IndexCastOp::create(k.b, k.loc, k.b.getI32Type(), value);
  };
  Value counter =
      k.add(k.mul(unit.run.token, options.kvHeads * parts), unit.number);
  // Acquires and releases: see the conversion of memref.atomic_rmw.
  Value before =
      memref::AtomicRMWOp::create(k.b, k.loc, arith::AtomicRMWKind::addi,
                                  toI32(count), counters, ValueRange{counter});
  Value now = k.add(before, toI32(count));
  k.ifThen(k.equal(now, toI32(unit.run.chunks)), [&] {
    k.store(toI32(k.index(0)), counters, {counter});
    clearStates(unit);
    k.loop(k.index(0), unit.run.chunks, [&](Value number) {
      Value chunk = k.mul(k.add(unit.run.firstChunk, number), kAttentionChunk);
      k.loop(k.index(0), unit.rows, [&](Value row) {
        k.ifThen(sees(positionOf(unit, row), chunk), [&] {
          emitCombination({states, row}, storedRecord(unit, row, number));
        });
      });
    });
    emitResults(unit);
  });
}

/// The chunks [from, to) of the unit's.
void AttentionEmitter::emitChunks(const AttentionUnit &unit, Value from,
                                  Value to) {
  Value count = k.sub(to, from);
  Value whole = k.equal(count, unit.run.chunks);
  copyQueries(unit);
  k.ifThen(whole, [&] { clearStates(unit); });
  k.loop(from, to, [&](Value number) {
    Value chunk = k.mul(k.add(unit.run.firstChunk, number), kAttentionChunk);
    emitChunk(unit, chunk, whole, number);
  });
  k.ifThenElse(
      whole, [&] { emitResults(unit); }, [&] { emitArrival(unit, count); });
}

/// The same; all of them if the unit is for tiles.
void AttentionEmitter::emitUnit(const AttentionUnit &unit, Value from,
                                Value to) {
  auto emitRows = [&] { emitChunks(unit, from, to); };
  if (!tiles)
    return emitRows();
  auto callTiles = [&] {
    Values operands(arguments);
    operands.append(
        {unit.run.token, unit.run.count, unit.run.position, unit.number});
    func::CallOp::create(k.b, k.loc, tiles, operands);
  };
  k.ifThenElse(k.less(k.index(shape.maxRows), unit.rows), callTiles, emitRows);
}

/// The chunks [first, second) of unit `number` that this worker does, where
/// `offset` chunks belong to the units before.
std::pair<Value, Value> AttentionEmitter::ownChunks(const AttentionRun &run,
                                                    Value offset,
                                                    Value number) {
  Value after = k.add(offset, run.chunks);
  auto clamp = [&](Value value) {
    return k.sub(k.min(k.max(value, offset), after), offset);
  };
  // There and back: of each two units in turn, the second sees more.
  Value turn = k.div(number, workers), own = k.rem(number, workers);
  Value back = k.sub(k.sub(workers, k.index(1)), own);
  Value mine = k.equal(k.select(k.equal(k.rem(turn, 2), 0), own, back), worker);
  Value dealt = k.select(mine, run.chunks, k.index(0));
  return {k.select(split, clamp(begin), k.index(0)),
          k.select(split, clamp(end), dealt)};
}

void AttentionEmitter::emit() {
  Value tokens = k.dim(q, 0), zero = k.index(0), one = k.index(1);
  Value headParts = k.index(options.kvHeads * parts);
  capacity = k.ceilDiv(cacheTokens, kAttentionChunk);
  Value needed = k.mul(k.mul(tokens, options.heads), capacity);
  split = k.less(needed, k.add(k.dim(partials, 0), 1));
  auto after = [&](const AttentionRun &run, Value next) {
    return k.select(run.starts, k.add(run.token, run.count), next);
  };
  auto added = [&](const AttentionRun &run, Value sum, Value more) {
    return k.add(sum, k.select(run.starts, more, zero));
  };
  Value all = k.loop(zero, k.select(split, tokens, zero), one, {zero, zero},
                     [&](Value token, Values carried) -> Values {
                       AttentionRun run = runAt(token, carried[0]);
                       return {after(run, carried[0]),
                               added(run, carried[1], run.chunks)};
                     })[1];
  std::tie(begin, end) = k.share(k.mul(all, headParts), worker, workers);
  // The runs of one head follow each other, so that what a worker reads stays
  // in its cache; dealt out in turn, later ones, which see more, are shared.
  k.loop(zero, headParts, one, {zero, zero}, [&](Value number, Values carried) {
    Values result = k.loop(
        zero, tokens, one, {zero, carried[0], carried[1]},
        [&](Value token, Values carried) -> Values {
          AttentionRun run = runAt(token, carried[0]);
          auto [from, to] = ownChunks(run, carried[1], carried[2]);
          k.ifThen(k.both(run.starts, k.less(from, to)),
                   [&, from = from, to = to] {
                     emitUnit(unitOf(run, number), from, to);
                   });
          return {after(run, carried[0]), added(run, carried[1], run.chunks),
                  added(run, carried[2], one)};
        });
    return Values{result[1], result[2]};
  });
}

/// A constant table of the module, made on first use.
static Value slopesTable(KernelBuilder &k, ModuleOp module, StringRef kernel,
                         ArrayRef<float> slopes) {
  std::string name = (kernel + "_slopes").str();
  int64_t size = slopes.size();
  auto type = MemRefType::get({size}, k.b.getF32Type());
  if (module.lookupSymbol(name))
    return memref::GetGlobalOp::create(k.b, k.loc, type, name);
  OpBuilder builder = OpBuilder::atBlockBegin(module.getBody());
  memref::GlobalOp::create(
      builder, k.loc, name, builder.getStringAttr("private"), type,
      DenseElementsAttr::get(
          RankedTensorType::get({size}, builder.getF32Type()), slopes),
      /*constant=*/true, /*alignment=*/IntegerAttr());
  return memref::GetGlobalOp::create(k.b, k.loc, type, name);
}

/// "nju_cached_attention_32x4x64_window512_slopes1a2b": equal names, equal
/// functions.
static std::string kernelName(const CachedAttentionOptions &options) {
  std::string name =
      llvm::formatv("nju_cached_attention_{0}x{1}x{2}", options.heads,
                    options.kvHeads, options.headDim)
          .str();
  if (options.cacheType != CacheType::F32)
    name += ("_" + stringifyCacheType(options.cacheType)).str();
  if (options.tiles)
    name += "_tiles";
  if (options.packs)
    name += "_packs";
  if (options.window)
    name += llvm::formatv("_window{0}", *options.window).str();
  if (options.softcap)
    name +=
        llvm::formatv("_softcap{0}", llvm::utohexstr(llvm::bit_cast<uint32_t>(
                                         static_cast<float>(*options.softcap))))
            .str();
  if (!options.slopes.empty()) {
    name += "_slopes";
    for (float slope : options.slopes)
      name += llvm::utohexstr(llvm::bit_cast<uint32_t>(slope)) + "_";
    name.pop_back();
  }
  return name;
}

AttentionScratch
KernelLibrary::attentionScratch(const CachedAttentionOptions &options,
                                int64_t maxTokens, int64_t batchTokens) {
  AttentionShape shape(options, target);
  int64_t records =
      options.heads * llvm::divideCeil(maxTokens, kAttentionChunk);
  int64_t bytes = records * shape.recordSize * int64_t(sizeof(float));
  int64_t tokens = std::clamp<int64_t>(kSplitBytes / bytes, 1,
                                       std::min(kSplitTokens, batchTokens));
  return {tokens * records, shape.recordSize,
          tokens * options.kvHeads * shape.parts};
}

func::FuncOp
KernelLibrary::cachedAttention(const CachedAttentionOptions &options) {
  std::string name = kernelName(options);
  if (func::FuncOp known = lookup(name))
    return known;
  Builder types(module.getContext());
  Type index = types.getIndexType(), i32 = types.getI32Type();
  Type f32 = types.getF32Type();
  Type rows = tokensMemRef({options.heads, options.headDim}, f32);
  int64_t recordSize = AttentionShape(options, target).recordSize;
  llvm::SmallVector<Type> arguments = {index,
                                       index,
                                       index,
                                       index,
                                       index,
                                       f32,
                                       rows,
                                       tokensMemRef({}, i32),
                                       tokensMemRef({}, i32),
                                       tokensMemRef({}, types.getI8Type()),
                                       rows,
                                       tokensMemRef({recordSize}, f32),
                                       tokensMemRef({}, i32)};
  if (options.packs)
    arguments.push_back(dynamicMemRef(2, types.getI8Type()));
  auto emit = [&](func::FuncOp function, auto body) {
    OpBuilder builder = OpBuilder::atBlockBegin(function.addEntryBlock());
    auto end = func::ReturnOp::create(builder, module.getLoc());
    builder.setInsertionPoint(end);
    KernelBuilder k(builder, module.getLoc(), target.getVectorLanes());
    body(k, options.slopes.empty()
                ? Value()
                : slopesTable(k, module, name, options.slopes));
  };
  func::FuncOp tiles;
  if (options.tiles) {
    llvm::SmallVector<Type> extended(arguments);
    extended.append(4, index);
    tiles = create(name + "_amx", extended);
    emit(tiles, [&](KernelBuilder &k, Value slopes) {
      emitTileAttention(k, options, AttentionShape(options, target).parts,
                        LCQRowsLayout::getRowsBeforeTiles(target), tiles,
                        slopes);
    });
  }
  func::FuncOp function = create(name, arguments);
  emit(function, [&](KernelBuilder &k, Value slopes) {
    AttentionEmitter(k, target, options, function, slopes, tiles).emit();
  });
  return function;
}
