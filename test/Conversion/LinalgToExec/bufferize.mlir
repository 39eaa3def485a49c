// RUN: nju-opt %s --nju-bufferize --split-input-file | FileCheck %s

// CHECK-LABEL: @arguments_are_not_written
// CHECK: %[[NEW:.*]] = memref.alloc
// CHECK: linalg.exp ins(%arg0 : memref<4xf32>) outs(%[[NEW]] : memref<4xf32>)
func.func @arguments_are_not_written(%x: tensor<4xf32>) -> tensor<4xf32> {
  %y = linalg.exp ins(%x : tensor<4xf32>) outs(%x : tensor<4xf32>) -> tensor<4xf32>
  return %y : tensor<4xf32>
}

// -----

// CHECK-LABEL: @weights_are_buffers
// CHECK: %[[W:.*]] = exec.weight @w : memref<4xf32>
// CHECK: linalg.exp ins(%[[W]] : memref<4xf32>) outs(%{{.*}} : memref<4xf32>)
nju.param @w : tensor<4xf32> = dense<1.0> : tensor<4xf32>
func.func @weights_are_buffers() -> tensor<4xf32> {
  %w = nju.param_ref @w : tensor<4xf32>
  %y = linalg.exp ins(%w : tensor<4xf32>) outs(%w : tensor<4xf32>) -> tensor<4xf32>
  return %y : tensor<4xf32>
}

// -----

// CHECK-LABEL: @linear_overwrites_its_output
// CHECK: %[[Y:.*]] = memref.alloc
// CHECK-NOT: memref.copy
// CHECK: exec.linear ins(%arg0, %arg1 : {{.*}}) outs(%[[Y]] : memref<1x?x100xf32>)
func.func @linear_overwrites_its_output(%x: tensor<1x?x64xf32>, %w: tensor<4x64x32xf16>, %n: index) -> tensor<1x?x100xf32> {
  %0 = tensor.empty(%n) : tensor<1x?x100xf32>
  %y = exec.linear ins(%x, %w : tensor<1x?x64xf32>, tensor<4x64x32xf16>) outs(%0 : tensor<1x?x100xf32>) -> tensor<1x?x100xf32>
  return %y : tensor<1x?x100xf32>
}

// -----

// The result has a buffer of its own, although the first product could have
// written its values there: the logits are memory of the caller.
// CHECK-LABEL: @results_hold_nothing_else
// CHECK: %[[HIDDEN:.*]] = memref.alloc
// CHECK: %[[LOGITS:.*]] = memref.alloc
// CHECK: %[[EXP:.*]] = memref.alloc
// CHECK: exec.linear ins(%arg0, %arg1 : {{.*}}) outs(%[[HIDDEN]] :
// CHECK: linalg.exp ins(%[[HIDDEN]] : {{.*}}) outs(%[[EXP]] :
// CHECK: exec.linear ins(%[[EXP]], %arg2 : {{.*}}) outs(%[[LOGITS]] :
// CHECK: return %[[LOGITS]]
func.func @results_hold_nothing_else(%x: tensor<1x?x64xf32>, %w: tensor<2x64x32xf16>, %v: tensor<2x64x32xf16>, %n: index) -> tensor<1x?x64xf32> {
  %0 = tensor.empty(%n) : tensor<1x?x64xf32>
  %1 = tensor.empty(%n) : tensor<1x?x64xf32>
  %h = exec.linear ins(%x, %w : tensor<1x?x64xf32>, tensor<2x64x32xf16>) outs(%0 : tensor<1x?x64xf32>) -> tensor<1x?x64xf32>
  %e = linalg.exp ins(%h : tensor<1x?x64xf32>) outs(%1 : tensor<1x?x64xf32>) -> tensor<1x?x64xf32>
  %y = exec.linear ins(%e, %v : tensor<1x?x64xf32>, tensor<2x64x32xf16>) outs(%0 : tensor<1x?x64xf32>) -> tensor<1x?x64xf32>
  return %y : tensor<1x?x64xf32>
}
