//===- LCQWeights.cpp - Packed weights quantized by LCQ ---------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "LCQWeights.h"
#include <algorithm>

using namespace mlir;
using namespace nju;

using Value = LCQWeights::Value;
using Values = LCQWeights::Values;

/// Arguments of `lcqLinear` before those of the first matrix, and of a matrix.
static constexpr int64_t kRowArguments = 6, kArguments = 3;
/// Of a group: so much is looked up at once.
static constexpr int64_t kMostColumns = 8192;

bool LCQLinearOptions::isValid() const {
  return bits >= 2 && bits <= 4 && rank >= 1 && rank <= 3 && group > 0 &&
         group % getLineColumns() == 0 && group <= kMostColumns &&
         (scaleBits == 8 || scaleBits == 16 || scaleBits == 32) &&
         (zeroBits == 0 ||
          ((zeroBits == 8 || zeroBits == 32) && rank == 1 && !offset)) &&
         (weights == 1 || weights == 2);
}

//===----------------------------------------------------------------------===//
// LCQRowsLayout
//===----------------------------------------------------------------------===//

int64_t LCQRowsLayout::getRowsBeforeTiles(const CPUTarget &target) {
  return kBlocksBeforeTiles * getBlockRows(target, ActivationType::Int8);
}

int64_t LCQRowsLayout::getBlockRows(const CPUTarget &target,
                                    ActivationType activations) {
  // Sums of a group and of all groups, and what they are made of.
  int64_t lines = target.getVectorRegisters() == 32 ? 12 : 4;
  return lines / getDigits(activations);
}

LCQRowsLayout::LCQRowsLayout(KernelBuilder &k, const CPUTarget &target,
                             ActivationType activations, int64_t group,
                             Value depth, Value groups)
    : k(k), digits(getDigits(activations)),
      scaleGroups(LCQLinearOptions::getScaleGroups(group)),
      blockRows(getBlockRows(target, activations)), depth(depth),
      groups(groups) {}

RowBlock LCQRowsLayout::getBlock(Value rows, Value block) {
  return rowBlock(k, rows, k.ceilDiv(rows, blockRows), block);
}

RowBlock LCQRowsLayout::getBlockOf(Value rows, Value row) {
  return rowBlockOf(k, rows, k.ceilDiv(rows, blockRows), row);
}

Value LCQRowsLayout::getColumns(RowBlock block, Value column, Value line) {
  Value begin = k.mul(k.mul(block.begin, digits), depth);
  Value lines = k.mul(block.size, digits);
  return k.add(begin, k.add(k.mul(column, lines), k.mul(line, 4)));
}

//===----------------------------------------------------------------------===//
// LCQStream
//===----------------------------------------------------------------------===//

LCQStream::LCQStream(KernelBuilder &k, const LCQLinearOptions &options,
                     Value columns)
    : k(k), options(options) {
  Value sets = k.ceilDiv(columns, getSetColumns());
  padded = k.mul(sets, getSetColumns());
  groups = k.ceilDiv(padded, options.group);
  tileBytes = k.add(k.mul(groups, getScaleBytes()), k.mul(sets, getSetBytes()));
}

Value LCQStream::getGroup(Value tile, Value group) {
  int64_t bytes = getScaleBytes() + getSets() * getSetBytes();
  return k.add(k.mul(tile, tileBytes), k.mul(group, bytes));
}

//===----------------------------------------------------------------------===//
// LCQWeights
//===----------------------------------------------------------------------===//

LCQWeights::LCQWeights(KernelBuilder &k, const CPUTarget &target,
                       const LCQLinearOptions &options, Value columns,
                       ValueRange arguments)
    : LCQStream(k, options, columns),
      bytes(k, target, options.activations != ActivationType::F32),
      codes(arguments[0]), basis(arguments[1]), factors(arguments[2]) {
  loadTables();
}

std::vector<LCQWeights> LCQWeights::getAll(KernelBuilder &k,
                                           const CPUTarget &target,
                                           const LCQLinearOptions &options,
                                           Value columns,
                                           func::FuncOp function) {
  std::vector<LCQWeights> weights;
  for (int64_t w = 0; w < options.weights; ++w)
    weights.emplace_back(k, target, options, columns,
                         function.getArguments().slice(
                             kRowArguments + kArguments * w, kArguments));
  return weights;
}

