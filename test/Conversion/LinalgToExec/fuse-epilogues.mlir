// RUN: nju-opt %s --nju-fuse-epilogues --split-input-file | FileCheck %s

#id = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d1)>
#column = affine_map<(d0, d1) -> (d0)>

// CHECK-LABEL: @residual
// CHECK-SAME: %[[X:[^ ]*]]: tensor<?x64xf32>, %[[W:[^ ]*]]: tensor<4x64x32xf16>, %[[R:[^ ]*]]: tensor<?x100xf32>
// CHECK: %[[Y:.*]] = exec.linear ins(%[[X]], %[[W]] : {{.*}}) with(%[[R]] : {{.*}}) outs(%{{.*}}) epilogue {
// CHECK: ^bb0(%[[P:.*]]: f32, %[[O:.*]]: f32):
// CHECK: %[[S:.*]] = arith.addf %[[O]], %[[P]]
// CHECK: exec.yield %[[S]]
// CHECK-NOT: linalg.generic
// CHECK: return %[[Y]]
func.func @residual(%x: tensor<?x64xf32>, %w: tensor<4x64x32xf16>, %r: tensor<?x100xf32>, %e: tensor<?x100xf32>) -> tensor<?x100xf32> {
  %p = exec.linear ins(%x, %w : tensor<?x64xf32>, tensor<4x64x32xf16>) outs(%e : tensor<?x100xf32>) -> tensor<?x100xf32>
  %y = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]} ins(%r, %p : tensor<?x100xf32>, tensor<?x100xf32>) outs(%e : tensor<?x100xf32>) {
  ^bb0(%a: f32, %b: f32, %c: f32):
    %s = arith.addf %a, %b : f32
    linalg.yield %s : f32
  } -> tensor<?x100xf32>
  return %y : tensor<?x100xf32>
}

// The bias that is there already comes first, then a gate of two products.
// CHECK-LABEL: @gate
// CHECK: exec.linear ins(%{{.*}}, %[[W0:.*]], %[[W1:.*]] : {{.*}}) with(%[[B:.*]] : tensor<100xf32>) outs(%{{.*}}) epilogue {
// CHECK: ^bb0(%[[P0:.*]]: f32, %[[P1:.*]]: f32, %[[O:.*]]: f32):
// CHECK: %[[S:.*]] = arith.addf %[[P0]], %[[O]]
// CHECK: %[[G:.*]] = math.tanh %[[S]]
// CHECK: arith.mulf %[[G]], %[[P1]]
// CHECK-NOT: exec.linear
// CHECK: return
func.func @gate(%x: tensor<?x64xf32>, %w0: tensor<4x64x32xf16>, %w1: tensor<4x64x32xf16>, %bias: tensor<100xf32>, %e: tensor<?x100xf32>) -> tensor<?x100xf32> {
  %p0 = exec.linear ins(%x, %w0 : tensor<?x64xf32>, tensor<4x64x32xf16>) with(%bias : tensor<100xf32>) outs(%e : tensor<?x100xf32>) epilogue {
  ^bb0(%p: f32, %o: f32):
    %s = arith.addf %p, %o : f32
    exec.yield %s : f32
  } -> tensor<?x100xf32>
  %p1 = exec.linear ins(%x, %w1 : tensor<?x64xf32>, tensor<4x64x32xf16>) outs(%e : tensor<?x100xf32>) -> tensor<?x100xf32>
  %y = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]} ins(%p0, %p1 : tensor<?x100xf32>, tensor<?x100xf32>) outs(%e : tensor<?x100xf32>) {
  ^bb0(%a: f32, %b: f32, %c: f32):
    %t = math.tanh %a : f32
    %s = arith.mulf %t, %b : f32
    linalg.yield %s : f32
  } -> tensor<?x100xf32>
  return %y : tensor<?x100xf32>
}

