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
// needs a broadcast of four bytes only. Several tiles are read at once, each
// far from the others: memory sees several linear streams. Further rows of x
// find a tile in the cache.
//
//===----------------------------------------------------------------------===//

#include "KernelBuilder.h"
#include "nju/Codegen/CPU/KernelLibrary.h"
#include "llvm/Support/FormatVariadic.h"
#include <algorithm>

using namespace mlir;
using namespace nju;

using Value = KernelBuilder::Value;
using Values = KernelBuilder::Values;

// The packed layout: see lcq::PackedLayout.
static constexpr int64_t kTileRows = 16;
static constexpr int64_t kUnitColumns = 4;
static constexpr int64_t kLine = 64;
/// The entries that a byte shuffle looks up in.
static constexpr int64_t kTable = 16;
/// Groups of at most so many columns have code without loops.
static constexpr int64_t kUnrolledColumns = 256;
/// A group of x whose numbers are all smaller is 0: 127 over the largest of
/// them stays finite.
static constexpr float kLeastMagnitude = 1e-30f;

bool LCQLinearOptions::isValid() const {
  return bits >= 2 && bits <= 4 && rank >= 1 && rank <= 3 && group > 0 &&
         group % getLineColumns() == 0 && (scaleBits == 8 || scaleBits == 16);
}

namespace {

/// Integer vectors of the width of a register.
class ByteVectors {
public:
  ByteVectors(KernelBuilder &k, const CPUTarget &target);

  /// Four bytes of x in each lane, in the forms that `dot` reads.
  struct Factor {
    Value bytes;     ///< int8
    Value magnitude; ///< Their magnitudes, without VNNI.
  };
  /// The four bytes at `indices`.
  Factor loadFactor(Value memref, ValueRange indices);
  /// A table whose entry i is entry `entry(i)` of a basis row of `levels`.
  Value loadTable(Value basis, int64_t row, int64_t levels,
                  llvm::function_ref<int64_t(int64_t)> entry);
  Value lookUp(Value table, Value codes);
  /// sum + what was looked up times the factor. The first sum is `start`.
  Value dot(Value sum, Value values, const Factor &factor);
  /// What the sum of a group begins with, whose x have this sum (i32).
  Value start(Value factorSum);

  Value load(Value memref, Value at, int64_t count);
  Value cast(Value vector, Type element);
  /// The bits of each byte that `bits` has.
  Value mask(Value bytes, int bits);
  Value merge(Value x, Value y) {
    return arith::OrIOp::create(k.b, k.loc, x, y);
  }
  /// Bytes moved right; a byte's upper bits are undefined.
  Value shift(Value bytes, int count);

private:
  Value constant(Type element, int64_t value);

  KernelBuilder &k;
  bool wide, vnni;
  Type i8, i16, i32;
};

} // namespace

ByteVectors::ByteVectors(KernelBuilder &k, const CPUTarget &target)
    : k(k), wide(target.hasAVX512()),
      vnni(target.hasFeature(wide ? "avx512vnni" : "avxvnni")),
      i8(k.b.getI8Type()), i16(k.b.getI16Type()), i32(k.b.getI32Type()) {}

Value ByteVectors::load(Value memref, Value at, int64_t count) {
  return vector::LoadOp::create(k.b, k.loc, VectorType::get({count}, i8),
                                memref, ValueRange(at));
}

Value ByteVectors::cast(Value vector, Type element) {
  auto type = mlir::cast<VectorType>(vector.getType());
  int64_t bits = type.getDimSize(0) * type.getElementTypeBitWidth();
  return vector::BitCastOp::create(
      k.b, k.loc,
      VectorType::get({bits / element.getIntOrFloatBitWidth()}, element),
      vector);
}

/// A register whose elements are all `value`.
Value ByteVectors::constant(Type element, int64_t value) {
  int64_t size = k.lanes * 32 / element.getIntOrFloatBitWidth();
  return arith::ConstantOp::create(
      k.b, k.loc,
      DenseElementsAttr::get(VectorType::get({size}, element),
                             k.b.getIntegerAttr(element, value)));
}

Value ByteVectors::mask(Value bytes, int bits) {
  return arith::AndIOp::create(k.b, k.loc, bytes, constant(i8, int8_t(bits)));
}

