//===- AttentionMicrosoft.cpp - Attention ops of ONNX Runtime -------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The domain com.microsoft, as ONNX Runtime's documentation of contrib ops
// defines it.
//
//===----------------------------------------------------------------------===//

#include "AttentionEmitter.h"

using namespace mlir;
using namespace nju;
using namespace nju::onnx_import;

//===----------------------------------------------------------------------===//
// What they share
//===----------------------------------------------------------------------===//

/// `value[begin:end]` of the last dimension.
static Value columns(NodeImporter &node, Value value, int64_t begin,
                     int64_t end) {
  return node.slice(value, node.rank(value) - 1, begin, end);
}

/// One of `value`'s entries along a dimension, without the dimension.
static Value entry(NodeImporter &node, Value value, int64_t axis,
                   int64_t index) {
  return node.squeeze(node.slice(value, axis, index, index + 1), {axis});
}

static Value headsFirst(NodeImporter &node, Value flat, int64_t heads) {
  return swapHeadsAndTokens(node, splitHeads(node, flat, heads));
}

/// `[B, H, S, D]` as `[B, S, H * D]`.
static Value tokensFirst(NodeImporter &node, Value value) {
  return mergeHeads(node, swapHeadsAndTokens(node, value));
}

/// The scale of scores, 0 being that of the op.
static void setScale(NodeImporter &node, AttentionEmitter &emitter) {
  if (double scale = node.floatAttr("scale", 0); scale != 0)
    emitter.setScale(scale);
}

/// Refuses inputs and outputs of the op that other kernels of ONNX Runtime
/// have.
static bool refuseInputs(NodeImporter &node,
                         ArrayRef<std::pair<int, StringRef>> inputs) {
  for (auto [index, name] : inputs)
    if (node.hasInput(index)) {
      node.emitError() << "has the input " << name
                       << ", which is not supported";
      return false;
    }
  return true;
}

/// Adds `filter` to the scores of keys that a mask of 0 and 1 hides: the first
/// keys of each sequence `[B]`, all keys `[B, L]`, or also by query `[B, S,
/// L]`.
static void addMask(NodeImporter &node, AttentionEmitter &emitter, Value mask,
                    StringRef what, double filter) {
  if (!mask)
    return;
  Type i64 = node.attrs().getI64Type();
  Value allowed = node.cast(mask, i64);
  switch (node.rank(mask)) {
  case 1:
    allowed = node.compare(ComparePredicate::lt,
                           node.iota(node.dimScalar(emitter.getKey(), 2)),
                           node.unsqueeze(allowed, {1, 2, 3}));
    break;
  case 2:
  case 3:
    allowed = node.compare(ComparePredicate::gt, allowed, node.index(0));
    allowed = node.rank(mask) == 2 ? node.unsqueeze(allowed, {1, 2})
                                   : node.unsqueeze(allowed, {1});
    break;
  default:
    node.emitError() << "has a " << what << " of type " << mask.getType()
                     << ", expected rank 1 to 3";
    return;
  }
  // Lengths, or ends and beginnings of the sequences: these have more entries.
  if (node.rank(mask) == 1 &&
      node.dims(mask)[0] != node.dims(emitter.getQuery())[0]) {
    node.emitError() << "has a " << what << " of type " << mask.getType()
                     << " for queries of " << emitter.getQuery().getType()
                     << ", expected a length for each sequence, or a mask";
    return;
  }
  emitter.allow(allowed, filter);
}

/// The first output of ops that have attention_bias as input 5.
static void emitResult(NodeImporter &node, AttentionEmitter &emitter,
                       bool isCausal) {
  if (Value bias = node.input(5);
      bias && node.checkSameType({emitter.getQuery(), bias}))
    emitter.addBias(bias);
  if (isCausal)
    emitter.addCausality();
  node.setOutput(tokensFirst(node, emitter.emit()));
}

//===----------------------------------------------------------------------===//
// GroupQueryAttention
//===----------------------------------------------------------------------===//

namespace {
class GroupQueryAttention {
public:
  explicit GroupQueryAttention(NodeImporter &node)
      : node(node), emitter(node) {}
  void import();

private:
  bool readAttributes();
  bool readOperands();
  void findLengths();
  Value readPositions(Value positions, Value iota);
  void rotate();
  Value appendToPast(Value past, Value fresh);
  void attend();

