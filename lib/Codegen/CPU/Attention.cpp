//===- Attention.cpp - Attention over the key/value cache -------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// One item of work is a token and some query heads of one key/value head, so
// that a key or a value is loaded once for all of them. Chunks of positions
// start at multiples of the cache block, whatever the batch is: scores, their
// exponentials and the sums come in an order that the token's position alone
// decides.
//
//===----------------------------------------------------------------------===//

#include "KernelBuilder.h"
#include "nju/Codegen/CPU/KernelLibrary.h"
#include "nju/Dialect/Exec/IR/KernelAttributes.h"
#include <limits>

using namespace mlir;
using namespace nju;

using Value = KernelBuilder::Value;
using Values = KernelBuilder::Values;

/// Positions in a block of the key cache; equal to NJU_ABI_CACHE_BLOCK.
static constexpr int64_t kCacheBlock = 16;
/// Positions whose scores are held at once; a multiple of every number of
/// blocks that scores are computed for at once.
static constexpr int64_t kChunk = 128;

namespace {

/// Addresses in the cache of one layer, in f32 elements; see
/// nju_abi_step_args.
class CacheAddresses {
public:
  CacheAddresses(KernelBuilder &k, Value bytes, Value before,
                 Value maxSequences, Value cacheTokens, int64_t heads,
                 int64_t headDim)
      : k(k), heads(heads) {
    auto type = MemRefType::get({ShapedType::kDynamic}, k.b.getF32Type());
    Value elements = k.div(k.dim(bytes, 0), 4);
    cache = memref::ViewOp::create(k.b, k.loc, type, bytes, k.index(0),
                                   ValueRange{elements});
    Value positions = k.mul(maxSequences, cacheTokens);
    keyRegion = k.mul(k.mul(positions, before), 2);
    valueRegion = k.add(keyRegion, k.mul(positions, heads * headDim));
    headSize = k.mul(cacheTokens, headDim);
  }

  /// Begin of a head of a sequence, relative to a region.
  Value head(Value sequence, Value head) {
    return k.mul(k.add(k.mul(sequence, heads), head), headSize);
  }

  Value cache, keyRegion, valueRegion;

private:
  KernelBuilder &k;
  int64_t heads;
  Value headSize;
};

/// Emits the body of `cachedAttention`.
class AttentionEmitter {
public:
  AttentionEmitter(KernelBuilder &k, const CPUTarget &target,
                   const CachedAttentionOptions &options, func::FuncOp function,
                   Value slopes);
  void emit();

private:
  void emitItem(int64_t heads);
  void emitScores(int64_t heads, Value chunk, Value blocks);
  Value maskedScore(Value score, Value position, Value slope);
  void emitSoftmax(int64_t heads, Value blocks, Values &carried,
                   Values &factors);
  void emitWeightedSum(int64_t heads, Value chunk, Value end,
                       ArrayRef<Value> factors);
  void emitDivision(int64_t heads, ArrayRef<Value> sums);
  Value reduce(vector::CombiningKind kind, Value vector) {
    return vector::ReductionOp::create(k.b, k.loc, kind, vector);
  }

  KernelBuilder &k;
  const CachedAttentionOptions &options;
  Value worker, workers, scale, q, positions, sequences, y, slopes;
  CacheAddresses addresses;
  /// Vectors that make up a row of D elements: registers, then powers of two.
  llvm::SmallVector<int64_t> pieces;
  int64_t group, maxHeads, maxAccumulators, parts, blockVectors;
  Value scores; ///< [maxHeads, kChunk]
  // Of the item at hand.
  Value token, firstHead, position, begin, keys, values;
};

} // namespace

