// RUN: nju-opt %s --split-input-file --nju-fold-constants | FileCheck %s

// CHECK-LABEL: func @folds_arithmetic
func.func @folds_arithmetic() -> (tensor<?xi64>, tensor<2xf16>) {
  %a = nju.constant dense<[7, -7]> : tensor<2xi64>
  %b = nju.constant dense<2> : tensor<i64>
  %h = nju.constant dense<[1.0, 2049.0]> : tensor<2xf32>
  %0 = nju.div %a, %b : (tensor<2xi64>, tensor<i64>) -> tensor<?xi64>
  %1 = nju.cast %h : (tensor<2xf32>) -> tensor<2xf16>
  // CHECK-DAG: %[[Q:.*]] = nju.constant dense<[3, -3]> : tensor<2xi64>
  // CHECK-DAG: %[[H:.*]] = nju.constant dense<[1.000000e+00, 2.048000e+03]> : tensor<2xf16>
  // CHECK: return %[[Q]], %[[H]]
  return %0, %1 : tensor<?xi64>, tensor<2xf16>
}

// -----

// CHECK-LABEL: func @folds_static_dimensions
func.func @folds_static_dimensions(%x: tensor<4x?xf32>) -> tensor<i64> {
  %s = nju.shape_of %x : (tensor<4x?xf32>) -> tensor<2xi64>
  %zero = nju.constant dense<0> : tensor<i64>
  %n = nju.gather %s, %zero {axis = 0 : i64} : (tensor<2xi64>, tensor<i64>) -> tensor<i64>
  // CHECK: nju.constant dense<4> : tensor<i64>
  // CHECK-NOT: = nju.
  return %n : tensor<i64>
}

// -----

// CHECK-LABEL: func @keeps_large_results
func.func @keeps_large_results() -> tensor<512x512xf32> {
  %s = nju.constant dense<512> : tensor<2xi64>
  %v = nju.constant dense<1.0> : tensor<f32>
  // CHECK: nju.fill
  %0 = nju.fill %s, %v : (tensor<2xi64>, tensor<f32>) -> tensor<512x512xf32>
  return %0 : tensor<512x512xf32>
}

// -----

// CHECK-LABEL: func @keeps_huge_constants
func.func @keeps_huge_constants() -> tensor<90000x100000xi1> {
  %a = nju.constant dense<true> : tensor<90000x100000xi1>
  // CHECK: nju.not
  %0 = nju.not %a : (tensor<90000x100000xi1>) -> tensor<90000x100000xi1>
  return %0 : tensor<90000x100000xi1>
}

// -----

// Not larger than the operands.
// CHECK-LABEL: func @folds_large_operands
func.func @folds_large_operands() -> tensor<512x512xi1> {
  %a = nju.constant dense<true> : tensor<512x512xi1>
  // CHECK: nju.constant dense<false> : tensor<512x512xi1>
  %0 = nju.not %a : (tensor<512x512xi1>) -> tensor<512x512xi1>
  return %0 : tensor<512x512xi1>
}

// -----

// CHECK-LABEL: func @computes_with_tiny_params_only
nju.param @tiny : tensor<2xf16> = dense<[1.0, 2.0]> : tensor<2xf16>
nju.param @large : tensor<32x64xf16> = dense<1.0> : tensor<32x64xf16>
func.func @computes_with_tiny_params_only() -> (tensor<2xf32>, tensor<32x64xf32>) {
  %a = nju.param_ref @tiny : tensor<2xf16>
  %b = nju.param_ref @large : tensor<32x64xf16>
  // CHECK: nju.param_ref @large
  // CHECK: nju.constant dense<[1.000000e+00, 2.000000e+00]> : tensor<2xf32>
  // CHECK: nju.cast %{{.*}} : (tensor<32x64xf16>)
  %0 = nju.cast %a : (tensor<2xf16>) -> tensor<2xf32>
  %1 = nju.cast %b : (tensor<32x64xf16>) -> tensor<32x64xf32>
  return %0, %1 : tensor<2xf32>, tensor<32x64xf32>
}

// -----

// A division by zero has no result and stays.
// CHECK-LABEL: func @keeps_division_by_zero
func.func @keeps_division_by_zero() -> tensor<2x1xi64> {
  %a = nju.constant dense<[[1], [2]]> : tensor<2x1xi64>
  %z = nju.constant dense<0> : tensor<i64>
  // CHECK: nju.div
  %0 = nju.div %a, %z : (tensor<2x1xi64>, tensor<i64>) -> tensor<2x1xi64>
  return %0 : tensor<2x1xi64>
}

// -----

