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
