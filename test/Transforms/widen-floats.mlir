// RUN: nju-opt %s --nju-widen-floats --split-input-file | FileCheck %s

// CHECK-LABEL: @casts_at_the_boundary
// CHECK-SAME: (%[[X:.*]]: tensor<?xf16>) -> tensor<?xf16>
// CHECK: %[[WIDE:.*]] = nju.cast %[[X]] : (tensor<?xf16>) -> tensor<?xf32>
// CHECK: %[[EXP:.*]] = nju.exp %[[WIDE]] : (tensor<?xf32>) -> tensor<?xf32>
// CHECK: %[[NARROW:.*]] = nju.cast %[[EXP]] : (tensor<?xf32>) -> tensor<?xf16>
// CHECK: return %[[NARROW]]
func.func @casts_at_the_boundary(%x: tensor<?xf16>) -> tensor<?xf16> {
  %0 = nju.exp %x : (tensor<?xf16>) -> tensor<?xf16>
  return %0 : tensor<?xf16>
}

// -----

// CHECK-LABEL: @drops_casts_between_floats
// CHECK: %[[WIDE:.*]] = nju.cast %{{.*}} : (tensor<4xbf16>) -> tensor<4xf32>
// CHECK-NEXT: %[[EXP:.*]] = nju.exp %[[WIDE]]
// CHECK-NEXT: nju.neg %[[EXP]]
// CHECK-NOT: bf16
func.func @drops_casts_between_floats(%x: tensor<4xbf16>) -> tensor<4xf32> {
  %0 = nju.cast %x : (tensor<4xbf16>) -> tensor<4xf32>
  %1 = nju.exp %0 : (tensor<4xf32>) -> tensor<4xf32>
  %2 = nju.cast %1 : (tensor<4xf32>) -> tensor<4xbf16>
  %3 = nju.cast %2 : (tensor<4xbf16>) -> tensor<4xf32>
  %4 = nju.neg %3 : (tensor<4xf32>) -> tensor<4xf32>
  return %4 : tensor<4xf32>
}

// -----

// CHECK: nju.param @w : tensor<4xf16>
// CHECK-LABEL: @reads_params_through_a_cast
// CHECK: %[[W:.*]] = nju.param_ref @w : tensor<4xf16>
// CHECK: %[[WIDE:.*]] = nju.cast %[[W]] : (tensor<4xf16>) -> tensor<4xf32>
// CHECK: nju.mul %{{.*}}, %[[WIDE]] : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
nju.param @w : tensor<4xf16> = #nju.file<"w.data", 0, tensor<4xf16>>
func.func @reads_params_through_a_cast(%x: tensor<?x4xf16>) -> tensor<?x4xf16> {
  %w = nju.param_ref @w : tensor<4xf16>
  %0 = nju.mul %x, %w : (tensor<?x4xf16>, tensor<4xf16>) -> tensor<?x4xf16>
  return %0 : tensor<?x4xf16>
}

// -----

// CHECK-LABEL: @keeps_the_value_of_constants
// CHECK: nju.constant dense<[-6.550400e+04, 5.000000e-01]> : tensor<2xf32>
func.func @keeps_the_value_of_constants() -> tensor<2xf32> {
  %0 = nju.constant dense<[-65504.0, 0.5]> : tensor<2xf16>
  %1 = nju.cast %0 : (tensor<2xf16>) -> tensor<2xf32>
  return %1 : tensor<2xf32>
}

// -----

// CHECK-LABEL: @leaves_doubles_and_integers
// CHECK: nju.exp %{{.*}} : (tensor<4xf64>) -> tensor<4xf64>
// CHECK: nju.neg %{{.*}} : (tensor<4xi64>) -> tensor<4xi64>
func.func @leaves_doubles_and_integers(%x: tensor<4xf64>, %i: tensor<4xi64>) -> (tensor<4xf64>, tensor<4xi64>) {
  %0 = nju.exp %x : (tensor<4xf64>) -> tensor<4xf64>
  %1 = nju.neg %i : (tensor<4xi64>) -> tensor<4xi64>
  return %0, %1 : tensor<4xf64>, tensor<4xi64>
}
