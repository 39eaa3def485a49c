// RUN: nju-opt %s --split-input-file --verify-diagnostics --nju-infer-shapes

func.func @broadcast(%a: tensor<2x3xf32>, %b: tensor<2x4xf32>) {
  // expected-error @+1 {{'nju.add' op cannot broadcast 'tensor<2x3xf32>', 'tensor<2x4xf32>': dimension 1 of the result is 3 and 4, expected equal sizes or 1}}
  %0 = nju.add %a, %b : (tensor<2x3xf32>, tensor<2x4xf32>) -> tensor<?x?xf32>
  return
}

// -----

func.func @reshape_count(%x: tensor<2x3xf32>) {
  %s = nju.constant dense<[4, 2]> : tensor<2xi64>
  // expected-error @+1 {{cannot reshape 'tensor<2x3xf32>' of 6 elements to [4, 2]}}
  %0 = nju.reshape %x, %s : (tensor<2x3xf32>, tensor<2xi64>) -> tensor<?x?xf32>
  return
}

// -----

func.func @reshape_rest(%x: tensor<2x3xf32>) {
  %s = nju.constant dense<[4, -1]> : tensor<2xi64>
  // expected-error @+1 {{cannot reshape 'tensor<2x3xf32>' of 6 elements to [4, -1]}}
  %0 = nju.reshape %x, %s : (tensor<2x3xf32>, tensor<2xi64>) -> tensor<?x?xf32>
  return
}

// -----

func.func @reshape_two_rests(%x: tensor<2x3xf32>) {
  %s = nju.constant dense<[-1, -1]> : tensor<2xi64>
  // expected-error @+1 {{has shape [-1, -1], expected at most one -1}}
  %0 = nju.reshape %x, %s : (tensor<2x3xf32>, tensor<2xi64>) -> tensor<?x?xf32>
  return
}

// -----

func.func @reshape_copy(%x: tensor<6xf32>) {
  %s = nju.constant dense<[6, 0]> : tensor<2xi64>
  // expected-error @+1 {{has shape [6, 0] for operand 'tensor<6xf32>', which has no dimension 1 for the 0 to copy}}
  %0 = nju.reshape %x, %s : (tensor<6xf32>, tensor<2xi64>) -> tensor<?x?xf32>
  return
}

// -----

func.func @reshape_rank(%x: tensor<6xf32>, %s: tensor<?xi64>) {
  // expected-error @+1 {{has the target shape 'tensor<?xi64>', expected a vector of a known length of at most 64}}
  %0 = nju.reshape %x, %s : (tensor<6xf32>, tensor<?xi64>) -> tensor<?x?xf32>
  return
}

// -----

func.func @negative_dimension(%v: tensor<f32>) {
  %s = nju.constant dense<[2, -3]> : tensor<2xi64>
  // expected-error @+1 {{has a result of shape [2, -3], expected no negative dimension}}
  %0 = nju.fill %s, %v : (tensor<2xi64>, tensor<f32>) -> tensor<?x?xf32>
  return
}

// -----

func.func @squeeze(%x: tensor<2x3xf32>) {
  // expected-error @+1 {{removes dimension 1 of 'tensor<2x3xf32>', expected size 1}}
  %0 = nju.squeeze %x {axes = array<i64: 1>} : (tensor<2x3xf32>) -> tensor<2xf32>
  return
}

// -----

func.func @axes_order(%x: tensor<1x1xf32>) {
  // expected-error @+1 {{has axes [1, 0], expected an ascending order}}
  %0 = nju.squeeze %x {axes = array<i64: 1, 0>} : (tensor<1x1xf32>) -> tensor<f32>
  return
}

// -----

func.func @axis(%x: tensor<2x3xf32>) {
  // expected-error @+1 {{has axis 2 for an operand of rank 2, expected at least 0 and less than 2}}
  %0 = nju.softmax %x {axis = 2 : i64} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  return
}

// -----

func.func @broadcast_to(%x: tensor<2x3xf32>) {
  %s = nju.constant dense<[2, 4]> : tensor<2xi64>
  // expected-error @+1 {{cannot broadcast dimension 1 of 'tensor<2x3xf32>' to shape [2, 4]}}
  %0 = nju.broadcast_to %x, %s : (tensor<2x3xf32>, tensor<2xi64>) -> tensor<?x?xf32>
  return
}

// -----

func.func @tile(%x: tensor<2x3xf32>) {
  %s = nju.constant dense<[2]> : tensor<1xi64>
  // expected-error @+1 {{has 1 repeats for 'tensor<2x3xf32>', expected one a dimension}}
  %0 = nju.tile %x, %s : (tensor<2x3xf32>, tensor<1xi64>) -> tensor<?x?xf32>
  return
}

// -----

func.func @pad(%x: tensor<2x3xf32>, %v: tensor<f32>) {
  %s = nju.constant dense<[2]> : tensor<1xi64>
  // expected-error @+1 {{has 1 pads for 'tensor<2x3xf32>', expected two a dimension}}
  %0 = nju.pad %x, %s, %v : (tensor<2x3xf32>, tensor<1xi64>, tensor<f32>) -> tensor<?x?xf32>
  return
}

// -----

func.func @range_operand(%x: tensor<2xi64>) {
  // expected-error @+1 {{has an operand of type 'tensor<2xi64>', expected a scalar}}
  %0 = nju.range %x, %x, %x : (tensor<2xi64>, tensor<2xi64>, tensor<2xi64>) -> tensor<?xi64>
  return
}

// -----

func.func @range_delta(%x: tensor<i64>) {
  %c = nju.constant dense<0> : tensor<i64>
  // expected-error @+1 {{has a delta of 0, expected another number}}
  %0 = nju.range %x, %x, %c : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  return
}

// -----

