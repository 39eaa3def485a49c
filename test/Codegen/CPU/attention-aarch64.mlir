// The inner loops of attention with NEON: a block of 16 positions is four
// registers, six rows by those; f16 is widened in registers.

// RUN: nju-opt %s --nju-emit-kernels="kernels=cache_write:2x64:f16,cached_attention:8x2x64:f16 target=aarch64" > %t.mlir
// RUN: FileCheck %s --check-prefix=IR < %t.mlir
// RUN: nju-opt %t.mlir --nju-lower-to-llvm | mlir-translate --mlir-to-llvmir | llc -O3 -mtriple=aarch64-linux-gnu | FileCheck %s

// IR-LABEL: func.func @nju_cached_attention_8x2x64_f16
// IR: default
// IR: scf.for {{.*}} iter_args
// IR-COUNT-24: vector.fma
// IR-NOT: vector.fma
// IR: scf.yield

// CHECK-LABEL: nju_cache_write_2x64_f16:
// CHECK: fcvt h
// CHECK-LABEL: nju_cached_attention_8x2x64_f16:
// CHECK-NOT: {{^[ \t]}}bl{{[ \t]}}
// CHECK: fcvtl {{v[0-9]+}}.4s
// CHECK-NOT: {{^[ \t]}}bl{{[ \t]}}
// CHECK: fmla {{v[0-9]+}}.4s
// CHECK-NOT: {{^[ \t]}}bl{{[ \t]}}
// CHECK: .size nju_cached_attention
module {}
