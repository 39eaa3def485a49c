// RUN: nju-opt %s --convert-nju-to-linalg --canonicalize --cse --split-input-file | FileCheck %s

// CHECK-LABEL: @kept_dims_are_a_reshape
// CHECK: linalg.fill
// CHECK: linalg.generic {{.*}}iterator_types = ["parallel", "reduction"]
// CHECK: arith.addf
// CHECK: arith.divf
// CHECK: tensor.expand_shape
func.func @kept_dims_are_a_reshape(%a: tensor<?x?xf32>) -> tensor<?x1xf32> {
  %y = nju.reduce_mean %a {axes = array<i64: 1>, keep_dims} : (tensor<?x?xf32>) -> tensor<?x1xf32>
  return %y : tensor<?x1xf32>
}

// -----

// CHECK-LABEL: @softmax_subtracts_the_maximum
// CHECK: arith.maximumf
// CHECK: arith.subf
// CHECK: math.exp
// CHECK: arith.addf
// CHECK: arith.divf
func.func @softmax_subtracts_the_maximum(%a: tensor<?x?xf32>) -> tensor<?x?xf32> {
  %y = nju.softmax %a {axis = 1 : i64} : (tensor<?x?xf32>) -> tensor<?x?xf32>
  return %y : tensor<?x?xf32>
}

// -----

// CHECK-LABEL: @arg_max_takes_the_first
// CHECK: arith.cmpf ogt
// CHECK: linalg.index 1
func.func @arg_max_takes_the_first(%a: tensor<?x?xf32>) -> tensor<?xi64> {
  %y = nju.arg_max %a {axis = 1 : i64} : (tensor<?x?xf32>) -> tensor<?xi64>
  return %y : tensor<?xi64>
}
