//===- LCQMatMul.cpp - Products with weights quantized by LCQ ---*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A codeword is sum_k s_k v_k: instead of a codebook for each group, codes are
// looked up in the rows v_k of the basis, which stay in registers, and a dot
// product with int8 x is made of each. It is exact, whatever instructions
// compute it; scales of weights come in once a group, and those of x, which
// several groups share, once a run of such groups.
//
// 16 rows of weights are 16 lanes, so that nothing is added across lanes and x
// needs a broadcast of four bytes only.
//
// One row, or few: reading the weights is all that counts. A worker reads one
// run of tiles after the other; what is looked up is multiplied by all rows.
//
// Many rows: what is looked up is kept, so that looking up costs nothing.
//
//   for each two tiles, for each 48 blocks of rows: their sums stay in L2
//     for each piece of K: its codes are looked up into 16 KB, in L1
//       for each block of rows, for each of the tiles, for each run of groups:
//         add up in registers
//
// x does not fit into L2, and is read as often as there are pairs of tiles.
//
//===----------------------------------------------------------------------===//

#include "LCQDense.h"
#include "LCQWeights.h"
#include "LinearOperands.h"
#include "llvm/Support/FormatVariadic.h"
#include <algorithm>

using namespace mlir;
using namespace nju;

using Value = KernelBuilder::Value;
using Values = KernelBuilder::Values;

/// Few rows: groups of at most so many columns have code without loops, unless
/// they have several ranks, of which the compiler would hold too much at once.
static constexpr int64_t kUnrolledColumns = 256;
/// Many rows: the same. Tiles and bytes of them that are looked up at once, and
/// blocks of rows whose sums are kept for a tile.
static constexpr int64_t kUnrolledStaged = 32;
static constexpr int64_t kStagedTiles = 2;
static constexpr int64_t kStagedBytes = 16384;
static constexpr int64_t kStagedBlocks = 48;

namespace {

/// Emits the body of `lcqLinear`.
class LCQEmitter : LinearResult {
public:
  LCQEmitter(KernelBuilder &k, const CPUTarget &target,
             const LCQLinearOptions &options, func::FuncOp function);
  void emit();

private:
  using Part = LCQWeights::Part;
  using Factor = ByteVectors::Factor;

  /// Sums of a group for some lines (digits of rows) of x, and what they
  /// become.
  Value startOf(RowBlock block, Value group, int64_t line);
  Factor factorOf(RowBlock block, Value column, int64_t line) {
    return w().bytes.loadFactor(
        xq, {layout().getColumns(block, column, k.index(line))});
  }
  Value addGroup(RowBlock block, Value group, int64_t row,
                 llvm::function_ref<Value(int64_t, int64_t)> dot,
                 ArrayRef<Values> scales, Value total);
  Value addRun(RowBlock block, Value run, int64_t row, Value total, Value sum) {
    Value at = layout().getScale(block, run, k.index(row));
    return k.fma(total, k.broadcast(k.load(xScales, {at})), sum);
  }
  llvm::SmallVector<Values> ofDigits(Values scales);
  /// The groups of a run, full ones and then the last one if some of its sets
  /// are missing.
  Values forGroups(Value run, Values totals,
                   llvm::function_ref<Values(Value, Values, bool)> body);
  Value toFloat(Value integers) {
    return arith::SIToFPOp::create(k.b, k.loc, k.vectorType(k.lanes), integers);
  }
  /// With one plane its factors wait until the groups are summed.
  bool scalesSums() const { return w().getPlanes() == 1; }
  Value loadScales(LCQWeights &w, const Part &part, Value group,
                   int64_t plane) {
    return scalesSums() ? w.loadGroupScales(part, group, plane)
                        : w.loadScales(part, group, plane);
  }
  void finish(RowBlock block, Value slot, const Part &part);

