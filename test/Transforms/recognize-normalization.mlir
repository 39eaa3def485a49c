// RUN: nju-opt %s --nju-recognize --split-input-file | FileCheck %s

// CHECK-LABEL: @rms_norm_of_sqrt_and_div
// CHECK-SAME: (%[[X:.*]]: tensor<?x8xf32>, %[[W:.*]]: tensor<8xf32>)
// CHECK-NEXT: %[[Y:.*]] = nju.rms_norm %[[X]], %[[W]] {epsilon = 9.99{{.*}}E-6 : f64}
// CHECK-NEXT: return %[[Y]]
func.func @rms_norm_of_sqrt_and_div(%x: tensor<?x8xf32>, %w: tensor<8xf32>) -> tensor<?x8xf32> {
  %two = nju.constant dense<2.0> : tensor<f32>
  %eps = nju.constant dense<1.0e-5> : tensor<f32>
  %one = nju.constant dense<1.0> : tensor<f32>
  %0 = nju.pow %x, %two : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %1 = nju.reduce_mean %0 {axes = array<i64: 1>, keep_dims} : (tensor<?x8xf32>) -> tensor<?x1xf32>
  %2 = nju.add %1, %eps : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %3 = nju.sqrt %2 : (tensor<?x1xf32>) -> tensor<?x1xf32>
  %4 = nju.div %one, %3 : (tensor<f32>, tensor<?x1xf32>) -> tensor<?x1xf32>
  %5 = nju.mul %x, %4 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %6 = nju.mul %w, %5 : (tensor<8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %6 : tensor<?x8xf32>
}

// -----

// The sum divided by the size, the weight on the right, a power of -0.5.
// CHECK-LABEL: @rms_norm_of_sum_and_power
// CHECK: nju.rms_norm %arg0, %arg1
// CHECK-NEXT: return
func.func @rms_norm_of_sum_and_power(%x: tensor<?x8xf32>, %w: tensor<8xf32>) -> tensor<?x8xf32> {
  %eps = nju.constant dense<1.0e-5> : tensor<f32>
  %eighth = nju.constant dense<0.125> : tensor<f32>
  %exponent = nju.constant dense<-0.5> : tensor<f32>
  %0 = nju.mul %x, %x : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %1 = nju.reduce_sum %0 {axes = array<i64: 1>, keep_dims} : (tensor<?x8xf32>) -> tensor<?x1xf32>
  %2 = nju.mul %1, %eighth : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %3 = nju.add %eps, %2 : (tensor<f32>, tensor<?x1xf32>) -> tensor<?x1xf32>
  %4 = nju.pow %3, %exponent : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %5 = nju.mul %4, %x : (tensor<?x1xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %6 = nju.mul %5, %w : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  return %6 : tensor<?x8xf32>
}

// -----

// CHECK-LABEL: @rms_norm_without_weight
// CHECK: %[[ONES:.*]] = nju.constant dense<1.000000e+00> : tensor<8xf32>
// CHECK: nju.rms_norm %arg0, %[[ONES]]
func.func @rms_norm_without_weight(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %eps = nju.constant dense<1.0e-5> : tensor<f32>
  %0 = nju.mul %x, %x : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %1 = nju.reduce_mean %0 {axes = array<i64: 1>, keep_dims} : (tensor<?x8xf32>) -> tensor<?x1xf32>
  %2 = nju.add %1, %eps : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %3 = nju.rsqrt %2 : (tensor<?x1xf32>) -> tensor<?x1xf32>
  %4 = nju.mul %x, %3 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  return %4 : tensor<?x8xf32>
}

// -----

// CHECK-LABEL: @no_rms_norm_of_another_value
// CHECK-NOT: nju.rms_norm
func.func @no_rms_norm_of_another_value(%x: tensor<?x8xf32>, %y: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %eps = nju.constant dense<1.0e-5> : tensor<f32>
  %0 = nju.mul %x, %x : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %1 = nju.reduce_mean %0 {axes = array<i64: 1>, keep_dims} : (tensor<?x8xf32>) -> tensor<?x1xf32>
  %2 = nju.add %1, %eps : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %3 = nju.rsqrt %2 : (tensor<?x1xf32>) -> tensor<?x1xf32>
  %4 = nju.mul %y, %3 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  return %4 : tensor<?x8xf32>
}

// -----

// CHECK-LABEL: @no_rms_norm_over_another_dimension
// CHECK-NOT: nju.rms_norm
func.func @no_rms_norm_over_another_dimension(%x: tensor<8x8xf32>) -> tensor<8x8xf32> {
  %eps = nju.constant dense<1.0e-5> : tensor<f32>
  %0 = nju.mul %x, %x : (tensor<8x8xf32>, tensor<8x8xf32>) -> tensor<8x8xf32>
  %1 = nju.reduce_mean %0 {axes = array<i64: 0>, keep_dims} : (tensor<8x8xf32>) -> tensor<1x8xf32>
  %2 = nju.add %1, %eps : (tensor<1x8xf32>, tensor<f32>) -> tensor<1x8xf32>
  %3 = nju.rsqrt %2 : (tensor<1x8xf32>) -> tensor<1x8xf32>
  %4 = nju.mul %x, %3 : (tensor<8x8xf32>, tensor<1x8xf32>) -> tensor<8x8xf32>
  return %4 : tensor<8x8xf32>
}

// -----

// CHECK-LABEL: @no_rms_norm_of_a_sum
// CHECK-NOT: nju.rms_norm
func.func @no_rms_norm_of_a_sum(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %eps = nju.constant dense<1.0e-5> : tensor<f32>
  %0 = nju.mul %x, %x : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %1 = nju.reduce_sum %0 {axes = array<i64: 1>, keep_dims} : (tensor<?x8xf32>) -> tensor<?x1xf32>
  %2 = nju.add %1, %eps : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %3 = nju.rsqrt %2 : (tensor<?x1xf32>) -> tensor<?x1xf32>
  %4 = nju.mul %x, %3 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  return %4 : tensor<?x8xf32>
}

// -----

// CHECK-LABEL: @no_rms_norm_of_a_third_power
// CHECK-NOT: nju.rms_norm
func.func @no_rms_norm_of_a_third_power(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %three = nju.constant dense<3.0> : tensor<f32>
  %0 = nju.pow %x, %three : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %1 = nju.reduce_mean %0 {axes = array<i64: 1>, keep_dims} : (tensor<?x8xf32>) -> tensor<?x1xf32>
  %2 = nju.rsqrt %1 : (tensor<?x1xf32>) -> tensor<?x1xf32>
  %3 = nju.mul %x, %2 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  return %3 : tensor<?x8xf32>
}

// -----

// The exporter subtracts the mean twice.
// CHECK-LABEL: @layer_norm
// CHECK: nju.layer_norm %arg0, %arg1, %arg2 {epsilon = 9.99{{.*}}E-6 : f64}
// CHECK-NEXT: return
func.func @layer_norm(%x: tensor<?x8xf32>, %w: tensor<8xf32>, %b: tensor<8xf32>) -> tensor<?x8xf32> {
  %two = nju.constant dense<2.0> : tensor<f32>
  %eps = nju.constant dense<1.0e-5> : tensor<f32>
  %0 = nju.reduce_mean %x {axes = array<i64: 1>, keep_dims} : (tensor<?x8xf32>) -> tensor<?x1xf32>
  %1 = nju.sub %x, %0 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %2 = nju.sub %x, %0 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %3 = nju.pow %2, %two : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %4 = nju.reduce_mean %3 {axes = array<i64: 1>, keep_dims} : (tensor<?x8xf32>) -> tensor<?x1xf32>
  %5 = nju.add %4, %eps : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %6 = nju.sqrt %5 : (tensor<?x1xf32>) -> tensor<?x1xf32>
  %7 = nju.div %1, %6 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %8 = nju.mul %7, %w : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %9 = nju.add %8, %b : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  return %9 : tensor<?x8xf32>
}

// -----

// The deviation is from another value's mean.
// CHECK-LABEL: @no_layer_norm_of_another_mean
// CHECK: nju.sub
// CHECK: nju.rms_norm
// CHECK-NOT: nju.layer_norm
func.func @no_layer_norm_of_another_mean(%x: tensor<?x8xf32>, %y: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %0 = nju.reduce_mean %y {axes = array<i64: 1>, keep_dims} : (tensor<?x8xf32>) -> tensor<?x1xf32>
  %1 = nju.sub %x, %0 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %2 = nju.mul %1, %1 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %3 = nju.reduce_mean %2 {axes = array<i64: 1>, keep_dims} : (tensor<?x8xf32>) -> tensor<?x1xf32>
  %4 = nju.rsqrt %3 : (tensor<?x1xf32>) -> tensor<?x1xf32>
  %5 = nju.mul %1, %4 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  return %5 : tensor<?x8xf32>
}
