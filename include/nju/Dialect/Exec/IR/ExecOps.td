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
include "mlir/Interfaces/SideEffectInterfaces.td"

def Exec_Dialect : Dialect {
  let name = "exec";
  let cppNamespace = "::nju::exec";
  let summary = "The program of one device: buffers and kernel launches in order";
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

#endif // NJU_DIALECT_EXEC_IR_EXECOPS
