// RUN: nju-opt %s --nju-to-lm-form=max-tokens=16 --split-input-file | FileCheck %s

// Without a cache: one head, a mask of comparisons, learned positions.
// CHECK: module attributes {nju.lm = {cache = [{head_dim = 4 : i64, heads = 1 : i64, type = "f32"}], max_batch_tokens = 512 : i64, max_sequences = 8 : i64, max_tokens = 16 : i64, vocabulary = 8 : i64}}
// CHECK-LABEL: @step
// CHECK-SAME: (%[[TOKENS:.*]]: tensor<?xi32> {{.*}}, %[[POSITIONS:.*]]: tensor<?xi32> {{.*}}, %[[SEQUENCES:.*]]: tensor<?xi32> {{.*}}, %[[ROWS:.*]]: tensor<?xi32> {{.*}}) -> (tensor<?x8xf32>
// CHECK: %[[X:.*]] = nju.add
// CHECK: %[[K:.*]] = nju.reshape %[[X]], %{{.*}} : (tensor<1x?x4xf32>, tensor<4xi64>) -> tensor<1x?x1x4xf32>
// CHECK: %[[Y:.*]] = nju.cached_attention %{{.*}}, %[[K]], %[[K]], %[[POSITIONS]], %[[SEQUENCES]] {layer = 0 : i64, scale = 5.000000e-01 : f64}
// Rows are taken right after the last attention.
// CHECK: %[[YROWS:.*]] = nju.gather %[[Y]], %[[ROWS]]
// CHECK: %[[XROWS:.*]] = nju.gather %[[X]], %[[ROWS]] {axis = 1 : i64}
// CHECK: nju.add %[[XROWS]]
// CHECK: nju.matmul
// CHECK-NOT: @main
module {
nju.param @e : tensor<8x4xf32> = #nju.file<"w.data", 0, tensor<8x4xf32>>
nju.param @p : tensor<16x4xf32> = #nju.file<"w.data", 256, tensor<16x4xf32>>
nju.param @h : tensor<4x8xf32> = #nju.file<"w.data", 128, tensor<4x8xf32>>
func.func @main(%ids: tensor<?x?xi64> {nju.name = "input_ids"}) -> (tensor<?x?x8xf32> {nju.name = "logits"}) {
  %zero = nju.constant dense<0> : tensor<i64>
  %one = nju.constant dense<1> : tensor<i64>
  %low = nju.constant dense<0xFF800000> : tensor<f32>
  %nothing = nju.constant dense<0.0> : tensor<f32>
  %half = nju.constant dense<0.5> : tensor<f32>
  %e = nju.param_ref @e : tensor<8x4xf32>
  %h = nju.param_ref @h : tensor<4x8xf32>
  %p = nju.param_ref @p : tensor<16x4xf32>
  %shape = nju.shape_of %ids : (tensor<?x?xi64>) -> tensor<2xi64>
  %s = nju.gather %shape, %one {axis = 0 : i64} : (tensor<2xi64>, tensor<i64>) -> tensor<i64>
  %range = nju.range %zero, %s, %one : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %column = nju.unsqueeze %range {axes = array<i64: 1>} : (tensor<?xi64>) -> tensor<?x1xi64>
  %later = nju.compare gt %range, %column : (tensor<?xi64>, tensor<?x1xi64>) -> tensor<?x?xi1>
  %mask = nju.select %later, %low, %nothing : (tensor<?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x?xf32>
  %emb = nju.gather %e, %ids {axis = 0 : i64} : (tensor<8x4xf32>, tensor<?x?xi64>) -> tensor<?x?x4xf32>
  %pos = nju.gather %p, %range {axis = 0 : i64} : (tensor<16x4xf32>, tensor<?xi64>) -> tensor<?x4xf32>
  %x = nju.add %emb, %pos : (tensor<?x?x4xf32>, tensor<?x4xf32>) -> tensor<?x?x4xf32>
  %q = nju.unsqueeze %x {axes = array<i64: 1>} : (tensor<?x?x4xf32>) -> tensor<?x1x?x4xf32>
  %kt = nju.transpose %q {permutation = array<i64: 0, 1, 3, 2>} : (tensor<?x1x?x4xf32>) -> tensor<?x1x4x?xf32>
  %0 = nju.matmul %q, %kt : (tensor<?x1x?x4xf32>, tensor<?x1x4x?xf32>) -> tensor<?x1x?x?xf32>
  %1 = nju.mul %0, %half : (tensor<?x1x?x?xf32>, tensor<f32>) -> tensor<?x1x?x?xf32>
  %2 = nju.add %1, %mask : (tensor<?x1x?x?xf32>, tensor<?x?xf32>) -> tensor<?x1x?x?xf32>
  %3 = nju.softmax %2 {axis = 3 : i64} : (tensor<?x1x?x?xf32>) -> tensor<?x1x?x?xf32>
  %4 = nju.matmul %3, %q : (tensor<?x1x?x?xf32>, tensor<?x1x?x4xf32>) -> tensor<?x1x?x4xf32>
  %5 = nju.squeeze %4 {axes = array<i64: 1>} : (tensor<?x1x?x4xf32>) -> tensor<?x?x4xf32>
  %6 = nju.add %x, %5 : (tensor<?x?x4xf32>, tensor<?x?x4xf32>) -> tensor<?x?x4xf32>
  %7 = nju.matmul %6, %h : (tensor<?x?x4xf32>, tensor<4x8xf32>) -> tensor<?x?x8xf32>
  return %7 : tensor<?x?x8xf32>
}
}

// -----

// With a cache; the classifier sees the last token only, the step all that are
// asked for. A window of three, by what is hidden.
// CHECK: nju.lm
// CHECK-LABEL: @step
// CHECK: nju.cached_attention {{.*}} {layer = 0 : i64, scale = 1.000000e+00 : f64, window = 3 : i64}
// CHECK: nju.matmul %{{.*}}, %{{.*}} : (tensor<1x?x4xf32>, tensor<4x8xf32>) -> tensor<1x?x8xf32>
module {
nju.param @e : tensor<8x4xf32> = #nju.file<"w.data", 0, tensor<8x4xf32>>
nju.param @h : tensor<4x8xf32> = #nju.file<"w.data", 128, tensor<4x8xf32>>
func.func @main(%ids: tensor<?x?xi64> {nju.name = "input_ids"}, %pk: tensor<?x1x?x4xf32> {nju.name = "past.0.key"}, %pv: tensor<?x1x?x4xf32> {nju.name = "past.0.value"}) -> (tensor<?x1x8xf32> {nju.name = "logits"}, tensor<?x1x?x4xf32> {nju.name = "present.0.key"}, tensor<?x1x?x4xf32> {nju.name = "present.0.value"}) {
  %zero = nju.constant dense<0> : tensor<i64>
  %one = nju.constant dense<1> : tensor<i64>
  %two = nju.constant dense<2> : tensor<i64>
  %low = nju.constant dense<-3.4e38> : tensor<f32>
  %nothing = nju.constant dense<0.0> : tensor<f32>
  %last = nju.constant dense<-1> : tensor<1xi64>
  %end = nju.constant dense<9223372036854775807> : tensor<1xi64>
  %step = nju.constant dense<1> : tensor<1xi64>
  %e = nju.param_ref @e : tensor<8x4xf32>
  %h = nju.param_ref @h : tensor<4x8xf32>
  %x = nju.gather %e, %ids {axis = 0 : i64} : (tensor<8x4xf32>, tensor<?x?xi64>) -> tensor<?x?x4xf32>
  %q = nju.unsqueeze %x {axes = array<i64: 1>} : (tensor<?x?x4xf32>) -> tensor<?x1x?x4xf32>
  %k = nju.concat %pk, %q {axis = 2 : i64} : (tensor<?x1x?x4xf32>, tensor<?x1x?x4xf32>) -> tensor<?x1x?x4xf32>
  %v = nju.concat %pv, %q {axis = 2 : i64} : (tensor<?x1x?x4xf32>, tensor<?x1x?x4xf32>) -> tensor<?x1x?x4xf32>
  %ps = nju.shape_of %pk : (tensor<?x1x?x4xf32>) -> tensor<4xi64>
  %past = nju.gather %ps, %two {axis = 0 : i64} : (tensor<4xi64>, tensor<i64>) -> tensor<i64>
  %ks = nju.shape_of %k : (tensor<?x1x?x4xf32>) -> tensor<4xi64>
  %total = nju.gather %ks, %two {axis = 0 : i64} : (tensor<4xi64>, tensor<i64>) -> tensor<i64>
  %keys = nju.range %zero, %total, %one : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %queries = nju.range %past, %total, %one : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %column = nju.unsqueeze %queries {axes = array<i64: 1>} : (tensor<?xi64>) -> tensor<?x1xi64>
  %later = nju.compare gt %keys, %column : (tensor<?xi64>, tensor<?x1xi64>) -> tensor<?x?xi1>
  %distance = nju.sub %column, %keys : (tensor<?x1xi64>, tensor<?xi64>) -> tensor<?x?xi64>
  %far = nju.compare gt %distance, %two : (tensor<?x?xi64>, tensor<i64>) -> tensor<?x?xi1>
  %hidden = nju.or %later, %far : (tensor<?x?xi1>, tensor<?x?xi1>) -> tensor<?x?xi1>
  %kt = nju.transpose %k {permutation = array<i64: 0, 1, 3, 2>} : (tensor<?x1x?x4xf32>) -> tensor<?x1x4x?xf32>
  %0 = nju.matmul %q, %kt : (tensor<?x1x?x4xf32>, tensor<?x1x4x?xf32>) -> tensor<?x1x?x?xf32>
  %1 = nju.select %hidden, %low, %0 : (tensor<?x?xi1>, tensor<f32>, tensor<?x1x?x?xf32>) -> tensor<?x1x?x?xf32>
  %2 = nju.softmax %1 {axis = 3 : i64} : (tensor<?x1x?x?xf32>) -> tensor<?x1x?x?xf32>
  %3 = nju.matmul %2, %v : (tensor<?x1x?x?xf32>, tensor<?x1x?x4xf32>) -> tensor<?x1x?x4xf32>
  %4 = nju.squeeze %3 {axes = array<i64: 1>} : (tensor<?x1x?x4xf32>) -> tensor<?x?x4xf32>
  %5 = nju.slice %4, %last, %end, %step {axes = array<i64: 1>} : (tensor<?x?x4xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1x4xf32>
  %6 = nju.matmul %5, %h : (tensor<?x1x4xf32>, tensor<4x8xf32>) -> tensor<?x1x8xf32>
  return %6, %k, %v : tensor<?x1x8xf32>, tensor<?x1x?x4xf32>, tensor<?x1x?x4xf32>
}
}

// -----

// The last token's row without a dimension for it, probabilities instead of
// logits, the cache before them, and of it only what is new.
// CHECK: vocabulary = 8 : i64
// CHECK-LABEL: @step
// CHECK: nju.cached_attention
// CHECK: %[[LOG:.*]] = nju.softmax
// CHECK: return %{{.*}} : tensor<?x8xf32>
module {
nju.param @e : tensor<8x8xf32> = #nju.file<"w.data", 0, tensor<8x8xf32>>
func.func @main(%ids: tensor<?x?xi64> {nju.name = "input_ids"}, %pk: tensor<?x1x?x8xf32> {nju.name = "past"}) -> (tensor<?x1x?x8xf32> {nju.name = "new"}, tensor<?x8xf32> {nju.name = "probabilities"}) {
  %e = nju.param_ref @e : tensor<8x8xf32>
  %last = nju.constant dense<-1> : tensor<i64>
  %x = nju.gather %e, %ids {axis = 0 : i64} : (tensor<8x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %q = nju.unsqueeze %x {axes = array<i64: 1>} : (tensor<?x?x8xf32>) -> tensor<?x1x?x8xf32>
  %k = nju.concat %pk, %q {axis = 2 : i64} : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %a = nju.attention %q, %k, %k {scale = 1.0 : f64, causal} : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %y = nju.squeeze %a {axes = array<i64: 1>} : (tensor<?x1x?x8xf32>) -> tensor<?x?x8xf32>
  %z = nju.gather %y, %last {axis = 1 : i64} : (tensor<?x?x8xf32>, tensor<i64>) -> tensor<?x8xf32>
  %p = nju.softmax %z {axis = 1 : i64, log} : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return %q, %p : tensor<?x1x?x8xf32>, tensor<?x8xf32>
}
}

// -----

// Inputs whose names say nothing: `a` looks up a row for each logit, `b` only
// hides, of `c` angles are made.
// CHECK: vocabulary = 8 : i64
// CHECK-LABEL: @step
// CHECK: nju.gather %{{.*}} : (tensor<16x8xf32>, tensor<?xi32>) -> tensor<?x8xf32>
// CHECK: nju.cached_attention
module {
nju.param @e : tensor<8x8xf32> = #nju.file<"w.data", 0, tensor<8x8xf32>>
func.func @main(%c: tensor<?x?xi64> {nju.name = "c"}, %b: tensor<?x?xi64> {nju.name = "b"}, %a: tensor<?x?xi64> {nju.name = "a"}) -> (tensor<?x?x8xf32> {nju.name = "logits"}) {
  %e = nju.param_ref @e : tensor<8x8xf32>
  %rates = nju.constant dense<[[1.0, 0.5, 0.25, 0.125, 1.0, 0.5, 0.25, 0.125]]> : tensor<1x8xf32>
  %zero = nju.constant dense<0> : tensor<i64>
  %low = nju.constant dense<0xFF800000> : tensor<f32>
  %nothing = nju.constant dense<0.0> : tensor<f32>
  %x = nju.gather %e, %a {axis = 0 : i64} : (tensor<8x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %column = nju.unsqueeze %c {axes = array<i64: 2>} : (tensor<?x?xi64>) -> tensor<?x?x1xi64>
  %p = nju.cast %column : (tensor<?x?x1xi64>) -> tensor<?x?x1xf32>
  %angles = nju.mul %p, %rates : (tensor<?x?x1xf32>, tensor<1x8xf32>) -> tensor<?x?x8xf32>
  %cos = nju.cos %angles : (tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  %t = nju.add %x, %cos : (tensor<?x?x8xf32>, tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  %q = nju.unsqueeze %t {axes = array<i64: 1>} : (tensor<?x?x8xf32>) -> tensor<?x1x?x8xf32>
  %keys = nju.unsqueeze %b {axes = array<i64: 1, 2>} : (tensor<?x?xi64>) -> tensor<?x1x1x?xi64>
  %hidden = nju.compare eq %keys, %zero : (tensor<?x1x1x?xi64>, tensor<i64>) -> tensor<?x1x1x?xi1>
  %mask = nju.select %hidden, %low, %nothing : (tensor<?x1x1x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x1x1x?xf32>
  %shape = nju.shape_of %q : (tensor<?x1x?x8xf32>) -> tensor<4xi64>
  %two = nju.constant dense<2> : tensor<1xi64>
  %n = nju.gather %shape, %two {axis = 0 : i64} : (tensor<4xi64>, tensor<1xi64>) -> tensor<1xi64>
  %square = nju.concat %n, %n {axis = 0 : i64} : (tensor<1xi64>, tensor<1xi64>) -> tensor<2xi64>
  %full = nju.broadcast_to %mask, %square : (tensor<?x1x1x?xf32>, tensor<2xi64>) -> tensor<?x1x?x?xf32>
  %y = nju.attention %q, %q, %q mask(%full : tensor<?x1x?x?xf32>) {scale = 1.0 : f64, causal} : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %z = nju.squeeze %y {axes = array<i64: 1>} : (tensor<?x1x?x8xf32>) -> tensor<?x?x8xf32>
  return %z : tensor<?x?x8xf32>
}
}

// -----

// Inputs whose names say nothing: `b` and `c` look up what is called a table of
// positions, `c` with two added, as some models do. One has a row for each
// logit, too.
// CHECK: max_tokens = 16 : i64, vocabulary = 8 : i64
// CHECK-LABEL: @step
// CHECK-SAME: %[[POSITIONS:.*]]: tensor<?xi32> {nju.dims = ["tokens"], nju.name = "positions"}
// CHECK-DAG: nju.gather %{{.*}} : (tensor<16x8xf32>
// CHECK-DAG: nju.gather %{{.*}} : (tensor<18x8xf32>
// CHECK: nju.cached_attention
module {
nju.param @e : tensor<8x8xf32> = #nju.file<"w.data", 0, tensor<8x8xf32>>
nju.param @wpe : tensor<16x8xf32> = #nju.file<"w.data", 832, tensor<16x8xf32>>
nju.param @model.embed_positions.weight : tensor<18x8xf32> = #nju.file<"w.data", 256, tensor<18x8xf32>>
func.func @main(%a: tensor<?x?xi64> {nju.name = "a"}, %b: tensor<?x?xi64> {nju.name = "b"}, %c: tensor<?x?xi64> {nju.name = "c"}) -> (tensor<?x?x8xf32> {nju.name = "logits"}) {
  %e = nju.param_ref @e : tensor<8x8xf32>
  %wpe = nju.param_ref @wpe : tensor<16x8xf32>
  %p = nju.param_ref @model.embed_positions.weight : tensor<18x8xf32>
  %two = nju.constant dense<2> : tensor<i64>
  %n = nju.add %c, %two : (tensor<?x?xi64>, tensor<i64>) -> tensor<?x?xi64>
  %t = nju.gather %e, %a {axis = 0 : i64} : (tensor<8x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %u = nju.gather %p, %n {axis = 0 : i64} : (tensor<18x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %w = nju.gather %wpe, %b {axis = 0 : i64} : (tensor<16x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %tu = nju.add %t, %u : (tensor<?x?x8xf32>, tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  %x = nju.add %tu, %w : (tensor<?x?x8xf32>, tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  %q = nju.unsqueeze %x {axes = array<i64: 1>} : (tensor<?x?x8xf32>) -> tensor<?x1x?x8xf32>
  %y = nju.attention %q, %q, %q {scale = 1.0 : f64, causal} : (tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x1x?x8xf32>
  %z = nju.squeeze %y {axes = array<i64: 1>} : (tensor<?x1x?x8xf32>) -> tensor<?x?x8xf32>
  return %z : tensor<?x?x8xf32>
}
}

// -----

// Scores are capped on their way to the softmax; products of 1 and -3.5 hardly show
// it.
// CHECK: nju.lm
// CHECK-LABEL: @step
// CHECK: nju.cached_attention {{.*}} {layer = 0 : i64, scale = {{0.0624[0-9]*|0.0625[0-9]*|6.250000e-02}} : f64, softcap = 5.000000e+01 : f64}
// CHECK-NOT: nju.tanh
module {
nju.param @e : tensor<8x8xf32> = #nju.file<"w.data", 0, tensor<8x8xf32>>
func.func @main(%ids: tensor<?x?xi64> {nju.name = "input_ids"}) -> tensor<?x?x8xf32> {
  %e = nju.param_ref @e : tensor<8x8xf32>
  %zero = nju.constant dense<0> : tensor<i64>
  %one = nju.constant dense<1> : tensor<i64>
  %low = nju.constant dense<0xFF800000> : tensor<f32>
  %cap = nju.constant dense<50.0> : tensor<f32>
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
  %1 = nju.div %s16, %cap : (tensor<?x?x?xf32>, tensor<f32>) -> tensor<?x?x?xf32>
  %2 = nju.tanh %1 : (tensor<?x?x?xf32>) -> tensor<?x?x?xf32>
  %3 = nju.mul %2, %cap : (tensor<?x?x?xf32>, tensor<f32>) -> tensor<?x?x?xf32>
  %4 = nju.select %later, %low, %3 : (tensor<?x?xi1>, tensor<f32>, tensor<?x?x?xf32>) -> tensor<?x?x?xf32>
  %5 = nju.softmax %4 {axis = 2 : i64} : (tensor<?x?x?xf32>) -> tensor<?x?x?xf32>
  %6 = nju.matmul %5, %x : (tensor<?x?x?xf32>, tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  return %6 : tensor<?x?x8xf32>
}
}
