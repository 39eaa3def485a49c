//===- Passes.td - Passes before the emission of code ------*- tablegen -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_TARGET_PASSES
#define NJU_TARGET_PASSES

include "mlir/Pass/PassBase.td"

def LowerToLLVM : Pass<"nju-lower-to-llvm", "::mlir::ModuleOp"> {
  let summary = "Converts lowered functions to the LLVM dialect";
  let description = [{
    Converts functions on memrefs to the LLVM dialect. Requires that every
    `exec.launch` has become a call. A function `@step` or `@main` of a lowered
    model gets an entry function for the runtime, `nju_step_entry` or
    `nju_run_entry`, and all other functions become internal.

    Before:

    ```mlir
    func.func @f(%x: f32) -> f32 {
      %y = arith.addf %x, %x : f32
      return %y : f32
    }
    ```

    After:

    ```mlir
    llvm.func @f(%x: f32) -> f32 {
      %y = llvm.fadd %x, %x : f32
      llvm.return %y : f32
    }
    ```
  }];
}

#endif // NJU_TARGET_PASSES
