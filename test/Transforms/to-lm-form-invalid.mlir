// RUN: nju-opt %s --nju-to-lm-form --split-input-file --verify-diagnostics | FileCheck %s

// Each graph stays as it is.
// CHECK-NOT: @step

// expected-remark @below {{no causal language model: no output is [batch, sequence, vocabulary] with a static vocabulary}}
// expected-note @below {{this one}}
func.func @main(%x: tensor<?x4xf32> {nju.name = "x"}) -> tensor<?x4x?x1xf32> {
  %shape = nju.constant dense<[-1, 4, 1, 1]> : tensor<4xi64>
  %0 = nju.reshape %x, %shape : (tensor<?x4xf32>, tensor<4xi64>) -> tensor<?x4x?x1xf32>
  return %0 : tensor<?x4x?x1xf32>
}

// -----

// expected-remark @below {{no causal language model: the role of input 'segments' is unknown}}
// expected-note @below {{this one}}
func.func @main(%ids: tensor<?x?xi64> {nju.name = "input_ids"}, %s: tensor<?x?x?xi64> {nju.name = "segments"}, %x: tensor<?x?x8xf32>) -> tensor<?x?x8xf32> {
  return %x : tensor<?x?x8xf32>
}

// -----

// expected-remark @below {{no causal language model: it has 0 inputs of token ids, expected one}}
// expected-note @below {{this one}}
func.func @main(%m: tensor<?x?xi64> {nju.name = "attention_mask"}, %x: tensor<?x?x8x1xf32> {nju.name = "past"}) -> tensor<?x?x8xf32> {
  %0 = nju.squeeze %x {axes = array<i64: 3>} : (tensor<?x?x8x1xf32>) -> tensor<?x?x8xf32>
  return %0 : tensor<?x?x8xf32>
}

// -----

nju.param @e : tensor<8x8xf32> = #nju.file<"w.data", 0, tensor<8x8xf32>>
// expected-remark @below {{no causal language model: input 'input_ids' has a static length of 16}}
// expected-note @below {{this one}}
func.func @main(%ids: tensor<1x16xi64> {nju.name = "input_ids"}) -> tensor<1x16x8xf32> {
  %e = nju.param_ref @e : tensor<8x8xf32>
  %x = nju.gather %e, %ids {axis = 0 : i64} : (tensor<8x8xf32>, tensor<1x16xi64>) -> tensor<1x16x8xf32>
  return %x : tensor<1x16x8xf32>
}

// -----