  NodeImporter &node;
  AttentionEmitter emitter;
  int64_t heads = 0, groups = 0, window = -1;
  bool isRotated = false, isInterleaved = false;
  /// `[B, S, heads * D]`.
  Value query, key, value;
  /// Tokens before the new ones, `[B]`.
  Value before;
};
} // namespace

bool GroupQueryAttention::readAttributes() {
  heads = node.intAttr("num_heads", 0);
  groups = node.intAttr("kv_num_heads", 0);
  window = node.intAttr("local_window_size", -1);
  isRotated = node.boolAttr("do_rotary");
  isInterleaved = node.boolAttr("rotary_interleaved");
  setScale(node, emitter);
  emitter.setSoftcap(node.floatAttr("softcap", 0));
  if (node.intAttr("smooth_softmax", 0) > 0) {
    node.emitError() << "has smooth_softmax, which is not supported";
    return false;
  }
  if (node.intAttr("qk_output", 0) != 0 || node.wantsOutput(3)) {
    node.emitError() << "gives its scores, which is not supported";
    return false;
  }
  for (StringRef name : {"k_quant_type", "v_quant_type"})
    if (node.stringAttr(name, "NONE") != "NONE") {
      node.emitError() << "has a quantized cache (" << name
                       << "), expected one in floats; nju-compile --kv "
                          "quantizes it";
      return false;
    }
  node.ignoreAttr("kv_cache_bit_width");
  // Says that the caller's buffers hold no more than the window; those that are
  // given here are joined with the new tokens as they are.
  node.ignoreAttr("sliding_window_cache");
  return refuseInputs(node,
                      {{11, "head_sink"}, {12, "k_scale"}, {13, "v_scale"}});
}

bool GroupQueryAttention::readOperands() {
  query = node.input(0);
  key = node.input(1);
  value = node.input(2);
  if (!node.checkFloat(query, "input 0") ||
      !node.checkRank(query, 3, "input 0"))
    return false;
  if (!key != !value) {
    node.emitError() << "has only one of key and value";
    return false;
  }
  if (heads <= 0 || groups <= 0 || heads % groups != 0) {
    node.emitError() << "has " << heads << " heads of queries and " << groups
                     << " of keys, expected a multiple";
    return false;
  }
  if (key)
    return node.checkSameType({query, key, value}) &&
           node.checkRank(key, 3, "input 1") &&
           node.checkRank(value, 3, "input 2");
  // Query, key and value side by side.
  std::optional<int64_t> width = node.staticDim(query, 2);
  int64_t all = heads + 2 * groups;
  if (!width || *width % all != 0) {
    node.emitError() << "has queries, keys and values in " << query.getType()
                     << ", expected a multiple of " << all << " columns";
    return false;
  }
  int64_t size = *width / all;
  Value packed = query;
  query = columns(node, packed, 0, heads * size);
  key = columns(node, packed, heads * size, (heads + groups) * size);
  value = columns(node, packed, (heads + groups) * size, *width);
  return true;
}

/// Input 5 says how many tokens there are with the new ones, less one. Fewer
/// than the new ones are those of a prompt that was filled up at its end.
void GroupQueryAttention::findLengths() {
  Value last = node.input(5);
  if (!node.requireInput(5) || !node.checkRank(last, 1, "seqlens_k"))
    return;
  Type i64 = node.attrs().getI64Type();
  Value total = node.create<AddOp>({node.cast(last, i64), node.index(1)});
  Value past = node.create<SubOp>({total, node.dimScalar(query, 1)});
  before = node.create<MaxOp>({past, node.index(0)});
}

/// Of the positions of a first prompt only the first one counts.
Value GroupQueryAttention::readPositions(Value positions, Value iota) {
  Value total = node.input(6);
  if (!total || !node.checkRank(positions, 2, "position_ids")) {
    node.emitError() << "has position_ids and no total_sequence_length";
    return {};
  }
  Type i64 = node.attrs().getI64Type();
  positions = node.cast(positions, i64);
  Value first = node.slice(node.slice(positions, 0, 0, 1), 1, 0, 1);
  Value isPrompt = node.compare(ComparePredicate::eq, node.cast(total, i64),
                                node.dimScalar(query, 1));
  return node.create<SelectOp>(
      {isPrompt, node.create<AddOp>({first, iota}), positions}, {}, i64);
}

