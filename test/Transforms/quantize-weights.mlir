// RUN: nju-opt %s --nju-quantize-weights --split-input-file | FileCheck %s

#four = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>
#three = #nju.lcq<bits = 3, group = 64, rank = 2, scale_bits = 16, offset = true>

// The parts in the order in which they are read, the codes with the name of the
// matrix; with a transposed matrix the data's dimensions stay permuted.
// CHECK: nju.param @w.basis : tensor<1x16xi8> = #nju.file<"w", 8, tensor<100x64xf16>> {format = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>, part = #nju.part<basis>, permutation = array<i64: 1, 0>}
// CHECK: nju.param @w.factors : tensor<1x112xf32>
// CHECK: nju.param @w : tensor<7x544xi8>
// CHECK: nju.param @v.basis : tensor<2x8xi8>
// CHECK: nju.param @v.factors : tensor<2x1xf32>
// 3 groups of 16 rows: 3 planes of f16, then 64, 64 and 22 (filled up to 32) columns.
// CHECK: nju.param @v : tensor<3x1248xi8>
// CHECK-LABEL: func.func @products
// CHECK: %[[BASIS:.*]] = nju.param_ref @w.basis
// CHECK: %[[FACTORS:.*]] = nju.param_ref @w.factors
// CHECK: %[[CODES:.*]] = nju.param_ref @w :
// CHECK: nju.lcq_matmul %{{.*}}, %[[CODES]], %[[BASIS]], %[[FACTORS]] {format = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>} : (tensor<?x64xf32>, tensor<7x544xi8>, tensor<1x16xi8>, tensor<1x112xf32>) -> tensor<?x100xf32>
// CHECK: nju.lcq_matmul %{{.*}} bias(%{{.*}} : tensor<40xf32>) {format = #nju.lcq<bits = 3, group = 64, rank = 2, scale_bits = 16, offset = true>}
// CHECK-NOT: nju.linear
nju.param @w : tensor<4x64x32xf16> = #nju.file<"w", 8, tensor<100x64xf16>> {permutation = array<i64: 1, 0>, panels = 32 : i64, nju.quantize = #four}
nju.param @v : tensor<2x150x32xf32> = #nju.file<"w", 9000, tensor<150x40xf32>> {panels = 32 : i64, nju.quantize = #three}
func.func @products(%x: tensor<?x64xf32>, %z: tensor<2x?x150xf32>, %bias: tensor<40xf32>) -> (tensor<?x100xf32>, tensor<2x?x40xf32>) {
  %0 = nju.param_ref @w : tensor<4x64x32xf16>
  %1 = nju.linear %x, %0 : (tensor<?x64xf32>, tensor<4x64x32xf16>) -> tensor<?x100xf32>
  %2 = nju.param_ref @v : tensor<2x150x32xf32>
  %3 = nju.linear %z, %2 bias(%bias : tensor<40xf32>) : (tensor<2x?x150xf32>, tensor<2x150x32xf32>) -> tensor<2x?x40xf32>
  return %1, %3 : tensor<?x100xf32>, tensor<2x?x40xf32>
}

// -----

// A tied embedding is one matrix; what is looked up is f32, and the cast to it
// vanishes.
#four = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>

// CHECK-LABEL: func.func @tied
// CHECK: %[[ROWS:.*]] = nju.dequantize %{{.*}} rows(%{{.*}} : tensor<?xi64>) {channels = 40 : i64, format = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>} : (tensor<3x544xi8>, tensor<1x16xi8>, tensor<1x48xf32>) -> tensor<?x64xf32>
// CHECK-NOT: nju.cast
// CHECK: nju.lcq_matmul %[[ROWS]]
nju.param @e : tensor<2x64x32xf16> = #nju.file<"w", 0, tensor<40x64xf16>> {permutation = array<i64: 1, 0>, panels = 32 : i64, nju.quantize = #four}
func.func @tied(%ids: tensor<?xi64>) -> tensor<?x40xf32> {
  %0 = nju.param_ref @e : tensor<2x64x32xf16>
  %1 = nju.embedding %0, %ids {columns = 40 : i64} : (tensor<2x64x32xf16>, tensor<?xi64>) -> tensor<?x64xf16>
  %2 = nju.cast %1 : (tensor<?x64xf16>) -> tensor<?x64xf32>
  %3 = nju.linear %2, %0 : (tensor<?x64xf32>, tensor<2x64x32xf16>) -> tensor<?x40xf32>
  return %3 : tensor<?x40xf32>
}

// -----

// A table that is only looked up: its rows are the channels. Other uses of what
// is looked up get the stored type.
#two = #nju.lcq<bits = 2, group = 32, rank = 1, scale_bits = 8, offset = false>

