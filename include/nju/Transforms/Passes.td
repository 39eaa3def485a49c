//===- Passes.td - Passes on the nju dialect -*- tablegen -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_TRANSFORMS_PASSES
#define NJU_TRANSFORMS_PASSES

include "mlir/Pass/PassBase.td"

def InferShapes : Pass<"nju-infer-shapes", "::mlir::ModuleOp"> {
  let summary = "Infer result types from the arguments' types";
  let description = [{
    Recomputes the shape of every nju result in order, following the values of
    shape computations symbolically, so that dimensions become as static as
    they can be. Runs after anything that changes the type of an argument.

    Before:

    ```mlir
    func.func @main(%x: tensor<1x?x8xf32>) -> tensor<?x?x?xf32> {
      %0 = nju.neg %x : (tensor<1x?x8xf32>) -> tensor<?x?x?xf32>
      return %0 : tensor<?x?x?xf32>
    }
    ```

    After:

    ```mlir
    func.func @main(%x: tensor<1x?x8xf32>) -> tensor<1x?x8xf32> {
      %0 = nju.neg %x : (tensor<1x?x8xf32>) -> tensor<1x?x8xf32>
      return %0 : tensor<1x?x8xf32>
    }
    ```
  }];
}

#endif // NJU_TRANSFORMS_PASSES
