//===- CacheWrite.cpp - Keys and values into the cache ----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "CacheReader.h"
#include "nju/Codegen/CPU/KernelLibrary.h"
#include "nju/Dialect/Exec/IR/KernelAttributes.h"
#include <limits>

using namespace mlir;
using namespace nju;

using Value = KernelBuilder::Value;
using Values = KernelBuilder::Values;

/// A number or vector (f32) within what f16 can hold: an infinite key would
/// make NaN of every later token.
static Value limitToHalf(KernelBuilder &k, Value value) {
  auto vector = dyn_cast<VectorType>(value.getType());
  auto constant = [&](float number) {
    return vector ? k.splat(number, vector.getDimSize(0)) : k.f32(number);
  };
  // Comparisons are ordered: NaN stays NaN.
  auto limit = [&](arith::CmpFPredicate predicate, Value bound) {
    Value beyond = arith::CmpFOp::create(k.b, k.loc, predicate, value, bound);
    value = k.select(beyond, bound, value);
  };
  limit(arith::CmpFPredicate::OGT, constant(65504.0f));
  limit(arith::CmpFPredicate::OLT, constant(-65504.0f));
  return value;
}

//===----------------------------------------------------------------------===//
// Quantization
//===----------------------------------------------------------------------===//

namespace {

/// Where the scales and offsets of a row go, in bytes.
struct FactorPlaces {
  Value scale;         ///< Of the first group.
  int64_t toOffset;    ///< From a scale to its offset.
  int64_t toNextGroup; ///< From a scale to the next one.
};

/// Emits what writes keys and values in codes. A group's offset is its least
/// element and its scale what leads to the greatest one, both rounded to f16;
/// codes are the nearest to the elements by these. A group with NaN has NaN as
/// its scale.
class CacheQuantizer {
public:
  CacheQuantizer(KernelBuilder &k, const CacheAddresses &cache)
      : k(k), cache(cache), layout(cache.layout),
        row(k.scratch({1, layout.headDim}, k.b.getF32Type())),
        reference(k.scratch({1, layout.headDim}, k.b.getF32Type())),
        codes(k.scratch({layout.headDim}, k.b.getI8Type())) {}

  /// Element `from` of the rows that belongs to a head and a position; `keys`
  /// and `values` are where those of the head begin.
  void emitKey(Value from, ValueRange at, Value keys, Value position);
  void emitValue(Value from, ValueRange at, Value values, Value position);

private:
  void loadRow(Value from, ValueRange at);
  void subtractReference();
  void quantize(int64_t digits, int64_t maxCode, const FactorPlaces &places);
  std::pair<Value, Value> emitFactors(Value begin, int64_t size,
                                      int64_t maxCode, Value place,
                                      const FactorPlaces &places);
  Value toCodes(Value begin, int64_t size, Value scale, Value offset,
                int64_t maxCode);
  void copyCodes(Value to, int64_t count, int64_t stride);
  FactorPlaces placesIn(Value block, Value inBlock) {
    return {k.add(k.add(block, layout.getFactors()), k.mul(inBlock, 2)),
            2 * kCacheBlock, CacheLayout::kFactorBytes};
  }
  int64_t pieceSize(int64_t digits) const {
    return std::min(k.lanes, layout.getGroup() / digits);
  }

  KernelBuilder &k;
  const CacheAddresses &cache;
  const CacheLayout &layout;
  Value row, reference, codes;
};

} // namespace

void CacheQuantizer::loadRow(Value from, ValueRange at) {
  int64_t size = pieceSize(1);
  k.loop(k.index(0), k.index(layout.headDim), k.index(size), [&](Value d) {
    Values indices(at);
    indices.push_back(d);
    k.storeVector(limitToHalf(k, k.loadVector(from, indices, size)), row,
                  {k.index(0), d});
  });
}