// CHECK-LABEL: func @makes_target_constant
func.func @makes_target_constant(%x: tensor<?x?x64xf32> {nju.dims = ["b", "s", ""]}) -> tensor<?x?x?x?xf32> {
  %s = nju.shape_of %x : (tensor<?x?x64xf32>) -> tensor<3xi64>
  %zero = nju.constant dense<0> : tensor<1xi64>
  %one = nju.constant dense<1> : tensor<1xi64>
  %heads = nju.constant dense<[8, 8]> : tensor<2xi64>
  %b = nju.gather %s, %zero {axis = 0 : i64} : (tensor<3xi64>, tensor<1xi64>) -> tensor<1xi64>
  %n = nju.gather %s, %one {axis = 0 : i64} : (tensor<3xi64>, tensor<1xi64>) -> tensor<1xi64>
  %shape = nju.concat %b, %n, %heads {axis = 0 : i64} : (tensor<1xi64>, tensor<1xi64>, tensor<2xi64>) -> tensor<4xi64>
  // CHECK-NOT: nju.shape_of
  // CHECK: %[[S:.*]] = nju.constant dense<[0, 0, 8, 8]>
  // CHECK: nju.reshape %{{.*}}, %[[S]] : (tensor<?x?x64xf32>, tensor<4xi64>) -> tensor<?x?x8x8xf32>
  %y = nju.reshape %x, %shape : (tensor<?x?x64xf32>, tensor<4xi64>) -> tensor<?x?x?x?xf32>
  return %y : tensor<?x?x?x?xf32>
}

// -----

// Two dimensions that are not copied cannot both be -1.
// CHECK-LABEL: func @keeps_computed_target
func.func @keeps_computed_target(%x: tensor<?xf32> {nju.dims = ["b*s"]}, %y: tensor<?x?xf32> {nju.dims = ["b", "s"]}) -> tensor<?x?xf32> {
  // CHECK: nju.shape_of
  %s = nju.shape_of %y : (tensor<?x?xf32>) -> tensor<2xi64>
  // CHECK: nju.reshape
  %z = nju.reshape %x, %s : (tensor<?xf32>, tensor<2xi64>) -> tensor<?x?xf32>
  return %z : tensor<?x?xf32>
}

// -----

// CHECK-LABEL: func @cancels_reshapes
// CHECK-SAME: (%[[X:.*]]: tensor<?x64xf32>
func.func @cancels_reshapes(%x: tensor<?x64xf32> {nju.dims = ["s", ""]}) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  %split = nju.constant dense<[0, 8, 8]> : tensor<3xi64>
  %joined = nju.constant dense<[-1, 64]> : tensor<2xi64>
  %0 = nju.reshape %x, %split : (tensor<?x64xf32>, tensor<3xi64>) -> tensor<?x8x8xf32>
  %1 = nju.reshape %0, %joined : (tensor<?x8x8xf32>, tensor<2xi64>) -> tensor<?x64xf32>
  %2 = nju.unsqueeze %x {axes = array<i64: 1>} : (tensor<?x64xf32>) -> tensor<?x1x64xf32>
  %3 = nju.squeeze %2 {axes = array<i64: 1>} : (tensor<?x1x64xf32>) -> tensor<?x64xf32>
  // CHECK-NOT: = nju.
  // CHECK: return %[[X]], %[[X]]
  return %1, %3 : tensor<?x64xf32>, tensor<?x64xf32>
}

// -----

// CHECK-LABEL: func @joins_reshapes
func.func @joins_reshapes(%x: tensor<?x64xf32> {nju.dims = ["s", ""]}) -> tensor<?x4x16xf32> {
  %flat = nju.constant dense<[-1]> : tensor<1xi64>
  %split = nju.constant dense<[-1, 4, 16]> : tensor<3xi64>
  // CHECK: %[[S:.*]] = nju.constant dense<[0, 4, 16]>
  // CHECK: nju.reshape %{{.*}}, %[[S]] : (tensor<?x64xf32>
  %0 = nju.reshape %x, %flat : (tensor<?x64xf32>, tensor<1xi64>) -> tensor<?xf32>
  %1 = nju.reshape %0, %split : (tensor<?xf32>, tensor<3xi64>) -> tensor<?x4x16xf32>
  return %1 : tensor<?x4x16xf32>
}

// -----

