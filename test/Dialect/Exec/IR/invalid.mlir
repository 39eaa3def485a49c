// RUN: nju-opt %s --split-input-file --verify-diagnostics

func.func @launch_symbol() {
  // expected-error @+1 {{launches @k, which is no function}}
  exec.launch @k
  return
}

// -----

func.func private @k(index, index, memref<4xf32>)
func.func @launch_arguments(%x: memref<5xf32>) {
  // expected-error @+1 {{expected arguments ('index', 'index', 'memref<5xf32>')}}
  exec.launch @k ins(%x : memref<5xf32>)
  return
}

// -----

func.func @linear_pair_without_epilogue(%x: memref<?x64xf32>, %w: memref<4x64x32xf16>, %y: memref<?x100xf32>) {
  // expected-error @+1 {{has 2 weights and 0 other operands, expected an epilogue for more than one weight}}
  exec.linear ins(%x, %w, %w : memref<?x64xf32>, memref<4x64x32xf16>, memref<4x64x32xf16>) outs(%y : memref<?x100xf32>)
  return
}

// -----

func.func @linear_three_weights(%x: memref<?x64xf32>, %w: memref<4x64x32xf16>, %y: memref<?x100xf32>) {
  // expected-error @+1 {{has 3 weights, expected 1 or 2}}
  exec.linear ins(%x, %w, %w, %w : memref<?x64xf32>, memref<4x64x32xf16>, memref<4x64x32xf16>, memref<4x64x32xf16>) outs(%y : memref<?x100xf32>) epilogue {
  ^bb0(%a: f32, %b: f32, %c: f32):
    exec.yield %a : f32
  }
  return
}

// -----

func.func @linear_unequal_weights(%x: memref<?x64xf32>, %w: memref<4x64x32xf16>, %v: memref<4x64x32xf32>, %y: memref<?x100xf32>) {
  // expected-error @+1 {{has weights of types 'memref<4x64x32xf16>', 'memref<4x64x32xf32>', expected equal ones}}
  exec.linear ins(%x, %w, %v : memref<?x64xf32>, memref<4x64x32xf16>, memref<4x64x32xf32>) outs(%y : memref<?x100xf32>) epilogue {
  ^bb0(%a: f32, %b: f32):
    exec.yield %a : f32
  }
  return
}

// -----

func.func @linear_arguments(%x: memref<?x64xf32>, %w: memref<4x64x32xf16>, %y: memref<?x100xf32>) {
  // expected-error @+1 {{has an epilogue of 'f32', 'f64', expected 1 arguments of type f32}}
  exec.linear ins(%x, %w : memref<?x64xf32>, memref<4x64x32xf16>) outs(%y : memref<?x100xf32>) epilogue {
  ^bb0(%a: f32, %b: f64):
    exec.yield %a : f32
  }
  return
}

// -----

func.func @linear_other(%x: memref<?x64xf32>, %w: memref<4x64x32xf16>, %o: memref<4x5x?x100xf32>, %y: memref<?x100xf32>) {
  // expected-error @+1 {{has another operand of type 'memref<4x5x?x100xf32>', expected f32 of rank 1 or 2}}
  exec.linear ins(%x, %w : memref<?x64xf32>, memref<4x64x32xf16>) with(%o : memref<4x5x?x100xf32>) outs(%y : memref<?x100xf32>) epilogue {
  ^bb0(%a: f32, %b: f32):
    exec.yield %a : f32
  }
  return
}

// -----

func.func @experts(%x: memref<?x8xf32>, %w: memref<1x8x32xf32>, %v: memref<1x8x32xf32>, %y: memref<?x4xf32>) {
  // expected-error @+1 {{has 2 experts and 0 other operands, expected choices for several experts and then no others}}
  exec.linear ins(%x, %w, %v : memref<?x8xf32>, memref<1x8x32xf32>, memref<1x8x32xf32>) outs(%y : memref<?x4xf32>) {experts = 2 : i64}
  return
}
