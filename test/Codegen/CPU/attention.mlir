// RUN: nju-opt %s --nju-emit-kernels="kernels=cache_write:4x64,cached_attention:32x4x64,cached_attention:8x1x48:128 target=x86-64-v4" | FileCheck %s
// RUN: nju-opt %s --nju-emit-kernels="kernels=cached_attention:32x4x64 target=x86-64-v4" --nju-lower-to-llvm | mlir-translate --mlir-to-llvmir | llc -O3 -mcpu=x86-64-v4 | FileCheck %s --check-prefix=ASM

// CHECK-LABEL: func.func @nju_cache_write_4x64(
// CHECK-SAME: index, {{.*}}index, {{.*}}index, {{.*}}index, {{.*}}index, {{.*}}memref<?x4x64xf32>, {{.*}}memref<?x4x64xf32>, {{.*}}memref<?xi32>, {{.*}}memref<?xi32>, {{.*}}memref<?xi8>)

// CHECK-LABEL: func.func @nju_cached_attention_32x4x64(
// CHECK-SAME: index, {{.*}}index, {{.*}}index, {{.*}}index, {{.*}}index, {{.*}}f32, {{.*}}memref<?x32x64xf32>, {{.*}}memref<?xi32>, {{.*}}memref<?xi32>, {{.*}}memref<?xi8>, {{.*}}memref<?x32x64xf32>)

// CHECK-LABEL: func.func @nju_cached_attention_8x1x48_window128(

// The exponential is a polynomial, not a call.
// ASM-LABEL: nju_cached_attention_32x4x64:
// ASM-NOT: call
// ASM: vfmadd{{[123]+}}ps {{.*}}zmm
// ASM-NOT: call
// ASM: vmaxps
// ASM-NOT: call
// ASM: vpslld $23
module {}
