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
// compute it; scales come in once a group.
//
// 16 rows of weights are 16 lanes, so that nothing is added across lanes and x
// needs a broadcast of four bytes only.
//
// One row, or few: reading the weights is all that counts. Several tiles are
// read at once, each far from the others, so that memory sees several linear
// streams; what is looked up is multiplied by all rows.
//
// Many rows: what is looked up is kept, so that looking up costs nothing.
//
//   for each tile, for each 48 blocks of rows: their sums stay in L2
//     for each piece of K: its codes are looked up into 8 KB a rank, in L1
//       for each block of rows: add to its sums, in registers over the piece
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
/// Many rows: the same. Columns that are looked up at once, and blocks of rows
/// whose sums are kept for a tile.
static constexpr int64_t kUnrolledStaged = 32;
static constexpr int64_t kStagedColumns = 512;
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
                 ArrayRef<Value> scales, Value sum);
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
                int64_t distance, Values sums, Value sets);
  Values addSet(LCQWeights &w, int64_t size, Value group, ArrayRef<Part> parts,
                int64_t distance, Value set, Values dots);

  /// The groups [begin, end) of a part.
  struct Piece {
    Part part;
    Value begin, end;
  };
  void emitManyRows(int64_t least);
  void emitTile(Value tile, Value blocks, Value first, int64_t least);
  void stagePiece(LCQWeights &w, Piece piece);
  void addStaged(int64_t size, RowBlock block, Value number, Value slot,
                 Piece piece);
  Values addStagedGroup(RowBlock block, int64_t size, Piece piece, Value group,
                        Values sums, Value units);

  const LCQWeights &w() const { return weights.front(); }
  LCQWeights &w() { return weights.front(); }
  LCQRowsLayout layout() {
    return {k, options.activations, w().padded, w().groups};
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
  /// Sums, [weights, rows, tiles of columns]: of few rows as many tiles as are
  /// multiplied at once, of many one.
  Value sums;
  /// Looked up, [rank, units of a piece, bytes]; scales, [planes of all groups,
  /// lanes].
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
      pieceGroups(std::max<int64_t>(1, kStagedColumns / options.group)) {
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
  sums = k.scratch(
      {options.weights, kStagedBlocks * blockRows, LCQStream::kTileRows}, f32);
  staged = k.scratch({options.rank, pieceGroups * getGroupUnits(), k.lanes * 4},
                     k.b.getI8Type());
  stagedScales = k.scratch({pieceGroups * w().getPlanes(), k.lanes}, f32);
}

Value LCQEmitter::startOf(RowBlock block, Value group, int64_t line) {
  return w().bytes.start(
      k.load(xSums, {layout().getGroup(block, group, k.index(line))}));
}

/// What the sum of row `row` of the block is with the dot products of a group,
/// `dot(rank, line)`; `scales` are those of the weights.
Value LCQEmitter::addGroup(RowBlock block, Value group, int64_t row,
                           llvm::function_ref<Value(int64_t, int64_t)> dot,
                           ArrayRef<Value> scales, Value sum) {
  for (int64_t line = row * digits; line < (row + 1) * digits; ++line) {
    Value at = layout().getGroup(block, group, k.index(line));
    Value total = k.mulf(toFloat(dot(0, line)), scales[0]);
    for (int64_t r = 1; r < options.rank; ++r)
      total = k.fma(toFloat(dot(r, line)), scales[r], total);
    if (options.hasOffset())
      total = k.fma(toFloat(k.broadcast(k.load(xSums, {at}))), scales.back(),
                    total);
    sum = k.fma(total, k.broadcast(k.load(xScales, {at})), sum);
  }
  return sum;
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

/// Adds a group of `sets` sets, or without `sets` a full one, to the sums
/// [part][row].
Values LCQEmitter::addFew(LCQWeights &w, int64_t size, Value group,
                          ArrayRef<Part> parts, int64_t distance, Values sums,
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
    auto dot = [&, p = p](int64_t r, int64_t line) {
      return dots[(p * options.rank + r) * lines + line];
    };
    for (int64_t row = 0; row < size; ++row) {
      Value &sum = sums[p * size + row];
      sum = addGroup(block, group, row, dot, scales, sum);
    }
  }
  return sums;
}

/// The rows of x times the rows of weights in some parts.
void LCQEmitter::emitParts(int64_t size, ArrayRef<Part> parts,
                           int64_t distance) {
  RowBlock block{k.index(0), k.index(size)};
  auto slotOf = [&](size_t p) { return p * k.lanes / 16 * size; };
  for (auto [number, w] : llvm::enumerate(weights)) {
    Value restColumns = k.sub(w.padded, k.mul(fullGroups, options.group));
    Value restSets = k.div(restColumns, w.getSetColumns());
    auto addGroups = [&, &w = w](Value first, Value last, Value sets,
                                 const Values &sums) {
      return k.loop(first, last, k.index(1), sums,
                    [&](Value group, Values sums) {
                      return addFew(w, size, group, parts, distance,
                                    std::move(sums), sets);
                    });
    };
    Values found(parts.size() * size, k.splat(0.0f));
    found = addGroups(k.index(0), fullGroups, nullptr, found);
    found = addGroups(fullGroups, w.groups, restSets, found);
    for (auto [i, sum] : llvm::enumerate(found)) {
      size_t p = i / size;
      k.storeVector(sum, sums,
                    {k.index(number), k.index(slotOf(p) + i % size),
                     k.index(parts[p].lane)});
    }
  }
  for (auto [p, part] : llvm::enumerate(parts))
    finish(block, k.index(slotOf(p)), part);
}

/// As few rows as have all their sums in registers.
void LCQEmitter::emitFewRows(int64_t size) {
  int64_t partsOfTile = w().getParts();
  int64_t streams = std::clamp<int64_t>(getPartsAtOnce(size) / partsOfTile, 1,
                                        target.getReadStreams());
  bool single = getPartsAtOnce(size) < partsOfTile;
  int64_t distance = size > 1 && streams == 1 ? target.getBlockPrefetchBytes()
                                              : target.getPrefetchBytes();
  Value tiles = k.ceilDiv(columns, LCQStream::kTileRows);
  k.dealApart(tiles, streams, next, workers, [&](ArrayRef<Value> tiles) {
    llvm::SmallVector<Part> parts;
    for (Value tile : tiles)
      for (int64_t p = 0; p < partsOfTile; ++p)
        parts.push_back({tile, p * k.lanes});
    if (!single)
      return emitParts(size, parts, distance);
    for (const Part &part : parts)
      emitParts(size, part, distance);
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
                    {k.add(k.mul(own, w.getPlanes()), plane), k.index(0)});
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
                        {k.index(r), k.add(first, u), k.index(0)});
    });
  });
}

