// RUN: nju-opt %s --exec-join-row-kernels --split-input-file | FileCheck %s
// RUN: nju-opt %s --exec-join-row-kernels --convert-kernels-to-vector --canonicalize --cse --split-input-file | FileCheck %s --check-prefix=LOOPS

#row = affine_map<(d0, d1) -> (d0)>
#all = affine_map<(d0, d1) -> (d0, d1)>

// A sum over each row and what divides by it; in the second layer, too.
// CHECK-LABEL: func.func @equal_pairs_share_a_kernel
// CHECK-NEXT: memref.alloc
// CHECK-NEXT: exec.launch @sum_joined ins(%arg0 : memref<?x64xf32>) outs(%[[S:.*]], %arg1 : memref<?xf32>, memref<?x64xf32>)
// CHECK-NEXT: exec.launch @sum_joined ins(%arg1 : memref<?x64xf32>) outs(%[[S]], %arg2 : memref<?xf32>, memref<?x64xf32>)
// CHECK-NEXT: return
func.func @equal_pairs_share_a_kernel(%x: memref<?x64xf32>, %y: memref<?x64xf32>, %z: memref<?x64xf32>, %rows: index) {
  %s = memref.alloc(%rows) : memref<?xf32>
  exec.launch @sum ins(%x : memref<?x64xf32>) outs(%s : memref<?xf32>)
  exec.launch @scale ins(%x, %s : memref<?x64xf32>, memref<?xf32>) outs(%y : memref<?x64xf32>)
  exec.launch @sum ins(%y : memref<?x64xf32>) outs(%s : memref<?xf32>)
  exec.launch @scale ins(%y, %s : memref<?x64xf32>, memref<?xf32>) outs(%z : memref<?x64xf32>)
  return
}

// CHECK-NOT: func.func private @sum(
// CHECK-NOT: func.func private @scale(
// CHECK: func.func private @sum_joined
// CHECK: linalg.fill
// CHECK: linalg.generic
// CHECK: linalg.generic
// CHECK-NOT: linalg.generic
// CHECK: return

