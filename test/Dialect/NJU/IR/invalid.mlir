// RUN: nju-opt %s --split-input-file --verify-diagnostics

func.func @compare_element_types(%a: tensor<2xf32>, %b: tensor<2xi64>) {
  // expected-error @+1 {{compares 'f32' with 'i64', expected one element type}}
  %0 = nju.compare lt %a, %b : (tensor<2xf32>, tensor<2xi64>) -> tensor<2xi1>
  return
}

// -----

func.func @select_element_types(%c: tensor<2xi1>, %a: tensor<2xf32>, %b: tensor<2xi64>) {
  // expected-error @+1 {{chooses between 'f32' and 'i64' for a result of 'f32', expected one element type}}
  %0 = nju.select %c, %a, %b : (tensor<2xi1>, tensor<2xf32>, tensor<2xi64>) -> tensor<2xf32>
  return
}

// -----

func.func @transpose_permutation(%a: tensor<2x3xf32>) {
  // expected-error @+1 {{has permutation [0, 0], expected each of 0 to 1 once}}
  %0 = nju.transpose %a {permutation = array<i64: 0, 0>} : (tensor<2x3xf32>) -> tensor<2x2xf32>
  return
}

// -----

func.func @linear_weight(%x: tensor<1x?x8xf32>, %w: tensor<1x8x16xf32>) {
  // expected-error @+1 {{has weight 'tensor<1x8x16xf32>', expected [panels, K, 32]}}
  %0 = nju.linear %x, %w : (tensor<1x?x8xf32>, tensor<1x8x16xf32>) -> tensor<1x?x16xf32>
  return
}

// -----

func.func @linear_depth(%x: tensor<1x?x7xf32>, %w: tensor<1x8x32xf32>) {
  // expected-error @+1 {{expected a last dimension of 8}}
  %0 = nju.linear %x, %w : (tensor<1x?x7xf32>, tensor<1x8x32xf32>) -> tensor<1x?x16xf32>
  return
}

// -----

func.func @linear_columns(%x: tensor<1x?x8xf32>, %w: tensor<2x8x32xf32>) {
  // expected-error @+1 {{has 32 columns of weight 'tensor<2x8x32xf32>', expected between 33 and 64}}
  %0 = nju.linear %x, %w : (tensor<1x?x8xf32>, tensor<2x8x32xf32>) -> tensor<1x?x32xf32>
  return
}

// -----

func.func @linear_unknown_columns(%x: tensor<1x?x8xf32>, %w: tensor<2x8x32xf32>) {
  // expected-error @+1 {{has an unknown number of columns of weight}}
  %0 = nju.linear %x, %w : (tensor<1x?x8xf32>, tensor<2x8x32xf32>) -> tensor<1x?x?xf32>
  return
}

// -----

