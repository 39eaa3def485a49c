// RUN: nju-opt %s --split-input-file --verify-diagnostics --nju-lower-to-llvm

// expected-error @+1 {{function 'step' has type '(memref<?xf32>) -> ()', which is not that of a lowered model}}
module {
  func.func @step(%x: memref<?xf32>) {
    return
  }
}

// -----

// expected-error @+1 {{function 'main' has type}}
module {
  func.func @main(%threads: index, %x: memref<?xf32, strided<[2]>>, %weights: memref<?xi8>) {
    return
  }
}
