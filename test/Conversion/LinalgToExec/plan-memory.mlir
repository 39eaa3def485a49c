// RUN: nju-opt %s --exec-plan-memory --exec-verify-no-alloc --exec-lower-launches --split-input-file --verify-diagnostics | FileCheck %s

// The first and the third buffer are never alive together: they share bytes.
// Two launches that touch other memory need no barrier between them.
// CHECK: module attributes {nju.arena_bytes = 4096 : i64, nju.arena_lower_bound = 4096 : i64, nju.arena_zero_bytes = 0 : i64
// CHECK-LABEL: func.func @step
// CHECK: %[[A:.*]] = memref.view %arg9[%c0{{.*}}][%{{.*}}] {exec.bytes = 2048 : i64} : memref<?xi8> to memref<?xf32>
// CHECK: %[[B:.*]] = memref.view %arg9[%c2048{{.*}}][%{{.*}}] {exec.bytes = 2048 : i64} : memref<?xi8> to memref<?xf32>
// CHECK: %[[C:.*]] = memref.view %arg9[%c0{{.*}}][%{{.*}}] {exec.bytes = 2048 : i64} : memref<?xi8> to memref<?xf32>
// CHECK: call @kernel(%arg0, %arg1, %{{.*}}, %[[A]])
// CHECK-NEXT: omp.barrier
// CHECK-NEXT: call @kernel(%arg0, %arg1, %[[A]], %[[B]])
// CHECK-NEXT: omp.barrier
// CHECK-NEXT: call @kernel(%arg0, %arg1, %[[B]], %[[C]])
// CHECK-NEXT: call @kernel(%arg0, %arg1, %[[B]], %{{.*}})
// CHECK-NEXT: return
module attributes {nju.lm = {max_batch_tokens = 512 : i64}} {
  func.func private @kernel(index, index, memref<?xf32>, memref<?xf32>)
  func.func @step(%worker: index, %workers: index, %t: memref<?xi32>, %p: memref<?xi32>, %s: memref<?xi32>, %r: memref<?xi32>, %logits: memref<?xf32>, %weights: memref<?xi8>, %cache: memref<?xi8>, %arena: memref<?xi8>, %ms: index, %ct: index) {
    %c0 = arith.constant 0 : index
    %n = memref.dim %t, %c0 : memref<?xi32>
    %w = memref.view %weights[%c0][%n] : memref<?xi8> to memref<?xf32>
    %a = memref.alloc(%n) : memref<?xf32>
    %b = memref.alloc(%n) : memref<?xf32>
    %c = memref.alloc(%n) : memref<?xf32>
    exec.launch @kernel ins(%w : memref<?xf32>) outs(%a : memref<?xf32>)
    exec.launch @kernel ins(%a : memref<?xf32>) outs(%b : memref<?xf32>)
    exec.launch @kernel ins(%b : memref<?xf32>) outs(%c : memref<?xf32>)
    exec.launch @kernel ins(%b : memref<?xf32>) outs(%logits : memref<?xf32>)
    return
  }
}

// -----

// What is zero between steps shares its bytes with nobody, however short its
// use is.
// CHECK: module attributes {{{.*}}nju.arena_zero_bytes = 64 : i64
// CHECK-LABEL: func.func @step
// CHECK-DAG: memref.view %arg9[%c64{{.*}}][%{{.*}}] {exec.bytes = 2048 : i64}
// CHECK-DAG: memref.view %arg9[%c0{{.*}}][] {exec.bytes = 64 : i64} : memref<?xi8> to memref<1xi64>
// CHECK-DAG: memref.view %arg9[%c64{{.*}}][%{{.*}}] {exec.bytes = 2048 : i64}
module attributes {nju.lm = {max_batch_tokens = 512 : i64}} {
  func.func private @kernel(index, index, memref<?xf32>, memref<1xi64>)
  func.func private @other(index, index, memref<?xf32>)
  func.func @step(%worker: index, %workers: index, %t: memref<?xi32>, %p: memref<?xi32>, %s: memref<?xi32>, %r: memref<?xi32>, %logits: memref<?xf32>, %weights: memref<?xi8>, %cache: memref<?xi8>, %arena: memref<?xi8>, %ms: index, %ct: index) {
    %c0 = arith.constant 0 : index
    %n = memref.dim %t, %c0 : memref<?xi32>
    %a = memref.alloc(%n) : memref<?xf32>
    %next = memref.alloc() {exec.zero} : memref<1xi64>
    %b = memref.alloc(%n) : memref<?xf32>
    exec.launch @kernel outs(%a, %next : memref<?xf32>, memref<1xi64>)
    exec.launch @other outs(%b : memref<?xf32>)
    return
  }
}

// -----

// CHECK-LABEL: func.func @main
// CHECK: %[[A:.*]] = memref.alloc
// CHECK: omp.parallel if(%{{.*}}) num_threads(%{{.*}} : i32) {
// CHECK: func.call @kernel
// CHECK: memref.dealloc %[[A]]
// CHECK: return
func.func private @kernel(index, index, memref<?xf32>, memref<?xf32>)
func.func @main(%threads: index, %x: memref<?xf32>, %weights: memref<?xi8>) -> memref<?xf32> {
  %c0 = arith.constant 0 : index
  %n = memref.dim %x, %c0 : memref<?xf32>
  %a = memref.alloc(%n) : memref<?xf32>
  %b = memref.alloc(%n) : memref<?xf32>
  exec.launch @kernel ins(%x : memref<?xf32>) outs(%a : memref<?xf32>)
  exec.launch @kernel ins(%a : memref<?xf32>) outs(%b : memref<?xf32>)
  return %b : memref<?xf32>
}

// -----

module attributes {nju.lm = {max_batch_tokens = 512 : i64}} {
  func.func @step(%worker: index, %workers: index, %t: memref<?xi32>, %p: memref<?xi32>, %s: memref<?xi32>, %r: memref<?xi32>, %logits: memref<?xf32>, %weights: memref<?xi8>, %cache: memref<?xi8>, %arena: memref<?xi8>, %ms: index, %ct: index) {
    %c0 = arith.constant 0 : index
    %token = memref.load %t[%c0] : memref<?xi32>
    %n = arith.index_cast %token : i32 to index
    // expected-error @below {{a buffer of type 'memref<?xf32>' has a size that is not bounded by the number of tokens; a step of a language model can have no such value}}
    %a = memref.alloc(%n) : memref<?xf32>
    return
  }
}

// -----

// expected-error @below {{a module with a step needs nju.lm with max_batch_tokens of at least 1}}
module {
  func.func @step() {
    return
  }
}