  int64_t getPartsAtOnce(int64_t rows) const;
  void emitFewRows(int64_t size);
  void emitParts(int64_t size, ArrayRef<Part> parts, int64_t distance);
  Values addFew(LCQWeights &w, int64_t size, Value group, ArrayRef<Part> parts,
                int64_t distance, Values totals, Value sets);
  Values addSet(LCQWeights &w, int64_t size, Value group, ArrayRef<Part> parts,
                int64_t distance, Value set, Values dots);

  /// The groups [begin, end) of a part, which are kept at place `place`.
  struct Piece {
    Part part;
    Value place, begin, end;
  };
  Value placeOfScales(Piece piece, Value group, int64_t plane) {
    Value own =
        k.add(k.mul(piece.place, pieceGroups), k.sub(group, piece.begin));
    return k.add(k.mul(own, w().getPlanes()), plane);
  }
  Value placeOfRank(Piece piece, int64_t rank) {
    return k.add(k.mul(piece.place, options.rank), rank);
  }
  void emitManyRows(int64_t least);
  void emitTiles(Value tile, Value tiles, Value blocks, Value first,
                 int64_t least);
  void stagePiece(LCQWeights &w, Piece piece);
  void addStaged(int64_t size, RowBlock block, Value number, Value slot,
                 Piece piece);
  Values addStagedGroup(RowBlock block, int64_t size, Piece piece, Value group,
                        Values totals, Value units);

  const LCQWeights &w() const { return weights.front(); }
  LCQWeights &w() { return weights.front(); }
  LCQRowsLayout layout() {
    return {k, options.activations, options.group, w().padded, w().groups};
  }
  int64_t getGroupUnits() const {
    return options.group / LCQStream::kUnitColumns;
  }

  const CPUTarget &target;
  const LCQLinearOptions &options;
  int64_t digits, blockRows, pieceGroups;
  Value workers, xq, xScales, xSums, next;
  Value fullGroups; ///< Those of whole sets of which no one is missing.
  std::vector<LCQWeights> weights;
  /// Sums, [weights, rows, rows of a tile]: of many rows, those of x for as
  /// many tiles as are multiplied at once.
  Value sums;
  /// Looked up, [tiles and ranks, units of a piece, bytes]; scales, [tiles and
  /// planes of all groups, lanes].
  Value staged, stagedScales;
};

} // namespace

LCQEmitter::LCQEmitter(KernelBuilder &k, const CPUTarget &target,
                       const LCQLinearOptions &options, func::FuncOp function)
    : LinearResult(k, options.epilogue, options.others,
                   function.getArguments()
                       .drop_front(LCQWeights::kRowArguments +
                                   LCQWeights::kArguments * options.weights)
                       .drop_back()),
      target(target), options(options),
      digits(LCQRowsLayout::getDigits(options.activations)),
      blockRows(LCQRowsLayout::getBlockRows(target, options.activations)),
      pieceGroups(options.getScaleGroups()) {
  int64_t bytes = pieceGroups * options.group * options.rank * k.lanes;
  pieceGroups *= std::max<int64_t>(1, kStagedBytes / (kStagedTiles * bytes));
  ArrayRef<BlockArgument> arguments = function.getArguments();
  workers = arguments[1];
  xq = k.flatten(arguments[3]);
  xScales = k.flatten(arguments[4]);
  xSums = k.flatten(arguments[5]);
  next = arguments.back();
  Value depth = k.dim(arguments[2], 1);
  for (int64_t w = 0; w < options.weights; ++w)
    weights.emplace_back(
        k, target, options, depth,
        arguments.slice(LCQWeights::kRowArguments + LCQWeights::kArguments * w,
                        LCQWeights::kArguments));
  fullGroups = k.div(w().padded, options.group);
  Type f32 = k.b.getF32Type();
  sums = k.scratch({options.weights, kStagedTiles * kStagedBlocks * blockRows,
                    LCQStream::kTileRows},
                   f32);
  staged = k.scratch(
      {kStagedTiles * options.rank, pieceGroups * getGroupUnits(), k.lanes * 4},
      k.b.getI8Type());
  stagedScales =
      k.scratch({kStagedTiles * pieceGroups * w().getPlanes(), k.lanes}, f32);
}

