// RUN: nju-opt %s --exec-finalize-signature --split-input-file --verify-diagnostics | FileCheck %s

// CHECK-LABEL: @results_are_blocks_of_their_own
// CHECK-SAME: (%{{.*}}: index, %[[X:.*]]: memref<?xf32>, %{{.*}}: memref<?xi8>) -> (memref<?xf32>, memref<?xf32>)
// CHECK: %[[A:.*]] = memref.alloc
// CHECK: memref.copy %[[X]], %[[A]]
// CHECK: %[[B:.*]] = memref.alloc
// CHECK: memref.copy %[[X]], %[[B]]
// CHECK: return %[[A]], %[[B]]
func.func @results_are_blocks_of_their_own(%x: memref<?xf32>) -> (memref<?xf32>, memref<?xf32>) {
  return %x, %x : memref<?xf32>, memref<?xf32>
}

// -----

// CHECK-LABEL: @step
// CHECK-SAME: (%{{.*}}: index, %{{.*}}: index, %{{.*}}: memref<?xi32>, %{{.*}}: memref<?xi32>, %{{.*}}: memref<?xi32>, %{{.*}}: memref<?xi32>, %[[LOGITS:.*]]: memref<?x8xf32>, %{{.*}}: memref<?xi8>, %{{.*}}: memref<?xi8>, %{{.*}}: memref<?xi8>, %{{.*}}: index, %{{.*}}: index)
// CHECK-NOT: memref.alloc
// CHECK: %[[Y:.*]] = memref.reinterpret_cast %[[LOGITS]]
// CHECK: linalg.fill ins(%{{.*}} : f32) outs(%[[Y]] : memref<?x8xf32>)
// CHECK: return{{$}}
func.func @step(%t: memref<?xi32>, %p: memref<?xi32>, %s: memref<?xi32>, %r: memref<?xi32>) -> memref<?x8xf32> {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %n = memref.dim %r, %c0 : memref<?xi32>
  %y = memref.alloc(%n) : memref<?x8xf32>
  linalg.fill ins(%zero : f32) outs(%y : memref<?x8xf32>)
  return %y : memref<?x8xf32>
}

// -----

// expected-error @below {{has type '(memref<?xi32>) -> memref<?xi32>', expected tokens, positions, sequences, rows and one result}}
func.func @step(%t: memref<?xi32>) -> memref<?xi32> {
  return %t : memref<?xi32>
}