void CacheQuantizer::subtractReference() {
  int64_t size = pieceSize(1);
  k.loop(k.index(0), k.index(layout.headDim), k.index(size), [&](Value d) {
    Value x = k.loadVector(row, {k.index(0), d}, size);
    Value y = k.loadVector(reference, {k.index(0), d}, size);
    k.storeVector(limitToHalf(k, k.subf(x, y)), row, {k.index(0), d});
  });
}

/// Stores scale and offset of the group that begins at element `begin`, and
/// returns them as they are stored.
std::pair<Value, Value>
CacheQuantizer::emitFactors(Value begin, int64_t size, int64_t maxCode,
                            Value place, const FactorPlaces &places) {
  const float infinity = std::numeric_limits<float>::infinity();
  auto minimum = [&](Value x, Value y) { return k.minf(x, y); };
  auto maximum = [&](Value x, Value y) { return k.maxf(x, y); };
  auto sum = [&](Value x, Value y) { return k.addf(x, y); };
  Value least = k.splat(infinity, size), most = k.splat(-infinity, size);
  Value zero = k.splat(0.0f, size), nothing = zero; // NaN if an element is.
  for (int64_t column = 0; column < layout.getGroup(); column += size) {
    Value x = k.loadVector(row, {k.index(0), k.add(begin, column)}, size);
    least = minimum(x, least);
    most = maximum(x, most);
    nothing = k.addf(nothing, k.mulf(x, zero));
  }
  Type f16 = k.b.getF16Type(), f32 = k.b.getF32Type();
  auto rounded = [&](Value number, Value at) -> Value {
    Value half = arith::TruncFOp::create(k.b, k.loc, f16, number);
    k.store(half, cache.factors, {k.div(at, 2)});
    return arith::ExtFOp::create(k.b, k.loc, f32, half);
  };
  Value offset =
      rounded(k.reduce(least, minimum), k.add(place, places.toOffset));
  Value range = k.subf(k.reduce(most, maximum), offset);
  Value scale = k.addf(k.divf(range, k.f32(static_cast<float>(maxCode))),
                       k.reduce(nothing, sum));
  return {rounded(scale, place), offset};
}

/// Codes of `size` elements of the row, as i32.
Value CacheQuantizer::toCodes(Value begin, int64_t size, Value scale,
                              Value offset, int64_t maxCode) {
  Value x = k.loadVector(row, {k.index(0), begin}, size);
  x = k.divf(k.subf(x, k.broadcast(offset, size)), k.broadcast(scale, size));
  // NaN, which is what a scale of zero gives, too, becomes 0.
  x = k.maxf(x, k.splat(0.0f, size));
  x = k.minf(x, k.splat(static_cast<float>(maxCode), size));
  // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
  x = k.addf(x, k.splat(12582912.0f, size));
  auto i32 = VectorType::get({size}, k.b.getI32Type());
  return arith::BitcastOp::create(k.b, k.loc, i32, x);
}

/// Quantizes the row to `codes`, and stores its scales and offsets.
void CacheQuantizer::quantize(int64_t digits, int64_t maxCode,
                              const FactorPlaces &places) {
  int64_t group = layout.getGroup(), part = group / digits;
  int64_t size = pieceSize(digits);
  auto bytes = VectorType::get({size}, k.b.getI8Type());
  k.loop(k.index(0), k.index(layout.getGroups()), [&](Value g) {
    Value begin = k.mul(g, group);
    Value place = k.add(places.scale, k.mul(g, places.toNextGroup));
    auto [scale, offset] = emitFactors(begin, size, maxCode, place, places);
    for (int64_t column = 0; column < part; column += size) {
      Value all;
      for (int64_t digit = 0; digit < digits; ++digit) {
        Value own = toCodes(k.add(begin, column + digit * part), size, scale,
                            offset, maxCode);
        own = arith::TruncIOp::create(k.b, k.loc, bytes, own);
        Value shift = arith::ConstantOp::create(
            k.b, k.loc, DenseElementsAttr::get(bytes, llvm::APInt(8, 4)));
        all = digit ? arith::OrIOp::create(
                          k.b, k.loc, all,
                          arith::ShLIOp::create(k.b, k.loc, own, shift))
                          .getResult()
                    : own;
      }
      k.storeVector(all, codes, {k.add(k.mul(g, part), column)});
    }
  });
}

