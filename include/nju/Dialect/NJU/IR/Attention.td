//===- Attention.td - Attention and rotary embeddings -*- tablegen -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DIALECT_NJU_IR_ATTENTION
#define NJU_DIALECT_NJU_IR_ATTENTION

include "nju/Dialect/NJU/IR/NJUBase.td"

def NJU_RopeOp : NJU_PureOp<"rope"> {
  let summary = "Rotary position embedding";
  let description = [{
    Rotates pairs of the first R elements of the last dimension, R being the
    last dimension of `cos` and `sin` (which are broadcast against the other
    dimensions); the rest is copied. Element i is paired with i + R/2, or with
    `interleaved` element 2i with 2i + 1:
    `y[a] = x[a] * cos[a] - x[b] * sin[a]`, `y[b] = x[b] * cos[b] + x[a] * sin[b]`.
    Source: Su et al., "RoFormer", section 3.4.2.

    Example:

    ```mlir
    %y = nju.rope %x, %cos, %sin : (tensor<1x8x?x64xf32>, tensor<1x1x?x64xf32>, tensor<1x1x?x64xf32>) -> tensor<1x8x?x64xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, AnyRankedTensor:$cos,
                       AnyRankedTensor:$sin, UnitAttr:$interleaved);
  let hasVerifier = 1;
}

def NJU_AttentionOp : NJU_PureOp<"attention"> {
  let summary = "Scaled dot-product attention";
  let description = [{
    `y = softmax(scale * q k^T + mask) v` over the last two dimensions.
    `query` is `[B, H, S, D]`, `key` `[B, G, L, D]` and `value` `[B, G, L, E]`,
    where G divides H and query head h uses head `h / (H / G)`. `mask`, if
    given, is added to the scores and broadcast to `[B, H, S, L]`; with
    `causal`, query i sees keys 0 to i + L - S. A query that sees no key, all
    of its scores being minus infinity, gets zeros.
    Source: Vaswani et al., "Attention Is All You Need", equation 1.

    Example:

    ```mlir
    %y = nju.attention %q, %k, %v {scale = 0.125 : f64, causal} : (tensor<1x8x?x64xf32>, tensor<1x2x?x64xf32>, tensor<1x2x?x64xf32>) -> tensor<1x8x?x64xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$query, AnyRankedTensor:$key,
                       AnyRankedTensor:$value, Optional<AnyRankedTensor>:$mask,
                       F64Attr:$scale, UnitAttr:$causal);
  let assemblyFormat = [{
    $query `,` $key `,` $value (`mask` `(` $mask^ `:` type($mask) `)`)? attr-dict `:`
    `(` type($query) `,` type($key) `,` type($value) `)` `->` type($result)
  }];
  let hasVerifier = 1;
}

def NJU_CachedAttentionOp : NJU_Op<"cached_attention", [
    MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "Attention of a ragged batch over the key/value cache";
  let description = [{
    First writes key and value of every token into the cache of `layer`, at the
    token's sequence and position; then token t attends to the positions
    `max(0, p - window + 1)` to p of its sequence, p being its position (all up
    to p without `window`). `query` is `[1, T, H, D]`, `key` and `value` are
    `[1, T, G, D]`, `positions` and `sequences` `[T]`; G divides H. The cache is
    the step's argument, see `nju_abi_step_args`. With `softcap` c, a score s
    becomes `c * tanh(s / c)`. With `slopes` (one a head) the score of position j
    is then increased by `slope * (j - p)`.

    Example:

    ```mlir
    %y = nju.cached_attention %q, %k, %v, %positions, %sequences {layer = 0 : i64, scale = 0.125 : f64} : (tensor<1x?x8x64xf32>, tensor<1x?x2x64xf32>, tensor<1x?x2x64xf32>, tensor<?xi32>, tensor<?xi32>) -> tensor<1x?x8x64xf32>
    ```
  }];
  let arguments = (ins RankedTensorOf<[F32]>:$query, RankedTensorOf<[F32]>:$key,
                       RankedTensorOf<[F32]>:$value, RankedTensorOf<[I32]>:$positions,
                       RankedTensorOf<[I32]>:$sequences, I64Attr:$layer, F64Attr:$scale,
                       OptionalAttr<I64Attr>:$window,
                       OptionalAttr<DenseF32ArrayAttr>:$slopes,
                       OptionalAttr<F64Attr>:$softcap);
  let results = (outs RankedTensorOf<[F32]>:$result);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

#endif // NJU_DIALECT_NJU_IR_ATTENTION
