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
    Nothing is required of the module. Names: `pack_rows`, `pack_pairs`,
    `pack_tiles`, `linear_f32`, `linear_f16`, `linear_bf16` and the three with `_bias`,
    `cache_write:GxD`, `cached_attention:HxGxD` (query heads, key/value heads,
    head dimension), these two also with `:f16`, `:q8` or `:q4` for such a cache, and the last
    with `:WINDOW` and `:tiles`, `pack_lcq_rows:GROUP`, `lcq_linear:BITSxGROUPxRANKxSCALEBITS`,
    which is also with `:offset`, for the sum of two products with `:pair`, and with
    `:int16` as the former or with `:f32`,
    `lcq_rows:BITSxGROUPxRANKxSCALEBITS`, also with `:offset`.

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
    Option<"target", "target", "std::string", "\"host\"", "As --target of nju-compile">,
    Option<"compute", "compute", "std::string", "\"f32\"", "As --compute of nju-compile">
  ];
  let dependentDialects = ["::mlir::amx::AMXDialect", "::mlir::LLVM::LLVMDialect",
                           "::mlir::arith::ArithDialect", "::mlir::func::FuncDialect",
                           "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect",
                           "::mlir::vector::VectorDialect", "::nju::exec::ExecDialect"];
}

def EmulateBF16 : Pass<"nju-emulate-bf16", "::mlir::ModuleOp"> {
  let summary = "Replaces bf16 instructions by vector code that computes the same";
  let description = [{
    For tests, and to measure what bf16 costs in accuracy, on machines without
    AMX or AVX512-BF16: tiles become buffers, and a product of bf16 tiles what
    Intel's manual says that TDPBF16PS does, subnormal numbers as zeros included.
    What AVX512-BF16 converts and multiplies is replaced in the same way. Slow.
    What `nju-compile --target=NAME+emulated-amx` and `+emulated-avx512bf16` run
    last.

    Before:

    ```mlir
    func.func @f(%x: memref<16x16xf32>) {
      %c0 = arith.constant 0 : index
      %0 = amx.tile_zero : !amx.tile<16x16xf32>
      amx.tile_store %x[%c0, %c0], %0 : memref<16x16xf32>, !amx.tile<16x16xf32>
      return
    }
    ```

    After: a loop over 16 rows that stores zeros to a buffer, and one that copies
    the buffer to `%x`.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::func::FuncDialect",
                           "::mlir::memref::MemRefDialect",
                           "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect"];
}

#endif // NJU_CODEGEN_PASSES