nju.param @e : tensor<8x8xf32> = #nju.file<"w.data", 0, tensor<8x8xf32>>
// expected-remark @below {{no causal language model: it has no attention}}
// expected-note @below {{this one}}
func.func @main(%ids: tensor<?x?xi64> {nju.name = "input_ids"}) -> tensor<?x?x8xf32> {
  %e = nju.param_ref @e : tensor<8x8xf32>
  %x = nju.gather %e, %ids {axis = 0 : i64} : (tensor<8x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  return %x : tensor<?x?x8xf32>
}

// -----

// Every token sees every token.
nju.param @e : tensor<8x8xf32> = #nju.file<"w.data", 0, tensor<8x8xf32>>
// expected-remark @below {{no causal language model: an attention is not causal: its mask shows a later token (query 0, key 1)}}
func.func @main(%ids: tensor<?x?xi64> {nju.name = "input_ids"}) -> tensor<?x?x8xf32> {
  %e = nju.param_ref @e : tensor<8x8xf32>
  %x = nju.gather %e, %ids {axis = 0 : i64} : (tensor<8x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %q = nju.unsqueeze %x {axes = array<i64: 1>} : (tensor<?x?x8xf32>) -> tensor<?x1x?x8xf32>
  // expected-note @below {{this one}}
  %a = nju.attention %q, %q, %q {scale = 1.0 : f64} : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %y = nju.squeeze %a {axes = array<i64: 1>} : (tensor<?x1x?x8xf32>) -> tensor<?x?x8xf32>
  return %y : tensor<?x?x8xf32>
}

// -----

// Scores are cut off on their way to the softmax, where small ones do not show it.
nju.param @e : tensor<8x8xf32> = #nju.file<"w.data", 0, tensor<8x8xf32>>
// expected-remark @below {{its mask does not scale all products alike}}
func.func @main(%ids: tensor<?x?xi64> {nju.name = "input_ids"}) -> tensor<?x?x8xf32> {
  %e = nju.param_ref @e : tensor<8x8xf32>
  %zero = nju.constant dense<0> : tensor<i64>
  %one = nju.constant dense<1> : tensor<i64>
  %low = nju.constant dense<0xFF800000> : tensor<f32>
  %cap = nju.constant dense<50.0> : tensor<f32>
  %lowest = nju.constant dense<-50.0> : tensor<f32>
  %scale = nju.constant dense<0.0625> : tensor<f32>
  %shape = nju.shape_of %ids : (tensor<?x?xi64>) -> tensor<2xi64>
  %s = nju.gather %shape, %one {axis = 0 : i64} : (tensor<2xi64>, tensor<i64>) -> tensor<i64>
  %range = nju.range %zero, %s, %one : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %column = nju.unsqueeze %range {axes = array<i64: 1>} : (tensor<?xi64>) -> tensor<?x1xi64>
  %later = nju.compare gt %range, %column : (tensor<?xi64>, tensor<?x1xi64>) -> tensor<?x?xi1>
  %x = nju.gather %e, %ids {axis = 0 : i64} : (tensor<8x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %kt = nju.transpose %x {permutation = array<i64: 0, 2, 1>} : (tensor<?x?x8xf32>) -> tensor<?x8x?xf32>
  %0 = nju.matmul %x, %kt : (tensor<?x?x8xf32>, tensor<?x8x?xf32>) -> tensor<?x?x?xf32>
  %s16 = nju.mul %0, %scale : (tensor<?x?x?xf32>, tensor<f32>) -> tensor<?x?x?xf32>
  %2 = nju.min %s16, %cap : (tensor<?x?x?xf32>, tensor<f32>) -> tensor<?x?x?xf32>
  %3 = nju.max %2, %lowest : (tensor<?x?x?xf32>, tensor<f32>) -> tensor<?x?x?xf32>
  %4 = nju.select %later, %low, %3 : (tensor<?x?xi1>, tensor<f32>, tensor<?x?x?xf32>) -> tensor<?x?x?xf32>
  %5 = nju.softmax %4 {axis = 2 : i64} : (tensor<?x?x?xf32>) -> tensor<?x?x?xf32>
  // expected-note @below {{this one}}
  %6 = nju.matmul %5, %x : (tensor<?x?x?xf32>, tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  return %6 : tensor<?x?x8xf32>
}

// -----

// The keys are scaled by their position after they are cached: what is cached is
// not what is used.
nju.param @e : tensor<8x8xf32> = #nju.file<"w.data", 0, tensor<8x8xf32>>
// expected-remark @below {{no causal language model: the keys of an attention have 1 sources of new tokens and 0 pasts}}
func.func @main(%ids: tensor<?x?xi64> {nju.name = "input_ids"}, %pk: tensor<?x1x?x8xf32> {nju.name = "past.0.key"}) -> (tensor<?x?x8xf32>, tensor<?x1x?x8xf32>) {
  %e = nju.param_ref @e : tensor<8x8xf32>
  %x = nju.gather %e, %ids {axis = 0 : i64} : (tensor<8x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %q = nju.unsqueeze %x {axes = array<i64: 1>} : (tensor<?x?x8xf32>) -> tensor<?x1x?x8xf32>
  %k = nju.concat %pk, %q {axis = 2 : i64} : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %changed = nju.sin %k : (tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  // expected-note @below {{this one}}
  %a = nju.attention %q, %changed, %k {scale = 1.0 : f64, causal} : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %y = nju.squeeze %a {axes = array<i64: 1>} : (tensor<?x1x?x8xf32>) -> tensor<?x?x8xf32>
  return %y, %k : tensor<?x?x8xf32>, tensor<?x1x?x8xf32>
}

// -----

// The new tokens are put before the past.
nju.param @e : tensor<8x8xf32> = #nju.file<"w.data", 0, tensor<8x8xf32>>
// expected-remark @below {{no causal language model: the keys of an attention are not those of the past and the new tokens in order}}
func.func @main(%ids: tensor<?x?xi64> {nju.name = "input_ids"}, %pk: tensor<?x1x?x8xf32> {nju.name = "past.0.key"}) -> (tensor<?x?x8xf32>, tensor<?x1x?x8xf32>) {
  %e = nju.param_ref @e : tensor<8x8xf32>
  %x = nju.gather %e, %ids {axis = 0 : i64} : (tensor<8x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %q = nju.unsqueeze %x {axes = array<i64: 1>} : (tensor<?x?x8xf32>) -> tensor<?x1x?x8xf32>
  %k = nju.concat %q, %pk {axis = 2 : i64} : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  // expected-note @below {{this one}}
  %a = nju.attention %q, %k, %k {scale = 1.0 : f64, causal} : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %y = nju.squeeze %a {axes = array<i64: 1>} : (tensor<?x1x?x8xf32>) -> tensor<?x?x8xf32>
  return %y, %k : tensor<?x?x8xf32>, tensor<?x1x?x8xf32>
}

// -----

// The cache that goes out is not the one that was used.
nju.param @e : tensor<8x8xf32> = #nju.file<"w.data", 0, tensor<8x8xf32>>
// expected-remark @below {{no causal language model: an output is not the past with the new values appended}}
func.func @main(%ids: tensor<?x?xi64> {nju.name = "input_ids"}, %pk: tensor<?x1x?x8xf32> {nju.name = "past.0.key"}, %pv: tensor<?x1x?x8xf32> {nju.name = "past.0.value"}) -> (tensor<?x?x8xf32>, tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) {
  %e = nju.param_ref @e : tensor<8x8xf32>
  %x = nju.gather %e, %ids {axis = 0 : i64} : (tensor<8x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %q = nju.unsqueeze %x {axes = array<i64: 1>} : (tensor<?x?x8xf32>) -> tensor<?x1x?x8xf32>
  %n = nju.neg %q : (tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %k = nju.concat %pk, %q {axis = 2 : i64} : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %v = nju.concat %pv, %n {axis = 2 : i64} : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %w = nju.concat %pv, %q {axis = 2 : i64} : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  // expected-note @below {{this one}}
  %a = nju.attention %q, %k, %v {scale = 1.0 : f64, causal} : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %y = nju.squeeze %a {axes = array<i64: 1>} : (tensor<?x1x?x8xf32>) -> tensor<?x?x8xf32>
  return %y, %k, %w : tensor<?x?x8xf32>, tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>
}

// -----

// A mean over the tokens.
nju.param @e : tensor<8x8xf32> = #nju.file<"w.data", 0, tensor<8x8xf32>>
// expected-remark @below {{no causal language model: 'nju.reduce_mean' does not give one row for each token}}
func.func @main(%ids: tensor<?x?xi64> {nju.name = "input_ids"}) -> tensor<?x?x8xf32> {
  %e = nju.param_ref @e : tensor<8x8xf32>
  %x = nju.gather %e, %ids {axis = 0 : i64} : (tensor<8x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  // expected-note @below {{this one}}
  %m = nju.reduce_mean %x {axes = array<i64: 1>, keep_dims} : (tensor<?x?x8xf32>) -> tensor<?x1x8xf32>
  %s = nju.sub %x, %m : (tensor<?x?x8xf32>, tensor<?x1x8xf32>) -> tensor<?x?x8xf32>
  %q = nju.unsqueeze %s {axes = array<i64: 1>} : (tensor<?x?x8xf32>) -> tensor<?x1x?x8xf32>
  %a = nju.attention %q, %q, %q {scale = 1.0 : f64, causal} : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %y = nju.squeeze %a {axes = array<i64: 1>} : (tensor<?x1x?x8xf32>) -> tensor<?x?x8xf32>
  return %y : tensor<?x?x8xf32>
}

// -----

// A running sum over the tokens.
nju.param @e : tensor<8x8xf32> = #nju.file<"w.data", 0, tensor<8x8xf32>>
// expected-remark @below {{no causal language model: 'nju.cum_sum' mixes tokens}}
func.func @main(%ids: tensor<?x?xi64> {nju.name = "input_ids"}) -> tensor<?x?x8xf32> {
  %e = nju.param_ref @e : tensor<8x8xf32>
  %x = nju.gather %e, %ids {axis = 0 : i64} : (tensor<8x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  // expected-note @below {{this one}}
  %s = nju.cum_sum %x {axis = 1 : i64} : (tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  %q = nju.unsqueeze %s {axes = array<i64: 1>} : (tensor<?x?x8xf32>) -> tensor<?x1x?x8xf32>
  %a = nju.attention %q, %q, %q {scale = 1.0 : f64, causal} : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %y = nju.squeeze %a {axes = array<i64: 1>} : (tensor<?x1x?x8xf32>) -> tensor<?x?x8xf32>
  return %y : tensor<?x?x8xf32>
}

// -----

// What is added depends on the length of the sequence.
nju.param @e : tensor<8x8xf32> = #nju.file<"w.data", 0, tensor<8x8xf32>>
// expected-remark @below {{no causal language model: a value depends on more than its token's position}}
func.func @main(%ids: tensor<?x?xi64> {nju.name = "input_ids"}) -> tensor<?x?x8xf32> {
  %e = nju.param_ref @e : tensor<8x8xf32>
  %one = nju.constant dense<1> : tensor<i64>
  %shape = nju.shape_of %ids : (tensor<?x?xi64>) -> tensor<2xi64>
  %s = nju.gather %shape, %one {axis = 0 : i64} : (tensor<2xi64>, tensor<i64>) -> tensor<i64>
  // expected-note @below {{this one}}
  %f = nju.cast %s : (tensor<i64>) -> tensor<f32>
  %x = nju.gather %e, %ids {axis = 0 : i64} : (tensor<8x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %t = nju.mul %x, %f : (tensor<?x?x8xf32>, tensor<f32>) -> tensor<?x?x8xf32>
  %q = nju.unsqueeze %t {axes = array<i64: 1>} : (tensor<?x?x8xf32>) -> tensor<?x1x?x8xf32>
  %a = nju.attention %q, %q, %q {scale = 1.0 : f64, causal} : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %y = nju.squeeze %a {axes = array<i64: 1>} : (tensor<?x1x?x8xf32>) -> tensor<?x?x8xf32>
  return %y : tensor<?x?x8xf32>
}

// -----

// The logits of the last token but one.
nju.param @e : tensor<8x8xf32> = #nju.file<"w.data", 0, tensor<8x8xf32>>
// expected-remark @below {{no causal language model: output 'logits' does not have one row for each token}}
func.func @main(%ids: tensor<?x?xi64> {nju.name = "input_ids"}) -> (tensor<?x1x8xf32> {nju.name = "logits"}) {
  %e = nju.param_ref @e : tensor<8x8xf32>
  %start = nju.constant dense<-2> : tensor<1xi64>
  %end = nju.constant dense<-1> : tensor<1xi64>
  %step = nju.constant dense<1> : tensor<1xi64>
  %x = nju.gather %e, %ids {axis = 0 : i64} : (tensor<8x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %q = nju.unsqueeze %x {axes = array<i64: 1>} : (tensor<?x?x8xf32>) -> tensor<?x1x?x8xf32>
  %a = nju.attention %q, %q, %q {scale = 1.0 : f64, causal} : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %y = nju.squeeze %a {axes = array<i64: 1>} : (tensor<?x1x?x8xf32>) -> tensor<?x?x8xf32>
  // expected-note @below {{this one}}
  %z = nju.slice %y, %start, %end, %step {axes = array<i64: 1>} : (tensor<?x?x8xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1x8xf32>
  return %z : tensor<?x1x8xf32>
}

// -----

// The output holds keys of the new tokens, but not the ones that are used.
nju.param @e : tensor<8x8xf32> = #nju.file<"w.data", 0, tensor<8x8xf32>>
// expected-remark @below {{no causal language model: no output holds the keys of an attention for the next call}}
func.func @main(%ids: tensor<?x?xi64> {nju.name = "input_ids"}, %pk: tensor<?x1x?x8xf32> {nju.name = "past"}) -> (tensor<?x?x8xf32>, tensor<?x1x?x8xf32>) {
  %e = nju.param_ref @e : tensor<8x8xf32>
  %x = nju.gather %e, %ids {axis = 0 : i64} : (tensor<8x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %n = nju.neg %x : (tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  %q = nju.unsqueeze %x {axes = array<i64: 1>} : (tensor<?x?x8xf32>) -> tensor<?x1x?x8xf32>
  %other = nju.unsqueeze %n {axes = array<i64: 1>} : (tensor<?x?x8xf32>) -> tensor<?x1x?x8xf32>
  %k = nju.concat %pk, %q {axis = 2 : i64} : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  // expected-note @below {{this one}}
  %a = nju.attention %q, %k, %k {scale = 1.0 : f64, causal} : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %y = nju.squeeze %a {axes = array<i64: 1>} : (tensor<?x1x?x8xf32>) -> tensor<?x?x8xf32>
  return %y, %other : tensor<?x?x8xf32>, tensor<?x1x?x8xf32>
}

// -----

// Segments look up a weight: they are neither positions nor a mask.
nju.param @e : tensor<8x8xf32> = #nju.file<"w.data", 0, tensor<8x8xf32>>
nju.param @s : tensor<2x8xf32> = #nju.file<"w.data", 256, tensor<2x8xf32>>
// expected-remark @below {{no causal language model: the role of input 'segments' is unknown}}
// expected-note @below {{this one}}
func.func @main(%ids: tensor<?x?xi64> {nju.name = "ids"}, %segments: tensor<?x?xi64> {nju.name = "segments"}) -> tensor<?x?x8xf32> {
  %e = nju.param_ref @e : tensor<8x8xf32>
  %s = nju.param_ref @s : tensor<2x8xf32>
  %x = nju.gather %e, %ids {axis = 0 : i64} : (tensor<8x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %y = nju.gather %s, %segments {axis = 0 : i64} : (tensor<2x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %z = nju.add %x, %y : (tensor<?x?x8xf32>, tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  return %z : tensor<?x?x8xf32>
}

// -----

// The caller's mask may show later tokens or not.
nju.param @e : tensor<8x8xf32> = #nju.file<"w.data", 0, tensor<8x8xf32>>
// expected-remark @below {{no causal language model: input 'attention_mask' is a mask of pairs of tokens, so whether a token sees later ones is up to each call; expected a mask of [batch, sequence] or none}}
// expected-note @below {{this one}}
func.func @main(%ids: tensor<?x?xi64> {nju.name = "input_ids"}, %mask: tensor<?x1x?x?xf32> {nju.name = "attention_mask"}) -> tensor<?x?x8xf32> {
  %e = nju.param_ref @e : tensor<8x8xf32>
  %x = nju.gather %e, %ids {axis = 0 : i64} : (tensor<8x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %q = nju.unsqueeze %x {axes = array<i64: 1>} : (tensor<?x?x8xf32>) -> tensor<?x1x?x8xf32>
  %kt = nju.transpose %q {permutation = array<i64: 0, 1, 3, 2>} : (tensor<?x1x?x8xf32>) -> tensor<?x1x8x?xf32>
  %0 = nju.matmul %q, %kt : (tensor<?x1x?x8xf32>, tensor<?x1x8x?xf32>) -> tensor<?x1x?x?xf32>
  %1 = nju.add %0, %mask : (tensor<?x1x?x?xf32>, tensor<?x1x?x?xf32>) -> tensor<?x1x?x?xf32>
  %2 = nju.softmax %1 {axis = 3 : i64} : (tensor<?x1x?x?xf32>) -> tensor<?x1x?x?xf32>
  %3 = nju.matmul %2, %q : (tensor<?x1x?x?xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %4 = nju.squeeze %3 {axes = array<i64: 1>} : (tensor<?x1x?x8xf32>) -> tensor<?x?x8xf32>
  return %4 : tensor<?x?x8xf32>
}

// -----

// The same with booleans, and the operand of one op.
nju.param @e : tensor<8x8xf32> = #nju.file<"w.data", 0, tensor<8x8xf32>>
// expected-remark @below {{no causal language model: input 'seen' is a mask of pairs of tokens}}
// expected-note @below {{this one}}
func.func @main(%ids: tensor<?x?xi64> {nju.name = "input_ids"}, %seen: tensor<?x?x?xi1> {nju.name = "seen"}) -> tensor<?x?x8xf32> {
  %e = nju.param_ref @e : tensor<8x8xf32>
  %low = nju.constant dense<0xFF800000> : tensor<f32>
  %nothing = nju.constant dense<0.0> : tensor<f32>
  %x = nju.gather %e, %ids {axis = 0 : i64} : (tensor<8x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %q = nju.unsqueeze %x {axes = array<i64: 1>} : (tensor<?x?x8xf32>) -> tensor<?x1x?x8xf32>
  %m = nju.select %seen, %nothing, %low : (tensor<?x?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x?x?xf32>
  %mask = nju.unsqueeze %m {axes = array<i64: 1>} : (tensor<?x?x?xf32>) -> tensor<?x1x?x?xf32>
  %a = nju.attention %q, %q, %q mask(%mask : tensor<?x1x?x?xf32>) {scale = 1.0 : f64} : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %y = nju.squeeze %a {axes = array<i64: 1>} : (tensor<?x1x?x8xf32>) -> tensor<?x?x8xf32>
  return %y : tensor<?x?x8xf32>
}

// -----

// Of one token it covers all pairs, of two it does not.
nju.param @e : tensor<8x8xf32> = #nju.file<"w.data", 0, tensor<8x8xf32>>
// expected-remark @below {{no causal language model: the mask of an attention cannot be computed for 2 tokens: it does not cover all pairs of tokens}}
func.func @main(%ids: tensor<?x?xi64> {nju.name = "input_ids"}) -> tensor<?x?x8xf32> {
  %mask = nju.constant dense<0.0> : tensor<1x1x1x1xf32>
  %e = nju.param_ref @e : tensor<8x8xf32>
  %x = nju.gather %e, %ids {axis = 0 : i64} : (tensor<8x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %q = nju.unsqueeze %x {axes = array<i64: 1>} : (tensor<?x?x8xf32>) -> tensor<?x1x?x8xf32>
  // expected-note @below {{this one}}
  %a = nju.attention %q, %q, %q mask(%mask : tensor<1x1x1x1xf32>) {scale = 1.0 : f64, causal} : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %y = nju.squeeze %a {axes = array<i64: 1>} : (tensor<?x1x?x8xf32>) -> tensor<?x?x8xf32>
  return %y : tensor<?x?x8xf32>
}
