//===- Shape.td - Data movement and shapes -*- tablegen -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DIALECT_NJU_IR_SHAPE
#define NJU_DIALECT_NJU_IR_SHAPE

include "nju/Dialect/NJU/IR/NJUBase.td"

def NJU_ShapeOfOp : NJU_PureOp<"shape_of"> {
  let summary = "The dimensions of a tensor as an i64 vector";
  let description = [{
    Example:

    ```mlir
    %s = nju.shape_of %x : (tensor<2x?xf32>) -> tensor<2xi64>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input);
  let results = (outs RankedTensorOf<[I64]>:$result);
}

def NJU_ReshapeOp : NJU_PureOp<"reshape"> {
  let summary = "The same elements in another shape";
  let description = [{
    `shape` is an i64 vector; one entry may be -1 (what is left), and 0 copies
    the operand's dimension unless `allow_zero` is set.

    Example:

    ```mlir
    %y = nju.reshape %x, %shape : (tensor<?x64xf32>, tensor<3xi64>) -> tensor<?x8x8xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, RankedTensorOf<[I64]>:$shape,
                       UnitAttr:$allow_zero);
}

def NJU_SqueezeOp : NJU_PureOp<"squeeze"> {
  let summary = "Removes dimensions of size 1";
  let description = [{
    Removes the dimensions `axes` (ascending, not negative), which have size 1.

    Example:

    ```mlir
    %y = nju.squeeze %x {axes = array<i64: 0>} : (tensor<1x?xf32>) -> tensor<?xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, DenseI64ArrayAttr:$axes);
}

def NJU_UnsqueezeOp : NJU_PureOp<"unsqueeze"> {
  let summary = "Inserts dimensions of size 1";
  let description = [{
    Inserts dimensions so that the result's dimensions `axes` (ascending, not
    negative) have size 1.

    Example:

    ```mlir
    %y = nju.unsqueeze %x {axes = array<i64: 0>} : (tensor<?xf32>) -> tensor<1x?xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, DenseI64ArrayAttr:$axes);
}

def NJU_TransposeOp : NJU_PureOp<"transpose"> {
  let summary = "Permutes dimensions";
  let description = [{
    Dimension `i` of the result is dimension `permutation[i]` of the operand.

    Example:

    ```mlir
    %y = nju.transpose %x {permutation = array<i64: 1, 0>} : (tensor<2x?xf32>) -> tensor<?x2xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, DenseI64ArrayAttr:$permutation);
  let hasFolder = 1;
  let hasVerifier = 1;
}

def NJU_BroadcastToOp : NJU_PureOp<"broadcast_to"> {
  let summary = "Broadcasts a tensor with a shape";
  let description = [{
    The operand is broadcast with an i64 vector of dimensions, both ways, as
    NumPy broadcasts two arrays (a 1 in `shape` keeps the operand's dimension).

    Example:

    ```mlir
    %y = nju.broadcast_to %x, %shape : (tensor<1x8xf32>, tensor<2xi64>) -> tensor<?x8xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, RankedTensorOf<[I64]>:$shape);
}

def NJU_ConcatOp : NJU_PureOp<"concat"> {
  let summary = "Joins tensors along a dimension";
  let description = [{
    Example:

    ```mlir
    %y = nju.concat %a, %b {axis = 1 : i64} : (tensor<2x?xf32>, tensor<2x3xf32>) -> tensor<2x?xf32>
    ```
  }];
  let arguments = (ins Variadic<AnyRankedTensor>:$inputs, I64Attr:$axis);
}

def NJU_SliceOp : NJU_PureOp<"slice"> {
  let summary = "Takes ranges of some dimensions";
  let description = [{
    For each i, the dimension `axes[i]` is cut to `starts[i] : ends[i] :
    steps[i]`. Negative bounds count from the end; bounds are clamped to the
    dimension; a step may be negative. `axes` are constant, the rest i64
    vectors.

    Example:

    ```mlir
    %y = nju.slice %x, %starts, %ends, %steps {axes = array<i64: 1>} : (tensor<2x8xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<2x?xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, RankedTensorOf<[I64]>:$starts,
                       RankedTensorOf<[I64]>:$ends, RankedTensorOf<[I64]>:$steps,
                       DenseI64ArrayAttr:$axes);
}

def NJU_PadOp : NJU_PureOp<"pad"> {
  let summary = "Adds elements at the borders";
  let description = [{
    `pads` is an i64 vector: what to add before each dimension, then after each
    (negative: remove). New elements are `value`, a scalar tensor.

    Example:

    ```mlir
    %y = nju.pad %x, %pads, %v : (tensor<2x?xf32>, tensor<4xi64>, tensor<f32>) -> tensor<?x?xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, RankedTensorOf<[I64]>:$pads,
                       AnyRankedTensor:$value);
}

def NJU_GatherOp : NJU_PureOp<"gather"> {
  let summary = "Looks up slices along a dimension";
  let description = [{
    `y[..., i..., ...] = x[..., indices[i...], ...]` with `indices` in the place
    of dimension `axis`. Negative indices count from the end.

    Example:

    ```mlir
    %y = nju.gather %table, %ids {axis = 0 : i64} : (tensor<512x64xf32>, tensor<1x?xi64>) -> tensor<1x?x64xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input,
                       RankedTensorOf<[I32, I64]>:$indices, I64Attr:$axis);
}

def NJU_EmbeddingOp : NJU_PureOp<"embedding"> {
  let summary = "Looks up columns of a packed weight matrix";
  let description = [{
    `y[i..., k] = w[k, ids[i...]]`, where `weight` is a `nju.param` of `[K, N]`
    packed as for `nju.linear`, and `columns` is N: a model whose output head is
    its embedding stores the matrix once. It is what `nju.gather` along
    dimension 0 of the transposed matrix gives: negative indices count from the
    end, and what fills up the last panel is never looked up.

    Example:

    ```mlir
    %x = nju.embedding %w, %ids {columns = 100 : i64} : (tensor<4x64x32xf16>, tensor<1x?xi64>) -> tensor<1x?x64xf16>
    ```
  }];
  let arguments = (ins RankedTensorOf<[F32, F16, BF16]>:$weight,
                       RankedTensorOf<[I32, I64]>:$indices, I64Attr:$columns);
  let hasVerifier = 1;
}

def NJU_GatherElementsOp : NJU_PureOp<"gather_elements"> {
  let summary = "Looks up single elements along a dimension";
  let description = [{
    `y[i][j][k] = x[indices[i][j][k]][j][k]` for `axis` 0, and so on.

    Example:

    ```mlir
    %y = nju.gather_elements %x, %i {axis = 1 : i64} : (tensor<2x?xf32>, tensor<2x3xi64>) -> tensor<2x3xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input,
                       RankedTensorOf<[I32, I64]>:$indices, I64Attr:$axis);
}

def NJU_GatherNDOp : NJU_PureOp<"gather_nd"> {
  let summary = "Looks up slices by index vectors";
  let description = [{
    The last dimension of `indices` holds index vectors into the operand's
    dimensions after the first `batch_dims`.

    Example:

    ```mlir
    %y = nju.gather_nd %x, %i {batch_dims = 0 : i64} : (tensor<2x?xf32>, tensor<5x2xi64>) -> tensor<5xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, RankedTensorOf<[I64]>:$indices,
                       I64Attr:$batch_dims);
}

def NJU_ScatterReduction : I32Enum<"ScatterReduction", "How nju.scatter_nd combines elements", [
    I32EnumCase<"replace", 0>, I32EnumCase<"add", 1>, I32EnumCase<"mul", 2>,
    I32EnumCase<"max", 3>, I32EnumCase<"min", 4>]> {
  let cppNamespace = "::nju";
}
def NJU_ScatterReductionAttr : EnumAttr<NJU_Dialect, NJU_ScatterReduction, "scatter_reduction">;

def NJU_ScatterNDOp : NJU_PureOp<"scatter_nd"> {
  let summary = "A copy of a tensor with slices replaced";
  let description = [{
    The last dimension of `indices` holds index vectors into `input`; what they
    name is replaced by the slices of `updates`, or with `reduction` combined with
    them, in their order.

    Example:

    ```mlir
    %y = nju.scatter_nd %x, %i, %u : (tensor<2x?xf32>, tensor<5x2xi64>, tensor<5xf32>) -> tensor<2x?xf32>
    %z = nju.scatter_nd %x, %i, %u {reduction = #nju<scatter_reduction add>} : (tensor<2x?xf32>, tensor<5x2xi64>, tensor<5xf32>) -> tensor<2x?xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, RankedTensorOf<[I64]>:$indices,
                       AnyRankedTensor:$updates,
                       DefaultValuedAttr<NJU_ScatterReductionAttr,
                           "::nju::ScatterReduction::replace">:$reduction);
}

def NJU_TileOp : NJU_PureOp<"tile"> {
  let summary = "Repeats a tensor";
  let description = [{
    Repeats dimension i `repeats[i]` times.

    Example:

    ```mlir
    %y = nju.tile %x, %r : (tensor<2x?xf32>, tensor<2xi64>) -> tensor<?x?xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, RankedTensorOf<[I64]>:$repeats);
}

def NJU_RangeOp : NJU_PureOp<"range"> {
  let summary = "The numbers start, start + delta, ... below limit";
  let description = [{
    The three operands are scalars of one type.

    Example:

    ```mlir
    %y = nju.range %start, %limit, %delta : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$start, AnyRankedTensor:$limit,
                       AnyRankedTensor:$delta);
}

def NJU_FillOp : NJU_PureOp<"fill"> {
  let summary = "A tensor of one value";
  let description = [{
    A tensor of the dimensions `shape` (an i64 vector) whose elements are all
    `value`, a scalar tensor.

    Example:

    ```mlir
    %y = nju.fill %shape, %v : (tensor<2xi64>, tensor<f32>) -> tensor<?x?xf32>
    ```
  }];
  let arguments = (ins RankedTensorOf<[I64]>:$shape, AnyRankedTensor:$value);
}

def NJU_CumSumOp : NJU_PureOp<"cum_sum", [SameOperandsAndResultShape, SameOperandsAndResultElementType]> {
  let summary = "Running sums along a dimension";
  let description = [{
    With `exclusive`, an element does not count itself; with `reverse`, sums run
    from the end.

    Example:

    ```mlir
    %y = nju.cum_sum %x {axis = 1 : i64} : (tensor<2x?xi64>) -> tensor<2x?xi64>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, I64Attr:$axis, UnitAttr:$exclusive,
                       UnitAttr:$reverse);
}

def NJU_TriluOp : NJU_PureOp<"trilu"> {
  let summary = "Upper or lower triangle of matrices";
  let description = [{
    Keeps the elements on and above (with `upper`) or on and below the diagonal
    `k` (an i64 scalar tensor) of the last two dimensions; the rest is zero.

    Example:

    ```mlir
    %y = nju.trilu %x, %k {upper} : (tensor<?x?xf32>, tensor<i64>) -> tensor<?x?xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input, RankedTensorOf<[I64]>:$k, UnitAttr:$upper);
}

def NJU_NonZeroOp : NJU_PureOp<"non_zero"> {
  let summary = "Indices of the elements that are not zero";
  let description = [{
    The result is `[rank, count]`, in row-major order.

    Example:

    ```mlir
    %y = nju.non_zero %x : (tensor<?xi1>) -> tensor<1x?xi64>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$input);
  let results = (outs RankedTensorOf<[I64]>:$result);
}

#endif // NJU_DIALECT_NJU_IR_SHAPE
