// RUN: nju-opt %s --split-input-file --nju-infer-shapes | FileCheck %s

// CHECK-LABEL: func @updates_function_type
// CHECK-SAME: -> tensor<1x?x8xf32>
func.func @updates_function_type(%x: tensor<1x?x8xf32>) -> tensor<?x?x?xf32> {
  // CHECK: nju.neg %{{.*}} : (tensor<1x?x8xf32>) -> tensor<1x?x8xf32>
  %0 = nju.neg %x : (tensor<1x?x8xf32>) -> tensor<?x?x?xf32>
  return %0 : tensor<?x?x?xf32>
}

// -----

// CHECK-LABEL: func @widens_stale_types
func.func @widens_stale_types(%x: tensor<1x?xf32>) -> tensor<1x4xf32> {
  // CHECK: nju.exp %{{.*}} : (tensor<1x?xf32>) -> tensor<1x?xf32>
  %0 = nju.exp %x : (tensor<1x?xf32>) -> tensor<1x4xf32>
  return %0 : tensor<1x4xf32>
}

// -----

// CHECK-LABEL: func @broadcasts
func.func @broadcasts(%a: tensor<4x1x?xf32>, %b: tensor<7x16xf32>, %c: tensor<i1>) -> (tensor<?x?x?xf32>, tensor<?x?x?xi1>, tensor<?x?x?xf32>) {
  // CHECK: nju.add {{.*}} -> tensor<4x7x16xf32>
  %0 = nju.add %a, %b : (tensor<4x1x?xf32>, tensor<7x16xf32>) -> tensor<?x?x?xf32>
  // CHECK: nju.compare lt {{.*}} -> tensor<4x7x16xi1>
  %1 = nju.compare lt %a, %b : (tensor<4x1x?xf32>, tensor<7x16xf32>) -> tensor<?x?x?xi1>
  // CHECK: nju.select {{.*}} -> tensor<4x7x16xf32>
  %2 = nju.select %c, %a, %b : (tensor<i1>, tensor<4x1x?xf32>, tensor<7x16xf32>) -> tensor<?x?x?xf32>
  return %0, %1, %2 : tensor<?x?x?xf32>, tensor<?x?x?xi1>, tensor<?x?x?xf32>
}

// -----

// The shape of a reshape is computed from the dimensions of another value.
// CHECK-LABEL: func @follows_shape_computation
func.func @follows_shape_computation(%x: tensor<2x?x64xf32> {nju.dims = ["", "s", ""]}) -> tensor<?x?x?x?xf32> {
  %s = nju.shape_of %x : (tensor<2x?x64xf32>) -> tensor<?xi64>
  %zero = nju.constant dense<0> : tensor<i64>
  %axis = nju.constant dense<0> : tensor<1xi64>
  %heads = nju.constant dense<[-1, 8, 8]> : tensor<3xi64>
  %b = nju.gather %s, %zero {axis = 0 : i64} : (tensor<?xi64>, tensor<i64>) -> tensor<i64>
  %b1 = nju.unsqueeze %b {axes = array<i64: 0>} : (tensor<i64>) -> tensor<?xi64>
  // CHECK: nju.concat {{.*}} -> tensor<4xi64>
  %shape = nju.concat %b1, %heads {axis = 0 : i64} : (tensor<?xi64>, tensor<3xi64>) -> tensor<?xi64>
  // CHECK: nju.reshape {{.*}} -> tensor<2x?x8x8xf32>
  %y = nju.reshape %x, %shape : (tensor<2x?x64xf32>, tensor<?xi64>) -> tensor<?x?x?x?xf32>
  return %y : tensor<?x?x?x?xf32>
}

// -----

// CHECK-LABEL: func @looks_up_columns
func.func @looks_up_columns(%w: tensor<4x64x32xf16>, %i: tensor<1x?xi64>) -> tensor<?x?x?xf16> {
  // CHECK: nju.embedding {{.*}} -> tensor<1x?x64xf16>
  %y = nju.embedding %w, %i {columns = 100 : i64} : (tensor<4x64x32xf16>, tensor<1x?xi64>) -> tensor<?x?x?xf16>
  return %y : tensor<?x?x?xf16>
}

// -----

