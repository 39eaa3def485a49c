// RUN: nju-opt %s --nju-recognize --canonicalize --split-input-file | FileCheck %s

// Matrices [N, K] on the left, of columns.
// CHECK-LABEL: @columns
// CHECK: %[[C:.*]] = nju.top_k
// CHECK: %[[M:.*]] = nju.gather {{.*}} -> tensor<5x8xf32>
// CHECK: %[[T:.*]] = nju.transpose %[[M]]
// CHECK: %[[Y:.*]] = nju.expert_matmul %arg0, %[[C]], %[[T]], {{.*}} -> tensor<?x2x5xf32>
// CHECK: %[[W:.*]] = nju.unsqueeze %arg2 {axes = array<i64: 2>}
// CHECK: %[[P:.*]] = nju.mul %[[Y]], %[[W]]
// CHECK: nju.reduce_sum %[[P]] {axes = array<i64: 1>}
// CHECK-NEXT: return
nju.param @w : tensor<4x5x8xf32> = #nju.file<"w", 0, tensor<4x5x8xf32>>
nju.param @v : tensor<4x8x5xf32> = #nju.file<"w", 640, tensor<4x8x5xf32>>
nju.param @b : tensor<4x5xf32> = #nju.file<"w", 1280, tensor<4x5xf32>>
func.func @columns(%x: tensor<?x8xf32> {nju.dims = ["n", ""]}, %scores: tensor<?x4xf32> {nju.dims = ["n", ""]}, %w: tensor<?x2xf32> {nju.dims = ["n", ""]}) -> tensor<?x5xf32> {
  %one = nju.constant dense<-1> : tensor<1xi64>
  %flat = nju.constant dense<[-1, 8]> : tensor<2xi64>
  %back = nju.constant dense<[-1, 2, 5]> : tensor<3xi64>
  %repeat = nju.constant dense<[1, 2, 1]> : tensor<3xi64>
  %choices = nju.top_k %scores {axis = 1 : i64, count = 2 : i64} : (tensor<?x4xf32>) -> tensor<?x2xi64>
  %x1 = nju.unsqueeze %x {axes = array<i64: 1>} : (tensor<?x8xf32>) -> tensor<?x1x8xf32>
  %x2 = nju.broadcast_to %x1, %repeat : (tensor<?x1x8xf32>, tensor<3xi64>) -> tensor<?x2x8xf32>
  %rows = nju.reshape %x2, %flat : (tensor<?x2x8xf32>, tensor<2xi64>) -> tensor<?x8xf32>
  %list = nju.reshape %choices, %one : (tensor<?x2xi64>, tensor<1xi64>) -> tensor<?xi64>
  %w0 = nju.param_ref @w : tensor<4x5x8xf32>
  %g = nju.gather %w0, %list {axis = 0 : i64} : (tensor<4x5x8xf32>, tensor<?xi64>) -> tensor<?x5x8xf32>
  %c = nju.unsqueeze %rows {axes = array<i64: 2>} : (tensor<?x8xf32>) -> tensor<?x8x1xf32>
  %m = nju.matmul %g, %c : (tensor<?x5x8xf32>, tensor<?x8x1xf32>) -> tensor<?x5x1xf32>
  %y = nju.squeeze %m {axes = array<i64: 2>} : (tensor<?x5x1xf32>) -> tensor<?x5xf32>
  %wl = nju.reshape %w, %one : (tensor<?x2xf32>, tensor<1xi64>) -> tensor<?xf32>
  %wc = nju.unsqueeze %wl {axes = array<i64: 1>} : (tensor<?xf32>) -> tensor<?x1xf32>
  %p = nju.mul %y, %wc : (tensor<?x5xf32>, tensor<?x1xf32>) -> tensor<?x5xf32>
  %q = nju.reshape %p, %back : (tensor<?x5xf32>, tensor<3xi64>) -> tensor<?x2x5xf32>
  %s = nju.reduce_sum %q {axes = array<i64: 1>} : (tensor<?x2x5xf32>) -> tensor<?x5xf32>
  return %s : tensor<?x5xf32>
}

// -----