AttentionEmitter::AttentionEmitter(KernelBuilder &k, const CPUTarget &target,
                                   const CachedAttentionOptions &options,
                                   func::FuncOp function, Value slopes)
    : k(k), options(options), worker(function.getArgument(0)),
      workers(function.getArgument(1)), scale(function.getArgument(5)),
      q(function.getArgument(6)), positions(function.getArgument(7)),
      sequences(function.getArgument(8)), y(function.getArgument(10)),
      slopes(slopes),
      addresses(k, function.getArgument(9), function.getArgument(2),
                function.getArgument(3), function.getArgument(4),
                options.kvHeads, options.headDim) {
  int64_t left = options.headDim;
  for (int64_t size = k.lanes; size >= 1; size /= 2)
    for (; left >= size; left -= size)
      pieces.push_back(size);
  group = options.heads / options.kvHeads;
  bool wide = target.getVectorRegisters() == 32;
  maxAccumulators = wide ? 24 : 10;
  int64_t registers = pieces.size();
  maxHeads = std::clamp<int64_t>(maxAccumulators / registers, 1,
                                 std::min<int64_t>(group, wide ? 8 : 4));
  parts = llvm::divideCeil(group, maxHeads);
  maxHeads = llvm::divideCeil(group, parts);
  blockVectors = kCacheBlock / k.lanes;
  auto type = MemRefType::get({maxHeads, kChunk}, k.b.getF32Type());
  scores =
      memref::AllocaOp::create(k.b, k.loc, type, k.b.getI64IntegerAttr(64));
}

/// -inf where the position is not one that the token sees; `position` is that
/// of lane 0.
Value AttentionEmitter::maskedScore(Value score, Value lane0, Value slope) {
  auto compare = [&](arith::CmpIPredicate predicate, Value x, Value y) {
    return arith::CmpIOp::create(k.b, k.loc, predicate, x, y);
  };
  Value at = k.add(k.broadcastI32(lane0), k.lanesI32());
  Value own = k.broadcastI32(position);
  if (slope) {
    Value distance = arith::SIToFPOp::create(k.b, k.loc, k.vectorType(k.lanes),
                                             k.sub(at, own));
    score = k.fma(k.broadcast(slope), distance, score);
  }
  Value seen = compare(arith::CmpIPredicate::sle, at, own);
  if (options.window)
    seen = arith::AndIOp::create(
        k.b, k.loc, seen,
        compare(arith::CmpIPredicate::sge, at, k.broadcastI32(begin)));
  return arith::SelectOp::create(
      k.b, k.loc, seen, score,
      k.splat(-std::numeric_limits<float>::infinity()));
}

/// scores[h][i] = scale * q_h . k_i of the `blocks` blocks of the chunk. Blocks
/// are taken several at a time, so that many sums are in flight; past the last
/// block its keys are read again and the scores become -inf.
void AttentionEmitter::emitScores(int64_t heads, Value chunk, Value blocks) {
  int64_t atOnce = heads * blockVectors >= 4 ? 2 : 4;
  Value last = k.add(k.div(chunk, kCacheBlock), k.sub(blocks, k.index(1)));
  k.loop(k.index(0), blocks, k.index(atOnce), [&](Value block) {
    Values bases;
    for (int64_t u = 0; u < atOnce; ++u) {
      Value number = k.add(k.add(k.div(chunk, kCacheBlock), block), u);
      bases.push_back(k.add(
          keys, k.mul(k.min(number, last), options.headDim * kCacheBlock)));
    }
    int64_t vectors = atOnce * blockVectors;
    Values sums(heads * vectors, k.splat(0.0f));
    sums = k.loop(
        k.index(0), k.index(options.headDim), k.index(1), sums,
        [&](Value d, Values sums) {
          Values rows;
          for (int64_t i = 0; i < vectors; ++i)
            rows.push_back(k.loadVector(
                addresses.cache,
                {k.add(k.add(bases[i / blockVectors], k.mul(d, kCacheBlock)),
                       i % blockVectors * k.lanes)}));
          for (int64_t h = 0; h < heads; ++h) {
            Value factor =
                k.broadcast(k.load(q, {token, k.add(firstHead, h), d}));
            for (int64_t i = 0; i < vectors; ++i)
              sums[h * vectors + i] =
                  k.fma(factor, rows[i], sums[h * vectors + i]);
          }
          return sums;
        });
    for (int64_t h = 0; h < heads; ++h) {
      Value slope = slopes ? k.load(slopes, {k.add(firstHead, h)}) : Value();
      for (int64_t i = 0; i < vectors; ++i) {
        Value offset = k.add(k.mul(block, kCacheBlock), i * k.lanes);
        Value score = k.mulf(sums[h * vectors + i], k.broadcast(scale));
        k.storeVector(maskedScore(score, k.add(chunk, offset), slope), scores,
                      {k.index(h), offset});
      }
    }
  });
}

