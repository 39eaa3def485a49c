// RUN: nju-opt %s --verify-roundtrip | FileCheck %s

// Rows of codes can have bits behind them; zero points are packed, or floats,
// or one for all.
// CHECK: nju.param @blocks : tensor<4x50xf32> = #nju.uniform<codes = <data = #nju.file<"w", 0, tensor<128xui8>>, bits = 4, row_bits = 256, is_signed = false>, scales = #nju.file<"w", 128, tensor<4x2xf16>>, zero_points = #nju.packed<data = #nju.file<"w", 144, tensor<4xui8>>, bits = 4, row_bits = 8, is_signed = false>, block = [1, 32], type = tensor<4x50xf32>>
nju.param @blocks : tensor<4x50xf32> = #nju.uniform<codes = <data = #nju.file<"w", 0, tensor<128xui8>>, bits = 4, row_bits = 256, is_signed = false>, scales = #nju.file<"w", 128, tensor<4x2xf16>>, zero_points = #nju.packed<data = #nju.file<"w", 144, tensor<4xui8>>, bits = 4, row_bits = 8, is_signed = false>, block = [1, 32], type = tensor<4x50xf32>>

// CHECK: nju.param @channels : tensor<3x2xf32> = #nju.uniform<codes = <data = dense<[1, 2, 3, 4, 5, 6]> : tensor<6xui8>, bits = 8, row_bits = 16, is_signed = true>, scales = dense<{{.*}}> : tensor<1x2xf32>, zero_points = dense<{{.*}}> : tensor<1x2xf32>, block = [3, 1], column_order = [1, 0], type = tensor<3x2xf32>>
nju.param @channels : tensor<3x2xf32> = #nju.uniform<codes = <data = dense<[1, 2, 3, 4, 5, 6]> : tensor<6xui8>, bits = 8, row_bits = 16, is_signed = true>, scales = dense<1.0> : tensor<1x2xf32>, zero_points = dense<0.5> : tensor<1x2xf32>, block = [3, 1], column_order = [1, 0], type = tensor<3x2xf32>>

// CHECK: nju.param @matrix : {{.*}} zero_point = 8, block = [3, 2], type = tensor<3x2xf32>>
nju.param @matrix : tensor<3x2xf32> = #nju.uniform<codes = <data = dense<1> : tensor<3xui8>, bits = 4, row_bits = 8, is_signed = false>, scales = dense<1.0> : tensor<1x1xf32>, zero_point = 8, block = [3, 2], type = tensor<3x2xf32>>