Value LCQEmitter::startOf(RowBlock block, Value group, int64_t line) {
  return w().bytes.start(
      k.load(xSums, {layout().getSum(block, group, k.index(line))}));
}

/// The scales of weights for each digit of x, of which the first one counts 256
/// times.
llvm::SmallVector<Values> LCQEmitter::ofDigits(Values scales) {
  if (digits == 1)
    return {scales};
  Values high;
  for (Value scale : scales)
    high.push_back(k.mulf(scale, k.splat(256.0f)));
  return {high, scales};
}

/// What the total of row `row` of the block is with the dot products of a
/// group, `dot(rank, line)`; `scales` are those of the weights.
Value LCQEmitter::addGroup(RowBlock block, Value group, int64_t row,
                           llvm::function_ref<Value(int64_t, int64_t)> dot,
                           ArrayRef<Values> scales, Value total) {
  for (int64_t d = 0; d < digits; ++d) {
    int64_t line = row * digits + d;
    for (int64_t r = 0; r < options.rank; ++r)
      total = k.fma(toFloat(dot(r, line)), scales[d][r], total);
    if (options.hasOffset()) {
      Value at = layout().getSum(block, group, k.index(line));
      total = k.fma(toFloat(k.broadcast(k.load(xSums, {at}))), scales[d].back(),
                    total);
    }
  }
  return total;
}

Values
LCQEmitter::forGroups(Value run, Values totals,
                      llvm::function_ref<Values(Value, Values, bool)> body) {
  auto [first, last] = layout().getGroups(run);
  Value full = k.min(last, fullGroups);
  auto loop = [&](Value begin, Value end, const Values &totals, bool isFull) {
    return k.loop(begin, end, k.index(1), totals,
                  [&](Value group, Values totals) {
                    return body(group, std::move(totals), isFull);
                  });
  };
  totals = loop(first, full, totals, true);
  return loop(k.max(first, full), last, totals, false);
}

/// Stores what becomes of the sums of a block from row `slot` of `sums` on: of
/// a part of a tile.
void LCQEmitter::finish(RowBlock block, Value slot, const Part &part) {
  Value column = k.add(k.mul(part.tile, LCQStream::kTileRows), part.lane);
  Value mask = maskOf(column);
  Values factors;
  if (scalesSums())
    for (LCQWeights &own : weights)
      factors.push_back(own.loadFactors(part, 0));
  k.loop(k.index(0), block.size, [&](Value r) {
    Values products;
    for (int64_t number = 0; number < options.weights; ++number) {
      Value sum = k.loadVector(
          sums, {k.index(number), k.add(slot, r), k.index(part.lane)});
      products.push_back(scalesSums() ? k.mulf(sum, factors[number]) : sum);
    }
    store(products, k.add(block.begin, r), column, mask);
  });
}

//===----------------------------------------------------------------------===//
// Few rows
//===----------------------------------------------------------------------===//

/// Parts whose sums, of a group and of all groups, the registers hold next to
/// tables, x, codes, and four others.
int64_t LCQEmitter::getPartsAtOnce(int64_t rows) const {
  int64_t lines = rows * digits;
  int64_t tables = options.rank * (options.bits == 4 ? 1 : 2);
  int64_t factors = lines * (w().bytes.hasUnsignedDot() ? 1 : 2);
  int64_t codes = (options.bits == 4 ? 2 : 4) + (options.rank > 1);
  int64_t left = target.getVectorRegisters() - 4 - tables - factors;
  return std::max<int64_t>(left, 0) / (lines * options.rank + rows + codes);
}

