//===- LCQRows.cpp - Rows for, and of, weights quantized by LCQ -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "LCQWeights.h"
#include "TileProduct.h"
#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace nju;

using Value = KernelBuilder::Value;
using Values = KernelBuilder::Values;

/// A run of x whose numbers are all smaller is 0: 127 over the largest of
/// them stays finite.
static constexpr float kLeastMagnitude = 1e-30f;

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

namespace {

/// Emits the body of `packLCQRows`.
class PackRowsEmitter {
public:
  PackRowsEmitter(KernelBuilder &k, const CPUTarget &target, int64_t group,
                  ActivationType activations, ValueRange arguments);
  void emit();

private:
  void emitRun(Value row, RowBlock block, Value run);
  /// Sums of the digits of a group.
  Values packGroup(Value row, RowBlock block, Value begin, Value end,
                   Value inverse);
  Values splitDigits(Value rounded);
  void storeColumns(Value digits, RowBlock block, Value column, Value line);

  KernelBuilder &k;
  int64_t group, digits;
  ValueRange arguments;
  Value x, xq, scales, sums, padded;
  LCQRowsLayout layout;
};

} // namespace

PackRowsEmitter::PackRowsEmitter(KernelBuilder &k, const CPUTarget &target,
                                 int64_t group, ActivationType activations,
                                 ValueRange arguments)
    : k(k), group(group), digits(LCQRowsLayout::getDigits(activations)),
      arguments(arguments), x(arguments[2]), xq(k.flatten(arguments[3])),
      scales(k.flatten(arguments[4])), sums(k.flatten(arguments[5])),
      padded(k.div(k.dim(arguments[3], 1), digits)),
      layout(k, target, activations, group, padded, k.ceilDiv(padded, group)) {}

/// The digits of some i32, the higher one first, whose base is 256.
Values PackRowsEmitter::splitDigits(Value rounded) {
  if (digits == 1)
    return {rounded};
  auto constant = [&](int32_t value) -> Value {
    auto type = cast<VectorType>(rounded.getType());
    return arith::ConstantOp::create(k.b, k.loc,
                                     DenseElementsAttr::get(type, value));
  };
  Value high = arith::ShRSIOp::create(k.b, k.loc, k.add(rounded, constant(128)),
                                      constant(8));
  Value low =
      k.sub(rounded, arith::ShLIOp::create(k.b, k.loc, high, constant(8)));
  return {high, low};
}

/// Stores digits of the columns from `column` on, of which four lie together.
void PackRowsEmitter::storeColumns(Value digits, RowBlock block, Value column,
                                   Value line) {
  auto i8 = VectorType::get({k.lanes}, k.b.getI8Type());
  Value narrow = arith::TruncIOp::create(k.b, k.loc, i8, digits);
  for (int64_t i = 0; i < k.lanes; i += LCQStream::kUnitColumns) {
    Value four = vector::ShuffleOp::create(
        k.b, k.loc, narrow, narrow, ArrayRef<int64_t>{i, i + 1, i + 2, i + 3});
    k.storeVector(four, xq, {layout.getColumns(block, k.add(column, i), line)});
  }
}

Values PackRowsEmitter::packGroup(Value row, RowBlock block, Value begin,
                                  Value end, Value inverse) {
  Value factor = k.broadcast(inverse), depth = k.dim(x, 1);
  Value first = k.mul(k.sub(row, block.begin), digits);
  Value zero = arith::ConstantOp::create(k.b, k.loc, k.b.getI32IntegerAttr(0));
  Values found =
      k.loop(begin, end, k.index(kPackLanes), Values(digits, k.broadcast(zero)),
             [&](Value at, Values found) {
               Value mask = k.firstLanes(k.sub(depth, at));
               Value values = k.loadMasked(x, {row, at}, mask);
               Value rounded = roundToI32(k, k.mulf(values, factor));
               for (auto [d, digit] : llvm::enumerate(splitDigits(rounded))) {
                 storeColumns(digit, block, at, k.add(first, d));
                 found[d] = k.add(found[d], digit);
               }
               return found;
             });
  for (Value &sum : found)
    sum = k.reduce(sum, [&](Value x, Value y) { return k.add(x, y); });
  return found;
}

