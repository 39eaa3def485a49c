//===- CacheReader.cpp - Keys and values as vectors -------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "CacheReader.h"

using namespace mlir;
using namespace nju;

using Value = KernelBuilder::Value;
using Values = KernelBuilder::Values;

/// Bytes of a line of the processor's caches.
static constexpr int64_t kLine = 64;

//===----------------------------------------------------------------------===//
// Codes
//===----------------------------------------------------------------------===//

Values nju::loadCodes(KernelBuilder &k, const CacheAddresses &cache, Value at,
                      int64_t size, int64_t digits) {
  OpBuilder &b = k.b;
  auto i32 = VectorType::get({size}, b.getI32Type());
  Value bytes = vector::LoadOp::create(
      b, k.loc, VectorType::get({size}, b.getI8Type()), cache.cache, at);
  Value wide = arith::ExtUIOp::create(b, k.loc, i32, bytes);
  auto constant = [&](int32_t value) -> Value {
    return arith::ConstantOp::create(
        b, k.loc, DenseElementsAttr::get(i32, llvm::APInt(32, value)));
  };
  auto toFloat = [&](Value codes) -> Value {
    return arith::SIToFPOp::create(b, k.loc, k.vectorType(size), codes);
  };
  if (digits == 1)
    return {toFloat(wide)};
  return {toFloat(arith::AndIOp::create(b, k.loc, wide, constant(15))),
          toFloat(arith::ShRUIOp::create(b, k.loc, wide, constant(4)))};
}

static Value loadFactor(KernelBuilder &k, const CacheAddresses &cache,
                        Value at) {
  return arith::ExtFOp::create(k.b, k.loc, k.b.getF32Type(),
                               k.load(cache.factors, k.div(at, 2)));
}

void nju::loadReference(KernelBuilder &k, const CacheAddresses &cache,
                        Value block, Value memref, Value row) {
  const CacheLayout &layout = cache.layout;
  int64_t group = layout.getGroup(), size = std::min(k.lanes, group);
  Value codes = k.add(block, layout.getReference());
  Value factors = k.add(codes, layout.headDim);
  k.loop(k.index(0), k.index(layout.getGroups()), [&](Value g) {
    Value at = k.add(factors, k.mul(g, 4));
    Value scale = k.broadcast(loadFactor(k, cache, at), size);
    Value offset = k.broadcast(loadFactor(k, cache, k.add(at, 2)), size);
    for (int64_t column = 0; column < group; column += size) {
      Value d = k.add(k.mul(g, group), column);
      Value part = loadCodes(k, cache, k.add(codes, d), size, 1)[0];
      k.storeVector(k.fma(part, scale, offset), memref, {row, d});
    }
  });
}

//===----------------------------------------------------------------------===//
// CacheReader
//===----------------------------------------------------------------------===//

CacheReader::CacheReader(KernelBuilder &k, const CacheAddresses &cache,
                         int64_t blocks, int64_t chunk)
    : k(k), cache(cache), layout(cache.layout),
      blockVectors(kCacheBlock / k.lanes) {
  if (!layout.isQuantized()) {
    int64_t column = 0;
    for (int64_t size = k.lanes; size >= 1; size /= 2)
      for (; layout.headDim - column >= size; column += size)
        pieces.push_back({column, size});
    return;
  }
  // A byte has codes of all parts of a group.
  int64_t part = layout.getGroup() / layout.getDigits();
  int64_t size = std::min(k.lanes, part);
  for (int64_t group = 0; group < layout.headDim; group += layout.getGroup())
    for (int64_t column = 0; column < part; column += size)
      for (int64_t digit = 0; digit < layout.getDigits(); ++digit)
        pieces.push_back({group + column + digit * part, size});
  Type f32 = k.b.getF32Type();
  valueFactors = k.scratch({2 * layout.getGroups(), chunk}, f32);
  if (layout.hasReference())
    references = k.scratch({blocks, layout.headDim}, f32);
}

/// `size` scales or offsets as f32.
Value CacheReader::loadFactors(Value at, int64_t size) {
  return k.loadVector(cache.factors, k.div(at, 2), size);
}

Values CacheReader::forEachKey(
    const Values &begins, const Values &sums, int64_t unroll,
    llvm::function_ref<Values(Value, const Values &, Values)> body,
    Addresses after) {
  if (layout.isQuantized())
    return forEachCode(begins, sums, unroll, body, after);
  return k.loop(k.index(0), k.index(layout.headDim), k.index(1), sums,
                [&](Value d, Values sums) {
                  Values at, keys;
                  for (Value begin : begins)
                    for (int64_t i = 0; i < blockVectors; ++i) {
                      Value row = k.add(begin, k.mul(d, kCacheBlock));
                      at.push_back(k.add(row, i * k.lanes));
                      keys.push_back(k.loadVector(cache.cache, at.back()));
                    }
                  sums = body(d, keys, sums);
                  after(at);
                  return sums;
                });
}

