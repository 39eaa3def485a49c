// RUN: nju-opt %s --nju-quantize-weights --split-input-file --verify-diagnostics

#four = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>

// expected-error @+1 {{cannot be quantized, expected a matrix that products multiply or whose rows tokens look up, and nothing else}}
nju.param @w : tensor<40x64xf16> = #nju.file<"w", 0, tensor<40x64xf16>> {nju.quantize = #four}
func.func @other_use(%x: tensor<40x64xf16>) -> tensor<40x64xf16> {
  %0 = nju.param_ref @w : tensor<40x64xf16>
  %1 = nju.add %0, %x : (tensor<40x64xf16>, tensor<40x64xf16>) -> tensor<40x64xf16>
  return %1 : tensor<40x64xf16>
}

// -----

#four = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>

// A table of positions.
// expected-error @+1 {{cannot be quantized, expected a matrix that products multiply or whose rows tokens look up, and nothing else}}
nju.param @w : tensor<40x64xf16> = #nju.file<"w", 0, tensor<40x64xf16>> {nju.quantize = #four}
func.func @positions(%x: tensor<?xi32> {nju.name = "positions"}) -> tensor<?x1x64xf16> {
  %0 = nju.param_ref @w : tensor<40x64xf16>
  %column = nju.constant dense<[-1, 1]> : tensor<2xi64>
  %1 = nju.reshape %x, %column : (tensor<?xi32>, tensor<2xi64>) -> tensor<?x1xi32>
  %2 = nju.gather %0, %1 {axis = 0 : i64} : (tensor<40x64xf16>, tensor<?x1xi32>) -> tensor<?x1x64xf16>
  return %2 : tensor<?x1x64xf16>
}

// -----

// expected-error @+1 {{has nju.quantize = 4 : i64, expected an #nju.lcq}}
nju.param @w : tensor<4xf32> = dense<1.0> : tensor<4xf32> {nju.quantize = 4 : i64}

// -----

#four = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>
#three = #nju.lcq<bits = 3, group = 32, rank = 1, scale_bits = 8, offset = false>

nju.param @w0 : tensor<2x64x32xf16> = #nju.file<"w", 0, tensor<64x40xf16>> {nju.quantize = #four, panels = 32 : i64}
nju.param @w1 : tensor<2x64x32xf16> = #nju.file<"w", 0, tensor<64x40xf16>> {nju.quantize = #three, panels = 32 : i64}
func.func @formats(%x: tensor<?x64xf32>, %c: tensor<?x2xi64>) -> tensor<?x2x40xf32> {
  %0 = nju.param_ref @w0 : tensor<2x64x32xf16>
  %1 = nju.param_ref @w1 : tensor<2x64x32xf16>
  // expected-error @+1 {{has experts of different formats, expected the same for all of them}}
  %2 = nju.expert_linear %x, %c, %0, %1 : (tensor<?x64xf32>, tensor<?x2xi64>, tensor<2x64x32xf16>, tensor<2x64x32xf16>) -> tensor<?x2x40xf32>
  return %2 : tensor<?x2x40xf32>
}
