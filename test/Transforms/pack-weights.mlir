// RUN: nju-opt %s --nju-pack-weights --split-input-file | FileCheck %s

// CHECK: nju.param @w : tensor<2x64x32xf16> = #nju.file<"w.data", 0, tensor<64x40xf16>> {panels = 32 : i64}
// CHECK-LABEL: @matmul
// CHECK: %[[W:.*]] = nju.param_ref @w : tensor<2x64x32xf16>
// CHECK: nju.linear %arg0, %[[W]] : (tensor<?x64xf32>, tensor<2x64x32xf16>) -> tensor<?x40xf32>
// CHECK-NEXT: return
nju.param @w : tensor<64x40xf16> = #nju.file<"w.data", 0, tensor<64x40xf16>>
func.func @matmul(%x: tensor<?x64xf32>) -> tensor<?x40xf32> {
  %0 = nju.param_ref @w : tensor<64x40xf16>
  %1 = nju.cast %0 : (tensor<64x40xf16>) -> tensor<64x40xf32>
  %2 = nju.matmul %x, %1 : (tensor<?x64xf32>, tensor<64x40xf32>) -> tensor<?x40xf32>
  return %2 : tensor<?x40xf32>
}

// -----

// CHECK: nju.param @b : tensor<8xf32> = #nju.file<"w.data", 4096, tensor<8xf16>>
// CHECK: nju.param @w : tensor<1x64x32xf32> = #nju.file<"w.data", 0, tensor<8x64xf32>> {panels = 32 : i64, permutation = array<i64: 1, 0>}
// CHECK-LABEL: @transposed_with_bias
// CHECK: %[[B:.*]] = nju.param_ref @b : tensor<8xf32>
// CHECK: %[[W:.*]] = nju.param_ref @w : tensor<1x64x32xf32>
// CHECK: nju.linear %arg0, %[[W]] bias(%[[B]] : tensor<8xf32>)
// CHECK-NEXT: return
nju.param @w : tensor<8x64xf32> = #nju.file<"w.data", 0, tensor<8x64xf32>>
nju.param @b : tensor<8xf16> = #nju.file<"w.data", 4096, tensor<8xf16>>
func.func @transposed_with_bias(%x: tensor<?x64xf32>) -> tensor<?x8xf32> {
  %0 = nju.param_ref @w : tensor<8x64xf32>
  %1 = nju.transpose %0 {permutation = array<i64: 1, 0>} : (tensor<8x64xf32>) -> tensor<64x8xf32>
  %2 = nju.matmul %x, %1 : (tensor<?x64xf32>, tensor<64x8xf32>) -> tensor<?x8xf32>
  %3 = nju.param_ref @b : tensor<8xf16>
  %4 = nju.cast %3 : (tensor<8xf16>) -> tensor<8xf32>
  %5 = nju.add %4, %2 : (tensor<8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %5 : tensor<?x8xf32>
}

// -----

// Rows that are looked up are columns that are multiplied: one param for both.
// CHECK-NOT: nju.param @e.packed
// CHECK: nju.param @e : tensor<4x64x32xf16> = #nju.file<"w.data", 0, tensor<100x64xf16>> {panels = 32 : i64, permutation = array<i64: 1, 0>}
// CHECK-NOT: nju.param
// CHECK-LABEL: @tied_embedding
// CHECK: %[[E:.*]] = nju.param_ref @e : tensor<4x64x32xf16>
// CHECK: %[[ROWS:.*]] = nju.embedding %[[E]], %arg0 {columns = 100 : i64} : (tensor<4x64x32xf16>, tensor<?xi64>) -> tensor<?x64xf16>
// CHECK: %[[WIDE:.*]] = nju.cast %[[ROWS]]
// CHECK: %[[W:.*]] = nju.param_ref @e : tensor<4x64x32xf16>
// CHECK: nju.linear %[[WIDE]], %[[W]]
nju.param @e : tensor<100x64xf16> = #nju.file<"w.data", 0, tensor<100x64xf16>>
func.func @tied_embedding(%ids: tensor<?xi64>) -> tensor<?x100xf32> {
  %0 = nju.param_ref @e : tensor<100x64xf16>
  %1 = nju.cast %0 : (tensor<100x64xf16>) -> tensor<100x64xf32>
  %2 = nju.gather %1, %ids {axis = 0 : i64} : (tensor<100x64xf32>, tensor<?xi64>) -> tensor<?x64xf32>
  %3 = nju.transpose %1 {permutation = array<i64: 1, 0>} : (tensor<100x64xf32>) -> tensor<64x100xf32>
  %4 = nju.matmul %2, %3 : (tensor<?x64xf32>, tensor<64x100xf32>) -> tensor<?x100xf32>
  return %4 : tensor<?x100xf32>
}

// -----

// The head is stored as the model multiplies it, and the table is its transpose;
// ids of any rank and type.
// CHECK: nju.param @w : tensor<4x64x32xf32> = #nju.file<"w.data", 0, tensor<64x100xf32>> {panels = 32 : i64}
// CHECK-NOT: nju.param
// CHECK-LABEL: @tied_to_the_head
// CHECK: nju.embedding %{{.*}}, %arg0 {columns = 100 : i64} : (tensor<4x64x32xf32>, tensor<1x?xi32>) -> tensor<1x?x64xf32>
// CHECK: nju.linear
nju.param @w : tensor<64x100xf32> = #nju.file<"w.data", 0, tensor<64x100xf32>>
func.func @tied_to_the_head(%ids: tensor<1x?xi32>) -> tensor<1x?x100xf32> {
  %0 = nju.param_ref @w : tensor<64x100xf32>
  %1 = nju.transpose %0 {permutation = array<i64: 1, 0>} : (tensor<64x100xf32>) -> tensor<100x64xf32>
  %2 = nju.gather %1, %ids {axis = 0 : i64} : (tensor<100x64xf32>, tensor<1x?xi32>) -> tensor<1x?x64xf32>
  %3 = nju.matmul %2, %0 : (tensor<1x?x64xf32>, tensor<64x100xf32>) -> tensor<1x?x100xf32>
  return %3 : tensor<1x?x100xf32>
}

// -----

// Other look-ups need the table as it is stored: of columns, of what a product
// does not transpose, and of what no product has.
// CHECK: nju.param @e : tensor<64x64xf32> = #nju.file<"w.data", 0, tensor<64x64xf32>>
// CHECK: nju.param @p : tensor<16x64xf32>
// CHECK: nju.param @e.packed : tensor<2x64x32xf32> = #nju.file<"w.data", 0, tensor<64x64xf32>> {panels = 32 : i64}
// CHECK-LABEL: @not_tied
// CHECK: nju.gather %{{.*}}, %arg0 {axis = 0 : i64} : (tensor<64x64xf32>
// CHECK: nju.gather %{{.*}}, %arg0 {axis = 0 : i64} : (tensor<16x64xf32>
// CHECK: nju.gather %{{.*}}, %arg0 {axis = 1 : i64} : (tensor<64x64xf32>
// CHECK: nju.linear
nju.param @e : tensor<64x64xf32> = #nju.file<"w.data", 0, tensor<64x64xf32>>
nju.param @p : tensor<16x64xf32> = #nju.file<"w.data", 65536, tensor<16x64xf32>>
func.func @not_tied(%ids: tensor<?xi64>) -> (tensor<?x64xf32>, tensor<?x64xf32>, tensor<64x?xf32>) {
  %0 = nju.param_ref @e : tensor<64x64xf32>
  %1 = nju.gather %0, %ids {axis = 0 : i64} : (tensor<64x64xf32>, tensor<?xi64>) -> tensor<?x64xf32>
  %2 = nju.param_ref @p : tensor<16x64xf32>
  %3 = nju.gather %2, %ids {axis = 0 : i64} : (tensor<16x64xf32>, tensor<?xi64>) -> tensor<?x64xf32>
  %4 = nju.gather %0, %ids {axis = 1 : i64} : (tensor<64x64xf32>, tensor<?xi64>) -> tensor<64x?xf32>
  %5 = nju.matmul %1, %0 : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  return %3, %5, %4 : tensor<?x64xf32>, tensor<?x64xf32>, tensor<64x?xf32>
}

// -----

// A head that is computed otherwise, here from rounded weights, has no packed form.
// CHECK: nju.param @e : tensor<100x64xf32> = #nju.file
// CHECK-LABEL: @head_of_another_type
// CHECK: nju.gather
// CHECK: nju.matmul
nju.param @e : tensor<100x64xf32> = #nju.file<"w.data", 0, tensor<100x64xf32>>
func.func @head_of_another_type(%ids: tensor<?xi64>) -> tensor<?x100xf32> {
  %0 = nju.param_ref @e : tensor<100x64xf32>
  %1 = nju.gather %0, %ids {axis = 0 : i64} : (tensor<100x64xf32>, tensor<?xi64>) -> tensor<?x64xf32>
  %2 = nju.cast %0 : (tensor<100x64xf32>) -> tensor<100x64xf16>
  %3 = nju.cast %2 : (tensor<100x64xf16>) -> tensor<100x64xf32>
  %4 = nju.transpose %3 {permutation = array<i64: 1, 0>} : (tensor<100x64xf32>) -> tensor<64x100xf32>
  %5 = nju.matmul %1, %4 : (tensor<?x64xf32>, tensor<64x100xf32>) -> tensor<?x100xf32>
  return %5 : tensor<?x100xf32>
}

// -----

// CHECK-NOT: @unused
// CHECK: nju.param @second
// CHECK-NEXT: nju.param @first
nju.param @unused : tensor<4xf32> = #nju.file<"w.data", 0, tensor<4xf32>>
nju.param @first : tensor<4xf32> = #nju.file<"w.data", 16, tensor<4xf32>>
nju.param @second : tensor<4xf32> = #nju.file<"w.data", 32, tensor<4xf32>>
func.func @order_of_use(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %0 = nju.param_ref @second : tensor<4xf32>
  %1 = nju.mul %x, %0 : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %2 = nju.param_ref @first : tensor<4xf32>
  %3 = nju.mul %1, %2 : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  return %3 : tensor<?x4xf32>
}

// -----

// A matrix that is rounded on the way is no view of the weight; a stack of
// matrices and integers have no packed form.
// CHECK-LABEL: @left_alone
// CHECK-NOT: nju.linear
// CHECK: return
nju.param @w : tensor<4x4xf32> = #nju.file<"w.data", 0, tensor<4x4xf32>>
nju.param @s : tensor<2x4x4xf32> = #nju.file<"w.data", 64, tensor<2x4x4xf32>>
func.func @left_alone(%x: tensor<2x4x4xf32>) -> (tensor<2x4x4xf32>, tensor<2x4x4xf32>) {
  %0 = nju.param_ref @w : tensor<4x4xf32>
  %1 = nju.cast %0 : (tensor<4x4xf32>) -> tensor<4x4xf16>
  %2 = nju.cast %1 : (tensor<4x4xf16>) -> tensor<4x4xf32>
  %3 = nju.matmul %x, %2 : (tensor<2x4x4xf32>, tensor<4x4xf32>) -> tensor<2x4x4xf32>
  %4 = nju.param_ref @s : tensor<2x4x4xf32>
  %5 = nju.matmul %x, %4 : (tensor<2x4x4xf32>, tensor<2x4x4xf32>) -> tensor<2x4x4xf32>
  return %3, %5 : tensor<2x4x4xf32>, tensor<2x4x4xf32>
}

// -----

// All experts' matrices are packed.
// CHECK: nju.param @w0 : tensor<1x8x32xf16> = #nju.file<"w.data", 0, tensor<4x8xf16>> {panels = 32 : i64, permutation = array<i64: 1, 0>}
// CHECK: nju.param @w1 : tensor<1x8x32xf16> = #nju.file<"w.data", 64, tensor<4x8xf16>> {panels = 32 : i64, permutation = array<i64: 1, 0>}
// CHECK-LABEL: @experts
// CHECK: %[[W0:.*]] = nju.param_ref @w0
// CHECK: %[[W1:.*]] = nju.param_ref @w1
// CHECK: nju.expert_linear %arg0, %arg1, %[[W0]], %[[W1]] : (tensor<?x8xf32>, tensor<?x2xi64>, tensor<1x8x32xf16>, tensor<1x8x32xf16>) -> tensor<?x2x4xf32>
// CHECK-NEXT: return
nju.param @w0 : tensor<4x8xf16> = #nju.file<"w.data", 0, tensor<4x8xf16>>
nju.param @w1 : tensor<4x8xf16> = #nju.file<"w.data", 64, tensor<4x8xf16>>
func.func @experts(%x: tensor<?x8xf32>, %c: tensor<?x2xi64>) -> tensor<?x2x4xf32> {
  %0 = nju.param_ref @w0 : tensor<4x8xf16>
  %1 = nju.param_ref @w1 : tensor<4x8xf16>
  %2 = nju.transpose %0 {permutation = array<i64: 1, 0>} : (tensor<4x8xf16>) -> tensor<8x4xf16>
  %3 = nju.transpose %1 {permutation = array<i64: 1, 0>} : (tensor<4x8xf16>) -> tensor<8x4xf16>
  %4 = nju.cast %2 : (tensor<8x4xf16>) -> tensor<8x4xf32>
  %5 = nju.cast %3 : (tensor<8x4xf16>) -> tensor<8x4xf32>
  %6 = nju.expert_matmul %x, %c, %4, %5 : (tensor<?x8xf32>, tensor<?x2xi64>, tensor<8x4xf32>, tensor<8x4xf32>) -> tensor<?x2x4xf32>
  return %6 : tensor<?x2x4xf32>
}

// -----

// A matrix of a stack is a param of its own.
// CHECK: nju.param @w.1 : tensor<1x8x32xf32> = #nju.file<"w.data", 192, tensor<4x8xf32>> {panels = 32 : i64, permutation = array<i64: 1, 0>}
// CHECK-NOT: nju.param @w :
// CHECK-LABEL: @stack
// CHECK: %[[W:.*]] = nju.param_ref @w.1
// CHECK: nju.linear %arg0, %[[W]]
nju.param @w : tensor<3x4x8xf32> = #nju.file<"w.data", 64, tensor<3x4x8xf32>>
func.func @stack(%x: tensor<?x8xf32>) -> tensor<?x4xf32> {
  %one = nju.constant dense<1> : tensor<i64>
  %0 = nju.param_ref @w : tensor<3x4x8xf32>
  %1 = nju.gather %0, %one {axis = 0 : i64} : (tensor<3x4x8xf32>, tensor<i64>) -> tensor<4x8xf32>
  %2 = nju.transpose %1 {permutation = array<i64: 1, 0>} : (tensor<4x8xf32>) -> tensor<8x4xf32>
  %3 = nju.matmul %x, %2 : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  return %3 : tensor<?x4xf32>
}