func.func @embedding_weight(%w: tensor<16x8xf32>, %i: tensor<?xi64>) {
  // expected-error @+1 {{has weight 'tensor<16x8xf32>', expected [panels, K, 32]}}
  %0 = nju.embedding %w, %i {columns = 16 : i64} : (tensor<16x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
  return
}

// -----

func.func @embedding_columns(%w: tensor<2x8x32xf32>, %i: tensor<?xi64>) {
  // expected-error @+1 {{has 65 columns of weight 'tensor<2x8x32xf32>', expected between 33 and 64}}
  %0 = nju.embedding %w, %i {columns = 65 : i64} : (tensor<2x8x32xf32>, tensor<?xi64>) -> tensor<?x8xf32>
  return
}

// -----

func.func @linear_bias(%x: tensor<1x?x8xf32>, %w: tensor<1x8x32xf32>, %b: tensor<15xf32>) {
  // expected-error @+1 {{has bias 'tensor<15xf32>', expected 16 elements}}
  %0 = nju.linear %x, %w bias(%b : tensor<15xf32>) : (tensor<1x?x8xf32>, tensor<1x8x32xf32>) -> tensor<1x?x16xf32>
  return
}

// -----

func.func @norm_weight(%x: tensor<?x8xf32>, %w: tensor<7xf32>) {
  // expected-error @+1 {{has weight 'tensor<7xf32>' for input 'tensor<?x8xf32>', expected a vector as long as the last dimension}}
  %0 = nju.rms_norm %x, %w {epsilon = 1.0e-5 : f64} : (tensor<?x8xf32>, tensor<7xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @layer_norm_bias(%x: tensor<?x8xf32>, %w: tensor<8xf32>, %b: tensor<7xf32>) {
  // expected-error @+1 {{has bias 'tensor<7xf32>'}}
  %0 = nju.layer_norm %x, %w, %b {epsilon = 1.0e-5 : f64} : (tensor<?x8xf32>, tensor<8xf32>, tensor<7xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @rope_tables(%x: tensor<1x8xf32>, %c: tensor<1x8xf32>, %s: tensor<1x4xf32>) {
  // expected-error @+1 {{has cos 'tensor<1x8xf32>' and sin 'tensor<1x4xf32>', expected one type}}
  %0 = nju.rope %x, %c, %s : (tensor<1x8xf32>, tensor<1x8xf32>, tensor<1x4xf32>) -> tensor<1x8xf32>
  return
}

// -----

func.func @rope_width(%x: tensor<1x8xf32>, %c: tensor<1x10xf32>) {
  // expected-error @+1 {{expected an even, static last dimension of at most 8}}
  %0 = nju.rope %x, %c, %c : (tensor<1x8xf32>, tensor<1x10xf32>, tensor<1x10xf32>) -> tensor<1x8xf32>
  return
}

// -----

func.func @attention_rank(%q: tensor<8x?x64xf32>) {
  // expected-error @+1 {{expected rank 4}}
  %0 = nju.attention %q, %q, %q {scale = 1.0 : f64} : (tensor<8x?x64xf32>, tensor<8x?x64xf32>, tensor<8x?x64xf32>) -> tensor<8x?x64xf32>
  return
}

// -----

func.func @attention_dimensions(%q: tensor<1x8x?x64xf32>, %k: tensor<1x8x?x32xf32>) {
  // expected-error @+1 {{whose dimensions do not fit}}
  %0 = nju.attention %q, %k, %k {scale = 1.0 : f64} : (tensor<1x8x?x64xf32>, tensor<1x8x?x32xf32>, tensor<1x8x?x32xf32>) -> tensor<1x8x?x32xf32>
  return
}

// -----

func.func @attention_heads(%q: tensor<1x8x?x64xf32>, %k: tensor<1x3x?x64xf32>) {
  // expected-error @+1 {{has 8 query heads and 3 key heads}}
  %0 = nju.attention %q, %k, %k {scale = 1.0 : f64} : (tensor<1x8x?x64xf32>, tensor<1x3x?x64xf32>, tensor<1x3x?x64xf32>) -> tensor<1x8x?x64xf32>
  return
}

// -----

func.func @cached_attention_value(%q: tensor<1x?x8x64xf32>, %k: tensor<1x?x2x64xf32>, %v: tensor<1x?x2x32xf32>, %p: tensor<?xi32>) {
  // expected-error @+1 {{expected rank 4 and equal key and value}}
  %0 = nju.cached_attention %q, %k, %v, %p, %p {layer = 0 : i64, scale = 1.0 : f64} : (tensor<1x?x8x64xf32>, tensor<1x?x2x64xf32>, tensor<1x?x2x32xf32>, tensor<?xi32>, tensor<?xi32>) -> tensor<1x?x8x64xf32>
  return
}

// -----

func.func @cached_attention_heads(%q: tensor<1x?x8x64xf32>, %k: tensor<1x?x3x64xf32>, %p: tensor<?xi32>) {
  // expected-error @+1 {{expected static heads}}
  %0 = nju.cached_attention %q, %k, %k, %p, %p {layer = 0 : i64, scale = 1.0 : f64} : (tensor<1x?x8x64xf32>, tensor<1x?x3x64xf32>, tensor<1x?x3x64xf32>, tensor<?xi32>, tensor<?xi32>) -> tensor<1x?x8x64xf32>
  return
}

// -----

func.func @cached_attention_slopes(%q: tensor<1x?x8x64xf32>, %k: tensor<1x?x2x64xf32>, %p: tensor<?xi32>) {
  // expected-error @+1 {{has 1 slopes, expected one for each of 8 heads}}
  %0 = nju.cached_attention %q, %k, %k, %p, %p {layer = 0 : i64, scale = 1.0 : f64, slopes = array<f32: 0.5>} : (tensor<1x?x8x64xf32>, tensor<1x?x2x64xf32>, tensor<1x?x2x64xf32>, tensor<?xi32>, tensor<?xi32>) -> tensor<1x?x8x64xf32>
  return
}

// -----

func.func @cached_attention_softcap(%q: tensor<1x?x8x64xf32>, %k: tensor<1x?x2x64xf32>, %p: tensor<?xi32>) {
  // expected-error @+1 {{has softcap 0.000000e+00, expected a number above 0}}
  %0 = nju.cached_attention %q, %k, %k, %p, %p {layer = 0 : i64, scale = 1.0 : f64, softcap = 0.0 : f64} : (tensor<1x?x8x64xf32>, tensor<1x?x2x64xf32>, tensor<1x?x2x64xf32>, tensor<?xi32>, tensor<?xi32>) -> tensor<1x?x8x64xf32>
  return
}

// -----

func.func @cached_attention_window(%q: tensor<1x?x8x64xf32>, %k: tensor<1x?x2x64xf32>, %p: tensor<?xi32>) {
  // expected-error @+1 {{has window 0, expected at least 1}}
  %0 = nju.cached_attention %q, %k, %k, %p, %p {layer = 0 : i64, scale = 1.0 : f64, window = 0 : i64} : (tensor<1x?x8x64xf32>, tensor<1x?x2x64xf32>, tensor<1x?x2x64xf32>, tensor<?xi32>, tensor<?xi32>) -> tensor<1x?x8x64xf32>
  return
}

// -----

// expected-error @+1 {{expected #nju.file, #nju.uniform or elements of a static shape}}
nju.param @data : tensor<2xf32> = "nothing"

// -----

// expected-error @+1 {{which its data and layout do not give}}
nju.param @layout : tensor<1x4x32xf32> = #nju.file<"w", 0, tensor<8x4xf32>> {panels = 32 : i64}

// -----

func.func @param_ref_symbol() {
  // expected-error @+1 {{refers to @w, which is no nju.param}}
  %0 = nju.param_ref @w : tensor<2xf32>
  return
}

// -----

nju.param @w : tensor<2xf32> = dense<1.0> : tensor<2xf32>
func.func @param_ref_type() {
  // expected-error @+1 {{has type 'tensor<3xf32>', but @w is 'tensor<2xf32>'}}
  %0 = nju.param_ref @w : tensor<3xf32>
  return
}