/// scores[h][i] = exp(scores[h][i] - max). `carried` are, for each head, the
/// maximum and the sum (a vector of partial sums) so far; `factors` become
/// what earlier results must be multiplied by.
void AttentionEmitter::emitSoftmax(int64_t heads, Value blocks, Values &carried,
                                   Values &factors) {
  Value count = k.mul(blocks, kCacheBlock), step = k.index(k.lanes);
  Value zero = k.index(0);
  for (int64_t h = 0; h < heads; ++h) {
    Value &maximum = carried[2 * h], &sum = carried[2 * h + 1];
    Value row = k.index(h);
    Value most =
        k.loop(zero, count, step, {k.broadcast(maximum)},
               [&](Value i, Values most) -> Values {
                 Value score = k.loadVector(scores, {row, i});
                 return {arith::MaxNumFOp::create(k.b, k.loc, most[0], score)};
               })[0];
    Value newMaximum = reduce(vector::CombiningKind::MAXNUMF, most);
    Value shift = k.broadcast(newMaximum);
    Value factor = k.expOfNonPositive(k.subf(k.broadcast(maximum), shift));
    sum = k.loop(zero, count, step, {k.mulf(sum, factor)},
                 [&](Value i, Values sum) -> Values {
                   Value weight = k.expOfNonPositive(
                       k.subf(k.loadVector(scores, {row, i}), shift));
                   k.storeVector(weight, scores, {row, i});
                   return {k.addf(sum[0], weight)};
                 })[0];
    maximum = newMaximum;
    factors.push_back(
        vector::ExtractOp::create(k.b, k.loc, factor, int64_t(0)));
  }
}

/// y_h = y_h * factor_h + sum over the chunk's positions of weight * v.
void AttentionEmitter::emitWeightedSum(int64_t heads, Value chunk, Value end,
                                       ArrayRef<Value> factors) {
  Value first = chunk;
  if (options.window)
    first = arith::MaxUIOp::create(k.b, k.loc, chunk, begin);
  int64_t perPass = std::max<int64_t>(1, maxAccumulators / heads);
  int64_t column = 0;
  ArrayRef<int64_t> left = pieces;
  while (!left.empty()) {
    ArrayRef<int64_t> pass = left.take_front(perPass);
    left = left.drop_front(pass.size());
    llvm::SmallVector<Value> columns;
    for (int64_t size : pass) {
      columns.push_back(k.index(column));
      column += size;
    }
    Values sums;
    for (int64_t h = 0; h < heads; ++h)
      for (auto [size, at] : llvm::zip(pass, columns))
        sums.push_back(
            k.mulf(k.loadVector(y, {token, k.add(firstHead, h), at}, size),
                   k.broadcast(factors[h], size)));
    sums = k.loop(first, end, k.index(1), sums, [&](Value j, Values sums) {
      Value row = k.add(values, k.mul(j, options.headDim));
      Values weights;
      for (int64_t h = 0; h < heads; ++h)
        weights.push_back(k.load(scores, {k.index(h), k.sub(j, chunk)}));
      for (auto [i, size] : llvm::enumerate(pass)) {
        Value value =
            k.loadVector(addresses.cache, {k.add(row, columns[i])}, size);
        for (int64_t h = 0; h < heads; ++h) {
          Value &sum = sums[h * pass.size() + i];
          sum = k.fma(k.broadcast(weights[h], size), value, sum);
        }
      }
      return sums;
    });
    for (int64_t h = 0; h < heads; ++h)
      for (auto [i, at] : llvm::enumerate(columns))
        k.storeVector(sums[h * pass.size() + i], y,
                      {token, k.add(firstHead, h), at});
  }
}

