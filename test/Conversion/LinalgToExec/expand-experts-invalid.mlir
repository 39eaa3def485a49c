// RUN: nju-opt %s --exec-expand-library-ops=target=x86-64-v4 --verify-diagnostics

func.func @no_params(%threads: index, %x: memref<?x64xf32>, %c: memref<?x2xi64>, %w: memref<4x64x32xf16>, %y: memref<?x2x100xf32>, %weights: memref<?xi8>) {
  // expected-error @+1 {{chooses among weights that are no params}}
  exec.linear ins(%x, %w, %w : memref<?x64xf32>, memref<4x64x32xf16>, memref<4x64x32xf16>) choices(%c : memref<?x2xi64>) outs(%y : memref<?x2x100xf32>) {experts = 2 : i64}
  return
}
