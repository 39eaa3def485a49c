//===- Quantization.td - Quantized weights -*- tablegen -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DIALECT_NJU_IR_QUANTIZATION
#define NJU_DIALECT_NJU_IR_QUANTIZATION

include "nju/Dialect/NJU/IR/LCQ.td"

def NJU_LCQMatMulOp : NJU_PureOp<"lcq_matmul"> {
  let summary = "Product with a weight matrix quantized by LCQ";
  let description = [{
    `y[..., n] = sum_k x[..., k] * w[k, n] + bias[n]`, where w is the matrix
    `[K, N]` whose parts in `format` are `codes`, `basis` and `factors`. What x
    is rounded to is chosen when the product is lowered (`--activations`).

    Example:

    ```mlir
    %y = nju.lcq_matmul %x, %codes, %basis, %factors {format = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>} : (tensor<1x?x64xf32>, tensor<7x544xi8>, tensor<1x16xi8>, tensor<1x112xf32>) -> tensor<1x?x100xf32>
    ```
  }];
  let arguments = (ins RankedTensorOf<[F32]>:$input,
                       RankedTensorOf<[I8]>:$codes, RankedTensorOf<[I8]>:$basis,
                       RankedTensorOf<[F32]>:$factors,
                       Optional<RankedTensorOf<[F32]>>:$bias,
                       NJU_LCQAttr:$format);
  let assemblyFormat = [{
    $input `,` $codes `,` $basis `,` $factors
    (`bias` `(` $bias^ `:` type($bias) `)`)? attr-dict `:`
    `(` type($input) `,` type($codes) `,` type($basis) `,` type($factors) `)`
    `->` type($result)
  }];
  let hasVerifier = 1;
}

def NJU_DequantizeOp : NJU_PureOp<"dequantize"> {
  let summary = "Weights of a matrix quantized by LCQ, in f32";
  let description = [{
    `y[i..., k] = w[k, rows[i...]]`, where w is the matrix `[K, channels]` whose
    parts are `codes`, `basis` and `factors`; without `rows`, all of it:
    `y[n, k] = w[k, n]`. Negative rows count from the end. It is how a quantized
    embedding is looked up.

    Example:

    ```mlir
    %y = nju.dequantize %codes, %basis, %factors rows(%ids : tensor<1x?xi64>) {channels = 100 : i64, format = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>} : (tensor<7x544xi8>, tensor<1x16xi8>, tensor<1x112xf32>) -> tensor<1x?x64xf32>
    ```
  }];
  let arguments = (ins RankedTensorOf<[I8]>:$codes, RankedTensorOf<[I8]>:$basis,
                       RankedTensorOf<[F32]>:$factors,
                       Optional<RankedTensorOf<[I32, I64]>>:$rows,
                       NJU_LCQAttr:$format, I64Attr:$channels);
  let assemblyFormat = [{
    $codes `,` $basis `,` $factors (`rows` `(` $rows^ `:` type($rows) `)`)?
    attr-dict `:`
    `(` type($codes) `,` type($basis) `,` type($factors) `)` `->` type($result)
  }];
  let hasVerifier = 1;
}

#endif // NJU_DIALECT_NJU_IR_QUANTIZATION
