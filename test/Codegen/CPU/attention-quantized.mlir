// Codes are read from the cache and dequantized in registers: there is no other
// buffer of keys or values than scales, offsets and references.

// RUN: nju-opt %s --nju-emit-kernels="kernels=cache_write:4x64:q8,cached_attention:32x4x64:q8,cache_write:4x64:q4,cached_attention:32x4x64:q4 target=x86-64-v4" | FileCheck %s
// RUN: nju-opt %s --nju-emit-kernels="kernels=cached_attention:32x4x64:q8 target=x86-64-v4" --nju-lower-to-llvm | mlir-translate --mlir-to-llvmir | llc -O3 -mcpu=x86-64-v4 | FileCheck %s --check-prefix=ASM512
// RUN: nju-opt %s --nju-emit-kernels="kernels=cached_attention:32x4x64:q4 target=x86-64-v4" --nju-lower-to-llvm | mlir-translate --mlir-to-llvmir | llc -O3 -mcpu=x86-64-v4 | FileCheck %s --check-prefix=ASM512
// RUN: nju-opt %s --nju-emit-kernels="kernels=cached_attention:32x4x64:q4 target=x86-64-v3" --nju-lower-to-llvm | mlir-translate --mlir-to-llvmir | llc -O3 -mcpu=x86-64-v3 | FileCheck %s --check-prefix=ASM256
// RUN: nju-opt %s --nju-emit-kernels="kernels=cache_write:4x64:q4,cached_attention:32x4x64:q4 target=aarch64" --nju-lower-to-llvm | mlir-translate --mlir-to-llvmir | llc -O3 -mtriple=aarch64-linux-gnu | FileCheck %s --check-prefix=NEON

// CHECK-LABEL: func.func @nju_cache_write_4x64_q8(
// CHECK-LABEL: func.func @nju_cached_attention_32x4x64_q8(
// CHECK: memref.alloca() {{.*}} : memref<2x128xf32>
// CHECK: vector.load {{.*}} : memref<?xi8>, vector<16xi8>
// CHECK-NOT: memref.alloca
// CHECK-LABEL: func.func @nju_cache_write_4x64_q4(
// CHECK-LABEL: func.func @nju_cached_attention_32x4x64_q4(
// CHECK: memref.alloca() {{.*}} : memref<2x128xf32>
// CHECK: memref.alloca() {{.*}} : memref<2x64xf32>
// CHECK: arith.shrui {{.*}} : vector<16xi32>

// ASM512-LABEL: nju_cached_attention_32x4x64_q{{[48]}}:
// ASM512-NOT: call
// ASM512: vpmovzxbd {{.*}}, %zmm
// ASM512: vcvtdq2ps {{.*}}, %zmm
// ASM512-NOT: call
// ASM512: .size

// ASM256-LABEL: nju_cached_attention_32x4x64_q4:
// ASM256-NOT: call
// ASM256: vpmovzxbd {{.*}}, %ymm
// ASM256: vcvtdq2ps {{.*}}, %ymm
// ASM256-NOT: call
// ASM256: .size

// NEON-LABEL: nju_cache_write_4x64_q4:
// NEON-NOT: {{^[ \t]}}bl{{[ \t]}}
// NEON-LABEL: nju_cached_attention_32x4x64_q4:
// NEON-NOT: {{^[ \t]}}bl{{[ \t]}}
// NEON: {{[su]}}cvtf {{v[0-9]+}}.4s
// NEON-NOT: {{^[ \t]}}bl{{[ \t]}}
// NEON: .size nju_cached_attention
module {}