void AttentionEmitter::emitDivision(int64_t heads, ArrayRef<Value> sums) {
  for (int64_t h = 0; h < heads; ++h) {
    int64_t column = 0;
    for (int64_t size : pieces) {
      Values at = {token, k.add(firstHead, h), k.index(column)};
      Value quotient = arith::DivFOp::create(
          k.b, k.loc, k.loadVector(y, at, size), k.broadcast(sums[h], size));
      k.storeVector(quotient, y, at);
      column += size;
    }
  }
}

/// `heads` query heads from `firstHead` on, of one token.
void AttentionEmitter::emitItem(int64_t heads) {
  for (int64_t h = 0; h < heads; ++h) {
    int64_t column = 0;
    for (int64_t size : pieces) {
      k.storeVector(k.splat(0.0f, size), y,
                    {token, k.add(firstHead, h), k.index(column)});
      column += size;
    }
  }
  Values carried;
  for (int64_t h = 0; h < heads; ++h) {
    carried.push_back(k.f32(-std::numeric_limits<float>::infinity()));
    carried.push_back(k.splat(0.0f));
  }
  Value end = k.add(position, 1);
  Value start = k.mul(k.div(begin, kCacheBlock), kCacheBlock);
  carried = k.loop(
      start, end, k.index(kChunk), carried, [&](Value chunk, Values carried) {
        Value chunkEnd = k.min(k.add(chunk, kChunk), end);
        Value blocks = k.ceilDiv(k.sub(chunkEnd, chunk), kCacheBlock);
        emitScores(heads, chunk, blocks);
        Values factors;
        emitSoftmax(heads, blocks, carried, factors);
        emitWeightedSum(heads, chunk, chunkEnd, factors);
        return carried;
      });
  Values sums;
  for (int64_t h = 0; h < heads; ++h)
    sums.push_back(reduce(vector::CombiningKind::ADD, carried[2 * h + 1]));
  emitDivision(heads, sums);
}

void AttentionEmitter::emit() {
  Value tokens = k.dim(q, 0);
  Value count = k.mul(tokens, options.kvHeads * parts);
  // Tokens of one head follow each other, dealt out in turn: what a worker
  // reads stays in its cache, and later tokens, which see more, are shared.
  k.loop(worker, count, workers, [&](Value item) {
    token = k.rem(item, tokens);
    Value headPart = k.div(item, tokens);
    Value kvHead = k.div(headPart, parts), part = k.rem(headPart, parts);
    Value from = k.div(k.mul(part, group), parts);
    Value to = k.div(k.mul(k.add(part, 1), group), parts);
    firstHead = k.add(k.mul(kvHead, group), from);
    position = k.loadIndex(positions, {token});
    Value sequence = k.loadIndex(sequences, {token});
    begin = k.index(0);
    if (options.window) {
      Value window = k.index(*options.window);
      Value past = k.add(position, 1);
      begin = k.sub(past, k.min(past, window));
    }
    Value head = addresses.head(sequence, kvHead);
    keys = k.add(addresses.keyRegion, head);
    values = k.add(addresses.valueRegion, head);
    k.switchOn(k.sub(to, from), group / parts, maxHeads,
               [&](int64_t heads) { emitItem(heads); });
  });
}

static MemRefType tokensMemRef(llvm::ArrayRef<int64_t> rest, Type element) {
  llvm::SmallVector<int64_t> shape = {ShapedType::kDynamic};
  shape.append(rest.begin(), rest.end());
  return MemRefType::get(shape, element);
}