// Matrices [K, N] on the right, with a bias for each expert.
// CHECK-LABEL: @rows
// CHECK: %[[C:.*]] = nju.top_k
// CHECK: %[[Y:.*]] = nju.expert_matmul %arg0, %[[C]], {{.*}} tensor<8x5xf32>, tensor<8x5xf32>, tensor<8x5xf32>, tensor<8x5xf32>) -> tensor<?x2x5xf32>
// CHECK: %[[B:.*]] = nju.gather {{.*}}, %[[C]] {axis = 0 : i64} : (tensor<4x5xf32>, tensor<?x2xi64>) -> tensor<?x2x5xf32>
// CHECK: %[[S:.*]] = nju.add %[[Y]], %[[B]]
// CHECK: nju.mul %[[S]], {{.*}} -> tensor<?x2x5xf32>
nju.param @w : tensor<4x5x8xf32> = #nju.file<"w", 0, tensor<4x5x8xf32>>
nju.param @v : tensor<4x8x5xf32> = #nju.file<"w", 640, tensor<4x8x5xf32>>
nju.param @b : tensor<4x5xf32> = #nju.file<"w", 1280, tensor<4x5xf32>>
func.func @rows(%x: tensor<?x8xf32> {nju.dims = ["n", ""]}, %scores: tensor<?x4xf32> {nju.dims = ["n", ""]}, %w: tensor<?x2xf32> {nju.dims = ["n", ""]}) -> tensor<?x5xf32> {
  %one = nju.constant dense<-1> : tensor<1xi64>
  %flat = nju.constant dense<[-1, 8]> : tensor<2xi64>
  %back = nju.constant dense<[-1, 2, 5]> : tensor<3xi64>
  %repeat = nju.constant dense<[1, 2, 1]> : tensor<3xi64>
  %choices = nju.top_k %scores {axis = 1 : i64, count = 2 : i64} : (tensor<?x4xf32>) -> tensor<?x2xi64>
  %x1 = nju.unsqueeze %x {axes = array<i64: 1>} : (tensor<?x8xf32>) -> tensor<?x1x8xf32>
  %x2 = nju.broadcast_to %x1, %repeat : (tensor<?x1x8xf32>, tensor<3xi64>) -> tensor<?x2x8xf32>
  %rows = nju.reshape %x2, %flat : (tensor<?x2x8xf32>, tensor<2xi64>) -> tensor<?x8xf32>
  %list = nju.reshape %choices, %one : (tensor<?x2xi64>, tensor<1xi64>) -> tensor<?xi64>
  %v0 = nju.param_ref @v : tensor<4x8x5xf32>
  %g = nju.gather %v0, %list {axis = 0 : i64} : (tensor<4x8x5xf32>, tensor<?xi64>) -> tensor<?x8x5xf32>
  %c = nju.unsqueeze %rows {axes = array<i64: 1>} : (tensor<?x8xf32>) -> tensor<?x1x8xf32>
  %m = nju.matmul %c, %g : (tensor<?x1x8xf32>, tensor<?x8x5xf32>) -> tensor<?x1x5xf32>
  %y = nju.squeeze %m {axes = array<i64: 1>} : (tensor<?x1x5xf32>) -> tensor<?x5xf32>
  %b0 = nju.param_ref @b : tensor<4x5xf32>
  %gb = nju.gather %b0, %list {axis = 0 : i64} : (tensor<4x5xf32>, tensor<?xi64>) -> tensor<?x5xf32>
  %half = nju.constant dense<0.5> : tensor<f32>
  %yb = nju.add %y, %gb : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %yh = nju.mul %yb, %half : (tensor<?x5xf32>, tensor<f32>) -> tensor<?x5xf32>
  %wl = nju.reshape %w, %one : (tensor<?x2xf32>, tensor<1xi64>) -> tensor<?xf32>
  %wc = nju.unsqueeze %wl {axes = array<i64: 1>} : (tensor<?xf32>) -> tensor<?x1xf32>
  %p = nju.mul %yh, %wc : (tensor<?x5xf32>, tensor<?x1xf32>) -> tensor<?x5xf32>
  %q = nju.reshape %p, %back : (tensor<?x5xf32>, tensor<3xi64>) -> tensor<?x2x5xf32>
  %s = nju.reduce_sum %q {axes = array<i64: 1>} : (tensor<?x2x5xf32>) -> tensor<?x5xf32>
  return %s : tensor<?x5xf32>
}