Value ByteVectors::shift(Value bytes, int count) {
  return cast(arith::ShRUIOp::create(k.b, k.loc, cast(bytes, i16),
                                     constant(i16, count)),
              i8);
}

ByteVectors::Factor ByteVectors::loadFactor(Value memref, ValueRange indices) {
  Value bytes = vector::LoadOp::create(
      k.b, k.loc, VectorType::get({kUnitColumns}, i8), memref, indices);
  Value word =
      vector::ExtractOp::create(k.b, k.loc, cast(bytes, i32), int64_t(0));
  bytes = cast(k.broadcast(word), i8);
  if (vnni)
    return {bytes, nullptr};
  Value negative = arith::SubIOp::create(k.b, k.loc, constant(i8, 0), bytes);
  return {bytes, arith::MaxSIOp::create(k.b, k.loc, bytes, negative)};
}

Value ByteVectors::loadTable(Value basis, int64_t row, int64_t levels,
                             llvm::function_ref<int64_t(int64_t)> entry) {
  Value values =
      vector::LoadOp::create(k.b, k.loc, VectorType::get({levels}, i8), basis,
                             ValueRange{k.index(row), k.index(0)});
  llvm::SmallVector<int64_t> entries;
  for (int64_t i = 0; i < k.lanes * 4; ++i)
    entries.push_back(entry(i % kTable));
  Value table = vector::ShuffleOp::create(k.b, k.loc, values, values, entries);
  // VPDPBUSD wants one side unsigned: v + 128.
  return vnni ? arith::XOrIOp::create(k.b, k.loc, table, constant(i8, -128))
              : table;
}

Value ByteVectors::lookUp(Value table, Value codes) {
  return k.intrinsic(wide ? "llvm.x86.avx512.pshuf.b.512"
                          : "llvm.x86.avx2.pshuf.b",
                     table.getType(), {table, codes});
}

Value ByteVectors::start(Value factorSum) {
  if (!vnni)
    return constant(i32, 0);
  Value factor =
      arith::ConstantOp::create(k.b, k.loc, k.b.getI32IntegerAttr(-128));
  return k.broadcast(k.mul(factorSum, factor));
}

Value ByteVectors::dot(Value sum, Value values, const Factor &factor) {
  if (vnni)
    return k.intrinsic(wide ? "llvm.x86.avx512.vpdpbusd.512"
                            : "llvm.x86.avx512.vpdpbusd.256",
                       sum.getType(), {sum, values, factor.bytes});
  // VPMADDUBSW wants one side unsigned, too, and its sums of two products to
  // fit 16 bits: the magnitudes of x, whose signs go to the other side.
  if (wide) {
    Value zero = constant(i8, 0);
    Value negative = arith::CmpIOp::create(
        k.b, k.loc, arith::CmpIPredicate::slt, factor.bytes, zero);
    values = k.select(negative, arith::SubIOp::create(k.b, k.loc, zero, values),
                      values);
  } else {
    values = k.intrinsic("llvm.x86.avx2.psign.b", values.getType(),
                         {values, factor.bytes});
  }
  Value ones = constant(i16, 1);
  Value pairs = k.intrinsic(wide ? "llvm.x86.avx512.pmaddubs.w.512"
                                 : "llvm.x86.avx2.pmadd.ub.sw",
                            ones.getType(), {factor.magnitude, values});
  Value quads = k.intrinsic(wide ? "llvm.x86.avx512.pmaddw.d.512"
                                 : "llvm.x86.avx2.pmadd.wd",
                            sum.getType(), {pairs, ones});
  return k.add(sum, quads);
}

namespace {

/// Emits the body of `lcqLinear`.
class LCQEmitter {
public:
  LCQEmitter(KernelBuilder &k, const CPUTarget &target,
             const LCQLinearOptions &options, func::FuncOp function);
  void emit();

private:
  /// The codes of a unit, and the table of each rank for them.
  struct Unit {
    Value codes;
    int64_t table;
  };
  /// As many rows of a tile as there are lanes.
  struct Part {
    Value group;  ///< Where the group of the tile begins in w.
    int64_t lane; ///< The first of the rows.
  };

