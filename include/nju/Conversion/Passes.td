//===- Passes.td - Passes from nju to loops -*- tablegen -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_CONVERSION_PASSES
#define NJU_CONVERSION_PASSES

include "mlir/Pass/PassBase.td"

def ConvertNJUToLinalg : Pass<"convert-nju-to-linalg", "::mlir::ModuleOp"> {
  let summary = "Lower nju ops to linalg, tensor, arith and math";
  let description = [{
    Rebuilds every function. Afterwards no nju op is left but `nju.param` and
    `nju.param_ref`; `nju.linear` and `nju.cached_attention` became
    `exec.linear` and `exec.cached_attention` on tensors. Element types are
    signless and i1 is kept as i8 (0 or 1), also in the function's type. Shape
    computations become scalar code.

    Before:

    ```mlir
    func.func @main(%x: tensor<?xf32>) -> tensor<?xf32> {
      %0 = nju.neg %x : (tensor<?xf32>) -> tensor<?xf32>
      return %0 : tensor<?xf32>
    }
    ```

    After:

    ```mlir
    #map = affine_map<(d0) -> (d0)>
    func.func @main(%x: tensor<?xf32>) -> tensor<?xf32> {
      %c0 = arith.constant 0 : index
      %dim = tensor.dim %x, %c0 : tensor<?xf32>
      %0 = tensor.empty(%dim) : tensor<?xf32>
      %1 = linalg.generic {indexing_maps = [#map, #map], iterator_types = ["parallel"]} ins(%x : tensor<?xf32>) outs(%0 : tensor<?xf32>) {
      ^bb0(%in: f32, %out: f32):
        %2 = arith.negf %in : f32
        linalg.yield %2 : f32
      } -> tensor<?xf32>
      return %1 : tensor<?xf32>
    }
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::linalg::LinalgDialect",
                           "::mlir::math::MathDialect", "::mlir::scf::SCFDialect",
                           "::mlir::tensor::TensorDialect", "::nju::exec::ExecDialect"];
}

#endif // NJU_CONVERSION_PASSES
