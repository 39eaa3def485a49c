//===- Normalization.td - Normalizations -*- tablegen -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DIALECT_NJU_IR_NORMALIZATION
#define NJU_DIALECT_NJU_IR_NORMALIZATION

include "nju/Dialect/NJU/IR/NJUBase.td"

def NJU_RMSNormOp : NJU_PureOp<"rms_norm"> {
  let summary = "Root mean square normalization";
  let description = [{
    `y = x / sqrt(mean(x^2) + epsilon) * weight` over the last dimension.
    Source: Zhang and Sennrich, "Root Mean Square Layer Normalization",
    equation 4.

    Example:

    ```mlir
    %y = nju.rms_norm %x, %w {epsilon = 1.0e-5 : f64} : (tensor<1x?x64xf32>, tensor<64xf32>) -> tensor<1x?x64xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, AnyRankedTensor:$weight, F64Attr:$epsilon);
  let hasVerifier = 1;
}

def NJU_LayerNormOp : NJU_PureOp<"layer_norm"> {
  let summary = "Layer normalization";
  let description = [{
    `y = (x - mean(x)) / sqrt(var(x) + epsilon) * weight + bias` over the last
    dimension, with the biased variance; `bias` may be left out.
    Source: Ba, Kiros and Hinton, "Layer Normalization", equation 3.

    Example:

    ```mlir
    %y = nju.layer_norm %x, %w, %b {epsilon = 1.0e-5 : f64} : (tensor<1x?x64xf32>, tensor<64xf32>, tensor<64xf32>) -> tensor<1x?x64xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, AnyRankedTensor:$weight,
                       Optional<AnyRankedTensor>:$bias, F64Attr:$epsilon);
  let hasVerifier = 1;
}

#endif // NJU_DIALECT_NJU_IR_NORMALIZATION
