// RUN: not nju-opt %s --nju-emit-kernels="kernels=linear_f8" 2>&1 | FileCheck %s --check-prefix=KERNEL
// RUN: not nju-opt %s --nju-emit-kernels="kernels=cached_attention:7x2x64" 2>&1 | FileCheck %s --check-prefix=HEADS
// RUN: not nju-opt %s --nju-emit-kernels="kernels=cache_write:4x0" 2>&1 | FileCheck %s --check-prefix=SIZES
// RUN: not nju-opt %s --nju-emit-kernels="kernels=cached_attention:8x2x60:q4" 2>&1 | FileCheck %s --check-prefix=GROUPS
// RUN: not nju-opt %s --nju-emit-kernels="kernels=cache_write:2x12:q8" 2>&1 | FileCheck %s --check-prefix=WRITE
// RUN: not nju-opt %s --nju-emit-kernels="kernels=pack_rows target=z80" 2>&1 | FileCheck %s --check-prefix=TARGET
// RUN: not nju-opt %s --nju-emit-kernels="kernels=pack_tiles target=cascadelake compute=bf16" 2>&1 | FileCheck %s --check-prefix=BF16
// RUN: not nju-opt %s --nju-emit-kernels="kernels=pack_tiles compute=f8" 2>&1 | FileCheck %s --check-prefix=COMPUTE
// RUN: not nju-opt %s --nju-emit-kernels="kernels=lcq_linear:4x20x1x8" 2>&1 | FileCheck %s --check-prefix=GROUP
// RUN: not nju-opt %s --nju-emit-kernels="kernels=lcq_linear:5x32x1x8" 2>&1 | FileCheck %s --check-prefix=BITS
// RUN: not nju-opt %s --nju-emit-kernels="kernels=lcq_linear:4x32x1x8:zero" 2>&1 | FileCheck %s --check-prefix=OFFSET
// RUN: not nju-opt %s --nju-emit-kernels="kernels=lcq_linear:4x32x2x8:zero8" 2>&1 | FileCheck %s --check-prefix=ZEROS
// RUN: not nju-opt %s --nju-emit-kernels="kernels=pack_lcq_rows:12" 2>&1 | FileCheck %s --check-prefix=ROWS
// RUN: not nju-opt %s --nju-emit-kernels="kernels=lcq_linear:4x32x1x8 target=aarch64" 2>&1 | FileCheck %s --check-prefix=AARCH64

// KERNEL: error: unknown kernel 'linear_f8', expected pack_rows, pack_pairs, pack_tiles, linear_f32
// HEADS: error: unknown kernel 'cached_attention:7x2x64'
// SIZES: error: unknown kernel 'cache_write:4x0'
// GROUPS: error: unknown kernel 'cached_attention:8x2x60:q4', expected {{.*}}cached_attention:HxGxD[:f16|:q8|:q4][:tiles][:WINDOW]
// WRITE: error: unknown kernel 'cache_write:2x12:q8'
// TARGET: error: unknown target 'z80'; expected one of: host, x86-64, x86-64-v3, x86-64-v4, {{.*}}znver4
// BF16: error: computing in bf16 needs a target with AMX or AVX512-BF16, such as sapphirerapids or znver4; 'cascadelake' (cascadelake) lacks avx512bf16, and amx-tile or amx-bf16
// COMPUTE: error: unknown type 'f8' to compute in, expected auto, f32 or bf16
// GROUP: error: unknown kernel 'lcq_linear:4x20x1x8', expected {{.*}}lcq_linear:BITSxGROUPxRANKxSCALEBITS[:offset|:zero8|:zero32][:pair][:int16|:f32], lcq_rows:BITSxGROUPxRANKxSCALEBITS[:offset|:zero8|:zero32]
// BITS: error: unknown kernel 'lcq_linear:5x32x1x8'
// ZEROS: error: unknown kernel 'lcq_linear:4x32x2x8:zero8'
// OFFSET: error: unknown kernel 'lcq_linear:4x32x1x8:zero'
// ROWS: error: unknown kernel 'pack_lcq_rows:12'
// AARCH64: error: kernel 'lcq_linear:4x32x1x8' needs an x86-64 target, found 'aarch64'
module {}
