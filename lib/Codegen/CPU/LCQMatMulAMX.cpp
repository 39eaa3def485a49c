//===- LCQMatMulAMX.cpp - LCQ products with AMX tiles -----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Many rows of x times what is looked up of the weights, which is a tile as it
// stands: of 16 rows of weights, four columns each. A tile product adds up
// integers, which are exact, and they are scaled and added as everywhere else:
// a row's result is that of few rows, bit for bit.
//
//   for each group of up to 8 pairs of tiles, which are dealt out
//     for each 512 lines of x: the sums of group and lines stay in L2
//       for each piece of K, for each pair of tiles of the group
//         its codes are looked up into 16 KB, in L1
//         for each 32 lines, for each run of groups that share a scale
//           2 x 2 tiles of dot products for each group, to L1
//           they are scaled and added to the sums
//
// The lines of x for a piece come from L2, and from beyond it once for a group.
//
//===----------------------------------------------------------------------===//

#include "LCQMatMulAMX.h"
#include "LCQProduct.h"
#include "mlir/Dialect/AMX/AMXDialect.h"

using namespace mlir;
using namespace nju;

using Value = KernelBuilder::Value;
using Values = KernelBuilder::Values;

/// Rows, and columns, of a tile of dot products.
static constexpr int64_t kTile = 16;
static_assert(kTile == LCQRowsLayout::kTileLines &&
              kTile == LCQStream::kTileRows);
/// Pairs of tiles of weights, and blocks of lines, whose sums are kept.
static constexpr int64_t kPairs = 8, kBlocks = 32;
/// Tiles of dot products (1 KB each) that are kept.
static constexpr int64_t kMostDots = 32;

namespace {

/// Emits the body of `lcqLinear` for many rows with AMX.
class LCQTileEmitter : LCQProduct {
public:
  LCQTileEmitter(KernelBuilder &k, const CPUTarget &target,
                 const LCQLinearOptions &options, func::FuncOp function);
  void emit();

private:
  /// The first of the sums of a tile.
  Value slotOf(Value pair, Value place) {
    return k.mul(k.add(k.mul(pair, kStagedTiles), place), kBlocks * blockRows);
  }
  void emitGroup(Value begin, Value end, Value first);
  void emitPiece(Value pair, Value begin, Value end, Value slot, Value first,
                 Value last);
  void addPiece(Value number, Piece piece, Value slot, Value first, Value last);
  void multiplyRun(int64_t blocks, Value block, Piece piece, Value begin,
                   Value end);
  Values multiplyStep(int64_t blocks, Value block, Value place, Value unit,
                      Value column, int64_t rank, Values dots);
  void addRun(Value number, Piece piece, Value block, Value tile, Value run,
              Value slot);
  Value addFullRun(RowBlock block, Piece piece, Value tile, Value begin,
                   Value row, ArrayRef<llvm::SmallVector<Values>> scales);
  Value addDots(RowBlock block, const Part &part, Value tile, Value group,
                Value own, Value row, ArrayRef<Values> scales, Value total);
  llvm::SmallVector<Values> loadFactors(Piece piece, Value group);

  Value loadTile(Value memref, ValueRange indices, int64_t rows, int64_t bytes);
  Value zeroDots();

  int64_t tileColumns, runGroups;
  int64_t tileBlocks, tileWeights; ///< Tiles multiplied together.
  Value tiles;                     ///< x, [tiles, lines, columns].
  Value dots; ///< [tiles, groups of a run and ranks, lines, rows of weights].
};

} // namespace

LCQTileEmitter::LCQTileEmitter(KernelBuilder &k, const CPUTarget &target,
                               const LCQLinearOptions &options,
                               func::FuncOp function)
    : LCQProduct(k, target, options, function,
                 kPairs / options.weights * kStagedTiles * kBlocks *
                     LCQRowsLayout::getBlockRows(target, options.activations,
                                                 /*tiles=*/true),
                 /*wholeTiles=*/true),
      tileColumns(LCQRowsLayout::getTileColumns(target, options.group)),
      runGroups(options.getScaleGroups()) {
  int64_t own = runGroups * options.rank;
  tileBlocks = 2 * own <= kMostDots ? 2 : 1;
  tileWeights = 4 * own <= kMostDots ? 2 : 1;
  auto index = [&](int64_t value) -> OpFoldResult {
    return k.b.getIndexAttr(value);
  };
  int64_t bytes = kTile * tileColumns;
  OpFoldResult count = k.div(k.dim(xq, 0), bytes);
  tiles = memref::ReinterpretCastOp::create(
      k.b, k.loc,
      MemRefType::get({ShapedType::kDynamic, kTile, tileColumns},
                      k.b.getI8Type()),
      xq, index(0), {count, index(kTile), index(tileColumns)},
      {index(bytes), index(tileColumns), index(1)});
  dots = k.scratch({tileBlocks * tileWeights, own, kTile, kTile},
                   k.b.getI32Type());
}

