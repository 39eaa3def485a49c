// RUN: nju-opt %s --convert-nju-to-linalg | FileCheck %s

// CHECK-LABEL: @swiglu_is_one_op
// CHECK: linalg.generic
// CHECK: math.exp
// CHECK: arith.divf
// CHECK: arith.mulf
// CHECK-NOT: linalg.generic
func.func @swiglu_is_one_op(%a: tensor<?x8xf32> {nju.dims = ["n", ""]}, %b: tensor<?x8xf32> {nju.dims = ["n", ""]}) -> tensor<?x8xf32> {
  %y = nju.swiglu %a, %b : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}
