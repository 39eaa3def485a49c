// RUN: not nju-opt %s --nju-to-lm-form=max-tokens=17 2>&1 | FileCheck %s --check-prefix=TABLE
// RUN: not nju-opt %s --nju-to-lm-form=max-tokens=-1 2>&1 | FileCheck %s --check-prefix=NEGATIVE
// RUN: not nju-opt %s --nju-to-lm-form=max-sequences=0 2>&1 | FileCheck %s --check-prefix=SEQUENCES
// RUN: nju-opt %s --nju-to-lm-form | FileCheck %s
// RUN: not nju-opt %s --nju-to-lm-form=cache-type=f8 2>&1 | FileCheck %s --check-prefix=TYPE

// TABLE: error: max-tokens is 17, but the tables of positions in the model end after 16; use max-tokens=16
// NEGATIVE: error: max-tokens is -1, expected at least 1
// SEQUENCES: error: max-sequences is 0, expected at least 1
// TYPE: error: cache-type is 'f8', expected f32, f16, q8 or q4
// CHECK: max_tokens = 16 : i64
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
