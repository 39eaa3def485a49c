// RUN: nju-opt %s --exec-lower-launches --split-input-file | FileCheck %s

// Rows are dealt out alike by both kernels: what @double wrote, the same worker
// reads in @triple. @whole reads all of it: all must have written.
func.func private @double(index, index, memref<1x?x64xf32> {exec.rows = 1 : i64}, memref<1x?x64xf32> {exec.rows = 1 : i64})
func.func private @triple(index, index, memref<?x64xf32> {exec.rows = 0 : i64}, memref<?x64xf32> {exec.rows = 0 : i64})
func.func private @whole(index, index, memref<?x64xf32>, memref<?x64xf32>)

// CHECK-LABEL: func.func @step
// CHECK: call @double
// CHECK-NOT: omp.barrier
// CHECK: call @triple
// CHECK-NEXT: omp.barrier
// CHECK-NEXT: call @whole
// CHECK-NOT: exec.rows
func.func @step(%worker: index, %workers: index, %tokens: memref<?xi32>, %positions: memref<?xi32>, %sequences: memref<?xi32>, %rows: memref<?xi32>, %logits: memref<?x64xf32>, %weights: memref<?xi8>, %cache: memref<?xi8>, %arena: memref<?xi8>, %max_sequences: index, %cache_tokens: index) {
  %c0 = arith.constant 0 : index
  %c1024 = arith.constant 1024 : index
  %c2048 = arith.constant 2048 : index
  %c3072 = arith.constant 3072 : index
  %t = memref.dim %tokens, %c0 : memref<?xi32>
  %x = memref.view %arena[%c0][%t] {exec.bytes = 1024 : i64} : memref<?xi8> to memref<1x?x64xf32>
  %y = memref.view %arena[%c1024][%t] {exec.bytes = 1024 : i64} : memref<?xi8> to memref<1x?x64xf32>
  %z = memref.view %arena[%c2048][%t] {exec.bytes = 1024 : i64} : memref<?xi8> to memref<?x64xf32>
  %o = memref.view %arena[%c3072][%t] {exec.bytes = 1024 : i64} : memref<?xi8> to memref<?x64xf32>
  %flat = memref.collapse_shape %y [[0, 1], [2]] : memref<1x?x64xf32> into memref<?x64xf32>
  exec.launch @double ins(%x : memref<1x?x64xf32>) outs(%y : memref<1x?x64xf32>)
  exec.launch @triple ins(%flat : memref<?x64xf32>) outs(%z : memref<?x64xf32>)
  exec.launch @whole ins(%z : memref<?x64xf32>) outs(%o : memref<?x64xf32>)
  return
}

// -----

// Rows of tokens are not rows of logits, and memory that is used again for rows
// of another size is dealt out in another way.
func.func private @tokens(index, index, memref<?x64xf32> {exec.rows = 0 : i64}, memref<?x64xf32> {exec.rows = 0 : i64})
func.func private @narrow(index, index, memref<?x64xf32> {exec.rows = 0 : i64}, memref<?x32xf32> {exec.rows = 0 : i64})

// CHECK-LABEL: func.func @step
// CHECK: call @tokens
// CHECK-NEXT: omp.barrier
// CHECK-NEXT: call @tokens
// CHECK-NEXT: omp.barrier
// CHECK-NEXT: call @narrow
func.func @step(%worker: index, %workers: index, %tokens: memref<?xi32>, %positions: memref<?xi32>, %sequences: memref<?xi32>, %rows: memref<?xi32>, %logits: memref<?x64xf32>, %weights: memref<?xi8>, %cache: memref<?xi8>, %arena: memref<?xi8>, %max_sequences: index, %cache_tokens: index) {
  %c0 = arith.constant 0 : index
  %c1024 = arith.constant 1024 : index
  %c2048 = arith.constant 2048 : index
  %t = memref.dim %tokens, %c0 : memref<?xi32>
  %r = memref.dim %rows, %c0 : memref<?xi32>
  %x = memref.view %arena[%c0][%t] {exec.bytes = 1024 : i64} : memref<?xi8> to memref<?x64xf32>
  %y = memref.view %arena[%c1024][%t] {exec.bytes = 1024 : i64} : memref<?xi8> to memref<?x64xf32>
  %yr = memref.view %arena[%c1024][%r] {exec.bytes = 1024 : i64} : memref<?xi8> to memref<?x64xf32>
  %z = memref.view %arena[%c2048][%r] {exec.bytes = 1024 : i64} : memref<?xi8> to memref<?x64xf32>
  %again = memref.view %arena[%c1024][%r] {exec.bytes = 1024 : i64} : memref<?xi8> to memref<?x32xf32>
  exec.launch @tokens ins(%x : memref<?x64xf32>) outs(%y : memref<?x64xf32>)
  exec.launch @tokens ins(%yr : memref<?x64xf32>) outs(%z : memref<?x64xf32>)
  exec.launch @narrow ins(%z : memref<?x64xf32>) outs(%again : memref<?x32xf32>)
  return
}

