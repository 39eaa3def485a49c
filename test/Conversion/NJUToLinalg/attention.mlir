// RUN: nju-opt %s --convert-nju-to-linalg --canonicalize --cse --split-input-file | FileCheck %s

// CHECK-LABEL: @query_heads_are_grouped
// CHECK: tensor.expand_shape %{{.*}} output_shape [1, 2, 4, %{{.*}}, 64]
// CHECK: arith.cmpi sgt
// CHECK: math.exp
// CHECK: tensor.collapse_shape %{{.*}} into tensor<1x8x?x64xf32>
func.func @query_heads_are_grouped(%q: tensor<1x8x?x64xf32> {nju.dims = ["", "", "s", ""]}, %k: tensor<1x2x?x64xf32> {nju.dims = ["", "", "l", ""]}) -> tensor<1x8x?x64xf32> {
  %y = nju.attention %q, %k, %k {scale = 0.125 : f64, causal} : (tensor<1x8x?x64xf32>, tensor<1x2x?x64xf32>, tensor<1x2x?x64xf32>) -> tensor<1x8x?x64xf32>
  return %y : tensor<1x8x?x64xf32>
}

// -----

// CHECK: #[[PARTNER:.*]] = affine_map<(d0, d1, d2, d3, d4) -> (d0, d1, d2, -d3 + 1, d4)>
// CHECK-LABEL: @rope_reads_the_partner
// CHECK: linalg.generic {indexing_maps = [#{{.*}}, #[[PARTNER]],
func.func @rope_reads_the_partner(%x: tensor<1x?x8x64xf32> {nju.dims = ["", "s", "", ""]}, %c: tensor<1x?x1x64xf32> {nju.dims = ["", "s", "", ""]}) -> tensor<1x?x8x64xf32> {
  %y = nju.rope %x, %c, %c : (tensor<1x?x8x64xf32>, tensor<1x?x1x64xf32>, tensor<1x?x1x64xf32>) -> tensor<1x?x8x64xf32>
  return %y : tensor<1x?x8x64xf32>
}

// -----

// CHECK-LABEL: @cached_attention_gets_a_destination
// CHECK: exec.cached_attention ins({{.*}}) outs({{.*}}) {layer = 0 : i64, scale = 1.250000e-01 : f64}
func.func @cached_attention_gets_a_destination(%q: tensor<1x?x8x64xf32>, %k: tensor<1x?x2x64xf32>, %p: tensor<?xi32>) -> tensor<1x?x8x64xf32> {
  %y = nju.cached_attention %q, %k, %k, %p, %p {layer = 0 : i64, scale = 0.125 : f64} : (tensor<1x?x8x64xf32>, tensor<1x?x2x64xf32>, tensor<1x?x2x64xf32>, tensor<?xi32>, tensor<?xi32>) -> tensor<1x?x8x64xf32>
  return %y : tensor<1x?x8x64xf32>
}
