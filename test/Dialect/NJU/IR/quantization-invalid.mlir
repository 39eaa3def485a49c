// RUN: nju-opt %s --split-input-file --verify-diagnostics

// expected-error @+1 {{#nju.lcq has 5 bits, expected 2, 3 or 4}}
#f = #nju.lcq<bits = 5, group = 32, rank = 1, scale_bits = 8, offset = false>

// -----

// expected-error @+1 {{#nju.lcq has groups of 48, expected a multiple of 32 with codes of 3 bits}}
#f = #nju.lcq<bits = 3, group = 48, rank = 1, scale_bits = 8, offset = false>

// -----

// expected-error @+1 {{#nju.lcq has rank 4, expected 1, 2 or 3}}
#f = #nju.lcq<bits = 3, group = 64, rank = 4, scale_bits = 8, offset = false>

// -----

// expected-error @+1 {{#nju.lcq has scales of 64 bits, expected 8, 16 or 32}}
#f = #nju.lcq<bits = 3, group = 64, rank = 1, scale_bits = 64, offset = false>

// -----

#four = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>
func.func @codes(%x: tensor<?x64xf32>, %c: tensor<6x544xi8>, %b: tensor<1x16xi8>, %f: tensor<1x112xf32>) {
  // expected-error @+1 {{has codes of type 'tensor<6x544xi8>', expected 'tensor<7x544xi8>' for a matrix of 64 x 100 in}}
  %0 = nju.lcq_matmul %x, %c, %b, %f {format = #four} : (tensor<?x64xf32>, tensor<6x544xi8>, tensor<1x16xi8>, tensor<1x112xf32>) -> tensor<?x100xf32>
  return
}

// -----

#four = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>
func.func @shape(%x: tensor<?x64xf32>, %c: tensor<7x544xi8>, %b: tensor<1x16xi8>, %f: tensor<1x112xf32>) {
  // expected-error @+1 {{expected them to differ in the last dimension only}}
  %0 = nju.lcq_matmul %x, %c, %b, %f {format = #four} : (tensor<?x64xf32>, tensor<7x544xi8>, tensor<1x16xi8>, tensor<1x112xf32>) -> tensor<1x?x100xf32>
  return
}

// -----

#four = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>
func.func @unknown(%x: tensor<?x?xf32>, %c: tensor<7x544xi8>, %b: tensor<1x16xi8>, %f: tensor<1x112xf32>) {
  // expected-error @+1 {{is of a matrix of unknown or no size, expected static numbers of columns and rows}}
  %0 = nju.lcq_matmul %x, %c, %b, %f {format = #four} : (tensor<?x?xf32>, tensor<7x544xi8>, tensor<1x16xi8>, tensor<1x112xf32>) -> tensor<?x100xf32>
  return
}

// -----

#four = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>
func.func @bias(%x: tensor<?x64xf32>, %c: tensor<7x544xi8>, %b: tensor<1x16xi8>, %f: tensor<1x112xf32>, %bias: tensor<99xf32>) {
  // expected-error @+1 {{has bias 'tensor<99xf32>', expected 100 elements}}
  %0 = nju.lcq_matmul %x, %c, %b, %f bias(%bias : tensor<99xf32>) {format = #four} : (tensor<?x64xf32>, tensor<7x544xi8>, tensor<1x16xi8>, tensor<1x112xf32>) -> tensor<?x100xf32>
  return
}

// -----

#four = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>
func.func @rows(%c: tensor<7x544xi8>, %b: tensor<1x16xi8>, %f: tensor<1x112xf32>) {
  // expected-error @+1 {{of 100 channels, expected as many rows}}
  %0 = nju.dequantize %c, %b, %f {channels = 100 : i64, format = #four} : (tensor<7x544xi8>, tensor<1x16xi8>, tensor<1x112xf32>) -> tensor<99x64xf32>
  return
}

// -----

#four = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>
func.func @type(%c: tensor<7x544xi8>, %b: tensor<1x16xi8>, %f: tensor<1x112xf32>, %i: tensor<2x?xi32>) {
  // expected-error @+1 {{expected f32 of rank 3}}
  %0 = nju.dequantize %c, %b, %f rows(%i : tensor<2x?xi32>) {channels = 100 : i64, format = #four} : (tensor<7x544xi8>, tensor<1x16xi8>, tensor<1x112xf32>) -> tensor<2x?x64xf16>
  return
}

// -----

#four = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>
// expected-error @+1 {{has type 'tensor<7x543xi8>', but its codes are 'tensor<7x544xi8>'}}
nju.param @w : tensor<7x543xi8> = #nju.file<"w", 0, tensor<64x100xf16>> {format = #four, part = #nju.part<codes>}

// -----

#four = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>
// expected-error @+1 {{has a format or a part alone or besides panels, expected both without panels, or neither}}
nju.param @w : tensor<7x544xi8> = #nju.file<"w", 0, tensor<64x100xf16>> {format = #four}

// -----

#four = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>
// expected-error @+1 {{has a format, but its data is no matrix}}
nju.param @w : tensor<7x544xi8> = #nju.file<"w", 0, tensor<6400xf16>> {format = #four, part = #nju.part<codes>}