// -----

// The weights are of other tokens than the choices.
// CHECK-LABEL: @other_tokens
// CHECK-NOT: nju.expert_matmul
// CHECK: return
nju.param @w : tensor<4x5x8xf32> = #nju.file<"w", 0, tensor<4x5x8xf32>>
nju.param @v : tensor<4x8x5xf32> = #nju.file<"w", 640, tensor<4x8x5xf32>>
nju.param @b : tensor<4x5xf32> = #nju.file<"w", 1280, tensor<4x5xf32>>
func.func @other_tokens(%x: tensor<?x8xf32> {nju.dims = ["n", ""]}, %scores: tensor<?x4xf32> {nju.dims = ["n", ""]}, %w: tensor<?x2xf32> {nju.dims = ["n", ""]}, %o: tensor<?x2xf32> {nju.dims = ["m", ""]}) -> tensor<?x5xf32> {
  %one = nju.constant dense<-1> : tensor<1xi64>
  %flat = nju.constant dense<[-1, 8]> : tensor<2xi64>
  %back = nju.constant dense<[-1, 2, 5]> : tensor<3xi64>
  %repeat = nju.constant dense<[1, 2, 1]> : tensor<3xi64>
  %choices = nju.top_k %scores {axis = 1 : i64, count = 2 : i64} : (tensor<?x4xf32>) -> tensor<?x2xi64>
  %x1 = nju.unsqueeze %x {axes = array<i64: 1>} : (tensor<?x8xf32>) -> tensor<?x1x8xf32>
  %x2 = nju.broadcast_to %x1, %repeat : (tensor<?x1x8xf32>, tensor<3xi64>) -> tensor<?x2x8xf32>
  %rows = nju.reshape %x2, %flat : (tensor<?x2x8xf32>, tensor<2xi64>) -> tensor<?x8xf32>
  %list = nju.reshape %choices, %one : (tensor<?x2xi64>, tensor<1xi64>) -> tensor<?xi64>
  %w0 = nju.param_ref @w : tensor<4x5x8xf32>
  %g = nju.gather %w0, %list {axis = 0 : i64} : (tensor<4x5x8xf32>, tensor<?xi64>) -> tensor<?x5x8xf32>
  %c = nju.unsqueeze %rows {axes = array<i64: 2>} : (tensor<?x8xf32>) -> tensor<?x8x1xf32>
  %m = nju.matmul %g, %c : (tensor<?x5x8xf32>, tensor<?x8x1xf32>) -> tensor<?x5x1xf32>
  %y = nju.squeeze %m {axes = array<i64: 2>} : (tensor<?x5x1xf32>) -> tensor<?x5xf32>
  %wl = nju.reshape %o, %one : (tensor<?x2xf32>, tensor<1xi64>) -> tensor<?xf32>
  %wc = nju.unsqueeze %wl {axes = array<i64: 1>} : (tensor<?xf32>) -> tensor<?x1xf32>
  %p = nju.mul %y, %wc : (tensor<?x5xf32>, tensor<?x1xf32>) -> tensor<?x5xf32>
  %q = nju.reshape %p, %back : (tensor<?x5xf32>, tensor<3xi64>) -> tensor<?x2x5xf32>
  %s = nju.reduce_sum %q {axes = array<i64: 1>} : (tensor<?x2x5xf32>) -> tensor<?x5xf32>
  return %s : tensor<?x5xf32>
}

// -----

