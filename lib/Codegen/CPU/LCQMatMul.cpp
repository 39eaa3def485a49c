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

#include "LCQWeights.h"
#include "LinearOperands.h"
#include "llvm/Support/FormatVariadic.h"
#include <algorithm>

using namespace mlir;
using namespace nju;

using Value = KernelBuilder::Value;
using Values = KernelBuilder::Values;

/// Groups of at most so many columns have code without loops.
static constexpr int64_t kUnrolledColumns = 256;
/// Arguments before those of the first matrix, and of a matrix.
static constexpr int64_t kRowArguments = 6, kMatrixArguments = 3;

namespace {

/// Emits the body of `lcqLinear`.
class LCQEmitter : LinearResult {
public:
  LCQEmitter(KernelBuilder &k, const CPUTarget &target,
             const LCQLinearOptions &options, func::FuncOp function);
  void emit();

private:
  using Part = LCQWeights::Part;

  Values emitTiles(LCQWeights &w, Value row, ArrayRef<Part> parts);
  Values emitGroup(LCQWeights &w, Value row, Value group, ArrayRef<Part> parts,
                   Values sums, Value sets);
  Values emitSet(LCQWeights &w, Value row, Value group, ArrayRef<Part> parts,
                 Value set, Values dots);
  Value addGroup(LCQWeights &w, Value row, Value group, const Part &part,
                 ArrayRef<Value> dots, Value sum);
  Value toFloat(Value integers) {
    return arith::SIToFPOp::create(k.b, k.loc, k.vectorType(k.lanes), integers);
  }

  const CPUTarget &target;
  const LCQLinearOptions &options;
  Value workers, xq, xScales, xSums, next;
  std::vector<LCQWeights> weights;
};

} // namespace

LCQEmitter::LCQEmitter(KernelBuilder &k, const CPUTarget &target,
                       const LCQLinearOptions &options, func::FuncOp function)
    : LinearResult(
          k, options.epilogue, options.others,
          function.getArguments()
              .drop_front(kRowArguments + kMatrixArguments * options.weights)
              .drop_back()),
      target(target), options(options) {
  ArrayRef<BlockArgument> arguments = function.getArguments();
  workers = arguments[1];
  xq = arguments[3];
  xScales = arguments[4];
  xSums = arguments[5];
  next = arguments.back();
  Value depth = k.dim(arguments[2], 1);
  for (int64_t w = 0; w < options.weights; ++w)
    weights.emplace_back(k, target, options, depth,
                         arguments.slice(kRowArguments + kMatrixArguments * w,
                                         kMatrixArguments));
}

/// A set of each part's group times x: `dots` are [part][rank].
Values LCQEmitter::emitSet(LCQWeights &w, Value row, Value group,
                           ArrayRef<Part> parts, Value set, Values dots) {
  llvm::SmallVector<llvm::SmallVector<LCQWeights::Unit>> units;
  for (const Part &part : parts)
    units.push_back(w.loadSet(part, w.getGroup(part.tile, group), set));
  Value column =
      k.add(k.mul(group, options.group), k.mul(set, w.getSetColumns()));
  for (size_t u = 0; u < units.front().size(); ++u) {
    Value at = k.add(column, u * LCQStream::kUnitColumns);
    auto factor = w.bytes.loadFactor(xq, {row, at});
    for (size_t p = 0; p < parts.size(); ++p)
      for (int64_t r = 0; r < options.rank; ++r) {
        Value &dot = dots[p * options.rank + r];
        dot = w.bytes.dot(dot, w.lookUp(units[p][u], r), factor);
      }
  }
  return dots;
}

/// What a part's sum is with the dot products of a group.
Value LCQEmitter::addGroup(LCQWeights &w, Value row, Value group,
                           const Part &part, ArrayRef<Value> dots, Value sum) {
  Value begin = w.getGroup(part.tile, group), total;
  for (int64_t r = 0; r < options.rank; ++r) {
    Value scales = w.loadScales(part, begin, r), dot = toFloat(dots[r]);
    total = r ? k.fma(dot, scales, total) : k.mulf(dot, scales);
  }
  if (options.offset) {
    // The sums of x are there times -128.
    Value offsets =
        k.mulf(w.loadScales(part, begin, options.rank), k.splat(1.0f / 128));
    Value xSum = toFloat(k.broadcast(k.load(xSums, {row, group})));
    total = k.fma(xSum, offsets, total);
  }
  return k.fma(total, k.broadcast(k.load(xScales, {row, group})), sum);
}

