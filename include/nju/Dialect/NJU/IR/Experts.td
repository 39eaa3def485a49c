//===- Experts.td - Mixtures of experts -*- tablegen -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DIALECT_NJU_IR_EXPERTS
#define NJU_DIALECT_NJU_IR_EXPERTS

include "nju/Dialect/NJU/IR/LCQ.td"
include "nju/Dialect/NJU/IR/NJUBase.td"

def NJU_ExpertMatMulOp : NJU_PureOp<"expert_matmul"> {
  let summary = "Products with the weight matrices that tokens choose";
  let description = [{
    `y[t, c, n] = sum_k x[t, c, k] * w_e[k, n]` with the expert `e = choices[t,
    c]`. `weights` are matrices `[K, N]` of one type, one for each expert. An
    `input` of two dimensions, `[T, K]`, is the same for all choices of a token.
    Choices are from 0 to the number of experts - 1.

    A token's result depends on that token alone, and only the weights of
    experts that some token chooses are read.

    Example:

    ```mlir
    %y = nju.expert_matmul %x, %choices, %w0, %w1, %w2 : (tensor<?x64xf32>, tensor<?x2xi64>, tensor<64x100xf32>, tensor<64x100xf32>, tensor<64x100xf32>) -> tensor<?x2x100xf32>
    ```
  }];
  let arguments = (ins RankedTensorOf<[F32]>:$input,
                       RankedTensorOf<[I64]>:$choices,
                       Variadic<AnyRankedTensor>:$weights);
  let hasVerifier = 1;
}

def NJU_ExpertLinearOp : NJU_PureOp<"expert_linear"> {
  let summary = "As `nju.expert_matmul`, with packed weight matrices";
  let description = [{
    Each of the `weights` is packed as that of `nju.linear`. With `format`, the
    matrices are quantized: `weights` are the codes of all experts, then the
    basis of each, then the factors of each, as those of `nju.lcq_matmul`.

    Examples:

    ```mlir
    %y = nju.expert_linear %x, %choices, %w0, %w1 : (tensor<?x2x64xf32>, tensor<?x2xi64>, tensor<4x64x32xf16>, tensor<4x64x32xf16>) -> tensor<?x2x100xf32>
    %z = nju.expert_linear %x, %choices, %c0, %c1, %b0, %b1, %f0, %f1 {format = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>} : (tensor<?x2x64xf32>, tensor<?x2xi64>, tensor<7x544xi8>, tensor<7x544xi8>, tensor<1x16xi8>, tensor<1x16xi8>, tensor<1x112xf32>, tensor<1x112xf32>) -> tensor<?x2x100xf32>
    ```
  }];
  let arguments = (ins RankedTensorOf<[F32]>:$input,
                       RankedTensorOf<[I64]>:$choices,
                       Variadic<RankedTensorOf<[F32, F16, BF16, I8]>>:$weights,
                       OptionalAttr<NJU_LCQAttr>:$format);
  let extraClassDeclaration = [{
    int64_t getNumExperts() {
      return getWeights().size() / (getFormat() ? 3 : 1);
    }
    /// Experts that a token chooses.
    int64_t getNumChosen() {
      return std::min(getChoices().getType().getDimSize(1), getNumExperts());
    }
  }];
  let hasVerifier = 1;
}

#endif // NJU_DIALECT_NJU_IR_EXPERTS
