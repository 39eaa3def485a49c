// RUN: nju-opt %s --split-input-file --verify-diagnostics --allow-unregistered-dialect --nju-fold-constants

// Shapes are inferred on the way, with the diagnostics of nju-infer-shapes.
func.func @contradiction(%a: tensor<2x3xf32>) {
  %s = nju.constant dense<[4, 2]> : tensor<2xi64>
  // expected-error @+1 {{cannot reshape 'tensor<2x3xf32>' of 6 elements to [4, 2]}}
  %0 = nju.reshape %a, %s : (tensor<2x3xf32>, tensor<2xi64>) -> tensor<?x?xf32>
  return
}

// -----

// expected-error @+1 {{'func.func' op has 2 blocks, expected one}}
func.func @blocks() {
  "test.branch"() [^next] : () -> ()
^next:
  return
}
