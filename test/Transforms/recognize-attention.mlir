// RUN: nju-opt %s --nju-recognize --split-input-file | FileCheck %s

// CHECK-LABEL: @scale_after_the_product
// CHECK-NEXT: nju.attention %arg0, %arg1, %arg2 {scale = 2.500000e-01 : f64} :
// CHECK-NEXT: return
func.func @scale_after_the_product(%q: tensor<1x2x3x4xf32>, %k: tensor<1x2x5x4xf32>, %v: tensor<1x2x5x4xf32>) -> tensor<1x2x3x4xf32> {
  %four = nju.constant dense<4.0> : tensor<f32>
  %0 = nju.transpose %k {permutation = array<i64: 0, 1, 3, 2>} : (tensor<1x2x5x4xf32>) -> tensor<1x2x4x5xf32>
  %1 = nju.matmul %q, %0 : (tensor<1x2x3x4xf32>, tensor<1x2x4x5xf32>) -> tensor<1x2x3x5xf32>
  %2 = nju.div %1, %four : (tensor<1x2x3x5xf32>, tensor<f32>) -> tensor<1x2x3x5xf32>
  %3 = nju.softmax %2 {axis = 3 : i64} : (tensor<1x2x3x5xf32>) -> tensor<1x2x3x5xf32>
  %4 = nju.matmul %3, %v : (tensor<1x2x3x5xf32>, tensor<1x2x5x4xf32>) -> tensor<1x2x3x4xf32>
  return %4 : tensor<1x2x3x4xf32>
}

// -----

// CHECK-LABEL: @root_of_the_scale_on_both_sides_and_mask
// CHECK: nju.attention %arg0, %{{.*}}, %arg2 mask(%arg3 : tensor<3x5xf32>) {scale = 2.500000e-01 : f64}
// CHECK-NEXT: return
func.func @root_of_the_scale_on_both_sides_and_mask(%q: tensor<1x2x3x4xf32>, %kt: tensor<1x2x4x5xf32>, %v: tensor<1x2x5x4xf32>, %m: tensor<3x5xf32>) -> tensor<1x2x3x4xf32> {
  %half = nju.constant dense<0.5> : tensor<f32>
  %0 = nju.mul %q, %half : (tensor<1x2x3x4xf32>, tensor<f32>) -> tensor<1x2x3x4xf32>
  %1 = nju.mul %kt, %half : (tensor<1x2x4x5xf32>, tensor<f32>) -> tensor<1x2x4x5xf32>
  %2 = nju.matmul %0, %1 : (tensor<1x2x3x4xf32>, tensor<1x2x4x5xf32>) -> tensor<1x2x3x5xf32>
  %3 = nju.add %2, %m : (tensor<1x2x3x5xf32>, tensor<3x5xf32>) -> tensor<1x2x3x5xf32>
  %4 = nju.softmax %3 {axis = 3 : i64} : (tensor<1x2x3x5xf32>) -> tensor<1x2x3x5xf32>
  %5 = nju.matmul %4, %v : (tensor<1x2x3x5xf32>, tensor<1x2x5x4xf32>) -> tensor<1x2x3x4xf32>
  return %5 : tensor<1x2x3x4xf32>
}

// -----

// CHECK-LABEL: @replaced_scores
// CHECK: %[[ZERO:.*]] = nju.constant dense<0.000000e+00>
// CHECK: %[[LOW:.*]] = nju.constant dense<0xFF800000>
// CHECK: %[[MASK:.*]] = nju.select %arg3, %[[ZERO]], %[[LOW]]
// CHECK: nju.attention %arg0, %arg1, %arg2 mask(%[[MASK]] :
func.func @replaced_scores(%q: tensor<1x2x3x4xf32>, %k: tensor<1x2x5x4xf32>, %v: tensor<1x2x5x4xf32>, %keep: tensor<3x5xi1>) -> tensor<1x2x3x4xf32> {
  %low = nju.constant dense<0xFF800000> : tensor<f32>
  %0 = nju.transpose %k {permutation = array<i64: 0, 1, 3, 2>} : (tensor<1x2x5x4xf32>) -> tensor<1x2x4x5xf32>
  %1 = nju.matmul %q, %0 : (tensor<1x2x3x4xf32>, tensor<1x2x4x5xf32>) -> tensor<1x2x3x5xf32>
  %2 = nju.select %keep, %1, %low : (tensor<3x5xi1>, tensor<1x2x3x5xf32>, tensor<f32>) -> tensor<1x2x3x5xf32>
  %3 = nju.softmax %2 {axis = 3 : i64} : (tensor<1x2x3x5xf32>) -> tensor<1x2x3x5xf32>
  %4 = nju.matmul %3, %v : (tensor<1x2x3x5xf32>, tensor<1x2x5x4xf32>) -> tensor<1x2x3x4xf32>
  return %4 : tensor<1x2x3x4xf32>
}

