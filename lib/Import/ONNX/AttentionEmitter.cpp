//===- AttentionEmitter.cpp - What attention ops are made of --------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "AttentionEmitter.h"
#include <cmath>

using namespace mlir;
using namespace nju;
using namespace nju::onnx_import;

static constexpr double kInfinity = std::numeric_limits<double>::infinity();

//===----------------------------------------------------------------------===//
// Heads
//===----------------------------------------------------------------------===//

Value nju::onnx_import::splitHeads(NodeImporter &node, Value value,
                                   int64_t heads) {
  std::optional<int64_t> hidden = node.staticDim(value, 2);
  if (heads <= 0 || (hidden && *hidden % heads != 0)) {
    if (value)
      node.emitError() << "has " << heads << " heads for an input of "
                       << value.getType()
                       << ", expected a divisor of the last dimension";
    return {};
  }
  return node.reshape(value, {0, 0, heads, hidden ? *hidden / heads : -1});
}

Value nju::onnx_import::mergeHeads(NodeImporter &node, Value value) {
  std::optional<int64_t> heads = node.staticDim(value, 2);
  std::optional<int64_t> width = node.staticDim(value, 3);
  return node.reshape(value, {0, 0, heads && width ? *heads * *width : -1});
}

Value nju::onnx_import::swapHeadsAndTokens(NodeImporter &node, Value value) {
  return node.transpose(value, {0, 2, 1, 3});
}

bool nju::onnx_import::checkPast(NodeImporter &node, Value pastKey,
                                 Value pastValue) {
  if (!pastKey == !pastValue)
    return true;
  node.emitError() << "has only one of past_key and past_value";
  return false;
}

/// Repeats each of G heads so that there are `heads`.
static Value repeatHeads(NodeImporter &node, Value value, int64_t heads) {
  std::optional<int64_t> groups = node.staticDim(value, 1);
  if (!groups || *groups == heads)
    return value;
  Value repeated = node.create<BroadcastToOp>(
      {node.unsqueeze(value, {2}),
       node.constant({1, 1, heads / *groups, 1, 1})});
  return node.reshape(repeated,
                      {0, heads, -1, node.staticDim(value, 3).value_or(-1)});
}

//===----------------------------------------------------------------------===//
// Rotary embeddings
//===----------------------------------------------------------------------===//

/// A table of `[.., R/2]`, one number a pair, as `[.., R]`, one an element.
static Value duplicatePairs(NodeImporter &node, Value table, bool interleaved) {
  int64_t rank = node.rank(table);
  if (!interleaved)
    return node.concat({table, table}, rank - 1);
  std::optional<int64_t> half = node.staticDim(table, rank - 1);
  SmallVector<int64_t> twice(rank + 1, 1), shape(rank, 0);
  twice.back() = 2;
  shape.back() = half ? 2 * *half : -1;
  Value repeated = node.create<BroadcastToOp>(
      {node.unsqueeze(table, {rank}), node.constant(twice)});
  return node.reshape(repeated, shape);
}

Value nju::onnx_import::emitRotaryEmbedding(NodeImporter &node, Value input,
                                            Value cos, Value sin,
                                            bool interleaved, int64_t heads) {
  bool isFlat = node.rank(input) == 3;
  if (isFlat)
    input = splitHeads(node, input, heads);
  else if (!node.checkRank(input, 4, "input 0"))
    return {};
  int64_t headAxis = isFlat ? 2 : 1;
  auto prepare = [&](Value table) {
    return node.unsqueeze(duplicatePairs(node, table, interleaved), {headAxis});
  };
  SmallVector<NamedAttribute> attributes;
  if (interleaved)
    attributes.push_back(node.unit("interleaved"));
  Value result =
      node.create<RopeOp>({input, prepare(cos), prepare(sin)}, attributes);
  return isFlat ? mergeHeads(node, result) : result;
}

Value nju::onnx_import::lookUpRows(NodeImporter &node, Value table,
                                   Value positions) {
  return node.create<GatherOp>({table, positions}, node.i64("axis", 0));
}

bool nju::onnx_import::checkRotaryTables(NodeImporter &node, Value input,
                                         int64_t heads, Value cos) {
  int64_t width = node.intAttr("rotary_embedding_dim", 0);
  std::optional<int64_t> half = node.staticDim(cos, node.rank(cos) - 1);
  if (width == 0 && node.rank(input) == 4)
    width = node.staticDim(input, 3).value_or(0);
  else if (width == 0 && heads > 0)
    width = node.staticDim(input, 2).value_or(0) / heads;
  if (half && 2 * *half == width)
    return true;
  if (input && cos)
    node.emitError() << "rotates " << width << " elements of "
                     << input.getType() << " by tables of " << cos.getType()
                     << ", expected a last dimension of half of that";
  return false;
}