// CHECK-LABEL: func @removes_what_does_nothing
// CHECK-SAME: (%[[X:[^:]*]]: tensor<2x?xf32>
func.func @removes_what_does_nothing(%x: tensor<2x?xf32>) -> (tensor<2x?xf32>, tensor<2x?xf32>, tensor<2x?xf32>, tensor<2x?xf32>, tensor<2x?xf32>) {
  %s = nju.shape_of %x : (tensor<2x?xf32>) -> tensor<2xi64>
  %zero = nju.constant dense<0> : tensor<1xi64>
  %one = nju.constant dense<1> : tensor<1xi64>
  %most = nju.constant dense<9223372036854775807> : tensor<1xi64>
  %true = nju.constant dense<true> : tensor<i1>
  %unit = nju.constant dense<1.0> : tensor<f32>
  %0 = nju.broadcast_to %x, %s : (tensor<2x?xf32>, tensor<2xi64>) -> tensor<2x?xf32>
  %1 = nju.slice %x, %zero, %most, %one {axes = array<i64: 1>} : (tensor<2x?xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<2x?xf32>
  %t = nju.transpose %x {permutation = array<i64: 1, 0>} : (tensor<2x?xf32>) -> tensor<?x2xf32>
  %2 = nju.transpose %t {permutation = array<i64: 1, 0>} : (tensor<?x2xf32>) -> tensor<2x?xf32>
  %3 = nju.select %true, %x, %unit : (tensor<i1>, tensor<2x?xf32>, tensor<f32>) -> tensor<2x?xf32>
  %4 = nju.mul %x, %unit : (tensor<2x?xf32>, tensor<f32>) -> tensor<2x?xf32>
  // CHECK-NOT: = nju.
  // CHECK: return %[[X]], %[[X]], %[[X]], %[[X]], %[[X]]
  return %0, %1, %2, %3, %4 : tensor<2x?xf32>, tensor<2x?xf32>, tensor<2x?xf32>, tensor<2x?xf32>, tensor<2x?xf32>
}

// -----

// CHECK-LABEL: func @keeps_what_broadcasts
func.func @keeps_what_broadcasts(%x: tensor<1xf32>) -> (tensor<3xf32>, tensor<3xf32>) {
  %three = nju.constant dense<3> : tensor<1xi64>
  %ones = nju.constant dense<1.0> : tensor<3xf32>
  // CHECK: nju.broadcast_to
  %0 = nju.broadcast_to %x, %three : (tensor<1xf32>, tensor<1xi64>) -> tensor<3xf32>
  // CHECK: nju.mul
  %1 = nju.mul %x, %ones : (tensor<1xf32>, tensor<3xf32>) -> tensor<3xf32>
  return %0, %1 : tensor<3xf32>, tensor<3xf32>
}

// -----

// CHECK-LABEL: func @joins_transposes
func.func @joins_transposes(%x: tensor<2x3x4xf32>) -> tensor<4x2x3xf32> {
  // CHECK: nju.transpose %arg0 {permutation = array<i64: 2, 0, 1>}
  %0 = nju.transpose %x {permutation = array<i64: 1, 0, 2>} : (tensor<2x3x4xf32>) -> tensor<3x2x4xf32>
  %1 = nju.transpose %0 {permutation = array<i64: 2, 1, 0>} : (tensor<3x2x4xf32>) -> tensor<4x2x3xf32>
  return %1 : tensor<4x2x3xf32>
}

// -----

// CHECK-LABEL: func @joins_lossless_casts
// CHECK-SAME: (%[[H:[^:]*]]: tensor<?xf16>, %[[F:[^:]*]]: tensor<?xf32>
func.func @joins_lossless_casts(%h: tensor<?xf16>, %f: tensor<?xf32>) -> (tensor<?xf16>, tensor<?xf32>, tensor<?xi1>) {
  %0 = nju.cast %h : (tensor<?xf16>) -> tensor<?xf32>
  %1 = nju.cast %0 : (tensor<?xf32>) -> tensor<?xf16>
  // CHECK: %[[R:.*]] = nju.cast %[[F]] : (tensor<?xf32>) -> tensor<?xf16>
  %2 = nju.cast %f : (tensor<?xf32>) -> tensor<?xf16>
  // CHECK: %[[W:.*]] = nju.cast %[[R]] : (tensor<?xf16>) -> tensor<?xf32>
  %3 = nju.cast %2 : (tensor<?xf16>) -> tensor<?xf32>
  // CHECK: %[[B:.*]] = nju.cast %[[H]] : (tensor<?xf16>) -> tensor<?xi1>
  %4 = nju.cast %0 : (tensor<?xf32>) -> tensor<?xi1>
  // CHECK: return %[[H]], %[[W]], %[[B]]
  return %1, %3, %4 : tensor<?xf16>, tensor<?xf32>, tensor<?xi1>
}

// -----

// A later layer asks for the same length once more.
// CHECK-LABEL: func @shares_shape_computations
func.func @shares_shape_computations(%x: tensor<?x8xf32> {nju.dims = ["s", ""]}) -> (tensor<i64>, tensor<i64>) {
  %zero = nju.constant dense<0> : tensor<i64>
  // CHECK: %[[S:.*]] = nju.shape_of %arg0
  // CHECK: %[[N:.*]] = nju.gather %[[S]]
  // CHECK-NOT: nju.shape_of
  // CHECK: return %[[N]], %[[N]]
  %0 = nju.shape_of %x : (tensor<?x8xf32>) -> tensor<2xi64>
  %1 = nju.gather %0, %zero {axis = 0 : i64} : (tensor<2xi64>, tensor<i64>) -> tensor<i64>
  %2 = nju.exp %x : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %3 = nju.shape_of %2 : (tensor<?x8xf32>) -> tensor<2xi64>
  %4 = nju.gather %3, %zero {axis = 0 : i64} : (tensor<2xi64>, tensor<i64>) -> tensor<i64>
  return %1, %4 : tensor<i64>, tensor<i64>
}

// -----

// CHECK-LABEL: func @removes_neutral_conditions
// CHECK-SAME: (%[[X:[^:]*]]: tensor<?xi1>
func.func @removes_neutral_conditions(%x: tensor<?xi1>) -> (tensor<?xi1>, tensor<?xi1>, tensor<?xi1>) {
  %true = nju.constant dense<true> : tensor<i1>
  %false = nju.constant dense<false> : tensor<i1>
  %0 = nju.and %true, %x : (tensor<i1>, tensor<?xi1>) -> tensor<?xi1>
  %1 = nju.or %x, %false : (tensor<?xi1>, tensor<i1>) -> tensor<?xi1>
  // CHECK: %[[O:.*]] = nju.or
  %2 = nju.or %x, %true : (tensor<?xi1>, tensor<i1>) -> tensor<?xi1>
  // CHECK: return %[[X]], %[[X]], %[[O]]
  return %0, %1, %2 : tensor<?xi1>, tensor<?xi1>, tensor<?xi1>
}

// -----

// Rows of the heads stay apart from those of the tokens.
// CHECK-LABEL: func @splits_rows_of_norms
func.func @splits_rows_of_norms(
    %x: tensor<?x?x64xf32> {nju.dims = ["batch", "sequence", ""]},
    %w: tensor<16xf32>) -> tensor<?x?x64xf32> {
  %heads = nju.constant dense<[0, -1, 16]> : tensor<3xi64>
  %tokens = nju.constant dense<[0, -1, 64]> : tensor<3xi64>
  // CHECK: %[[SPLIT:.*]] = nju.constant dense<[0, 0, 4, 16]>
  // CHECK: %[[ROWS:.*]] = nju.reshape %arg0, %[[SPLIT]] : {{.*}} -> tensor<?x?x4x16xf32>
  // CHECK: %[[NORM:.*]] = nju.rms_norm %[[ROWS]], %arg1
  // CHECK: nju.reshape %[[NORM]], {{.*}} -> tensor<?x?x64xf32>
  %0 = nju.reshape %x, %heads : (tensor<?x?x64xf32>, tensor<3xi64>) -> tensor<?x?x16xf32>
  %1 = nju.rms_norm %0, %w {epsilon = 1.0e-5 : f64} : (tensor<?x?x16xf32>, tensor<16xf32>) -> tensor<?x?x16xf32>
  %2 = nju.reshape %1, %tokens : (tensor<?x?x16xf32>, tensor<3xi64>) -> tensor<?x?x64xf32>
  return %2 : tensor<?x?x64xf32>
}

// -----

// CHECK-LABEL: func @keeps_rows_of_other_norms
func.func @keeps_rows_of_other_norms(
    %x: tensor<?x?x60xf32> {nju.dims = ["batch", "sequence", ""]},
    %w: tensor<16xf32>) -> tensor<?x16xf32> {
  %rows = nju.constant dense<[-1, 16]> : tensor<2xi64>
  // CHECK: nju.reshape %arg0, {{.*}} -> tensor<?x16xf32>
  // CHECK-NEXT: nju.layer_norm
  // CHECK-NEXT: return
  %0 = nju.reshape %x, %rows : (tensor<?x?x60xf32>, tensor<2xi64>) -> tensor<?x16xf32>
  %1 = nju.layer_norm %0, %w {epsilon = 1.0e-5 : f64} : (tensor<?x16xf32>, tensor<16xf32>) -> tensor<?x16xf32>
  return %1 : tensor<?x16xf32>
}
