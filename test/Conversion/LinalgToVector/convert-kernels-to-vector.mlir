// RUN: nju-opt %s --convert-kernels-to-vector --canonicalize --cse --split-input-file | FileCheck %s

// Contiguous operands of any rank are one loop of vectors, with a masked tail.
// CHECK-LABEL: @rows_are_one_run
// CHECK: memref.collapse_shape
// CHECK: scf.for
// CHECK: vector.load {{.*}} vector<16xf32>
// CHECK: math.exp {{.*}} : vector<16xf32>
// CHECK: vector.maskedload
// CHECK: vector.maskedstore
func.func private @rows_are_one_run(%worker: index, %workers: index, %x: memref<?x?xf32>, %y: memref<?x?xf32>) attributes {exec.kernel} {
  linalg.exp ins(%x : memref<?x?xf32>) outs(%y : memref<?x?xf32>)
  return
}

// -----

// CHECK-LABEL: @fill_starts_the_sum
// CHECK-NOT: memref.store
// CHECK: scf.for {{.*}} iter_args(%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}) -> (vector<16xf32>, vector<16xf32>, vector<16xf32>, vector<16xf32>)
// CHECK: vector.shuffle
// CHECK: memref.store %{{.*}}, %arg3[%{{.*}}] : memref<?xf32>
func.func private @fill_starts_the_sum(%worker: index, %workers: index, %x: memref<?x128xf32>, %y: memref<?xf32>) attributes {exec.kernel} {
  %zero = arith.constant 0.0 : f32
  linalg.fill ins(%zero : f32) outs(%y : memref<?xf32>)
  linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0)>], iterator_types = ["parallel", "reduction"]} ins(%x : memref<?x128xf32>) outs(%y : memref<?xf32>) {
  ^bb0(%a: f32, %b: f32):
    %c = arith.addf %a, %b : f32
    linalg.yield %c : f32
  }
  return
}

// -----

// What does not change along a row is computed once for the row.
// CHECK-LABEL: @row_factor_is_a_scalar
// CHECK: math.sqrt %{{.*}} : f32
// CHECK: scf.for
// CHECK: arith.mulf %{{.*}} : vector<16xf32>
func.func private @row_factor_is_a_scalar(%worker: index, %workers: index, %x: memref<?x128xf32>, %f: memref<?xf32>, %y: memref<?x128xf32>) attributes {exec.kernel} {
  linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0)>, affine_map<(d0, d1) -> (d0, d1)>], iterator_types = ["parallel", "parallel"]} ins(%x, %f : memref<?x128xf32>, memref<?xf32>) outs(%y : memref<?x128xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %r = math.sqrt %b : f32
    %c = arith.mulf %a, %r : f32
    linalg.yield %c : f32
  }
  return
}

// -----

// Rows of a table are runs of memory: no gather of single elements.
// CHECK-LABEL: @rows_of_a_table_are_vectors
// CHECK: %[[ROW:.*]] = memref.load %arg2
// CHECK: vector.load %arg3[%{{.*}}, %{{.*}}] : memref<100x64xf16>, vector<16xf16>
func.func private @rows_of_a_table_are_vectors(%worker: index, %workers: index, %ids: memref<?xi32>, %table: memref<100x64xf16>, %y: memref<?x64xf16>) attributes {exec.kernel} {
  linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0)>, affine_map<(d0, d1) -> (d0, d1)>], iterator_types = ["parallel", "parallel"]} ins(%ids : memref<?xi32>) outs(%y : memref<?x64xf16>) {
  ^bb0(%a: i32, %o: f16):
    %i = arith.index_cast %a : i32 to index
    %j = linalg.index 1 : index
    %v = memref.load %table[%i, %j] : memref<100x64xf16>
    linalg.yield %v : f16
  }
  return
}

// -----

