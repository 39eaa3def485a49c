// RUN: nju-opt %s --nju-to-lm-form=cache-type=q4 | FileCheck %s
// RUN: nju-opt %s --nju-graph-pipeline="cache-type=q8" | FileCheck %s --check-prefix=Q8
// RUN: sed 's/x8xf32/x12xf32/g' %s | not nju-opt --nju-to-lm-form=cache-type=q4 2>&1 | FileCheck %s --check-prefix=HEADS

// CHECK: cache = [{head_dim = 8 : i64, heads = 1 : i64, type = "q4"}]
// Q8: cache = [{head_dim = 8 : i64, heads = 1 : i64, type = "q8"}]
// HEADS: error: the cache cannot be q4: in layer 0, heads have 12 elements, and q4 needs a multiple of 8: use f32 or f16
nju.param @e : tensor<8x8xf32> = #nju.file<"w.data", 0, tensor<8x8xf32>>
nju.param @p : tensor<16x8xf32> = #nju.file<"w.data", 256, tensor<16x8xf32>>
func.func @main(%ids: tensor<?x?xi64> {nju.name = "input_ids"}, %pos: tensor<?x?xi64> {nju.name = "position_ids"}) -> tensor<?x?x8xf32> {
  %e = nju.param_ref @e : tensor<8x8xf32>
  %p = nju.param_ref @p : tensor<16x8xf32>
  %t = nju.gather %e, %ids {axis = 0 : i64} : (tensor<8x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %u = nju.gather %p, %pos {axis = 0 : i64} : (tensor<16x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %x = nju.add %t, %u : (tensor<?x?x8xf32>, tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  %q = nju.unsqueeze %x {axes = array<i64: 1>} : (tensor<?x?x8xf32>) -> tensor<?x1x?x8xf32>
  %a = nju.attention %q, %q, %q {scale = 1.0 : f64, causal} : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %y = nju.squeeze %a {axes = array<i64: 1>} : (tensor<?x1x?x8xf32>) -> tensor<?x?x8xf32>
  return %y : tensor<?x?x8xf32>
}
