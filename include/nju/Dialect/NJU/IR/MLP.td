//===- MLP.td - Gated activations -*- tablegen -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DIALECT_NJU_IR_MLP
#define NJU_DIALECT_NJU_IR_MLP

include "nju/Dialect/NJU/IR/NJUBase.td"

def NJU_SwiGLUOp : NJU_PureOp<"swiglu", [SameOperandsAndResultShape, SameOperandsAndResultElementType]> {
  let summary = "silu(gate) * up";
  let description = [{
    `y = gate / (1 + exp(-gate)) * up`.
    Source: Shazeer, "GLU Variants Improve Transformer", equation 5.

    Example:

    ```mlir
    %y = nju.swiglu %gate, %up : (tensor<1x?x172xf32>, tensor<1x?x172xf32>) -> tensor<1x?x172xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$gate, AnyRankedTensor:$up);
}

#endif // NJU_DIALECT_NJU_IR_MLP
