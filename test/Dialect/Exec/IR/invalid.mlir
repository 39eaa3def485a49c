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
