// RUN: nju-opt %s --convert-nju-to-linalg --canonicalize --cse --split-input-file | FileCheck %s

// The shape computation leaves no tensor behind.
// CHECK-LABEL: @shape_computation_is_scalar_code
// CHECK-NOT: tensor.from_elements
// CHECK-NOT: tensor.reshape
// CHECK: %[[N:.*]] = tensor.dim %{{.*}}, %c0
// CHECK: tensor.expand_shape %{{.*}} {{\[}}[0], [1, 2]] output_shape [%[[N]], 8, 8]
func.func @shape_computation_is_scalar_code(%x: tensor<?x64xf32>) -> tensor<?x8x8xf32> {
  %s = nju.shape_of %x : (tensor<?x64xf32>) -> tensor<2xi64>
  %zero = nju.constant dense<0> : tensor<1xi64>
  %n = nju.gather %s, %zero {axis = 0 : i64} : (tensor<2xi64>, tensor<1xi64>) -> tensor<1xi64>
  %h = nju.constant dense<[8, -1]> : tensor<2xi64>
  %shape = nju.concat %n, %h {axis = 0 : i64} : (tensor<1xi64>, tensor<2xi64>) -> tensor<3xi64>
  %y = nju.reshape %x, %shape : (tensor<?x64xf32>, tensor<3xi64>) -> tensor<?x8x8xf32>
  return %y : tensor<?x8x8xf32>
}

// -----

// CHECK-LABEL: @moving_a_unit_dimension_copies_nothing
// CHECK-NOT: linalg.generic
// CHECK: tensor.expand_shape
func.func @moving_a_unit_dimension_copies_nothing(%x: tensor<1x?x8xf32>) -> tensor<?x1x8xf32> {
  %y = nju.transpose %x {permutation = array<i64: 1, 0, 2>} : (tensor<1x?x8xf32>) -> tensor<?x1x8xf32>
  return %y : tensor<?x1x8xf32>
}

// -----

// CHECK-LABEL: @unit_steps_are_a_view
// CHECK: tensor.extract_slice %{{.*}}[0, 1] [%{{.*}}, 4] [1, 1]
func.func @unit_steps_are_a_view(%a: tensor<?x9xf32>) -> tensor<?x4xf32> {
  %one = nju.constant dense<1> : tensor<1xi64>
  %five = nju.constant dense<5> : tensor<1xi64>
  %y = nju.slice %a, %one, %five, %one {axes = array<i64: 1>} : (tensor<?x9xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: @concat_inserts
// CHECK: tensor.insert_slice %{{.*}} into %{{.*}}[0, 0]
// CHECK: tensor.insert_slice %{{.*}} into %{{.*}}[0, %{{.*}}]
func.func @concat_inserts(%a: tensor<2x?xf32>, %b: tensor<2x3xf32>) -> tensor<2x?xf32> {
  %y = nju.concat %a, %b {axis = 1 : i64} : (tensor<2x?xf32>, tensor<2x3xf32>) -> tensor<2x?xf32>
  return %y : tensor<2x?xf32>
}

// -----

// CHECK-LABEL: @pad_fills_and_inserts
// CHECK: linalg.fill
// CHECK: tensor.insert_slice
func.func @pad_fills_and_inserts(%a: tensor<?x4xf32>) -> tensor<?x7xf32> {
  %p = nju.constant dense<[1, 2, 0, 1]> : tensor<4xi64>
  %v = nju.constant dense<5.0> : tensor<f32>
  %y = nju.pad %a, %p, %v : (tensor<?x4xf32>, tensor<4xi64>, tensor<f32>) -> tensor<?x7xf32>
  return %y : tensor<?x7xf32>
}
