// RUN: nju-opt %s --exec-expand-library-ops="target=sapphirerapids compute=auto" --split-input-file | FileCheck %s
// RUN: nju-opt %s --exec-expand-library-ops="target=sapphirerapids compute=f32" --split-input-file | FileCheck %s --check-prefix=NONE
// RUN: nju-opt %s --exec-expand-library-ops="target=x86-64-v4-vnni compute=auto" --split-input-file | FileCheck %s --check-prefix=NONE

// Where AMX multiplies many rows, what makes a product's rows packs them.

// NONE-NOT: packs
// NONE-NOT: _few

#lcq = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>

// CHECK-LABEL: @one_reader
// CHECK: %[[ROWS:.*]] = memref.alloc({{.*}}) : memref<?x64xi8>
// CHECK: exec.launch @nju_pack_lcq_rows_32 ins
// CHECK: exec.launch @nju_lcq_linear_4x32x1x8_packs ins({{.*}}) outs({{.*}}, {{.*}}, {{.*}} : memref<?x?xf32>, memref<?x?xi8>, memref<?xi64>)
// CHECK: exec.launch @nju_pack_lcq_rows_32_few ins
// CHECK: exec.launch @nju_lcq_linear_4x32x1x8 ins
// CHECK: return
func.func @one_reader(%n: index, %x: memref<?x64xf32>, %c: memref<4x544xi8>, %b: memref<1x16xi8>, %f: memref<1x64xf32>, %y: memref<?x64xf32>) {
  %t = memref.alloc(%n) : memref<?x64xf32>
  exec.linear ins(%x, %c, %b, %f : memref<?x64xf32>, memref<4x544xi8>, memref<1x16xi8>, memref<1x64xf32>) outs(%t : memref<?x64xf32>) {format = #lcq}
  exec.linear ins(%t, %c, %b, %f : memref<?x64xf32>, memref<4x544xi8>, memref<1x16xi8>, memref<1x64xf32>) outs(%y : memref<?x64xf32>) {format = #lcq}
  return
}

// -----

#lcq = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>

// A buffer that is written again is another one.
// CHECK-LABEL: @written_again
// CHECK: exec.launch @nju_lcq_linear_4x32x1x8_packs
// CHECK: exec.launch @nju_pack_lcq_rows_32_few
// CHECK: exec.launch @nju_lcq_linear_4x32x1x8 ins
// CHECK: exec.launch @nju_lcq_linear_4x32x1x8_packs
// CHECK: exec.launch @nju_pack_lcq_rows_32_few
// CHECK: exec.launch @nju_lcq_linear_4x32x1x8 ins
// CHECK: return
func.func @written_again(%n: index, %x: memref<?x64xf32>, %c: memref<4x544xi8>, %b: memref<1x16xi8>, %f: memref<1x64xf32>, %y: memref<?x64xf32>, %z: memref<?x64xf32>) {
  %t = memref.alloc(%n) : memref<?x64xf32>
  exec.linear ins(%x, %c, %b, %f : memref<?x64xf32>, memref<4x544xi8>, memref<1x16xi8>, memref<1x64xf32>) outs(%t : memref<?x64xf32>) {format = #lcq}
  exec.linear ins(%t, %c, %b, %f : memref<?x64xf32>, memref<4x544xi8>, memref<1x16xi8>, memref<1x64xf32>) outs(%y : memref<?x64xf32>) {format = #lcq}
  exec.linear ins(%y, %c, %b, %f : memref<?x64xf32>, memref<4x544xi8>, memref<1x16xi8>, memref<1x64xf32>) outs(%t : memref<?x64xf32>) {format = #lcq}
  exec.linear ins(%t, %c, %b, %f : memref<?x64xf32>, memref<4x544xi8>, memref<1x16xi8>, memref<1x64xf32>) outs(%z : memref<?x64xf32>) {format = #lcq}
  return
}

// -----

#lcq = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>

// CHECK-LABEL: @two_readers
// CHECK-NOT: packs
// CHECK: return
func.func @two_readers(%n: index, %x: memref<?x64xf32>, %c: memref<4x544xi8>, %b: memref<1x16xi8>, %f: memref<1x64xf32>, %y: memref<?x64xf32>, %z: memref<?x64xf32>) {
  %t = memref.alloc(%n) : memref<?x64xf32>
  exec.linear ins(%x, %c, %b, %f : memref<?x64xf32>, memref<4x544xi8>, memref<1x16xi8>, memref<1x64xf32>) outs(%t : memref<?x64xf32>) {format = #lcq}
  exec.linear ins(%t, %c, %b, %f : memref<?x64xf32>, memref<4x544xi8>, memref<1x16xi8>, memref<1x64xf32>) outs(%y : memref<?x64xf32>) {format = #lcq}
  exec.linear ins(%t, %c, %b, %f : memref<?x64xf32>, memref<4x544xi8>, memref<1x16xi8>, memref<1x64xf32>) outs(%z : memref<?x64xf32>) {format = #lcq}
  return
}

// -----

#lcq = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>

// CHECK-LABEL: @read_by_another_op
// CHECK-NOT: packs
// CHECK: return
func.func @read_by_another_op(%n: index, %x: memref<?x64xf32>, %c: memref<4x544xi8>, %b: memref<1x16xi8>, %f: memref<1x64xf32>, %y: memref<?x64xf32>, %z: memref<?x64xf32>) {
  %t = memref.alloc(%n) : memref<?x64xf32>
  exec.linear ins(%x, %c, %b, %f : memref<?x64xf32>, memref<4x544xi8>, memref<1x16xi8>, memref<1x64xf32>) outs(%t : memref<?x64xf32>) {format = #lcq}
  exec.linear ins(%t, %c, %b, %f : memref<?x64xf32>, memref<4x544xi8>, memref<1x16xi8>, memref<1x64xf32>) outs(%y : memref<?x64xf32>) {format = #lcq}
  linalg.copy ins(%t : memref<?x64xf32>) outs(%z : memref<?x64xf32>)
  return
}

// -----

#lcq = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>

// Rows that a product gives in f32, because its weights are dense, are packed
// by a launch.
// CHECK-LABEL: @rows_of_a_dense_product
// CHECK-NOT: packs
// CHECK: return
func.func @rows_of_a_dense_product(%n: index, %x: memref<?x64xf32>, %w: memref<2x64x32xf32>, %c: memref<4x544xi8>, %b: memref<1x16xi8>, %f: memref<1x64xf32>, %y: memref<?x64xf32>) {
  %t = memref.alloc(%n) : memref<?x64xf32>
  exec.linear ins(%x, %w : memref<?x64xf32>, memref<2x64x32xf32>) outs(%t : memref<?x64xf32>)
  exec.linear ins(%t, %c, %b, %f : memref<?x64xf32>, memref<4x544xi8>, memref<1x16xi8>, memref<1x64xf32>) outs(%y : memref<?x64xf32>) {format = #lcq}
  return
}

// -----

#lcq = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>

// The result of a product that is the caller's is stored for the caller.
// CHECK-LABEL: @result_of_the_function
// CHECK-NOT: packs
// CHECK: return
func.func @result_of_the_function(%x: memref<?x64xf32>, %c: memref<4x544xi8>, %b: memref<1x16xi8>, %f: memref<1x64xf32>, %y: memref<?x64xf32>, %z: memref<?x64xf32>) {
  exec.linear ins(%x, %c, %b, %f : memref<?x64xf32>, memref<4x544xi8>, memref<1x16xi8>, memref<1x64xf32>) outs(%y : memref<?x64xf32>) {format = #lcq}
  exec.linear ins(%y, %c, %b, %f : memref<?x64xf32>, memref<4x544xi8>, memref<1x16xi8>, memref<1x64xf32>) outs(%z : memref<?x64xf32>) {format = #lcq}
  return
}

// -----

#lcq = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>

// CHECK-LABEL: func.func @step
// CHECK: memref.collapse_shape %{{.*}} {{\[\[}}0], [1, 2]] : memref<?x2x32xf32> into memref<?x64xf32>
// CHECK: exec.launch @nju_cached_attention_2x2x32_tiles_packs {{.*}} outs({{.*}} memref<?x?xi8>)
// CHECK: exec.launch @nju_pack_lcq_rows_32_few
// CHECK: exec.launch @nju_lcq_linear_4x32x1x8 ins
module attributes {nju.lm = {max_tokens = 64 : i64, max_batch_tokens = 32 : i64, cache = [{heads = 2 : i64, head_dim = 32 : i64, type = "f32"}]}} {
  func.func @step(%worker: index, %workers: index, %t: memref<?xi32>, %p: memref<?xi32>, %s: memref<?xi32>, %r: memref<?xi32>, %logits: memref<?x64xf32>, %weights: memref<?xi8>, %cache: memref<?xi8>, %arena: memref<?xi8>, %ms: index, %ct: index) {
    %c0 = arith.constant 0 : index
    %n = memref.dim %t, %c0 : memref<?xi32>
    %c = memref.alloc() : memref<4x544xi8>
    %b = memref.alloc() : memref<1x16xi8>
    %f = memref.alloc() : memref<1x64xf32>
    %q = memref.alloc(%n) : memref<1x?x2x32xf32>
    %a = memref.alloc(%n) : memref<1x?x2x32xf32>
    exec.cached_attention ins(%q, %q, %q, %p, %s : memref<1x?x2x32xf32>, memref<1x?x2x32xf32>, memref<1x?x2x32xf32>, memref<?xi32>, memref<?xi32>) outs(%a : memref<1x?x2x32xf32>) {layer = 0 : i64, scale = 0.125 : f64}
    %rows = memref.collapse_shape %a [[0], [1], [2, 3]] : memref<1x?x2x32xf32> into memref<1x?x64xf32>
    %y = memref.alloc(%n) : memref<1x?x64xf32>
    exec.linear ins(%rows, %c, %b, %f : memref<1x?x64xf32>, memref<4x544xi8>, memref<1x16xi8>, memref<1x64xf32>) outs(%y : memref<1x?x64xf32>) {format = #lcq}
    return
  }
}
