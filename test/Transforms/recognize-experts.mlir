// RUN: nju-opt %s --nju-recognize --canonicalize --cse --split-input-file | FileCheck %s

// By gather_nd, each expert added to the sum.
// CHECK-LABEL: @scatter_add
// CHECK: %[[C:.*]] = nju.top_k
// CHECK-NOT: nju.non_zero
// CHECK: %[[G:.*]] = nju.expert_matmul %arg0, %[[C]], {{.*}} -> tensor<?x2x5xf32>
// CHECK: %[[U:.*]] = nju.expert_matmul %arg0, %[[C]], {{.*}} -> tensor<?x2x5xf32>
// CHECK: %[[H:.*]] = nju.swiglu %[[G]], %[[U]]
// CHECK: %[[Y:.*]] = nju.expert_matmul %[[H]], %[[C]], {{.*}} -> tensor<?x2x8xf32>
// CHECK: %[[W:.*]] = nju.unsqueeze %arg2 {axes = array<i64: 2>}
// CHECK: %[[P:.*]] = nju.mul %[[Y]], %[[W]]
// CHECK: %[[S:.*]] = nju.reduce_sum %[[P]] {axes = array<i64: 1>}
// CHECK: return %[[S]]
nju.param @a0 : tensor<8x5xf32> = #nju.file<"w", 0, tensor<8x5xf32>>
nju.param @b0 : tensor<8x5xf32> = #nju.file<"w", 4096, tensor<8x5xf32>>
nju.param @c0 : tensor<5x8xf32> = #nju.file<"w", 8192, tensor<5x8xf32>>
nju.param @a1 : tensor<8x5xf32> = #nju.file<"w", 12288, tensor<8x5xf32>>
nju.param @b1 : tensor<8x5xf32> = #nju.file<"w", 16384, tensor<8x5xf32>>
nju.param @c1 : tensor<5x8xf32> = #nju.file<"w", 20480, tensor<5x8xf32>>
nju.param @a2 : tensor<8x5xf32> = #nju.file<"w", 24576, tensor<8x5xf32>>
nju.param @b2 : tensor<8x5xf32> = #nju.file<"w", 28672, tensor<8x5xf32>>
nju.param @c2 : tensor<5x8xf32> = #nju.file<"w", 32768, tensor<5x8xf32>>
func.func @scatter_add(%x: tensor<?x8xf32> {nju.dims = ["n", ""]}, %scores: tensor<?x3xf32> {nju.dims = ["n", ""]}, %w: tensor<?x2xf32> {nju.dims = ["n", ""]}, %other: tensor<?x8xf32> {nju.dims = ["n", ""]}) -> tensor<?x8xf32> {
  %zero = nju.constant dense<0.0> : tensor<f32>
  %i0 = nju.constant dense<0> : tensor<1xi64>
  %i1 = nju.constant dense<1> : tensor<1xi64>
  %i2 = nju.constant dense<2> : tensor<1xi64>
  %numbers = nju.constant dense<[0, 1, 2]> : tensor<3xi64>
  %list = nju.constant dense<[-1, 1]> : tensor<2xi64>
  %choices = nju.top_k %scores {axis = 1 : i64, count = 2 : i64} : (tensor<?x3xf32>) -> tensor<?x2xi64>
  %shape = nju.shape_of %x : (tensor<?x8xf32>) -> tensor<2xi64>
  %sum = nju.fill %shape, %zero : (tensor<2xi64>, tensor<f32>) -> tensor<?x8xf32>
  %column = nju.unsqueeze %choices {axes = array<i64: 2>} : (tensor<?x2xi64>) -> tensor<?x2x1xi64>
  %hot = nju.compare eq %column, %numbers : (tensor<?x2x1xi64>, tensor<3xi64>) -> tensor<?x2x3xi1>
  %hots = nju.transpose %hot {permutation = array<i64: 2, 0, 1>} : (tensor<?x2x3xi1>) -> tensor<3x?x2xi1>
  %w3 = nju.unsqueeze %w {axes = array<i64: 2>} : (tensor<?x2xf32>) -> tensor<?x2x1xf32>
  %wl = nju.reshape %w, %list : (tensor<?x2xf32>, tensor<2xi64>) -> tensor<?x1xf32>
  %e0 = nju.constant dense<0> : tensor<i64>
  %hot0 = nju.gather %hots, %e0 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs0 = nju.non_zero %hot0 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows0 = nju.transpose %pairs0 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token0 = nju.slice %rows0, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank0 = nju.slice %rows0, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %x0 = nju.gather_nd %x, %token0 {batch_dims = 0 : i64} : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %a0 = nju.param_ref @a0 : tensor<8x5xf32>
  %b0 = nju.param_ref @b0 : tensor<8x5xf32>
  %c0 = nju.param_ref @c0 : tensor<5x8xf32>
  %g0 = nju.matmul %x0, %a0 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s0 = nju.silu %g0 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u0 = nju.matmul %x0, %b0 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h0 = nju.mul %s0, %u0 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y0 = nju.matmul %h0, %c0 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %pair0 = nju.concat %token0, %rank0 {axis = 1 : i64} : (tensor<?x1xi64>, tensor<?x1xi64>) -> tensor<?x2xi64>
  %w0 = nju.gather_nd %w3, %pair0 {batch_dims = 0 : i64} : (tensor<?x2x1xf32>, tensor<?x2xi64>) -> tensor<?x1xf32>
  %z0 = nju.mul %y0, %w0 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %sum0 = nju.scatter_nd %sum, %token0, %z0 {reduction = #nju<scatter_reduction add>} : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %e1 = nju.constant dense<1> : tensor<i64>
  %hot1 = nju.gather %hots, %e1 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs1 = nju.non_zero %hot1 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows1 = nju.transpose %pairs1 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token1 = nju.slice %rows1, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank1 = nju.slice %rows1, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %x1 = nju.gather_nd %x, %token1 {batch_dims = 0 : i64} : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %a1 = nju.param_ref @a1 : tensor<8x5xf32>
  %b1 = nju.param_ref @b1 : tensor<8x5xf32>
  %c1 = nju.param_ref @c1 : tensor<5x8xf32>
  %g1 = nju.matmul %x1, %a1 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s1 = nju.silu %g1 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u1 = nju.matmul %x1, %b1 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h1 = nju.mul %s1, %u1 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y1 = nju.matmul %h1, %c1 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %pair1 = nju.concat %token1, %rank1 {axis = 1 : i64} : (tensor<?x1xi64>, tensor<?x1xi64>) -> tensor<?x2xi64>
  %w1 = nju.gather_nd %w3, %pair1 {batch_dims = 0 : i64} : (tensor<?x2x1xf32>, tensor<?x2xi64>) -> tensor<?x1xf32>
  %z1 = nju.mul %y1, %w1 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %sum1 = nju.scatter_nd %sum0, %token1, %z1 {reduction = #nju<scatter_reduction add>} : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %e2 = nju.constant dense<2> : tensor<i64>
  %hot2 = nju.gather %hots, %e2 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs2 = nju.non_zero %hot2 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows2 = nju.transpose %pairs2 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token2 = nju.slice %rows2, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank2 = nju.slice %rows2, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %x2 = nju.gather_nd %x, %token2 {batch_dims = 0 : i64} : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %a2 = nju.param_ref @a2 : tensor<8x5xf32>
  %b2 = nju.param_ref @b2 : tensor<8x5xf32>
  %c2 = nju.param_ref @c2 : tensor<5x8xf32>
  %g2 = nju.matmul %x2, %a2 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s2 = nju.silu %g2 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u2 = nju.matmul %x2, %b2 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h2 = nju.mul %s2, %u2 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y2 = nju.matmul %h2, %c2 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %pair2 = nju.concat %token2, %rank2 {axis = 1 : i64} : (tensor<?x1xi64>, tensor<?x1xi64>) -> tensor<?x2xi64>
  %w2 = nju.gather_nd %w3, %pair2 {batch_dims = 0 : i64} : (tensor<?x2x1xf32>, tensor<?x2xi64>) -> tensor<?x1xf32>
  %z2 = nju.mul %y2, %w2 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %sum2 = nju.scatter_nd %sum1, %token2, %z2 {reduction = #nju<scatter_reduction add>} : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %sum2 : tensor<?x8xf32>
}

// -----

// By lists of indices, each expert put into zeros that are added.
// CHECK-LABEL: @scatter_then_add
// CHECK: %[[C:.*]] = nju.top_k
// CHECK-NOT: nju.non_zero
// CHECK: %[[G:.*]] = nju.expert_matmul %arg0, %[[C]], {{.*}} -> tensor<?x2x5xf32>
// CHECK: %[[U:.*]] = nju.expert_matmul %arg0, %[[C]], {{.*}} -> tensor<?x2x5xf32>
// CHECK: %[[H:.*]] = nju.swiglu %[[G]], %[[U]]
// CHECK: %[[Y:.*]] = nju.expert_matmul %[[H]], %[[C]], {{.*}} -> tensor<?x2x8xf32>
// CHECK: %[[W:.*]] = nju.unsqueeze %arg2 {axes = array<i64: 2>}
// CHECK: %[[P:.*]] = nju.mul %[[Y]], %[[W]]
// CHECK: %[[S:.*]] = nju.reduce_sum %[[P]] {axes = array<i64: 1>}
// CHECK: return %[[S]]
nju.param @a0 : tensor<8x5xf32> = #nju.file<"w", 0, tensor<8x5xf32>>
nju.param @b0 : tensor<8x5xf32> = #nju.file<"w", 4096, tensor<8x5xf32>>
nju.param @c0 : tensor<5x8xf32> = #nju.file<"w", 8192, tensor<5x8xf32>>
nju.param @a1 : tensor<8x5xf32> = #nju.file<"w", 12288, tensor<8x5xf32>>
nju.param @b1 : tensor<8x5xf32> = #nju.file<"w", 16384, tensor<8x5xf32>>
nju.param @c1 : tensor<5x8xf32> = #nju.file<"w", 20480, tensor<5x8xf32>>
nju.param @a2 : tensor<8x5xf32> = #nju.file<"w", 24576, tensor<8x5xf32>>
nju.param @b2 : tensor<8x5xf32> = #nju.file<"w", 28672, tensor<8x5xf32>>
nju.param @c2 : tensor<5x8xf32> = #nju.file<"w", 32768, tensor<5x8xf32>>
func.func @scatter_then_add(%x: tensor<?x8xf32> {nju.dims = ["n", ""]}, %scores: tensor<?x3xf32> {nju.dims = ["n", ""]}, %w: tensor<?x2xf32> {nju.dims = ["n", ""]}, %other: tensor<?x8xf32> {nju.dims = ["n", ""]}) -> tensor<?x8xf32> {
  %zero = nju.constant dense<0.0> : tensor<f32>
  %i0 = nju.constant dense<0> : tensor<1xi64>
  %i1 = nju.constant dense<1> : tensor<1xi64>
  %i2 = nju.constant dense<2> : tensor<1xi64>
  %numbers = nju.constant dense<[0, 1, 2]> : tensor<3xi64>
  %list = nju.constant dense<[-1, 1]> : tensor<2xi64>
  %choices = nju.top_k %scores {axis = 1 : i64, count = 2 : i64} : (tensor<?x3xf32>) -> tensor<?x2xi64>
  %shape = nju.shape_of %x : (tensor<?x8xf32>) -> tensor<2xi64>
  %sum = nju.fill %shape, %zero : (tensor<2xi64>, tensor<f32>) -> tensor<?x8xf32>
  %column = nju.unsqueeze %choices {axes = array<i64: 2>} : (tensor<?x2xi64>) -> tensor<?x2x1xi64>
  %hot = nju.compare eq %column, %numbers : (tensor<?x2x1xi64>, tensor<3xi64>) -> tensor<?x2x3xi1>
  %hots = nju.transpose %hot {permutation = array<i64: 2, 0, 1>} : (tensor<?x2x3xi1>) -> tensor<3x?x2xi1>
  %w3 = nju.unsqueeze %w {axes = array<i64: 2>} : (tensor<?x2xf32>) -> tensor<?x2x1xf32>
  %wl = nju.reshape %w, %list : (tensor<?x2xf32>, tensor<2xi64>) -> tensor<?x1xf32>
  %e0 = nju.constant dense<0> : tensor<i64>
  %hot0 = nju.gather %hots, %e0 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs0 = nju.non_zero %hot0 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows0 = nju.transpose %pairs0 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token0 = nju.slice %rows0, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank0 = nju.slice %rows0, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %t0 = nju.squeeze %token0 {axes = array<i64: 1>} : (tensor<?x1xi64>) -> tensor<?xi64>
  %r0 = nju.squeeze %rank0 {axes = array<i64: 1>} : (tensor<?x1xi64>) -> tensor<?xi64>
  %x0 = nju.gather %x, %t0 {axis = 0 : i64} : (tensor<?x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
  %a0 = nju.param_ref @a0 : tensor<8x5xf32>
  %b0 = nju.param_ref @b0 : tensor<8x5xf32>
  %c0 = nju.param_ref @c0 : tensor<5x8xf32>
  %g0 = nju.matmul %x0, %a0 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s0 = nju.silu %g0 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u0 = nju.matmul %x0, %b0 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h0 = nju.mul %s0, %u0 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y0 = nju.matmul %h0, %c0 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %at0 = nju.mul %t0, %i2 : (tensor<?xi64>, tensor<1xi64>) -> tensor<?xi64>
  %place0 = nju.add %at0, %r0 : (tensor<?xi64>, tensor<?xi64>) -> tensor<?xi64>
  %w0 = nju.gather %wl, %place0 {axis = 0 : i64} : (tensor<?x1xf32>, tensor<?xi64>) -> tensor<?x1xf32>
  %z0 = nju.mul %y0, %w0 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %one0 = nju.scatter_nd %sum, %token0, %z0 : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %sum0 = nju.add %sum, %one0 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %e1 = nju.constant dense<1> : tensor<i64>
  %hot1 = nju.gather %hots, %e1 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs1 = nju.non_zero %hot1 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows1 = nju.transpose %pairs1 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token1 = nju.slice %rows1, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank1 = nju.slice %rows1, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %t1 = nju.squeeze %token1 {axes = array<i64: 1>} : (tensor<?x1xi64>) -> tensor<?xi64>
  %r1 = nju.squeeze %rank1 {axes = array<i64: 1>} : (tensor<?x1xi64>) -> tensor<?xi64>
  %x1 = nju.gather %x, %t1 {axis = 0 : i64} : (tensor<?x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
  %a1 = nju.param_ref @a1 : tensor<8x5xf32>
  %b1 = nju.param_ref @b1 : tensor<8x5xf32>
  %c1 = nju.param_ref @c1 : tensor<5x8xf32>
  %g1 = nju.matmul %x1, %a1 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s1 = nju.silu %g1 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u1 = nju.matmul %x1, %b1 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h1 = nju.mul %s1, %u1 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y1 = nju.matmul %h1, %c1 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %at1 = nju.mul %t1, %i2 : (tensor<?xi64>, tensor<1xi64>) -> tensor<?xi64>
  %place1 = nju.add %at1, %r1 : (tensor<?xi64>, tensor<?xi64>) -> tensor<?xi64>
  %w1 = nju.gather %wl, %place1 {axis = 0 : i64} : (tensor<?x1xf32>, tensor<?xi64>) -> tensor<?x1xf32>
  %z1 = nju.mul %y1, %w1 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %one1 = nju.scatter_nd %sum, %token1, %z1 : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %sum1 = nju.add %sum0, %one1 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %e2 = nju.constant dense<2> : tensor<i64>
  %hot2 = nju.gather %hots, %e2 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs2 = nju.non_zero %hot2 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows2 = nju.transpose %pairs2 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token2 = nju.slice %rows2, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank2 = nju.slice %rows2, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %t2 = nju.squeeze %token2 {axes = array<i64: 1>} : (tensor<?x1xi64>) -> tensor<?xi64>
  %r2 = nju.squeeze %rank2 {axes = array<i64: 1>} : (tensor<?x1xi64>) -> tensor<?xi64>
  %x2 = nju.gather %x, %t2 {axis = 0 : i64} : (tensor<?x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
  %a2 = nju.param_ref @a2 : tensor<8x5xf32>
  %b2 = nju.param_ref @b2 : tensor<8x5xf32>
  %c2 = nju.param_ref @c2 : tensor<5x8xf32>
  %g2 = nju.matmul %x2, %a2 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s2 = nju.silu %g2 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u2 = nju.matmul %x2, %b2 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h2 = nju.mul %s2, %u2 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y2 = nju.matmul %h2, %c2 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %at2 = nju.mul %t2, %i2 : (tensor<?xi64>, tensor<1xi64>) -> tensor<?xi64>
  %place2 = nju.add %at2, %r2 : (tensor<?xi64>, tensor<?xi64>) -> tensor<?xi64>
  %w2 = nju.gather %wl, %place2 {axis = 0 : i64} : (tensor<?x1xf32>, tensor<?xi64>) -> tensor<?x1xf32>
  %z2 = nju.mul %y2, %w2 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %one2 = nju.scatter_nd %sum, %token2, %z2 : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %sum2 = nju.add %sum1, %one2 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %sum2 : tensor<?x8xf32>
}

// -----

// The order of the experts does not matter.
// CHECK-LABEL: @in_another_order
// CHECK: %[[C:.*]] = nju.top_k
// CHECK-NOT: nju.non_zero
// CHECK: %[[G:.*]] = nju.expert_matmul %arg0, %[[C]], {{.*}} -> tensor<?x2x5xf32>
// CHECK: %[[U:.*]] = nju.expert_matmul %arg0, %[[C]], {{.*}} -> tensor<?x2x5xf32>
// CHECK: %[[H:.*]] = nju.swiglu %[[G]], %[[U]]
// CHECK: %[[Y:.*]] = nju.expert_matmul %[[H]], %[[C]], {{.*}} -> tensor<?x2x8xf32>
// CHECK: %[[W:.*]] = nju.unsqueeze %arg2 {axes = array<i64: 2>}
// CHECK: %[[P:.*]] = nju.mul %[[Y]], %[[W]]
// CHECK: %[[S:.*]] = nju.reduce_sum %[[P]] {axes = array<i64: 1>}
// CHECK: return %[[S]]
nju.param @a0 : tensor<8x5xf32> = #nju.file<"w", 0, tensor<8x5xf32>>
nju.param @b0 : tensor<8x5xf32> = #nju.file<"w", 4096, tensor<8x5xf32>>
nju.param @c0 : tensor<5x8xf32> = #nju.file<"w", 8192, tensor<5x8xf32>>
nju.param @a1 : tensor<8x5xf32> = #nju.file<"w", 12288, tensor<8x5xf32>>
nju.param @b1 : tensor<8x5xf32> = #nju.file<"w", 16384, tensor<8x5xf32>>
nju.param @c1 : tensor<5x8xf32> = #nju.file<"w", 20480, tensor<5x8xf32>>
nju.param @a2 : tensor<8x5xf32> = #nju.file<"w", 24576, tensor<8x5xf32>>
nju.param @b2 : tensor<8x5xf32> = #nju.file<"w", 28672, tensor<8x5xf32>>
nju.param @c2 : tensor<5x8xf32> = #nju.file<"w", 32768, tensor<5x8xf32>>
func.func @in_another_order(%x: tensor<?x8xf32> {nju.dims = ["n", ""]}, %scores: tensor<?x3xf32> {nju.dims = ["n", ""]}, %w: tensor<?x2xf32> {nju.dims = ["n", ""]}, %other: tensor<?x8xf32> {nju.dims = ["n", ""]}) -> tensor<?x8xf32> {
  %zero = nju.constant dense<0.0> : tensor<f32>
  %i0 = nju.constant dense<0> : tensor<1xi64>
  %i1 = nju.constant dense<1> : tensor<1xi64>
  %i2 = nju.constant dense<2> : tensor<1xi64>
  %numbers = nju.constant dense<[0, 1, 2]> : tensor<3xi64>
  %list = nju.constant dense<[-1, 1]> : tensor<2xi64>
  %choices = nju.top_k %scores {axis = 1 : i64, count = 2 : i64} : (tensor<?x3xf32>) -> tensor<?x2xi64>
  %shape = nju.shape_of %x : (tensor<?x8xf32>) -> tensor<2xi64>
  %sum = nju.fill %shape, %zero : (tensor<2xi64>, tensor<f32>) -> tensor<?x8xf32>
  %column = nju.unsqueeze %choices {axes = array<i64: 2>} : (tensor<?x2xi64>) -> tensor<?x2x1xi64>
  %hot = nju.compare eq %column, %numbers : (tensor<?x2x1xi64>, tensor<3xi64>) -> tensor<?x2x3xi1>
  %hots = nju.transpose %hot {permutation = array<i64: 2, 0, 1>} : (tensor<?x2x3xi1>) -> tensor<3x?x2xi1>
  %w3 = nju.unsqueeze %w {axes = array<i64: 2>} : (tensor<?x2xf32>) -> tensor<?x2x1xf32>
  %wl = nju.reshape %w, %list : (tensor<?x2xf32>, tensor<2xi64>) -> tensor<?x1xf32>
  %e0 = nju.constant dense<2> : tensor<i64>
  %hot0 = nju.gather %hots, %e0 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs0 = nju.non_zero %hot0 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows0 = nju.transpose %pairs0 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token0 = nju.slice %rows0, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank0 = nju.slice %rows0, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %x0 = nju.gather_nd %x, %token0 {batch_dims = 0 : i64} : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %a0 = nju.param_ref @a2 : tensor<8x5xf32>
  %b0 = nju.param_ref @b2 : tensor<8x5xf32>
  %c0 = nju.param_ref @c2 : tensor<5x8xf32>
  %g0 = nju.matmul %x0, %a0 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s0 = nju.silu %g0 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u0 = nju.matmul %x0, %b0 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h0 = nju.mul %s0, %u0 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y0 = nju.matmul %h0, %c0 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %pair0 = nju.concat %token0, %rank0 {axis = 1 : i64} : (tensor<?x1xi64>, tensor<?x1xi64>) -> tensor<?x2xi64>
  %w0 = nju.gather_nd %w3, %pair0 {batch_dims = 0 : i64} : (tensor<?x2x1xf32>, tensor<?x2xi64>) -> tensor<?x1xf32>
  %z0 = nju.mul %y0, %w0 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %sum0 = nju.scatter_nd %sum, %token0, %z0 {reduction = #nju<scatter_reduction add>} : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %e1 = nju.constant dense<0> : tensor<i64>
  %hot1 = nju.gather %hots, %e1 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs1 = nju.non_zero %hot1 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows1 = nju.transpose %pairs1 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token1 = nju.slice %rows1, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank1 = nju.slice %rows1, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %x1 = nju.gather_nd %x, %token1 {batch_dims = 0 : i64} : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %a1 = nju.param_ref @a0 : tensor<8x5xf32>
  %b1 = nju.param_ref @b0 : tensor<8x5xf32>
  %c1 = nju.param_ref @c0 : tensor<5x8xf32>
  %g1 = nju.matmul %x1, %a1 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s1 = nju.silu %g1 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u1 = nju.matmul %x1, %b1 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h1 = nju.mul %s1, %u1 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y1 = nju.matmul %h1, %c1 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %pair1 = nju.concat %token1, %rank1 {axis = 1 : i64} : (tensor<?x1xi64>, tensor<?x1xi64>) -> tensor<?x2xi64>
  %w1 = nju.gather_nd %w3, %pair1 {batch_dims = 0 : i64} : (tensor<?x2x1xf32>, tensor<?x2xi64>) -> tensor<?x1xf32>
  %z1 = nju.mul %y1, %w1 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %sum1 = nju.scatter_nd %sum0, %token1, %z1 {reduction = #nju<scatter_reduction add>} : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %e2 = nju.constant dense<1> : tensor<i64>
  %hot2 = nju.gather %hots, %e2 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs2 = nju.non_zero %hot2 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows2 = nju.transpose %pairs2 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token2 = nju.slice %rows2, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank2 = nju.slice %rows2, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %x2 = nju.gather_nd %x, %token2 {batch_dims = 0 : i64} : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %a2 = nju.param_ref @a1 : tensor<8x5xf32>
  %b2 = nju.param_ref @b1 : tensor<8x5xf32>
  %c2 = nju.param_ref @c1 : tensor<5x8xf32>
  %g2 = nju.matmul %x2, %a2 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s2 = nju.silu %g2 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u2 = nju.matmul %x2, %b2 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h2 = nju.mul %s2, %u2 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y2 = nju.matmul %h2, %c2 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %pair2 = nju.concat %token2, %rank2 {axis = 1 : i64} : (tensor<?x1xi64>, tensor<?x1xi64>) -> tensor<?x2xi64>
  %w2 = nju.gather_nd %w3, %pair2 {batch_dims = 0 : i64} : (tensor<?x2x1xf32>, tensor<?x2xi64>) -> tensor<?x1xf32>
  %z2 = nju.mul %y2, %w2 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %sum2 = nju.scatter_nd %sum1, %token2, %z2 {reduction = #nju<scatter_reduction add>} : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %sum2 : tensor<?x8xf32>
}

// -----

// Of three experts, two.
// CHECK-LABEL: @one_missing
// CHECK-NOT: nju.expert_matmul
// CHECK: return
nju.param @a0 : tensor<8x5xf32> = #nju.file<"w", 0, tensor<8x5xf32>>
nju.param @b0 : tensor<8x5xf32> = #nju.file<"w", 4096, tensor<8x5xf32>>
nju.param @c0 : tensor<5x8xf32> = #nju.file<"w", 8192, tensor<5x8xf32>>
nju.param @a1 : tensor<8x5xf32> = #nju.file<"w", 12288, tensor<8x5xf32>>
nju.param @b1 : tensor<8x5xf32> = #nju.file<"w", 16384, tensor<8x5xf32>>
nju.param @c1 : tensor<5x8xf32> = #nju.file<"w", 20480, tensor<5x8xf32>>
nju.param @a2 : tensor<8x5xf32> = #nju.file<"w", 24576, tensor<8x5xf32>>
nju.param @b2 : tensor<8x5xf32> = #nju.file<"w", 28672, tensor<8x5xf32>>
nju.param @c2 : tensor<5x8xf32> = #nju.file<"w", 32768, tensor<5x8xf32>>
func.func @one_missing(%x: tensor<?x8xf32> {nju.dims = ["n", ""]}, %scores: tensor<?x3xf32> {nju.dims = ["n", ""]}, %w: tensor<?x2xf32> {nju.dims = ["n", ""]}, %other: tensor<?x8xf32> {nju.dims = ["n", ""]}) -> tensor<?x8xf32> {
  %zero = nju.constant dense<0.0> : tensor<f32>
  %i0 = nju.constant dense<0> : tensor<1xi64>
  %i1 = nju.constant dense<1> : tensor<1xi64>
  %i2 = nju.constant dense<2> : tensor<1xi64>
  %numbers = nju.constant dense<[0, 1, 2]> : tensor<3xi64>
  %list = nju.constant dense<[-1, 1]> : tensor<2xi64>
  %choices = nju.top_k %scores {axis = 1 : i64, count = 2 : i64} : (tensor<?x3xf32>) -> tensor<?x2xi64>
  %shape = nju.shape_of %x : (tensor<?x8xf32>) -> tensor<2xi64>
  %sum = nju.fill %shape, %zero : (tensor<2xi64>, tensor<f32>) -> tensor<?x8xf32>
  %column = nju.unsqueeze %choices {axes = array<i64: 2>} : (tensor<?x2xi64>) -> tensor<?x2x1xi64>
  %hot = nju.compare eq %column, %numbers : (tensor<?x2x1xi64>, tensor<3xi64>) -> tensor<?x2x3xi1>
  %hots = nju.transpose %hot {permutation = array<i64: 2, 0, 1>} : (tensor<?x2x3xi1>) -> tensor<3x?x2xi1>
  %w3 = nju.unsqueeze %w {axes = array<i64: 2>} : (tensor<?x2xf32>) -> tensor<?x2x1xf32>
  %wl = nju.reshape %w, %list : (tensor<?x2xf32>, tensor<2xi64>) -> tensor<?x1xf32>
  %e0 = nju.constant dense<0> : tensor<i64>
  %hot0 = nju.gather %hots, %e0 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs0 = nju.non_zero %hot0 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows0 = nju.transpose %pairs0 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token0 = nju.slice %rows0, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank0 = nju.slice %rows0, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %x0 = nju.gather_nd %x, %token0 {batch_dims = 0 : i64} : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %a0 = nju.param_ref @a0 : tensor<8x5xf32>
  %b0 = nju.param_ref @b0 : tensor<8x5xf32>
  %c0 = nju.param_ref @c0 : tensor<5x8xf32>
  %g0 = nju.matmul %x0, %a0 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s0 = nju.silu %g0 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u0 = nju.matmul %x0, %b0 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h0 = nju.mul %s0, %u0 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y0 = nju.matmul %h0, %c0 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %pair0 = nju.concat %token0, %rank0 {axis = 1 : i64} : (tensor<?x1xi64>, tensor<?x1xi64>) -> tensor<?x2xi64>
  %w0 = nju.gather_nd %w3, %pair0 {batch_dims = 0 : i64} : (tensor<?x2x1xf32>, tensor<?x2xi64>) -> tensor<?x1xf32>
  %z0 = nju.mul %y0, %w0 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %sum0 = nju.scatter_nd %sum, %token0, %z0 {reduction = #nju<scatter_reduction add>} : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %e1 = nju.constant dense<1> : tensor<i64>
  %hot1 = nju.gather %hots, %e1 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs1 = nju.non_zero %hot1 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows1 = nju.transpose %pairs1 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token1 = nju.slice %rows1, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank1 = nju.slice %rows1, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %x1 = nju.gather_nd %x, %token1 {batch_dims = 0 : i64} : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %a1 = nju.param_ref @a1 : tensor<8x5xf32>
  %b1 = nju.param_ref @b1 : tensor<8x5xf32>
  %c1 = nju.param_ref @c1 : tensor<5x8xf32>
  %g1 = nju.matmul %x1, %a1 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s1 = nju.silu %g1 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u1 = nju.matmul %x1, %b1 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h1 = nju.mul %s1, %u1 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y1 = nju.matmul %h1, %c1 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %pair1 = nju.concat %token1, %rank1 {axis = 1 : i64} : (tensor<?x1xi64>, tensor<?x1xi64>) -> tensor<?x2xi64>
  %w1 = nju.gather_nd %w3, %pair1 {batch_dims = 0 : i64} : (tensor<?x2x1xf32>, tensor<?x2xi64>) -> tensor<?x1xf32>
  %z1 = nju.mul %y1, %w1 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %sum1 = nju.scatter_nd %sum0, %token1, %z1 {reduction = #nju<scatter_reduction add>} : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %sum1 : tensor<?x8xf32>
}

// -----

// One expert takes the place of another.
// CHECK-LABEL: @one_twice
// CHECK-NOT: nju.expert_matmul
// CHECK: return
nju.param @a0 : tensor<8x5xf32> = #nju.file<"w", 0, tensor<8x5xf32>>
nju.param @b0 : tensor<8x5xf32> = #nju.file<"w", 4096, tensor<8x5xf32>>
nju.param @c0 : tensor<5x8xf32> = #nju.file<"w", 8192, tensor<5x8xf32>>
nju.param @a1 : tensor<8x5xf32> = #nju.file<"w", 12288, tensor<8x5xf32>>
nju.param @b1 : tensor<8x5xf32> = #nju.file<"w", 16384, tensor<8x5xf32>>
nju.param @c1 : tensor<5x8xf32> = #nju.file<"w", 20480, tensor<5x8xf32>>
nju.param @a2 : tensor<8x5xf32> = #nju.file<"w", 24576, tensor<8x5xf32>>
nju.param @b2 : tensor<8x5xf32> = #nju.file<"w", 28672, tensor<8x5xf32>>
nju.param @c2 : tensor<5x8xf32> = #nju.file<"w", 32768, tensor<5x8xf32>>
func.func @one_twice(%x: tensor<?x8xf32> {nju.dims = ["n", ""]}, %scores: tensor<?x3xf32> {nju.dims = ["n", ""]}, %w: tensor<?x2xf32> {nju.dims = ["n", ""]}, %other: tensor<?x8xf32> {nju.dims = ["n", ""]}) -> tensor<?x8xf32> {
  %zero = nju.constant dense<0.0> : tensor<f32>
  %i0 = nju.constant dense<0> : tensor<1xi64>
  %i1 = nju.constant dense<1> : tensor<1xi64>
  %i2 = nju.constant dense<2> : tensor<1xi64>
  %numbers = nju.constant dense<[0, 1, 2]> : tensor<3xi64>
  %list = nju.constant dense<[-1, 1]> : tensor<2xi64>
  %choices = nju.top_k %scores {axis = 1 : i64, count = 2 : i64} : (tensor<?x3xf32>) -> tensor<?x2xi64>
  %shape = nju.shape_of %x : (tensor<?x8xf32>) -> tensor<2xi64>
  %sum = nju.fill %shape, %zero : (tensor<2xi64>, tensor<f32>) -> tensor<?x8xf32>
  %column = nju.unsqueeze %choices {axes = array<i64: 2>} : (tensor<?x2xi64>) -> tensor<?x2x1xi64>
  %hot = nju.compare eq %column, %numbers : (tensor<?x2x1xi64>, tensor<3xi64>) -> tensor<?x2x3xi1>
  %hots = nju.transpose %hot {permutation = array<i64: 2, 0, 1>} : (tensor<?x2x3xi1>) -> tensor<3x?x2xi1>
  %w3 = nju.unsqueeze %w {axes = array<i64: 2>} : (tensor<?x2xf32>) -> tensor<?x2x1xf32>
  %wl = nju.reshape %w, %list : (tensor<?x2xf32>, tensor<2xi64>) -> tensor<?x1xf32>
  %e0 = nju.constant dense<0> : tensor<i64>
  %hot0 = nju.gather %hots, %e0 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs0 = nju.non_zero %hot0 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows0 = nju.transpose %pairs0 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token0 = nju.slice %rows0, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank0 = nju.slice %rows0, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %x0 = nju.gather_nd %x, %token0 {batch_dims = 0 : i64} : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %a0 = nju.param_ref @a0 : tensor<8x5xf32>
  %b0 = nju.param_ref @b0 : tensor<8x5xf32>
  %c0 = nju.param_ref @c0 : tensor<5x8xf32>
  %g0 = nju.matmul %x0, %a0 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s0 = nju.silu %g0 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u0 = nju.matmul %x0, %b0 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h0 = nju.mul %s0, %u0 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y0 = nju.matmul %h0, %c0 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %pair0 = nju.concat %token0, %rank0 {axis = 1 : i64} : (tensor<?x1xi64>, tensor<?x1xi64>) -> tensor<?x2xi64>
  %w0 = nju.gather_nd %w3, %pair0 {batch_dims = 0 : i64} : (tensor<?x2x1xf32>, tensor<?x2xi64>) -> tensor<?x1xf32>
  %z0 = nju.mul %y0, %w0 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %sum0 = nju.scatter_nd %sum, %token0, %z0 {reduction = #nju<scatter_reduction add>} : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %e1 = nju.constant dense<1> : tensor<i64>
  %hot1 = nju.gather %hots, %e1 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs1 = nju.non_zero %hot1 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows1 = nju.transpose %pairs1 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token1 = nju.slice %rows1, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank1 = nju.slice %rows1, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %x1 = nju.gather_nd %x, %token1 {batch_dims = 0 : i64} : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %a1 = nju.param_ref @a1 : tensor<8x5xf32>
  %b1 = nju.param_ref @b1 : tensor<8x5xf32>
  %c1 = nju.param_ref @c1 : tensor<5x8xf32>
  %g1 = nju.matmul %x1, %a1 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s1 = nju.silu %g1 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u1 = nju.matmul %x1, %b1 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h1 = nju.mul %s1, %u1 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y1 = nju.matmul %h1, %c1 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %pair1 = nju.concat %token1, %rank1 {axis = 1 : i64} : (tensor<?x1xi64>, tensor<?x1xi64>) -> tensor<?x2xi64>
  %w1 = nju.gather_nd %w3, %pair1 {batch_dims = 0 : i64} : (tensor<?x2x1xf32>, tensor<?x2xi64>) -> tensor<?x1xf32>
  %z1 = nju.mul %y1, %w1 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %sum1 = nju.scatter_nd %sum0, %token1, %z1 {reduction = #nju<scatter_reduction add>} : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %e2 = nju.constant dense<1> : tensor<i64>
  %hot2 = nju.gather %hots, %e2 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs2 = nju.non_zero %hot2 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows2 = nju.transpose %pairs2 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token2 = nju.slice %rows2, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank2 = nju.slice %rows2, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %x2 = nju.gather_nd %x, %token2 {batch_dims = 0 : i64} : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %a2 = nju.param_ref @a1 : tensor<8x5xf32>
  %b2 = nju.param_ref @b1 : tensor<8x5xf32>
  %c2 = nju.param_ref @c1 : tensor<5x8xf32>
  %g2 = nju.matmul %x2, %a2 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s2 = nju.silu %g2 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u2 = nju.matmul %x2, %b2 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h2 = nju.mul %s2, %u2 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y2 = nju.matmul %h2, %c2 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %pair2 = nju.concat %token2, %rank2 {axis = 1 : i64} : (tensor<?x1xi64>, tensor<?x1xi64>) -> tensor<?x2xi64>
  %w2 = nju.gather_nd %w3, %pair2 {batch_dims = 0 : i64} : (tensor<?x2x1xf32>, tensor<?x2xi64>) -> tensor<?x1xf32>
  %z2 = nju.mul %y2, %w2 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %sum2 = nju.scatter_nd %sum1, %token2, %z2 {reduction = #nju<scatter_reduction add>} : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %sum2 : tensor<?x8xf32>
}

// -----

// The rows of one are of another value.
// CHECK-LABEL: @other_rows
// CHECK-NOT: nju.expert_matmul
// CHECK: return
nju.param @a0 : tensor<8x5xf32> = #nju.file<"w", 0, tensor<8x5xf32>>
nju.param @b0 : tensor<8x5xf32> = #nju.file<"w", 4096, tensor<8x5xf32>>
nju.param @c0 : tensor<5x8xf32> = #nju.file<"w", 8192, tensor<5x8xf32>>
nju.param @a1 : tensor<8x5xf32> = #nju.file<"w", 12288, tensor<8x5xf32>>
nju.param @b1 : tensor<8x5xf32> = #nju.file<"w", 16384, tensor<8x5xf32>>
nju.param @c1 : tensor<5x8xf32> = #nju.file<"w", 20480, tensor<5x8xf32>>
nju.param @a2 : tensor<8x5xf32> = #nju.file<"w", 24576, tensor<8x5xf32>>
nju.param @b2 : tensor<8x5xf32> = #nju.file<"w", 28672, tensor<8x5xf32>>
nju.param @c2 : tensor<5x8xf32> = #nju.file<"w", 32768, tensor<5x8xf32>>
func.func @other_rows(%x: tensor<?x8xf32> {nju.dims = ["n", ""]}, %scores: tensor<?x3xf32> {nju.dims = ["n", ""]}, %w: tensor<?x2xf32> {nju.dims = ["n", ""]}, %other: tensor<?x8xf32> {nju.dims = ["n", ""]}) -> tensor<?x8xf32> {
  %zero = nju.constant dense<0.0> : tensor<f32>
  %i0 = nju.constant dense<0> : tensor<1xi64>
  %i1 = nju.constant dense<1> : tensor<1xi64>
  %i2 = nju.constant dense<2> : tensor<1xi64>
  %numbers = nju.constant dense<[0, 1, 2]> : tensor<3xi64>
  %list = nju.constant dense<[-1, 1]> : tensor<2xi64>
  %choices = nju.top_k %scores {axis = 1 : i64, count = 2 : i64} : (tensor<?x3xf32>) -> tensor<?x2xi64>
  %shape = nju.shape_of %x : (tensor<?x8xf32>) -> tensor<2xi64>
  %sum = nju.fill %shape, %zero : (tensor<2xi64>, tensor<f32>) -> tensor<?x8xf32>
  %column = nju.unsqueeze %choices {axes = array<i64: 2>} : (tensor<?x2xi64>) -> tensor<?x2x1xi64>
  %hot = nju.compare eq %column, %numbers : (tensor<?x2x1xi64>, tensor<3xi64>) -> tensor<?x2x3xi1>
  %hots = nju.transpose %hot {permutation = array<i64: 2, 0, 1>} : (tensor<?x2x3xi1>) -> tensor<3x?x2xi1>
  %w3 = nju.unsqueeze %w {axes = array<i64: 2>} : (tensor<?x2xf32>) -> tensor<?x2x1xf32>
  %wl = nju.reshape %w, %list : (tensor<?x2xf32>, tensor<2xi64>) -> tensor<?x1xf32>
  %e0 = nju.constant dense<0> : tensor<i64>
  %hot0 = nju.gather %hots, %e0 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs0 = nju.non_zero %hot0 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows0 = nju.transpose %pairs0 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token0 = nju.slice %rows0, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank0 = nju.slice %rows0, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %x0 = nju.gather_nd %x, %token0 {batch_dims = 0 : i64} : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %a0 = nju.param_ref @a0 : tensor<8x5xf32>
  %b0 = nju.param_ref @b0 : tensor<8x5xf32>
  %c0 = nju.param_ref @c0 : tensor<5x8xf32>
  %g0 = nju.matmul %x0, %a0 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s0 = nju.silu %g0 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u0 = nju.matmul %x0, %b0 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h0 = nju.mul %s0, %u0 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y0 = nju.matmul %h0, %c0 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %pair0 = nju.concat %token0, %rank0 {axis = 1 : i64} : (tensor<?x1xi64>, tensor<?x1xi64>) -> tensor<?x2xi64>
  %w0 = nju.gather_nd %w3, %pair0 {batch_dims = 0 : i64} : (tensor<?x2x1xf32>, tensor<?x2xi64>) -> tensor<?x1xf32>
  %z0 = nju.mul %y0, %w0 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %sum0 = nju.scatter_nd %sum, %token0, %z0 {reduction = #nju<scatter_reduction add>} : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %e1 = nju.constant dense<1> : tensor<i64>
  %hot1 = nju.gather %hots, %e1 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs1 = nju.non_zero %hot1 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows1 = nju.transpose %pairs1 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token1 = nju.slice %rows1, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank1 = nju.slice %rows1, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %x1 = nju.gather_nd %other, %token1 {batch_dims = 0 : i64} : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %a1 = nju.param_ref @a1 : tensor<8x5xf32>
  %b1 = nju.param_ref @b1 : tensor<8x5xf32>
  %c1 = nju.param_ref @c1 : tensor<5x8xf32>
  %g1 = nju.matmul %x1, %a1 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s1 = nju.silu %g1 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u1 = nju.matmul %x1, %b1 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h1 = nju.mul %s1, %u1 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y1 = nju.matmul %h1, %c1 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %pair1 = nju.concat %token1, %rank1 {axis = 1 : i64} : (tensor<?x1xi64>, tensor<?x1xi64>) -> tensor<?x2xi64>
  %w1 = nju.gather_nd %w3, %pair1 {batch_dims = 0 : i64} : (tensor<?x2x1xf32>, tensor<?x2xi64>) -> tensor<?x1xf32>
  %z1 = nju.mul %y1, %w1 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %sum1 = nju.scatter_nd %sum0, %token1, %z1 {reduction = #nju<scatter_reduction add>} : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %e2 = nju.constant dense<2> : tensor<i64>
  %hot2 = nju.gather %hots, %e2 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs2 = nju.non_zero %hot2 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows2 = nju.transpose %pairs2 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token2 = nju.slice %rows2, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank2 = nju.slice %rows2, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %x2 = nju.gather_nd %x, %token2 {batch_dims = 0 : i64} : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %a2 = nju.param_ref @a2 : tensor<8x5xf32>
  %b2 = nju.param_ref @b2 : tensor<8x5xf32>
  %c2 = nju.param_ref @c2 : tensor<5x8xf32>
  %g2 = nju.matmul %x2, %a2 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s2 = nju.silu %g2 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u2 = nju.matmul %x2, %b2 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h2 = nju.mul %s2, %u2 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y2 = nju.matmul %h2, %c2 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %pair2 = nju.concat %token2, %rank2 {axis = 1 : i64} : (tensor<?x1xi64>, tensor<?x1xi64>) -> tensor<?x2xi64>
  %w2 = nju.gather_nd %w3, %pair2 {batch_dims = 0 : i64} : (tensor<?x2x1xf32>, tensor<?x2xi64>) -> tensor<?x1xf32>
  %z2 = nju.mul %y2, %w2 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %sum2 = nju.scatter_nd %sum1, %token2, %z2 {reduction = #nju<scatter_reduction add>} : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %sum2 : tensor<?x8xf32>
}

// -----

// One takes the rows that are numbered by the choice.
// CHECK-LABEL: @other_tokens
// CHECK-NOT: nju.expert_matmul
// CHECK: return
nju.param @a0 : tensor<8x5xf32> = #nju.file<"w", 0, tensor<8x5xf32>>
nju.param @b0 : tensor<8x5xf32> = #nju.file<"w", 4096, tensor<8x5xf32>>
nju.param @c0 : tensor<5x8xf32> = #nju.file<"w", 8192, tensor<5x8xf32>>
nju.param @a1 : tensor<8x5xf32> = #nju.file<"w", 12288, tensor<8x5xf32>>
nju.param @b1 : tensor<8x5xf32> = #nju.file<"w", 16384, tensor<8x5xf32>>
nju.param @c1 : tensor<5x8xf32> = #nju.file<"w", 20480, tensor<5x8xf32>>
nju.param @a2 : tensor<8x5xf32> = #nju.file<"w", 24576, tensor<8x5xf32>>
nju.param @b2 : tensor<8x5xf32> = #nju.file<"w", 28672, tensor<8x5xf32>>
nju.param @c2 : tensor<5x8xf32> = #nju.file<"w", 32768, tensor<5x8xf32>>
func.func @other_tokens(%x: tensor<?x8xf32> {nju.dims = ["n", ""]}, %scores: tensor<?x3xf32> {nju.dims = ["n", ""]}, %w: tensor<?x2xf32> {nju.dims = ["n", ""]}, %other: tensor<?x8xf32> {nju.dims = ["n", ""]}) -> tensor<?x8xf32> {
  %zero = nju.constant dense<0.0> : tensor<f32>
  %i0 = nju.constant dense<0> : tensor<1xi64>
  %i1 = nju.constant dense<1> : tensor<1xi64>
  %i2 = nju.constant dense<2> : tensor<1xi64>
  %numbers = nju.constant dense<[0, 1, 2]> : tensor<3xi64>
  %list = nju.constant dense<[-1, 1]> : tensor<2xi64>
  %choices = nju.top_k %scores {axis = 1 : i64, count = 2 : i64} : (tensor<?x3xf32>) -> tensor<?x2xi64>
  %shape = nju.shape_of %x : (tensor<?x8xf32>) -> tensor<2xi64>
  %sum = nju.fill %shape, %zero : (tensor<2xi64>, tensor<f32>) -> tensor<?x8xf32>
  %column = nju.unsqueeze %choices {axes = array<i64: 2>} : (tensor<?x2xi64>) -> tensor<?x2x1xi64>
  %hot = nju.compare eq %column, %numbers : (tensor<?x2x1xi64>, tensor<3xi64>) -> tensor<?x2x3xi1>
  %hots = nju.transpose %hot {permutation = array<i64: 2, 0, 1>} : (tensor<?x2x3xi1>) -> tensor<3x?x2xi1>
  %w3 = nju.unsqueeze %w {axes = array<i64: 2>} : (tensor<?x2xf32>) -> tensor<?x2x1xf32>
  %wl = nju.reshape %w, %list : (tensor<?x2xf32>, tensor<2xi64>) -> tensor<?x1xf32>
  %e0 = nju.constant dense<0> : tensor<i64>
  %hot0 = nju.gather %hots, %e0 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs0 = nju.non_zero %hot0 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows0 = nju.transpose %pairs0 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token0 = nju.slice %rows0, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank0 = nju.slice %rows0, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %x0 = nju.gather_nd %x, %token0 {batch_dims = 0 : i64} : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %a0 = nju.param_ref @a0 : tensor<8x5xf32>
  %b0 = nju.param_ref @b0 : tensor<8x5xf32>
  %c0 = nju.param_ref @c0 : tensor<5x8xf32>
  %g0 = nju.matmul %x0, %a0 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s0 = nju.silu %g0 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u0 = nju.matmul %x0, %b0 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h0 = nju.mul %s0, %u0 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y0 = nju.matmul %h0, %c0 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %pair0 = nju.concat %token0, %rank0 {axis = 1 : i64} : (tensor<?x1xi64>, tensor<?x1xi64>) -> tensor<?x2xi64>
  %w0 = nju.gather_nd %w3, %pair0 {batch_dims = 0 : i64} : (tensor<?x2x1xf32>, tensor<?x2xi64>) -> tensor<?x1xf32>
  %z0 = nju.mul %y0, %w0 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %sum0 = nju.scatter_nd %sum, %token0, %z0 {reduction = #nju<scatter_reduction add>} : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %e1 = nju.constant dense<1> : tensor<i64>
  %hot1 = nju.gather %hots, %e1 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs1 = nju.non_zero %hot1 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows1 = nju.transpose %pairs1 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token1 = nju.slice %rows1, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank1 = nju.slice %rows1, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %x1 = nju.gather_nd %x, %rank1 {batch_dims = 0 : i64} : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %a1 = nju.param_ref @a1 : tensor<8x5xf32>
  %b1 = nju.param_ref @b1 : tensor<8x5xf32>
  %c1 = nju.param_ref @c1 : tensor<5x8xf32>
  %g1 = nju.matmul %x1, %a1 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s1 = nju.silu %g1 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u1 = nju.matmul %x1, %b1 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h1 = nju.mul %s1, %u1 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y1 = nju.matmul %h1, %c1 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %pair1 = nju.concat %token1, %rank1 {axis = 1 : i64} : (tensor<?x1xi64>, tensor<?x1xi64>) -> tensor<?x2xi64>
  %w1 = nju.gather_nd %w3, %pair1 {batch_dims = 0 : i64} : (tensor<?x2x1xf32>, tensor<?x2xi64>) -> tensor<?x1xf32>
  %z1 = nju.mul %y1, %w1 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %sum1 = nju.scatter_nd %sum0, %token1, %z1 {reduction = #nju<scatter_reduction add>} : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %e2 = nju.constant dense<2> : tensor<i64>
  %hot2 = nju.gather %hots, %e2 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs2 = nju.non_zero %hot2 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows2 = nju.transpose %pairs2 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token2 = nju.slice %rows2, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank2 = nju.slice %rows2, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %x2 = nju.gather_nd %x, %token2 {batch_dims = 0 : i64} : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %a2 = nju.param_ref @a2 : tensor<8x5xf32>
  %b2 = nju.param_ref @b2 : tensor<8x5xf32>
  %c2 = nju.param_ref @c2 : tensor<5x8xf32>
  %g2 = nju.matmul %x2, %a2 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s2 = nju.silu %g2 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u2 = nju.matmul %x2, %b2 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h2 = nju.mul %s2, %u2 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y2 = nju.matmul %h2, %c2 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %pair2 = nju.concat %token2, %rank2 {axis = 1 : i64} : (tensor<?x1xi64>, tensor<?x1xi64>) -> tensor<?x2xi64>
  %w2 = nju.gather_nd %w3, %pair2 {batch_dims = 0 : i64} : (tensor<?x2x1xf32>, tensor<?x2xi64>) -> tensor<?x1xf32>
  %z2 = nju.mul %y2, %w2 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %sum2 = nju.scatter_nd %sum1, %token2, %z2 {reduction = #nju<scatter_reduction add>} : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %sum2 : tensor<?x8xf32>
}

// -----

// The weight of one is that of another token.
// CHECK-LABEL: @other_place
// CHECK-NOT: nju.expert_matmul
// CHECK: return
nju.param @a0 : tensor<8x5xf32> = #nju.file<"w", 0, tensor<8x5xf32>>
nju.param @b0 : tensor<8x5xf32> = #nju.file<"w", 4096, tensor<8x5xf32>>
nju.param @c0 : tensor<5x8xf32> = #nju.file<"w", 8192, tensor<5x8xf32>>
nju.param @a1 : tensor<8x5xf32> = #nju.file<"w", 12288, tensor<8x5xf32>>
nju.param @b1 : tensor<8x5xf32> = #nju.file<"w", 16384, tensor<8x5xf32>>
nju.param @c1 : tensor<5x8xf32> = #nju.file<"w", 20480, tensor<5x8xf32>>
nju.param @a2 : tensor<8x5xf32> = #nju.file<"w", 24576, tensor<8x5xf32>>
nju.param @b2 : tensor<8x5xf32> = #nju.file<"w", 28672, tensor<8x5xf32>>
nju.param @c2 : tensor<5x8xf32> = #nju.file<"w", 32768, tensor<5x8xf32>>
func.func @other_place(%x: tensor<?x8xf32> {nju.dims = ["n", ""]}, %scores: tensor<?x3xf32> {nju.dims = ["n", ""]}, %w: tensor<?x2xf32> {nju.dims = ["n", ""]}, %other: tensor<?x8xf32> {nju.dims = ["n", ""]}) -> tensor<?x8xf32> {
  %zero = nju.constant dense<0.0> : tensor<f32>
  %i0 = nju.constant dense<0> : tensor<1xi64>
  %i1 = nju.constant dense<1> : tensor<1xi64>
  %i2 = nju.constant dense<2> : tensor<1xi64>
  %numbers = nju.constant dense<[0, 1, 2]> : tensor<3xi64>
  %list = nju.constant dense<[-1, 1]> : tensor<2xi64>
  %choices = nju.top_k %scores {axis = 1 : i64, count = 2 : i64} : (tensor<?x3xf32>) -> tensor<?x2xi64>
  %shape = nju.shape_of %x : (tensor<?x8xf32>) -> tensor<2xi64>
  %sum = nju.fill %shape, %zero : (tensor<2xi64>, tensor<f32>) -> tensor<?x8xf32>
  %column = nju.unsqueeze %choices {axes = array<i64: 2>} : (tensor<?x2xi64>) -> tensor<?x2x1xi64>
  %hot = nju.compare eq %column, %numbers : (tensor<?x2x1xi64>, tensor<3xi64>) -> tensor<?x2x3xi1>
  %hots = nju.transpose %hot {permutation = array<i64: 2, 0, 1>} : (tensor<?x2x3xi1>) -> tensor<3x?x2xi1>
  %w3 = nju.unsqueeze %w {axes = array<i64: 2>} : (tensor<?x2xf32>) -> tensor<?x2x1xf32>
  %wl = nju.reshape %w, %list : (tensor<?x2xf32>, tensor<2xi64>) -> tensor<?x1xf32>
  %e0 = nju.constant dense<0> : tensor<i64>
  %hot0 = nju.gather %hots, %e0 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs0 = nju.non_zero %hot0 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows0 = nju.transpose %pairs0 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token0 = nju.slice %rows0, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank0 = nju.slice %rows0, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %t0 = nju.squeeze %token0 {axes = array<i64: 1>} : (tensor<?x1xi64>) -> tensor<?xi64>
  %r0 = nju.squeeze %rank0 {axes = array<i64: 1>} : (tensor<?x1xi64>) -> tensor<?xi64>
  %x0 = nju.gather %x, %t0 {axis = 0 : i64} : (tensor<?x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
  %a0 = nju.param_ref @a0 : tensor<8x5xf32>
  %b0 = nju.param_ref @b0 : tensor<8x5xf32>
  %c0 = nju.param_ref @c0 : tensor<5x8xf32>
  %g0 = nju.matmul %x0, %a0 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s0 = nju.silu %g0 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u0 = nju.matmul %x0, %b0 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h0 = nju.mul %s0, %u0 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y0 = nju.matmul %h0, %c0 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %at0 = nju.mul %t0, %i2 : (tensor<?xi64>, tensor<1xi64>) -> tensor<?xi64>
  %place0 = nju.add %at0, %r0 : (tensor<?xi64>, tensor<?xi64>) -> tensor<?xi64>
  %w0 = nju.gather %wl, %place0 {axis = 0 : i64} : (tensor<?x1xf32>, tensor<?xi64>) -> tensor<?x1xf32>
  %z0 = nju.mul %y0, %w0 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %one0 = nju.scatter_nd %sum, %token0, %z0 : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %sum0 = nju.add %sum, %one0 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %e1 = nju.constant dense<1> : tensor<i64>
  %hot1 = nju.gather %hots, %e1 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs1 = nju.non_zero %hot1 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows1 = nju.transpose %pairs1 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token1 = nju.slice %rows1, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank1 = nju.slice %rows1, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %t1 = nju.squeeze %token1 {axes = array<i64: 1>} : (tensor<?x1xi64>) -> tensor<?xi64>
  %r1 = nju.squeeze %rank1 {axes = array<i64: 1>} : (tensor<?x1xi64>) -> tensor<?xi64>
  %x1 = nju.gather %x, %t1 {axis = 0 : i64} : (tensor<?x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
  %a1 = nju.param_ref @a1 : tensor<8x5xf32>
  %b1 = nju.param_ref @b1 : tensor<8x5xf32>
  %c1 = nju.param_ref @c1 : tensor<5x8xf32>
  %g1 = nju.matmul %x1, %a1 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s1 = nju.silu %g1 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u1 = nju.matmul %x1, %b1 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h1 = nju.mul %s1, %u1 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y1 = nju.matmul %h1, %c1 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %at1 = nju.mul %t1, %i2 : (tensor<?xi64>, tensor<1xi64>) -> tensor<?xi64>
  %place1 = nju.add %at1, %r1 : (tensor<?xi64>, tensor<?xi64>) -> tensor<?xi64>
  %w1 = nju.gather %wl, %place1 {axis = 0 : i64} : (tensor<?x1xf32>, tensor<?xi64>) -> tensor<?x1xf32>
  %z1 = nju.mul %y1, %w1 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %one1 = nju.scatter_nd %sum, %token1, %z1 : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %sum1 = nju.add %sum0, %one1 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %e2 = nju.constant dense<2> : tensor<i64>
  %hot2 = nju.gather %hots, %e2 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs2 = nju.non_zero %hot2 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows2 = nju.transpose %pairs2 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token2 = nju.slice %rows2, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank2 = nju.slice %rows2, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %t2 = nju.squeeze %token2 {axes = array<i64: 1>} : (tensor<?x1xi64>) -> tensor<?xi64>
  %r2 = nju.squeeze %rank2 {axes = array<i64: 1>} : (tensor<?x1xi64>) -> tensor<?xi64>
  %x2 = nju.gather %x, %t2 {axis = 0 : i64} : (tensor<?x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
  %a2 = nju.param_ref @a2 : tensor<8x5xf32>
  %b2 = nju.param_ref @b2 : tensor<8x5xf32>
  %c2 = nju.param_ref @c2 : tensor<5x8xf32>
  %g2 = nju.matmul %x2, %a2 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s2 = nju.silu %g2 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u2 = nju.matmul %x2, %b2 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h2 = nju.mul %s2, %u2 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y2 = nju.matmul %h2, %c2 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %at2 = nju.mul %t2, %i1 : (tensor<?xi64>, tensor<1xi64>) -> tensor<?xi64>
  %place2 = nju.add %at2, %r2 : (tensor<?xi64>, tensor<?xi64>) -> tensor<?xi64>
  %w2 = nju.gather %wl, %place2 {axis = 0 : i64} : (tensor<?x1xf32>, tensor<?xi64>) -> tensor<?x1xf32>
  %z2 = nju.mul %y2, %w2 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %one2 = nju.scatter_nd %sum, %token2, %z2 : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %sum2 = nju.add %sum1, %one2 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %sum2 : tensor<?x8xf32>
}

// -----

// The result of one goes to the tokens of another.
// CHECK-LABEL: @other_target
// CHECK-NOT: nju.expert_matmul
// CHECK: return
nju.param @a0 : tensor<8x5xf32> = #nju.file<"w", 0, tensor<8x5xf32>>
nju.param @b0 : tensor<8x5xf32> = #nju.file<"w", 4096, tensor<8x5xf32>>
nju.param @c0 : tensor<5x8xf32> = #nju.file<"w", 8192, tensor<5x8xf32>>
nju.param @a1 : tensor<8x5xf32> = #nju.file<"w", 12288, tensor<8x5xf32>>
nju.param @b1 : tensor<8x5xf32> = #nju.file<"w", 16384, tensor<8x5xf32>>
nju.param @c1 : tensor<5x8xf32> = #nju.file<"w", 20480, tensor<5x8xf32>>
nju.param @a2 : tensor<8x5xf32> = #nju.file<"w", 24576, tensor<8x5xf32>>
nju.param @b2 : tensor<8x5xf32> = #nju.file<"w", 28672, tensor<8x5xf32>>
nju.param @c2 : tensor<5x8xf32> = #nju.file<"w", 32768, tensor<5x8xf32>>
func.func @other_target(%x: tensor<?x8xf32> {nju.dims = ["n", ""]}, %scores: tensor<?x3xf32> {nju.dims = ["n", ""]}, %w: tensor<?x2xf32> {nju.dims = ["n", ""]}, %other: tensor<?x8xf32> {nju.dims = ["n", ""]}) -> tensor<?x8xf32> {
  %zero = nju.constant dense<0.0> : tensor<f32>
  %i0 = nju.constant dense<0> : tensor<1xi64>
  %i1 = nju.constant dense<1> : tensor<1xi64>
  %i2 = nju.constant dense<2> : tensor<1xi64>
  %numbers = nju.constant dense<[0, 1, 2]> : tensor<3xi64>
  %list = nju.constant dense<[-1, 1]> : tensor<2xi64>
  %choices = nju.top_k %scores {axis = 1 : i64, count = 2 : i64} : (tensor<?x3xf32>) -> tensor<?x2xi64>
  %shape = nju.shape_of %x : (tensor<?x8xf32>) -> tensor<2xi64>
  %sum = nju.fill %shape, %zero : (tensor<2xi64>, tensor<f32>) -> tensor<?x8xf32>
  %column = nju.unsqueeze %choices {axes = array<i64: 2>} : (tensor<?x2xi64>) -> tensor<?x2x1xi64>
  %hot = nju.compare eq %column, %numbers : (tensor<?x2x1xi64>, tensor<3xi64>) -> tensor<?x2x3xi1>
  %hots = nju.transpose %hot {permutation = array<i64: 2, 0, 1>} : (tensor<?x2x3xi1>) -> tensor<3x?x2xi1>
  %w3 = nju.unsqueeze %w {axes = array<i64: 2>} : (tensor<?x2xf32>) -> tensor<?x2x1xf32>
  %wl = nju.reshape %w, %list : (tensor<?x2xf32>, tensor<2xi64>) -> tensor<?x1xf32>
  %e0 = nju.constant dense<0> : tensor<i64>
  %hot0 = nju.gather %hots, %e0 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs0 = nju.non_zero %hot0 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows0 = nju.transpose %pairs0 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token0 = nju.slice %rows0, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank0 = nju.slice %rows0, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %x0 = nju.gather_nd %x, %token0 {batch_dims = 0 : i64} : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %a0 = nju.param_ref @a0 : tensor<8x5xf32>
  %b0 = nju.param_ref @b0 : tensor<8x5xf32>
  %c0 = nju.param_ref @c0 : tensor<5x8xf32>
  %g0 = nju.matmul %x0, %a0 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s0 = nju.silu %g0 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u0 = nju.matmul %x0, %b0 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h0 = nju.mul %s0, %u0 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y0 = nju.matmul %h0, %c0 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %pair0 = nju.concat %token0, %rank0 {axis = 1 : i64} : (tensor<?x1xi64>, tensor<?x1xi64>) -> tensor<?x2xi64>
  %w0 = nju.gather_nd %w3, %pair0 {batch_dims = 0 : i64} : (tensor<?x2x1xf32>, tensor<?x2xi64>) -> tensor<?x1xf32>
  %z0 = nju.mul %y0, %w0 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %sum0 = nju.scatter_nd %sum, %token0, %z0 {reduction = #nju<scatter_reduction add>} : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %e1 = nju.constant dense<1> : tensor<i64>
  %hot1 = nju.gather %hots, %e1 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs1 = nju.non_zero %hot1 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows1 = nju.transpose %pairs1 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token1 = nju.slice %rows1, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank1 = nju.slice %rows1, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %x1 = nju.gather_nd %x, %token1 {batch_dims = 0 : i64} : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %a1 = nju.param_ref @a1 : tensor<8x5xf32>
  %b1 = nju.param_ref @b1 : tensor<8x5xf32>
  %c1 = nju.param_ref @c1 : tensor<5x8xf32>
  %g1 = nju.matmul %x1, %a1 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s1 = nju.silu %g1 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u1 = nju.matmul %x1, %b1 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h1 = nju.mul %s1, %u1 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y1 = nju.matmul %h1, %c1 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %pair1 = nju.concat %token1, %rank1 {axis = 1 : i64} : (tensor<?x1xi64>, tensor<?x1xi64>) -> tensor<?x2xi64>
  %w1 = nju.gather_nd %w3, %pair1 {batch_dims = 0 : i64} : (tensor<?x2x1xf32>, tensor<?x2xi64>) -> tensor<?x1xf32>
  %z1 = nju.mul %y1, %w1 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %sum1 = nju.scatter_nd %sum0, %token0, %z1 {reduction = #nju<scatter_reduction add>} : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %e2 = nju.constant dense<2> : tensor<i64>
  %hot2 = nju.gather %hots, %e2 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs2 = nju.non_zero %hot2 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows2 = nju.transpose %pairs2 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token2 = nju.slice %rows2, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank2 = nju.slice %rows2, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %x2 = nju.gather_nd %x, %token2 {batch_dims = 0 : i64} : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %a2 = nju.param_ref @a2 : tensor<8x5xf32>
  %b2 = nju.param_ref @b2 : tensor<8x5xf32>
  %c2 = nju.param_ref @c2 : tensor<5x8xf32>
  %g2 = nju.matmul %x2, %a2 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s2 = nju.silu %g2 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u2 = nju.matmul %x2, %b2 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h2 = nju.mul %s2, %u2 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y2 = nju.matmul %h2, %c2 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %pair2 = nju.concat %token2, %rank2 {axis = 1 : i64} : (tensor<?x1xi64>, tensor<?x1xi64>) -> tensor<?x2xi64>
  %w2 = nju.gather_nd %w3, %pair2 {batch_dims = 0 : i64} : (tensor<?x2x1xf32>, tensor<?x2xi64>) -> tensor<?x1xf32>
  %z2 = nju.mul %y2, %w2 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %sum2 = nju.scatter_nd %sum1, %token2, %z2 {reduction = #nju<scatter_reduction add>} : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %sum2 : tensor<?x8xf32>
}

// -----

// One has another function.
// CHECK-LABEL: @other_expert
// CHECK-NOT: nju.expert_matmul
// CHECK: return
nju.param @a0 : tensor<8x5xf32> = #nju.file<"w", 0, tensor<8x5xf32>>
nju.param @b0 : tensor<8x5xf32> = #nju.file<"w", 4096, tensor<8x5xf32>>
nju.param @c0 : tensor<5x8xf32> = #nju.file<"w", 8192, tensor<5x8xf32>>
nju.param @a1 : tensor<8x5xf32> = #nju.file<"w", 12288, tensor<8x5xf32>>
nju.param @b1 : tensor<8x5xf32> = #nju.file<"w", 16384, tensor<8x5xf32>>
nju.param @c1 : tensor<5x8xf32> = #nju.file<"w", 20480, tensor<5x8xf32>>
nju.param @a2 : tensor<8x5xf32> = #nju.file<"w", 24576, tensor<8x5xf32>>
nju.param @b2 : tensor<8x5xf32> = #nju.file<"w", 28672, tensor<8x5xf32>>
nju.param @c2 : tensor<5x8xf32> = #nju.file<"w", 32768, tensor<5x8xf32>>
func.func @other_expert(%x: tensor<?x8xf32> {nju.dims = ["n", ""]}, %scores: tensor<?x3xf32> {nju.dims = ["n", ""]}, %w: tensor<?x2xf32> {nju.dims = ["n", ""]}, %other: tensor<?x8xf32> {nju.dims = ["n", ""]}) -> tensor<?x8xf32> {
  %zero = nju.constant dense<0.0> : tensor<f32>
  %i0 = nju.constant dense<0> : tensor<1xi64>
  %i1 = nju.constant dense<1> : tensor<1xi64>
  %i2 = nju.constant dense<2> : tensor<1xi64>
  %numbers = nju.constant dense<[0, 1, 2]> : tensor<3xi64>
  %list = nju.constant dense<[-1, 1]> : tensor<2xi64>
  %choices = nju.top_k %scores {axis = 1 : i64, count = 2 : i64} : (tensor<?x3xf32>) -> tensor<?x2xi64>
  %shape = nju.shape_of %x : (tensor<?x8xf32>) -> tensor<2xi64>
  %sum = nju.fill %shape, %zero : (tensor<2xi64>, tensor<f32>) -> tensor<?x8xf32>
  %column = nju.unsqueeze %choices {axes = array<i64: 2>} : (tensor<?x2xi64>) -> tensor<?x2x1xi64>
  %hot = nju.compare eq %column, %numbers : (tensor<?x2x1xi64>, tensor<3xi64>) -> tensor<?x2x3xi1>
  %hots = nju.transpose %hot {permutation = array<i64: 2, 0, 1>} : (tensor<?x2x3xi1>) -> tensor<3x?x2xi1>
  %w3 = nju.unsqueeze %w {axes = array<i64: 2>} : (tensor<?x2xf32>) -> tensor<?x2x1xf32>
  %wl = nju.reshape %w, %list : (tensor<?x2xf32>, tensor<2xi64>) -> tensor<?x1xf32>
  %e0 = nju.constant dense<0> : tensor<i64>
  %hot0 = nju.gather %hots, %e0 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs0 = nju.non_zero %hot0 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows0 = nju.transpose %pairs0 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token0 = nju.slice %rows0, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank0 = nju.slice %rows0, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %x0 = nju.gather_nd %x, %token0 {batch_dims = 0 : i64} : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %a0 = nju.param_ref @a0 : tensor<8x5xf32>
  %b0 = nju.param_ref @b0 : tensor<8x5xf32>
  %c0 = nju.param_ref @c0 : tensor<5x8xf32>
  %g0 = nju.matmul %x0, %a0 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s0 = nju.silu %g0 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u0 = nju.matmul %x0, %b0 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h0 = nju.mul %s0, %u0 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y0 = nju.matmul %h0, %c0 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %pair0 = nju.concat %token0, %rank0 {axis = 1 : i64} : (tensor<?x1xi64>, tensor<?x1xi64>) -> tensor<?x2xi64>
  %w0 = nju.gather_nd %w3, %pair0 {batch_dims = 0 : i64} : (tensor<?x2x1xf32>, tensor<?x2xi64>) -> tensor<?x1xf32>
  %z0 = nju.mul %y0, %w0 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %sum0 = nju.scatter_nd %sum, %token0, %z0 {reduction = #nju<scatter_reduction add>} : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %e1 = nju.constant dense<1> : tensor<i64>
  %hot1 = nju.gather %hots, %e1 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs1 = nju.non_zero %hot1 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows1 = nju.transpose %pairs1 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token1 = nju.slice %rows1, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank1 = nju.slice %rows1, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %x1 = nju.gather_nd %x, %token1 {batch_dims = 0 : i64} : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %a1 = nju.param_ref @a1 : tensor<8x5xf32>
  %b1 = nju.param_ref @b1 : tensor<8x5xf32>
  %c1 = nju.param_ref @c1 : tensor<5x8xf32>
  %g1 = nju.matmul %x1, %a1 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s1 = nju.relu %g1 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u1 = nju.matmul %x1, %b1 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h1 = nju.mul %s1, %u1 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y1 = nju.matmul %h1, %c1 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %pair1 = nju.concat %token1, %rank1 {axis = 1 : i64} : (tensor<?x1xi64>, tensor<?x1xi64>) -> tensor<?x2xi64>
  %w1 = nju.gather_nd %w3, %pair1 {batch_dims = 0 : i64} : (tensor<?x2x1xf32>, tensor<?x2xi64>) -> tensor<?x1xf32>
  %z1 = nju.mul %y1, %w1 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %sum1 = nju.scatter_nd %sum0, %token1, %z1 {reduction = #nju<scatter_reduction add>} : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %e2 = nju.constant dense<2> : tensor<i64>
  %hot2 = nju.gather %hots, %e2 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs2 = nju.non_zero %hot2 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows2 = nju.transpose %pairs2 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token2 = nju.slice %rows2, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank2 = nju.slice %rows2, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %x2 = nju.gather_nd %x, %token2 {batch_dims = 0 : i64} : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %a2 = nju.param_ref @a2 : tensor<8x5xf32>
  %b2 = nju.param_ref @b2 : tensor<8x5xf32>
  %c2 = nju.param_ref @c2 : tensor<5x8xf32>
  %g2 = nju.matmul %x2, %a2 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s2 = nju.silu %g2 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u2 = nju.matmul %x2, %b2 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h2 = nju.mul %s2, %u2 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y2 = nju.matmul %h2, %c2 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %pair2 = nju.concat %token2, %rank2 {axis = 1 : i64} : (tensor<?x1xi64>, tensor<?x1xi64>) -> tensor<?x2xi64>
  %w2 = nju.gather_nd %w3, %pair2 {batch_dims = 0 : i64} : (tensor<?x2x1xf32>, tensor<?x2xi64>) -> tensor<?x1xf32>
  %z2 = nju.mul %y2, %w2 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %sum2 = nju.scatter_nd %sum1, %token2, %z2 {reduction = #nju<scatter_reduction add>} : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %sum2 : tensor<?x8xf32>
}

// -----

// One multiplies other values.
// CHECK-LABEL: @other_operand
// CHECK-NOT: nju.expert_matmul
// CHECK: return
nju.param @a0 : tensor<8x5xf32> = #nju.file<"w", 0, tensor<8x5xf32>>
nju.param @b0 : tensor<8x5xf32> = #nju.file<"w", 4096, tensor<8x5xf32>>
nju.param @c0 : tensor<5x8xf32> = #nju.file<"w", 8192, tensor<5x8xf32>>
nju.param @a1 : tensor<8x5xf32> = #nju.file<"w", 12288, tensor<8x5xf32>>
nju.param @b1 : tensor<8x5xf32> = #nju.file<"w", 16384, tensor<8x5xf32>>
nju.param @c1 : tensor<5x8xf32> = #nju.file<"w", 20480, tensor<5x8xf32>>
nju.param @a2 : tensor<8x5xf32> = #nju.file<"w", 24576, tensor<8x5xf32>>
nju.param @b2 : tensor<8x5xf32> = #nju.file<"w", 28672, tensor<8x5xf32>>
nju.param @c2 : tensor<5x8xf32> = #nju.file<"w", 32768, tensor<5x8xf32>>
func.func @other_operand(%x: tensor<?x8xf32> {nju.dims = ["n", ""]}, %scores: tensor<?x3xf32> {nju.dims = ["n", ""]}, %w: tensor<?x2xf32> {nju.dims = ["n", ""]}, %other: tensor<?x8xf32> {nju.dims = ["n", ""]}) -> tensor<?x8xf32> {
  %zero = nju.constant dense<0.0> : tensor<f32>
  %i0 = nju.constant dense<0> : tensor<1xi64>
  %i1 = nju.constant dense<1> : tensor<1xi64>
  %i2 = nju.constant dense<2> : tensor<1xi64>
  %numbers = nju.constant dense<[0, 1, 2]> : tensor<3xi64>
  %list = nju.constant dense<[-1, 1]> : tensor<2xi64>
  %choices = nju.top_k %scores {axis = 1 : i64, count = 2 : i64} : (tensor<?x3xf32>) -> tensor<?x2xi64>
  %shape = nju.shape_of %x : (tensor<?x8xf32>) -> tensor<2xi64>
  %sum = nju.fill %shape, %zero : (tensor<2xi64>, tensor<f32>) -> tensor<?x8xf32>
  %column = nju.unsqueeze %choices {axes = array<i64: 2>} : (tensor<?x2xi64>) -> tensor<?x2x1xi64>
  %hot = nju.compare eq %column, %numbers : (tensor<?x2x1xi64>, tensor<3xi64>) -> tensor<?x2x3xi1>
  %hots = nju.transpose %hot {permutation = array<i64: 2, 0, 1>} : (tensor<?x2x3xi1>) -> tensor<3x?x2xi1>
  %w3 = nju.unsqueeze %w {axes = array<i64: 2>} : (tensor<?x2xf32>) -> tensor<?x2x1xf32>
  %wl = nju.reshape %w, %list : (tensor<?x2xf32>, tensor<2xi64>) -> tensor<?x1xf32>
  %e0 = nju.constant dense<0> : tensor<i64>
  %hot0 = nju.gather %hots, %e0 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs0 = nju.non_zero %hot0 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows0 = nju.transpose %pairs0 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token0 = nju.slice %rows0, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank0 = nju.slice %rows0, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %x0 = nju.gather_nd %x, %token0 {batch_dims = 0 : i64} : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %a0 = nju.param_ref @a0 : tensor<8x5xf32>
  %b0 = nju.param_ref @b0 : tensor<8x5xf32>
  %c0 = nju.param_ref @c0 : tensor<5x8xf32>
  %g0 = nju.matmul %x0, %a0 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s0 = nju.silu %g0 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u0 = nju.matmul %x0, %b0 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h0 = nju.mul %s0, %u0 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y0 = nju.matmul %h0, %c0 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %pair0 = nju.concat %token0, %rank0 {axis = 1 : i64} : (tensor<?x1xi64>, tensor<?x1xi64>) -> tensor<?x2xi64>
  %w0 = nju.gather_nd %w3, %pair0 {batch_dims = 0 : i64} : (tensor<?x2x1xf32>, tensor<?x2xi64>) -> tensor<?x1xf32>
  %z0 = nju.mul %y0, %w0 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %sum0 = nju.scatter_nd %sum, %token0, %z0 {reduction = #nju<scatter_reduction add>} : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %e1 = nju.constant dense<1> : tensor<i64>
  %hot1 = nju.gather %hots, %e1 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs1 = nju.non_zero %hot1 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows1 = nju.transpose %pairs1 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token1 = nju.slice %rows1, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank1 = nju.slice %rows1, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %x1 = nju.gather_nd %x, %token1 {batch_dims = 0 : i64} : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %a1 = nju.param_ref @a1 : tensor<8x5xf32>
  %b1 = nju.param_ref @b1 : tensor<8x5xf32>
  %c1 = nju.param_ref @c1 : tensor<5x8xf32>
  %g1 = nju.matmul %x1, %a1 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s1 = nju.silu %g1 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u1 = nju.matmul %x1, %b1 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h1 = nju.mul %s1, %g1 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y1 = nju.matmul %h1, %c1 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %pair1 = nju.concat %token1, %rank1 {axis = 1 : i64} : (tensor<?x1xi64>, tensor<?x1xi64>) -> tensor<?x2xi64>
  %w1 = nju.gather_nd %w3, %pair1 {batch_dims = 0 : i64} : (tensor<?x2x1xf32>, tensor<?x2xi64>) -> tensor<?x1xf32>
  %z1 = nju.mul %y1, %w1 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %sum1 = nju.scatter_nd %sum0, %token1, %z1 {reduction = #nju<scatter_reduction add>} : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %e2 = nju.constant dense<2> : tensor<i64>
  %hot2 = nju.gather %hots, %e2 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs2 = nju.non_zero %hot2 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows2 = nju.transpose %pairs2 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token2 = nju.slice %rows2, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank2 = nju.slice %rows2, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %x2 = nju.gather_nd %x, %token2 {batch_dims = 0 : i64} : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %a2 = nju.param_ref @a2 : tensor<8x5xf32>
  %b2 = nju.param_ref @b2 : tensor<8x5xf32>
  %c2 = nju.param_ref @c2 : tensor<5x8xf32>
  %g2 = nju.matmul %x2, %a2 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s2 = nju.silu %g2 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u2 = nju.matmul %x2, %b2 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h2 = nju.mul %s2, %u2 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y2 = nju.matmul %h2, %c2 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %pair2 = nju.concat %token2, %rank2 {axis = 1 : i64} : (tensor<?x1xi64>, tensor<?x1xi64>) -> tensor<?x2xi64>
  %w2 = nju.gather_nd %w3, %pair2 {batch_dims = 0 : i64} : (tensor<?x2x1xf32>, tensor<?x2xi64>) -> tensor<?x1xf32>
  %z2 = nju.mul %y2, %w2 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %sum2 = nju.scatter_nd %sum1, %token2, %z2 {reduction = #nju<scatter_reduction add>} : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %sum2 : tensor<?x8xf32>
}

// -----

// One replaces what the sum is so far.
// CHECK-LABEL: @other_reduction
// CHECK-NOT: nju.expert_matmul
// CHECK: return
nju.param @a0 : tensor<8x5xf32> = #nju.file<"w", 0, tensor<8x5xf32>>
nju.param @b0 : tensor<8x5xf32> = #nju.file<"w", 4096, tensor<8x5xf32>>
nju.param @c0 : tensor<5x8xf32> = #nju.file<"w", 8192, tensor<5x8xf32>>
nju.param @a1 : tensor<8x5xf32> = #nju.file<"w", 12288, tensor<8x5xf32>>
nju.param @b1 : tensor<8x5xf32> = #nju.file<"w", 16384, tensor<8x5xf32>>
nju.param @c1 : tensor<5x8xf32> = #nju.file<"w", 20480, tensor<5x8xf32>>
nju.param @a2 : tensor<8x5xf32> = #nju.file<"w", 24576, tensor<8x5xf32>>
nju.param @b2 : tensor<8x5xf32> = #nju.file<"w", 28672, tensor<8x5xf32>>
nju.param @c2 : tensor<5x8xf32> = #nju.file<"w", 32768, tensor<5x8xf32>>
func.func @other_reduction(%x: tensor<?x8xf32> {nju.dims = ["n", ""]}, %scores: tensor<?x3xf32> {nju.dims = ["n", ""]}, %w: tensor<?x2xf32> {nju.dims = ["n", ""]}, %other: tensor<?x8xf32> {nju.dims = ["n", ""]}) -> tensor<?x8xf32> {
  %zero = nju.constant dense<0.0> : tensor<f32>
  %i0 = nju.constant dense<0> : tensor<1xi64>
  %i1 = nju.constant dense<1> : tensor<1xi64>
  %i2 = nju.constant dense<2> : tensor<1xi64>
  %numbers = nju.constant dense<[0, 1, 2]> : tensor<3xi64>
  %list = nju.constant dense<[-1, 1]> : tensor<2xi64>
  %choices = nju.top_k %scores {axis = 1 : i64, count = 2 : i64} : (tensor<?x3xf32>) -> tensor<?x2xi64>
  %shape = nju.shape_of %x : (tensor<?x8xf32>) -> tensor<2xi64>
  %sum = nju.fill %shape, %zero : (tensor<2xi64>, tensor<f32>) -> tensor<?x8xf32>
  %column = nju.unsqueeze %choices {axes = array<i64: 2>} : (tensor<?x2xi64>) -> tensor<?x2x1xi64>
  %hot = nju.compare eq %column, %numbers : (tensor<?x2x1xi64>, tensor<3xi64>) -> tensor<?x2x3xi1>
  %hots = nju.transpose %hot {permutation = array<i64: 2, 0, 1>} : (tensor<?x2x3xi1>) -> tensor<3x?x2xi1>
  %w3 = nju.unsqueeze %w {axes = array<i64: 2>} : (tensor<?x2xf32>) -> tensor<?x2x1xf32>
  %wl = nju.reshape %w, %list : (tensor<?x2xf32>, tensor<2xi64>) -> tensor<?x1xf32>
  %e0 = nju.constant dense<0> : tensor<i64>
  %hot0 = nju.gather %hots, %e0 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs0 = nju.non_zero %hot0 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows0 = nju.transpose %pairs0 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token0 = nju.slice %rows0, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank0 = nju.slice %rows0, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %x0 = nju.gather_nd %x, %token0 {batch_dims = 0 : i64} : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %a0 = nju.param_ref @a0 : tensor<8x5xf32>
  %b0 = nju.param_ref @b0 : tensor<8x5xf32>
  %c0 = nju.param_ref @c0 : tensor<5x8xf32>
  %g0 = nju.matmul %x0, %a0 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s0 = nju.silu %g0 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u0 = nju.matmul %x0, %b0 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h0 = nju.mul %s0, %u0 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y0 = nju.matmul %h0, %c0 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %pair0 = nju.concat %token0, %rank0 {axis = 1 : i64} : (tensor<?x1xi64>, tensor<?x1xi64>) -> tensor<?x2xi64>
  %w0 = nju.gather_nd %w3, %pair0 {batch_dims = 0 : i64} : (tensor<?x2x1xf32>, tensor<?x2xi64>) -> tensor<?x1xf32>
  %z0 = nju.mul %y0, %w0 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %sum0 = nju.scatter_nd %sum, %token0, %z0 {reduction = #nju<scatter_reduction add>} : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %e1 = nju.constant dense<1> : tensor<i64>
  %hot1 = nju.gather %hots, %e1 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs1 = nju.non_zero %hot1 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows1 = nju.transpose %pairs1 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token1 = nju.slice %rows1, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank1 = nju.slice %rows1, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %x1 = nju.gather_nd %x, %token1 {batch_dims = 0 : i64} : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %a1 = nju.param_ref @a1 : tensor<8x5xf32>
  %b1 = nju.param_ref @b1 : tensor<8x5xf32>
  %c1 = nju.param_ref @c1 : tensor<5x8xf32>
  %g1 = nju.matmul %x1, %a1 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s1 = nju.silu %g1 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u1 = nju.matmul %x1, %b1 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h1 = nju.mul %s1, %u1 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y1 = nju.matmul %h1, %c1 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %pair1 = nju.concat %token1, %rank1 {axis = 1 : i64} : (tensor<?x1xi64>, tensor<?x1xi64>) -> tensor<?x2xi64>
  %w1 = nju.gather_nd %w3, %pair1 {batch_dims = 0 : i64} : (tensor<?x2x1xf32>, tensor<?x2xi64>) -> tensor<?x1xf32>
  %z1 = nju.mul %y1, %w1 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %sum1 = nju.scatter_nd %sum0, %token1, %z1 {reduction = #nju<scatter_reduction add>} : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %e2 = nju.constant dense<2> : tensor<i64>
  %hot2 = nju.gather %hots, %e2 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs2 = nju.non_zero %hot2 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows2 = nju.transpose %pairs2 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token2 = nju.slice %rows2, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank2 = nju.slice %rows2, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %x2 = nju.gather_nd %x, %token2 {batch_dims = 0 : i64} : (tensor<?x8xf32>, tensor<?x1xi64>) -> tensor<?x8xf32>
  %a2 = nju.param_ref @a2 : tensor<8x5xf32>
  %b2 = nju.param_ref @b2 : tensor<8x5xf32>
  %c2 = nju.param_ref @c2 : tensor<5x8xf32>
  %g2 = nju.matmul %x2, %a2 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s2 = nju.silu %g2 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u2 = nju.matmul %x2, %b2 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h2 = nju.mul %s2, %u2 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y2 = nju.matmul %h2, %c2 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %pair2 = nju.concat %token2, %rank2 {axis = 1 : i64} : (tensor<?x1xi64>, tensor<?x1xi64>) -> tensor<?x2xi64>
  %w2 = nju.gather_nd %w3, %pair2 {batch_dims = 0 : i64} : (tensor<?x2x1xf32>, tensor<?x2xi64>) -> tensor<?x1xf32>
  %z2 = nju.mul %y2, %w2 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %sum2 = nju.scatter_nd %sum1, %token2, %z2 : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %sum2 : tensor<?x8xf32>
}

// -----

// One is added to something else.
// CHECK-LABEL: @other_sum
// CHECK-NOT: nju.expert_matmul
// CHECK: return
nju.param @a0 : tensor<8x5xf32> = #nju.file<"w", 0, tensor<8x5xf32>>
nju.param @b0 : tensor<8x5xf32> = #nju.file<"w", 4096, tensor<8x5xf32>>
nju.param @c0 : tensor<5x8xf32> = #nju.file<"w", 8192, tensor<5x8xf32>>
nju.param @a1 : tensor<8x5xf32> = #nju.file<"w", 12288, tensor<8x5xf32>>
nju.param @b1 : tensor<8x5xf32> = #nju.file<"w", 16384, tensor<8x5xf32>>
nju.param @c1 : tensor<5x8xf32> = #nju.file<"w", 20480, tensor<5x8xf32>>
nju.param @a2 : tensor<8x5xf32> = #nju.file<"w", 24576, tensor<8x5xf32>>
nju.param @b2 : tensor<8x5xf32> = #nju.file<"w", 28672, tensor<8x5xf32>>
nju.param @c2 : tensor<5x8xf32> = #nju.file<"w", 32768, tensor<5x8xf32>>
func.func @other_sum(%x: tensor<?x8xf32> {nju.dims = ["n", ""]}, %scores: tensor<?x3xf32> {nju.dims = ["n", ""]}, %w: tensor<?x2xf32> {nju.dims = ["n", ""]}, %other: tensor<?x8xf32> {nju.dims = ["n", ""]}) -> tensor<?x8xf32> {
  %zero = nju.constant dense<0.0> : tensor<f32>
  %i0 = nju.constant dense<0> : tensor<1xi64>
  %i1 = nju.constant dense<1> : tensor<1xi64>
  %i2 = nju.constant dense<2> : tensor<1xi64>
  %numbers = nju.constant dense<[0, 1, 2]> : tensor<3xi64>
  %list = nju.constant dense<[-1, 1]> : tensor<2xi64>
  %choices = nju.top_k %scores {axis = 1 : i64, count = 2 : i64} : (tensor<?x3xf32>) -> tensor<?x2xi64>
  %shape = nju.shape_of %x : (tensor<?x8xf32>) -> tensor<2xi64>
  %sum = nju.fill %shape, %zero : (tensor<2xi64>, tensor<f32>) -> tensor<?x8xf32>
  %column = nju.unsqueeze %choices {axes = array<i64: 2>} : (tensor<?x2xi64>) -> tensor<?x2x1xi64>
  %hot = nju.compare eq %column, %numbers : (tensor<?x2x1xi64>, tensor<3xi64>) -> tensor<?x2x3xi1>
  %hots = nju.transpose %hot {permutation = array<i64: 2, 0, 1>} : (tensor<?x2x3xi1>) -> tensor<3x?x2xi1>
  %w3 = nju.unsqueeze %w {axes = array<i64: 2>} : (tensor<?x2xf32>) -> tensor<?x2x1xf32>
  %wl = nju.reshape %w, %list : (tensor<?x2xf32>, tensor<2xi64>) -> tensor<?x1xf32>
  %e0 = nju.constant dense<0> : tensor<i64>
  %hot0 = nju.gather %hots, %e0 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs0 = nju.non_zero %hot0 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows0 = nju.transpose %pairs0 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token0 = nju.slice %rows0, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank0 = nju.slice %rows0, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %t0 = nju.squeeze %token0 {axes = array<i64: 1>} : (tensor<?x1xi64>) -> tensor<?xi64>
  %r0 = nju.squeeze %rank0 {axes = array<i64: 1>} : (tensor<?x1xi64>) -> tensor<?xi64>
  %x0 = nju.gather %x, %t0 {axis = 0 : i64} : (tensor<?x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
  %a0 = nju.param_ref @a0 : tensor<8x5xf32>
  %b0 = nju.param_ref @b0 : tensor<8x5xf32>
  %c0 = nju.param_ref @c0 : tensor<5x8xf32>
  %g0 = nju.matmul %x0, %a0 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s0 = nju.silu %g0 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u0 = nju.matmul %x0, %b0 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h0 = nju.mul %s0, %u0 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y0 = nju.matmul %h0, %c0 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %at0 = nju.mul %t0, %i2 : (tensor<?xi64>, tensor<1xi64>) -> tensor<?xi64>
  %place0 = nju.add %at0, %r0 : (tensor<?xi64>, tensor<?xi64>) -> tensor<?xi64>
  %w0 = nju.gather %wl, %place0 {axis = 0 : i64} : (tensor<?x1xf32>, tensor<?xi64>) -> tensor<?x1xf32>
  %z0 = nju.mul %y0, %w0 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %one0 = nju.scatter_nd %sum, %token0, %z0 : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %sum0 = nju.add %sum, %one0 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %e1 = nju.constant dense<1> : tensor<i64>
  %hot1 = nju.gather %hots, %e1 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs1 = nju.non_zero %hot1 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows1 = nju.transpose %pairs1 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token1 = nju.slice %rows1, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank1 = nju.slice %rows1, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %t1 = nju.squeeze %token1 {axes = array<i64: 1>} : (tensor<?x1xi64>) -> tensor<?xi64>
  %r1 = nju.squeeze %rank1 {axes = array<i64: 1>} : (tensor<?x1xi64>) -> tensor<?xi64>
  %x1 = nju.gather %x, %t1 {axis = 0 : i64} : (tensor<?x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
  %a1 = nju.param_ref @a1 : tensor<8x5xf32>
  %b1 = nju.param_ref @b1 : tensor<8x5xf32>
  %c1 = nju.param_ref @c1 : tensor<5x8xf32>
  %g1 = nju.matmul %x1, %a1 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s1 = nju.silu %g1 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u1 = nju.matmul %x1, %b1 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h1 = nju.mul %s1, %u1 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y1 = nju.matmul %h1, %c1 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %at1 = nju.mul %t1, %i2 : (tensor<?xi64>, tensor<1xi64>) -> tensor<?xi64>
  %place1 = nju.add %at1, %r1 : (tensor<?xi64>, tensor<?xi64>) -> tensor<?xi64>
  %w1 = nju.gather %wl, %place1 {axis = 0 : i64} : (tensor<?x1xf32>, tensor<?xi64>) -> tensor<?x1xf32>
  %z1 = nju.mul %y1, %w1 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %one1 = nju.scatter_nd %sum, %token1, %z1 : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %sum1 = nju.add %sum0, %one1 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %e2 = nju.constant dense<2> : tensor<i64>
  %hot2 = nju.gather %hots, %e2 {axis = 0 : i64} : (tensor<3x?x2xi1>, tensor<i64>) -> tensor<?x2xi1>
  %pairs2 = nju.non_zero %hot2 : (tensor<?x2xi1>) -> tensor<2x?xi64>
  %rows2 = nju.transpose %pairs2 {permutation = array<i64: 1, 0>} : (tensor<2x?xi64>) -> tensor<?x2xi64>
  %token2 = nju.slice %rows2, %i0, %i1, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %rank2 = nju.slice %rows2, %i1, %i2, %i1 {axes = array<i64: 1>} : (tensor<?x2xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %t2 = nju.squeeze %token2 {axes = array<i64: 1>} : (tensor<?x1xi64>) -> tensor<?xi64>
  %r2 = nju.squeeze %rank2 {axes = array<i64: 1>} : (tensor<?x1xi64>) -> tensor<?xi64>
  %x2 = nju.gather %x, %t2 {axis = 0 : i64} : (tensor<?x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
  %a2 = nju.param_ref @a2 : tensor<8x5xf32>
  %b2 = nju.param_ref @b2 : tensor<8x5xf32>
  %c2 = nju.param_ref @c2 : tensor<5x8xf32>
  %g2 = nju.matmul %x2, %a2 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %s2 = nju.silu %g2 : (tensor<?x5xf32>) -> tensor<?x5xf32>
  %u2 = nju.matmul %x2, %b2 : (tensor<?x8xf32>, tensor<8x5xf32>) -> tensor<?x5xf32>
  %h2 = nju.mul %s2, %u2 : (tensor<?x5xf32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  %y2 = nju.matmul %h2, %c2 : (tensor<?x5xf32>, tensor<5x8xf32>) -> tensor<?x8xf32>
  %at2 = nju.mul %t2, %i2 : (tensor<?xi64>, tensor<1xi64>) -> tensor<?xi64>
  %place2 = nju.add %at2, %r2 : (tensor<?xi64>, tensor<?xi64>) -> tensor<?xi64>
  %w2 = nju.gather %wl, %place2 {axis = 0 : i64} : (tensor<?x1xf32>, tensor<?xi64>) -> tensor<?x1xf32>
  %z2 = nju.mul %y2, %w2 : (tensor<?x8xf32>, tensor<?x1xf32>) -> tensor<?x8xf32>
  %one2 = nju.scatter_nd %sum, %token2, %z2 : (tensor<?x8xf32>, tensor<?x1xi64>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %sum2 = nju.add %other, %one2 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %sum2 : tensor<?x8xf32>
}