/// A set of each part's group times x: `dots` are [part][rank][line].
Values LCQEmitter::addSet(LCQWeights &w, int64_t size, Value group,
                          ArrayRef<Part> parts, int64_t distance, Value set,
                          Values dots) {
  RowBlock block{k.index(0), k.index(size)};
  llvm::SmallVector<llvm::SmallVector<LCQWeights::Unit>> units;
  for (const Part &part : parts)
    units.push_back(
        w.loadSet(part, w.getGroup(part.tile, group), set, distance));
  Value column =
      k.add(k.mul(group, options.group), k.mul(set, w.getSetColumns()));
  for (size_t u = 0; u < units.front().size(); ++u) {
    Value at = k.add(column, u * LCQStream::kUnitColumns);
    llvm::SmallVector<Factor> factors;
    for (int64_t line = 0; line < size * digits; ++line)
      factors.push_back(factorOf(block, at, line));
    auto *dot = dots.begin();
    for (size_t p = 0; p < parts.size(); ++p)
      for (int64_t r = 0; r < options.rank; ++r) {
        Value values = w.lookUp(units[p][u], r);
        for (const Factor &factor : factors) {
          *dot = w.bytes.dot(*dot, values, factor);
          ++dot;
        }
      }
  }
  return dots;
}

/// Adds a group of `sets` sets, or without `sets` a full one, to the totals
/// [part][row].
Values LCQEmitter::addFew(LCQWeights &w, int64_t size, Value group,
                          ArrayRef<Part> parts, int64_t distance, Values totals,
                          Value sets) {
  RowBlock block{k.index(0), k.index(size)};
  int64_t lines = size * digits;
  Values starts;
  for (int64_t line = 0; line < lines; ++line)
    starts.push_back(startOf(block, group, line));
  Values dots;
  for (size_t i = 0; i < parts.size() * options.rank; ++i)
    llvm::append_range(dots, starts);
  auto add = [&](Value set, Values dots) {
    return addSet(w, size, group, parts, distance, set, std::move(dots));
  };
  bool unrolls = options.rank == 1 && options.group <= kUnrolledColumns / size;
  if (!sets && unrolls) {
    for (int64_t s = 0; s < w.getSets(); ++s)
      dots = add(k.index(s), dots);
  } else {
    dots = k.loop(k.index(0), sets ? sets : k.index(w.getSets()), k.index(1),
                  dots, add);
  }
  for (auto [p, part] : llvm::enumerate(parts)) {
    Values scales;
    for (int64_t plane = 0; plane < w.getPlanes(); ++plane)
      scales.push_back(
          loadScales(w, part, w.getGroup(part.tile, group), plane));
    llvm::SmallVector<Values> factors = ofDigits(scales);
    auto dot = [&, p = p](int64_t r, int64_t line) {
      return dots[(p * options.rank + r) * lines + line];
    };
    for (int64_t row = 0; row < size; ++row) {
      Value &total = totals[p * size + row];
      total = addGroup(block, group, row, dot, factors, total);
    }
  }
  return totals;
}

/// The rows of x times the rows of weights in some parts.
void LCQEmitter::emitParts(int64_t size, ArrayRef<Part> parts,
                           int64_t distance) {
  RowBlock block{k.index(0), k.index(size)};
  for (auto [number, w] : llvm::enumerate(weights)) {
    Value restColumns = k.sub(w.padded, k.mul(fullGroups, options.group));
    Value restSets = k.div(restColumns, w.getSetColumns());
    auto add = [&, &w = w](Value group, Values totals, bool isFull) {
      return addFew(w, size, group, parts, distance, std::move(totals),
                    isFull ? nullptr : restSets);
    };
    Values zeros(parts.size() * size, k.splat(0.0f));
    Values found =
        k.loop(k.index(0), layout().getScales(), k.index(1), zeros,
               [&](Value run, Values sums) {
                 Values totals = forGroups(run, zeros, add);
                 for (size_t i = 0; i < sums.size(); ++i)
                   sums[i] = addRun(block, run, i % size, totals[i], sums[i]);
                 return sums;
               });
    for (auto [i, sum] : llvm::enumerate(found)) {
      size_t p = i / size;
      k.storeVector(
          sum, sums,
          {k.index(number), k.index(i % size), k.index(parts[p].lane)});
    }
  }
  for (const Part &part : parts)
    finish(block, k.index(0), part);
}