// CHECK: nju.param @e : tensor<3x{{[0-9]+}}xi8> = #nju.file<"w", 0, tensor<40x64xf16>> {{.*}}permutation = array<i64: 1, 0>
// CHECK-LABEL: func.func @table
// CHECK: %[[ROWS:.*]] = nju.dequantize
// CHECK: %[[CAST:.*]] = nju.cast %[[ROWS]] : (tensor<?x64xf32>) -> tensor<?x64xf16>
// CHECK: return %[[CAST]]
nju.param @e : tensor<40x64xf16> = #nju.file<"w", 0, tensor<40x64xf16>> {nju.quantize = #two}
func.func @table(%ids: tensor<?xi32>) -> tensor<?x64xf16> {
  %0 = nju.param_ref @e : tensor<40x64xf16>
  %1 = nju.gather %0, %ids {axis = 0 : i64} : (tensor<40x64xf16>, tensor<?xi32>) -> tensor<?x64xf16>
  return %1 : tensor<?x64xf16>
}

// -----

// What came quantized keeps its codes: the parts say that they are exact.
#given = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 32, offset = false, zero_bits = 8>
#data = #nju.uniform<codes = <data = #nju.file<"w", 0, tensor<3200xui8>>, bits = 4, row_bits = 256, is_signed = false>, scales = #nju.file<"w", 3200, tensor<100x2xf32>>, zero_points = #nju.packed<data = #nju.file<"w", 4000, tensor<100xui8>>, bits = 4, row_bits = 8, is_signed = false>, block = [1, 32], type = tensor<100x64xf32>>

// CHECK: nju.param @w.basis : tensor<1x16xi8> = #nju.uniform<{{.*}}> {exact, format = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 32, offset = false, zero_bits = 8>, part = #nju.part<basis>, permutation = array<i64: 1, 0>}
// CHECK: nju.param @w.factors : tensor<1x1xf32> = #nju.uniform<{{.*}}> {exact
// 16 rows of a group: 64 bytes of scales, 16 of zero points, 256 of codes.
// CHECK: nju.param @w : tensor<7x672xi8> = #nju.uniform<{{.*}}> {exact
// CHECK-LABEL: func.func @exact
// CHECK: nju.lcq_matmul
nju.param @w : tensor<4x64x32xf32> = #data {permutation = array<i64: 1, 0>, panels = 32 : i64, nju.quantize = #given, nju.exact}
func.func @exact(%x: tensor<?x64xf32>) -> tensor<?x100xf32> {
  %0 = nju.param_ref @w : tensor<4x64x32xf32>
  %1 = nju.linear %x, %0 : (tensor<?x64xf32>, tensor<4x64x32xf32>) -> tensor<?x100xf32>
  return %1 : tensor<?x100xf32>
}

// -----

#four = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>

// One expert has the weight of another.
// CHECK-LABEL: @experts
// CHECK-DAG: %[[C0:.*]] = nju.param_ref @w0 :
// CHECK-DAG: %[[B0:.*]] = nju.param_ref @w0.basis
// CHECK-DAG: %[[F0:.*]] = nju.param_ref @w0.factors
// CHECK-DAG: %[[C1:.*]] = nju.param_ref @w1 :
// CHECK-DAG: %[[B1:.*]] = nju.param_ref @w1.basis
// CHECK-DAG: %[[F1:.*]] = nju.param_ref @w1.factors
// CHECK: nju.expert_linear %arg0, %arg1, %[[C0]], %[[C1]], %[[C0]], %[[B0]], %[[B1]], %[[B0]], %[[F0]], %[[F1]], %[[F0]] {format = #nju.lcq<bits = 4
// CHECK-NEXT: return
nju.param @w0 : tensor<2x64x32xf16> = #nju.file<"w", 0, tensor<64x40xf16>> {nju.quantize = #four, panels = 32 : i64}
nju.param @w1 : tensor<2x64x32xf16> = #nju.file<"w", 0, tensor<64x40xf16>> {nju.quantize = #four, panels = 32 : i64}
func.func @experts(%x: tensor<?x64xf32>, %c: tensor<?x2xi64>) -> tensor<?x2x40xf32> {
  %0 = nju.param_ref @w0 : tensor<2x64x32xf16>
  %1 = nju.param_ref @w1 : tensor<2x64x32xf16>
  %2 = nju.expert_linear %x, %c, %0, %1, %0 : (tensor<?x64xf32>, tensor<?x2xi64>, tensor<2x64x32xf16>, tensor<2x64x32xf16>, tensor<2x64x32xf16>) -> tensor<?x2x40xf32>
  return %2 : tensor<?x2x40xf32>
}
