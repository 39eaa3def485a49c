// RUN: nju-opt %s --exec-verify-no-alloc --verify-diagnostics

func.func @step() {
  // expected-error @below {{@step allocates a buffer of type 'memref<4xf32>', expected every buffer to lie in the arena}}
  %a = memref.alloc() : memref<4xf32>
  return
}
