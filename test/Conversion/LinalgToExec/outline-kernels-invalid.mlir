// RUN: nju-opt %s --exec-outline-kernels --verify-diagnostics

func.func @step(%worker: index, %workers: index, %t: memref<?xi32>, %p: memref<?xi32>, %s: memref<?xi32>, %r: memref<?xi32>, %logits: memref<?xf32>, %weights: memref<?xi8>, %cache: memref<?xi8>, %arena: memref<?xi8>, %ms: index, %ct: index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %x = arith.constant 1.0 : f32
  // expected-error @below {{a loop of @step that writes memory has a result of type 'index' that is used; a step of a language model can have no such value}}
  %n = scf.for %i = %c0 to %ms step %c1 iter_args(%k = %c0) -> (index) {
    memref.store %x, %logits[%i] : memref<?xf32>
    %next = arith.addi %k, %i : index
    scf.yield %next : index
  }
  %a = memref.alloc(%n) : memref<?xf32>
  return
}
