// RUN: nju-opt %s --convert-nju-to-linalg --canonicalize --cse --split-input-file | FileCheck %s

// CHECK-LABEL: @index_is_clamped
// CHECK: %[[WRAPPED:.*]] = arith.select
// CHECK: %[[MIN:.*]] = arith.minsi %[[WRAPPED]], %c5
// CHECK: %[[INDEX:.*]] = arith.maxsi %[[MIN]], %c0
// CHECK: tensor.extract %{{.*}}[%[[INDEX]], %{{.*}}]
func.func @index_is_clamped(%t: tensor<6x3xf32>, %i: tensor<?xi64>) -> tensor<?x3xf32> {
  %y = nju.gather %t, %i {axis = 0 : i64} : (tensor<6x3xf32>, tensor<?xi64>) -> tensor<?x3xf32>
  return %y : tensor<?x3xf32>
}

// -----

// Only the rows that are looked up are converted.
// CHECK-LABEL: @rows_of_a_weight_are_converted
// CHECK: %[[W:.*]] = nju.param_ref @w
// CHECK: tensor.extract %[[W]][{{.*}}] : tensor<6x3xf16>
// CHECK: arith.extf
nju.param @w : tensor<6x3xf16> = dense<1.0> : tensor<6x3xf16>
func.func @rows_of_a_weight_are_converted(%i: tensor<?xi64>) -> tensor<?x3xf32> {
  %w = nju.param_ref @w : tensor<6x3xf16>
  %f = nju.cast %w : (tensor<6x3xf16>) -> tensor<6x3xf32>
  %y = nju.gather %f, %i {axis = 0 : i64} : (tensor<6x3xf32>, tensor<?xi64>) -> tensor<?x3xf32>
  return %y : tensor<?x3xf32>
}

// -----

// Row i is column i % 32 of panel i / 32; an index is checked and clamped by the
// number of columns, not by what the panels have room for.
// CHECK-LABEL: @rows_of_panels
// CHECK: exec.check {{.*}}"{{.*}}index {0} is out of range for a size of {1}"(%{{.*}}, %c40)
// CHECK: %[[INDEX:.*]] = arith.maxsi
// CHECK: %[[K:.*]] = linalg.index 1
// CHECK: %[[PANEL:.*]] = arith.divui %[[INDEX]], %c32
// CHECK: %[[COLUMN:.*]] = arith.remui %[[INDEX]], %c32
// CHECK: tensor.extract %arg0[%[[PANEL]], %[[K]], %[[COLUMN]]] : tensor<2x3x32xf32>
func.func @rows_of_panels(%w: tensor<2x3x32xf32>, %i: tensor<?xi64>) -> tensor<?x3xf32> {
  %y = nju.embedding %w, %i {columns = 40 : i64} : (tensor<2x3x32xf32>, tensor<?xi64>) -> tensor<?x3xf32>
  return %y : tensor<?x3xf32>
}

// -----

// CHECK-LABEL: @scatter_goes_in_order
// CHECK: scf.for
// CHECK: tensor.insert
func.func @scatter_goes_in_order(%a: tensor<?x3xf32>, %i: tensor<2x1xi64>, %u: tensor<2x3xf32>) -> tensor<?x3xf32> {
  %y = nju.scatter_nd %a, %i, %u : (tensor<?x3xf32>, tensor<2x1xi64>, tensor<2x3xf32>) -> tensor<?x3xf32>
  return %y : tensor<?x3xf32>
}