/// As few rows as have all their sums in registers.
void LCQEmitter::emitFewRows(int64_t size) {
  bool together = getPartsAtOnce(size) >= w().getParts();
  int64_t distance =
      size > 1 ? target.getBlockPrefetchBytes() : target.getPrefetchBytes();
  Value tiles = k.ceilDiv(columns, LCQStream::kTileRows);
  k.dealRuns(tiles, next, workers, [&](Value first, Value last) {
    k.loop(first, last, [&](Value tile) {
      llvm::SmallVector<Part> parts;
      for (int64_t p = 0; p < w().getParts(); ++p)
        parts.push_back({tile, p * k.lanes});
      if (together)
        return emitParts(size, parts, distance);
      for (const Part &part : parts)
        emitParts(size, part, distance);
    });
  });
}

//===----------------------------------------------------------------------===//
// Many rows
//===----------------------------------------------------------------------===//

/// Looks up the codes of the piece, and multiplies its scales out.
void LCQEmitter::stagePiece(LCQWeights &w, Piece piece) {
  k.loop(piece.begin, piece.end, [&](Value group) {
    Value own = k.sub(group, piece.begin);
    Value begin = w.getGroup(piece.part.tile, group);
    for (int64_t plane = 0; plane < w.getPlanes(); ++plane)
      k.storeVector(loadScales(w, piece.part, begin, plane), stagedScales,
                    {placeOfScales(piece, group, plane), k.index(0)});
    Value columns = k.sub(w.padded, k.mul(group, options.group));
    Value sets = k.min(k.index(w.getSets()), k.div(columns, w.getSetColumns()));
    k.loop(k.index(0), sets, [&](Value set) {
      Value first =
          k.add(k.mul(own, getGroupUnits()), k.mul(set, w.getSetColumns() / 4));
      auto units =
          w.loadSet(piece.part, begin, set, target.getBlockPrefetchBytes());
      for (auto [u, unit] : llvm::enumerate(units))
        for (int64_t r = 0; r < options.rank; ++r)
          k.storeVector(w.lookUp(unit, r), staged,
                        {placeOfRank(piece, r), k.add(first, u), k.index(0)});
    });
  });
}

/// Adds a group of `units` units, or without `units` a full one, to the totals
/// of the rows of a block.
Values LCQEmitter::addStagedGroup(RowBlock block, int64_t size, Piece piece,
                                  Value group, Values totals, Value units) {
  int64_t lines = size * digits;
  Value first = k.mul(k.sub(group, piece.begin), getGroupUnits());
  auto bytes = VectorType::get({k.lanes * 4}, k.b.getI8Type());
  auto add = [&](int64_t r, Value unit, Values dots) {
    Value values = vector::LoadOp::create(
        k.b, k.loc, bytes, staged,
        ValueRange{placeOfRank(piece, r), k.add(first, unit), k.index(0)});
    Value column = k.add(k.mul(group, options.group),
                         k.mul(unit, LCQStream::kUnitColumns));
    for (int64_t line = 0; line < lines; ++line)
      dots[line] =
          w().bytes.dot(dots[line], values, factorOf(block, column, line));
    return dots;
  };
  int64_t atOnce = kUnrolledStaged / LCQStream::kUnitColumns;
  if (units || getGroupUnits() % atOnce != 0)
    atOnce = 1;
  llvm::SmallVector<Values> dots;
  for (int64_t r = 0; r < options.rank; ++r) {
    Values own;
    for (int64_t line = 0; line < lines; ++line)
      own.push_back(startOf(block, group, line));
    auto addSome = [&](Value unit, Values dots) {
      for (int64_t u = 0; u < atOnce; ++u)
        dots = add(r, k.add(unit, u), dots);
      return dots;
    };
    dots.push_back(!units && getGroupUnits() == atOnce
                       ? addSome(k.index(0), own)
                       : k.loop(k.index(0),
                                units ? units : k.index(getGroupUnits()),
                                k.index(atOnce), own, addSome));
  }
  Values scales;
  for (int64_t plane = 0; plane < w().getPlanes(); ++plane)
    scales.push_back(k.loadVector(
        stagedScales, {placeOfScales(piece, group, plane), k.index(0)}));
  llvm::SmallVector<Values> factors = ofDigits(scales);
  for (int64_t row = 0; row < size; ++row)
    totals[row] = addGroup(
        block, group, row,
        [&](int64_t r, int64_t line) { return dots[r][line]; }, factors,
        totals[row]);
  return totals;
}

