// RUN: nju-opt %s --split-input-file --nju-lower-to-llvm | FileCheck %s

// Elementary functions are arithmetic, so that loops of them are vectorised.
// CHECK-LABEL: llvm.func @exponentials
// CHECK-NOT: llvm.intr.exp
// CHECK-NOT: llvm.call
// CHECK: llvm.intr.fma
func.func @exponentials(%x: f32) -> f32 {
  %0 = math.exp %x : f32
  %1 = math.tanh %0 : f32
  %2 = math.erf %1 : f32
  return %2 : f32
}

// -----

// LLVM calls a function for each of these on most processors.
// CHECK-LABEL: llvm.func @bfloat16
// CHECK-NOT: llvm.fptrunc
// CHECK-NOT: llvm.fpext
// CHECK: llvm.trunc {{.*}} : vector<16xi32> to vector<16xi16>
func.func @bfloat16(%x: vector<16xf32>, %y: bf16) -> (vector<16xbf16>, f32) {
  %0 = arith.truncf %x : vector<16xf32> to vector<16xbf16>
  %1 = arith.extf %y : bf16 to f32
  return %0, %1 : vector<16xbf16>, f32
}

// -----

// Two dynamic sizes of one.
// CHECK-LABEL: llvm.func @expansion
// CHECK: llvm.mul
func.func @expansion(%x: memref<?x36xf32>, %a: index, %b: index) -> memref<?x?x36xf32> {
  %0 = memref.expand_shape %x [[0, 1], [2]] output_shape [%a, %b, 36]
      : memref<?x36xf32> into memref<?x?x36xf32>
  return %0 : memref<?x?x36xf32>
}

// -----

// What LLVM has no intrinsic for is libm's.
// CHECK-LABEL: llvm.func @libm
// CHECK: llvm.call @erf(
func.func @libm(%x: f64) -> f64 {
  %0 = math.erf %x : f64
  return %0 : f64
}

// -----

// CHECK-LABEL: llvm.func internal @step
// CHECK: llvm.func @nju_step_entry(%{{.*}}: !llvm.ptr) -> i32
// CHECK: omp.parallel num_threads
// CHECK: llvm.call @omp_get_thread_num
// CHECK: llvm.call @step
func.func @step(%worker: index, %workers: index, %tokens: memref<?xi32>,
    %positions: memref<?xi32>, %sequences: memref<?xi32>, %rows: memref<?xi32>,
    %logits: memref<?x8xf32>, %weights: memref<?xi8>, %cache: memref<?xi8>,
    %arena: memref<?xi8>, %max_sequences: index, %cache_tokens: index) {
  return
}

// -----

// The graph's function is not a program's main.
// CHECK-LABEL: llvm.func internal @nju_main
// CHECK-NOT: nju.name
// CHECK: llvm.func @nju_run_entry(%{{.*}}: !llvm.ptr) -> i32
// CHECK: llvm.call @nju_main
func.func @main(%threads: index, %x: memref<?xf32> {nju.name = "x"}, %weights: memref<?xi8>) {
  return
}

// -----

// A slice is a descriptor with an address and a first size of its own.
// CHECK-LABEL: llvm.func @slice
// CHECK: %[[AT:.*]] = llvm.add {{.*}} : i64
// CHECK: llvm.inttoptr %[[AT]] : i64 to !llvm.ptr
// CHECK: llvm.load
func.func @slice(%x: memref<?x64xf32>, %begin: index, %count: index) -> f32 {
  %zero = arith.constant 0 : index
  %rows = exec.slice %x[%begin, %count] : memref<?x64xf32>
  %value = memref.load %rows[%zero, %zero] : memref<?x64xf32>
  return %value : f32
}