// One loop over the worker's rows, with both of what is done to a row in it.
// LOOPS-LABEL: func.func private @sum_joined
// LOOPS-SAME: memref<?x64xf32> {exec.rows = 0 : i64}, %[[S:.*]]: memref<?xf32> {exec.rows = 0 : i64}, %{{.*}}: memref<?x64xf32> {exec.rows = 0 : i64})
// LOOPS: %[[FIRST:.*]] = arith.divui
// LOOPS: scf.for %[[ROW:.*]] = %[[FIRST]]
// LOOPS: memref.store %{{.*}}, %[[S]][%[[ROW]]]
// LOOPS: memref.load %[[S]][%[[ROW]]]
// LOOPS: vector.store
// LOOPS-NOT: arith.divui
// LOOPS: return
func.func private @sum(%worker: index, %workers: index, %x: memref<?x64xf32>, %s: memref<?xf32>) attributes {exec.kernel, exec.deal_rows} {
  %zero = arith.constant 0.0 : f32
  linalg.fill ins(%zero : f32) outs(%s : memref<?xf32>)
  linalg.generic {indexing_maps = [#all, #row], iterator_types = ["parallel", "reduction"]} ins(%x : memref<?x64xf32>) outs(%s : memref<?xf32>) {
  ^bb0(%a: f32, %b: f32):
    %c = arith.addf %a, %b : f32
    linalg.yield %c : f32
  }
  return
}
func.func private @scale(%worker: index, %workers: index, %x: memref<?x64xf32>, %s: memref<?xf32>, %y: memref<?x64xf32>) attributes {exec.kernel, exec.deal_rows} {
  linalg.generic {indexing_maps = [#all, #row, #all], iterator_types = ["parallel", "parallel"]} ins(%x, %s : memref<?x64xf32>, memref<?xf32>) outs(%y : memref<?x64xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %c = arith.mulf %a, %b : f32
    linalg.yield %c : f32
  }
  return
}

// -----

#row = affine_map<(d0, d1) -> (d0)>
#all = affine_map<(d0, d1) -> (d0, d1)>
#one = affine_map<(d0) -> (d0)>

// Three of them; numbers of one element a row are no vector along the rows
// then.
// CHECK-LABEL: func.func @three
// CHECK-NEXT: exec.launch @largest_joined_joined ins(%arg0 : memref<?x64xf32>) outs(%arg1, %arg2, %arg3 :
// CHECK-NEXT: return
// LOOPS-LABEL: func.func private @largest_joined_joined
// LOOPS: scf.for %[[ROW:.*]] =
// LOOPS: vector.load %{{.*}}[%[[ROW]],
// LOOPS: math.exp %{{.*}} : f32
// LOOPS: memref.load %{{.*}}[%[[ROW]]]
// LOOPS: vector.store %{{.*}}, %{{.*}}[%[[ROW]],
func.func @three(%x: memref<?x64xf32>, %m: memref<?xf32>, %e: memref<?xf32>, %y: memref<?x64xf32>) {
  exec.launch @largest ins(%x : memref<?x64xf32>) outs(%m : memref<?xf32>)
  exec.launch @power ins(%m : memref<?xf32>) outs(%e : memref<?xf32>)
  exec.launch @scale ins(%x, %e : memref<?x64xf32>, memref<?xf32>) outs(%y : memref<?x64xf32>)
  return
}
func.func private @largest(%worker: index, %workers: index, %x: memref<?x64xf32>, %m: memref<?xf32>) attributes {exec.kernel, exec.deal_rows} {
  linalg.generic {indexing_maps = [#all, #row], iterator_types = ["parallel", "reduction"]} ins(%x : memref<?x64xf32>) outs(%m : memref<?xf32>) {
  ^bb0(%a: f32, %b: f32):
    %c = arith.maximumf %a, %b : f32
    linalg.yield %c : f32
  }
  return
}
func.func private @power(%worker: index, %workers: index, %m: memref<?xf32>, %e: memref<?xf32>) attributes {exec.kernel, exec.deal_rows} {
  linalg.generic {indexing_maps = [#one, #one], iterator_types = ["parallel"]} ins(%m : memref<?xf32>) outs(%e : memref<?xf32>) {
  ^bb0(%a: f32, %o: f32):
    %c = math.exp %a : f32
    linalg.yield %c : f32
  }
  return
}
func.func private @scale(%worker: index, %workers: index, %x: memref<?x64xf32>, %s: memref<?xf32>, %y: memref<?x64xf32>) attributes {exec.kernel, exec.deal_rows} {
  linalg.generic {indexing_maps = [#all, #row, #all], iterator_types = ["parallel", "parallel"]} ins(%x, %s : memref<?x64xf32>, memref<?xf32>) outs(%y : memref<?x64xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %c = arith.mulf %a, %b : f32
    linalg.yield %c : f32
  }
  return
}

// -----

#all = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d0)>

// Other rows of what was written; nothing shared; another view; written twice;
// memory in between; rows in another dimension.
// CHECK-LABEL: func.func @apart
// CHECK: exec.launch @double ins(%arg0
// CHECK-NEXT: exec.launch @pick ins(%arg3, %arg1
// CHECK-NEXT: exec.launch @double ins(%arg0
// CHECK-NEXT: memref.expand_shape
// CHECK-NEXT: memref.collapse_shape
// CHECK-NEXT: exec.launch @double
// CHECK-NEXT: exec.launch @double
// CHECK-NEXT: exec.launch @other
// CHECK-NEXT: exec.launch @double ins(%arg0
// CHECK-NEXT: memref.store
// CHECK-NEXT: exec.launch @double ins(%arg1
// CHECK-NEXT: exec.launch @turned ins(%arg2
func.func @apart(%x: memref<?x64xf32>, %y: memref<?x64xf32>, %z: memref<?x64xf32>, %n: memref<?xi32>, %t: memref<64x?xf32>, %rows: index) {
  %zero = arith.constant 0.0 : f32
  %c0 = arith.constant 0 : index
  exec.launch @double ins(%x : memref<?x64xf32>) outs(%y : memref<?x64xf32>)
  exec.launch @pick ins(%n, %y : memref<?xi32>, memref<?x64xf32>) outs(%z : memref<?x64xf32>)
  exec.launch @double ins(%x : memref<?x64xf32>) outs(%y : memref<?x64xf32>)
  %e = memref.expand_shape %y [[0], [1, 2]] output_shape [%rows, 8, 8] : memref<?x64xf32> into memref<?x8x8xf32>
  %v = memref.collapse_shape %e [[0], [1, 2]] : memref<?x8x8xf32> into memref<?x64xf32>
  exec.launch @double ins(%v : memref<?x64xf32>) outs(%z : memref<?x64xf32>)
  exec.launch @double ins(%x : memref<?x64xf32>) outs(%z : memref<?x64xf32>)
  exec.launch @other ins(%n : memref<?xi32>) outs(%y : memref<?x64xf32>)
  exec.launch @double ins(%x : memref<?x64xf32>) outs(%y : memref<?x64xf32>)
  memref.store %zero, %y[%c0, %c0] : memref<?x64xf32>
  exec.launch @double ins(%y : memref<?x64xf32>) outs(%z : memref<?x64xf32>)
  exec.launch @turned ins(%z : memref<?x64xf32>) outs(%t : memref<64x?xf32>)
  return
}
func.func private @double(%worker: index, %workers: index, %x: memref<?x64xf32>, %y: memref<?x64xf32>) attributes {exec.kernel, exec.deal_rows} {
  linalg.generic {indexing_maps = [#all, #all], iterator_types = ["parallel", "parallel"]} ins(%x : memref<?x64xf32>) outs(%y : memref<?x64xf32>) {
  ^bb0(%a: f32, %o: f32):
    %c = arith.addf %a, %a : f32
    linalg.yield %c : f32
  }
  return
}
func.func private @pick(%worker: index, %workers: index, %n: memref<?xi32>, %x: memref<?x64xf32>, %y: memref<?x64xf32>) attributes {exec.kernel, exec.deal_rows} {
  linalg.generic {indexing_maps = [#row, #all], iterator_types = ["parallel", "parallel"]} ins(%n : memref<?xi32>) outs(%y : memref<?x64xf32>) {
  ^bb0(%a: i32, %o: f32):
    %i = arith.index_cast %a : i32 to index
    %j = linalg.index 1 : index
    %v = memref.load %x[%i, %j] : memref<?x64xf32>
    linalg.yield %v : f32
  }
  return
}
func.func private @other(%worker: index, %workers: index, %n: memref<?xi32>, %y: memref<?x64xf32>) attributes {exec.kernel, exec.deal_rows} {
  linalg.generic {indexing_maps = [#row, #all], iterator_types = ["parallel", "parallel"]} ins(%n : memref<?xi32>) outs(%y : memref<?x64xf32>) {
  ^bb0(%a: i32, %o: f32):
    %v = arith.sitofp %a : i32 to f32
    linalg.yield %v : f32
  }
  return
}
func.func private @turned(%worker: index, %workers: index, %x: memref<?x64xf32>, %y: memref<64x?xf32>) attributes {exec.kernel, exec.deal_rows} {
  linalg.generic {indexing_maps = [#all, affine_map<(d0, d1) -> (d1, d0)>], iterator_types = ["parallel", "parallel"]} ins(%x : memref<?x64xf32>) outs(%y : memref<64x?xf32>) {
  ^bb0(%a: f32, %o: f32):
    linalg.yield %a : f32
  }
  return
}