/// Adds a group of `units` units, or without `units` a full one, to the sums of
/// the rows of a block.
Values LCQEmitter::addStagedGroup(RowBlock block, int64_t size, Piece piece,
                                  Value group, Values sums, Value units) {
  int64_t lines = size * digits;
  Value own = k.sub(group, piece.begin);
  Value first = k.mul(own, getGroupUnits());
  auto bytes = VectorType::get({k.lanes * 4}, k.b.getI8Type());
  auto add = [&](int64_t r, Value unit, Values dots) {
    Value values = vector::LoadOp::create(
        k.b, k.loc, bytes, staged,
        ValueRange{k.index(r), k.add(first, unit), k.index(0)});
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
        stagedScales, {k.add(k.mul(own, w().getPlanes()), plane), k.index(0)}));
  for (int64_t row = 0; row < size; ++row)
    sums[row] = addGroup(
        block, group, row,
        [&](int64_t r, int64_t line) { return dots[r][line]; }, scales,
        sums[row]);
  return sums;
}

/// Adds the products of the piece, which is staged, to the sums of a block of
/// matrix `number`, which are row `slot` and those behind it.
void LCQEmitter::addStaged(int64_t size, RowBlock block, Value number,
                           Value slot, Piece piece) {
  block.size = k.index(size);
  Value lane = k.index(piece.part.lane);
  Values own;
  for (int64_t r = 0; r < size; ++r)
    own.push_back(k.loadVector(sums, {number, k.add(slot, r), lane}));
  Value full = k.min(piece.end, fullGroups);
  own =
      k.loop(piece.begin, full, k.index(1), own, [&](Value group, Values sums) {
        return addStagedGroup(block, size, piece, group, std::move(sums),
                              nullptr);
      });
  own = k.loop(full, piece.end, k.index(1), own, [&](Value group, Values sums) {
    Value columns = k.sub(w().padded, k.mul(group, options.group));
    return addStagedGroup(block, size, piece, group, std::move(sums),
                          k.div(columns, LCQStream::kUnitColumns));
  });
  for (int64_t r = 0; r < size; ++r)
    k.storeVector(own[r], sums, {number, k.add(slot, r), lane});
}

/// The blocks of rows from `first` on, as many as have room, times a tile. A
/// block has at least `least` rows.
void LCQEmitter::emitTile(Value tile, Value blocks, Value first,
                          int64_t least) {
  Value last = k.min(k.add(first, kStagedBlocks), blocks);
  auto forBlocks = [&](llvm::function_ref<void(RowBlock, Value)> body) {
    k.loop(first, last, [&](Value number) {
      body(rowBlock(k, rows, blocks, number),
           k.mul(k.sub(number, first), blockRows));
    });
  };
  Value used = k.mul(k.sub(last, first), blockRows);
  for (int64_t number = 0; number < options.weights; ++number)
    k.loop(k.index(0), used, [&](Value row) {
      k.storeVector(k.splat(0.0f, LCQStream::kTileRows), sums,
                    {k.index(number), row, k.index(0)});
    });
  auto addPiece = [&](Piece piece) {
    k.loop(k.index(0), k.index(options.weights), [&](Value number) {
      k.switchOn(number, 0, options.weights - 1,
                 [&](int64_t i) { stagePiece(weights[i], piece); });
      forBlocks([&](RowBlock block, Value slot) {
        k.switchOn(block.size, least, blockRows, [&](int64_t size) {
          addStaged(size, block, number, slot, piece);
        });
      });
    });
  };
  k.loop(k.index(0), w().groups, k.index(pieceGroups), [&](Value begin) {
    Value end = k.min(k.add(begin, pieceGroups), w().groups);
    for (int64_t p = 0; p < w().getParts(); ++p)
      addPiece({{tile, p * k.lanes}, begin, end});
  });
  for (int64_t p = 0; p < w().getParts(); ++p)
    forBlocks([&](RowBlock block, Value slot) {
      finish(block, slot, Part{tile, p * k.lanes});
    });
}

/// At least `least` rows, or none.
void LCQEmitter::emitManyRows(int64_t least) {
  Value blocks = k.ceilDiv(rows, blockRows);
  Value tiles = k.ceilDiv(columns, LCQStream::kTileRows);
  least = std::min(least, (blockRows + 1) / 2);
  k.deal(tiles, next, workers, [&](Value tile) {
    k.loop(k.index(0), blocks, k.index(kStagedBlocks),
           [&](Value first) { emitTile(tile, blocks, first, least); });
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
