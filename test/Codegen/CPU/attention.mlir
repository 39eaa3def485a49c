// RUN: nju-opt %s --nju-emit-kernels="kernels=cache_write:4x64,cached_attention:32x4x64,cached_attention:8x1x48:128,cache_write:4x64:f16,cached_attention:32x4x64:f16:100 target=x86-64-v4" | FileCheck %s
// RUN: nju-opt %s --nju-emit-kernels="kernels=cached_attention:32x4x64 target=x86-64-v4" --nju-lower-to-llvm | mlir-translate --mlir-to-llvmir | llc -O3 -mcpu=x86-64-v4 -o %t.512.s
// RUN: FileCheck %s --check-prefix=ASM < %t.512.s
// RUN: python3 %S/Inputs/inner-loops.py < %t.512.s | FileCheck %s --check-prefix=LOOPS512
// RUN: nju-opt %s --nju-emit-kernels="kernels=cached_attention:32x4x64:f16 target=x86-64-v4" --nju-lower-to-llvm | mlir-translate --mlir-to-llvmir | llc -O3 -mcpu=x86-64-v4 -o %t.f16.s
// RUN: FileCheck %s --check-prefix=F16 < %t.f16.s
// RUN: python3 %S/Inputs/inner-loops.py < %t.f16.s | FileCheck %s --check-prefix=LOOPS512
// RUN: nju-opt %s --nju-emit-kernels="kernels=cached_attention:32x4x64 target=x86-64-v3" --nju-lower-to-llvm | mlir-translate --mlir-to-llvmir | llc -O3 -mcpu=x86-64-v3 | python3 %S/Inputs/inner-loops.py | FileCheck %s --check-prefix=LOOPS256

// CHECK-LABEL: func.func @nju_cache_write_4x64(
// CHECK-SAME: index, {{.*}}index, {{.*}}index, {{.*}}index, {{.*}}index, {{.*}}memref<?x4x64xf32>, {{.*}}memref<?x4x64xf32>, {{.*}}memref<?xi32>, {{.*}}memref<?xi32>, {{.*}}memref<?xi8>)

// CHECK-LABEL: func.func @nju_cached_attention_32x4x64(
// CHECK-SAME: index, {{.*}}index, {{.*}}index, {{.*}}index, {{.*}}index, {{.*}}f32, {{.*}}memref<?x32x64xf32>, {{.*}}memref<?xi32>, {{.*}}memref<?xi32>, {{.*}}memref<?xi8>, {{.*}}memref<?x32x64xf32>, {{.*}}memref<?x96xf32>, {{.*}}memref<?xi32>)

// CHECK-LABEL: func.func @nju_cached_attention_8x1x48_window128(
// CHECK-LABEL: func.func @nju_cache_write_4x64_f16(
// CHECK: arith.truncf
// CHECK-LABEL: func.func @nju_cached_attention_32x4x64_f16_window100(

// The exponential is a polynomial, not a call, and nothing else is one.
// ASM-LABEL: nju_cached_attention_32x4x64:
// ASM-NOT: call
// ASM: vfmadd{{[123]+}}ps {{.*}}zmm
// ASM-NOT: call
// ASM: vmaxps
// ASM-NOT: call
// ASM: vpslld $23
// ASM-NOT: call
// ASM: .size

// F16: vcvtph2ps {{.*}}, %zmm

// Twelve rows by two vectors of positions (or of the head's columns), for which
// a key (a value) is loaded once; nothing is spilled.
// LOOPS512-NOT: {{moves=[1-9]|stores=[1-9]}}
// LOOPS512: loop fma=24 broadcasts=12 moves=0 stores=0
// LOOPS512-NOT: {{moves=[1-9]|stores=[1-9]}}
// LOOPS256-NOT: {{moves=[1-9]|stores=[1-9]}}
// LOOPS256: loop fma=12 broadcasts=6 moves=0 stores=0
// LOOPS256-NOT: {{moves=[1-9]|stores=[1-9]}}
module {}
