// The inner loops of the products: registers only, one instruction for each
// multiply-add.

// DEFINE: %{kernel} = linear_f16
// DEFINE: %{target} = x86-64-v4
// DEFINE: %{compile} = nju-opt %s --nju-emit-kernels="kernels=%{kernel} target=%{target}" --nju-lower-to-llvm | mlir-translate --mlir-to-llvmir | opt -S -O3 -mcpu=%{target} | llc -O3 -mcpu=%{target}

// RUN: %{compile} | FileCheck %s --check-prefix=V4
// REDEFINE: %{target} = x86-64-v3
// RUN: %{compile} | FileCheck %s --check-prefix=V3
// REDEFINE: %{kernel} = linear_f32
// REDEFINE: %{target} = x86-64-v4
// RUN: %{compile} | FileCheck %s --check-prefix=V4
// REDEFINE: %{kernel} = linear_bf16_bias
// RUN: %{compile} | FileCheck %s --check-prefix=V4

// REDEFINE: %{kernel} = linear_f16
// REDEFINE: %{target} = cascadelake
// RUN: %{compile} | FileCheck %s --check-prefix=HALF
// REDEFINE: %{target} = znver4
// RUN: %{compile} | FileCheck %s --check-prefix=ZEN
// RUN: nju-opt %s --nju-emit-kernels="kernels=linear_f16 target=x86-64-v4" | FileCheck %s --check-prefix=IR
// RUN: nju-opt %s --nju-emit-kernels="kernels=linear_f16 target=x86-64-v4" | FileCheck %s --check-prefix=STAGED
// RUN: nju-opt %s --nju-emit-kernels="kernels=linear_f32 target=x86-64-v4" | FileCheck %s --check-prefix=WHOLE
// RUN: nju-opt %s --nju-emit-kernels="kernels=linear_f16 target=znver4" | FileCheck %s --check-prefix=WHOLE

// No sum goes through memory (a mask of columns may, once a panel), and panels
// are dealt out by one instruction.
// V4-LABEL: nju_linear
// V4-NOT: {{(vmov[au]ps|vfmadd[0-9]+ps) .*\(%rsp\)}}
// V4: lock{{[[:space:]]+}}xadd
// V4-NOT: {{(vmov[au]ps|vfmadd[0-9]+ps) .*\(%rsp\)}}
// V4: vfmadd{{[123]+}}ps {{.*}}zmm
// V4-NOT: {{(vmov[au]ps|vfmadd[0-9]+ps) .*\(%rsp\)}}

// V3-LABEL: nju_linear
// V3-NOT: zmm
// V3-NOT: {{(vmov[au]ps|vfmadd[0-9]+ps) .*\(%rsp\)}}
// V3: vfmadd{{[123]+}}ps {{.*}}ymm
// V3-NOT: {{(vmov[au]ps|vfmadd[0-9]+ps) .*\(%rsp\)}}

// HALF-LABEL: nju_linear
// HALF: vcvtph2ps{{x?}} {{.*}}zmm

// The biggest block: 28 sums are carried, and each step adds to each once.
// IR-LABEL: func.func @nju_linear_f16
// IR: default
// IR: scf.for {{.*}} iter_args
// IR: memref.prefetch
// IR-COUNT-28: vector.fma
// IR-NOT: vector.fma
// IR: scf.yield
// Many rows, where f16 is widened beforehand: the inner loop has no conversion,
// and sums are carried over a piece of K.
// STAGED: memref.alloca() {alignment = 64 : i64} : memref<256x32xf32>
// STAGED: memref.alloca() {alignment = 64 : i64} : memref<1x252x32xf32>
// STAGED-LABEL: scf.index_switch {{.*}}
// STAGED: arith.extf
// STAGED: vector.store {{.*}} : memref<256x32xf32>
// WHOLE-NOT: memref.alloca

// Zen takes factors from memory, once for each of two registers of weights.
// ZEN-LABEL: nju_linear
// ZEN-COUNT-28: vfmadd231ps {{.*}}{1to16}
module {}
