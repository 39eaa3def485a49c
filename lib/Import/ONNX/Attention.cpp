//===- Attention.cpp - Attention and rotary embeddings of ONNX -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "NodeImporter.h"
#include <cmath>

using namespace mlir;
using namespace nju;
using namespace nju::onnx_import;

//===----------------------------------------------------------------------===//
// Heads
//===----------------------------------------------------------------------===//

/// `[B, S, heads * D]` as `[B, S, heads, D]`.
static Value splitHeads(NodeImporter &node, Value value, int64_t heads) {
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

/// `[B, S, heads, D]` as `[B, S, heads * D]`.
static Value mergeHeads(NodeImporter &node, Value value) {
  std::optional<int64_t> heads = node.staticDim(value, 2);
  std::optional<int64_t> width = node.staticDim(value, 3);
  return node.reshape(value, {0, 0, heads && width ? *heads * *width : -1});
}

static Value swapHeadsAndTokens(NodeImporter &node, Value value) {
  return node.transpose(value, {0, 2, 1, 3});
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
// Attention
//===----------------------------------------------------------------------===//

namespace {
class Attention {
public:
  explicit Attention(NodeImporter &node) : node(node) {}
  void import();

private:
  bool readOperands();
  bool checkOperands();
  void appendToPast();
  void addMask();
  void addPadding();
  void addCausality();
  void addBias(Value bias);
  void allow(Value allowed);
  Value emitFused();
  Value emitDecomposed();

  NodeImporter &node;
  /// `[B, H, S, D]`, `[B, G, L, D]` and `[B, G, L, E]`.
  Value query, key, value;
  /// Added to the scores; null for none.
  Value bias;
  /// Number of tokens before the queries: null (0), a scalar, or `[B, 1, 1,
  /// 1]`.
  Value offset;
  int64_t heads = 0;
  double scale = 0, softcap = 0;
  bool isFlat = false, isCausal = false, hasCausalFlag = false;
};
} // namespace

bool Attention::readOperands() {
  std::optional<int64_t> numQueryHeads = node.intAttr("q_num_heads");
  std::optional<int64_t> numKeyHeads = node.intAttr("kv_num_heads");
  query = node.input(0);
  key = node.input(1);
  value = node.input(2);
  if (!node.checkFloat(query, "input 0") ||
      !node.checkSameType({query, key, value}))
    return false;
  isFlat = node.rank(query) == 3;
  int64_t rank = isFlat ? 3 : 4;
  if (!node.checkRank(query, rank, "input 0") ||
      !node.checkRank(key, rank, "input 1") ||
      !node.checkRank(value, rank, "input 2"))
    return false;
  if (!isFlat)
    return checkOperands();
  if (!numQueryHeads || !numKeyHeads) {
    node.emitError() << "has inputs of rank 3 and no q_num_heads or no "
                     << "kv_num_heads, expected both";
    return false;
  }
  query = swapHeadsAndTokens(node, splitHeads(node, query, *numQueryHeads));
  key = swapHeadsAndTokens(node, splitHeads(node, key, *numKeyHeads));
  value = swapHeadsAndTokens(node, splitHeads(node, value, *numKeyHeads));
  return value && checkOperands();
}

bool Attention::checkOperands() {
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
  scale = node.floatAttr("scale", 1 / std::sqrt(static_cast<double>(*headDim)));
  return true;
}

/// Joins past and new keys and values; the number of past ones is the offset of
/// the queries.
void Attention::appendToPast() {
  Value pastKey = node.input(4), pastValue = node.input(5);
  if (!pastKey != !pastValue) {
    node.emitError() << "has only one of past_key and past_value";
    return;
  }
  // A new key a query, then causality is that of nju.attention.
  hasCausalFlag = isCausal && !node.hasInput(6) && query && key &&
                  node.dims(query)[2] == node.dims(key)[2];
  if (!pastKey)
    return;
  if (!node.checkSameType({key, pastKey, pastValue}))
    return;
  offset = node.dimScalar(pastKey, 2);
  key = node.concat({pastKey, key}, 2);
  value = node.concat({pastValue, value}, 2);
}

void Attention::addBias(Value addend) {
  bias = bias ? node.create<AddOp>({bias, addend}) : addend;
}

/// Adds -inf where the i1 tensor `allowed` is false.
void Attention::allow(Value allowed) {
  if (!allowed || node.hasFailed())
    return;
  double infinity = std::numeric_limits<double>::infinity();
  addBias(node.create<SelectOp>(
      {allowed, node.scalarLike(query, 0), node.scalarLike(query, -infinity)},
      {}, node.elementType(query)));
}

void Attention::addMask() {
  Value mask = node.input(3);
  if (!mask)
    return;
  bool isBool = node.elementType(mask).isInteger(1);
  if (!isBool && !node.checkSameType({query, mask}))
    return;
  // What a shorter mask does not say is masked.
  int64_t rank = node.rank(mask);
  std::optional<int64_t> width = node.staticDim(mask, rank - 1);
  std::optional<int64_t> length = node.staticDim(key, 2);
  if (rank > 0 && width && length && *width < *length && *width != 1) {
    SmallVector<int64_t> pads(2 * rank, 0);
    pads.back() = *length - *width;
    double infinity = std::numeric_limits<double>::infinity();
    Value filler = node.scalarLike(mask, isBool ? 0 : -infinity);
    mask = node.create<PadOp>({mask, node.constant(pads), filler});
  }
  if (isBool)
    allow(mask);
  else
    addBias(mask);
}

/// Of each sequence only the first nonpad_kv_seqlen keys count.
void Attention::addPadding() {
  if (!node.hasInput(6))
    return;
  Value lengths = node.cast(node.input(6), node.attrs().getI64Type());
  if (offset || !node.checkRank(lengths, 1, "input 6")) {
    node.emitError() << "has nonpad_kv_seqlen and past_key, expected one";
    return;
  }
  lengths = node.unsqueeze(lengths, {1, 2, 3});
  allow(node.compare(ComparePredicate::lt, node.iota(node.dimScalar(key, 2)),
                     lengths));
  offset = node.create<SubOp>({lengths, node.dimScalar(query, 2)});
}

/// Query i sees keys 0 to i + offset.
void Attention::addCausality() {
  if (!isCausal || hasCausalFlag)
    return;
  Value rows = node.unsqueeze(node.iota(node.dimScalar(query, 2)), {1});
  Value last = offset ? node.create<AddOp>({rows, offset}) : rows;
  allow(node.compare(ComparePredicate::le, node.iota(node.dimScalar(key, 2)),
                     last));
}

Value Attention::emitFused() {
  SmallVector<Value> operands{query, key, value};
  if (bias)
    operands.push_back(bias);
  SmallVector<NamedAttribute> attributes{node.f64("scale", scale)};
  if (hasCausalFlag)
    attributes.push_back(node.unit("causal"));
  return node.create<AttentionOp>(operands, attributes);
}

/// With a cap on the scores, which nju.attention does not have.
Value Attention::emitDecomposed() {
  Value keys = node.transpose(repeatHeads(node, key, heads), {0, 1, 3, 2});
  Value scores = node.create<MatMulOp>({query, keys});
  scores = node.create<MulOp>({scores, node.scalarLike(query, scale)});
  Value cap = node.scalarLike(query, softcap);
  scores = node.create<MulOp>(
      {node.create<TanhOp>(node.create<DivOp>({scores, cap})), cap});
  if (bias)
    scores = node.create<AddOp>({scores, bias});
  Value weights = node.create<SoftmaxOp>(scores, node.i64("axis", 3));
  // A query that sees no key gets zeros.
  double infinity = std::numeric_limits<double>::infinity();
  Value seesNone = node.compare(ComparePredicate::eq,
                                node.reduce<ReduceMaxOp>(scores, {3}, true),
                                node.scalarLike(query, -infinity));
  weights =
      node.create<SelectOp>({seesNone, node.scalarLike(query, 0), weights}, {},
                            node.elementType(query));
  return node.create<MatMulOp>({weights, repeatHeads(node, value, heads)});
}

void Attention::import() {
  isCausal = node.boolAttr("is_causal");
  softcap = node.floatAttr("softcap", 0);
  // The precision of the softmax is ours to choose; the other attribute is
  // about an output that is refused where it is used.
  node.ignoreAttr("softmax_precision");
  node.ignoreAttr("qk_matmul_output_mode");
  if (!readOperands())
    return;
  appendToPast();
  hasCausalFlag &= softcap == 0;
  node.setOutput(1, key);
  node.setOutput(2, value);
  addMask();
  addPadding();
  addCausality();
  Value result = softcap == 0 ? emitFused() : emitDecomposed();
  if (isFlat)
    result = mergeHeads(node, swapHeadsAndTokens(node, result));
  node.setOutput(result);
}

static void importAttention(NodeImporter &node) { Attention(node).import(); }

//===----------------------------------------------------------------------===//
// RotaryEmbedding
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

/// Rotates `input`, `[B, H, S, D]` or `[B, S, H * D]`, by tables of
/// `[B, S, R/2]`.
static Value emitRotaryEmbedding(NodeImporter &node, Value input, Value cos,
                                 Value sin, bool interleaved, int64_t heads) {
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

/// The rows of a table at the given positions.
static Value lookUp(NodeImporter &node, Value table, Value positions) {
  return node.create<GatherOp>({table, positions}, node.i64("axis", 0));
}

/// Checks rotary_embedding_dim against the width of the tables.
static bool checkWidth(NodeImporter &node, Value input, int64_t heads,
                       Value cos) {
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

static void importRotaryEmbedding(NodeImporter &node) {
  bool interleaved = node.boolAttr("interleaved");
  int64_t heads = node.intAttr("num_heads", 0);
  Value input = node.input(0), cos = node.input(1), sin = node.input(2);
  Value positions = node.input(3);
  if (!node.checkSameType({input, cos, sin}) ||
      !checkWidth(node, input, heads, cos))
    return;
  if (positions) {
    cos = lookUp(node, cos, positions);
    sin = lookUp(node, sin, positions);
  }
  if (node.checkRank(cos, 3, "the cosine table") &&
      node.checkRank(sin, 3, "the sine table"))
    node.setOutput(
        emitRotaryEmbedding(node, input, cos, sin, interleaved, heads));
}

/// The op of ONNX Runtime, with positions before the tables; one position
/// alone is that of the first token.
static void importMicrosoftRotaryEmbedding(NodeImporter &node) {
  bool interleaved = node.boolAttr("interleaved");
  int64_t heads = node.intAttr("num_heads", 0);
  if (node.boolAttr("is_packed_batching") || node.floatAttr("scale", 1) != 1) {
    node.emitError() << "is packed or scaled, which is not supported";
    return;
  }
  Value input = node.input(0), positions = node.input(1);
  Value cos = node.input(2), sin = node.input(3);
  if (!node.checkSameType({input, cos, sin}) ||
      !checkWidth(node, input, heads, cos))
    return;
  if (node.rank(positions) == 1) {
    Value count = node.dimScalar(input, node.rank(input) == 3 ? 1 : 2);
    Value iota = node.iota(count);
    positions = node.unsqueeze(
        node.create<AddOp>(
            {iota, node.cast(positions, node.elementType(iota))}),
        {0});
  }
  node.setOutput(emitRotaryEmbedding(node, input, lookUp(node, cos, positions),
                                     lookUp(node, sin, positions), interleaved,
                                     heads));
}

void nju::onnx_import::registerAttentionOps(OpRegistry &registry) {
  registry.add("Attention", 23, {3, 6}, importAttention);
  registry.add("Attention", 24, {3, 7}, importAttention);
  registry.add("RotaryEmbedding", 23, {3, 4}, importRotaryEmbedding);
  registry.add("RotaryEmbedding", 1, 4, importMicrosoftRotaryEmbedding,
               kMicrosoft);
}
