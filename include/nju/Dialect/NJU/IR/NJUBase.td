//===- NJUBase.td - The nju dialect -*- tablegen -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DIALECT_NJU_IR_NJUBASE
#define NJU_DIALECT_NJU_IR_NJUBASE

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/OpBase.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def NJU_Dialect : Dialect {
  let name = "nju";
  let cppNamespace = "::nju";
  let summary = "Graphs of neural networks on ranked tensors";
  let description = [{
    The graph dialect of NJU. Every model, whatever exporter wrote it, becomes
    a `func.func` of these ops on ranked tensors with dynamic dimensions.
    Element-wise ops broadcast as NumPy does. Weights are `nju.param` symbols
    that name bytes of a file: no weight byte enters the IR.

    Families, each in a file of its own on every level: element-wise, shape
    (data movement), matmul, experts, reduction, normalization, attention, MLP.
  }];
  let useDefaultAttributePrinterParser = 1;
  let hasConstantMaterializer = 1;
}

class NJU_Op<string mnemonic, list<Trait> traits = []>
    : Op<NJU_Dialect, mnemonic, traits>;

/// An op without side effects that yields one tensor.
class NJU_PureOp<string mnemonic, list<Trait> traits = []>
    : NJU_Op<mnemonic, !listconcat(traits, [Pure])> {
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

#endif // NJU_DIALECT_NJU_IR_NJUBASE
