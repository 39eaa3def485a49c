//===- MatMul.td - Matrix products -*- tablegen -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DIALECT_NJU_IR_MATMUL
#define NJU_DIALECT_NJU_IR_MATMUL

include "nju/Dialect/NJU/IR/NJUBase.td"

def NJU_MatMulOp : NJU_PureOp<"matmul"> {
  let summary = "Matrix product with NumPy semantics";
  let description = [{
    The last two dimensions are matrices, the ones before are broadcast; an
    operand of rank 1 is a row or a column and its dimension vanishes.

    Example:

    ```mlir
    %y = nju.matmul %a, %b : (tensor<?x4x8xf32>, tensor<8x16xf32>) -> tensor<?x4x16xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$lhs, AnyRankedTensor:$rhs);
}

def NJU_LinearOp : NJU_PureOp<"linear"> {
  let summary = "Product with a packed weight matrix";
  let description = [{
    `y[..., n] = sum_k x[..., k] * w[k, n] + bias[n]`, where `weight` is a
    `nju.param` of `[K, N]` packed in panels of 32 columns,
    `[ceil(N / 32), K, 32]`. Products are added in ascending k, in f32, each by
    one fused multiply-add (with `--compute=bf16`, as AMX adds them), so that a row's result does not depend on how many
    rows are computed at once.

    Example:

    ```mlir
    %y = nju.linear %x, %w bias(%b : tensor<100xf32>) : (tensor<1x?x64xf32>, tensor<4x64x32xf16>) -> tensor<1x?x100xf32>
    ```
  }];
  let arguments = (ins RankedTensorOf<[F32]>:$input,
                       RankedTensorOf<[F32, F16, BF16]>:$weight,
                       Optional<RankedTensorOf<[F32]>>:$bias);
  let assemblyFormat = [{
    $input `,` $weight (`bias` `(` $bias^ `:` type($bias) `)`)? attr-dict `:`
    `(` type($input) `,` type($weight) `)` `->` type($result)
  }];
  let hasVerifier = 1;
}

#endif // NJU_DIALECT_NJU_IR_MATMUL