void CacheQuantizer::copyCodes(Value to, int64_t count, int64_t stride) {
  k.loop(k.index(0), k.index(count), [&](Value i) {
    k.store(k.load(codes, {i}), cache.cache, {k.add(to, k.mul(i, stride))});
  });
}

void CacheQuantizer::emitKey(Value from, ValueRange at, Value keys,
                             Value position) {
  Value block =
      k.add(keys, k.mul(k.div(position, kCacheBlock), cache.keyBlock));
  Value inBlock = k.rem(position, kCacheBlock);
  loadRow(from, at);
  if (layout.hasReference()) {
    k.ifThen(k.equal(inBlock, 0), [&] {
      Value place = k.add(block, layout.getReference());
      quantize(/*digits=*/1, /*maxCode=*/255,
               {k.add(place, layout.headDim), 2, 4});
      copyCodes(place, layout.headDim, /*stride=*/1);
    });
    loadReference(k, cache, block, reference, k.index(0));
    subtractReference();
  }
  quantize(layout.getDigits(), layout.getMaxCode(), placesIn(block, inBlock));
  copyCodes(k.add(block, inBlock), layout.getPositionBytes(), kCacheBlock);
}

void CacheQuantizer::emitValue(Value from, ValueRange at, Value values,
                               Value position) {
  Value block =
      k.add(values, k.mul(k.div(position, kCacheBlock), cache.valueBlock));
  Value inBlock = k.rem(position, kCacheBlock);
  loadRow(from, at);
  quantize(layout.getDigits(), layout.getMaxCode(), placesIn(block, inBlock));
  copyCodes(k.add(block, k.mul(inBlock, layout.getPositionBytes())),
            layout.getPositionBytes(), /*stride=*/1);
}

//===----------------------------------------------------------------------===//
// The kernel
//===----------------------------------------------------------------------===//

namespace {

/// Emits the body of `cacheWrite`.
class CacheWriter {
public:
  CacheWriter(KernelBuilder &k, const CacheLayout &layout,
              func::FuncOp function)
      : k(k), layout(layout), worker(function.getArgument(0)),
        workers(function.getArgument(1)), key(function.getArgument(5)),
        value(function.getArgument(6)), positions(function.getArgument(7)),
        sequences(function.getArgument(8)),
        addresses(k, function.getArgument(9), function.getArgument(2),
                  function.getArgument(3), function.getArgument(4), layout) {}

  void emit();

private:
  void forEachToken(llvm::function_ref<void(Value token, Value head)> body);
  void emitPlain();
  void emitInOrder(CacheQuantizer &quantizer);
  void emitQuantizedKey(CacheQuantizer &quantizer, Value token, Value head);
  void emitQuantizedValue(CacheQuantizer &quantizer, Value token, Value head);
  Value positionOf(Value token) { return k.loadIndex(positions, {token}); }
  Value sequenceOf(Value token) { return k.loadIndex(sequences, {token}); }

  KernelBuilder &k;
  CacheLayout layout;
  Value worker, workers, key, value, positions, sequences;
  CacheAddresses addresses;
};

} // namespace

/// The worker's tokens, and each head of them.
void CacheWriter::forEachToken(
    llvm::function_ref<void(Value token, Value head)> body) {
  auto [begin, end] = k.share(k.dim(key, 0), worker, workers);
  k.loop(k.mul(begin, layout.heads), k.mul(end, layout.heads), [&](Value item) {
    body(k.div(item, layout.heads), k.rem(item, layout.heads));
  });
}

