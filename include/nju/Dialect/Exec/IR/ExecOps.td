//===- ExecOps.td - Programs of one device -*- tablegen -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DIALECT_EXEC_IR_EXECOPS
#define NJU_DIALECT_EXEC_IR_EXECOPS

include "mlir/IR/OpBase.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/DestinationStyleOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "nju/Dialect/NJU/IR/LCQ.td"

def Exec_Dialect : Dialect {
  let name = "exec";
  let cppNamespace = "::nju::exec";
  let summary = "The program of one device: buffers and kernel launches in order";
  let dependentDialects = ["::nju::NJUDialect"];
  let description = [{
    What the graph became once its values are buffers: a straight sequence of
    kernel launches on memrefs. Kernels are `func.func`s whose first two
    arguments are the number of the worker and how many there are.
  }];
}

def Exec_LaunchOp : Op<Exec_Dialect, "launch", [
    AttrSizedOperandSegments, DeclareOpInterfaceMethods<SymbolUserOpInterface>,
    DeclareOpInterfaceMethods<MemoryEffectsOpInterface>]> {
  let summary = "Runs a kernel on every worker";
  let description = [{
    Every worker calls `kernel` with its number, the number of workers, the
    values `scalars`, then the buffers `ins` (read) and `outs` (written, or read
    and written). The launch is over when all workers are done; what it wrote is
    then visible to all.

    Example:

    ```mlir
    func.func private @relu(index, index, memref<?x64xf32>, memref<?x64xf32>)
    func.func @main(%x: memref<?x64xf32>, %y: memref<?x64xf32>) {
      exec.launch @relu ins(%x : memref<?x64xf32>) outs(%y : memref<?x64xf32>)
      return
    }
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$kernel,
                       Variadic<AnyType>:$scalars,
                       Variadic<AnyMemRef>:$ins, Variadic<AnyMemRef>:$outs);
  let assemblyFormat = [{
    $kernel (`scalars` `(` $scalars^ `:` type($scalars) `)`)?
    (`ins` `(` $ins^ `:` type($ins) `)`)? (`outs` `(` $outs^ `:` type($outs) `)`)? attr-dict
  }];
}

def Exec_AnyBuffer : AnyTypeOf<[AnyRankedTensor, AnyMemRef]>;

/// An op that fills its last operand. On tensors the filled tensor is the
/// result, on memrefs there is none.
class Exec_DestinationOp<string mnemonic, list<Trait> traits = []>
    : Op<Exec_Dialect, mnemonic, !listconcat(traits, [
        DestinationStyleOpInterface, DeclareOpInterfaceMethods<MemoryEffectsOpInterface>])> {
  let results = (outs Optional<AnyRankedTensor>:$result);
  let extraClassDeclaration = [{
    ::mlir::MutableOperandRange getDpsInitsMutable() { return getOutputMutable(); }
  }];
}

def Exec_LinearOp : Exec_DestinationOp<"linear", [AttrSizedOperandSegments]> {
  let summary = "Product with packed weight matrices, and what becomes of it";
  let description = [{
    Without an epilogue: as `nju.linear` without a bias, into `output`. With one,
    its block gets an element of each product (of the same input with each of
    one or two `weights` of equal types), then the elements of `others` that
    belong to it, and yields what `output` gets. `others` have the shape of
    `output`, or one dimension, the last of `output`. All elements but those of
    the weights are f32. With `format`, each weight is three operands, the
    codes, the basis and the factors of a quantized matrix.

    With `choices` `[T, C]`, as `nju.expert_linear`: each weight is one of
    `experts` matrices of equal types, that which the row of the output `[T, C,
    N]` chooses; then there are no `others`.

    Examples:

    ```mlir
    func.func @f(%x: memref<?x64xf32>, %w: memref<4x64x32xf16>, %r: memref<?x100xf32>, %y: memref<?x100xf32>) {
      exec.linear ins(%x, %w : memref<?x64xf32>, memref<4x64x32xf16>) with(%r : memref<?x100xf32>) outs(%y : memref<?x100xf32>) epilogue {
      ^bb0(%product: f32, %residual: f32):
        %sum = arith.addf %product, %residual : f32
        exec.yield %sum : f32
      }
      return
    }
    func.func @g(%x: memref<?x64xf32>, %codes: memref<7x544xi8>, %basis: memref<1x16xi8>, %factors: memref<1x112xf32>, %y: memref<?x100xf32>) {
      exec.linear ins(%x, %codes, %basis, %factors : memref<?x64xf32>, memref<7x544xi8>, memref<1x16xi8>, memref<1x112xf32>) outs(%y : memref<?x100xf32>) {format = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>}
      return
    }
    ```
  }];
  let arguments = (ins Exec_AnyBuffer:$input, Variadic<Exec_AnyBuffer>:$weights,
                       Optional<Exec_AnyBuffer>:$choices,
                       Variadic<Exec_AnyBuffer>:$others, Exec_AnyBuffer:$output,
                       OptionalAttr<NJU_LCQAttr>:$format,
                       DefaultValuedAttr<I64Attr, "1">:$experts);
  let regions = (region MaxSizedRegion<1>:$epilogue);
  let assemblyFormat = [{
    `ins` `(` $input `,` $weights `:` type($input) `,` type($weights) `)`
    (`choices` `(` $choices^ `:` type($choices) `)`)?
    (`with` `(` $others^ `:` type($others) `)`)? `outs` `(` $output `:` type($output) `)`
    (`epilogue` $epilogue^)? attr-dict (`->` type($result)^)?
  }];
  let extraClassDeclaration = [{
    ::mlir::MutableOperandRange getDpsInitsMutable() { return getOutputMutable(); }
    /// Operands that are one weight of all experts.
    int64_t getWeightOperands() { return getExperts() * (getFormat() ? 3 : 1); }
    /// Products of the input: weights.
    int64_t getNumProducts() { return getWeights().size() / getWeightOperands(); }
  }];
  let hasVerifier = 1;
}

def Exec_DequantizeOp : Exec_DestinationOp<"dequantize"> {
  let summary = "Rows of a matrix quantized by LCQ, in f32";
  let description = [{
    As `nju.dequantize` with `rows`, into `output`. Rows out of range are those
    next to them.

    Example:

    ```mlir
    func.func @f(%codes: memref<7x544xi8>, %basis: memref<1x16xi8>, %factors: memref<1x112xf32>, %rows: memref<1x?xi64>, %y: memref<1x?x64xf32>) {
      exec.dequantize ins(%codes, %basis, %factors, %rows : memref<7x544xi8>, memref<1x16xi8>, memref<1x112xf32>, memref<1x?xi64>) outs(%y : memref<1x?x64xf32>) {channels = 100 : i64, format = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>}
      return
    }
    ```
  }];
  let arguments = (ins Exec_AnyBuffer:$codes, Exec_AnyBuffer:$basis,
                       Exec_AnyBuffer:$factors, Exec_AnyBuffer:$rows,
                       Exec_AnyBuffer:$output, NJU_LCQAttr:$format,
                       I64Attr:$channels);
  let assemblyFormat = [{
    `ins` `(` $codes `,` $basis `,` $factors `,` $rows `:` type($codes) `,`
    type($basis) `,` type($factors) `,` type($rows) `)`
    `outs` `(` $output `:` type($output) `)` attr-dict (`->` type($result)^)?
  }];
}

def Exec_WeightTableOp : Op<Exec_Dialect, "weight_table", [Pure]> {
  let summary = "Where weights lie";
  let description = [{
    For each of the `params`, how many bytes the `nju.param` lies behind the
    beginning of the weights, in their order. Kernels that choose among weights
    read it.

    Example:

    ```mlir
    nju.param @a : tensor<4xf32> = dense<1.0> : tensor<4xf32>
    nju.param @b : tensor<4xf32> = dense<2.0> : tensor<4xf32>
    func.func @f() {
      %table = exec.weight_table [@a, @b] : memref<2xi64>
      return
    }
    ```
  }];
  let arguments = (ins TypedArrayAttrBase<FlatSymbolRefAttr, "symbols">:$params);
  let results = (outs MemRefRankOf<[I64], [1]>:$result);
  let assemblyFormat = "$params attr-dict `:` type($result)";
}

def Exec_SliceOp : Op<Exec_Dialect, "slice", [Pure, AllTypesMatch<["source", "result"]>]> {
  let summary = "Some of a buffer's first dimension, as a buffer of its own";
  let description = [{
    `count` elements of the first dimension from `begin` on. Unlike a subview it
    has the identity layout, so that kernels take it as any buffer.

    Example:

    ```mlir
    func.func @f(%x: memref<?x64xf32>, %begin: index, %count: index) {
      %rows = exec.slice %x[%begin, %count] : memref<?x64xf32>
      return
    }
    ```
  }];
  let arguments = (ins AnyMemRef:$source, Index:$begin, Index:$count);
  let results = (outs AnyMemRef:$result);
  let assemblyFormat = "$source `[` $begin `,` $count `]` attr-dict `:` type($source)";
}

def Exec_YieldOp : Op<Exec_Dialect, "yield", [Pure, Terminator, HasParent<"LinearOp">]> {
  let summary = "What an epilogue gives";
  let description = [{
    Ends the block of `exec.linear`.

    Example:

    ```mlir
    func.func @f(%x: memref<?x64xf32>, %w: memref<4x64x32xf16>, %y: memref<?x100xf32>) {
      exec.linear ins(%x, %w : memref<?x64xf32>, memref<4x64x32xf16>) outs(%y : memref<?x100xf32>) epilogue {
      ^bb0(%product: f32):
        exec.yield %product : f32
      }
      return
    }
    ```
  }];
  let arguments = (ins F32:$value);
  let assemblyFormat = "$value `:` type($value) attr-dict";
}

def Exec_CachedAttentionOp : Exec_DestinationOp<"cached_attention"> {
  let summary = "Attention of a ragged batch over the key/value cache";
  let description = [{
    As `nju.cached_attention`, into `output`.

    Example:

    ```mlir
    func.func @f(%q: memref<1x?x8x64xf32>, %k: memref<1x?x2x64xf32>, %v: memref<1x?x2x64xf32>,
                 %positions: memref<?xi32>, %sequences: memref<?xi32>, %y: memref<1x?x8x64xf32>) {
      exec.cached_attention ins(%q, %k, %v, %positions, %sequences : memref<1x?x8x64xf32>, memref<1x?x2x64xf32>, memref<1x?x2x64xf32>, memref<?xi32>, memref<?xi32>) outs(%y : memref<1x?x8x64xf32>) {layer = 0 : i64, scale = 0.125 : f64}
      return
    }
    ```
  }];
  let arguments = (ins Exec_AnyBuffer:$query, Exec_AnyBuffer:$key, Exec_AnyBuffer:$value,
                       Exec_AnyBuffer:$positions, Exec_AnyBuffer:$sequences,
                       Exec_AnyBuffer:$output, I64Attr:$layer, F64Attr:$scale,
                       OptionalAttr<I64Attr>:$window,
                       OptionalAttr<DenseF32ArrayAttr>:$slopes,
                       OptionalAttr<F64Attr>:$softcap);
  let assemblyFormat = [{
    `ins` `(` $query `,` $key `,` $value `,` $positions `,` $sequences `:` type($query) `,`
    type($key) `,` type($value) `,` type($positions) `,` type($sequences) `)`
    `outs` `(` $output `:` type($output) `)` attr-dict (`->` type($result)^)?
  }];
}

def Exec_CheckOp : Op<Exec_Dialect, "check", [MemoryEffects<[MemWrite]>]> {
  let summary = "Ends the run with an error if a condition does not hold";
  let description = [{
    The sizes or indices that the caller gave contradict each other where
    `condition` is false: the run ends, and the caller gets `message`, in which
    `{0}` and `{1}` stand for the two numbers. Never in `@step`, whose arguments
    the runtime checks.

    Example:

    ```mlir
    func.func @f(%same: i1, %a: index, %b: index) {
      exec.check %same, "node 'add': found a size of {0}, expected {1}" (%a, %b)
      return
    }
    ```
  }];
  let arguments = (ins I1:$condition, StrAttr:$message, Index:$first, Index:$second);
  let assemblyFormat = "$condition `,` $message `(` $first `,` $second `)` attr-dict";
}

def Exec_WeightOp : Op<Exec_Dialect, "weight", [Pure]> {
  let summary = "The buffer of a weight";
  let description = [{
    Where the `nju.param` lies in memory; nobody writes to it.

    Example:

    ```mlir
    nju.param @w : tensor<4xf32> = dense<1.0> : tensor<4xf32>
    func.func @f() {
      %w = exec.weight @w : memref<4xf32>
      return
    }
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$param);
  let results = (outs AnyMemRef:$result);
  let assemblyFormat = "$param attr-dict `:` type($result)";
}

#endif // NJU_DIALECT_EXEC_IR_EXECOPS