// CHECK-LABEL: func @slices
func.func @slices(%x: tensor<10x?x6xf32> {nju.dims = ["", "s", ""]}, %p: tensor<?xf32> {nju.dims = ["past"]}) -> (tensor<?x?x?xf32>, tensor<?x?x?xf32>, tensor<?x?x?xf32>, tensor<?xf32>) {
  %starts = nju.constant dense<[1, -1]> : tensor<2xi64>
  %ends = nju.constant dense<[9, 9223372036854775807]> : tensor<2xi64>
  %steps = nju.constant dense<[3, 1]> : tensor<2xi64>
  %back = nju.constant dense<-1> : tensor<1xi64>
  %least = nju.constant dense<-9223372036854775808> : tensor<1xi64>
  %zero = nju.constant dense<0> : tensor<1xi64>
  %one = nju.constant dense<1> : tensor<1xi64>
  // CHECK: nju.slice {{.*}} -> tensor<3x1x6xf32>
  %0 = nju.slice %x, %starts, %ends, %steps {axes = array<i64: 0, 1>} : (tensor<10x?x6xf32>, tensor<2xi64>, tensor<2xi64>, tensor<2xi64>) -> tensor<?x?x?xf32>
  // CHECK: nju.slice {{.*}} -> tensor<10x?x6xf32>
  %1 = nju.slice %x, %back, %least, %back {axes = array<i64: 2>} : (tensor<10x?x6xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x?x?xf32>
  // CHECK: nju.slice {{.*}} -> tensor<0x?x6xf32>
  %2 = nju.slice %x, %one, %zero, %one {axes = array<i64: 0>} : (tensor<10x?x6xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x?x?xf32>
  // A cache may be empty, so that its first element may be missing.
  // CHECK: nju.slice {{.*}} -> tensor<?xf32>
  %3 = nju.slice %p, %zero, %one, %one {axes = array<i64: 0>} : (tensor<?xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?xf32>
  return %0, %1, %2, %3 : tensor<?x?x?xf32>, tensor<?x?x?xf32>, tensor<?x?x?xf32>, tensor<?xf32>
}

// -----

// CHECK-LABEL: func @moves_data
func.func @moves_data(%x: tensor<2x3x?xf32>, %i: tensor<5x2xi64>, %v: tensor<f32>) -> (tensor<?x?x?xf32>, tensor<?x?x?x?xf32>, tensor<?x?xf32>, tensor<?x?x?xf32>, tensor<?x?x?xf32>, tensor<?x?xi64>) {
  // CHECK: nju.transpose {{.*}} -> tensor<?x2x3xf32>
  %0 = nju.transpose %x {permutation = array<i64: 2, 0, 1>} : (tensor<2x3x?xf32>) -> tensor<?x?x?xf32>
  // CHECK: nju.gather {{.*}} -> tensor<2x5x2x?xf32>
  %1 = nju.gather %x, %i {axis = 1 : i64} : (tensor<2x3x?xf32>, tensor<5x2xi64>) -> tensor<?x?x?x?xf32>
  // CHECK: nju.gather_nd {{.*}} -> tensor<5x?xf32>
  %2 = nju.gather_nd %x, %i {batch_dims = 0 : i64} : (tensor<2x3x?xf32>, tensor<5x2xi64>) -> tensor<?x?xf32>
  %pads = nju.constant dense<[1, 0, 0, 2, -1, 0]> : tensor<6xi64>
  // CHECK: nju.pad {{.*}} -> tensor<5x2x?xf32>
  %3 = nju.pad %x, %pads, %v : (tensor<2x3x?xf32>, tensor<6xi64>, tensor<f32>) -> tensor<?x?x?xf32>
  %repeats = nju.constant dense<[2, 1, 0]> : tensor<3xi64>
  // CHECK: nju.tile {{.*}} -> tensor<4x3x0xf32>
  %4 = nju.tile %x, %repeats : (tensor<2x3x?xf32>, tensor<3xi64>) -> tensor<?x?x?xf32>
  // CHECK: nju.non_zero {{.*}} -> tensor<3x?xi64>
  %5 = nju.non_zero %x : (tensor<2x3x?xf32>) -> tensor<?x?xi64>
  return %0, %1, %2, %3, %4, %5 : tensor<?x?x?xf32>, tensor<?x?x?x?xf32>, tensor<?x?xf32>, tensor<?x?x?xf32>, tensor<?x?x?xf32>, tensor<?x?xi64>
}

// -----

// CHECK-LABEL: func @generates
func.func @generates(%x: tensor<3x?xf32> {nju.dims = ["", "s"]}) -> (tensor<?xi64>, tensor<?xf32>, tensor<?x?xf32>, tensor<?xi64>) {
  %start = nju.constant dense<2> : tensor<i64>
  %limit = nju.constant dense<-7> : tensor<i64>
  %delta = nju.constant dense<-2> : tensor<i64>
  // CHECK: nju.range {{.*}} -> tensor<5xi64>
  %0 = nju.range %start, %limit, %delta : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %fstart = nju.constant dense<0.5> : tensor<f32>
  %flimit = nju.constant dense<2.0> : tensor<f32>
  %fdelta = nju.constant dense<0.25> : tensor<f32>
  // CHECK: nju.range {{.*}} -> tensor<6xf32>
  %1 = nju.range %fstart, %flimit, %fdelta : (tensor<f32>, tensor<f32>, tensor<f32>) -> tensor<?xf32>
  %shape = nju.shape_of %x : (tensor<3x?xf32>) -> tensor<2xi64>
  // CHECK: nju.fill {{.*}} -> tensor<3x?xf32>
  %2 = nju.fill %shape, %fstart : (tensor<2xi64>, tensor<f32>) -> tensor<?x?xf32>
  %all = nju.reduce_prod %shape {axes = array<i64: 0>, keep_dims} : (tensor<2xi64>) -> tensor<?xi64>
  %fill = nju.constant dense<1> : tensor<i64>
  // CHECK: nju.fill {{.*}} -> tensor<?xi64>
  %3 = nju.fill %all, %fill : (tensor<?xi64>, tensor<i64>) -> tensor<?xi64>
  return %0, %1, %2, %3 : tensor<?xi64>, tensor<?xf32>, tensor<?x?xf32>, tensor<?xi64>
}

// -----

// CHECK-LABEL: func @multiplies
func.func @multiplies(%a: tensor<2x1x3x?xf32>, %b: tensor<5x4x6xf32>, %r: tensor<4xf32>, %w: tensor<4x64x32xf16>, %x: tensor<1x?x64xf32>) -> (tensor<?x?x?x?xf32>, tensor<?x?xf32>, tensor<f32>, tensor<?x?x100xf32>) {
  // CHECK: nju.matmul {{.*}} -> tensor<2x5x3x6xf32>
  %0 = nju.matmul %a, %b : (tensor<2x1x3x?xf32>, tensor<5x4x6xf32>) -> tensor<?x?x?x?xf32>
  // CHECK: nju.matmul {{.*}} -> tensor<5x6xf32>
  %1 = nju.matmul %r, %b : (tensor<4xf32>, tensor<5x4x6xf32>) -> tensor<?x?xf32>
  // CHECK: nju.matmul {{.*}} -> tensor<f32>
  %2 = nju.matmul %r, %r : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  // CHECK: nju.linear {{.*}} -> tensor<1x?x100xf32>
  %3 = nju.linear %x, %w : (tensor<1x?x64xf32>, tensor<4x64x32xf16>) -> tensor<?x?x100xf32>
  return %0, %1, %2, %3 : tensor<?x?x?x?xf32>, tensor<?x?xf32>, tensor<f32>, tensor<?x?x100xf32>
}

// -----

// CHECK-LABEL: func @reduces
func.func @reduces(%x: tensor<2x?x4xf16>) -> (tensor<?x?xf16>, tensor<?x?x?xf16>, tensor<?x?xi64>) {
  // CHECK: nju.reduce_sum {{.*}} -> tensor<2x4xf16>
  %0 = nju.reduce_sum %x {axes = array<i64: 1>} : (tensor<2x?x4xf16>) -> tensor<?x?xf16>
  // CHECK: nju.reduce_mean {{.*}} -> tensor<1x?x1xf16>
  %1 = nju.reduce_mean %x {axes = array<i64: 0, 2>, keep_dims} : (tensor<2x?x4xf16>) -> tensor<?x?x?xf16>
  // CHECK: nju.arg_max {{.*}} -> tensor<2x?xi64>
  %2 = nju.arg_max %x {axis = 2 : i64} : (tensor<2x?x4xf16>) -> tensor<?x?xi64>
  return %0, %1, %2 : tensor<?x?xf16>, tensor<?x?x?xf16>, tensor<?x?xi64>
}

// -----

// CHECK-LABEL: func @infers_layers
func.func @infers_layers(%q: tensor<1x8x?x64xf32> {nju.dims = ["", "", "s", ""]}, %k: tensor<1x2x?x64xf32>, %v: tensor<1x2x?x32xf32>, %c: tensor<1x1x?x64xf32> {nju.dims = ["", "", "s", ""]}, %w: tensor<64xf32>) -> (tensor<?x?x?x?xf32>, tensor<?x?x?x?xf32>) {
  // CHECK: nju.rms_norm {{.*}} -> tensor<1x8x?x64xf32>
  %n = nju.rms_norm %q, %w {epsilon = 1.0e-5 : f64} : (tensor<1x8x?x64xf32>, tensor<64xf32>) -> tensor<?x?x?x64xf32>
  // CHECK: nju.rope {{.*}} -> tensor<1x8x?x64xf32>
  %r = nju.rope %n, %c, %c : (tensor<?x?x?x64xf32>, tensor<1x1x?x64xf32>, tensor<1x1x?x64xf32>) -> tensor<1x?x?x64xf32>
  // CHECK: nju.attention {{.*}} -> tensor<1x8x?x32xf32>
  %a = nju.attention %q, %k, %v {scale = 0.125 : f64} : (tensor<1x8x?x64xf32>, tensor<1x2x?x64xf32>, tensor<1x2x?x32xf32>) -> tensor<?x?x?x?xf32>
  %r2 = nju.cast %r : (tensor<1x?x?x64xf32>) -> tensor<?x?x?x?xf32>
  return %a, %r2 : tensor<?x?x?x?xf32>, tensor<?x?x?x?xf32>
}
