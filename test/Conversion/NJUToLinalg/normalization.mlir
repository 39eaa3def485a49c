// RUN: nju-opt %s --convert-nju-to-linalg --canonicalize --cse --split-input-file | FileCheck %s

// CHECK-LABEL: @rms_norm_is_a_sum_and_a_map
// CHECK: linalg.generic {{.*}}"reduction"
// CHECK: arith.mulf
// CHECK: arith.addf
// CHECK: linalg.generic
// CHECK: math.sqrt
// CHECK-NOT: linalg.generic
func.func @rms_norm_is_a_sum_and_a_map(%x: tensor<1x?x8xf32>, %w: tensor<8xf32>) -> tensor<1x?x8xf32> {
  %y = nju.rms_norm %x, %w {epsilon = 1.0e-5 : f64} : (tensor<1x?x8xf32>, tensor<8xf32>) -> tensor<1x?x8xf32>
  return %y : tensor<1x?x8xf32>
}

// -----

// CHECK-LABEL: @layer_norm_subtracts_the_mean_first
// CHECK: linalg.generic {{.*}}"reduction"
// CHECK: linalg.generic {{.*}}"reduction"
// CHECK: arith.subf
// CHECK: math.sqrt
func.func @layer_norm_subtracts_the_mean_first(%x: tensor<1x?x8xf32>, %w: tensor<8xf32>) -> tensor<1x?x8xf32> {
  %y = nju.layer_norm %x, %w {epsilon = 1.0e-5 : f64} : (tensor<1x?x8xf32>, tensor<8xf32>) -> tensor<1x?x8xf32>
  return %y : tensor<1x?x8xf32>
}