ValueRange LCQWeights::getResultArguments(func::FuncOp function,
                                          const LCQLinearOptions &options) {
  return function.getArguments()
      .drop_front(kRowArguments + kArguments * options.weights)
      .drop_back(options.packs ? 2 : 1);
}

/// A table holds each element for all values of the bits of an index that are
/// not the code: a second one for codes in the upper bits of four.
void LCQWeights::loadTables() {
  int64_t levels = int64_t(1) << options.bits;
  for (int64_t r = 0; r < options.rank; ++r) {
    auto load = [&](int64_t shift) {
      return bytes.loadTable(basis, r, levels,
                             [&](int64_t i) { return (i >> shift) % levels; });
    };
    Values &own = tables.emplace_back();
    own.push_back(load(0));
    if (options.bits != 4)
      own.push_back(load(4 - options.bits));
    if (options.activations != ActivationType::F32 || !bytes.hasFloatTables())
      continue;
    Values &floats = floatTables.emplace_back();
    for (Value table : own)
      floats.push_back(bytes.toFloatTable(table));
  }
}

/// The codes of all units of some lines.
llvm::SmallVector<LCQWeights::Unit> LCQWeights::decode(ArrayRef<Value> lines) {
  llvm::SmallVector<Unit> units;
  auto addHalves = [&](Value line, std::initializer_list<int64_t> tables) {
    for (Value half : {line, bytes.shift(line, 4)}) {
      Value codes = bytes.readsSixBits() ? half : bytes.mask(half, 15);
      for (int64_t table : tables)
        units.push_back({codes, table});
    }
  };
  if (options.bits == 2) {
    addHalves(lines[0], {0, 1});
    return units;
  }
  for (Value line : lines)
    addHalves(line, {0});
  if (options.bits == 4)
    return units;
  // The last two units: bit 3 of each half of the lines, in the upper three
  // bits of a half.
  Value last =
      bytes.merge(bytes.mask(lines[0], 0x88),
                  bytes.merge(bytes.mask(bytes.shift(lines[1], 1), 0x44),
                              bytes.mask(bytes.shift(lines[2], 2), 0x22)));
  addHalves(last, {1});
  return units;
}

llvm::SmallVector<LCQWeights::Unit> LCQWeights::loadSet(const Part &part,
                                                        Value group, Value set,
                                                        int64_t distance) {
  Values lines;
  Value begin = k.add(k.add(group, getScaleBytes()), k.mul(set, getSetBytes()));
  for (int64_t line = 0; line < getSetLines(); ++line) {
    Value at = k.add(begin, line * kLine);
    lines.push_back(
        bytes.load(codes, k.add(at, part.lane * kUnitColumns), k.lanes * 4));
    if (distance && part.lane == 0)
      k.prefetch(codes, k.add(at, distance));
  }
  return decode(lines);
}

void LCQWeights::prefetch(Value at) {
  memref::PrefetchOp::create(k.b, k.loc, codes, at, /*isWrite=*/false,
                             /*localityHint=*/2, /*isDataCache=*/true);
}

/// Values of a plane of a part's group, as they are stored, in f32.
Value LCQWeights::loadPlane(const Part &part, Value group, int64_t plane,
                            int64_t bits) {
  int64_t width = bits / 8;
  int64_t begin = plane * kTileRows * options.scaleBits / 8;
  Value at = k.add(group, begin + part.lane * width);
  Value raw = bytes.load(codes, at, k.lanes * width);
  Type f32 = k.vectorType(k.lanes);
  if (bits == 32)
    return bytes.cast(raw, k.b.getF32Type());
  if (bits == 16)
    return arith::ExtFOp::create(k.b, k.loc, f32,
                                 bytes.cast(raw, k.b.getF16Type()));
  auto i32 = VectorType::get({k.lanes}, k.b.getI32Type());
  raw = arith::ExtSIOp::create(k.b, k.loc, i32, raw);
  return arith::SIToFPOp::create(k.b, k.loc, f32, raw);
}

