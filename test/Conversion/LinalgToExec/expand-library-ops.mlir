// RUN: nju-opt %s --exec-expand-library-ops=target=x86-64-v4 --split-input-file --verify-diagnostics | FileCheck %s
// RUN: nju-opt %s --exec-expand-library-ops="target=sapphirerapids compute=bf16" --split-input-file --verify-diagnostics | FileCheck %s --check-prefix=BF16

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

// A gate: one launch with both weights, an epilogue of its own name, and a
// counter that starts at zero.
// CHECK-LABEL: @gate
// CHECK: %[[NEXT:.*]] = memref.alloc() : memref<1xi64>
// CHECK: memref.store %c0_i64, %[[NEXT]]
// CHECK: exec.launch @nju_linear_f16x2_epilogue0 ins(%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} : {{.*}}) outs(%{{.*}}, %{{.*}} : memref<?x?xf32>, memref<?xi64>)
// Equal epilogues are one kernel.
// CHECK: exec.launch @nju_linear_f16x2_epilogue0
// CHECK: exec.launch @nju_linear_f16x2_epilogue1
func.func @gate(%x: memref<?x64xf32>, %w: memref<4x64x32xf16>, %v: memref<4x64x32xf16>, %b: memref<100xf32>, %y: memref<?x100xf32>) {
  %c2 = arith.constant 2.0 : f32
  %c3 = arith.constant 3.0 : f32
  exec.linear ins(%x, %w, %v : memref<?x64xf32>, memref<4x64x32xf16>, memref<4x64x32xf16>) with(%b : memref<100xf32>) outs(%y : memref<?x100xf32>) epilogue {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %s = arith.addf %p, %o : f32
    %t = arith.mulf %s, %c2 : f32
    %u = arith.mulf %t, %q : f32
    exec.yield %u : f32
  }
  exec.linear ins(%x, %v, %w : memref<?x64xf32>, memref<4x64x32xf16>, memref<4x64x32xf16>) with(%b : memref<100xf32>) outs(%y : memref<?x100xf32>) epilogue {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %s = arith.addf %p, %o : f32
    %t = arith.mulf %s, %c2 : f32
    %u = arith.mulf %t, %q : f32
    exec.yield %u : f32
  }
  exec.linear ins(%x, %v, %w : memref<?x64xf32>, memref<4x64x32xf16>, memref<4x64x32xf16>) with(%b : memref<100xf32>) outs(%y : memref<?x100xf32>) epilogue {
  ^bb0(%p: f32, %q: f32, %o: f32):
    %s = arith.addf %p, %o : f32
    %t = arith.mulf %s, %c3 : f32
    %u = arith.mulf %t, %q : f32
    exec.yield %u : f32
  }
  return
}

// -----