//===----------------------------------------------------------------------===//
// Dot products
//===----------------------------------------------------------------------===//

Value LCQTileEmitter::loadTile(Value memref, ValueRange indices, int64_t rows,
                               int64_t bytes) {
  auto type = amx::TileType::get({rows, bytes}, k.b.getI8Type());
  return amx::TileLoadOp::create(k.b, k.loc, type, memref, indices);
}

Value LCQTileEmitter::zeroDots() {
  auto type = amx::TileType::get({kTile, kTile}, k.b.getI32Type());
  return amx::TileZeroOp::create(k.b, k.loc, type);
}

/// Adds the products of `tileColumns` columns: of a group from `column` of x
/// and from `unit` of what is staged on.
Values LCQTileEmitter::multiplyStep(int64_t blocks, Value block, Value place,
                                    Value unit, Value column, int64_t rank,
                                    Values sums) {
  Value zero = k.index(0);
  Value perBlock =
      k.div(k.mul(w().groups, options.group), k.index(tileColumns));
  Values a, b;
  for (int64_t i = 0; i < tileWeights; ++i)
    b.push_back(loadTile(staged,
                         {placeOfRank(k.add(place, i), rank), unit, zero},
                         tileColumns / LCQStream::kUnitColumns,
                         kTile * LCQStream::kUnitColumns));
  for (int64_t i = 0; i < blocks; ++i) {
    Value tile =
        k.add(k.mul(k.add(block, i), perBlock), k.div(column, tileColumns));
    a.push_back(loadTile(tiles, {tile, zero, zero}, kTile, tileColumns));
  }
  for (auto [i, sum] : llvm::enumerate(sums))
    sum = amx::TileMulIOp::create(k.b, k.loc, sum.getType(), a[i / tileWeights],
                                  b[i % tileWeights], sum);
  return sums;
}

/// The dot products of the groups [begin, end), a run, for `blocks` blocks of
/// lines and as many tiles of weights as are multiplied together.
void LCQTileEmitter::multiplyRun(int64_t blocks, Value block, Piece piece,
                                 Value begin, Value end) {
  int64_t steps = options.group / tileColumns;
  k.loop(begin, end, [&](Value group) {
    Value units = k.mul(k.sub(group, piece.begin), getGroupUnits());
    Value columns = k.mul(group, options.group);
    for (int64_t r = 0; r < options.rank; ++r) {
      auto add = [&](Value step, Values sums) {
        Value own = k.mul(step, tileColumns);
        return multiplyStep(blocks, block, piece.place,
                            k.add(units, k.div(own, LCQStream::kUnitColumns)),
                            k.add(columns, own), r, std::move(sums));
      };
      Values sums;
      for (int64_t i = 0; i < blocks * tileWeights; ++i)
        sums.push_back(zeroDots());
      sums = steps == 1
                 ? add(k.index(0), sums)
                 : k.loop(k.index(0), k.index(steps), k.index(1), sums, add);
      Value own = k.add(k.mul(k.sub(group, begin), options.rank), r);
      for (auto [i, sum] : llvm::enumerate(sums))
        amx::TileStoreOp::create(
            k.b, k.loc, dots,
            ValueRange{k.index(i), own, k.index(0), k.index(0)}, sum);
    }
  });
}

//===----------------------------------------------------------------------===//
// Sums
//===----------------------------------------------------------------------===//

/// Scales of a group for each digit.
llvm::SmallVector<Values> LCQTileEmitter::loadFactors(Piece piece,
                                                      Value group) {
  Values scales;
  for (int64_t plane = 0; plane < w().getPlanes(); ++plane)
    scales.push_back(loadStagedScales(piece, group, plane));
  return ofDigits(scales);
}

