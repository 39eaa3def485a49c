//===- Param.td - Weights and constants -*- tablegen -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DIALECT_NJU_IR_PARAM
#define NJU_DIALECT_NJU_IR_PARAM

include "nju/Dialect/NJU/IR/NJUBase.td"
include "nju/Dialect/NJU/IR/LCQ.td"
include "nju/Dialect/NJU/IR/UniformData.td"
include "mlir/IR/SymbolInterfaces.td"

def NJU_FileDataAttr : AttrDef<NJU_Dialect, "FileData"> {
  let mnemonic = "file";
  let summary = "Bytes of a file that hold a row-major tensor";
  let description = [{
    The tensor `type`, little-endian and row-major, lies at `offset` of `path`.
    Example: `#nju.file<"model.onnx.data", 4096, tensor<32000x2048xf16>>`.
  }];
  let parameters = (ins StringRefParameter<"path">:$path, "uint64_t":$offset,
                        "::mlir::RankedTensorType":$type);
  let assemblyFormat = "`<` $path `,` $offset `,` $type `>`";
}

def NJU_ParamOp : NJU_Op<"param", [Symbol]> {
  let summary = "A weight: bytes of a file, or a small value";
  let description = [{
    A symbol at module level. `data` is where the value comes from: a
    `#nju.file` of the imported model, an `#nju.uniform` of a model that is
    quantized, or an elements attribute for tables that the compiler derived. The tensor that uses see is made from it in this
    order: the dimensions are permuted by `permutation`; the elements are
    converted to those of `type`; with `panels = N`, a matrix `[K, N]` is cut
    into panels of `panels` columns, `[ceil(N / panels), K, panels]`, and the
    last panel is filled with zeros. Instead, with `format`, a matrix `[K, N]` is
    quantized, and the tensor is its `part`; it is quantized when it is written.
    With `exact`, codes, scales and zero points are those of an `#nju.uniform`.

    Examples:

    ```mlir
    nju.param @wq : tensor<64x2048x32xf16> = #nju.file<"model.onnx.data", 4096, tensor<2048x2048xf16>> {permutation = array<i64: 1, 0>, panels = 32 : i64}
    nju.param @wk : tensor<128x17408xi8> = #nju.file<"model.onnx.data", 4096, tensor<2048x2048xf16>> {permutation = array<i64: 1, 0>, format = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>, part = #nju.part<codes>}
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, TypeAttrOf<AnyRankedTensor>:$type,
                       AnyAttr:$data, OptionalAttr<DenseI64ArrayAttr>:$permutation,
                       OptionalAttr<I64Attr>:$panels,
                       OptionalAttr<NJU_LCQAttr>:$format,
                       OptionalAttr<NJU_LCQPartAttr>:$part,
                       UnitAttr:$exact, OptionalAttr<StrAttr>:$sym_visibility);
  let builders = [OpBuilder<(ins "::llvm::StringRef":$name, "::mlir::Type":$type,
      "::mlir::Attribute":$data, "::mlir::DenseI64ArrayAttr":$permutation,
      "::mlir::IntegerAttr":$panels, "::mlir::StringAttr":$visibility), [{
    build($_builder, $_state, $_builder.getStringAttr(name),
          ::mlir::TypeAttr::get(type), data, permutation, panels,
          /*format=*/nullptr, /*part=*/nullptr, /*exact=*/nullptr, visibility);
  }]>];
  let extraClassDeclaration = [{
    /// The type of the data.
    ::mlir::RankedTensorType getDataType();
    /// The data's shape, permuted: [K, N] of a matrix.
    ::llvm::SmallVector<int64_t> getMatrixShape();
  }];
  let assemblyFormat = "$sym_name `:` $type `=` $data attr-dict";
  let hasVerifier = 1;
}

def NJU_ParamRefOp : NJU_Op<"param_ref", [
    Pure, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "The value of a weight";
  let description = [{
    Example:

    ```mlir
    nju.param @w : tensor<4xf32> = dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf32>
    %w = nju.param_ref @w : tensor<4xf32>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$param);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$param attr-dict `:` type($result)";
}

def NJU_ConstantOp : NJU_Op<"constant", [ConstantLike, Pure, AllTypesMatch<["value", "result"]>]> {
  let summary = "A small constant tensor";
  let description = [{
    Constants of the graph, such as axes, scales and masks. Weights are
    `nju.param`.

    Example:

    ```mlir
    %c = nju.constant dense<[1, 2]> : tensor<2xi64>
    ```
  }];
  let arguments = (ins ElementsAttr:$value);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$value attr-dict";
  let hasFolder = 1;
  let builders = [OpBuilder<(ins "::mlir::ElementsAttr":$value), [{
    build($_builder, $_state, value.getShapedType(), value);
  }]>];
}

#endif // NJU_DIALECT_NJU_IR_PARAM