// The rows of the products are chosen by something else.
// CHECK-LABEL: @other_choices
// CHECK-NOT: nju.expert_matmul
// CHECK: return
nju.param @w : tensor<4x5x8xf32> = #nju.file<"w", 0, tensor<4x5x8xf32>>
nju.param @v : tensor<4x8x5xf32> = #nju.file<"w", 640, tensor<4x8x5xf32>>
nju.param @b : tensor<4x5xf32> = #nju.file<"w", 1280, tensor<4x5xf32>>
func.func @other_choices(%x: tensor<?x8xf32> {nju.dims = ["n", ""]}, %scores: tensor<?x4xf32> {nju.dims = ["n", ""]}, %w: tensor<?x2xf32> {nju.dims = ["n", ""]}, %o: tensor<?x2xi64> {nju.dims = ["n", ""]}) -> tensor<?x5xf32> {
  %one = nju.constant dense<-1> : tensor<1xi64>
  %flat = nju.constant dense<[-1, 8]> : tensor<2xi64>
  %back = nju.constant dense<[-1, 2, 5]> : tensor<3xi64>
  %repeat = nju.constant dense<[1, 2, 1]> : tensor<3xi64>
  %choices = nju.top_k %scores {axis = 1 : i64, count = 2 : i64} : (tensor<?x4xf32>) -> tensor<?x2xi64>
  %x1 = nju.unsqueeze %x {axes = array<i64: 1>} : (tensor<?x8xf32>) -> tensor<?x1x8xf32>
  %x2 = nju.broadcast_to %x1, %repeat : (tensor<?x1x8xf32>, tensor<3xi64>) -> tensor<?x2x8xf32>
  %rows = nju.reshape %x2, %flat : (tensor<?x2x8xf32>, tensor<2xi64>) -> tensor<?x8xf32>
  %list = nju.reshape %o, %one : (tensor<?x2xi64>, tensor<1xi64>) -> tensor<?xi64>
  %w0 = nju.param_ref @w : tensor<4x5x8xf32>
  %g = nju.gather %w0, %list {axis = 0 : i64} : (tensor<4x5x8xf32>, tensor<?xi64>) -> tensor<?x5x8xf32>
  %c = nju.unsqueeze %rows {axes = array<i64: 2>} : (tensor<?x8xf32>) -> tensor<?x8x1xf32>
  %m = nju.matmul %g, %c : (tensor<?x5x8xf32>, tensor<?x8x1xf32>) -> tensor<?x5x1xf32>
  %y = nju.squeeze %m {axes = array<i64: 2>} : (tensor<?x5x1xf32>) -> tensor<?x5xf32>
  %wl = nju.reshape %w, %one : (tensor<?x2xf32>, tensor<1xi64>) -> tensor<?xf32>
  %wc = nju.unsqueeze %wl {axes = array<i64: 1>} : (tensor<?xf32>) -> tensor<?x1xf32>
  %p = nju.mul %y, %wc : (tensor<?x5xf32>, tensor<?x1xf32>) -> tensor<?x5xf32>
  %q = nju.reshape %p, %back : (tensor<?x5xf32>, tensor<3xi64>) -> tensor<?x2x5xf32>
  %s = nju.reduce_sum %q {axes = array<i64: 1>} : (tensor<?x2x5xf32>) -> tensor<?x5xf32>
  return %s : tensor<?x5xf32>
}

// -----

