// RUN: nju-opt %s --exec-outline-kernels | FileCheck %s

// CHECK-LABEL: func.func @equal_ops_share_a_kernel
// CHECK: exec.launch @kernel_0 ins(%arg0 : memref<?xf32>) outs(%arg1 : memref<?xf32>)
// CHECK: exec.launch @kernel_0 ins(%arg1 : memref<?xf32>) outs(%arg2 : memref<?xf32>)
// CHECK-NEXT: exec.launch @kernel_1 ins(%arg2 : memref<?xf32>) outs(%arg3 : memref<f32>)
// CHECK-NEXT: return
func.func @equal_ops_share_a_kernel(%x: memref<?xf32>, %y: memref<?xf32>, %z: memref<?xf32>, %s: memref<f32>) {
  %zero = arith.constant 0.0 : f32
  linalg.exp ins(%x : memref<?xf32>) outs(%y : memref<?xf32>)
  linalg.exp ins(%y : memref<?xf32>) outs(%z : memref<?xf32>)
  linalg.fill ins(%zero : f32) outs(%s : memref<f32>)
  linalg.generic {indexing_maps = [affine_map<(d0) -> (d0)>, affine_map<(d0) -> ()>], iterator_types = ["reduction"]} ins(%z : memref<?xf32>) outs(%s : memref<f32>) {
  ^bb0(%a: f32, %b: f32):
    %c = arith.addf %a, %b : f32
    linalg.yield %c : f32
  }
  return
}

// CHECK-LABEL: func.func private @kernel_0
// CHECK-SAME: (%{{.*}}: index, %{{.*}}: index, %{{.*}}: memref<?xf32>, %{{.*}}: memref<?xf32>) attributes {exec.kernel}
// CHECK: linalg.exp

// The fill is part of the reduction.
// CHECK-LABEL: func.func private @kernel_1
// CHECK: linalg.fill
// CHECK: linalg.generic