func.func @trilu(%x: tensor<2xf32>, %k: tensor<i64>) {
  // expected-error @+1 {{has operand 'tensor<2xf32>', expected at least rank 2}}
  %0 = nju.trilu %x, %k : (tensor<2xf32>, tensor<i64>) -> tensor<2xf32>
  return
}

// -----

func.func @concat(%x: tensor<2x3xf32>, %y: tensor<3x3xf32>) {
  // expected-error @+1 {{joins 'tensor<2x3xf32>' and 'tensor<3x3xf32>' along dimension 1, expected equal ranks, element types and other dimensions}}
  %0 = nju.concat %x, %y {axis = 1 : i64} : (tensor<2x3xf32>, tensor<3x3xf32>) -> tensor<?x?xf32>
  return
}

// -----

func.func @concat_nothing() {
  // expected-error @+1 {{has no operand, expected at least one}}
  %0 = "nju.concat"() <{axis = 0 : i64}> : () -> tensor<?xf32>
  return
}

// -----

func.func @slice_bounds(%x: tensor<2x3xf32>) {
  %a = nju.constant dense<[0, 1]> : tensor<2xi64>
  %b = nju.constant dense<[1]> : tensor<1xi64>
  // expected-error @+1 {{has 1 axes, 2 starts, 1 ends and 1 steps, expected equal numbers}}
  %0 = nju.slice %x, %a, %b, %b {axes = array<i64: 0>} : (tensor<2x3xf32>, tensor<2xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x?xf32>
  return
}

// -----

func.func @slice_step(%x: tensor<2x3xf32>) {
  %a = nju.constant dense<[0]> : tensor<1xi64>
  // expected-error @+1 {{has axes [0] and steps [0], expected each axis once and no step of 0}}
  %0 = nju.slice %x, %a, %a, %a {axes = array<i64: 0>} : (tensor<2x3xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x?xf32>
  return
}

// -----

func.func @gather_index(%x: tensor<2x3xf32>) {
  %i = nju.constant dense<[0, 3]> : tensor<2xi64>
  // expected-error @+1 {{has index 3 for dimension 1 of 'tensor<2x3xf32>', expected at least -3 and less than 3}}
  %0 = nju.gather %x, %i {axis = 1 : i64} : (tensor<2x3xf32>, tensor<2xi64>) -> tensor<?x?xf32>
  return
}

// -----

func.func @gather_elements(%x: tensor<2x3xf32>, %i: tensor<2xi64>) {
  // expected-error @+1 {{has input 'tensor<2x3xf32>' and indices 'tensor<2xi64>', expected equal ranks}}
  %0 = nju.gather_elements %x, %i {axis = 1 : i64} : (tensor<2x3xf32>, tensor<2xi64>) -> tensor<?x?xf32>
  return
}

// -----

func.func @gather_nd(%x: tensor<2x3xf32>, %i: tensor<2x3xi64>) {
  // expected-error @+1 {{has input 'tensor<2x3xf32>', indices 'tensor<2x3xi64>' and 0 batch dimensions, expected a last dimension of the indices that is static and fits the input}}
  %0 = nju.gather_nd %x, %i {batch_dims = 0 : i64} : (tensor<2x3xf32>, tensor<2x3xi64>) -> tensor<?xf32>
  return
}

// -----

func.func @gather_nd_batch(%x: tensor<2x3xf32>, %i: tensor<4x1xi64>) {
  // expected-error @+1 {{has input 'tensor<2x3xf32>' and indices 'tensor<4x1xi64>', expected equal batch dimensions}}
  %0 = nju.gather_nd %x, %i {batch_dims = 1 : i64} : (tensor<2x3xf32>, tensor<4x1xi64>) -> tensor<?xf32>
  return
}

// -----

func.func @scatter_nd(%x: tensor<2x3xf32>, %i: tensor<4x1xi64>, %u: tensor<4x2xf32>) {
  // expected-error @+1 {{has input 'tensor<2x3xf32>', indices 'tensor<4x1xi64>' and updates 'tensor<4x2xf32>', whose dimensions do not fit}}
  %0 = nju.scatter_nd %x, %i, %u : (tensor<2x3xf32>, tensor<4x1xi64>, tensor<4x2xf32>) -> tensor<?x?xf32>
  return
}

// -----

func.func @matmul(%x: tensor<2x3xf32>, %y: tensor<2x3xf32>) {
  // expected-error @+1 {{cannot multiply 'tensor<2x3xf32>' with 'tensor<2x3xf32>', expected the last dimension of the first to be the second to last of the second, and the dimensions before to be equal or 1}}
  %0 = nju.matmul %x, %y : (tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<?x?xf32>
  return
}

// -----

func.func @attention(%q: tensor<1x8x?x64xf32>, %k: tensor<1x2x7x64xf32>, %v: tensor<1x2x8x64xf32>) {
  // The verifier sees this before the pass does.
  // expected-error @+1 {{whose dimensions do not fit}}
  %0 = nju.attention %q, %k, %v {scale = 1.0 : f64} : (tensor<1x8x?x64xf32>, tensor<1x2x7x64xf32>, tensor<1x2x8x64xf32>) -> tensor<?x?x?x?xf32>
  return
}

// -----

func.func @main(%x: tensor<3x8xf32>, %c: tensor<4x2xi64>, %w: tensor<8x4xf32>) -> tensor<4x2x4xf32> {
  // expected-error @+1 {{has input 'tensor<3x8xf32>' and choices 'tensor<4x2xi64>', expected the choices of as many tokens}}
  %0 = nju.expert_matmul %x, %c, %w : (tensor<3x8xf32>, tensor<4x2xi64>, tensor<8x4xf32>) -> tensor<4x2x4xf32>
  return %0 : tensor<4x2x4xf32>
}
