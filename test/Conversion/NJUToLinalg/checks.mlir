// RUN: nju-opt %s --convert-nju-to-linalg --canonicalize --split-input-file | FileCheck %s

// Sizes that have one name are one value: nothing to check.
// CHECK-LABEL: func.func @main
// CHECK-NOT: exec.check
func.func @main(%a: tensor<?x?xf32> {nju.dims = ["n", "m"]}, %b: tensor<?x?xf32> {nju.dims = ["n", "m"]}, %c: tensor<?xf32> {nju.dims = ["m"]}) -> tensor<?x?xf32> {
  %0 = nju.add %a, %b : (tensor<?x?xf32>, tensor<?x?xf32>) -> tensor<?x?xf32>
  %1 = nju.mul %0, %c : (tensor<?x?xf32>, tensor<?xf32>) -> tensor<?x?xf32>
  %2 = nju.transpose %1 {permutation = array<i64: 1, 0>} : (tensor<?x?xf32>) -> tensor<?x?xf32>
  %3 = nju.matmul %1, %2 : (tensor<?x?xf32>, tensor<?x?xf32>) -> tensor<?x?xf32>
  return %3 : tensor<?x?xf32>
}

// -----

// Nor where they are static.
// CHECK-LABEL: func.func @main
// CHECK-NOT: exec.check
func.func @main(%a: tensor<2x3xf32>, %b: tensor<3xf32>) -> tensor<3xf32> {
  %i = nju.constant dense<1> : tensor<i64>
  %0 = nju.add %a, %b : (tensor<2x3xf32>, tensor<3xf32>) -> tensor<2x3xf32>
  %1 = nju.gather %0, %i {axis = 0 : i64} : (tensor<2x3xf32>, tensor<i64>) -> tensor<3xf32>
  return %1 : tensor<3xf32>
}

// -----

// The inner sizes have to be equal.
// CHECK-LABEL: func.func @main(
// CHECK-SAME: %[[A:.*]]: tensor<?x?xf32>, %[[B:.*]]: tensor<?x?xf32>)
// CHECK-DAG: %[[K:.*]] = tensor.dim %[[A]], %c1
// CHECK-DAG: %[[L:.*]] = tensor.dim %[[B]], %c0
// CHECK: %[[SAME:.*]] = arith.cmpi eq, %[[L]], %[[K]]
// CHECK: exec.check %[[SAME]], "node 'mm': found a size of {0}, expected {1}"(%[[L]], %[[K]])
// CHECK: linalg.generic
func.func @main(%a: tensor<?x?xf32>, %b: tensor<?x?xf32>) -> tensor<?x?xf32> {
  %y = nju.matmul %a, %b : (tensor<?x?xf32>, tensor<?x?xf32>) -> tensor<?x?xf32> loc("mm")
  return %y : tensor<?x?xf32>
}

// -----

// The runtime checks what it gives a step.
// CHECK-LABEL: func.func @step
// CHECK-NOT: exec.check
func.func @step(%tokens: tensor<?xi32>, %table: tensor<8x4xf32>) -> tensor<?x4xf32> {
  %y = nju.gather %table, %tokens {axis = 0 : i64} : (tensor<8x4xf32>, tensor<?xi32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}