// CHECK-LABEL: @worker_zero_alone
// CHECK: %[[FIRST:.*]] = arith.cmpi eq, %arg0, %c0
// CHECK: scf.if %[[FIRST]] {
// CHECK: memref.store
func.func private @worker_zero_alone(%worker: index, %workers: index, %y: memref<2xi64>) attributes {exec.kernel, exec.serial} {
  %c0 = arith.constant 0 : index
  %v = arith.constant 7 : i64
  memref.store %v, %y[%c0] : memref<2xi64>
  return
}

// -----

// Rows are dealt out, and only the long dimension behind them is a loop of
// vectors; what is not walked by rows keeps no note.
// CHECK-LABEL: @step_kernels_deal_out_rows
// CHECK-SAME: %arg2: memref<1x?x4x32xf32> {exec.rows = 1 : i64}, %arg3: memref<32xf32>, %arg4: memref<1x?x4x32xf32> {exec.rows = 1 : i64}
// CHECK: %[[ROWS:.*]] = memref.dim %arg2
// CHECK: %[[SHARE:.*]] = arith.muli %arg0, %[[ROWS]]
// CHECK: %[[FIRST:.*]] = arith.divui %[[SHARE]], %arg1
// CHECK: scf.for %{{.*}} = %[[FIRST]]
// CHECK: scf.for %{{.*}} = %c0{{.*}} to %c4
func.func private @step_kernels_deal_out_rows(%worker: index, %workers: index, %x: memref<1x?x4x32xf32>, %w: memref<32xf32>, %y: memref<1x?x4x32xf32>) attributes {exec.kernel, exec.deal_rows} {
  linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%x, %w : memref<1x?x4x32xf32>, memref<32xf32>) outs(%y : memref<1x?x4x32xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %c = arith.mulf %a, %b : f32
    linalg.yield %c : f32
  }
  return
}

// -----

// Contiguous rows stay rows.
// CHECK-LABEL: @step_kernels_flatten_rows_only
// CHECK: memref.collapse_shape %arg2 {{\[\[}}0, 1], [2, 3]] : memref<1x?x4x32xf32> into memref<?x128xf32>
func.func private @step_kernels_flatten_rows_only(%worker: index, %workers: index, %x: memref<1x?x4x32xf32>, %y: memref<1x?x4x32xf32>) attributes {exec.kernel, exec.deal_rows} {
  linalg.exp ins(%x : memref<1x?x4x32xf32>) outs(%y : memref<1x?x4x32xf32>)
  return
}

// -----

// A row of a vocabulary is long enough for several workers; rows that are read
// in another order are not the worker's own.
// CHECK-LABEL: @step_kernels_share_long_rows
// CHECK-NOT: exec.rows
// CHECK: return
func.func private @step_kernels_share_long_rows(%worker: index, %workers: index, %x: memref<?x50000xf32>, %y: memref<?x50000xf32>) attributes {exec.kernel, exec.deal_rows} {
  linalg.exp ins(%x : memref<?x50000xf32>) outs(%y : memref<?x50000xf32>)
  return
}

// CHECK-LABEL: @step_kernels_gather_rows
// CHECK-SAME: %arg2: memref<?xi32> {exec.rows = 0 : i64}, %arg3: memref<?x64xf32>, %arg4: memref<?x64xf32> {exec.rows = 0 : i64}
func.func private @step_kernels_gather_rows(%worker: index, %workers: index, %rows: memref<?xi32>, %x: memref<?x64xf32>, %y: memref<?x64xf32>) attributes {exec.kernel, exec.deal_rows} {
  linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0)>, affine_map<(d0, d1) -> (d0, d1)>], iterator_types = ["parallel", "parallel"]} ins(%rows : memref<?xi32>) outs(%y : memref<?x64xf32>) {
  ^bb0(%a: i32, %o: f32):
    %i = arith.index_cast %a : i32 to index
    %j = linalg.index 1 : index
    %v = memref.load %x[%i, %j] : memref<?x64xf32>
    linalg.yield %v : f32
  }
  return
}
