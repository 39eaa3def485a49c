//===- Passes.td - Passes of the code generators -----------*- tablegen -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_CODEGEN_PASSES
#define NJU_CODEGEN_PASSES

include "mlir/Pass/PassBase.td"

def EmitKernels : Pass<"nju-emit-kernels", "::mlir::ModuleOp"> {
  let summary = "Adds kernels of the CPU kernel library to a module";
  let description = [{
    For the writers of kernels: adds the kernels that `kernels` names, as public
    functions, so that their IR and assembly can be looked at, tested and timed.
    Nothing is required of the module. Names: `pack_rows`, `linear_f32`,
    `linear_f16`, `linear_bf16` and the three with `_bias`,
    `cache_write:GxD`, `cached_attention:HxGxD` (query heads, key/value heads,
    head dimension), these two also with `:f16` for a cache in f16, and the last
    with `:WINDOW`.

    Before: `module {}`. After `--nju-emit-kernels="kernels=pack_rows"` (the body
    is left out):

    ```mlir
    module {
      func.func private @nju_pack_rows(%worker: index, %workers: index,
                                       %x: memref<?x?xf32>, %xp: memref<?xf32>)
    }
    ```
  }];
  let options = [
    ListOption<"kernels", "kernels", "std::string", "Kernels to add">,
    Option<"target", "target", "std::string", "\"host\"", "As --target of nju-compile">
  ];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::func::FuncDialect",
                           "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect",
                           "::mlir::vector::VectorDialect", "::nju::exec::ExecDialect"];
}

#endif // NJU_CODEGEN_PASSES
