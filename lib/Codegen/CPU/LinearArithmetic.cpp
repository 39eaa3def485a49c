//===- LinearArithmetic.cpp - What products are summed with -----*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "LinearArithmetic.h"
#include "nju/Dialect/NJU/IR/NJU.h"

using namespace mlir;
using namespace nju;

using Value = LinearArithmetic::Value;
using Values = LinearArithmetic::Values;

void LinearArithmetic::stage(Value weights, Value staged, Value step,
                             Value column) {
  vector::StoreOp::create(k.b, k.loc, weights, staged,
                          ValueRange{step, k.mul(column, rows)});
}

Value LinearArithmetic::loadStaged(Value staged, Value step, Value column) {
  return vector::LoadOp::create(k.b, k.loc,
                                VectorType::get({k.lanes * rows}, type), staged,
                                ValueRange{step, k.mul(column, rows)});
}

namespace {

/// Fused multiply-adds in f32.
class FMAArithmetic : public LinearArithmetic {
public:
  FMAArithmetic(KernelBuilder &k) : LinearArithmetic(k, 1, k.b.getF32Type()) {}

  Values loadWeights(Value w, ArrayRef<LinearColumns> tile, Value step,
                     bool) override {
    Values weights;
    for (const LinearColumns &vector : tile)
      weights.push_back(k.loadVector(w, {vector.panel, step, vector.begin}));
    return weights;
  }
  Value loadFactor(Value packed, Value at) override {
    return k.broadcast(k.load(packed, {at}));
  }
  Value loadOnlyFactor(Value x, Value step, bool) override {
    return k.broadcast(k.load(x, {k.index(0), step}));
  }
  Value multiplyAdd(Value factor, Value weights, Value sum) override {
    return k.fma(factor, weights, sum);
  }
  void packFactor(Value x, Value row, Value step, bool, Value packed,
                  Value at) override {
    k.store(k.load(x, {row, step}), packed, {at});
  }
};

/// VDPBF16PS: two rows at once in bf16, the second of them added first. A lane
/// of the factor and of the weights is a pair of elements, one of each row.
class PairArithmetic : public LinearArithmetic {
public:
  PairArithmetic(KernelBuilder &k)
      : LinearArithmetic(k, 2, k.b.getBF16Type()),
        pairs(VectorType::get({kPanelColumns}, k.b.getBF16Type())),
        words(pairs.clone(k.b.getI16Type())) {}

  Values loadWeights(Value w, ArrayRef<LinearColumns> tile, Value step,
                     bool partial) override;
  Value loadFactor(Value packed, Value at) override {
    auto pair = VectorType::get({2}, k.b.getBF16Type());
    auto word = VectorType::get({1}, k.b.getI32Type());
    Value loaded = vector::LoadOp::create(k.b, k.loc, pair, packed,
                                          ValueRange{k.mul(at, 2)});
    return spread(vector::ExtractOp::create(
        k.b, k.loc, vector::BitCastOp::create(k.b, k.loc, word, loaded), 0));
  }
  Value loadOnlyFactor(Value x, Value step, bool partial) override {
    return spread(pairOf(x, k.index(0), step, partial));
  }
  Value multiplyAdd(Value factor, Value weights, Value sum) override {
    return k.intrinsic("llvm.x86.avx512bf16.dpbf16ps.512", sum.getType(),
                       {sum, weights, factor});
  }
  void packFactor(Value x, Value row, Value step, bool partial, Value packed,
                  Value at) override {
    auto word = VectorType::get({1}, k.b.getI32Type());
    auto pair = VectorType::get({2}, k.b.getBF16Type());
    Value made = vector::BroadcastOp::create(k.b, k.loc, word,
                                             pairOf(x, row, step, partial));
    k.storeVector(vector::BitCastOp::create(k.b, k.loc, pair, made), packed,
                  {k.mul(at, 2)});
  }

private:
  Value zero(Type type) {
    return arith::ConstantOp::create(k.b, k.loc, k.b.getZeroAttr(type));
  }
  Value pairOf(Value x, Value row, Value step, bool partial);
  Value spread(Value pair);
  Value panelRow(Value w, Value panel, Value row);

  VectorType pairs;
  /// What is moved between lanes: LLVM moves bf16 by way of f32 on targets that
  /// cannot compute with it, as those that emulate it.
  VectorType words;
};

} // namespace

/// A step of a row of x, in bf16, as one i32.
Value PairArithmetic::pairOf(Value x, Value row, Value step, bool partial) {
  Value at = k.mul(step, 2), wide = k.splat(0.0f);
  for (int64_t i = 0; i < 2 - partial; ++i)
    wide = vector::InsertOp::create(k.b, k.loc, k.load(x, {row, k.add(at, i)}),
                                    wide, i);
  auto lanes = VectorType::get({kPanelColumns / 2}, k.b.getI32Type());
  Value narrow = k.toBF16(wide, k.splat(0.0f));
  return vector::ExtractOp::create(
      k.b, k.loc, vector::BitCastOp::create(k.b, k.loc, lanes, narrow), 0);
}

/// The pair, an i32, in every lane.
Value PairArithmetic::spread(Value pair) {
  Value all = vector::BroadcastOp::create(
      k.b, k.loc, VectorType::get({k.lanes}, k.b.getI32Type()), pair);
  return vector::BitCastOp::create(k.b, k.loc, pairs, all);
}

Value PairArithmetic::panelRow(Value w, Value panel, Value row) {
  Value loaded = vector::LoadOp::create(k.b, k.loc, pairs, w,
                                        ValueRange{panel, row, k.index(0)});
  return vector::BitCastOp::create(k.b, k.loc, words, loaded);
}

Values PairArithmetic::loadWeights(Value w, ArrayRef<LinearColumns> tile,
                                   Value step, bool partial) {
  Value first = k.mul(step, 2), second = k.add(first, 1);
  bool narrow = cast<MemRefType>(w.getType()).getElementType().isBF16();
  Values weights;
  for (size_t v = 0; v < tile.size(); v += 2) {
    Value panel = tile[v].panel;
    Value rows[2] = {zero(words), zero(words)};
    for (int64_t i = 0; narrow && i < 2 - partial; ++i)
      rows[i] = panelRow(w, panel, i ? second : first);
    for (int64_t half = 0; half < 2; ++half) {
      Value low = rows[0], high = rows[1];
      int64_t lowBegin = half * k.lanes, highBegin = kPanelColumns + lowBegin;
      if (!narrow) {
        Value column = k.index(half * k.lanes);
        Value a = k.loadVector(w, {panel, first, column});
        Value b =
            partial ? k.splat(0.0f) : k.loadVector(w, {panel, second, column});
        low = high =
            vector::BitCastOp::create(k.b, k.loc, words, k.toBF16(a, b));
        lowBegin = 0;
        highBegin = k.lanes;
      }
      llvm::SmallVector<int64_t> order;
      for (int64_t lane = 0; lane < k.lanes; ++lane)
        order.append({lowBegin + lane, highBegin + lane});
      Value mixed = vector::ShuffleOp::create(k.b, k.loc, low, high, order);
      weights.push_back(vector::BitCastOp::create(k.b, k.loc, pairs, mixed));
    }
  }
  return weights;
}

std::unique_ptr<LinearArithmetic> LinearArithmetic::create(KernelBuilder &k,
                                                           LinearUnit unit) {
  if (unit == LinearUnit::Pairs)
    return std::make_unique<PairArithmetic>(k);
  return std::make_unique<FMAArithmetic>(k);
}
