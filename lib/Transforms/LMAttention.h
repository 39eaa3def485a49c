//===- LMAttention.h - The attentions of a language model -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_TRANSFORMS_LMATTENTION_H
#define NJU_LIB_TRANSFORMS_LMATTENTION_H

#include "LMGraph.h"

namespace nju {

/// Keys or values of one attention as what they are made of: the new tokens'
/// rows and, with a cache, a past. Group g's element d of a token is element
/// `base + g * groupStride + d * elementStride` of the token's row of `fresh`
/// (the elements of `fresh` that belong to the token, in row-major order).
struct LMCacheSource {
  mlir::Value fresh;
  int64_t base = 0, groupStride = 0, elementStride = 0;
};

/// Scaled dot-product attention between the new tokens and all tokens up to
/// them.
struct LMAttention {
  /// The op whose result is the attention's, `[..., T, headDim]`, and the query
  /// of the same shape; the heads are the dimensions before.
  mlir::Operation *root = nullptr;
  mlir::Value query;
  /// `[..., L, D]`, or `[..., D, L]` if `keyIsTransposed`; `[..., L, D]`.
  mlir::Value key, value;
  bool keyIsTransposed = false;
  /// From the products of query and key, `products`, to the `weights` that the
  /// softmax makes probabilities of. For `nju.attention` null: `mask`, if any,
  /// is added.
  mlir::Value products, weights;
  mlir::Value mask;
  bool causal = false;

  int64_t heads = 0, headDim = 0, groups = 0;
  /// By what the products are scaled, and by what all keys are before.
  double scale = 1.0, keyScale = 1.0;
  /// Scaled products become cap * tanh(product / cap).
  std::optional<double> softcap;
  std::optional<int64_t> window;
  /// One a head, or none.
  llvm::SmallVector<float> slopes;
  LMCacheSource keySource, valueSource;
};

/// Finds the attentions that the logits depend on, in order, each with query,
/// key, value and the way to the softmax.
mlir::FailureOr<llvm::SmallVector<LMAttention, 0>>
findAttentions(LMGraph &graph);

/// Finds scale, cap, window and slopes by evaluating what lies between the
/// products and the softmax for all positions below `maxTokens`.
mlir::LogicalResult analyzeMasks(LMGraph &graph,
                                 llvm::MutableArrayRef<LMAttention> attentions,
                                 int64_t maxTokens);

/// True if the masks can be computed for `maxTokens` tokens: tables in the
/// model are long enough.
bool masksFit(LMGraph &graph, llvm::ArrayRef<LMAttention> attentions,
              int64_t maxTokens);

/// Finds the sources of keys and values by following single elements through
/// the graph, and proves that pasts and presents are a cache of them.
mlir::LogicalResult traceCaches(LMGraph &graph,
                                llvm::MutableArrayRef<LMAttention> attentions,
                                int64_t maxTokens);

/// Names of the outputs that a step does not serve: neither the logits nor keys
/// or values of the attentions, whose caches have been traced.
llvm::SmallVector<std::string>
findLeftOutOutputs(LMGraph &graph, llvm::ArrayRef<LMAttention> attentions);

/// Ops that only move elements or repeat them.
bool isMovement(mlir::Operation *op);

} // namespace nju

#endif // NJU_LIB_TRANSFORMS_LMATTENTION_H