  void loadTables();
  void emitTiles(Value row, ArrayRef<Value> tiles);
  Values emitGroup(Value row, Value group, ArrayRef<Part> parts, Values sums,
                   Value sets);
  Values emitSet(Value row, Value column, ArrayRef<Part> parts, Value offset,
                 Values dots);
  Values addGroup(Value row, Value group, const Part &part,
                  ArrayRef<Value> dots, ArrayRef<Value> sums);
  llvm::SmallVector<Unit> decode(ArrayRef<Value> lines);
  Value loadScales(const Part &part, int64_t plane);
  void store(Value row, Value column, ArrayRef<Value> sums);

  int64_t getParts() const { return kTileRows / k.lanes; }
  bool isInt8() const { return options.scaleBits == 8; }
  /// Sums of a row of weights: f16 scales have a unit in common.
  int64_t getScaleSums() const { return isInt8() ? options.rank : 1; }
  int64_t getSums() const { return getScaleSums() + options.offset; }
  int64_t getScaleBytes() const {
    return (options.rank + options.offset) * kTileRows * options.scaleBits / 8;
  }
  int64_t getSetLines() const { return options.bits == 3 ? 3 : 1; }
  int64_t getSetBytes() const { return getSetLines() * kLine; }
  int64_t getSets() const { return options.group / options.getLineColumns(); }
  int64_t getGroupBytes() const {
    return getScaleBytes() + getSets() * getSetBytes();
  }

  KernelBuilder &k;
  const CPUTarget &target;
  const LCQLinearOptions &options;
  ByteVectors bytes;
  Value workers, scaleUnit, offsetUnit, xq, xScales, xSums, w, basis, factors,
      y, next;
  Value depth, groups, columns, tiles;
  llvm::SmallVector<Values> tables; ///< [rank][1 or 2]
};

} // namespace

LCQEmitter::LCQEmitter(KernelBuilder &k, const CPUTarget &target,
                       const LCQLinearOptions &options, func::FuncOp function)
    : k(k), target(target), options(options), bytes(k, target) {
  Value *const names[] = {&workers, &scaleUnit, &offsetUnit, &xq,
                          &xScales, &xSums,     &w,          &basis,
                          &factors, &y,         &next};
  for (auto [name, argument] :
       llvm::zip_equal(names, function.getArguments().drop_front()))
    *name = argument;
  depth = k.dim(xq, 1);
  groups = k.ceilDiv(depth, options.group);
  columns = k.dim(y, 1);
  tiles = k.ceilDiv(columns, kTileRows);
}

/// A shuffle reads the lower four bits of an index, and a table holds each
/// element for all values of those that are not the code.
void LCQEmitter::loadTables() {
  int64_t levels = int64_t(1) << options.bits;
  for (int64_t r = 0; r < options.rank; ++r) {
    auto load = [&](llvm::function_ref<int64_t(int64_t)> entry) {
      return bytes.loadTable(basis, r, levels, entry);
    };
    Values &own = tables.emplace_back();
    own.push_back(load([&](int64_t i) { return i % levels; }));
    if (options.bits != 4)
      own.push_back(load([&](int64_t i) { return i * levels / kTable; }));
  }
}

