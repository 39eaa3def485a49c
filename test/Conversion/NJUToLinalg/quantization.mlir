// RUN: nju-opt %s --convert-nju-to-linalg | FileCheck %s
// RUN: nju-opt %s --nju-lower-to-loops=target=x86-64-v3 | FileCheck %s --check-prefix=LOOPS

#four = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>

nju.param @basis : tensor<1x16xi8> = #nju.file<"w", 0, tensor<64x40xf16>> {format = #four, part = #nju.part<basis>}
nju.param @factors : tensor<1x48xf32> = #nju.file<"w", 0, tensor<64x40xf16>> {format = #four, part = #nju.part<factors>}
nju.param @codes : tensor<3x544xi8> = #nju.file<"w", 0, tensor<64x40xf16>> {format = #four, part = #nju.part<codes>}
nju.param @bias : tensor<40xf32> = #nju.file<"b", 0, tensor<40xf32>>

// Indices of 32 bits are widened; those of 64 are used as they are. The input is
// rounded once for two products.
// CHECK-LABEL: func.func @main
// CHECK: arith.extsi
// CHECK: %[[ROWS:.*]] = exec.dequantize ins(%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} : tensor<3x544xi8>, tensor<1x16xi8>, tensor<1x48xf32>, tensor<?xi64>)
// CHECK-SAME: {channels = 40 : i64, format = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>}
// CHECK: exec.linear ins(%[[ROWS]], %{{.*}}, %{{.*}}, %{{.*}} : tensor<?x64xf32>, tensor<3x544xi8>, tensor<1x16xi8>, tensor<1x48xf32>) with(%{{.*}} : tensor<40xf32>)
// CHECK: {format = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>}
// CHECK: exec.linear
// LOOPS: func.func @main
// LOOPS: call @nju_lcq_rows
// LOOPS: call @nju_pack_lcq_rows_32
// LOOPS-NOT: call @nju_pack_lcq_rows_32
// LOOPS: call @nju_lcq_linear
// LOOPS: call @nju_lcq_linear
func.func @main(%ids: tensor<?xi32> {nju.name = "ids"}) -> (tensor<?x40xf32> {nju.name = "y"}, tensor<?x40xf32> {nju.name = "z"}, tensor<40x64xf32> {nju.name = "all"}) {
  %basis = nju.param_ref @basis : tensor<1x16xi8>
  %factors = nju.param_ref @factors : tensor<1x48xf32>
  %codes = nju.param_ref @codes : tensor<3x544xi8>
  %bias = nju.param_ref @bias : tensor<40xf32>
  %0 = nju.dequantize %codes, %basis, %factors rows(%ids : tensor<?xi32>) {channels = 40 : i64, format = #four} : (tensor<3x544xi8>, tensor<1x16xi8>, tensor<1x48xf32>) -> tensor<?x64xf32>
  %1 = nju.lcq_matmul %0, %codes, %basis, %factors bias(%bias : tensor<40xf32>) {format = #four} : (tensor<?x64xf32>, tensor<3x544xi8>, tensor<1x16xi8>, tensor<1x48xf32>) -> tensor<?x40xf32>
  %2 = nju.lcq_matmul %0, %codes, %basis, %factors {format = #four} : (tensor<?x64xf32>, tensor<3x544xi8>, tensor<1x16xi8>, tensor<1x48xf32>) -> tensor<?x40xf32>
  %3 = nju.dequantize %codes, %basis, %factors {channels = 40 : i64, format = #four} : (tensor<3x544xi8>, tensor<1x16xi8>, tensor<1x48xf32>) -> tensor<40x64xf32>
  return %1, %2, %3 : tensor<?x40xf32>, tensor<?x40xf32>, tensor<40x64xf32>
}
