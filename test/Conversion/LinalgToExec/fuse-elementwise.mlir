// RUN: nju-opt %s --convert-nju-to-linalg --canonicalize --cse --nju-fuse-elementwise --split-input-file | FileCheck %s

// CHECK-LABEL: @chain_is_one_op
// CHECK: linalg.generic
// CHECK: math.exp
// CHECK: arith.negf
// CHECK-NOT: linalg.generic
func.func @chain_is_one_op(%x: tensor<?xf32>) -> tensor<?xf32> {
  %a = nju.exp %x : (tensor<?xf32>) -> tensor<?xf32>
  %b = nju.neg %a : (tensor<?xf32>) -> tensor<?xf32>
  return %b : tensor<?xf32>
}

// -----

// CHECK-LABEL: @used_twice_is_computed_once
// CHECK-COUNT-1: math.exp
// CHECK-NOT: math.exp
func.func @used_twice_is_computed_once(%x: tensor<?xf32>) -> (tensor<?xf32>, tensor<?xf32>) {
  %a = nju.exp %x : (tensor<?xf32>) -> tensor<?xf32>
  %b = nju.neg %a : (tensor<?xf32>) -> tensor<?xf32>
  return %a, %b : tensor<?xf32>, tensor<?xf32>
}

// -----

// An exponential is not computed again for every column of the product.
// CHECK-LABEL: @costly_operand_of_a_product_stays
// CHECK: math.exp
// CHECK: linalg.generic {{.*}}"reduction"
// CHECK-NOT: math.exp
func.func @costly_operand_of_a_product_stays(%x: tensor<?x8xf32>, %w: tensor<8x16xf32>) -> tensor<?x16xf32> {
  %a = nju.exp %x : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %b = nju.matmul %a, %w : (tensor<?x8xf32>, tensor<8x16xf32>) -> tensor<?x16xf32>
  return %b : tensor<?x16xf32>
}

// -----

// CHECK-LABEL: @square_is_a_product
// CHECK-NOT: math.powf
// CHECK: arith.mulf
func.func @square_is_a_product(%x: tensor<?xf32>) -> tensor<?xf32> {
  %two = nju.constant dense<2.0> : tensor<f32>
  %b = nju.pow %x, %two : (tensor<?xf32>, tensor<f32>) -> tensor<?xf32>
  return %b : tensor<?xf32>
}
