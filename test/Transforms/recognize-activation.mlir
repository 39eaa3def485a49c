// RUN: nju-opt %s --nju-recognize --split-input-file | FileCheck %s

// CHECK-LABEL: @gelu_of_erf
// CHECK-NEXT: %[[Y:.*]] = nju.gelu %arg0 : (tensor<?x8xf32>) -> tensor<?x8xf32>
// CHECK-NEXT: return %[[Y]]
func.func @gelu_of_erf(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %root = nju.constant dense<1.4142135> : tensor<f32>
  %one = nju.constant dense<1.0> : tensor<f32>
  %half = nju.constant dense<0.5> : tensor<f32>
  %0 = nju.div %x, %root : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %1 = nju.erf %0 : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %2 = nju.add %1, %one : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %3 = nju.mul %x, %2 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %4 = nju.mul %3, %half : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  return %4 : tensor<?x8xf32>
}

// -----

// x/2 + x/2 * erf(x * 0.707) with the constant of an f16 model.
// CHECK-LABEL: @gelu_of_erf_multiplied_out
// CHECK-NEXT: nju.gelu %arg0
// CHECK-NEXT: return
func.func @gelu_of_erf_multiplied_out(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %root = nju.constant dense<0.70703125> : tensor<f32>
  %half = nju.constant dense<0.5> : tensor<f32>
  %0 = nju.mul %x, %root : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %1 = nju.erf %0 : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %2 = nju.mul %half, %x : (tensor<f32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %3 = nju.mul %1, %2 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %4 = nju.add %3, %2 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %4 : tensor<?x8xf32>
}

// -----

// CHECK-LABEL: @gelu_of_tanh
// CHECK-NEXT: nju.gelu %arg0 {tanh}
// CHECK-NEXT: return
func.func @gelu_of_tanh(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %cubic = nju.constant dense<0.044715> : tensor<f32>
  %root = nju.constant dense<0.7978845608> : tensor<f32>
  %three = nju.constant dense<3.0> : tensor<f32>
  %one = nju.constant dense<1.0> : tensor<f32>
  %half = nju.constant dense<0.5> : tensor<f32>
  %0 = nju.mul %x, %half : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %1 = nju.pow %x, %three : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %2 = nju.mul %1, %cubic : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %3 = nju.add %x, %2 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %4 = nju.mul %3, %root : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %5 = nju.tanh %4 : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %6 = nju.add %5, %one : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %7 = nju.mul %0, %6 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %7 : tensor<?x8xf32>
}

// -----

// CHECK-LABEL: @no_gelu_of_another_cubic
// CHECK: nju.tanh
// CHECK-NOT: nju.gelu
func.func @no_gelu_of_another_cubic(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %cubic = nju.constant dense<0.0447> : tensor<f32>
  %root = nju.constant dense<0.7978845608> : tensor<f32>
  %three = nju.constant dense<3.0> : tensor<f32>
  %one = nju.constant dense<1.0> : tensor<f32>
  %half = nju.constant dense<0.5> : tensor<f32>
  %0 = nju.mul %x, %half : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %1 = nju.pow %x, %three : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %2 = nju.mul %1, %cubic : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %3 = nju.add %x, %2 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %4 = nju.mul %3, %root : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %5 = nju.tanh %4 : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %6 = nju.add %5, %one : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %7 = nju.mul %0, %6 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %7 : tensor<?x8xf32>
}

// -----

// CHECK-LABEL: @no_gelu_of_two_values
// CHECK: nju.erf
// CHECK-NOT: nju.gelu
func.func @no_gelu_of_two_values(%x: tensor<?x8xf32>, %y: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %root = nju.constant dense<1.4142135> : tensor<f32>
  %one = nju.constant dense<1.0> : tensor<f32>
  %half = nju.constant dense<0.5> : tensor<f32>
  %0 = nju.div %x, %root : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %1 = nju.erf %0 : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %2 = nju.add %1, %one : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %3 = nju.mul %y, %2 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %4 = nju.mul %3, %half : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  return %4 : tensor<?x8xf32>
}

// -----

// CHECK-LABEL: @silu_of_exp
// CHECK: nju.silu %arg0
// CHECK-NEXT: return
func.func @silu_of_exp(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %one = nju.constant dense<1.0> : tensor<f32>
  %0 = nju.neg %x : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %1 = nju.exp %0 : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %2 = nju.add %1, %one : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %3 = nju.div %x, %2 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %3 : tensor<?x8xf32>
}

// -----

// Sigmoid of 1.702 x is another function.
// CHECK-LABEL: @no_silu_of_a_scaled_value
// CHECK: nju.sigmoid
// CHECK-NOT: nju.silu
func.func @no_silu_of_a_scaled_value(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %scale = nju.constant dense<1.702> : tensor<f32>
  %0 = nju.mul %x, %scale : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %1 = nju.sigmoid %0 : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %2 = nju.mul %x, %1 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %2 : tensor<?x8xf32>
}

// -----

// CHECK-LABEL: @swiglu
// CHECK-NEXT: nju.swiglu %arg0, %arg1
// CHECK-NEXT: return
func.func @swiglu(%gate: tensor<4x8xf32>, %up: tensor<4x8xf32>) -> tensor<4x8xf32> {
  %0 = nju.sigmoid %gate : (tensor<4x8xf32>) -> tensor<4x8xf32>
  %1 = nju.mul %gate, %0 : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %2 = nju.mul %1, %up : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  return %2 : tensor<4x8xf32>
}

// -----

// Nothing says that the two have as many rows.
// CHECK-LABEL: @no_swiglu_of_unknown_shapes
// CHECK: nju.silu
// CHECK: nju.mul
func.func @no_swiglu_of_unknown_shapes(%gate: tensor<?x8xf32>, %up: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %0 = nju.sigmoid %gate : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %1 = nju.mul %gate, %0 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %2 = nju.mul %1, %up : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %2 : tensor<?x8xf32>
}