// -----

// Packing does nothing for one row: then the second barrier alone is enough.
func.func private @whole(index, index, memref<?x64xf32>, memref<?x64xf32>)
func.func private @pack(index, index, memref<?x?xf32> {exec.rows = 0 : i64}, memref<?x64xf32>) attributes {exec.idle_for_one_row}
func.func private @product(index, index, memref<?x64xf32>, memref<?x64xf32>, memref<?x64xf32>)

// CHECK-LABEL: func.func @step
// CHECK: call @whole
// CHECK: %[[T:.*]] = memref.dim %arg2
// CHECK: %[[SEVERAL:.*]] = arith.cmpi ugt, %[[T]]
// CHECK: scf.if %[[SEVERAL]] {
// CHECK-NEXT: omp.barrier
// CHECK-NEXT: }
// CHECK-NEXT: call @pack
// CHECK-NEXT: omp.barrier
// CHECK-NEXT: call @product
// CHECK-NOT: omp.barrier
func.func @step(%worker: index, %workers: index, %tokens: memref<?xi32>, %positions: memref<?xi32>, %sequences: memref<?xi32>, %rows: memref<?xi32>, %logits: memref<?x64xf32>, %weights: memref<?xi8>, %cache: memref<?xi8>, %arena: memref<?xi8>, %max_sequences: index, %cache_tokens: index) {
  %c0 = arith.constant 0 : index
  %c1024 = arith.constant 1024 : index
  %c2048 = arith.constant 2048 : index
  %c3072 = arith.constant 3072 : index
  %t = memref.dim %positions, %c0 : memref<?xi32>
  %x = memref.view %arena[%c0][%t] {exec.bytes = 1024 : i64} : memref<?xi8> to memref<?x64xf32>
  %y = memref.view %arena[%c1024][%t] {exec.bytes = 1024 : i64} : memref<?xi8> to memref<?x64xf32>
  %p = memref.view %arena[%c2048][%t] {exec.bytes = 1024 : i64} : memref<?xi8> to memref<?x64xf32>
  %z = memref.view %arena[%c3072][%t] {exec.bytes = 1024 : i64} : memref<?xi8> to memref<?x64xf32>
  %any = memref.cast %y : memref<?x64xf32> to memref<?x?xf32>
  exec.launch @whole ins(%x : memref<?x64xf32>) outs(%y : memref<?x64xf32>)
  exec.launch @pack ins(%any : memref<?x?xf32>) outs(%p : memref<?x64xf32>)
  exec.launch @product ins(%y, %p : memref<?x64xf32>, memref<?x64xf32>) outs(%z : memref<?x64xf32>)
  return
}

// -----

// Outside of a step, a launch with little to do runs on one thread.
func.func private @double(index, index, memref<?xf32>, memref<?xf32>)

// CHECK-LABEL: func.func @main
// CHECK: %[[MUCH:.*]] = arith.cmpi uge
// CHECK: omp.parallel if(%[[MUCH]]) num_threads(%{{.*}} : i32)
// CHECK: call @double
func.func @main(%threads: index, %x: memref<?xf32>, %y: memref<?xf32>) {
  exec.launch @double ins(%x : memref<?xf32>) outs(%y : memref<?xf32>)
  return
}

// -----

// A check is an early return that frees what is allocated. Messages begin
// behind one NUL.
// CHECK-LABEL: func.func @main
// CHECK-SAME: -> (memref<?xf32> {nju.name = "y"}, index, index, index)
// CHECK-SAME: exec.check_messages = "\00node 'a': {0} and {1}\00"
// CHECK: %[[Y:.*]] = memref.alloc
// CHECK: cf.cond_br %{{.*}}, ^[[REST:.*]], ^[[FAILED:[^:]*]]
// CHECK: ^[[FAILED]]:
// CHECK-NEXT: memref.dealloc %[[Y]]
// CHECK: %[[NONE:.*]] = ub.poison : memref<?xf32>
// CHECK: %[[AT:.*]] = arith.constant 1 : index
// CHECK: return %[[NONE]], %[[AT]], %[[N:.*]], %[[M:.*]] :
// CHECK: ^[[REST]]:
// CHECK: return %[[Y]], %[[ZERO:.*]], %[[ZERO]], %[[ZERO]] :
func.func @main(%threads: index, %n: index, %m: index, %weights: memref<?xi8>) -> (memref<?xf32> {nju.name = "y"}) {
  %same = arith.cmpi eq, %n, %m : index
  %y = memref.alloc(%n) : memref<?xf32>
  exec.check %same, "node 'a': {0} and {1}" (%n, %m)
  return %y : memref<?xf32>
}