/// Packs groups of a row that share a scale.
void PackRowsEmitter::emitRun(Value row, RowBlock block, Value run) {
  float largest = digits == 1 ? 127.0f : 127.0f * 256;
  Value minus128 =
      arith::ConstantOp::create(k.b, k.loc, k.b.getI32IntegerAttr(-128));
  auto endOf = [&](Value groups) {
    return k.min(k.mul(groups, group), padded);
  };
  auto [first, last] = layout.getGroups(run);
  auto [magnitude, notFinite] =
      findMagnitude(k, x, row, k.mul(first, group), endOf(last));
  Value isTiny = arith::CmpFOp::create(k.b, k.loc, arith::CmpFPredicate::OLT,
                                       magnitude, k.f32(kLeastMagnitude));
  Value inverse =
      k.select(isTiny, k.f32(0.0f), k.divf(k.f32(largest), magnitude));
  Value scale = k.addf(k.divf(magnitude, k.f32(largest)), notFinite);
  Value own = k.sub(row, block.begin);
  k.store(scale, scales, {layout.getScale(block, run, own)});
  k.loop(first, last, [&](Value number) {
    Values found = packGroup(row, block, k.mul(number, group),
                             endOf(k.add(number, 1)), inverse);
    for (int64_t d = 0; d < digits; ++d) {
      Value line = k.add(k.mul(own, digits), d);
      k.store(k.mul(found[d], minus128), sums,
              {layout.getSum(block, number, line)});
    }
  });
}

/// Items that are dealt out are runs of groups of rows.
void PackRowsEmitter::emit() {
  Value rows = k.dim(x, 0);
  Value runs = layout.getScales();
  std::pair<Value, Value> share =
      k.share(k.mul(rows, runs), arguments[0], arguments[1]);
  Value perRow = k.max(runs, k.index(1));
  k.loop(k.div(share.first, perRow), k.ceilDiv(share.second, perRow),
         [&](Value row) {
           RowBlock block = layout.getBlockOf(rows, row);
           Value begin = k.mul(row, runs), end = k.add(begin, runs);
           k.loop(k.sub(k.max(share.first, begin), begin),
                  k.sub(k.min(share.second, end), begin),
                  [&](Value run) { emitRun(row, block, run); });
         });
}

func::FuncOp KernelLibrary::packLCQRows(int64_t group,
                                        ActivationType activations,
                                        bool packed) {
  assert((!packed || hasLCQTiles(activations)) && "who packed them?");
  assert(group % kPackLanes == 0 && "groups are whole lines");
  std::string name = llvm::formatv(
      "nju_pack_lcq_rows_{0}{1}{2}", group,
      activations == ActivationType::Int16 ? "_i16" : "", packed ? "_few" : "");
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
  auto emitIntegers = [&] {
    PackRowsEmitter(k, target, group, activations, function.getArguments())
        .emit();
  };
  if (hasLCQTiles(activations)) {
    Value x = function.getArgument(2), rows = k.dim(x, 0);
    int64_t most = LCQRowsLayout::getRowsBeforeTiles(target);
    auto emitTiles = [&] {
      if (packed)
        return;
      auto share =
          k.share(rows, function.getArgument(0), function.getArgument(1));
      Value tiles = asTiles(k, k.flatten(function.getArgument(3)));
      emitPackTiles(k, x, tiles, share.first, share.second);
    };
    k.ifThenElse(k.less(k.index(most), rows), emitTiles, emitIntegers);
  } else {
    emitIntegers();
  }
  func::ReturnOp::create(k.b, k.loc);
  return function;
}

bool KernelLibrary::hasLCQTiles(ActivationType activations) const {
  return activations == ActivationType::Int8 && compute != ComputeType::F32 &&
         target.hasAMXBF16() && target.hasAVX512();
}

Value KernelLibrary::countLCQRows(OpBuilder &b, Location loc, Value rows,
                                  int64_t columns,
                                  const LCQLinearOptions &options) const {
  if (!hasLCQTiles(options.activations))
    return rows;
  KernelBuilder k(b, loc, 1);
  int64_t bytes = 2 * llvm::alignTo(columns, kTileDepth);
  int64_t own = llvm::alignTo(columns, options.getLineColumns());
  Value all = k.mul(k.mul(k.ceilDiv(rows, kTileRows), kTileRows), bytes);
  return k.ceilDiv(all, own);
}

