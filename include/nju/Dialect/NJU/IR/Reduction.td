//===- Reduction.td - Reductions -*- tablegen -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DIALECT_NJU_IR_REDUCTION
#define NJU_DIALECT_NJU_IR_REDUCTION

include "nju/Dialect/NJU/IR/NJUBase.td"

class NJU_ReduceOp<string mnemonic, string what>
    : NJU_PureOp<mnemonic, [SameOperandsAndResultElementType]> {
  let summary = what # " over dimensions";
  let description = what # [{ over the dimensions `axes` (ascending, not
    negative); with `keep_dims` they stay with size 1.

    Example:

    ```mlir
    %y = nju.}] # mnemonic # [{ %x {axes = array<i64: 1>, keep_dims} : (tensor<2x?xf32>) -> tensor<2x1xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, DenseI64ArrayAttr:$axes, UnitAttr:$keep_dims);
}
def NJU_ReduceMaxOp : NJU_ReduceOp<"reduce_max", "Maximum">;
def NJU_ReduceMeanOp : NJU_ReduceOp<"reduce_mean", "Mean">;
def NJU_ReduceMinOp : NJU_ReduceOp<"reduce_min", "Minimum">;
def NJU_ReduceProdOp : NJU_ReduceOp<"reduce_prod", "Product">;
def NJU_ReduceSumOp : NJU_ReduceOp<"reduce_sum", "Sum">;

class NJU_ArgOp<string mnemonic, string what> : NJU_PureOp<mnemonic> {
  let summary = "Index of the " # what # " along a dimension";
  let description = "Index of the " # what # [{ along `axis`: the first one, or
    with `last` the last one.

    Example:

    ```mlir
    %y = nju.}] # mnemonic # [{ %x {axis = 1 : i64} : (tensor<2x?xf32>) -> tensor<2xi64>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, I64Attr:$axis, UnitAttr:$keep_dims,
                       UnitAttr:$last);
  let results = (outs RankedTensorOf<[I64]>:$result);
}
def NJU_ArgMaxOp : NJU_ArgOp<"arg_max", "maximum">;
def NJU_ArgMinOp : NJU_ArgOp<"arg_min", "minimum">;

def NJU_TopKOp : NJU_PureOp<"top_k"> {
  let summary = "Indices of the largest elements along a dimension";
  let description = [{
    Along `axis` the indices of the `count` largest elements, from the largest on;
    with `least` of the smallest. Of equal elements the first comes first; NaN is
    larger than any number.

    Example:

    ```mlir
    %y = nju.top_k %x {axis = 1 : i64, count = 2 : i64} : (tensor<3x?xf32>) -> tensor<3x2xi64>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, I64Attr:$axis, I64Attr:$count, UnitAttr:$least);
  let results = (outs RankedTensorOf<[I64]>:$result);
}

def NJU_SoftmaxOp : NJU_PureOp<"softmax", [SameOperandsAndResultShape, SameOperandsAndResultElementType]> {
  let summary = "exp(x - max x) / sum, along a dimension";
  let description = [{
    With `log` the logarithm of it.

    Example:

    ```mlir
    %y = nju.softmax %x {axis = 1 : i64} : (tensor<2x?xf32>) -> tensor<2x?xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, I64Attr:$axis, UnitAttr:$log);
}

#endif // NJU_DIALECT_NJU_IR_REDUCTION
