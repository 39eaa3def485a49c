// RUN: nju-opt %s --exec-expand-library-ops=target=x86-64-v4 | FileCheck %s
// RUN: nju-opt %s --exec-expand-library-ops="target=sapphirerapids compute=bf16" | FileCheck %s --check-prefix=TILES

// Choices are sorted once for both products, and each sorts its rows, runs its
// kernel for the experts that have some, and puts them back.
// CHECK-LABEL: @experts
// CHECK: %[[TABLE:.*]] = exec.weight_table [@w0, @w1]
// CHECK: %[[STARTS:.*]] = memref.alloc() : memref<3xi64>
// CHECK: exec.launch @nju_sort_choices
// CHECK: exec.launch @nju_gather_choices
// CHECK: exec.launch @nju_pack_rows_experts_k64
// CHECK: exec.launch @nju_linear_f16_experts_k64_4x64x32xf16 ins({{.*}}, %arg5, {{.*}})
// CHECK: exec.launch @nju_scatter_choices
// CHECK-NOT: nju_sort_choices
// CHECK: exec.weight_table [@w1, @w0]
// CHECK: exec.launch @nju_gather_choices
// CHECK: exec.launch @nju_scatter_choices
// CHECK: return

// A kernel is called for each expert that has rows, with weights of its own.
// CHECK-LABEL: func.func private @nju_linear_f16_experts_k64_4x64x32xf16(
// CHECK-SAME: %[[W:.*]]: index, %[[N:.*]]: index, %[[STARTS:.*]]: memref<?xi64>, %[[ALL:.*]]: memref<?xi8>, %[[TABLE:.*]]: memref<?xi64>
// CHECK: scf.for
// CHECK: scf.if
// CHECK: %[[ROWS:.*]] = exec.slice
// CHECK: memref.view %[[ALL]]
// CHECK: func.call @nju_linear_f16(%[[W]], %[[N]], %[[ROWS]]

// Each expert's rows are filled up to whole tiles.
// TILES-LABEL: @experts
// TILES: arith.constant 31 : index
// TILES: exec.launch @nju_pack_tiles_experts_k64
// TILES: exec.launch @nju_linear_f16_amx_experts_k64_4x64x32xf16
nju.param @w0 : tensor<4x64x32xf16> = #nju.file<"w", 0, tensor<64x100xf16>> {panels = 32 : i64}
nju.param @w1 : tensor<4x64x32xf16> = #nju.file<"w", 16384, tensor<64x100xf16>> {panels = 32 : i64}
func.func @experts(%threads: index, %x: memref<?x64xf32>, %c: memref<?x2xi64>, %y: memref<?x2x100xf32>, %z: memref<?x2x100xf32>, %weights: memref<?xi8>) {
  %w0 = exec.weight @w0 : memref<4x64x32xf16>
  %w1 = exec.weight @w1 : memref<4x64x32xf16>
  exec.linear ins(%x, %w0, %w1 : memref<?x64xf32>, memref<4x64x32xf16>, memref<4x64x32xf16>) choices(%c : memref<?x2xi64>) outs(%y : memref<?x2x100xf32>) {experts = 2 : i64}
  exec.linear ins(%x, %w1, %w0 : memref<?x64xf32>, memref<4x64x32xf16>, memref<4x64x32xf16>) choices(%c : memref<?x2xi64>) outs(%z : memref<?x2x100xf32>) {experts = 2 : i64}
  return
}