//===----------------------------------------------------------------------===//
// AttentionEmitter
//===----------------------------------------------------------------------===//

bool AttentionEmitter::setOperands(Value newQuery, Value newKey,
                                   Value newValue) {
  query = newQuery;
  key = newKey;
  value = newValue;
  if (!query || !key || !value)
    return false;
  std::optional<int64_t> queryHeads = node.staticDim(query, 1);
  std::optional<int64_t> keyHeads = node.staticDim(key, 1);
  std::optional<int64_t> headDim = node.staticDim(query, 3);
  if (!queryHeads || !keyHeads || !headDim || *keyHeads <= 0 || *headDim <= 0 ||
      *queryHeads % *keyHeads != 0) {
    node.emitError() << "has query " << query.getType() << " and key "
                     << key.getType()
                     << ", expected a static size and numbers of heads, those "
                     << "of the query a multiple of the key's";
    return false;
  }
  heads = *queryHeads;
  isSelfAttention = node.dims(query)[2] == node.dims(key)[2];
  if (!scale)
    scale = 1 / std::sqrt(static_cast<double>(*headDim));
  return true;
}

void AttentionEmitter::appendTo(Value pastKey, Value pastValue) {
  if (!pastKey || !node.checkSameType({key, pastKey, pastValue}))
    return;
  offset = node.dimScalar(pastKey, 2);
  key = node.concat({pastKey, key}, 2);
  value = node.concat({pastValue, value}, 2);
}

void AttentionEmitter::addBias(Value addend) {
  bias = bias ? node.create<AddOp>({bias, addend}) : addend;
}

void AttentionEmitter::allow(Value allowed) { allow(allowed, -kInfinity); }

void AttentionEmitter::allow(Value allowed, double otherwise) {
  if (!allowed || node.hasFailed())
    return;
  addBias(node.create<SelectOp>(
      {allowed, node.scalarLike(query, 0), node.scalarLike(query, otherwise)},
      {}, node.elementType(query)));
}

void AttentionEmitter::addCausality(std::optional<int64_t> window) {
  if (node.hasFailed())
    return;
  if (isSelfAttention && softcap == 0 && !window) {
    hasCausalFlag = true;
    return;
  }
  Value rows = node.unsqueeze(node.iota(node.dimScalar(query, 2)), {1});
  Value last = offset ? node.create<AddOp>({rows, offset}) : rows;
  Value keys = node.iota(node.dimScalar(key, 2));
  allow(node.compare(ComparePredicate::le, keys, last));
  if (window)
    allow(node.compare(
        ComparePredicate::gt, keys,
        node.create<SubOp>({last, node.scalarLike(last, double(*window))})));
}

Value AttentionEmitter::emit() {
  if (softcap != 0)
    return emitDecomposed();
  SmallVector<Value> operands{query, key, value};
  if (bias)
    operands.push_back(bias);
  SmallVector<NamedAttribute> attributes{node.f64("scale", *scale)};
  if (hasCausalFlag)
    attributes.push_back(node.unit("causal"));
  return node.create<AttentionOp>(operands, attributes);
}

/// With a cap on the scores, which nju.attention does not have.
Value AttentionEmitter::emitDecomposed() {
  Value keys = node.transpose(repeatHeads(node, key, heads), {0, 1, 3, 2});
  Value scores = node.create<MatMulOp>({query, keys});
  scores = node.create<MulOp>({scores, node.scalarLike(query, *scale)});
  Value cap = node.scalarLike(query, softcap);
  scores = node.create<MulOp>(
      {node.create<TanhOp>(node.create<DivOp>({scores, cap})), cap});
  if (bias)
    scores = node.create<AddOp>({scores, bias});
  Value weights = node.create<SoftmaxOp>(scores, node.i64("axis", 3));
  // A query that sees no key gets zeros.
  Value seesNone = node.compare(ComparePredicate::eq,
                                node.reduce<ReduceMaxOp>(scores, {3}, true),
                                node.scalarLike(query, -kInfinity));
  weights =
      node.create<SelectOp>({seesNone, node.scalarLike(query, 0), weights}, {},
                            node.elementType(query));
  return node.create<MatMulOp>({weights, repeatHeads(node, value, heads)});
}
