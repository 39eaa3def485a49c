//===- LCQProduct.cpp - What products with LCQ weights share ----*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "LCQProduct.h"
#include <algorithm>

using namespace mlir;
using namespace nju;

using Value = KernelBuilder::Value;
using Values = KernelBuilder::Values;

LCQProduct::LCQProduct(KernelBuilder &k, const CPUTarget &target,
                       const LCQLinearOptions &options, func::FuncOp function,
                       int64_t sumRows)
    : LinearResult(k, options.epilogue, options.others,
                   LCQWeights::getResultArguments(function, options)),
      target(target), options(options),
      digits(LCQRowsLayout::getDigits(options.activations)),
      blockRows(LCQRowsLayout::getBlockRows(target, options.activations)),
      pieceGroups(options.getScaleGroups()) {
  int64_t bytes = pieceGroups * options.group * options.rank * k.lanes;
  pieceGroups *= std::max<int64_t>(1, kStagedBytes / (kStagedTiles * bytes));
  ArrayRef<BlockArgument> arguments = function.getArguments();
  workers = arguments[1];
  xq = k.flatten(arguments[3]);
  xScales = k.flatten(arguments[4]);
  xSums = k.flatten(arguments[5]);
  next = arguments.back();
  weights =
      LCQWeights::getAll(k, target, options, k.dim(arguments[2], 1), function);
  Type f32 = k.b.getF32Type();
  sums = k.scratch({options.weights, sumRows, LCQStream::kTileRows}, f32);
  staged = k.scratch(
      {kStagedTiles * options.rank, pieceGroups * getGroupUnits(), k.lanes * 4},
      k.b.getI8Type());
  stagedScales =
      k.scratch({kStagedTiles * pieceGroups * w().getPlanes(), k.lanes}, f32);
}

llvm::SmallVector<Values> LCQProduct::ofDigits(Values scales) {
  if (digits == 1)
    return {scales};
  Values high;
  for (Value scale : scales)
    high.push_back(k.mulf(scale, k.splat(256.0f)));
  return {high, scales};
}

Value LCQProduct::addGroup(RowBlock block, Value group, Value line,
                           llvm::function_ref<Value(int64_t, int64_t)> dot,
                           ArrayRef<Values> scales, Value total) {
  for (int64_t d = 0; d < digits; ++d) {
    for (int64_t r = 0; r < options.rank; ++r)
      total = k.fma(toFloat(dot(r, d)), scales[d][r], total);
    if (options.hasOffset()) {
      Value at = layout().getSum(block, group, k.add(line, d));
      total = k.fma(toFloat(k.broadcast(k.load(xSums, {at}))), scales[d].back(),
                    total);
    }
  }
  return total;
}

void LCQProduct::clearSums(int64_t number, Value slot, Value count) {
  k.loop(k.index(0), count, [&](Value row) {
    k.storeVector(k.splat(0.0f, LCQStream::kTileRows), sums,
                  {k.index(number), k.add(slot, row), k.index(0)});
  });
}

void LCQProduct::finish(RowBlock block, Value slot, const Part &part) {
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

void LCQProduct::stageSet(LCQWeights &w, Piece piece, Value group, Value set,
                          Value firstUnit) {
  auto units =
      w.loadSet(piece.part, group, set, target.getBlockPrefetchBytes());
  for (auto [u, unit] : llvm::enumerate(units))
    for (int64_t r = 0; r < options.rank; ++r)
      k.storeVector(
          w.lookUp(unit, r), staged,
          {placeOfRank(piece.place, r), k.add(firstUnit, u), k.index(0)});
}

void LCQProduct::stagePiece(LCQWeights &w, Piece piece) {
  int64_t setUnits = w.getSetColumns() / LCQStream::kUnitColumns;
  k.loop(piece.begin, piece.end, [&](Value group) {
    Value first = k.mul(k.sub(group, piece.begin), getGroupUnits());
    Value begin = w.getGroup(piece.part.tile, group);
    for (int64_t plane = 0; plane < w.getPlanes(); ++plane)
      k.storeVector(loadScales(w, piece.part, begin, plane), stagedScales,
                    {placeOfScales(piece, group, plane), k.index(0)});
    Value columns = k.sub(w.padded, k.mul(group, options.group));
    Value sets = k.min(k.index(w.getSets()), k.div(columns, w.getSetColumns()));
    k.loop(k.index(0), sets, [&](Value set) {
      stageSet(w, piece, begin, set, k.add(first, k.mul(set, setUnits)));
    });
  });
}
