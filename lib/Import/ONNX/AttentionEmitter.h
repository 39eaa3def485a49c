//===- AttentionEmitter.h - What attention ops are made of ------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_IMPORT_ONNX_ATTENTIONEMITTER_H
#define NJU_LIB_IMPORT_ONNX_ATTENTIONEMITTER_H

#include "NodeImporter.h"

namespace nju::onnx_import {

/// `[B, S, heads * D]` as `[B, S, heads, D]`.
mlir::Value splitHeads(NodeImporter &node, mlir::Value value, int64_t heads);
/// `[B, S, heads, D]` as `[B, S, heads * D]`.
mlir::Value mergeHeads(NodeImporter &node, mlir::Value value);
/// `[B, S, heads, D]` as `[B, heads, S, D]`, or the other way round.
mlir::Value swapHeadsAndTokens(NodeImporter &node, mlir::Value value);

/// Refuses a past of keys without values, or the other way round.
bool checkPast(NodeImporter &node, mlir::Value pastKey, mlir::Value pastValue);

/// The rows of a table at the given positions.
mlir::Value lookUpRows(NodeImporter &node, mlir::Value table,
                       mlir::Value positions);
/// Checks the attribute rotary_embedding_dim against the width of the tables.
bool checkRotaryTables(NodeImporter &node, mlir::Value input, int64_t heads,
                       mlir::Value cos);
/// Rotates `input`, `[B, H, S, D]` or `[B, S, H * D]`, by tables of
/// `[B, S, R/2]`.
mlir::Value emitRotaryEmbedding(NodeImporter &node, mlir::Value input,
                                mlir::Value cos, mlir::Value sin,
                                bool interleaved, int64_t heads);

/// softmax(softcap(scale * q k') + bias) v, with what the attention ops of ONNX
/// and of ONNX Runtime add to it.
class AttentionEmitter {
public:
  explicit AttentionEmitter(NodeImporter &node) : node(node) {}

  /// `[B, H, S, D]`, `[B, G, L, D]` and `[B, G, L, E]`, G dividing H. False
  /// after an error.
  bool setOperands(mlir::Value query, mlir::Value key, mlir::Value value);
  mlir::Value getQuery() const { return query; }
  mlir::Value getKey() const { return key; }
  mlir::Value getValue() const { return value; }

  /// Default: 1 / sqrt(D).
  void setScale(double factor) { scale = factor; }
  /// Scores become cap * tanh(scores / cap); 0: they stay.
  void setSoftcap(double cap) { softcap = cap; }

  /// Joins past and new keys and values; both pasts are null or none is.
  void appendTo(mlir::Value pastKey, mlir::Value pastValue);
  /// The number of tokens before the queries: null (0), a scalar, or
  /// `[B, 1, 1, 1]`.
  void setOffset(mlir::Value value) {
    offset = value;
    isSelfAttention = false;
  }
  mlir::Value getOffset() const { return offset; }

  /// Adds to the scores; broadcast to `[B, H, S, L]`.
  void addBias(mlir::Value addend);
  /// Adds minus infinity, or `otherwise`, where the i1 tensor is false.
  void allow(mlir::Value allowed);
  void allow(mlir::Value allowed, double otherwise);
  /// Query i sees keys up to i + offset, and of these, if `window` is given,
  /// the last `window`.
  void addCausality(std::optional<int64_t> window = std::nullopt);

  /// `[B, H, S, E]`.
  mlir::Value emit();

private:
  mlir::Value emitDecomposed();

  NodeImporter &node;
  mlir::Value query, key, value;
  mlir::Value bias, offset;
  int64_t heads = 0;
  std::optional<double> scale;
  double softcap = 0;
  /// A new key a query, and no other keys but those before them.
  bool isSelfAttention = false;
  bool hasCausalFlag = false;
};

} // namespace nju::onnx_import

#endif // NJU_LIB_IMPORT_ONNX_ATTENTIONEMITTER_H