/// Of a group of the keys in these blocks, a vector for each one of positions.
llvm::SmallVector<CacheReader::Factors>
CacheReader::loadKeyFactors(const Values &begins, Value group) {
  llvm::SmallVector<Factors> factors;
  for (Value begin : begins)
    for (int64_t i = 0; i < blockVectors; ++i) {
      Value at = k.add(k.add(begin, k.mul(group, CacheLayout::kFactorBytes)),
                       layout.getFactors() + 2 * i * k.lanes);
      factors.push_back({loadFactors(at, k.lanes),
                         loadFactors(k.add(at, 2 * kCacheBlock), k.lanes)});
    }
  return factors;
}

Values CacheReader::forEachCode(
    const Values &begins, Values sums, int64_t unroll,
    llvm::function_ref<Values(Value, const Values &, Values)> body,
    Addresses after) {
  int64_t group = layout.getGroup(), rows = group / layout.getDigits();
  if (layout.hasReference())
    for (auto [u, begin] : llvm::enumerate(begins))
      loadReference(k, cache, begin, references, k.index(u));
  auto emitRow = [&](Value row, Value d, ArrayRef<Factors> factors,
                     Values sums) {
    llvm::SmallVector<Values> codes; // Of each vector.
    for (Value begin : begins)
      for (int64_t i = 0; i < blockVectors; ++i)
        codes.push_back(loadCodes(
            k, cache, k.add(k.add(begin, k.mul(row, kCacheBlock)), i * k.lanes),
            k.lanes, layout.getDigits()));
    for (int64_t digit = 0; digit < layout.getDigits(); ++digit) {
      Value element = k.add(d, digit * rows);
      Values keys;
      for (auto [i, vector] : llvm::enumerate(codes)) {
        Value offset = factors[i].offset;
        if (layout.hasReference()) {
          Value own = k.index(static_cast<int64_t>(i) / blockVectors);
          offset =
              k.addf(offset, k.broadcast(k.load(references, {own, element})));
        }
        keys.push_back(k.fma(vector[digit], factors[i].scale, offset));
      }
      sums = body(element, keys, std::move(sums));
    }
    return sums;
  };
  auto emitGroup = [&](Value g, Values sums) {
    llvm::SmallVector<Factors> factors = loadKeyFactors(begins, g);
    return k.loop(k.index(0), k.index(rows), k.index(unroll), std::move(sums),
                  [&](Value first, Values sums) {
                    Value row = k.add(k.mul(g, rows), first);
                    for (int64_t i = 0; i < unroll; ++i)
                      sums = emitRow(k.add(row, i),
                                     k.add(k.add(k.mul(g, group), first), i),
                                     factors, sums);
                    Values lines;
                    if (unroll * kCacheBlock >= kLine)
                      for (Value begin : begins)
                        lines.push_back(k.add(begin, k.mul(row, kCacheBlock)));
                    after(lines);
                    return sums;
                  });
  };
  return k.loop(k.index(0), k.index(layout.getGroups()), k.index(1), sums,
                emitGroup);
}

void CacheReader::openChunk(Value values, Value block, Value blocks) {
  if (!layout.isQuantized())
    return;
  k.loop(k.index(0), blocks, [&](Value number) {
    Value at =
        k.add(k.add(values, k.mul(k.add(block, number), cache.valueBlock)),
              layout.getFactors());
    for (int64_t row = 0; row < 2 * layout.getGroups(); ++row)
      for (int64_t i = 0; i < kCacheBlock; i += k.lanes) {
        Value factors =
            loadFactors(k.add(at, 2 * (row * kCacheBlock + i)), k.lanes);
        k.storeVector(factors, valueFactors,
                      {k.index(row), k.add(k.mul(number, kCacheBlock), i)});
      }
  });
}

Values CacheReader::loadValue(Value values, Value position, Value inChunk,
                              ArrayRef<CachePiece> pieces, Values &lines) {
  Values result;
  if (!layout.isQuantized()) {
    Value row = k.add(values, k.mul(position, layout.headDim));
    for (CachePiece piece : pieces) {
      lines.push_back(k.add(row, piece.column));
      result.push_back(k.loadVector(cache.cache, lines.back(), piece.size));
    }
    return result;
  }
  int64_t digits = layout.getDigits(), group = layout.getGroup();
  Value block = k.mul(k.div(position, kCacheBlock), cache.valueBlock);
  Value inBlock =
      k.mul(k.rem(position, kCacheBlock), layout.getPositionBytes());
  Value row = k.add(k.add(values, block), inBlock);
  int64_t known = -1;
  Value scale, offset;
  for (size_t i = 0; i < pieces.size(); i += digits) {
    CachePiece piece = pieces[i];
    int64_t number = piece.column / group;
    int64_t byte = number * (group / digits) + piece.column % group;
    if (number != known) {
      known = number;
      auto factor = [&](int64_t row) {
        return k.broadcast(k.load(valueFactors, {k.index(row), inChunk}),
                           piece.size);
      };
      scale = factor(2 * number);
      offset = factor(2 * number + 1);
    }
    if (byte % kLine == 0)
      lines.push_back(k.add(row, byte));
    for (Value codes :
         loadCodes(k, cache, k.add(row, byte), piece.size, digits))
      result.push_back(k.fma(codes, scale, offset));
  }
  return result;
}