// -----

// A row that is all -10000 is no row that is all scores minus 10000.
// CHECK-LABEL: @no_attention_with_scores_replaced_by_a_small_number
// CHECK-NOT: nju.attention
func.func @no_attention_with_scores_replaced_by_a_small_number(%q: tensor<1x2x3x4xf32>, %k: tensor<1x2x5x4xf32>, %v: tensor<1x2x5x4xf32>, %keep: tensor<3x5xi1>) -> tensor<1x2x3x4xf32> {
  %low = nju.constant dense<-10000.0> : tensor<f32>
  %0 = nju.transpose %k {permutation = array<i64: 0, 1, 3, 2>} : (tensor<1x2x5x4xf32>) -> tensor<1x2x4x5xf32>
  %1 = nju.matmul %q, %0 : (tensor<1x2x3x4xf32>, tensor<1x2x4x5xf32>) -> tensor<1x2x3x5xf32>
  %2 = nju.select %keep, %1, %low : (tensor<3x5xi1>, tensor<1x2x3x5xf32>, tensor<f32>) -> tensor<1x2x3x5xf32>
  %3 = nju.softmax %2 {axis = 3 : i64} : (tensor<1x2x3x5xf32>) -> tensor<1x2x3x5xf32>
  %4 = nju.matmul %3, %v : (tensor<1x2x3x5xf32>, tensor<1x2x5x4xf32>) -> tensor<1x2x3x4xf32>
  return %4 : tensor<1x2x3x4xf32>
}

// -----

// CHECK-LABEL: @no_attention_over_queries
// CHECK-NOT: nju.attention
func.func @no_attention_over_queries(%q: tensor<1x2x5x4xf32>, %k: tensor<1x2x5x4xf32>, %v: tensor<1x2x5x4xf32>) -> tensor<1x2x5x4xf32> {
  %0 = nju.transpose %k {permutation = array<i64: 0, 1, 3, 2>} : (tensor<1x2x5x4xf32>) -> tensor<1x2x4x5xf32>
  %1 = nju.matmul %q, %0 : (tensor<1x2x5x4xf32>, tensor<1x2x4x5xf32>) -> tensor<1x2x5x5xf32>
  %2 = nju.softmax %1 {axis = 2 : i64} : (tensor<1x2x5x5xf32>) -> tensor<1x2x5x5xf32>
  %3 = nju.matmul %2, %v : (tensor<1x2x5x5xf32>, tensor<1x2x5x4xf32>) -> tensor<1x2x5x4xf32>
  return %3 : tensor<1x2x5x4xf32>
}

// -----

// CHECK-LABEL: @no_attention_with_capped_scores
// CHECK-NOT: nju.attention
func.func @no_attention_with_capped_scores(%q: tensor<1x2x3x4xf32>, %kt: tensor<1x2x4x5xf32>, %v: tensor<1x2x5x4xf32>) -> tensor<1x2x3x4xf32> {
  %0 = nju.matmul %q, %kt : (tensor<1x2x3x4xf32>, tensor<1x2x4x5xf32>) -> tensor<1x2x3x5xf32>
  %1 = nju.tanh %0 : (tensor<1x2x3x5xf32>) -> tensor<1x2x3x5xf32>
  %2 = nju.softmax %1 {axis = 3 : i64} : (tensor<1x2x3x5xf32>) -> tensor<1x2x3x5xf32>
  %3 = nju.matmul %2, %v : (tensor<1x2x3x5xf32>, tensor<1x2x5x4xf32>) -> tensor<1x2x3x4xf32>
  return %3 : tensor<1x2x3x4xf32>
}