/// The total of a row with the dot products of a group, which is group `own` of
/// its run.
Value LCQTileEmitter::addDots(RowBlock block, const Part &part, Value tile,
                              Value group, Value own, Value row,
                              ArrayRef<Values> scales, Value total) {
  Value line = k.mul(row, digits);
  auto type = VectorType::get({k.lanes}, k.b.getI32Type());
  auto dot = [&](int64_t r, int64_t d) -> Value {
    Value at = k.add(k.mul(own, options.rank), r);
    return vector::LoadOp::create(
        k.b, k.loc, type, dots,
        ValueRange{tile, at, k.add(line, d), k.index(part.lane)});
  };
  return addGroup(block, group, line, dot, scales, total);
}

/// The total of a row with the groups of a run from `begin` on, of which none
/// is missing; `scales` are those of each of them.
Value LCQTileEmitter::addFullRun(RowBlock block, Piece piece, Value tile,
                                 Value begin, Value row,
                                 ArrayRef<llvm::SmallVector<Values>> scales) {
  Value total = k.splat(0.0f);
  for (int64_t own = 0; own < runGroups; ++own)
    total = addDots(block, piece.part, tile, k.add(begin, own), k.index(own),
                    row, scales[own], total);
  return total;
}

/// Adds the dot products `tile`, of a run, to the sums of block `number`, which
/// are row `slot` and those behind it.
void LCQTileEmitter::addRun(Value number, Piece piece, Value blockNumber,
                            Value tile, Value run, Value slot) {
  RowBlock block = layout().getBlock(rows, blockNumber);
  auto [begin, end] = layout().getGroups(run);
  Value first = begin, last = end;
  auto forRows = [&](llvm::function_ref<Value(Value)> totalOf) {
    k.loop(k.index(0), block.size, [&](Value row) {
      Values at = {number, k.add(slot, row), k.index(piece.part.lane)};
      Value sum = k.loadVector(sums, at);
      k.storeVector(LCQProduct::addRun(block, run, row, totalOf(row), sum),
                    sums, at);
    });
  };
  auto addFull = [&] {
    llvm::SmallVector<llvm::SmallVector<Values>> scales;
    for (int64_t own = 0; own < runGroups; ++own)
      scales.push_back(loadFactors(piece, k.add(first, own)));
    forRows([&](Value row) {
      return addFullRun(block, piece, tile, first, row, scales);
    });
  };
  if (runGroups == 1)
    return addFull();
  auto addSome = [&] {
    forRows([&](Value row) {
      return k.loop(first, last, k.index(1), {k.splat(0.0f)},
                    [&](Value group, Values totals) -> Values {
                      return {addDots(block, piece.part, tile, group,
                                      k.sub(group, first), row,
                                      loadFactors(piece, group), totals[0])};
                    })[0];
    });
  };
  k.ifThenElse(k.equal(k.sub(last, first), runGroups), addFull, addSome);
}

/// Adds the products of a piece, of which the tiles of a pair are staged, to
/// the sums of the blocks [first, last) of lines for matrix `number`, of which
/// the first is row `slot`.
void LCQTileEmitter::addPiece(Value number, Piece piece, Value slot,
                              Value first, Value last) {
  auto addRuns = [&](int64_t blocks, Value block) {
    k.loop(k.div(piece.begin, runGroups), k.ceilDiv(piece.end, runGroups),
           [&](Value run) {
             auto [begin, end] = layout().getGroups(run);
             multiplyRun(blocks, block, piece, begin, end);
             k.loop(k.index(0), k.index(blocks * tileWeights), [&](Value tile) {
               Value own = k.add(block, k.div(tile, tileWeights));
               Piece other = piece;
               other.place = k.add(piece.place, k.rem(tile, tileWeights));
               Value row = k.mul(k.sub(own, first), blockRows);
               Value at =
                   k.add(slot, k.add(slotOf(k.index(0), other.place), row));
               for (int64_t p = 0; p < w().getParts(); ++p) {
                 other.part.lane = p * k.lanes;
                 addRun(number, other, own, tile, run, at);
               }
             });
           });
  };
  if (tileBlocks == 1)
    return k.loop(first, last, [&](Value block) { addRuns(1, block); });
  Value even = k.mul(k.div(k.sub(last, first), 2), 2);
  Value rest = k.add(first, even);
  k.loop(first, rest, k.index(2), [&](Value block) { addRuns(2, block); });
  k.ifThen(k.less(rest, last), [&] { addRuns(1, rest); });
}