// Rows are repeated for three choices where there are two.
// CHECK-LABEL: @other_repetition
// CHECK-NOT: nju.expert_matmul
// CHECK: return
nju.param @w : tensor<4x5x8xf32> = #nju.file<"w", 0, tensor<4x5x8xf32>>
nju.param @v : tensor<4x8x5xf32> = #nju.file<"w", 640, tensor<4x8x5xf32>>
nju.param @b : tensor<4x5xf32> = #nju.file<"w", 1280, tensor<4x5xf32>>
func.func @other_repetition(%x: tensor<?x8xf32> {nju.dims = ["n", ""]}, %scores: tensor<?x4xf32> {nju.dims = ["n", ""]}, %w: tensor<?x2xf32> {nju.dims = ["n", ""]}) -> tensor<?x5xf32> {
  %one = nju.constant dense<-1> : tensor<1xi64>
  %flat = nju.constant dense<[-1, 8]> : tensor<2xi64>
  %back = nju.constant dense<[-1, 2, 5]> : tensor<3xi64>
  %repeat = nju.constant dense<[1, 3, 1]> : tensor<3xi64>
  %choices = nju.top_k %scores {axis = 1 : i64, count = 2 : i64} : (tensor<?x4xf32>) -> tensor<?x2xi64>
  %x1 = nju.unsqueeze %x {axes = array<i64: 1>} : (tensor<?x8xf32>) -> tensor<?x1x8xf32>
  %x2 = nju.broadcast_to %x1, %repeat : (tensor<?x1x8xf32>, tensor<3xi64>) -> tensor<?x3x8xf32>
  %rows = nju.reshape %x2, %flat : (tensor<?x3x8xf32>, tensor<2xi64>) -> tensor<?x8xf32>
  %list = nju.reshape %choices, %one : (tensor<?x2xi64>, tensor<1xi64>) -> tensor<?xi64>
  %w0 = nju.param_ref @w : tensor<4x5x8xf32>
  %g = nju.gather %w0, %list {axis = 0 : i64} : (tensor<4x5x8xf32>, tensor<?xi64>) -> tensor<?x5x8xf32>
  %c = nju.unsqueeze %rows {axes = array<i64: 2>} : (tensor<?x8xf32>) -> tensor<?x8x1xf32>
  %m = nju.matmul %g, %c : (tensor<?x5x8xf32>, tensor<?x8x1xf32>) -> tensor<?x5x1xf32>
  %y = nju.squeeze %m {axes = array<i64: 2>} : (tensor<?x5x1xf32>) -> tensor<?x5xf32>
  %wl = nju.reshape %w, %one : (tensor<?x2xf32>, tensor<1xi64>) -> tensor<?xf32>
  %wc = nju.unsqueeze %wl {axes = array<i64: 1>} : (tensor<?xf32>) -> tensor<?x1xf32>
  %p = nju.mul %y, %wc : (tensor<?x5xf32>, tensor<?x1xf32>) -> tensor<?x5xf32>
  %q = nju.reshape %p, %back : (tensor<?x5xf32>, tensor<3xi64>) -> tensor<?x2x5xf32>
  %s = nju.reduce_sum %q {axes = array<i64: 1>} : (tensor<?x2x5xf32>) -> tensor<?x5xf32>
  return %s : tensor<?x5xf32>
}

// -----

// The sum is over something else than the choices of a token.
// CHECK-LABEL: @other_sum
// CHECK-NOT: nju.expert_matmul
// CHECK: return
nju.param @w : tensor<4x5x8xf32> = #nju.file<"w", 0, tensor<4x5x8xf32>>
nju.param @v : tensor<4x8x5xf32> = #nju.file<"w", 640, tensor<4x8x5xf32>>
nju.param @b : tensor<4x5xf32> = #nju.file<"w", 1280, tensor<4x5xf32>>
func.func @other_sum(%x: tensor<?x8xf32> {nju.dims = ["n", ""]}, %scores: tensor<?x4xf32> {nju.dims = ["n", ""]}, %w: tensor<?x2xf32> {nju.dims = ["n", ""]}) -> tensor<?x5xf32> {
  %one = nju.constant dense<-1> : tensor<1xi64>
  %flat = nju.constant dense<[-1, 8]> : tensor<2xi64>
  %back = nju.constant dense<[-1, 4, 5]> : tensor<3xi64>
  %repeat = nju.constant dense<[1, 2, 1]> : tensor<3xi64>
  %choices = nju.top_k %scores {axis = 1 : i64, count = 2 : i64} : (tensor<?x4xf32>) -> tensor<?x2xi64>
  %x1 = nju.unsqueeze %x {axes = array<i64: 1>} : (tensor<?x8xf32>) -> tensor<?x1x8xf32>
  %x2 = nju.broadcast_to %x1, %repeat : (tensor<?x1x8xf32>, tensor<3xi64>) -> tensor<?x2x8xf32>
  %rows = nju.reshape %x2, %flat : (tensor<?x2x8xf32>, tensor<2xi64>) -> tensor<?x8xf32>
  %list = nju.reshape %choices, %one : (tensor<?x2xi64>, tensor<1xi64>) -> tensor<?xi64>
  %w0 = nju.param_ref @w : tensor<4x5x8xf32>
  %g = nju.gather %w0, %list {axis = 0 : i64} : (tensor<4x5x8xf32>, tensor<?xi64>) -> tensor<?x5x8xf32>
  %c = nju.unsqueeze %rows {axes = array<i64: 2>} : (tensor<?x8xf32>) -> tensor<?x8x1xf32>
  %m = nju.matmul %g, %c : (tensor<?x5x8xf32>, tensor<?x8x1xf32>) -> tensor<?x5x1xf32>
  %y = nju.squeeze %m {axes = array<i64: 2>} : (tensor<?x5x1xf32>) -> tensor<?x5xf32>
  %wl = nju.reshape %w, %one : (tensor<?x2xf32>, tensor<1xi64>) -> tensor<?xf32>
  %wc = nju.unsqueeze %wl {axes = array<i64: 1>} : (tensor<?xf32>) -> tensor<?x1xf32>
  %p = nju.mul %y, %wc : (tensor<?x5xf32>, tensor<?x1xf32>) -> tensor<?x5xf32>
  %q = nju.reshape %p, %back : (tensor<?x5xf32>, tensor<3xi64>) -> tensor<?x4x5xf32>
  %s = nju.reduce_sum %q {axes = array<i64: 1>} : (tensor<?x4x5xf32>) -> tensor<?x5xf32>
  return %s : tensor<?x5xf32>
}