void GroupQueryAttention::rotate() {
  Value cos = node.input(7), sin = node.input(8), positions = node.input(9);
  if (!isRotated)
    return;
  if (!cos || !sin) {
    node.emitError() << "has do_rotary without cos_cache and sin_cache";
    return;
  }
  if (!node.checkSameType({query, cos, sin}) || !before)
    return;
  Value iota = node.unsqueeze(node.iota(node.dimScalar(query, 1)), {0});
  if (positions)
    positions = readPositions(positions, iota);
  else
    positions = node.create<AddOp>({node.unsqueeze(before, {1}), iota});
  cos = lookUpRows(node, cos, positions);
  sin = lookUpRows(node, sin, positions);
  query = emitRotaryEmbedding(node, query, cos, sin, isInterleaved, heads);
  key = emitRotaryEmbedding(node, key, cos, sin, isInterleaved, groups);
}

/// A sequence's new tokens stand where its past ends, which may be before the
/// end of that of the longest one.
Value GroupQueryAttention::appendToPast(Value past, Value fresh) {
  if (!node.checkSameType({past, fresh}))
    return {};
  Value joined = node.concat({past, fresh}, 2);
  Value length = node.dimScalar(joined, 2);
  Value row = node.iota(length), first = node.unsqueeze(before, {1});
  Value shifted = node.create<AddOp>(
      {node.create<SubOp>({row, first}), node.dimScalar(past, 2)});
  // What is behind the new tokens is read by nobody.
  shifted = node.create<MinOp>(
      {shifted, node.create<SubOp>({length, node.index(1)})});
  Value source = node.create<SelectOp>(
      {node.compare(ComparePredicate::lt, row, first), row, shifted}, {},
      node.elementType(row));
  Value rows = node.create<BroadcastToOp>(
      {node.unsqueeze(source, {1, 3}), node.shapeOf(joined)});
  return node.create<GatherElementsOp>({joined, rows}, node.i64("axis", 2));
}

void GroupQueryAttention::attend() {
  Value keys = headsFirst(node, key, groups),
        values = headsFirst(node, value, groups);
  Value pastKey = node.input(3), pastValue = node.input(4);
  if (!checkPast(node, pastKey, pastValue))
    return;
  if (pastKey) {
    keys = appendToPast(pastKey, keys);
    values = appendToPast(pastValue, values);
  }
  if (!emitter.setOperands(headsFirst(node, query, heads), keys, values))
    return;
  node.setOutput(1, keys);
  node.setOutput(2, values);
  if (pastKey)
    emitter.setOffset(node.unsqueeze(before, {1, 2, 3}));
  emitter.addCausality(window >= 0 ? std::optional(window) : std::nullopt);
  if (Value bias = node.input(10); bias && node.checkSameType({query, bias}))
    emitter.addBias(bias);
  node.setOutput(tokensFirst(node, emitter.emit()));
}

void GroupQueryAttention::import() {
  if (!readAttributes() || !readOperands())
    return;
  findLengths();
  rotate();
  if (!node.hasFailed())
    attend();
}

static void importGroupQueryAttention(NodeImporter &node) {
  GroupQueryAttention(node).import();
}

//===----------------------------------------------------------------------===//
// MultiHeadAttention
//===----------------------------------------------------------------------===//

namespace {
class MultiHeadAttention {
public:
  explicit MultiHeadAttention(NodeImporter &node) : node(node), emitter(node) {}
  void import();

private:
  bool readOperands();
  bool readPacked();
  void addProjectionBias();
  Value toHeads(Value operand, int index);

  NodeImporter &node;
  AttentionEmitter emitter;
  int64_t heads = 0;
  Value query, key, value;
};
} // namespace

/// Queries, keys and values `[B, S, H, 3, D]`, or keys and values
/// `[B, L, H, 2, D]`.
bool MultiHeadAttention::readPacked() {
  Value packed = node.rank(query) == 5 ? query : key;
  int64_t parts = packed == query ? 3 : 2;
  if ((packed == query && key) || value || node.hasInput(3) ||
      node.staticDim(packed, 3) != parts) {
    node.emitError() << "has an input of " << packed.getType()
                     << ", expected one with " << parts
                     << " as its dimension 3, and neither a value nor a bias";
    return false;
  }
  if (packed == query)
    query = entry(node, packed, 3, 0);
  key = entry(node, packed, 3, parts - 2);
  value = entry(node, packed, 3, parts - 1);
  return true;
}