// Products of different inputs: the later one takes the other as an operand.
// CHECK-LABEL: @parallel_residual
// CHECK: %[[P0:.*]] = exec.linear ins(%{{.*}}, %{{.*}} : {{.*}}) outs(%{{.*}} : tensor<?x100xf32>) -> tensor<?x100xf32>
// CHECK: exec.linear ins(%{{.*}}, %{{.*}} : {{.*}}) with(%[[P0]] : {{.*}}) outs(%{{.*}}) epilogue
// CHECK-NOT: linalg.generic
func.func @parallel_residual(%x: tensor<?x64xf32>, %z: tensor<?x64xf32>, %w: tensor<4x64x32xf16>, %e: tensor<?x100xf32>) -> tensor<?x100xf32> {
  %p0 = exec.linear ins(%x, %w : tensor<?x64xf32>, tensor<4x64x32xf16>) outs(%e : tensor<?x100xf32>) -> tensor<?x100xf32>
  %p1 = exec.linear ins(%z, %w : tensor<?x64xf32>, tensor<4x64x32xf16>) outs(%e : tensor<?x100xf32>) -> tensor<?x100xf32>
  %y = linalg.generic {indexing_maps = [#id, #id, #id], iterator_types = ["parallel", "parallel"]} ins(%p0, %p1 : tensor<?x100xf32>, tensor<?x100xf32>) outs(%e : tensor<?x100xf32>) {
  ^bb0(%a: f32, %b: f32, %c: f32):
    %s = arith.addf %a, %b : f32
    linalg.yield %s : f32
  } -> tensor<?x100xf32>
  return %y : tensor<?x100xf32>
}

// A product that somebody else needs stays, and so does one that meets an
// operand that the epilogue cannot read.
// CHECK-LABEL: @stays
// CHECK-COUNT-2: exec.linear ins(%{{.*}}, %{{.*}} : {{.*}}) outs(%{{.*}} : tensor<?x100xf32>) -> tensor<?x100xf32>
// CHECK-COUNT-2: linalg.generic
func.func @stays(%x: tensor<?x64xf32>, %w: tensor<4x64x32xf16>, %c: tensor<?xf32>, %e: tensor<?x100xf32>) -> (tensor<?x100xf32>, tensor<?x100xf32>, tensor<?x100xf32>) {
  %p = exec.linear ins(%x, %w : tensor<?x64xf32>, tensor<4x64x32xf16>) outs(%e : tensor<?x100xf32>) -> tensor<?x100xf32>
  %q = exec.linear ins(%x, %w : tensor<?x64xf32>, tensor<4x64x32xf16>) outs(%e : tensor<?x100xf32>) -> tensor<?x100xf32>
  %y = linalg.generic {indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel"]} ins(%p : tensor<?x100xf32>) outs(%e : tensor<?x100xf32>) {
  ^bb0(%a: f32, %o: f32):
    %s = arith.addf %a, %a : f32
    linalg.yield %s : f32
  } -> tensor<?x100xf32>
  %z = linalg.generic {indexing_maps = [#id, #column, #id], iterator_types = ["parallel", "parallel"]} ins(%q, %c : tensor<?x100xf32>, tensor<?xf32>) outs(%e : tensor<?x100xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %s = arith.addf %a, %b : f32
    linalg.yield %s : f32
  } -> tensor<?x100xf32>
  return %y, %z, %p : tensor<?x100xf32>, tensor<?x100xf32>, tensor<?x100xf32>
}

// -----

#three = affine_map<(d0, d1, d2) -> (d0, d1, d2)>

// Rows of experts are in an order of their own: two products become one, but
// what else is added is not.
// CHECK-LABEL: @experts
// CHECK: %[[P:.*]] = exec.linear ins(%arg0, %arg2, %arg3, %arg4, %arg5 : {{.*}}) choices(%arg1 : tensor<?x2xi64>) outs({{.*}}) epilogue {
// CHECK-NEXT: ^bb0(%[[A:.*]]: f32, %[[B:.*]]: f32):
// CHECK-NEXT: arith.mulf %[[A]], %[[B]]
// CHECK: } {experts = 2 : i64}
// CHECK: linalg.generic {{.*}} ins(%[[P]], %arg6
// CHECK: return
func.func @experts(%x: tensor<?x64xf32>, %c: tensor<?x2xi64>, %g0: tensor<4x64x32xf16>, %g1: tensor<4x64x32xf16>, %u0: tensor<4x64x32xf16>, %u1: tensor<4x64x32xf16>, %r: tensor<?x2x100xf32>, %y: tensor<?x2x100xf32>) -> tensor<?x2x100xf32> {
  %g = exec.linear ins(%x, %g0, %g1 : tensor<?x64xf32>, tensor<4x64x32xf16>, tensor<4x64x32xf16>) choices(%c : tensor<?x2xi64>) outs(%y : tensor<?x2x100xf32>) {experts = 2 : i64} -> tensor<?x2x100xf32>
  %u = exec.linear ins(%x, %u0, %u1 : tensor<?x64xf32>, tensor<4x64x32xf16>, tensor<4x64x32xf16>) choices(%c : tensor<?x2xi64>) outs(%y : tensor<?x2x100xf32>) {experts = 2 : i64} -> tensor<?x2x100xf32>
  %p = linalg.generic {indexing_maps = [#three, #three, #three], iterator_types = ["parallel", "parallel", "parallel"]} ins(%g, %u : tensor<?x2x100xf32>, tensor<?x2x100xf32>) outs(%y : tensor<?x2x100xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %m = arith.mulf %a, %b : f32
    linalg.yield %m : f32
  } -> tensor<?x2x100xf32>
  %s = linalg.generic {indexing_maps = [#three, #three, #three], iterator_types = ["parallel", "parallel", "parallel"]} ins(%p, %r : tensor<?x2x100xf32>, tensor<?x2x100xf32>) outs(%y : tensor<?x2x100xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %m = arith.addf %a, %b : f32
    linalg.yield %m : f32
  } -> tensor<?x2x100xf32>
  return %s : tensor<?x2x100xf32>
}
