// RUN: nju-opt %s --exec-layout-weights | FileCheck %s

// A table gives its params places, in its order.
// CHECK: memref.global "private" constant @weight_table : memref<3xi64> = dense<[0, 64, 0]>
// CHECK-DAG: nju.param @b {{.*}}nju.offset = 0 : i64
// CHECK-DAG: nju.param @a {{.*}}nju.offset = 64 : i64
// CHECK: memref.get_global @weight_table : memref<3xi64>
nju.param @a : tensor<4xf32> = dense<1.0> : tensor<4xf32>
nju.param @b : tensor<4xf32> = dense<2.0> : tensor<4xf32>
func.func private @kernel(index, index, memref<3xi64>, memref<?xf32>)
func.func @main(%threads: index, %y: memref<?xf32>, %weights: memref<?xi8>) {
  %table = exec.weight_table [@b, @a, @b] : memref<3xi64>
  exec.launch @kernel ins(%table : memref<3xi64>) outs(%y : memref<?xf32>)
  return
}
