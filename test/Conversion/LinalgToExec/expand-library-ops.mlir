// RUN: nju-opt %s --exec-expand-library-ops=target=x86-64-v4 --split-input-file --verify-diagnostics | FileCheck %s

// The rows are packed once for both products.
// CHECK-LABEL: @products_share_packed_rows
// CHECK: %[[PACKED:.*]] = memref.alloc(%{{.*}}) : memref<?xf32>
// CHECK: exec.launch @nju_pack_rows ins(%{{.*}}) outs(%[[PACKED]]
// CHECK: exec.launch @nju_linear_f16 ins(%{{.*}}, %[[PACKED]],
// CHECK-NOT: @nju_pack_rows
// CHECK: exec.launch @nju_linear_f16 ins(%{{.*}}, %[[PACKED]],
// CHECK: return
func.func @products_share_packed_rows(%x: memref<1x?x64xf32>, %w: memref<4x64x32xf16>, %y: memref<1x?x100xf32>, %z: memref<1x?x100xf32>) {
  exec.linear ins(%x, %w : memref<1x?x64xf32>, memref<4x64x32xf16>) outs(%y : memref<1x?x100xf32>)
  exec.linear ins(%x, %w : memref<1x?x64xf32>, memref<4x64x32xf16>) outs(%z : memref<1x?x100xf32>)
  return
}

// -----

// CHECK-LABEL: @rows_are_packed_again_after_a_write
// CHECK: exec.launch @nju_pack_rows
// CHECK: linalg.fill
// CHECK: exec.launch @nju_pack_rows
// CHECK: return
func.func @rows_are_packed_again_after_a_write(%x: memref<?x64xf32>, %w: memref<4x64x32xf16>, %y: memref<?x100xf32>, %f: f32) {
  exec.linear ins(%x, %w : memref<?x64xf32>, memref<4x64x32xf16>) outs(%y : memref<?x100xf32>)
  linalg.fill ins(%f : f32) outs(%x : memref<?x64xf32>)
  exec.linear ins(%x, %w : memref<?x64xf32>, memref<4x64x32xf16>) outs(%y : memref<?x100xf32>)
  return
}

// -----

func.func @cache_is_not_described(%q: memref<1x?x8x64xf32>, %k: memref<1x?x2x64xf32>, %p: memref<?xi32>) {
  // expected-error @below {{is for layer 0, expected the module's nju.lm to describe its cache}}
  exec.cached_attention ins(%q, %k, %k, %p, %p : memref<1x?x8x64xf32>, memref<1x?x2x64xf32>, memref<1x?x2x64xf32>, memref<?xi32>, memref<?xi32>) outs(%q : memref<1x?x8x64xf32>) {layer = 0 : i64, scale = 0.125 : f64}
  return
}

// -----

module attributes {nju.lm = {cache = [{heads = 2 : i64, head_dim = 64 : i64, type = "f32"}]}} {
  func.func @outside_of_a_step(%q: memref<1x?x8x64xf32>, %k: memref<1x?x2x64xf32>, %p: memref<?xi32>) {
    // expected-error @below {{is outside of @step, which has the cache}}
    exec.cached_attention ins(%q, %k, %k, %p, %p : memref<1x?x8x64xf32>, memref<1x?x2x64xf32>, memref<1x?x2x64xf32>, memref<?xi32>, memref<?xi32>) outs(%q : memref<1x?x8x64xf32>) {layer = 0 : i64, scale = 0.125 : f64}
    return
  }
}