/// A group of `sets` sets; without `sets`, a full one.
Values LCQEmitter::emitGroup(LCQWeights &w, Value row, Value group,
                             ArrayRef<Part> parts, Values sums, Value sets) {
  Value start = w.bytes.start(k.load(xSums, {row, group}));
  Values dots(parts.size() * options.rank, start);
  if (!sets && options.group <= kUnrolledColumns) {
    for (int64_t s = 0; s < w.getSets(); ++s)
      dots = emitSet(w, row, group, parts, k.index(s), dots);
  } else {
    dots = k.loop(k.index(0), sets ? sets : k.index(w.getSets()), k.index(1),
                  dots, [&](Value s, Values dots) {
                    return emitSet(w, row, group, parts, s, dots);
                  });
  }
  for (auto [p, part] : llvm::enumerate(parts))
    sums[p] =
        addGroup(w, row, group, part,
                 ArrayRef(dots).slice(p * options.rank, options.rank), sums[p]);
  return sums;
}

/// One row of x times the rows of weights in some parts.
Values LCQEmitter::emitTiles(LCQWeights &w, Value row, ArrayRef<Part> parts) {
  Value full = k.div(w.padded, options.group);
  Value restColumns = k.sub(w.padded, k.mul(full, options.group));
  Value restSets = k.div(restColumns, w.getSetColumns());
  auto emitGroups = [&](Value first, Value last, Value sets, Values sums) {
    return k.loop(first, last, k.index(1), sums, [&](Value group, Values sums) {
      return emitGroup(w, row, group, parts, sums, sets);
    });
  };
  Values sums(parts.size(), k.splat(0.0f));
  sums = emitGroups(k.index(0), full, nullptr, sums);
  return emitGroups(full, w.groups, restSets, sums);
}

void LCQEmitter::emit() {
  // The dot products fill a quarter of the registers; tables, codes and what is
  // looked up need the others.
  int64_t partsOfTile = weights.front().getParts();
  int64_t most = target.getVectorRegisters() / 4 / (options.rank * partsOfTile);
  int64_t streams = std::clamp<int64_t>(most, 1, target.getReadStreams());
  Value tiles = k.ceilDiv(columns, LCQStream::kTileRows);
  k.dealApart(tiles, streams, next, workers, [&](ArrayRef<Value> tiles) {
    llvm::SmallVector<Part> parts;
    for (Value tile : tiles)
      for (int64_t p = 0; p < partsOfTile; ++p)
        parts.push_back({tile, p * k.lanes});
    k.loop(k.index(0), rows, [&](Value row) {
      llvm::SmallVector<Values> sums;
      for (LCQWeights &w : weights)
        sums.push_back(emitTiles(w, row, parts));
      for (auto [p, part] : llvm::enumerate(parts)) {
        Value column = k.add(k.mul(part.tile, LCQStream::kTileRows), part.lane);
        Values products;
        for (const Values &own : sums)
          products.push_back(own[p]);
        store(products, row, column, maskOf(column));
      }
    });
  });
}

static std::string linearName(const LCQLinearOptions &options) {
  std::string name =
      llvm::formatv("nju_lcq_linear_{0}x{1}x{2}x{3}", options.bits,
                    options.group, options.rank, options.scaleBits);
  if (options.offset)
    name += "_offset";
  if (options.weights > 1)
    name += "_pair";
  return name;
}

func::FuncOp KernelLibrary::lcqLinear(const LCQLinearOptions &options) {
  assert(options.isValid() && supportsLCQ() && "no such kernel");
  std::string name = nameWithEpilogue(linearName(options), options.epilogue,
                                      options.others, epilogues);
  if (func::FuncOp known = lookup(name))
    return known;
  Builder types(module.getContext());
  Type index = types.getIndexType(), f32 = types.getF32Type(),
       i8 = types.getI8Type();
  llvm::SmallVector<Type> arguments = {index,
                                       index,
                                       dynamicMemRef(2, f32),
                                       dynamicMemRef(2, i8),
                                       dynamicMemRef(2, f32),
                                       dynamicMemRef(2, types.getI32Type())};
  for (int64_t w = 0; w < options.weights; ++w)
    arguments.append(
        {dynamicMemRef(1, i8), dynamicMemRef(2, i8), dynamicMemRef(2, f32)});
  for (int64_t rank : options.others)
    arguments.push_back(dynamicMemRef(rank, f32));
  arguments.push_back(dynamicMemRef(2, f32));
  arguments.push_back(dynamicMemRef(1, types.getI64Type()));
  func::FuncOp function = create(name, arguments);
  OpBuilder builder = OpBuilder::atBlockBegin(function.addEntryBlock());
  KernelBuilder k(builder, module.getLoc(), target.getVectorLanes());
  LCQEmitter(k, target, options, function).emit();
  func::ReturnOp::create(k.b, k.loc);
  return function;
}
