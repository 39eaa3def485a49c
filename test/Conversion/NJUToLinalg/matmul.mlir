// RUN: nju-opt %s --convert-nju-to-linalg --canonicalize --cse --split-input-file | FileCheck %s

// CHECK-DAG: #[[LHS:.*]] = affine_map<(d0, d1, d2, d3) -> (d0, d1, d3)>
// CHECK-DAG: #[[RHS:.*]] = affine_map<(d0, d1, d2, d3) -> (d3, d2)>
// CHECK-LABEL: @matrix_is_shared_by_the_batch
// CHECK: linalg.generic {indexing_maps = [#[[LHS]], #[[RHS]], #{{.*}}]
func.func @matrix_is_shared_by_the_batch(%a: tensor<?x4x8xf32>, %b: tensor<8x16xf32>) -> tensor<?x4x16xf32> {
  %y = nju.matmul %a, %b : (tensor<?x4x8xf32>, tensor<8x16xf32>) -> tensor<?x4x16xf32>
  return %y : tensor<?x4x16xf32>
}

// -----

// CHECK-LABEL: @linear_gets_a_destination
// CHECK: %[[Y:.*]] = tensor.empty(%{{.*}}) : tensor<1x?x100xf32>
// CHECK: exec.linear ins(%{{.*}}, %{{.*}} : tensor<1x?x64xf32>, tensor<4x64x32xf16>) outs(%[[Y]] : tensor<1x?x100xf32>)
func.func @linear_gets_a_destination(%x: tensor<1x?x64xf32>, %w: tensor<4x64x32xf16>) -> tensor<1x?x100xf32> {
  %y = nju.linear %x, %w : (tensor<1x?x64xf32>, tensor<4x64x32xf16>) -> tensor<1x?x100xf32>
  return %y : tensor<1x?x100xf32>
}
