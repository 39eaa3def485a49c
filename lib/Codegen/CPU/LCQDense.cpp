//===- LCQDense.cpp - LCQ products with x in f32 ----------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Weights are dequantized to f32, bit for bit those of the dense matrix: a
// column of a tile is a register. One row multiplies them at once; for several
// rows as many as a group has, and at most 256, are kept in L1, and a block of
// rows adds their products to its sums in registers.
//
// An element is a chain of fused multiply-adds in ascending k either way.
//
//===----------------------------------------------------------------------===//

#include "LCQDense.h"
#include "LCQWeights.h"
#include "LinearOperands.h"

using namespace mlir;
using namespace nju;

using Value = KernelBuilder::Value;
using Values = KernelBuilder::Values;

/// Columns that are kept at once, at most.
static constexpr int64_t kStagedColumns = 256;
/// Rows of a block: their addresses have to be in registers, too.
static constexpr int64_t kBlockRows = 6;
/// Blocks of rows whose sums are kept for a tile.
static constexpr int64_t kStagedBlocks = 96;

namespace {

/// Emits the body of `lcqLinear` with x in f32.
class DenseEmitter : LinearResult {
public:
  DenseEmitter(KernelBuilder &k, const CPUTarget &target,
               const LCQLinearOptions &options, func::FuncOp function);
  void emit();

private:
  using Part = LCQWeights::Part;

  Value countSets(LCQWeights &w, Value group, bool whole);

  Value sumOneRow(LCQWeights &w, const Part &part);
  void stage(LCQWeights &w, const Part &part, Value group, Value begin,
             Value end, ArrayRef<Value> scales);
  void addBlocks(Value number, Value first, Value last, Value column,
                 Value count);
  void emitPart(const Part &part, Value first, Value last);
  void storeBlocks(const Part &part, Value first, Value last);
  Value broadcastX(Value row, Value column) {
    return k.broadcast(k.load(x, {row, column}));
  }

  const CPUTarget &target;
  const LCQLinearOptions &options;
  int64_t stagedSets; ///< Sets of columns that are kept at once.
  Value workers, x, next, depth;
  std::vector<LCQWeights> weights;
  Value staged; ///< Columns of weights, [columns, lanes].
  Value sums;   ///< [weights, rows, lanes]
};

} // namespace

DenseEmitter::DenseEmitter(KernelBuilder &k, const CPUTarget &target,
                           const LCQLinearOptions &options,
                           func::FuncOp function)
    : LinearResult(k, options.epilogue, options.others,
                   LCQWeights::getResultArguments(function, options)),
      target(target), options(options),
      stagedSets(std::min(options.group, kStagedColumns) /
                 options.getLineColumns()) {
  ArrayRef<BlockArgument> arguments = function.getArguments();
  workers = arguments[1];
  x = arguments[2];
  next = arguments.back();
  depth = k.dim(x, 1);
  weights = LCQWeights::getAll(k, target, options, depth, function);
  Type f32 = k.b.getF32Type();
  staged = k.scratch({stagedSets * options.getLineColumns(), k.lanes}, f32);
  sums = k.scratch({options.weights, kStagedBlocks * kBlockRows, k.lanes}, f32);
}

/// Sets of a group; `whole`: of those, the ones whose columns are all there.
Value DenseEmitter::countSets(LCQWeights &w, Value group, bool whole) {
  Value begin = k.mul(group, options.group);
  Value columns = k.sub(whole ? depth : w.padded, begin);
  return k.min(k.index(w.getSets()), k.div(columns, w.getSetColumns()));
}

/// The only row times the rows of weights in a part.
Value DenseEmitter::sumOneRow(LCQWeights &w, const Part &part) {
  Value row = k.index(0);
  auto addGroup = [&](Value group, Values sums) {
    Values scales = w.loadDenseScales(part, w.getGroup(part.tile, group));
    Value begin = k.mul(group, options.group);
    Value whole = countSets(w, group, true);
    sums = k.loop(
        k.index(0), whole, k.index(1), sums, [&](Value set, Values sums) {
          Value column = k.add(begin, k.mul(set, w.getSetColumns()));
          Values columns = w.dequantize(part, w.getGroup(part.tile, group), set,
                                        scales, target.getPrefetchBytes());
          for (auto [j, weight] : llvm::enumerate(columns))
            sums[0] = k.fma(broadcastX(row, k.add(column, j)), weight, sums[0]);
          return sums;
        });
    // The last set may have fewer columns.
    Value column = k.add(begin, k.mul(whole, w.getSetColumns()));
    k.ifThen(k.less(whole, countSets(w, group, false)),
             [&] { stage(w, part, group, whole, k.add(whole, 1), scales); });
    Value count = k.select(k.less(whole, countSets(w, group, false)),
                           k.sub(depth, column), k.index(0));
    return k.loop(k.index(0), count, k.index(1), sums,
                  [&](Value j, Values sums) {
                    Value weight = k.loadVector(staged, {j, k.index(0)});
                    return Values{k.fma(broadcastX(row, k.add(column, j)),
                                        weight, sums[0])};
                  });
  };
  return k.loop(k.index(0), w.groups, k.index(1), {k.splat(0.0f)}, addGroup)[0];
}

