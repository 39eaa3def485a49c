// RUN: nju-opt %s --split-input-file --verify-diagnostics

func.func @no_weights(%x: tensor<?x8xf32>, %c: tensor<?x2xi64>) {
  // expected-error @+1 {{has no weights, expected one for each expert}}
  %0 = nju.expert_matmul %x, %c : (tensor<?x8xf32>, tensor<?x2xi64>) -> tensor<?x2x4xf32>
  return
}

// -----

func.func @no_packed_weights(%x: tensor<?x8xf32>, %c: tensor<?x2xi64>) {
  // expected-error @+1 {{has no weights, expected one for each expert}}
  %0 = nju.expert_linear %x, %c : (tensor<?x8xf32>, tensor<?x2xi64>) -> tensor<?x2x4xf32>
  return
}

// -----

func.func @no_matrix(%x: tensor<?x8xf32>, %c: tensor<?x2xi64>, %w: tensor<?x4xf32>) {
  // expected-error @+1 {{has weight 'tensor<?x4xf32>', expected a matrix of static sizes}}
  %0 = nju.expert_matmul %x, %c, %w : (tensor<?x8xf32>, tensor<?x2xi64>, tensor<?x4xf32>) -> tensor<?x2x4xf32>
  return
}

// -----

func.func @unlike(%x: tensor<?x8xf32>, %c: tensor<?x2xi64>, %w: tensor<8x4xf32>, %v: tensor<8x5xf32>) {
  // expected-error @+1 {{has a weight of type 'tensor<8x5xf32>', expected 'tensor<8x4xf32>'}}
  %0 = nju.expert_matmul %x, %c, %w, %v : (tensor<?x8xf32>, tensor<?x2xi64>, tensor<8x4xf32>, tensor<8x5xf32>) -> tensor<?x2x4xf32>
  return
}

// -----

func.func @columns(%x: tensor<?x8xf32>, %c: tensor<?x2xi64>, %w: tensor<8x4xf32>) {
  // expected-error @+1 {{has result 'tensor<?x2x5xf32>', expected 4 columns}}
  %0 = nju.expert_matmul %x, %c, %w : (tensor<?x8xf32>, tensor<?x2xi64>, tensor<8x4xf32>) -> tensor<?x2x5xf32>
  return
}

// -----

func.func @choices(%x: tensor<?x3x8xf32>, %c: tensor<?x2xi64>, %w: tensor<8x4xf32>) {
  // expected-error @+1 {{makes 'tensor<?x2x4xf32>' of 'tensor<?x3x8xf32>' and choices 'tensor<?x2xi64>', expected [T, C, columns], [T, 8] or [T, C, 8], and [T, C] with a static C}}
  %0 = nju.expert_matmul %x, %c, %w : (tensor<?x3x8xf32>, tensor<?x2xi64>, tensor<8x4xf32>) -> tensor<?x2x4xf32>
  return
}

// -----

func.func @tokens(%x: tensor<3x8xf32>, %c: tensor<?x?xi64>, %w: tensor<1x8x32xf32>) {
  // expected-error @+1 {{and [T, C] with a static C}}
  %0 = nju.expert_linear %x, %c, %w : (tensor<3x8xf32>, tensor<?x?xi64>, tensor<1x8x32xf32>) -> tensor<3x?x4xf32>
  return
}

// -----

func.func @quantized(%x: tensor<?x64xf32>, %c: tensor<?x2xi64>, %codes: tensor<7x544xi8>, %b: tensor<1x16xi8>, %f: tensor<1x111xf32>) {
  // expected-error @+1 {{has a weight of type 'tensor<1x111xf32>', expected 'tensor<1x112xf32>'}}
  %0 = nju.expert_linear %x, %c, %codes, %b, %f {format = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>} : (tensor<?x64xf32>, tensor<?x2xi64>, tensor<7x544xi8>, tensor<1x16xi8>, tensor<1x111xf32>) -> tensor<?x2x100xf32>
  return
}

// -----

func.func @quantized_parts(%x: tensor<?x64xf32>, %c: tensor<?x2xi64>, %codes: tensor<7x544xi8>, %b: tensor<1x16xi8>) {
  // expected-error @+1 {{has 2 weights with a format, expected three for each expert, of static sizes}}
  %0 = nju.expert_linear %x, %c, %codes, %b {format = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>} : (tensor<?x64xf32>, tensor<?x2xi64>, tensor<7x544xi8>, tensor<1x16xi8>) -> tensor<?x2x100xf32>
  return
}
