// RUN: nju-opt %s --exec-layout-weights | FileCheck %s

// Offsets follow the first use; what nobody uses is not there.
// CHECK: module attributes {nju.weights_bytes = 80 : i64}
// CHECK-DAG: nju.param @a {{.*}}nju.offset = 64 : i64
// CHECK-DAG: nju.param @b {{.*}}nju.offset = 0 : i64
// CHECK-NOT: nju.param @unused
nju.param @a : tensor<4xf32> = dense<1.0> : tensor<4xf32>
nju.param @b : tensor<3xf16> = dense<1.0> : tensor<3xf16>
nju.param @unused : tensor<4xf32> = dense<1.0> : tensor<4xf32>

// CHECK-LABEL: @main
// CHECK: memref.view %arg1[%c0][] : memref<?xi8> to memref<3xf16>
// CHECK: memref.view %arg1[%c64][] : memref<?xi8> to memref<4xf32>
func.func @main(%threads: index, %weights: memref<?xi8>) -> (memref<3xf16>, memref<4xf32>) {
  %b = exec.weight @b : memref<3xf16>
  %a = exec.weight @a : memref<4xf32>
  return %b, %a : memref<3xf16>, memref<4xf32>
}