/// Adds the products of the piece, which is staged, to the sums of a block of
/// matrix `number`, which are row `slot` and those behind it.
void LCQEmitter::addStaged(int64_t size, RowBlock block, Value number,
                           Value slot, Piece piece) {
  block.size = k.index(size);
  Value lane = k.index(piece.part.lane);
  auto add = [&](Value group, Values totals, bool isFull) {
    Value columns = k.sub(w().padded, k.mul(group, options.group));
    Value units = k.div(columns, LCQStream::kUnitColumns);
    return addStagedGroup(block, size, piece, group, std::move(totals),
                          isFull ? nullptr : units);
  };
  // Only the totals of a run are in registers.
  Values zeros(size, k.splat(0.0f));
  int64_t scaleGroups = options.getScaleGroups();
  k.loop(k.div(piece.begin, scaleGroups), k.ceilDiv(piece.end, scaleGroups),
         [&](Value run) {
           Values totals = forGroups(run, zeros, add);
           for (int64_t r = 0; r < size; ++r) {
             Values at = {number, k.add(slot, r), lane};
             Value sum = k.loadVector(sums, at);
             k.storeVector(addRun(block, run, r, totals[r], sum), sums, at);
           }
         });
}

/// The blocks of rows from `first` on, as many as have room, times `tiles`
/// tiles. A block has at least `least` rows.
void LCQEmitter::emitTiles(Value tile, Value tiles, Value blocks, Value first,
                           int64_t least) {
  Value last = k.min(k.add(first, kStagedBlocks), blocks);
  Value used = k.mul(k.sub(last, first), blockRows);
  auto forTiles = [&](llvm::function_ref<void(Value)> body) {
    k.loop(k.index(0), tiles, body);
  };
  auto slotOf = [&](Value place, Value row) {
    return k.add(k.mul(place, kStagedBlocks * blockRows), row);
  };
  auto forBlocks = [&](llvm::function_ref<void(RowBlock, Value, Value)> body) {
    k.loop(first, last, [&](Value number) {
      RowBlock block = rowBlock(k, rows, blocks, number);
      Value row = k.mul(k.sub(number, first), blockRows);
      forTiles([&](Value place) { body(block, slotOf(place, row), place); });
    });
  };
  for (int64_t number = 0; number < options.weights; ++number)
    forTiles([&](Value place) {
      k.loop(k.index(0), used, [&](Value row) {
        k.storeVector(k.splat(0.0f, LCQStream::kTileRows), sums,
                      {k.index(number), slotOf(place, row), k.index(0)});
      });
    });
  auto addPieces = [&](int64_t part, Value begin, Value end) {
    auto pieceOf = [&](Value place) {
      return Piece{{k.add(tile, place), part * k.lanes}, place, begin, end};
    };
    k.loop(k.index(0), k.index(options.weights), [&](Value number) {
      k.switchOn(number, 0, options.weights - 1, [&](int64_t i) {
        forTiles([&](Value place) { stagePiece(weights[i], pieceOf(place)); });
      });
      forBlocks([&](RowBlock block, Value slot, Value place) {
        k.switchOn(block.size, least, blockRows, [&](int64_t size) {
          addStaged(size, block, number, slot, pieceOf(place));
        });
      });
    });
  };
  k.loop(k.index(0), w().groups, k.index(pieceGroups), [&](Value begin) {
    Value end = k.min(k.add(begin, pieceGroups), w().groups);
    for (int64_t p = 0; p < w().getParts(); ++p)
      addPieces(p, begin, end);
  });
  for (int64_t p = 0; p < w().getParts(); ++p)
    forBlocks([&](RowBlock block, Value slot, Value place) {
      finish(block, slot, Part{k.add(tile, place), p * k.lanes});
    });
}

