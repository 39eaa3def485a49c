//===- Checks.cpp - Checks of sizes and indices at run time -----*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Shape inference assumes that sizes are equal where the graph makes sense only
// then, and the lowering counts on it. The caller of a graph can break that:
// where two such sizes are not the same value, the run compares them.
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"
#include "nju/Dialect/Exec/IR/Exec.h"

using namespace mlir;
using namespace nju::lowering;

/// "node 'decoder/Add_3 (Add)'"; what was made of several nodes has the name of
/// one of them.
static std::string describeNode(Location loc) {
  auto name = loc->findInstanceOf<NameLoc>();
  return name ? "node '" + name.getName().str() + "'" : "a node";
}

void Lowering::check(Value condition, llvm::StringRef message, Value first,
                     Value second) {
  if (!hasChecks() || isConstantIntValue(condition, 1))
    return;
  std::string text = describeNode(b.getLoc()) + ": " + message.str();
  nju::exec::CheckOp::create(b, condition, text, first, second);
}

void Lowering::checkCompare(arith::CmpIPredicate predicate, Value lhs,
                            Value rhs, llvm::StringRef message) {
  std::optional<int64_t> left = getConstantIntValue(lhs),
                         right = getConstantIntValue(rhs);
  bool holds = left && right &&
               arith::applyCmpPredicate(predicate, llvm::APInt(64, *left, true),
                                        llvm::APInt(64, *right, true));
  if (!hasChecks() || holds ||
      (lhs == rhs && predicate == arith::CmpIPredicate::eq) ||
      !checked.insert({static_cast<int>(predicate), lhs, rhs}).second)
    return;
  check(b.createOrFold<arith::CmpIOp>(predicate, lhs, rhs), message, lhs, rhs);
}

void Lowering::checkEqual(Value size, Value expected) {
  checkCompare(arith::CmpIPredicate::eq, size, expected,
               "found a size of {0}, expected {1}");
}

void Lowering::checkBroadcast(Value size, Value expected) {
  constexpr int key = -1;
  if (!hasChecks() || size == expected || isConstantIntValue(size, 1))
    return;
  if (getConstantIntValue(size) || isConstantIntValue(expected, 1))
    return checkEqual(size, expected);
  if (!checked.insert({key, size, expected}).second)
    return;
  Value single =
      arith::CmpIOp::create(b, arith::CmpIPredicate::eq, size, index(1));
  Value same =
      arith::CmpIOp::create(b, arith::CmpIPredicate::eq, size, expected);
  check(arith::OrIOp::create(b, single, same),
        "cannot broadcast a size of {0} to {1}", size, expected);
}

void Lowering::checkLoops(llvm::SmallVector<Value> loops,
                          ArrayRef<Value> inputs, ArrayRef<AffineMap> maps) {
  for (auto [input, map] : llvm::zip(inputs, maps))
    for (auto [expr, size] : llvm::zip(map.getResults(), dims(input))) {
      auto loop = dyn_cast<AffineDimExpr>(expr);
      if (!loop)
        continue;
      Value &expected = loops[loop.getPosition()];
      if (expected)
        checkEqual(size, expected);
      else
        expected = size;
    }
}

void Lowering::checkClaims(Value tensor) {
  auto it = claims.find(tensor);
  if (it == claims.end())
    return;
  llvm::SmallVector<Claim, 1> made = std::move(it->second);
  claims.erase(it);
  Location here = b.getLoc();
  for (const Claim &claim : made) {
    b.setLoc(claim.loc);
    checkEqual(claim.size, claim.expected);
  }
  b.setLoc(here);
}

//===----------------------------------------------------------------------===//
// Indices
//===----------------------------------------------------------------------===//

/// An index that must not be too low and one that must not be too high.
using IndexRange = std::pair<Value, Value>;

/// The least and the greatest of the indices; 0 and -1 if there are none.
static IndexRange computeRange(Lowering &lowering, Value indices) {
  auto type = cast<RankedTensorType>(indices.getType());
  auto axes = llvm::to_vector(llvm::seq<int64_t>(0, type.getRank()));
  auto extreme = [&](int64_t start, Lowering::Body body) {
    TypedAttr init = lowering.b.getIntegerAttr(type.getElementType(), start);
    Value result = lowering.reduce(indices, axes, init, body);
    return lowering.toIndex(lowering.elements(result)[0]);
  };
  Value least = extreme(0, [](ImplicitLocOpBuilder &b, ValueRange x) -> Value {
    return arith::MinSIOp::create(b, x[0], x[1]);
  });
  Value most = extreme(-1, [](ImplicitLocOpBuilder &b, ValueRange x) -> Value {
    return arith::MaxSIOp::create(b, x[0], x[1]);
  });
  return {least, most};
}

static llvm::SmallVector<IndexRange> indexRanges(Lowering &lowering,
                                                 Value indices) {
  DenseIntElementsAttr constant;
  if (matchPattern(indices, m_Constant(&constant))) {
    int64_t least = 0, most = -1;
    for (const llvm::APInt &index : constant.getValues<llvm::APInt>()) {
      least = std::min(least, index.getSExtValue());
      most = std::max(most, index.getSExtValue());
    }
    return {{lowering.index(least), lowering.index(most)}};
  }
  auto known = lowering.known(indices);
  if (!known)
    return {computeRange(lowering, indices)};
  return llvm::map_to_vector(*known, [&](Value element) {
    Value index = lowering.toIndex(element);
    return IndexRange(index, index);
  });
}

void Lowering::checkIndices(Value indices, Value size) {
  if (!hasChecks())
    return;
  constexpr llvm::StringLiteral message =
      "index {0} is out of range for a size of {1}";
  Value lowest = sub(index(0), size);
  for (auto [least, most] : indexRanges(*this, indices)) {
    auto low = getConstantIntValue(least);
    if (!low || *low < 0) {
      Value inside = b.createOrFold<arith::CmpIOp>(arith::CmpIPredicate::sge,
                                                   least, lowest);
      check(inside, message, least, size);
    }
    auto high = getConstantIntValue(most);
    if (!high || *high >= 0)
      checkCompare(arith::CmpIPredicate::slt, most, size, message);
  }
}
