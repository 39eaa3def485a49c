//===- AttentionOperands.cpp - What attention works on ----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "AttentionOperands.h"
#include "TileProduct.h"

using namespace mlir;
using namespace nju;

using Value = AttentionOperands::Value;

AttentionOperands::AttentionOperands(KernelBuilder &k,
                                     const CachedAttentionOptions &options,
                                     int64_t parts, int64_t fewTokens,
                                     ValueRange arguments, Value slopes)
    : k(k), options(options), group(options.heads / options.kvHeads),
      parts(parts), fewTokens(fewTokens), worker(arguments[0]),
      workers(arguments[1]), cacheTokens(arguments[4]), scale(arguments[5]),
      q(arguments[6]), positions(arguments[7]), sequences(arguments[8]),
      y(arguments[10]), partials(arguments[11]), counters(arguments[12]),
      slopes(slopes), addresses(k, arguments[9], arguments[2], arguments[3],
                                cacheTokens, options.getCacheLayout()) {
  if (options.packs)
    packed = getRowTiles(k, arguments[13], k.dim(q, 0),
                         k.index(options.heads * options.headDim));
}

void AttentionOperands::setChunks(AttentionRun &run) {
  run.firstChunk = k.div(windowBegin(run.position), kAttentionChunk);
  Value end = k.ceilDiv(k.add(run.position, run.count), kAttentionChunk);
  run.chunks = k.sub(end, run.firstChunk);
}

AttentionUnit AttentionOperands::unitOf(const AttentionRun &run, Value number) {
  AttentionUnit unit;
  unit.run = run;
  unit.number = number;
  Value kvHead = k.div(number, parts), part = k.rem(number, parts);
  Value from = k.div(k.mul(part, group), parts);
  Value to = k.div(k.mul(k.add(part, 1), group), parts);
  unit.firstHead = k.add(k.mul(kvHead, group), from);
  unit.heads = group % parts == 0 ? k.index(group / parts) : k.sub(to, from);
  unit.rows = k.mul(run.count, unit.heads);
  Value sequence = k.loadIndex(sequences, {run.token});
  unit.keys = addresses.keys(sequence, kvHead);
  unit.values = addresses.values(sequence, kvHead);
  return unit;
}

Value AttentionOperands::windowBegin(Value position) {
  if (!options.window)
    return k.index(0);
  Value past = k.add(position, 1);
  return k.sub(past, k.min(past, k.index(*options.window)));
}

Value AttentionOperands::see(Value first, Value last, Value chunk) {
  return k.both(k.less(chunk, k.add(last, 1)),
                k.less(windowBegin(first), k.add(chunk, kAttentionChunk)));
}

void AttentionOperands::emitMask(const AttentionUnit &unit, Value unitRow,
                                 Value scores, Value row, Value chunk,
                                 Value count) {
  auto compare = [&](arith::CmpIPredicate predicate, Value x, Value y) {
    return arith::CmpIOp::create(k.b, k.loc, predicate, x, y);
  };
  Value position = positionOf(unit, unitRow), first = windowBegin(position);
  Value own = k.broadcastI32(position), from = k.broadcastI32(first);
  Value slope;
  if (slopes)
    slope = k.broadcast(k.load(slopes, {headOf(unit, unitRow)}));
  k.loop(k.index(0), count, k.index(k.lanes), [&](Value i) {
    Value at = k.add(k.broadcastI32(k.add(chunk, i)), k.lanesI32());
    Value score = k.loadVector(scores, {row, i});
    if (slope) {
      Value distance = arith::SIToFPOp::create(
          k.b, k.loc, k.vectorType(k.lanes), k.sub(at, own));
      score = k.fma(slope, distance, score);
    }
    Value seen = compare(arith::CmpIPredicate::sle, at, own);
    if (options.window)
      seen = k.both(seen, compare(arith::CmpIPredicate::sge, at, from));
    k.storeVector(k.select(seen, score, k.splat(-kInfinity)), scores, {row, i});
  });
}

/// scores[row] = cap * tanh(scores[row] / cap).
void AttentionOperands::emitSoftcap(Value scores, Value row, Value count) {
  auto cap = static_cast<float>(*options.softcap);
  Value zero = k.splat(0.0f), one = k.splat(1.0f);
  k.loop(k.index(0), count, k.index(k.lanes), [&](Value i) {
    Value score = k.loadVector(scores, {row, i});
    // tanh(x) = (1 - e) / (1 + e) for x > 0, e being exp(-2 x).
    Value size = k.maxf(score, k.subf(zero, score));
    Value e = k.expOfNonPositive(k.mulf(size, k.splat(-2.0f / cap)));
    Value capped = arith::DivFOp::create(
        k.b, k.loc, k.mulf(k.splat(cap), k.subf(one, e)), k.addf(one, e));
    Value isBelow = arith::CmpFOp::create(k.b, k.loc, arith::CmpFPredicate::OLT,
                                          score, zero);
    k.storeVector(k.select(isBelow, k.subf(zero, capped), capped), scores,
                  {row, i});
  });
}

void AttentionOperands::emitBounds(const AttentionUnit &unit, Value unitRow,
                                   Value scores, Value row, Value chunk,
                                   Value count) {
  auto mask = [&] { emitMask(unit, unitRow, scores, row, chunk, count); };
  if (options.softcap)
    emitSoftcap(scores, row, count);
  if (slopes)
    return mask();
  Value position = positionOf(unit, unitRow);
  Value partly = k.less(position, k.sub(k.add(chunk, count), k.index(1)));
  if (options.window)
    partly = arith::OrIOp::create(k.b, k.loc, partly,
                                  k.less(chunk, windowBegin(position)));
  k.ifThen(partly, mask);
}

void AttentionOperands::storePair(Value low, Value high, Value token,
                                  Value head, int64_t column) {
  auto store = [&] {
    k.storeVector(low, y, {token, head, k.index(column)});
    k.storeVector(high, y, {token, head, k.index(column + kTileRows)});
  };
  if (!packed)
    return store();
  int64_t headSteps = options.headDim / kTileDepth;
  Value step = k.add(k.mul(head, headSteps), column / kTileDepth);
  k.ifThenElse(
      k.less(k.index(fewTokens), k.dim(q, 0)),
      [&] { storeTileRow(k, low, high, packed, token, step); }, store);
}
