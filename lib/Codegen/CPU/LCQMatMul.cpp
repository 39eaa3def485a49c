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
// Where the target has AMX, more rows than two blocks go to LCQMatMulAMX.cpp.
//
//===----------------------------------------------------------------------===//

#include "LCQDense.h"
#include "LCQMatMulAMX.h"
#include "LCQProduct.h"
#include "llvm/Support/FormatVariadic.h"
#include <algorithm>

using namespace mlir;
using namespace nju;

using Value = KernelBuilder::Value;
using Values = KernelBuilder::Values;

/// Few rows: groups of at most so many columns have code without loops, unless
/// they have several ranks, of which the compiler would hold too much at once.
static constexpr int64_t kUnrolledColumns = 256;
/// Many rows: the same. Blocks of rows whose sums are kept for a tile.
static constexpr int64_t kUnrolledStaged = 32;
static constexpr int64_t kStagedBlocks = 48;

namespace {

/// Emits the body of `lcqLinear`.
class LCQEmitter : LCQProduct {
public:
  LCQEmitter(KernelBuilder &k, const CPUTarget &target,
             const LCQLinearOptions &options, func::FuncOp function,
             int64_t mostBlocks);
  /// Calls `emitTiles`, if it is given, for more rows than some blocks have.
  void emit(llvm::function_ref<void()> emitTiles);

private:
  using Factor = ByteVectors::Factor;

  /// Sums of a group for some lines (digits of rows) of x, and what they
  /// become.
  Value startOf(RowBlock block, Value group, int64_t line);
  Factor factorOf(RowBlock block, Value column, int64_t line) {
    return w().bytes.loadFactor(
        xq, {layout().getColumns(block, column, k.index(line))});
  }
  /// The groups of a run, full ones and then the last one if some of its sets
  /// are missing.
  Values forGroups(Value run, Values totals,
                   llvm::function_ref<Values(Value, Values, bool)> body);

  int64_t getPartsAtOnce(int64_t rows) const;
  void emitFewRows(int64_t size);
  void emitParts(int64_t size, ArrayRef<Part> parts, int64_t distance);
  Values addFew(LCQWeights &w, int64_t size, Value group, ArrayRef<Part> parts,
                int64_t distance, Values totals, Value sets);
  Values addSet(LCQWeights &w, int64_t size, Value group, ArrayRef<Part> parts,
                int64_t distance, Value set, Values dots);

  void emitManyRows(int64_t least);
  void emitTiles(Value tile, Value tiles, Value blocks, Value first,
                 int64_t least);
  void addStaged(int64_t size, RowBlock block, Value number, Value slot,
                 Piece piece);
  Values addStagedGroup(RowBlock block, int64_t size, Piece piece, Value group,
                        Values totals, Value units);

  int64_t mostBlocks; ///< Blocks of rows whose sums are kept for a tile.
  Value fullGroups;   ///< Those of whole sets of which no one is missing.
};

} // namespace

LCQEmitter::LCQEmitter(KernelBuilder &k, const CPUTarget &target,
                       const LCQLinearOptions &options, func::FuncOp function,
                       int64_t mostBlocks)
    : LCQProduct(k, target, options, function,
                 kStagedTiles * mostBlocks *
                     LCQRowsLayout::getBlockRows(target, options.activations)),
      mostBlocks(mostBlocks), fullGroups(k.div(w().padded, options.group)) {}

Value LCQEmitter::startOf(RowBlock block, Value group, int64_t line) {
  return w().bytes.start(
      k.load(xSums, {layout().getSum(block, group, k.index(line))}));
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
    for (int64_t row = 0; row < size; ++row) {
      auto dot = [&, p = p](int64_t r, int64_t d) {
        return dots[(p * options.rank + r) * lines + row * digits + d];
      };
      Value &total = totals[p * size + row];
      total =
          addGroup(block, group, k.index(row * digits), dot, factors, total);
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
    Values found = k.loop(k.index(0), layout().getScales(), k.index(1), zeros,
                          [&](Value run, Values sums) {
                            Values totals = forGroups(run, zeros, add);
                            for (size_t i = 0; i < sums.size(); ++i)
                              sums[i] = addRun(block, run, k.index(i % size),
                                               totals[i], sums[i]);
                            return sums;
                          });
    for (auto [i, sum] : llvm::enumerate(found)) {
      k.storeVector(
          sum, sums,
          {k.index(number), k.index(i), k.index(parts[i / size].lane)});
    }
  }
  for (auto [p, part] : llvm::enumerate(parts))
    finish(block, k.index(p * size), part);
}

