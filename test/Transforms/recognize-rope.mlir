// RUN: nju-opt %s --nju-recognize --split-input-file | FileCheck %s

// CHECK-LABEL: @halves
// CHECK-NEXT: nju.rope %arg0, %arg1, %arg2 :
// CHECK-NEXT: return
func.func @halves(%x: tensor<1x2x?x4xf32> {nju.dims = ["", "", "s", ""]},
    %cos: tensor<1x1x?x4xf32> {nju.dims = ["", "", "s", ""]},
    %sin: tensor<1x1x?x4xf32> {nju.dims = ["", "", "s", ""]}) -> tensor<1x2x?x4xf32> {
  %zero = nju.constant dense<0> : tensor<1xi64>
  %half = nju.constant dense<2> : tensor<1xi64>
  %end = nju.constant dense<9223372036854775807> : tensor<1xi64>
  %one = nju.constant dense<1> : tensor<1xi64>
  %0 = nju.mul %x, %cos : (tensor<1x2x?x4xf32>, tensor<1x1x?x4xf32>) -> tensor<1x2x?x4xf32>
  %1 = nju.slice %x, %zero, %half, %one {axes = array<i64: 3>} : (tensor<1x2x?x4xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<1x2x?x2xf32>
  %2 = nju.slice %x, %half, %end, %one {axes = array<i64: 3>} : (tensor<1x2x?x4xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<1x2x?x2xf32>
  %3 = nju.neg %2 : (tensor<1x2x?x2xf32>) -> tensor<1x2x?x2xf32>
  %4 = nju.concat %3, %1 {axis = 3 : i64} : (tensor<1x2x?x2xf32>, tensor<1x2x?x2xf32>) -> tensor<1x2x?x4xf32>
  %5 = nju.mul %4, %sin : (tensor<1x2x?x4xf32>, tensor<1x1x?x4xf32>) -> tensor<1x2x?x4xf32>
  %6 = nju.add %0, %5 : (tensor<1x2x?x4xf32>, tensor<1x2x?x4xf32>) -> tensor<1x2x?x4xf32>
  return %6 : tensor<1x2x?x4xf32>
}

// -----

// The other half is negated: this rotates backwards.
// CHECK-LABEL: @no_rope_that_turns_backwards
// CHECK-NOT: nju.rope
func.func @no_rope_that_turns_backwards(%x: tensor<3x4xf32>, %cos: tensor<3x4xf32>, %sin: tensor<3x4xf32>) -> tensor<3x4xf32> {
  %zero = nju.constant dense<0> : tensor<1xi64>
  %half = nju.constant dense<2> : tensor<1xi64>
  %end = nju.constant dense<4> : tensor<1xi64>
  %one = nju.constant dense<1> : tensor<1xi64>
  %0 = nju.mul %x, %cos : (tensor<3x4xf32>, tensor<3x4xf32>) -> tensor<3x4xf32>
  %1 = nju.slice %x, %zero, %half, %one {axes = array<i64: 1>} : (tensor<3x4xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<3x2xf32>
  %2 = nju.slice %x, %half, %end, %one {axes = array<i64: 1>} : (tensor<3x4xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<3x2xf32>
  %3 = nju.neg %1 : (tensor<3x2xf32>) -> tensor<3x2xf32>
  %4 = nju.concat %2, %3 {axis = 1 : i64} : (tensor<3x2xf32>, tensor<3x2xf32>) -> tensor<3x4xf32>
  %5 = nju.mul %4, %sin : (tensor<3x4xf32>, tensor<3x4xf32>) -> tensor<3x4xf32>
  %6 = nju.add %0, %5 : (tensor<3x4xf32>, tensor<3x4xf32>) -> tensor<3x4xf32>
  return %6 : tensor<3x4xf32>
}

// -----

// The halves are cut in the wrong place.
// CHECK-LABEL: @no_rope_of_uneven_parts
// CHECK-NOT: nju.rope
func.func @no_rope_of_uneven_parts(%x: tensor<3x4xf32>, %cos: tensor<3x4xf32>, %sin: tensor<3x4xf32>) -> tensor<3x4xf32> {
  %zero = nju.constant dense<0> : tensor<1xi64>
  %cut = nju.constant dense<1> : tensor<1xi64>
  %end = nju.constant dense<4> : tensor<1xi64>
  %one = nju.constant dense<1> : tensor<1xi64>
  %0 = nju.mul %x, %cos : (tensor<3x4xf32>, tensor<3x4xf32>) -> tensor<3x4xf32>
  %1 = nju.slice %x, %zero, %cut, %one {axes = array<i64: 1>} : (tensor<3x4xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<3x1xf32>
  %2 = nju.slice %x, %cut, %end, %one {axes = array<i64: 1>} : (tensor<3x4xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<3x3xf32>
  %3 = nju.neg %2 : (tensor<3x3xf32>) -> tensor<3x3xf32>
  %4 = nju.concat %3, %1 {axis = 1 : i64} : (tensor<3x3xf32>, tensor<3x1xf32>) -> tensor<3x4xf32>
  %5 = nju.mul %4, %sin : (tensor<3x4xf32>, tensor<3x4xf32>) -> tensor<3x4xf32>
  %6 = nju.add %0, %5 : (tensor<3x4xf32>, tensor<3x4xf32>) -> tensor<3x4xf32>
  return %6 : tensor<3x4xf32>
}

// -----

// Pairs of a reshape, tables of half the width.
// CHECK-LABEL: @pairs
// CHECK: %[[LANES:.*]] = nju.constant dense<[0, 0, 1, 1]> : tensor<4xi64>
// CHECK: %[[COS:.*]] = nju.gather %arg1, %[[LANES]] {axis = 1 : i64}
// CHECK: %[[SIN:.*]] = nju.gather %arg2, %[[LANES]] {axis = 1 : i64}
// CHECK: nju.rope %arg0, %[[COS]], %[[SIN]] {interleaved}
// CHECK-NEXT: return
func.func @pairs(%x: tensor<3x4xf32>, %cos: tensor<3x2xf32>, %sin: tensor<3x2xf32>) -> tensor<3x4xf32> {
  %split = nju.constant dense<[3, 2, 2]> : tensor<3xi64>
  %join = nju.constant dense<[3, 4]> : tensor<2xi64>
  %even = nju.constant dense<0> : tensor<i64>
  %odd = nju.constant dense<1> : tensor<i64>
  %0 = nju.reshape %x, %split : (tensor<3x4xf32>, tensor<3xi64>) -> tensor<3x2x2xf32>
  %1 = nju.gather %0, %even {axis = 2 : i64} : (tensor<3x2x2xf32>, tensor<i64>) -> tensor<3x2xf32>
  %2 = nju.gather %0, %odd {axis = 2 : i64} : (tensor<3x2x2xf32>, tensor<i64>) -> tensor<3x2xf32>
  %3 = nju.mul %1, %cos : (tensor<3x2xf32>, tensor<3x2xf32>) -> tensor<3x2xf32>
  %4 = nju.mul %2, %sin : (tensor<3x2xf32>, tensor<3x2xf32>) -> tensor<3x2xf32>
  %5 = nju.sub %3, %4 : (tensor<3x2xf32>, tensor<3x2xf32>) -> tensor<3x2xf32>
  %6 = nju.mul %1, %sin : (tensor<3x2xf32>, tensor<3x2xf32>) -> tensor<3x2xf32>
  %7 = nju.mul %2, %cos : (tensor<3x2xf32>, tensor<3x2xf32>) -> tensor<3x2xf32>
  %8 = nju.add %6, %7 : (tensor<3x2xf32>, tensor<3x2xf32>) -> tensor<3x2xf32>
  %9 = nju.unsqueeze %5 {axes = array<i64: 2>} : (tensor<3x2xf32>) -> tensor<3x2x1xf32>
  %10 = nju.unsqueeze %8 {axes = array<i64: 2>} : (tensor<3x2xf32>) -> tensor<3x2x1xf32>
  %11 = nju.concat %9, %10 {axis = 2 : i64} : (tensor<3x2x1xf32>, tensor<3x2x1xf32>) -> tensor<3x2x2xf32>
  %12 = nju.reshape %11, %join : (tensor<3x2x2xf32>, tensor<2xi64>) -> tensor<3x4xf32>
  return %12 : tensor<3x4xf32>
}

// -----

// Only the first two elements are rotated.
// CHECK-LABEL: @part
// CHECK: nju.rope %arg0, %arg1, %arg2 : (tensor<3x4xf32>, tensor<3x2xf32>, tensor<3x2xf32>) -> tensor<3x4xf32>
// CHECK-NEXT: return
func.func @part(%x: tensor<3x4xf32>, %cos: tensor<3x2xf32>, %sin: tensor<3x2xf32>) -> tensor<3x4xf32> {
  %zero = nju.constant dense<0> : tensor<1xi64>
  %one = nju.constant dense<1> : tensor<1xi64>
  %two = nju.constant dense<2> : tensor<1xi64>
  %four = nju.constant dense<4> : tensor<1xi64>
  %r = nju.slice %x, %zero, %two, %one {axes = array<i64: 1>} : (tensor<3x4xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<3x2xf32>
  %p = nju.slice %x, %two, %four, %one {axes = array<i64: 1>} : (tensor<3x4xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<3x2xf32>
  %0 = nju.mul %r, %cos : (tensor<3x2xf32>, tensor<3x2xf32>) -> tensor<3x2xf32>
  %1 = nju.slice %r, %zero, %one, %one {axes = array<i64: 1>} : (tensor<3x2xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<3x1xf32>
  %2 = nju.slice %r, %one, %two, %one {axes = array<i64: 1>} : (tensor<3x2xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<3x1xf32>
  %3 = nju.neg %2 : (tensor<3x1xf32>) -> tensor<3x1xf32>
  %4 = nju.concat %3, %1 {axis = 1 : i64} : (tensor<3x1xf32>, tensor<3x1xf32>) -> tensor<3x2xf32>
  %5 = nju.mul %4, %sin : (tensor<3x2xf32>, tensor<3x2xf32>) -> tensor<3x2xf32>
  %6 = nju.add %0, %5 : (tensor<3x2xf32>, tensor<3x2xf32>) -> tensor<3x2xf32>
  %7 = nju.concat %6, %p {axis = 1 : i64} : (tensor<3x2xf32>, tensor<3x2xf32>) -> tensor<3x4xf32>
  return %7 : tensor<3x4xf32>
}
