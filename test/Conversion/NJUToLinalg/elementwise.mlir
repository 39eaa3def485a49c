// RUN: nju-opt %s --convert-nju-to-linalg --canonicalize --cse --split-input-file | FileCheck %s

// Equal dimensions by name: no comparison at run time.
// CHECK-LABEL: @equal_names_need_no_choice
// CHECK-NOT: arith.select
// CHECK: linalg.generic
// CHECK: arith.addf
func.func @equal_names_need_no_choice(%a: tensor<?x4xf32> {nju.dims = ["n", ""]}, %b: tensor<?x4xf32> {nju.dims = ["n", ""]}) -> tensor<?x4xf32> {
  %y = nju.add %a, %b : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-DAG: #[[FIXED:.*]] = affine_map<(d0, d1) -> (d0, 0)>
// CHECK-LABEL: @static_one_is_broadcast
// CHECK: linalg.generic {indexing_maps = [#{{.*}}, #[[FIXED]], #{{.*}}]
func.func @static_one_is_broadcast(%a: tensor<?x4xf32> {nju.dims = ["n", ""]}, %b: tensor<?x1xf32> {nju.dims = ["n", ""]}) -> tensor<?x4xf32> {
  %y = nju.mul %a, %b : (tensor<?x4xf32>, tensor<?x1xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: @unknown_dims_are_compared_at_run_time
// CHECK: %[[ONE:.*]] = arith.cmpi eq, %{{.*}}, %c1
// CHECK: arith.select %[[ONE]]
// CHECK: tensor.extract
func.func @unknown_dims_are_compared_at_run_time(%a: tensor<?xf32>, %b: tensor<?xf32>) -> tensor<?xf32> {
  %y = nju.sub %a, %b : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
  return %y : tensor<?xf32>
}

// -----

// CHECK-LABEL: @bools_are_bytes
// CHECK-SAME: (%{{.*}}: tensor<?xi8>{{.*}}) -> tensor<?xi8>
// CHECK: arith.cmpi eq, %{{.*}}, %c0_i8
// CHECK: arith.extui %{{.*}} : i1 to i8
func.func @bools_are_bytes(%a: tensor<?xi1>) -> tensor<?xi1> {
  %y = nju.not %a : (tensor<?xi1>) -> tensor<?xi1>
  return %y : tensor<?xi1>
}

// -----

// CHECK-LABEL: @unsigned_types_divide_unsigned
// CHECK-SAME: tensor<?xi8>
// CHECK: arith.divui
func.func @unsigned_types_divide_unsigned(%a: tensor<?xui8> {nju.dims = ["n"]}, %b: tensor<?xui8> {nju.dims = ["n"]}) -> tensor<?xui8> {
  %y = nju.div %a, %b : (tensor<?xui8>, tensor<?xui8>) -> tensor<?xui8>
  return %y : tensor<?xui8>
}

// -----

// CHECK-LABEL: @half_precision_computes_in_f32
// CHECK: arith.extf %{{.*}} : f16 to f32
// CHECK: arith.mulf {{.*}} : f32
// CHECK: arith.truncf %{{.*}} : f32 to f16
func.func @half_precision_computes_in_f32(%a: tensor<?xf16> {nju.dims = ["n"]}, %b: tensor<?xf16> {nju.dims = ["n"]}) -> tensor<?xf16> {
  %y = nju.mul %a, %b : (tensor<?xf16>, tensor<?xf16>) -> tensor<?xf16>
  return %y : tensor<?xf16>
}
