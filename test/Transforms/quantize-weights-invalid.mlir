// RUN: nju-opt %s --nju-quantize-weights --split-input-file --verify-diagnostics

#four = #nju.lcq<bits = 4, group = 32, rank = 1, scale_bits = 8, offset = false>

// expected-error @+1 {{cannot be quantized, expected a matrix that products multiply or whose rows are looked up, and nothing else}}
nju.param @w : tensor<40x64xf16> = #nju.file<"w", 0, tensor<40x64xf16>> {nju.quantize = #four}
func.func @other_use(%x: tensor<40x64xf16>) -> tensor<40x64xf16> {
  %0 = nju.param_ref @w : tensor<40x64xf16>
  %1 = nju.add %0, %x : (tensor<40x64xf16>, tensor<40x64xf16>) -> tensor<40x64xf16>
  return %1 : tensor<40x64xf16>
}

// -----

// expected-error @+1 {{has nju.quantize = 4 : i64, expected an #nju.lcq}}
nju.param @w : tensor<4xf32> = dense<1.0> : tensor<4xf32> {nju.quantize = 4 : i64}