//===----------------------------------------------------------------------===//
// Rows of a packed matrix
//===----------------------------------------------------------------------===//

namespace {

/// Emits the body of `lcqRows`.
class LCQRowsEmitter : LCQStream {
public:
  LCQRowsEmitter(KernelBuilder &k, const LCQLinearOptions &options,
                 ValueRange arguments)
      : LCQStream(k, options, k.dim(arguments[7], 1)), arguments(arguments),
        codes(arguments[4]), y(arguments[7]),
        codewords(k.scratch({getLevels()}, k.b.getF32Type())) {}
  void emit();

private:
  int64_t getLevels() const { return int64_t(1) << options.bits; }
  Value findRow(Value index);
  Value loadPlane(Value row, Value group, int64_t plane, int64_t bits);
  Value loadScale(Value row, Value group, int64_t plane);
  void makeCodewords(Value row, Value group);
  Value getCode(Value line, Value byte, Value unit);
  void emitGroup(Value t, Value row, Value number);

  ValueRange arguments;
  Value codes, y;
  Value codewords; ///< Of a group.
};

} // namespace

/// As in the lowering of nju.embedding.
Value LCQRowsEmitter::findRow(Value index) {
  Value zero = k.index(0), count = arguments[2];
  Value isNegative =
      arith::CmpIOp::create(k.b, k.loc, arith::CmpIPredicate::slt, index, zero);
  Value wrapped = k.select(isNegative, k.add(index, count), index);
  Value last = k.sub(count, k.index(1));
  Value upper = arith::MinSIOp::create(k.b, k.loc, wrapped, last);
  return arith::MaxSIOp::create(k.b, k.loc, upper, zero);
}

/// A value of a plane of the group at `group`, as it is stored, in f32.
Value LCQRowsEmitter::loadPlane(Value row, Value group, int64_t plane,
                                int64_t bits) {
  int64_t width = bits / 8;
  Value lane = k.rem(row, kTileRows);
  int64_t begin = plane * kTileRows * options.scaleBits / 8;
  Value at = k.add(k.add(group, begin), k.mul(lane, width));
  Type f32 = k.b.getF32Type();
  if (bits == 8)
    return arith::SIToFPOp::create(k.b, k.loc, f32, k.load(codes, {at}));
  Value raw = vector::LoadOp::create(
      k.b, k.loc, VectorType::get({width}, k.b.getI8Type()), codes, at);
  Type element = bits == 16 ? Type(k.b.getF16Type()) : f32;
  raw =
      vector::BitCastOp::create(k.b, k.loc, VectorType::get({1}, element), raw);
  raw = vector::ExtractOp::create(k.b, k.loc, raw, int64_t(0));
  return bits == 16 ? Value(arith::ExtFOp::create(k.b, k.loc, f32, raw)) : raw;
}

/// A scale, or as plane `rank` an offset, of the group at `group`.
Value LCQRowsEmitter::loadScale(Value row, Value group, int64_t plane) {
  Value value = loadPlane(row, group, plane, options.scaleBits);
  Value factors = arguments[6];
  if (options.scaleBits == 32)
    return value;
  if (options.scaleBits == 8)
    return k.mulf(value, k.load(factors, {k.index(plane), row}));
  Value unit = k.index(plane == options.rank ? 1 : 0);
  return k.mulf(value, k.load(factors, {unit, k.index(0)}));
}

void LCQRowsEmitter::makeCodewords(Value row, Value group) {
  int64_t levels = getLevels();
  auto i8 = VectorType::get({levels}, k.b.getI8Type());
  Value sum;
  for (int64_t r = 0; r < options.rank; ++r) {
    Value entries = vector::LoadOp::create(k.b, k.loc, i8, arguments[5],
                                           ValueRange{k.index(r), k.index(0)});
    Value integers =
        arith::SIToFPOp::create(k.b, k.loc, k.vectorType(levels), entries);
    if (options.zeroBits)
      integers = k.subf(
          integers,
          k.broadcast(loadPlane(row, group, 1, options.zeroBits), levels));
    Value term =
        k.mulf(k.broadcast(loadScale(row, group, r), levels), integers);
    sum = r ? k.addf(sum, term) : term;
  }
  if (options.offset)
    sum = k.subf(sum, k.broadcast(loadScale(row, group, options.rank), levels));
  k.storeVector(sum, codewords, {k.index(0)});
}

