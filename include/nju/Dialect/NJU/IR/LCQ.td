//===- LCQ.td - The format of quantized weights -*- tablegen -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DIALECT_NJU_IR_LCQ
#define NJU_DIALECT_NJU_IR_LCQ

include "nju/Dialect/NJU/IR/NJUBase.td"

def NJU_LCQAttr : AttrDef<NJU_Dialect, "LCQ"> {
  let mnemonic = "lcq";
  let summary = "Format of a matrix quantized by LCQ";
  let description = [{
    Codes of `bits` bits; a group of `group` weights of an output channel has
    `rank` scales of `scale_bits` bits and, with `offset`, an offset. A weight is
    `sum_k scale_k basis[k, code] - offset`, or with zero points of `zero_bits`
    bits, which rank 1 can have instead of an offset, `scale (basis[code] -
    zero_point)`. Method: Cai and Li, "LCQ: Low-Rank
    Codebook based Quantization for Large Language Models" (arXiv 2405.20973).

    A matrix `[K, N]` is three tensors, its parts: `codes` `[tiles, bytes]`,
    packed for the kernels, 16 output channels a tile, with the groups' scales
    among them; `basis` `[rank, 2^bits]`; and `factors`, which the stored scales
    and offsets are multiplied with: `[rank + offset, 16 * tiles]` with scales
    of 8 bits, one for every output channel, `[1 + offset, 1]` with 16 (f16), and
    `[1, 1]`, which is 1, with 32 (f32). Zero points are int8 or f32.

    Example: `#nju.lcq<bits = 3, group = 64, rank = 2, scale_bits = 8, offset = false>`.
  }];
  let parameters = (ins "int64_t":$bits, "int64_t":$group, "int64_t":$rank,
                        "int64_t":$scale_bits, "bool":$offset,
                        DefaultValuedParameter<"int64_t", "0">:$zero_bits);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    int64_t getLevels() const { return int64_t(1) << getBits(); }
    /// Whether scales and offsets are multiplied by factors.
    bool hasFactors() const { return getScaleBits() != 32; }
    /// The layout of a matrix [columns, rows] in this format: `rows` are output
    /// channels.
    ::nju::LCQLayout getLayout(int64_t columns, int64_t rows) const;
    /// The type of a part of a matrix [columns, rows].
    ::mlir::RankedTensorType getPartType(::nju::LCQPart part, int64_t columns,
                                         int64_t rows) const;
  }];
}

def NJU_LCQPart : I32EnumAttr<"LCQPart", "A tensor of a quantized matrix", [
    I32EnumAttrCase<"Codes", 0, "codes">,
    I32EnumAttrCase<"Basis", 1, "basis">,
    I32EnumAttrCase<"Factors", 2, "factors">]> {
  let cppNamespace = "::nju";
  let genSpecializedAttr = 0;
}

def NJU_LCQPartAttr : EnumAttr<NJU_Dialect, NJU_LCQPart, "part"> {
  let assemblyFormat = "`<` $value `>`";
}

#endif // NJU_DIALECT_NJU_IR_LCQ