/// The groups [begin, end) of a pair of tiles of all weights; the sums of the
/// pair begin at `slot`.
void LCQTileEmitter::emitPiece(Value pair, Value begin, Value end, Value slot,
                               Value first, Value last) {
  Value most = k.sub(k.ceilDiv(columns, kTile), k.index(1));
  auto pieceOf = [&](Value place, int64_t part) {
    // Behind an odd tile, it comes again.
    Value tile = k.min(k.add(k.mul(pair, kStagedTiles), place), most);
    return Piece{{tile, part * k.lanes}, place, begin, end};
  };
  k.loop(k.index(0), k.index(options.weights), [&](Value number) {
    k.switchOn(number, 0, options.weights - 1, [&](int64_t i) {
      k.loop(k.index(0), k.index(kStagedTiles), [&](Value place) {
        for (int64_t p = 0; p < w().getParts(); ++p)
          stagePiece(weights[i], pieceOf(place, p));
      });
    });
    k.loop(k.index(0), k.index(kStagedTiles), k.index(tileWeights),
           [&](Value place) {
             addPiece(number, pieceOf(place, 0), slot, first, last);
           });
  });
}

/// The pairs [begin, end) for the blocks of lines from `first` on, as many as
/// there are sums for.
void LCQTileEmitter::emitGroup(Value begin, Value end, Value first) {
  Value last = k.min(k.add(first, kBlocks), k.ceilDiv(rows, blockRows));
  Value row = k.mul(first, blockRows);
  RowBlock block{row, k.sub(k.min(k.mul(last, blockRows), rows), row)};
  Value tileCount = k.ceilDiv(columns, kTile);
  auto forTiles = [&](llvm::function_ref<void(Value, Value)> body) {
    k.loop(begin, end, [&](Value pair) {
      k.loop(k.index(0), k.index(kStagedTiles), [&](Value place) {
        body(k.add(k.mul(pair, kStagedTiles), place),
             slotOf(k.sub(pair, begin), place));
      });
    });
  };
  for (int64_t number = 0; number < options.weights; ++number)
    forTiles([&](Value, Value slot) { clearSums(number, slot, block.size); });
  k.loop(k.index(0), w().groups, k.index(pieceGroups), [&](Value group) {
    Value groupEnd = k.min(k.add(group, pieceGroups), w().groups);
    k.loop(begin, end, [&](Value pair) {
      emitPiece(pair, group, groupEnd, slotOf(k.sub(pair, begin), k.index(0)),
                first, last);
    });
  });
  forTiles([&](Value tile, Value slot) {
    k.ifThen(k.less(tile, tileCount), [&] {
      for (int64_t p = 0; p < w().getParts(); ++p)
        finish(block, slot, Part{tile, p * k.lanes});
    });
  });
}

/// All pairs, in groups for whose sums there is room, but every worker gets
/// one.
void LCQTileEmitter::emit() {
  Value pairs = k.ceilDiv(columns, kTile * kStagedTiles);
  Value size =
      k.min(k.ceilDiv(pairs, workers), k.index(kPairs / options.weights));
  k.deal(k.ceilDiv(pairs, size), next, workers, [&](Value group) {
    Value begin = k.mul(group, size);
    Value end = k.min(k.add(begin, size), pairs);
    k.loop(k.index(0), k.ceilDiv(rows, blockRows), k.index(kBlocks),
           [&](Value first) { emitGroup(begin, end, first); });
  });
}

void nju::emitTileLCQLinear(OpBuilder builder, const CPUTarget &target,
                            const LCQLinearOptions &options,
                            func::FuncOp function) {
  // Inlined, its tiles would be configured, and its stack taken, for few rows,
  // too.
  function->setAttr("passthrough", builder.getStrArrayAttr({"noinline"}));
  KernelBuilder k(builder, function.getLoc(), target.getVectorLanes());
  LCQTileEmitter(k, target, options, function).emit();
}
