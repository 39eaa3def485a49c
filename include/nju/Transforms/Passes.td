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

def FoldConstants : Pass<"nju-fold-constants", "::mlir::ModuleOp"> {
  let summary = "Compute at compile time what constants and shapes give";
  let description = [{
    Infers shapes as `nju-infer-shapes` does and replaces by `nju.constant` what
    is known at compile time: results of ops on constants (of at most 65,536
    elements, or not larger than their operands together), and small integer
    tensors that follow from static dimensions. Weights stay out of the IR: of
    params, only those of at most 1024 elements are computed with. Removes
    what the shapes prove to do nothing (reshapes and transposes that cancel,
    slices of everything, broadcasts to the same shape, casts there and back,
    selections with a constant condition, factors of 1), makes the target of a
    reshape constant where it can, and erases what nobody uses.

    Before:

    ```mlir
    func.func @main(%x: tensor<4x?xf32>, %t: tensor<?x4xf32>) -> tensor<?x?xf32> {
      %s = nju.shape_of %x : (tensor<4x?xf32>) -> tensor<2xi64>
      %zero = nju.constant dense<0> : tensor<1xi64>
      %n = nju.gather %s, %zero {axis = 0 : i64} : (tensor<2xi64>, tensor<1xi64>) -> tensor<1xi64>
      %minus = nju.constant dense<-1> : tensor<1xi64>
      %shape = nju.concat %minus, %n {axis = 0 : i64} : (tensor<1xi64>, tensor<1xi64>) -> tensor<2xi64>
      %y = nju.reshape %t, %shape : (tensor<?x4xf32>, tensor<2xi64>) -> tensor<?x?xf32>
      return %y : tensor<?x?xf32>
    }
    ```

    After:

    ```mlir
    func.func @main(%x: tensor<4x?xf32>, %t: tensor<?x4xf32>) -> tensor<?x4xf32> {
      return %t : tensor<?x4xf32>
    }
    ```
  }];
  let statistics = [
    Statistic<"numFolded", "folded", "Results that became constants">,
    Statistic<"numSimplified", "simplified", "Results that another value replaced">
  ];
}

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