void CacheWriter::emitPlain() {
  Type element = cast<MemRefType>(addresses.cache.getType()).getElementType();
  auto toElement = [&](Value number) -> Value {
    if (element.isF32())
      return number;
    return arith::TruncFOp::create(k.b, k.loc, element, limitToHalf(k, number));
  };
  int64_t headDim = layout.headDim;
  forEachToken([&](Value token, Value head) {
    Value position = positionOf(token), sequence = sequenceOf(token);
    Value block = k.mul(k.div(position, kCacheBlock), addresses.keyBlock);
    Value keys = k.add(k.add(addresses.keys(sequence, head), block),
                       k.rem(position, kCacheBlock));
    Value values =
        k.add(addresses.values(sequence, head), k.mul(position, headDim));
    k.loop(k.index(0), k.index(headDim), [&](Value d) {
      k.store(toElement(k.load(key, {token, head, d})), addresses.cache,
              {k.add(keys, k.mul(d, kCacheBlock))});
      k.store(toElement(k.load(value, {token, head, d})), addresses.cache,
              {k.add(values, d)});
    });
  });
}

void CacheWriter::emitQuantizedKey(CacheQuantizer &quantizer, Value token,
                                   Value head) {
  quantizer.emitKey(key, {token, head}, addresses.keys(sequenceOf(token), head),
                    positionOf(token));
}

void CacheWriter::emitQuantizedValue(CacheQuantizer &quantizer, Value token,
                                     Value head) {
  quantizer.emitValue(value, {token, head},
                      addresses.values(sequenceOf(token), head),
                      positionOf(token));
}

/// A block's first key comes before the others: one worker does all tokens of a
/// head.
void CacheWriter::emitInOrder(CacheQuantizer &quantizer) {
  auto [begin, end] = k.share(k.index(2 * layout.heads), worker, workers);
  Value tokens = k.dim(key, 0);
  k.loop(begin, end, [&](Value item) {
    Value head = k.div(item, 2);
    k.ifThenElse(
        k.equal(k.rem(item, 2), 0),
        [&] {
          k.loop(k.index(0), tokens, [&](Value token) {
            emitQuantizedKey(quantizer, token, head);
          });
        },
        [&] {
          k.loop(k.index(0), tokens, [&](Value token) {
            emitQuantizedValue(quantizer, token, head);
          });
        });
  });
}

void CacheWriter::emit() {
  if (!layout.isQuantized())
    return emitPlain();
  CacheQuantizer quantizer(k, addresses);
  if (layout.hasReference())
    return emitInOrder(quantizer);
  forEachToken([&](Value token, Value head) {
    emitQuantizedKey(quantizer, token, head);
    emitQuantizedValue(quantizer, token, head);
  });
}

func::FuncOp KernelLibrary::cacheWrite(int64_t kvHeads, int64_t headDim,
                                       CacheType cacheType) {
  std::string name =
      llvm::formatv("nju_cache_write_{0}x{1}", kvHeads, headDim).str();
  if (cacheType != CacheType::F32)
    name += ("_" + stringifyCacheType(cacheType)).str();
  if (func::FuncOp known = lookup(name))
    return known;
  Builder types(module.getContext());
  Type index = types.getIndexType(), i32 = types.getI32Type();
  Type rows = tokensMemRef({kvHeads, headDim}, types.getF32Type());
  func::FuncOp function =
      create(name, {index, index, index, index, index, rows, rows,
                    tokensMemRef({}, i32), tokensMemRef({}, i32),
                    tokensMemRef({}, types.getI8Type())});
  OpBuilder builder = OpBuilder::atBlockBegin(function.addEntryBlock());
  KernelBuilder k(builder, module.getLoc(), target.getVectorLanes());
  CacheLayout layout{cacheType, kvHeads, headDim};
  if (!layout.hasReference())
    for (unsigned rows : {5, 6, 7, 8})
      function.setArgAttr(rows, exec::kRowsAttr, types.getI64IntegerAttr(0));
  CacheWriter(k, layout, function).emit();
  func::ReturnOp::create(k.b, k.loc);
  return function;
}