/// At least `least` rows, or none.
void LCQEmitter::emitManyRows(int64_t least) {
  Value blocks = k.ceilDiv(rows, blockRows);
  Value tiles = k.ceilDiv(columns, LCQStream::kTileRows);
  least = std::min(least, (blockRows + 1) / 2);
  k.deal(k.ceilDiv(tiles, kStagedTiles), next, workers, [&](Value pair) {
    Value tile = k.mul(pair, kStagedTiles);
    Value count = k.min(k.sub(tiles, tile), k.index(kStagedTiles));
    k.loop(k.index(0), blocks, k.index(kStagedBlocks),
           [&](Value first) { emitTiles(tile, count, blocks, first, least); });
  });
}

void LCQEmitter::emit() {
  int64_t few = 1;
  while (few < blockRows && getPartsAtOnce(few + 1) > 0)
    ++few;
  k.ifThenElse(
      k.less(k.sub(rows, k.index(1)), k.index(few)),
      [&] { k.switchOn(rows, 1, few, [&](int64_t n) { emitFewRows(n); }); },
      [&] { emitManyRows(few + 1); });
}

static std::string linearName(const LCQLinearOptions &options) {
  std::string name =
      llvm::formatv("nju_lcq_linear_{0}x{1}x{2}x{3}", options.bits,
                    options.group, options.rank, options.scaleBits);
  if (options.offset)
    name += "_offset";
  if (options.zeroBits)
    name += llvm::formatv("_zero{0}", options.zeroBits);
  if (options.activations == ActivationType::Int16)
    name += "_i16";
  if (options.activations == ActivationType::F32)
    name += "_f32";
  if (options.weights > 1)
    name += "_pair";
  return name;
}

func::FuncOp KernelLibrary::lcqLinear(const LCQLinearOptions &options) {
  assert(options.isValid() && supportsLCQ() && "no such kernel");
  std::string name = nameWithEpilogue(linearName(options), options.epilogue,
                                      options.others, epilogues);
  if (func::FuncOp known = lookup(name))
    return known;
  Builder types(module.getContext());
  Type index = types.getIndexType(), f32 = types.getF32Type(),
       i8 = types.getI8Type();
  llvm::SmallVector<Type> arguments = {index,
                                       index,
                                       dynamicMemRef(2, f32),
                                       dynamicMemRef(2, i8),
                                       dynamicMemRef(2, f32),
                                       dynamicMemRef(2, types.getI32Type())};
  for (int64_t w = 0; w < options.weights; ++w)
    arguments.append(
        {dynamicMemRef(1, i8), dynamicMemRef(2, i8), dynamicMemRef(2, f32)});
  for (int64_t rank : options.others)
    arguments.push_back(dynamicMemRef(rank, f32));
  arguments.push_back(dynamicMemRef(2, f32));
  arguments.push_back(dynamicMemRef(1, types.getI64Type()));
  func::FuncOp function = create(name, arguments);
  OpBuilder builder = OpBuilder::atBlockBegin(function.addEntryBlock());
  KernelBuilder k(builder, module.getLoc(), target.getVectorLanes());
  if (options.activations == ActivationType::F32)
    emitDenseLCQLinear(k, target, options, function);
  else
    LCQEmitter(k, target, options, function).emit();
  func::ReturnOp::create(k.b, k.loc);
  return function;
}