bool MultiHeadAttention::readOperands() {
  query = node.input(0);
  key = node.input(1);
  value = node.input(2);
  if (!node.checkFloat(query, "input 0"))
    return false;
  if ((node.rank(query) == 5 || (key && node.rank(key) == 5)) && !readPacked())
    return false;
  if (!key || !value) {
    node.emitError() << "has no key or no value, expected both, or all in "
                        "input 0";
    return false;
  }
  if (!node.checkSameType({query, key, value}))
    return false;
  addProjectionBias();
  return emitter.setOperands(toHeads(query, 0), toHeads(key, 1),
                             toHeads(value, 2));
}

/// As `[B, H, S, D]`: from a flat form, from heads split off by `readPacked`
/// (`[B, S, H, D]`), or from keys and values that come that way.
Value MultiHeadAttention::toHeads(Value operand, int index) {
  if (node.rank(operand) == 3)
    return headsFirst(node, operand, heads);
  if (!node.checkRank(operand, 4, index == 0 ? "the query" : "key and value"))
    return {};
  return operand == node.input(index) ? operand
                                      : swapHeadsAndTokens(node, operand);
}

/// The bias of the projections before: those of query, key and value one after
/// the other. Keys and values in heads have theirs.
void MultiHeadAttention::addProjectionBias() {
  Value bias = node.input(3);
  if (!bias || !node.checkSameType({query, bias}) ||
      !node.checkRank(bias, 1, "bias"))
    return;
  int64_t begin = 0;
  for (Value *operand : {&query, &key, &value}) {
    bool isFlat = node.rank(*operand) == 3;
    std::optional<int64_t> width = node.staticDim(*operand, isFlat ? 2 : 3);
    if (!width) {
      node.emitError() << "has a bias and an input of " << operand->getType()
                       << ", expected a static width";
      return;
    }
    int64_t end = begin + (isFlat ? *width : heads * *width);
    if (isFlat)
      *operand =
          node.create<AddOp>({*operand, columns(node, bias, begin, end)});
    begin = end;
  }
}

void MultiHeadAttention::import() {
  heads = node.intAttr("num_heads", 0);
  double filter = node.floatAttr("mask_filter_value", -10000.0);
  bool isCausal = node.boolAttr("unidirectional");
  setScale(node, emitter);
  if (!refuseInputs(node,
                    {{8, "past_sequence_length"}, {9, "cache_indirection"}}) ||
      !readOperands())
    return;
  Value pastKey = node.input(6), pastValue = node.input(7);
  if (!checkPast(node, pastKey, pastValue))
    return;
  emitter.appendTo(pastKey, pastValue);
  node.setOutput(1, emitter.getKey());
  node.setOutput(2, emitter.getValue());
  addMask(node, emitter, node.input(4), "key_padding_mask", filter);
  emitResult(node, emitter, isCausal);
}