func::FuncOp KernelLibrary::cacheWrite(int64_t kvHeads, int64_t headDim) {
  std::string name =
      llvm::formatv("nju_cache_write_{0}x{1}", kvHeads, headDim).str();
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
  CacheAddresses addresses(k, argument(9), argument(2), argument(3),
                           argument(4), kvHeads, headDim);
  for (unsigned rows : {5, 6, 7, 8})
    function.setArgAttr(rows, exec::kRowsAttr, types.getI64IntegerAttr(0));
  Value key = argument(5), value = argument(6);
  auto [begin, end] = k.share(k.dim(key, 0), argument(0), argument(1));
  k.loop(k.mul(begin, kvHeads), k.mul(end, kvHeads), [&](Value item) {
    Value token = k.div(item, kvHeads), head = k.rem(item, kvHeads);
    Value position = k.loadIndex(argument(7), {token});
    Value base = addresses.head(k.loadIndex(argument(8), {token}), head);
    Value block = k.mul(k.div(position, kCacheBlock), headDim * kCacheBlock);
    Value keys = k.add(k.add(k.add(addresses.keyRegion, base), block),
                       k.rem(position, kCacheBlock));
    Value values =
        k.add(k.add(addresses.valueRegion, base), k.mul(position, headDim));
    k.loop(k.index(0), k.index(headDim), [&](Value d) {
      k.store(k.load(key, {token, head, d}), addresses.cache,
              {k.add(keys, k.mul(d, kCacheBlock))});
      k.store(k.load(value, {token, head, d}), addresses.cache,
              {k.add(values, d)});
    });
  });
  func::ReturnOp::create(k.b, k.loc);
  return function;
}

/// A constant table of the module, made on first use.
static Value slopesTable(KernelBuilder &k, ModuleOp module, StringRef kernel,
                         ArrayRef<float> slopes) {
  std::string name = (kernel + "_slopes").str();
  int64_t size = slopes.size();
  auto type = MemRefType::get({size}, k.b.getF32Type());
  OpBuilder builder = OpBuilder::atBlockBegin(module.getBody());
  memref::GlobalOp::create(
      builder, k.loc, name, builder.getStringAttr("private"), type,
      DenseElementsAttr::get(
          RankedTensorType::get({size}, builder.getF32Type()), slopes),
      /*constant=*/true, /*alignment=*/IntegerAttr());
  return memref::GetGlobalOp::create(k.b, k.loc, type, name);
}

/// "nju_cached_attention_32x4x64_window512_slopes1a2b": equal names, equal
/// functions.
static std::string kernelName(const CachedAttentionOptions &options) {
  std::string name =
      llvm::formatv("nju_cached_attention_{0}x{1}x{2}", options.heads,
                    options.kvHeads, options.headDim)
          .str();
  if (options.window)
    name += llvm::formatv("_window{0}", *options.window).str();
  if (!options.slopes.empty()) {
    name += "_slopes";
    for (float slope : options.slopes)
      name += llvm::utohexstr(llvm::bit_cast<uint32_t>(slope)) + "_";
    name.pop_back();
  }
  return name;
}

func::FuncOp
KernelLibrary::cachedAttention(const CachedAttentionOptions &options) {
  std::string name = kernelName(options);
  if (func::FuncOp known = lookup(name))
    return known;
  Builder types(module.getContext());
  Type index = types.getIndexType(), i32 = types.getI32Type();
  Type f32 = types.getF32Type();
  Type rows = tokensMemRef({options.heads, options.headDim}, f32);
  func::FuncOp function =
      create(name, {index, index, index, index, index, f32, rows,
                    tokensMemRef({}, i32), tokensMemRef({}, i32),
                    tokensMemRef({}, types.getI8Type()), rows});
  OpBuilder builder = OpBuilder::atBlockBegin(function.addEntryBlock());
  KernelBuilder k(builder, module.getLoc(), target.getVectorLanes());
  Value slopes = options.slopes.empty()
                     ? Value()
                     : slopesTable(k, module, name, options.slopes);
  AttentionEmitter(k, target, options, function, slopes).emit();
  func::ReturnOp::create(k.b, k.loc);
  return function;
}