/// The codes of all units of some lines, in the order of the columns.
llvm::SmallVector<LCQEmitter::Unit> LCQEmitter::decode(ArrayRef<Value> lines) {
  llvm::SmallVector<Unit> units;
  auto addHalves = [&](Value line, std::initializer_list<int64_t> tables) {
    for (Value codes :
         {bytes.mask(line, 15), bytes.mask(bytes.shift(line, 4), 15)})
      for (int64_t table : tables)
        units.push_back({codes, table});
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

/// The whole lines at `offset` of each part's group, times x from `column` on:
/// `dots` are [part][rank].
Values LCQEmitter::emitSet(Value row, Value column, ArrayRef<Part> parts,
                           Value offset, Values dots) {
  llvm::SmallVector<llvm::SmallVector<Unit>> units;
  for (const Part &part : parts) {
    Values lines;
    for (int64_t line = 0; line < getSetLines(); ++line) {
      Value at = k.add(k.add(part.group, offset), line * kLine);
      lines.push_back(
          bytes.load(w, k.add(at, part.lane * kUnitColumns), k.lanes * 4));
      if (target.getPrefetchBytes() && part.lane == 0)
        k.prefetch(w, k.add(at, target.getPrefetchBytes()));
    }
    units.push_back(decode(lines));
  }
  for (size_t u = 0; u < units.front().size(); ++u) {
    auto factor = bytes.loadFactor(xq, {row, k.add(column, u * kUnitColumns)});
    for (size_t p = 0; p < parts.size(); ++p)
      for (int64_t r = 0; r < options.rank; ++r) {
        Value &dot = dots[p * options.rank + r];
        const Unit &unit = units[p][u];
        dot = bytes.dot(dot, bytes.lookUp(tables[r][unit.table], unit.codes),
                        factor);
      }
  }
  return dots;
}

/// Scales (or, as plane `rank`, the offsets) of a part, as f32.
Value LCQEmitter::loadScales(const Part &part, int64_t plane) {
  int64_t width = options.scaleBits / 8;
  Value at = k.add(part.group, (plane * kTileRows + part.lane) * width);
  Value raw = bytes.load(w, at, k.lanes * width);
  Type f32 = k.vectorType(k.lanes);
  if (!isInt8())
    return arith::ExtFOp::create(k.b, k.loc, f32,
                                 bytes.cast(raw, k.b.getF16Type()));
  auto i32 = VectorType::get({k.lanes}, k.b.getI32Type());
  return arith::SIToFPOp::create(k.b, k.loc, f32,
                                 arith::ExtSIOp::create(k.b, k.loc, i32, raw));
}

/// What a part's sums are with the dot products of a group.
Values LCQEmitter::addGroup(Value row, Value group, const Part &part,
                            ArrayRef<Value> dots, ArrayRef<Value> sums) {
  Values added(sums);
  Value scale = k.broadcast(k.load(xScales, {row, group}));
  auto toFloat = [&](Value integers) {
    return arith::SIToFPOp::create(k.b, k.loc, k.vectorType(k.lanes), integers);
  };
  for (int64_t r = 0; r < options.rank; ++r) {
    Value &sum = added[isInt8() ? r : 0];
    sum = k.fma(k.mulf(toFloat(dots[r]), scale), loadScales(part, r), sum);
  }
  if (options.offset) {
    Value total = toFloat(k.broadcast(k.load(xSums, {row, group})));
    added.back() = k.fma(k.mulf(total, scale), loadScales(part, options.rank),
                         added.back());
  }
  return added;
}

/// A group of `sets` sets of whole lines; without `sets`, a full one.
Values LCQEmitter::emitGroup(Value row, Value group, ArrayRef<Part> parts,
                             Values sums, Value sets) {
  Value begin = k.mul(group, options.group);
  Value start = bytes.start(k.load(xSums, {row, group}));
  Values dots(parts.size() * options.rank, start);
  if (!sets && options.group <= kUnrolledColumns) {
    for (int64_t s = 0; s < getSets(); ++s)
      dots = emitSet(row, k.add(begin, s * options.getLineColumns()), parts,
                     k.index(getScaleBytes() + s * getSetBytes()), dots);
  } else {
    dots = k.loop(k.index(0), sets ? sets : k.index(getSets()), k.index(1),
                  dots, [&](Value s, Values dots) {
                    return emitSet(
                        row, k.add(begin, k.mul(s, options.getLineColumns())),
                        parts, k.add(k.mul(s, getSetBytes()), getScaleBytes()),
                        dots);
                  });
  }
  Values added;
  for (auto [p, part] : llvm::enumerate(parts))
    llvm::append_range(
        added, addGroup(row, group, part,
                        ArrayRef(dots).slice(p * options.rank, options.rank),
                        ArrayRef(sums).slice(p * getSums(), getSums())));
  return added;
}

/// Stores the columns from `column` on.
void LCQEmitter::store(Value row, Value column, ArrayRef<Value> sums) {
  Value padded = k.mul(tiles, kTileRows);
  auto factor = [&](int64_t plane, Value unit) {
    if (!isInt8())
      return k.broadcast(unit);
    return k.loadVector(factors, k.add(column, k.mul(padded, plane)));
  };
  Value result = k.mulf(sums[0], factor(0, scaleUnit));
  for (int64_t s = 1; s < getScaleSums(); ++s)
    result = k.fma(sums[s], factor(s, scaleUnit), result);
  if (options.offset)
    result =
        k.subf(result, k.mulf(sums.back(), factor(options.rank, offsetUnit)));
  k.storeMasked(result, y, {row, column}, k.firstLanes(k.sub(columns, column)));
}

/// One row of x times the rows of weights in some tiles.
void LCQEmitter::emitTiles(Value row, ArrayRef<Value> tiles) {
  Value full = k.div(depth, options.group);
  Value restColumns = k.sub(depth, k.mul(full, options.group));
  Value restSets = k.div(restColumns, options.getLineColumns());
  Value tileBytes =
      k.add(k.mul(groups, getScaleBytes()),
            k.mul(k.div(depth, options.getLineColumns()), getSetBytes()));
  auto emitGroups = [&](Value first, Value last, Value sets, Values sums) {
    return k.loop(first, last, k.index(1), sums, [&](Value group, Values sums) {
      llvm::SmallVector<Part> parts;
      for (Value tile : tiles) {
        Value at = k.add(k.mul(tile, tileBytes), k.mul(group, getGroupBytes()));
        for (int64_t p = 0; p < getParts(); ++p)
          parts.push_back({at, p * k.lanes});
      }
      return emitGroup(row, group, parts, sums, sets);
    });
  };
  int64_t parts = tiles.size() * getParts();
  Values sums(parts * getSums(), k.splat(0.0f));
  sums = emitGroups(k.index(0), full, nullptr, sums);
  sums = emitGroups(full, groups, restSets, sums);
  for (int64_t p = 0; p < parts; ++p)
    store(row,
          k.add(k.mul(tiles[p / getParts()], kTileRows),
                p % getParts() * k.lanes),
          ArrayRef(sums).slice(p * getSums(), getSums()));
}

void LCQEmitter::emit() {
  loadTables();
  // The dot products fill a quarter of the registers; tables, codes and what is
  // looked up need the others.
  int64_t most = target.getVectorRegisters() / 4 / (options.rank * getParts());
  int64_t streams = std::clamp<int64_t>(most, 1, target.getReadStreams());
  Value rows = k.dim(xq, 0);
  k.dealApart(tiles, streams, next, workers, [&](ArrayRef<Value> tiles) {
    k.loop(k.index(0), rows, [&](Value row) { emitTiles(row, tiles); });
  });
}

static MemRefType dynamicMemRef(int64_t rank, Type element) {
  return MemRefType::get(llvm::SmallVector<int64_t>(rank, ShapedType::kDynamic),
                         element);
}

func::FuncOp KernelLibrary::lcqLinear(const LCQLinearOptions &options) {
  assert(options.isValid() && supportsLCQ() && "no such kernel");
  std::string name = llvm::formatv(
      "nju_lcq_linear_{0}x{1}x{2}x{3}{4}", options.bits, options.group,
      options.rank, options.scaleBits, options.offset ? "_offset" : "");
  if (func::FuncOp known = lookup(name))
    return known;
  Builder types(module.getContext());
  Type index = types.getIndexType(), f32 = types.getF32Type(),
       i8 = types.getI8Type();
  func::FuncOp function = create(
      name, {index, index, f32, f32, dynamicMemRef(2, i8),
             dynamicMemRef(2, f32), dynamicMemRef(2, types.getI32Type()),
             dynamicMemRef(1, i8), dynamicMemRef(2, i8), dynamicMemRef(1, f32),
             dynamicMemRef(2, f32), dynamicMemRef(1, types.getI64Type())});
  OpBuilder builder = OpBuilder::atBlockBegin(function.addEntryBlock());
  KernelBuilder k(builder, module.getLoc(), target.getVectorLanes());
  LCQEmitter(k, target, options, function).emit();
  func::ReturnOp::create(k.b, k.loc);
  return function;
}

//===----------------------------------------------------------------------===//
// Rows in int8
//===----------------------------------------------------------------------===//

/// Columns rounded at a time: whole lines are whole numbers of them.
static constexpr int64_t kPackLanes = 8;

/// The largest magnitude in x[row, begin..end), where x has zeros behind its
/// columns; and 0, but NaN if not all of them are finite.
static std::pair<Value, Value>
findMagnitude(KernelBuilder &k, Value x, Value row, Value begin, Value end) {
  Value zero = k.splat(0.0f), depth = k.dim(x, 1);
  Values found = k.loop(begin, end, k.index(kPackLanes), {zero, zero},
                        [&](Value at, Values found) {
                          Value mask = k.firstLanes(k.sub(depth, at));
                          Value values = k.loadMasked(x, {row, at}, mask);
                          Value magnitudes =
                              k.maxf(values, k.subf(zero, values));
                          return Values{k.maxf(magnitudes, found[0]),
                                        k.fma(values, zero, found[1])};
                        });
  auto max = [&](Value x, Value y) { return k.maxf(x, y); };
  auto add = [&](Value x, Value y) { return k.addf(x, y); };
  return {k.reduce(found[0], max), k.reduce(found[1], add)};
}

/// Vectors of numbers of at most 2^22 as i32, rounded to the nearest, ties to
/// even: adding 1.5 * 2^23 moves the integer to the end of the significand.
static Value roundToI32(KernelBuilder &k, Value values) {
  auto type = VectorType::get({k.lanes}, k.b.getI32Type());
  Value moved = k.addf(values, k.splat(0x1.8p23f));
  Value zero = arith::ConstantOp::create(
      k.b, k.loc,
      DenseElementsAttr::get(type, k.b.getI32IntegerAttr(0x4b400000)));
  return k.sub(vector::BitCastOp::create(k.b, k.loc, type, moved), zero);
}

/// Writes xq[row, begin..end) = x * inverse; their sum.
static Value packGroup(KernelBuilder &k, Value x, Value xq, Value row,
                       Value begin, Value end, Value inverse) {
  Value factor = k.broadcast(inverse), depth = k.dim(x, 1);
  auto i8 = VectorType::get({k.lanes}, k.b.getI8Type());
  Value zero = arith::ConstantOp::create(k.b, k.loc, k.b.getI32IntegerAttr(0));
  Values sums =
      k.loop(begin, end, k.index(kPackLanes), {k.broadcast(zero)},
             [&](Value at, Values sums) {
               Value mask = k.firstLanes(k.sub(depth, at));
               Value values = k.loadMasked(x, {row, at}, mask);
               Value rounded = roundToI32(k, k.mulf(values, factor));
               k.storeVector(arith::TruncIOp::create(k.b, k.loc, i8, rounded),
                             xq, {row, at});
               return Values{k.add(sums[0], rounded)};
             });
  return k.reduce(sums[0], [&](Value x, Value y) { return k.add(x, y); });
}

func::FuncOp KernelLibrary::packLCQRows(int64_t group) {
  assert(group % kPackLanes == 0 && "groups are whole lines");
  std::string name = llvm::formatv("nju_pack_lcq_rows_{0}", group);
  if (func::FuncOp known = lookup(name))
    return known;
  Builder types(module.getContext());
  Type index = types.getIndexType(), f32 = types.getF32Type();
  func::FuncOp function =
      create(name, {index, index, dynamicMemRef(2, f32),
                    dynamicMemRef(2, types.getI8Type()), dynamicMemRef(2, f32),
                    dynamicMemRef(2, types.getI32Type())});
  OpBuilder builder = OpBuilder::atBlockBegin(function.addEntryBlock());
  KernelBuilder k(builder, module.getLoc(), kPackLanes);
  auto arguments = function.getArguments();
  Value x = arguments[2], xq = arguments[3];
  Value padded = k.dim(xq, 1), groups = k.ceilDiv(padded, group);
  auto share = k.share(k.mul(k.dim(xq, 0), groups), arguments[0], arguments[1]);
  k.loop(share.first, share.second, [&](Value item) {
    Value row = k.div(item, groups), number = k.rem(item, groups);
    Value begin = k.mul(number, group);
    Value end = k.min(k.add(begin, group), padded);
    auto [magnitude, notFinite] = findMagnitude(k, x, row, begin, end);
    Value isTiny = arith::CmpFOp::create(k.b, k.loc, arith::CmpFPredicate::OLT,
                                         magnitude, k.f32(kLeastMagnitude));
    Value inverse =
        k.select(isTiny, k.f32(0.0f), k.divf(k.f32(127.0f), magnitude));
    Value scale = k.addf(k.divf(magnitude, k.f32(127.0f)), notFinite);
    Value sum = packGroup(k, x, xq, row, begin, end, inverse);
    k.store(scale, arguments[4], {row, number});
    k.store(sum, arguments[5], {row, number});
  });
  func::ReturnOp::create(k.b, k.loc);
  return function;
}
