//===- CacheWrite.cpp - Keys and values into the cache ----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "CacheAddresses.h"
#include "nju/Codegen/CPU/KernelLibrary.h"
#include "nju/Dialect/Exec/IR/KernelAttributes.h"

using namespace mlir;
using namespace nju;

using Value = KernelBuilder::Value;

/// `value` (f32) as an element of the cache. What f16 cannot hold becomes its
/// largest number: an infinite key would make NaN of every later token.
static Value toElement(KernelBuilder &k, Value value, Type element) {
  if (element.isF32())
    return value;
  Value most = k.f32(65504.0f), least = k.f32(-65504.0f);
  // Comparisons are ordered: NaN stays NaN.
  auto limit = [&](arith::CmpFPredicate predicate, Value bound) {
    Value beyond = arith::CmpFOp::create(k.b, k.loc, predicate, value, bound);
    value = k.select(beyond, bound, value);
  };
  limit(arith::CmpFPredicate::OGT, most);
  limit(arith::CmpFPredicate::OLT, least);
  return arith::TruncFOp::create(k.b, k.loc, element, value);
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
  auto argument = [&](int64_t i) { return function.getArgument(i); };
  Type element = getElementType(cacheType, k.b);
  CacheAddresses addresses(k, argument(9), argument(2), argument(3),
                           argument(4), kvHeads, headDim, element);
  for (unsigned rows : {5, 6, 7, 8})
    function.setArgAttr(rows, exec::kRowsAttr, types.getI64IntegerAttr(0));
  Value key = argument(5), value = argument(6);
  auto [begin, end] = k.share(k.dim(key, 0), argument(0), argument(1));
  k.loop(k.mul(begin, kvHeads), k.mul(end, kvHeads), [&](Value item) {
    Value token = k.div(item, kvHeads), head = k.rem(item, kvHeads);
    Value position = k.loadIndex(argument(7), {token});
    Value sequence = k.loadIndex(argument(8), {token});
    Value block = k.mul(k.div(position, kCacheBlock), headDim * kCacheBlock);
    Value keys = k.add(k.add(addresses.keys(sequence, head), block),
                       k.rem(position, kCacheBlock));
    Value values =
        k.add(addresses.values(sequence, head), k.mul(position, headDim));
    k.loop(k.index(0), k.index(headDim), [&](Value d) {
      k.store(toElement(k, k.load(key, {token, head, d}), element),
              addresses.cache, {k.add(keys, k.mul(d, kCacheBlock))});
      k.store(toElement(k, k.load(value, {token, head, d}), element),
              addresses.cache, {k.add(values, d)});
    });
  });
  func::ReturnOp::create(k.b, k.loc);
  return function;
}