/// The code of byte `byte` of unit `unit` of the set at `line`.
Value LCQRowsEmitter::getCode(Value line, Value byte, Value unit) {
  auto load = [&](Value line) {
    return arith::IndexCastUIOp::create(k.b, k.loc, k.b.getIndexType(),
                                        k.load(codes, {k.add(line, byte)}));
  };
  auto shift = [&](Value value, Value count) -> Value {
    return arith::ShRUIOp::create(k.b, k.loc, value, count);
  };
  auto mask = [&](Value value, int64_t bits) -> Value {
    return arith::AndIOp::create(k.b, k.loc, value, k.index(bits));
  };
  if (options.bits != 3)
    return mask(shift(load(line), k.mul(unit, options.bits)), getLevels() - 1);
  Value pair = k.mul(k.div(unit, 2), kLine), isOdd = k.rem(unit, 2);
  Value own = mask(shift(load(k.add(line, k.min(pair, k.index(2 * kLine)))),
                         k.mul(isOdd, 4)),
                   7);
  // Units 6 and 7: one bit of each line.
  Value last = k.index(0);
  for (int64_t i = 0; i < 3; ++i) {
    Value bit =
        mask(shift(load(k.add(line, i * kLine)), k.add(k.mul(isOdd, 4), 3)), 1);
    last = k.add(k.mul(last, 2), bit);
  }
  return k.select(k.less(unit, k.index(6)), own, last);
}

/// The columns of group `number` of a row.
void LCQRowsEmitter::emitGroup(Value t, Value row, Value number) {
  Value group = getGroup(k.div(row, kTileRows), number);
  makeCodewords(row, group);
  Value begin = k.mul(number, options.group);
  Value end = k.min(k.add(begin, options.group), k.dim(y, 1));
  Value lane = k.mul(k.rem(row, kTileRows), kUnitColumns);
  k.loop(begin, end, [&](Value column) {
    Value own = k.sub(column, begin);
    Value set = k.div(own, getSetColumns()),
          place = k.rem(own, getSetColumns());
    Value line =
        k.add(k.add(group, getScaleBytes()), k.mul(set, getSetBytes()));
    Value code = getCode(line, k.add(lane, k.rem(place, kUnitColumns)),
                         k.div(place, kUnitColumns));
    k.store(k.load(codewords, {code}), y, {t, column});
  });
}

/// Items that are dealt out are groups of rows.
void LCQRowsEmitter::emit() {
  Value count = k.mul(k.dim(y, 0), groups);
  auto share = k.share(count, arguments[0], arguments[1]);
  k.loop(share.first, share.second, [&](Value item) {
    Value t = k.div(item, groups);
    Value index = arith::IndexCastOp::create(k.b, k.loc, k.b.getIndexType(),
                                             k.load(arguments[3], {t}));
    emitGroup(t, findRow(index), k.rem(item, groups));
  });
}

func::FuncOp KernelLibrary::lcqRows(const LCQLinearOptions &options) {
  assert(options.isValid() && "no such kernel");
  std::string name = llvm::formatv(
      "nju_lcq_rows_{0}x{1}x{2}x{3}{4}", options.bits, options.group,
      options.rank, options.scaleBits, options.offset ? "_offset" : "");
  if (options.zeroBits)
    name += llvm::formatv("_zero{0}", options.zeroBits);
  if (func::FuncOp known = lookup(name))
    return known;
  Builder types(module.getContext());
  Type index = types.getIndexType(), f32 = types.getF32Type(),
       i8 = types.getI8Type();
  func::FuncOp function =
      create(name, {index, index, index, dynamicMemRef(1, types.getI64Type()),
                    dynamicMemRef(1, i8), dynamicMemRef(2, i8),
                    dynamicMemRef(2, f32), dynamicMemRef(2, f32)});
  OpBuilder builder = OpBuilder::atBlockBegin(function.addEntryBlock());
  KernelBuilder k(builder, module.getLoc(), target.getVectorLanes());
  LCQRowsEmitter(k, options, function.getArguments()).emit();
  func::ReturnOp::create(k.b, k.loc);
  return function;
}