/// As few rows as have all their sums in registers.
void LCQEmitter::emitFewRows(int64_t size) {
  bool together = getPartsAtOnce(size) >= w().getParts();
  int64_t distance =
      size > 1 ? target.getBlockPrefetchBytes() : target.getPrefetchBytes();
  Value tiles = k.ceilDiv(columns, LCQStream::kTileRows);
  bool isApart = size == 1 && target.getReadStreams() == 2 &&
                 w().getParts() == 1 && getPartsAtOnce(size) >= 2;
  k.dealRuns(tiles, next, workers, [&](Value first, Value last) {
    if (isApart) {
      Value pairs = k.div(k.sub(last, first), 2);
      k.loop(k.index(0), pairs, [&](Value i) {
        Value tile = k.add(first, i);
        emitParts(size, {Part{tile, 0}, Part{k.add(tile, pairs), 0}}, distance);
      });
      first = k.add(first, k.mul(pairs, 2));
    }
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

/// Adds a group of `units` units, or without `units` a full one, to the totals
/// of the rows of a block.
Values LCQEmitter::addStagedGroup(RowBlock block, int64_t size, Piece piece,
                                  Value group, Values totals, Value units) {
  int64_t lines = size * digits;
  Value first = k.mul(k.sub(group, piece.begin), getGroupUnits());
  auto bytes = VectorType::get({k.lanes * 4}, k.b.getI8Type());
  auto add = [&](int64_t r, Value unit, Values dots) {
    Value values =
        vector::LoadOp::create(k.b, k.loc, bytes, staged,
                               ValueRange{placeOfRank(piece.place, r),
                                          k.add(first, unit), k.index(0)});
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
    scales.push_back(loadStagedScales(piece, group, plane));
  llvm::SmallVector<Values> factors = ofDigits(scales);
  for (int64_t row = 0; row < size; ++row) {
    auto dot = [&](int64_t r, int64_t d) { return dots[r][row * digits + d]; };
    totals[row] = addGroup(block, group, k.index(row * digits), dot, factors,
                           totals[row]);
  }
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
             k.storeVector(addRun(block, run, k.index(r), totals[r], sum), sums,
                           at);
           }
         });
}

/// The blocks of rows from `first` on, as many as have room, times `tiles`
/// tiles. A block has at least `least` rows.
void LCQEmitter::emitTiles(Value tile, Value tiles, Value blocks, Value first,
                           int64_t least) {
  Value last = k.min(k.add(first, mostBlocks), blocks);
  Value used = k.mul(k.sub(last, first), blockRows);
  auto forTiles = [&](llvm::function_ref<void(Value)> body) {
    k.loop(k.index(0), tiles, body);
  };
  auto slotOf = [&](Value place, Value row) {
    return k.add(k.mul(place, mostBlocks * blockRows), row);
  };
  auto forBlocks = [&](llvm::function_ref<void(RowBlock, Value, Value)> body) {
    k.loop(first, last, [&](Value number) {
      RowBlock block = layout().getBlock(rows, number);
      Value row = k.mul(k.sub(number, first), blockRows);
      forTiles([&](Value place) { body(block, slotOf(place, row), place); });
    });
  };
  for (int64_t number = 0; number < options.weights; ++number)
    forTiles([&](Value place) {
      clearSums(number, slotOf(place, k.index(0)), used);
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
    k.loop(k.index(0), blocks, k.index(mostBlocks),
           [&](Value first) { emitTiles(tile, count, blocks, first, least); });
  });
}

void LCQEmitter::emit(llvm::function_ref<void()> emitTiles) {
  int64_t few = 1;
  while (few < blockRows && getPartsAtOnce(few + 1) > 0)
    ++few;
  auto emitMany = [&] { emitManyRows(few + 1); };
  k.ifThenElse(
      k.less(k.sub(rows, k.index(1)), k.index(few)),
      [&] { k.switchOn(rows, 1, few, [&](int64_t n) { emitFewRows(n); }); },
      [&] {
        if (!emitTiles)
          return emitMany();
        k.ifThenElse(k.less(k.index(mostBlocks * blockRows), rows), emitTiles,
                     emitMany);
      });
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
  if (options.packs)
    name += "_packs";
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
  if (options.packs)
    arguments.push_back(dynamicMemRef(2, i8));
  arguments.push_back(dynamicMemRef(1, types.getI64Type()));
  bool isDense = options.activations == ActivationType::F32;
  func::FuncOp tiles;
  if (hasLCQTiles(options.activations))
    tiles = create(name + "_amx", arguments);
  func::FuncOp function = create(name, arguments);
  auto emit = [&](func::FuncOp function, auto body) {
    OpBuilder builder = OpBuilder::atBlockBegin(function.addEntryBlock());
    auto end = func::ReturnOp::create(builder, module.getLoc());
    builder.setInsertionPoint(end);
    body(builder);
  };
  if (tiles)
    emit(tiles, [&](OpBuilder &builder) {
      emitTileLCQLinear(builder, target, options, tiles);
    });
  emit(function, [&](OpBuilder &builder) {
    KernelBuilder k(builder, module.getLoc(), target.getVectorLanes());
    if (isDense)
      return emitDenseLCQLinear(k, target, options, function);
    auto callTiles = [&] {
      func::CallOp::create(k.b, k.loc, tiles, function.getArguments());
    };
    llvm::function_ref<void()> emitTiles;
    if (tiles)
      emitTiles = callTiles;
    int64_t mostBlocks =
        tiles ? LCQRowsLayout::kBlocksBeforeTiles : kStagedBlocks;
    LCQEmitter(k, target, options, function, mostBlocks).emit(emitTiles);
  });
  return function;
}
