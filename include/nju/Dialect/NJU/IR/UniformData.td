//===- UniformData.td - Weights that came quantized -*- tablegen -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DIALECT_NJU_IR_UNIFORMDATA
#define NJU_DIALECT_NJU_IR_UNIFORMDATA

include "nju/Dialect/NJU/IR/NJUBase.td"

def NJU_PackedIntegersAttr : AttrDef<NJU_Dialect, "PackedIntegers"> {
  let mnemonic = "packed";
  let summary = "A matrix of integers of a few bits";
  let description = [{
    `bits` (2, 4 or 8) of each element, the first in the lowest bits of a byte; a
    row begins `row_bits` after the one before it. `data` are the bytes, a
    `#nju.file` or an elements attribute of type `tensor<?xui8>`.

    Example: `#nju.packed<data = #nju.file<"m.data", 0, tensor<2048xui8>>, bits = 4, row_bits = 256, is_signed = false>`.
  }];
  let parameters = (ins "::mlir::Attribute":$data, "int64_t":$bits,
                        "int64_t":$row_bits, "bool":$is_signed);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// Whether the data have all elements of a matrix [rows, columns].
    bool holds(int64_t rows, int64_t columns) const;
  }];
}

def NJU_UniformDataAttr : AttrDef<NJU_Dialect, "UniformData"> {
  let mnemonic = "uniform";
  let summary = "A matrix that another tool has quantized";
  let description = [{
    The matrix `type` in f32, whose element (i, j) is
    `scale * (code - zero_point)`, each of the two rounded to f32, where `codes`
    is an `#nju.packed` and the scale and the zero point are those of block
    (i / rows_of_block, j / columns_of_block). `scales` are a `#nju.file` or an
    elements attribute of f32, f16 or bf16, row-major. `zero_points` are the
    same, or an `#nju.packed`; without them all are `zero_point`. With
    `column_order`, column j is column column_order[j] of the codes; blocks are counted
    after that.

    This is what `MatMulNBits` and `DequantizeLinear` of ONNX compute, and how
    GPTQ and AWQ store weights.

    Example:

    ```mlir
    nju.param @w : tensor<64x64xf32> = #nju.uniform<codes = #nju.packed<data = #nju.file<"m.data", 0, tensor<2048xui8>>, bits = 4, row_bits = 256, is_signed = false>, scales = #nju.file<"m.data", 2048, tensor<64x2xf32>>, zero_point = 8, block = [1, 32], type = tensor<64x64xf32>>
    ```
  }];
  let parameters = (ins "::nju::PackedIntegersAttr":$codes,
                        "::mlir::Attribute":$scales,
                        OptionalParameter<"::mlir::Attribute">:$zero_points,
                        DefaultValuedParameter<"int64_t", "0">:$zero_point,
                        "::mlir::DenseI64ArrayAttr":$block,
                        OptionalParameter<"::mlir::DenseI64ArrayAttr">:$column_order,
                        "::mlir::RankedTensorType":$type);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// Blocks along a dimension of the matrix.
    int64_t getNumBlocks(int64_t dimension) const;
  }];
}

#endif // NJU_DIALECT_NJU_IR_UNIFORMDATA
