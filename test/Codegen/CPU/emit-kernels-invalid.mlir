// RUN: not nju-opt %s --nju-emit-kernels="kernels=linear_f8" 2>&1 | FileCheck %s --check-prefix=KERNEL
// RUN: not nju-opt %s --nju-emit-kernels="kernels=cached_attention:7x2x64" 2>&1 | FileCheck %s --check-prefix=HEADS
// RUN: not nju-opt %s --nju-emit-kernels="kernels=cache_write:4x0" 2>&1 | FileCheck %s --check-prefix=SIZES
// RUN: not nju-opt %s --nju-emit-kernels="kernels=pack_rows target=z80" 2>&1 | FileCheck %s --check-prefix=TARGET

// KERNEL: error: unknown kernel 'linear_f8', expected pack_rows, linear_f32
// HEADS: error: unknown kernel 'cached_attention:7x2x64'
// SIZES: error: unknown kernel 'cache_write:4x0'
// TARGET: error: unknown target 'z80'; expected one of: host, x86-64, x86-64-v3, x86-64-v4, {{.*}}znver4
module {}