static void importMultiHeadAttention(NodeImporter &node) {
  MultiHeadAttention(node).import();
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

/// The columns of query, key and value in the projection.
static std::optional<std::array<int64_t, 3>> readWidths(NodeImporter &node,
                                                        Value weight) {
  std::optional<int64_t> all = node.staticDim(weight, 1);
  SmallVector<int64_t> sizes =
      node.intsAttr("qkv_hidden_sizes").value_or(SmallVector<int64_t>());
  if (sizes.empty() && all)
    sizes.assign(3, *all / 3);
  if (all && sizes.size() == 3 && sizes[0] == sizes[1] &&
      sizes[0] + sizes[1] + sizes[2] == *all)
    return std::array<int64_t, 3>{sizes[0], sizes[1], sizes[2]};
  if (weight)
    node.emitError() << "has weights of " << weight.getType()
                     << ", expected columns for queries, for as many keys and "
                        "for values, as qkv_hidden_sizes says";
  return std::nullopt;
}

/// Projects the input to queries, keys and values.
static bool project(NodeImporter &node, AttentionEmitter &emitter,
                    int64_t heads) {
  Value input = node.input(0), weight = node.input(1), bias = node.input(2);
  if (!node.checkFloat(input, "input 0") ||
      !node.checkSameType({input, weight}) ||
      !node.checkRank(input, 3, "input 0") ||
      !node.checkRank(weight, 2, "input 1"))
    return false;
  auto widths = readWidths(node, weight);
  if (!widths)
    return false;
  Value all = node.create<MatMulOp>({input, weight});
  if (bias && node.checkSameType({input, bias}))
    all = node.create<AddOp>({all, bias});
  SmallVector<Value> parts;
  int64_t begin = 0;
  for (int64_t width : *widths) {
    parts.push_back(
        headsFirst(node, columns(node, all, begin, begin + width), heads));
    begin += width;
  }
  return emitter.setOperands(parts[0], parts[1], parts[2]);
}

static void importAttention(NodeImporter &node) {
  AttentionEmitter emitter(node);
  int64_t heads = node.intAttr("num_heads", 0);
  double filter = node.floatAttr("mask_filter_value", -10000.0);
  bool isCausal = node.boolAttr("unidirectional");
  setScale(node, emitter);
  node.ignoreAttr("rotary_embedding_dim");
  if (node.boolAttr("do_rotary") ||
      node.boolAttr("past_present_share_buffer")) {
    node.emitError() << "has do_rotary or past_present_share_buffer, which is "
                        "not supported";
    return;
  }
  if (!refuseInputs(node, {{6, "past_sequence_length"}}) ||
      !project(node, emitter, heads))
    return;
  if (Value past = node.input(4); past && node.checkRank(past, 5, "past"))
    emitter.appendTo(entry(node, past, 0, 0), entry(node, past, 0, 1));
  if (node.wantsOutput(1))
    node.setOutput(1, node.concat({node.unsqueeze(emitter.getKey(), {0}),
                                   node.unsqueeze(emitter.getValue(), {0})},
                                  0));
  addMask(node, emitter, node.input(3), "mask_index", filter);
  emitResult(node, emitter, isCausal);
}

/// Tokens of all sequences one behind the other have no batch dimension.
static void refusePacked(NodeImporter &node) {
  node.emitError() << "has sequences packed without padding, which is not "
                      "supported; export the model with padding "
                      "(MultiHeadAttention or Attention)";
}

//===----------------------------------------------------------------------===//
// RotaryEmbedding
//===----------------------------------------------------------------------===//

/// Positions come before the tables; one position alone is that of the first
/// token.
static void importRotaryEmbedding(NodeImporter &node) {
  bool interleaved = node.boolAttr("interleaved");
  int64_t heads = node.intAttr("num_heads", 0);
  if (node.boolAttr("is_packed_batching") || node.floatAttr("scale", 1) != 1) {
    node.emitError() << "is packed or scaled, which is not supported";
    return;
  }
  Value input = node.input(0), positions = node.input(1);
  Value cos = node.input(2), sin = node.input(3);
  if (!node.checkSameType({input, cos, sin}) ||
      !checkRotaryTables(node, input, heads, cos))
    return;
  if (node.rank(positions) == 1) {
    Value count = node.dimScalar(input, node.rank(input) == 3 ? 1 : 2);
    Value iota = node.iota(count);
    positions = node.unsqueeze(
        node.create<AddOp>(
            {iota, node.cast(positions, node.elementType(iota))}),
        {0});
  }
  node.setOutput(emitRotaryEmbedding(
      node, input, lookUpRows(node, cos, positions),
      lookUpRows(node, sin, positions), interleaved, heads));
}

void nju::onnx_import::registerMicrosoftAttentionOps(OpRegistry &registry) {
  registry.add("Attention", 1, {2, 7}, importAttention, kMicrosoft);
  registry.add("GroupQueryAttention", 1, {1, 14}, importGroupQueryAttention,
               kMicrosoft);
  registry.add("MultiHeadAttention", 1, {1, 10}, importMultiHeadAttention,
               kMicrosoft);
  registry.add("PackedAttention", 1, {1, Arity::kAny}, refusePacked,
               kMicrosoft);
  registry.add("PackedMultiHeadAttention", 1, {1, Arity::kAny}, refusePacked,
               kMicrosoft);
  registry.add("RotaryEmbedding", 1, 4, importRotaryEmbedding, kMicrosoft);
}
