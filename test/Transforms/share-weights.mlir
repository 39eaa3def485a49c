// A table of 3 rows, its transpose, one that differs in the last element, and the
// table again.
// RUN: rm -rf %t && mkdir %t && cd %t
// RUN: python3 -c "import struct; open('w.data', 'wb').write(struct.pack('<24f', 1, 2, 3, 4, 5, 6, 1, 3, 5, 2, 4, 6, 1, 3, 5, 2, 4, 7, 1, 2, 3, 4, 5, 6))"
// RUN: nju-opt %s --nju-share-weights --split-input-file | FileCheck %s

// CHECK-NOT: @head
// CHECK-LABEL: @folded_transpose
// CHECK: nju.gather
// CHECK: %[[E:.*]] = nju.param_ref @e : tensor<3x2xf32>
// CHECK: %[[HEAD:.*]] = nju.transpose %[[E]] {permutation = array<i64: 1, 0>} : (tensor<3x2xf32>) -> tensor<2x3xf32>
// CHECK: nju.matmul %{{.*}}, %[[HEAD]]
nju.param @e : tensor<3x2xf32> = #nju.file<"w.data", 0, tensor<3x2xf32>>
nju.param @head : tensor<2x3xf32> = #nju.file<"w.data", 24, tensor<2x3xf32>>
func.func @folded_transpose(%ids: tensor<?xi64>) -> tensor<?x3xf32> {
  %0 = nju.param_ref @e : tensor<3x2xf32>
  %1 = nju.gather %0, %ids {axis = 0 : i64} : (tensor<3x2xf32>, tensor<?xi64>) -> tensor<?x2xf32>
  %2 = nju.param_ref @head : tensor<2x3xf32>
  %3 = nju.matmul %1, %2 : (tensor<?x2xf32>, tensor<2x3xf32>) -> tensor<?x3xf32>
  return %3 : tensor<?x3xf32>
}

// -----

// CHECK: nju.param @head
// CHECK-LABEL: @last_element_differs
// CHECK: nju.param_ref @head
nju.param @e : tensor<3x2xf32> = #nju.file<"w.data", 0, tensor<3x2xf32>>
nju.param @head : tensor<2x3xf32> = #nju.file<"w.data", 48, tensor<2x3xf32>>
func.func @last_element_differs(%ids: tensor<?xi64>) -> tensor<?x3xf32> {
  %0 = nju.param_ref @e : tensor<3x2xf32>
  %1 = nju.gather %0, %ids {axis = 0 : i64} : (tensor<3x2xf32>, tensor<?xi64>) -> tensor<?x2xf32>
  %2 = nju.param_ref @head : tensor<2x3xf32>
  %3 = nju.matmul %1, %2 : (tensor<?x2xf32>, tensor<2x3xf32>) -> tensor<?x3xf32>
  return %3 : tensor<?x3xf32>
}

// -----

// Of equal bytes, but not the transpose; of another type; in a file that is not
// there: the writer of the weight file says so.
// CHECK: nju.param @same
// CHECK: nju.param @brain
// CHECK: nju.param @absent
// CHECK-LABEL: @not_the_transpose
// CHECK: nju.param_ref @same
// CHECK: nju.param_ref @brain
// CHECK: nju.param_ref @absent
nju.param @e : tensor<3x2xf32> = #nju.file<"w.data", 0, tensor<3x2xf32>>
nju.param @same : tensor<2x3xf32> = #nju.file<"w.data", 72, tensor<2x3xf32>>
nju.param @brain : tensor<2x3xbf16> = #nju.file<"w.data", 24, tensor<2x3xbf16>>
nju.param @absent : tensor<2x3xf32> = #nju.file<"v.data", 24, tensor<2x3xf32>>
func.func @not_the_transpose(%ids: tensor<?xi64>) -> (tensor<?x3xf32>, tensor<?x3xf32>, tensor<?x3xf32>) {
  %0 = nju.param_ref @e : tensor<3x2xf32>
  %1 = nju.gather %0, %ids {axis = 0 : i64} : (tensor<3x2xf32>, tensor<?xi64>) -> tensor<?x2xf32>
  %2 = nju.param_ref @same : tensor<2x3xf32>
  %3 = nju.matmul %1, %2 : (tensor<?x2xf32>, tensor<2x3xf32>) -> tensor<?x3xf32>
  %4 = nju.param_ref @brain : tensor<2x3xbf16>
  %5 = nju.cast %4 : (tensor<2x3xbf16>) -> tensor<2x3xf32>
  %6 = nju.matmul %1, %5 : (tensor<?x2xf32>, tensor<2x3xf32>) -> tensor<?x3xf32>
  %7 = nju.param_ref @absent : tensor<2x3xf32>
  %8 = nju.matmul %1, %7 : (tensor<?x2xf32>, tensor<2x3xf32>) -> tensor<?x3xf32>
  return %3, %6, %8 : tensor<?x3xf32>, tensor<?x3xf32>, tensor<?x3xf32>
}

// -----

// Two matrices that are multiplied stay what they are.
// CHECK: nju.param @a
// CHECK: nju.param @b
// CHECK-LABEL: @nothing_is_looked_up
nju.param @a : tensor<3x2xf32> = #nju.file<"w.data", 0, tensor<3x2xf32>>
nju.param @b : tensor<2x3xf32> = #nju.file<"w.data", 24, tensor<2x3xf32>>
func.func @nothing_is_looked_up(%x: tensor<?x3xf32>) -> tensor<?x3xf32> {
  %0 = nju.param_ref @a : tensor<3x2xf32>
  %1 = nju.matmul %x, %0 : (tensor<?x3xf32>, tensor<3x2xf32>) -> tensor<?x2xf32>
  %2 = nju.param_ref @b : tensor<2x3xf32>
  %3 = nju.matmul %1, %2 : (tensor<?x2xf32>, tensor<2x3xf32>) -> tensor<?x3xf32>
  return %3 : tensor<?x3xf32>
}