/// Keeps the columns of the sets [begin, end) of a group.
void DenseEmitter::stage(LCQWeights &w, const Part &part, Value group,
                         Value begin, Value end, ArrayRef<Value> scales) {
  k.loop(begin, end, [&](Value set) {
    Value first = k.mul(k.sub(set, begin), w.getSetColumns());
    Values columns = w.dequantize(part, w.getGroup(part.tile, group), set,
                                  scales, target.getPrefetchBytes());
    for (auto [j, weight] : llvm::enumerate(columns))
      k.storeVector(weight, staged, {k.add(first, j), k.index(0)});
  });
}

/// Adds the products of the `count` columns of x from `column` on, whose
/// weights are kept, to the sums of the blocks [first, last) of rows.
void DenseEmitter::addBlocks(Value number, Value first, Value last,
                             Value column, Value count) {
  Value blocks = k.ceilDiv(rows, kBlockRows), zero = k.index(0);
  k.loop(first, last, [&](Value b) {
    RowBlock block = rowBlock(k, rows, blocks, b);
    Value slot = k.mul(k.sub(b, first), kBlockRows);
    k.switchOn(block.size, 1, kBlockRows, [&](int64_t size) {
      Values own;
      for (int64_t r = 0; r < size; ++r)
        own.push_back(k.loadVector(sums, {number, k.add(slot, r), zero}));
      own = k.loop(zero, count, k.index(1), own, [&](Value j, Values own) {
        Value weight = k.loadVector(staged, {j, zero});
        for (int64_t r = 0; r < size; ++r)
          own[r] = k.fma(broadcastX(k.add(block.begin, r), k.add(column, j)),
                         weight, own[r]);
        return own;
      });
      for (int64_t r = 0; r < size; ++r)
        k.storeVector(own[r], sums, {number, k.add(slot, r), zero});
    });
  });
}

/// Several rows, the blocks [first, last) of them, times a part.
void DenseEmitter::emitPart(const Part &part, Value first, Value last) {
  Value used = k.mul(k.sub(last, first), kBlockRows);
  for (auto [i, w] : llvm::enumerate(weights)) {
    Value number = k.index(i);
    k.loop(k.index(0), used, [&](Value row) {
      k.storeVector(k.splat(0.0f), sums, {number, row, k.index(0)});
    });
    k.loop(k.index(0), w.groups, [&, &w = w](Value group) {
      Values scales = w.loadDenseScales(part, w.getGroup(part.tile, group));
      Value sets = countSets(w, group, false);
      k.loop(k.index(0), sets, k.index(stagedSets), [&](Value begin) {
        Value end = k.min(k.add(begin, stagedSets), sets);
        stage(w, part, group, begin, end, scales);
        Value column =
            k.add(k.mul(group, options.group), k.mul(begin, w.getSetColumns()));
        Value count = k.min(k.mul(k.sub(end, begin), w.getSetColumns()),
                            k.sub(depth, column));
        addBlocks(number, first, last, column, count);
      });
    });
  }
  storeBlocks(part, first, last);
}

/// Stores what becomes of the sums of the blocks [first, last).
void DenseEmitter::storeBlocks(const Part &part, Value first, Value last) {
  Value blocks = k.ceilDiv(rows, kBlockRows);
  Value column = k.add(k.mul(part.tile, LCQStream::kTileRows), part.lane);
  Value mask = maskOf(column);
  k.loop(first, last, [&](Value b) {
    RowBlock block = rowBlock(k, rows, blocks, b);
    Value slot = k.mul(k.sub(b, first), kBlockRows);
    k.loop(k.index(0), block.size, [&](Value r) {
      Values products;
      for (int64_t i = 0; i < options.weights; ++i)
        products.push_back(
            k.loadVector(sums, {k.index(i), k.add(slot, r), k.index(0)}));
      store(products, k.add(block.begin, r), column, mask);
    });
  });
}

void DenseEmitter::emit() {
  Value tiles = k.ceilDiv(columns, LCQStream::kTileRows);
  Value blocks = k.ceilDiv(rows, kBlockRows);
  auto forParts = [&](llvm::function_ref<void(const Part &)> body) {
    k.deal(tiles, next, workers, [&](Value tile) {
      for (int64_t p = 0; p < weights.front().getParts(); ++p)
        body({tile, p * k.lanes});
    });
  };
  auto emitOne = [&](const Part &part) {
    Values products;
    for (LCQWeights &w : weights)
      products.push_back(sumOneRow(w, part));
    Value column = k.add(k.mul(part.tile, LCQStream::kTileRows), part.lane);
    store(products, k.index(0), column, maskOf(column));
  };
  auto emitSeveral = [&](const Part &part) {
    k.loop(k.index(0), blocks, k.index(kStagedBlocks), [&](Value first) {
      emitPart(part, first, k.min(k.add(first, kStagedBlocks), blocks));
    });
  };
  k.ifThenElse(
      k.equal(rows, 1), [&] { forParts(emitOne); },
      [&] { forParts(emitSeveral); });
}

void nju::emitDenseLCQLinear(KernelBuilder &k, const CPUTarget &target,
                             const LCQLinearOptions &options,
                             func::FuncOp function) {
  DenseEmitter(k, target, options, function).emit();
}
