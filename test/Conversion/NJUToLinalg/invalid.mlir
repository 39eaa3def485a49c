// RUN: nju-opt %s --convert-nju-to-linalg --split-input-file --verify-diagnostics

func.func @logarithm_of_integers(%x: tensor<?xi64>) -> tensor<?xi64> {
  // expected-error @below {{is not defined for elements of type 'i64', expected another type (the model may lack a cast)}}
  %y = nju.log %x : (tensor<?xi64>) -> tensor<?xi64>
  return %y : tensor<?xi64>
}

// -----

func.func @step_of_a_slice_is_an_input(%x: tensor<?xf32>, %b: tensor<1xi64>, %s: tensor<1xi64>) -> tensor<?xf32> {
  // expected-error @below {{has a step that is computed at run time, expected a nonzero constant}}
  %y = nju.slice %x, %b, %b, %s {axes = array<i64: 0>} : (tensor<?xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?xf32>
  return %y : tensor<?xf32>
}

// -----

func.func @op_of_another_dialect(%x: f32) -> f32 {
  // expected-error @below {{has no lowering to linalg}}
  %y = arith.negf %x : f32
  return %y : f32
}
