// RUN: nju-opt %s --nju-to-lm-form --split-input-file --verify-diagnostics | FileCheck %s

// Hidden states are left out; the cache stands for keys, scaled or not.
// CHECK-LABEL: @step
// CHECK-SAME: -> (tensor<?x8xf32> {nju.name = "logits"})
// CHECK: nju.cached_attention
nju.param @e : tensor<8x8xf32> = #nju.file<"w.data", 0, tensor<8x8xf32>>
// expected-remark @below {{a causal language model gives logits only: outputs 'hidden_states.0', 'last' are left out}}
func.func @main(%ids: tensor<?x?xi64> {nju.name = "input_ids"}) -> (tensor<?x?x8xf32> {nju.name = "logits"}, tensor<?x?x8xf32> {nju.name = "hidden_states.0"}, tensor<?x1x?x8xf32> {nju.name = "present.0.key"}, tensor<?x?x8xf32> {nju.name = "last"}) {
  %e = nju.param_ref @e : tensor<8x8xf32>
  %x = nju.gather %e, %ids {axis = 0 : i64} : (tensor<8x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %q = nju.unsqueeze %x {axes = array<i64: 1>} : (tensor<?x?x8xf32>) -> tensor<?x1x?x8xf32>
  %s = nju.sin %q : (tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %half = nju.constant dense<0.5> : tensor<f32>
  %k = nju.mul %s, %half : (tensor<?x1x?x8xf32>, tensor<f32>) -> tensor<?x1x?x8xf32>
  %v = nju.cos %q : (tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %a = nju.attention %q, %k, %v {scale = 1.0 : f64, causal} : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %y = nju.squeeze %a {axes = array<i64: 1>} : (tensor<?x1x?x8xf32>) -> tensor<?x?x8xf32>
  %z = nju.cos %y : (tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  return %z, %x, %k, %y : tensor<?x?x8xf32>, tensor<?x?x8xf32>, tensor<?x1x?x8xf32>, tensor<?x?x8xf32>
}

// -----

// Beside a cache, before the logits, and of as many dimensions as keys.
// CHECK-LABEL: @step
// CHECK: nju.cached_attention
nju.param @e : tensor<8x8xf32> = #nju.file<"w.data", 0, tensor<8x8xf32>>
// expected-remark @below {{a causal language model gives logits only: output 'hidden' is left out}}
func.func @main(%ids: tensor<?x?xi64> {nju.name = "input_ids"}, %past: tensor<?x1x?x8xf32> {nju.name = "past"}) -> (tensor<?x1x?x8xf32> {nju.name = "hidden"}, tensor<?x1x?x8xf32> {nju.name = "present"}, tensor<?x?x8xf32> {nju.name = "logits"}) {
  %e = nju.param_ref @e : tensor<8x8xf32>
  %x = nju.gather %e, %ids {axis = 0 : i64} : (tensor<8x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %q = nju.unsqueeze %x {axes = array<i64: 1>} : (tensor<?x?x8xf32>) -> tensor<?x1x?x8xf32>
  %k = nju.concat %past, %q {axis = 2 : i64} : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %a = nju.attention %q, %k, %k {scale = 1.0 : f64, causal} : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %y = nju.squeeze %a {axes = array<i64: 1>} : (tensor<?x1x?x8xf32>) -> tensor<?x?x8xf32>
  return %a, %k, %y : tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>, tensor<?x?x8xf32>
}
