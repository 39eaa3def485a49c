// RUN: nju-opt %s --convert-nju-to-linalg | FileCheck %s

// CHECK: nju.param @mask : tensor<4xi8>
nju.param @mask : tensor<4xi1> = dense<[true, false, true, true]> : tensor<4xi1>

// CHECK-LABEL: @types_are_those_of_memory
// CHECK: nju.param_ref @mask : tensor<4xi8>
// CHECK: arith.constant dense<[1, 0]> : tensor<2xi8>
func.func @types_are_those_of_memory() -> (tensor<4xi1>, tensor<2xi1>) {
  %m = nju.param_ref @mask : tensor<4xi1>
  %c = nju.constant dense<[true, false]> : tensor<2xi1>
  return %m, %c : tensor<4xi1>, tensor<2xi1>
}