// -----

// There are more experts than scores.
// CHECK-LABEL: @other_experts
// CHECK-NOT: nju.expert_matmul
// CHECK: return
nju.param @w : tensor<4x5x8xf32> = #nju.file<"w", 0, tensor<4x5x8xf32>>
nju.param @v : tensor<4x8x5xf32> = #nju.file<"w", 640, tensor<4x8x5xf32>>
nju.param @b : tensor<4x5xf32> = #nju.file<"w", 1280, tensor<4x5xf32>>
func.func @other_experts(%x: tensor<?x8xf32> {nju.dims = ["n", ""]}, %scores: tensor<?x3xf32> {nju.dims = ["n", ""]}, %w: tensor<?x2xf32> {nju.dims = ["n", ""]}) -> tensor<?x5xf32> {
  %one = nju.constant dense<-1> : tensor<1xi64>
  %flat = nju.constant dense<[-1, 8]> : tensor<2xi64>
  %back = nju.constant dense<[-1, 2, 5]> : tensor<3xi64>
  %repeat = nju.constant dense<[1, 2, 1]> : tensor<3xi64>
  %choices = nju.top_k %scores {axis = 1 : i64, count = 2 : i64} : (tensor<?x3xf32>) -> tensor<?x2xi64>
  %x1 = nju.unsqueeze %x {axes = array<i64: 1>} : (tensor<?x8xf32>) -> tensor<?x1x8xf32>
  %x2 = nju.broadcast_to %x1, %repeat : (tensor<?x1x8xf32>, tensor<3xi64>) -> tensor<?x2x8xf32>
  %rows = nju.reshape %x2, %flat : (tensor<?x2x8xf32>, tensor<2xi64>) -> tensor<?x8xf32>
  %list = nju.reshape %choices, %one : (tensor<?x2xi64>, tensor<1xi64>) -> tensor<?xi64>
  %w0 = nju.param_ref @w : tensor<4x5x8xf32>
  %g = nju.gather %w0, %list {axis = 0 : i64} : (tensor<4x5x8xf32>, tensor<?xi64>) -> tensor<?x5x8xf32>
  %c = nju.unsqueeze %rows {axes = array<i64: 2>} : (tensor<?x8xf32>) -> tensor<?x8x1xf32>
  %m = nju.matmul %g, %c : (tensor<?x5x8xf32>, tensor<?x8x1xf32>) -> tensor<?x5x1xf32>
  %y = nju.squeeze %m {axes = array<i64: 2>} : (tensor<?x5x1xf32>) -> tensor<?x5xf32>
  %wl = nju.reshape %w, %one : (tensor<?x2xf32>, tensor<1xi64>) -> tensor<?xf32>
  %wc = nju.unsqueeze %wl {axes = array<i64: 1>} : (tensor<?xf32>) -> tensor<?x1xf32>
  %p = nju.mul %y, %wc : (tensor<?x5xf32>, tensor<?x1xf32>) -> tensor<?x5xf32>
  %q = nju.reshape %p, %back : (tensor<?x5xf32>, tensor<3xi64>) -> tensor<?x2x5xf32>
  %s = nju.reduce_sum %q {axes = array<i64: 1>} : (tensor<?x2x5xf32>) -> tensor<?x5xf32>
  return %s : tensor<?x5xf32>
}