Value LCQWeights::loadZeroPoints(const Part &part, Value group) {
  return loadPlane(part, group, options.rank, options.zeroBits);
}

Value LCQWeights::loadGroupScales(const Part &part, Value group,
                                  int64_t plane) {
  if (plane == options.rank && options.zeroBits)
    return k.mulf(loadZeroPoints(part, group), loadGroupScales(part, group, 0));
  return loadPlane(part, group, plane, options.scaleBits);
}

Value LCQWeights::loadFactors(const Part &part, int64_t plane) {
  bool isOffset = plane == options.rank;
  // A zero point is counted in scales.
  int64_t stored = isOffset && options.zeroBits ? 0 : plane;
  Value own;
  if (options.scaleBits == 32) {
    own = k.splat(1.0f);
  } else if (options.scaleBits == 16) {
    int64_t row = stored == options.rank ? 1 : 0;
    own = k.broadcast(k.load(factors, {k.index(row), k.index(0)}));
  } else {
    Value row = k.add(k.mul(part.tile, kTileRows), part.lane);
    own = k.loadVector(factors, {k.index(stored), row});
  }
  return isOffset ? k.mulf(own, k.splat(1.0f / 128)) : own;
}

//===----------------------------------------------------------------------===//
// Dense weights
//===----------------------------------------------------------------------===//

Values LCQWeights::loadDenseScales(const Part &part, Value group) {
  Values scales;
  for (int64_t plane = 0; plane < options.rank + options.offset; ++plane)
    scales.push_back(loadScales(part, group, plane));
  if (options.offset)
    scales.back() = k.mulf(scales.back(), k.splat(128.0f));
  if (options.zeroBits)
    scales.push_back(loadZeroPoints(part, group));
  return scales;
}

/// The entries of a row of the basis for column `j` of a unit, as f32;
/// `entries` are those of all its columns, where there are no tables of f32.
Value LCQWeights::lookUpColumn(const Unit &unit, Value entries, int64_t rank,
                               int64_t j) {
  auto type = VectorType::get({k.lanes}, k.b.getI32Type());
  auto bits = [&](int64_t count) -> Value {
    return arith::ConstantOp::create(
        k.b, k.loc, DenseElementsAttr::get(type, k.b.getI32IntegerAttr(count)));
  };
  if (bytes.hasFloatTables()) {
    Value indices = bytes.cast(unit.codes, k.b.getI32Type());
    if (j)
      indices = arith::ShRUIOp::create(k.b, k.loc, indices, bits(8 * j));
    return bytes.lookUpFloats(floatTables[rank][unit.table], indices);
  }
  if (j < kUnitColumns - 1)
    entries = arith::ShLIOp::create(k.b, k.loc, entries, bits(24 - 8 * j));
  entries = arith::ShRSIOp::create(k.b, k.loc, entries, bits(24));
  return arith::SIToFPOp::create(k.b, k.loc, k.vectorType(k.lanes), entries);
}

/// What the entries of all rows of the basis become.
Value LCQWeights::dequantizeColumn(ArrayRef<Value> integers,
                                   ArrayRef<Value> scales) {
  Value sum;
  for (auto [r, integer] : llvm::enumerate(integers)) {
    Value own = options.zeroBits ? k.subf(integer, scales.back()) : integer;
    Value term = k.mulf(scales[r], own);
    sum = r ? k.addf(sum, term) : term;
  }
  return options.offset ? k.subf(sum, scales.back()) : sum;
}

Values LCQWeights::dequantize(const Part &part, Value group, Value set,
                              ArrayRef<Value> scales, int64_t distance) {
  Values columns;
  for (const Unit &unit : loadSet(part, group, set, distance)) {
    Values entries(options.rank);
    if (!bytes.hasFloatTables())
      for (int64_t r = 0; r < options.rank; ++r)
        entries[r] = bytes.cast(lookUp(unit, r), k.b.getI32Type());
    for (int64_t j = 0; j < kUnitColumns; ++j) {
      Values integers;
      for (int64_t r = 0; r < options.rank; ++r)
        integers.push_back(lookUpColumn(unit, entries[r], r, j));
      columns.push_back(dequantizeColumn(integers, scales));
    }
  }
  return columns;
}
