// RUN: nju-opt %s --split-input-file --verify-diagnostics

// expected-error @+1 {{#nju.packed has data 4 : i64, expected a #nju.file or elements of tensor<?xui8>}}
#codes = #nju.packed<data = 4 : i64, bits = 4, row_bits = 8, is_signed = false>

// -----

// expected-error @+1 {{#nju.packed has elements of 3 bits, expected 2, 4 or 8}}
#codes = #nju.packed<data = dense<1> : tensor<3xui8>, bits = 3, row_bits = 9, is_signed = false>

// -----

// expected-error @+1 {{#nju.packed has rows of 6 bits, expected a multiple of 4}}
#codes = #nju.packed<data = dense<1> : tensor<3xui8>, bits = 4, row_bits = 6, is_signed = false>

// -----

#codes = #nju.packed<data = dense<1> : tensor<3xui8>, bits = 4, row_bits = 8, is_signed = false>
// expected-error @+1 {{#nju.uniform is of type 'tensor<3x2xf16>', expected a matrix of f32 of a static shape}}
nju.param @w : tensor<3x2xf16> = #nju.uniform<codes = #codes, scales = dense<1.0> : tensor<1x1xf32>, block = [3, 2], type = tensor<3x2xf16>>

// -----

#codes = #nju.packed<data = dense<1> : tensor<3xui8>, bits = 4, row_bits = 8, is_signed = false>
// expected-error @+1 {{#nju.uniform has blocks of [0, 2], expected two numbers of at least 1}}
nju.param @w : tensor<3x2xf32> = #nju.uniform<codes = #codes, scales = dense<1.0> : tensor<1x1xf32>, block = [0, 2], type = tensor<3x2xf32>>

// -----

// Two columns are 8 bits of each of three rows.
#codes = #nju.packed<data = dense<1> : tensor<2xui8>, bits = 4, row_bits = 8, is_signed = false>
// expected-error @+1 {{which are no matrix 'tensor<3x2xf32>'}}
nju.param @w : tensor<3x2xf32> = #nju.uniform<codes = #codes, scales = dense<1.0> : tensor<1x1xf32>, block = [3, 2], type = tensor<3x2xf32>>

// -----

// Rows must not overlap.
#codes = #nju.packed<data = dense<1> : tensor<9xui8>, bits = 4, row_bits = 4, is_signed = false>
// expected-error @+1 {{which are no matrix 'tensor<3x2xf32>'}}
nju.param @w : tensor<3x2xf32> = #nju.uniform<codes = #codes, scales = dense<1.0> : tensor<1x1xf32>, block = [3, 2], type = tensor<3x2xf32>>

// -----

#codes = #nju.packed<data = dense<1> : tensor<3xui8>, bits = 4, row_bits = 8, is_signed = false>
// expected-error @+1 {{expected floats of shape [3, 1]}}
nju.param @w : tensor<3x2xf32> = #nju.uniform<codes = #codes, scales = dense<1.0> : tensor<1x1xf32>, block = [1, 2], type = tensor<3x2xf32>>

// -----

#codes = #nju.packed<data = dense<1> : tensor<3xui8>, bits = 4, row_bits = 8, is_signed = false>
// expected-error @+1 {{expected #nju.packed or floats of shape [3, 1]}}
nju.param @w : tensor<3x2xf32> = #nju.uniform<codes = #codes, scales = dense<1.0> : tensor<3x1xf32>, zero_points = dense<1> : tensor<3xui8>, block = [1, 2], type = tensor<3x2xf32>>

// -----

#codes = #nju.packed<data = dense<1> : tensor<3xui8>, bits = 4, row_bits = 8, is_signed = false>
// expected-error @+1 {{#nju.uniform has an order of 2 columns, expected a permutation of 2}}
nju.param @w : tensor<3x2xf32> = #nju.uniform<codes = #codes, scales = dense<1.0> : tensor<1x1xf32>, block = [3, 2], column_order = [1, 1], type = tensor<3x2xf32>>

// -----

// expected-error @+1 {{is exact, expected a format of rank 1, scales of 16 or 32 bits, and #nju.uniform codes of as many bits}}
nju.param @w : tensor<1x16xi8> = #nju.file<"w", 0, tensor<64x64xf32>> {exact, format = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 16, offset = false>, part = #nju.part<basis>}

// -----

// expected-error @+1 {{#nju.lcq has zero points of 16 bits, expected 8 or 32, or none}}
#format = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 32, offset = false, zero_bits = 16>

// -----

// expected-error @+1 {{#nju.lcq has zero points, expected rank 1 and no offset}}
#format = #nju.lcq<bits = 4, group = 32, rank = 2, scale_bits = 32, offset = false, zero_bits = 8>