// Rows get another form for weights that are not multiplied in bf16.
// CHECK-LABEL: @types_of_weights
// CHECK: exec.launch @nju_pack_rows
// CHECK-NOT: exec.launch @nju_pack
// BF16-LABEL: @types_of_weights
// BF16: %[[TILES:.*]] = memref.alloc(%{{.*}}) : memref<?xbf16>
// BF16: exec.launch @nju_pack_tiles ins(%{{.*}}) outs(%[[TILES]]
// BF16: exec.launch @nju_linear_f16_amx ins(%{{.*}}, %[[TILES]],
// BF16: %[[ROWS:.*]] = memref.alloc(%{{.*}}) : memref<?xf32>
// BF16: exec.launch @nju_pack_rows ins(%{{.*}}) outs(%[[ROWS]]
// BF16: exec.launch @nju_linear_f32 ins(%{{.*}}, %[[ROWS]],
// BF16: exec.launch @nju_linear_bf16_amx ins(%{{.*}}, %[[TILES]],
func.func @types_of_weights(%x: memref<?x64xf32>, %half: memref<4x64x32xf16>, %full: memref<4x64x32xf32>, %brain: memref<4x64x32xbf16>, %y: memref<?x100xf32>) {
  exec.linear ins(%x, %half : memref<?x64xf32>, memref<4x64x32xf16>) outs(%y : memref<?x100xf32>)
  exec.linear ins(%x, %full : memref<?x64xf32>, memref<4x64x32xf32>) outs(%y : memref<?x100xf32>)
  exec.linear ins(%x, %brain : memref<?x64xf32>, memref<4x64x32xbf16>) outs(%y : memref<?x100xf32>)
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

// The layers share what attention needs besides: parts of results, and counters
// that are zero between launches.
// CHECK-LABEL: func.func @step
// CHECK: %[[PARTS:.*]] = memref.alloc() : memref<64x96xf32>
// CHECK: %[[COUNTERS:.*]] = memref.alloc() {exec.zero} : memref<16xi32>
// CHECK: exec.launch @nju_cache_write_2x64 {{.*}} outs(%arg8 : memref<?xi8>)
// CHECK: memref.cast %[[PARTS]]
// CHECK: %[[SAME:.*]] = memref.cast %[[COUNTERS]]
// CHECK: exec.launch @nju_cached_attention_8x2x64 {{.*}}, %[[SAME]] :
// CHECK: exec.launch @nju_cache_write_2x64
// CHECK: memref.cast %[[PARTS]]
// CHECK: %[[SAME:.*]] = memref.cast %[[COUNTERS]]
// CHECK: exec.launch @nju_cached_attention_8x2x64 {{.*}}, %[[SAME]] :
module attributes {nju.lm = {max_tokens = 64 : i64, max_batch_tokens = 32 : i64, cache = [{heads = 2 : i64, head_dim = 64 : i64, type = "f32"}, {heads = 2 : i64, head_dim = 64 : i64, type = "f32"}]}} {
  func.func @step(%worker: index, %workers: index, %t: memref<?xi32>, %p: memref<?xi32>, %s: memref<?xi32>, %r: memref<?xi32>, %logits: memref<?xf32>, %weights: memref<?xi8>, %cache: memref<?xi8>, %arena: memref<?xi8>, %ms: index, %ct: index) {
    %c0 = arith.constant 0 : index
    %n = memref.dim %t, %c0 : memref<?xi32>
    %q = memref.alloc(%n) : memref<1x?x8x64xf32>
    %k = memref.alloc(%n) : memref<1x?x2x64xf32>
    exec.cached_attention ins(%q, %k, %k, %p, %s : memref<1x?x8x64xf32>, memref<1x?x2x64xf32>, memref<1x?x2x64xf32>, memref<?xi32>, memref<?xi32>) outs(%q : memref<1x?x8x64xf32>) {layer = 0 : i64, scale = 0.125 : f64}
    exec.cached_attention ins(%q, %k, %k, %p, %s : memref<1x?x8x64xf32>, memref<1x?x2x64xf32>, memref<1x?x2x64xf32>, memref<?xi32>, memref<?xi32>) outs(%q : memref<1x?x8x64xf32>) {layer = 1 : i64, scale = 0.125 : f64}
    return
  }
}

// -----

// Products in bf16 by AMX bring attention with them, where it can.
// CHECK-LABEL: func.func @step
// CHECK: exec.launch @nju_cached_attention_8x2x64 {{.*}}
// BF16: exec.launch @nju_cached_attention_8x2x64_tiles {{.*}}
// BF16: exec.launch @nju_cached_attention_8x2x40 {{.*}}
module attributes {nju.lm = {max_tokens = 64 : i64, max_batch_tokens = 32 : i64, cache = [{heads = 2 : i64, head_dim = 64 : i64, type = "f32"}, {heads = 2 : i64, head_dim = 40 : i64, type = "f32"}]}} {
  func.func @step(%worker: index, %workers: index, %t: memref<?xi32>, %p: memref<?xi32>, %s: memref<?xi32>, %r: memref<?xi32>, %logits: memref<?xf32>, %weights: memref<?xi8>, %cache: memref<?xi8>, %arena: memref<?xi8>, %ms: index, %ct: index) {
    %c0 = arith.constant 0 : index
    %n = memref.dim %t, %c0 : memref<?xi32>
    %q = memref.alloc(%n) : memref<1x?x8x64xf32>
    %k = memref.alloc(%n) : memref<1x?x2x64xf32>
    %q40 = memref.alloc(%n) : memref<1x?x8x40xf32>
    %k40 = memref.alloc(%n) : memref<1x?x2x40xf32>
    %x = memref.alloc(%n) : memref<?x64xf32>
    %y = memref.alloc(%n) : memref<?x100xf32>
    %w = memref.alloc() : memref<4x64x32xbf16>
    exec.cached_attention ins(%q, %k, %k, %p, %s : memref<1x?x8x64xf32>, memref<1x?x2x64xf32>, memref<1x?x2x64xf32>, memref<?xi32>, memref<?xi32>) outs(%q : memref<1x?x8x64xf32>) {layer = 0 : i64, scale = 0.125 : f64}
    exec.cached_attention ins(%q40, %k40, %k40, %p, %s : memref<1x?x8x40xf32>, memref<1x?x2x40xf32>, memref<1x?x2x40xf32>, memref<?xi32>, memref<?xi32>) outs(%q40 : memref<1x?x8x40xf32>) {layer = 1 : i64, scale = 0.125 : f64}
    exec.linear ins(%x, %w : memref<?x64xf32>, memref<4x64x32xbf16>) outs(%y : memref<?x100xf32>)
    return
  }
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

// -----

module attributes {nju.lm = {max_tokens = 64 : i64, max_batch_tokens = 32 : i64, cache = [{heads = 2 : i64, head_dim = 60 : i64, type = "q4"}, {heads = 2 : i64, head_dim = 64 : i64, type = "q4"}]}} {
  func.func @step(%worker: index, %workers: index, %t: memref<?xi32>, %p: memref<?xi32>, %s: memref<?xi32>, %r: memref<?xi32>, %logits: memref<?xf32>, %weights: memref<?xi8>, %cache: memref<?xi8>, %arena: memref<?xi8>, %ms: index, %ct: index) {
    %c0 = arith.constant 0 : index
    %n = memref.dim %t, %c0 : memref<?xi32>
    %q = memref.alloc(%n) : memref<1x?x8x64xf32>
    %k = memref.alloc(%n) : memref<1x?x2x64xf32>
    // expected-error @below {{needs the module's nju.lm to say how each layer up to 1 is kept, which {head_dim = 60 : i64, heads = 2 : i64, type = "q4"} does not}}
    exec.cached_attention ins(%q, %k, %k, %p, %s : memref<1x?x8x64xf32>, memref<1x?x2x64xf32>, memref<1x?x2x64xf32>, memref<?xi32>, memref<?xi32>) outs(%q : memref<1x?x8x64xf32>) {layer = 1 : i64, scale = 0.125 : f64}
    return
  }
}
