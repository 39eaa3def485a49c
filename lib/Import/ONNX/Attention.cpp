//===- Attention.cpp - Attention and rotary embeddings of ONNX -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "AttentionEmitter.h"

using namespace mlir;
using namespace nju;
using namespace nju::onnx_import;

namespace {
/// The op of ai.onnx.
class Attention {
public:
  explicit Attention(NodeImporter &node) : node(node), emitter(node) {}
  void import();

private:
  bool readOperands();
  void appendToPast();
  void addMask();
  void addPadding();

  NodeImporter &node;
  AttentionEmitter emitter;
  bool isFlat = false;
};
} // namespace

bool Attention::readOperands() {
  std::optional<int64_t> numQueryHeads = node.intAttr("q_num_heads");
  std::optional<int64_t> numKeyHeads = node.intAttr("kv_num_heads");
  Value query = node.input(0), key = node.input(1), value = node.input(2);
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
    return emitter.setOperands(query, key, value);
  if (!numQueryHeads || !numKeyHeads) {
    node.emitError() << "has inputs of rank 3 and no q_num_heads or no "
                     << "kv_num_heads, expected both";
    return false;
  }
  auto split = [&](Value flat, int64_t heads) {
    return swapHeadsAndTokens(node, splitHeads(node, flat, heads));
  };
  return emitter.setOperands(split(query, *numQueryHeads),
                             split(key, *numKeyHeads),
                             split(value, *numKeyHeads));
}

/// The number of past keys is the offset of the queries.
void Attention::appendToPast() {
  Value pastKey = node.input(4), pastValue = node.input(5);
  if (checkPast(node, pastKey, pastValue))
    emitter.appendTo(pastKey, pastValue);
}

void Attention::addMask() {
  Value mask = node.input(3);
  if (!mask)
    return;
  bool isBool = node.elementType(mask).isInteger(1);
  if (!isBool && !node.checkSameType({emitter.getQuery(), mask}))
    return;
  // What a shorter mask does not say is masked.
  int64_t rank = node.rank(mask);
  std::optional<int64_t> width = node.staticDim(mask, rank - 1);
  std::optional<int64_t> length = node.staticDim(emitter.getKey(), 2);
  if (rank > 0 && width && length && *width < *length && *width != 1) {
    SmallVector<int64_t> pads(2 * rank, 0);
    pads.back() = *length - *width;
    double infinity = std::numeric_limits<double>::infinity();
    Value filler = node.scalarLike(mask, isBool ? 0 : -infinity);
    mask = node.create<PadOp>({mask, node.constant(pads), filler});
  }
  if (isBool)
    emitter.allow(mask);
  else
    emitter.addBias(mask);
}

/// Of each sequence only the first nonpad_kv_seqlen keys count.
void Attention::addPadding() {
  if (!node.hasInput(6))
    return;
  Value lengths = node.cast(node.input(6), node.attrs().getI64Type());
  if (emitter.getOffset() || !node.checkRank(lengths, 1, "input 6")) {
    node.emitError() << "has nonpad_kv_seqlen and past_key, expected one";
    return;
  }
  lengths = node.unsqueeze(lengths, {1, 2, 3});
  emitter.allow(node.compare(ComparePredicate::lt,
                             node.iota(node.dimScalar(emitter.getKey(), 2)),
                             lengths));
  emitter.setOffset(
      node.create<SubOp>({lengths, node.dimScalar(emitter.getQuery(), 2)}));
}

void Attention::import() {
  bool isCausal = node.boolAttr("is_causal");
  if (std::optional<double> scale = node.floatAttr("scale"))
    emitter.setScale(*scale);
  emitter.setSoftcap(node.floatAttr("softcap", 0));
  // The precision of the softmax is ours to choose; the other attribute is
  // about an output that is refused where it is used.
  node.ignoreAttr("softmax_precision");
  node.ignoreAttr("qk_matmul_output_mode");
  if (!readOperands())
    return;
  appendToPast();
  node.setOutput(1, emitter.getKey());
  node.setOutput(2, emitter.getValue());
  addMask();
  addPadding();
  if (isCausal)
    emitter.addCausality();
  Value result = emitter.emit();
  if (isFlat)
    result = mergeHeads(node, swapHeadsAndTokens(node, result));
  node.setOutput(result);
}

static void importAttention(NodeImporter &node) { Attention(node).import(); }

//===----------------------------------------------------------------------===//
// RotaryEmbedding
//===----------------------------------------------------------------------===//

static void importRotaryEmbedding(NodeImporter &node) {
  bool interleaved = node.boolAttr("interleaved");
  int64_t heads = node.intAttr("num_heads", 0);
  Value input = node.input(0), cos = node.input(1), sin = node.input(2);
  Value positions = node.input(3);
  if (!node.checkSameType({input, cos, sin}) ||
      !checkRotaryTables(node, input, heads, cos))
    return;
  if (positions) {
    cos = lookUpRows(node, cos, positions);
    sin = lookUpRows(node, sin, positions);
  }
  if (node.checkRank(cos, 3, "the cosine table") &&
      node.checkRank(sin, 3, "the sine table"))
    node.setOutput(
        emitRotaryEmbedding(node, input, cos, sin, interleaved, heads));
}

void nju::onnx_import::registerAttentionOps(OpRegistry &registry) {
  registry.add("Attention", 23, {3, 6}, importAttention);
  registry.add("Attention", 24, {3, 7}, importAttention);
  registry.add("RotaryEmbedding", 23, {3, 4}, importRotaryEmbedding);
}
