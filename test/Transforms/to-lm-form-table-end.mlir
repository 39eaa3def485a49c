// RUN: nju-opt %s --nju-to-lm-form | FileCheck %s
// RUN: not nju-opt %s --nju-to-lm-form=max-tokens=9 2>&1 | FileCheck %s --check-prefix=LONG

// Distances are the last columns of a table of 8. Of 9 tokens, these begin at -1:
// one column, which would be broadcast.
// CHECK: max_tokens = 8 : i64
// CHECK: nju.cached_attention {{.*}}slopes = array<f32: 1.000000e+00>
// LONG: error: max-tokens is 9, but the tables of positions in the model end after 8; use max-tokens=8
nju.param @e : tensor<8x8xf32> = #nju.file<"w.data", 0, tensor<8x8xf32>>
func.func @main(%ids: tensor<?x?xi64> {nju.name = "input_ids"}) -> tensor<?x?x8xf32> {
  %table = nju.constant dense<[[[[-7.0, -6.0, -5.0, -4.0, -3.0, -2.0, -1.0, 0.0]]]]> : tensor<1x1x1x8xf32>
  %eight = nju.constant dense<8> : tensor<1xi64>
  %one = nju.constant dense<1> : tensor<1xi64>
  %two = nju.constant dense<2> : tensor<1xi64>
  %shape = nju.shape_of %ids : (tensor<?x?xi64>) -> tensor<2xi64>
  %n = nju.slice %shape, %one, %two, %one {axes = array<i64: 0>} : (tensor<2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<1xi64>
  %begin = nju.sub %eight, %n : (tensor<1xi64>, tensor<1xi64>) -> tensor<1xi64>
  %mask = nju.slice %table, %begin, %eight, %one {axes = array<i64: 3>} : (tensor<1x1x1x8xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<1x1x1x?xf32>
  %e = nju.param_ref @e : tensor<8x8xf32>
  %x = nju.gather %e, %ids {axis = 0 : i64} : (tensor<8x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %q = nju.unsqueeze %x {axes = array<i64: 1>} : (tensor<?x?x8xf32>) -> tensor<?x1x?x8xf32>
  %a = nju.attention %q, %q, %q mask(%mask : tensor<1x1x1x?xf32>) {scale = 1.0 : f64, causal} : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %y = nju.squeeze %a {axes = array<i64: 1>} : (tensor<?x1x?x8xf32>) -> tensor<?x?x8xf32>
  return %y : tensor<?x?x8xf32>
}
