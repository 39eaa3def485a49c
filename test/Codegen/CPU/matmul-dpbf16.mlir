// The products in pairs of bf16: weights are made pairs before the inner loops of
// many rows, which have one instruction for each pair of multiply-adds, and no
// sum goes through memory there.

// DEFINE: %{kernel} = linear_f16
// DEFINE: %{target} = znver4
// DEFINE: %{emit} = nju-opt %s --nju-emit-kernels="kernels=%{kernel} target=%{target} compute=bf16"
// DEFINE: %{compile} = %{emit} --nju-lower-to-llvm | mlir-translate --mlir-to-llvmir | opt -S -O3 -mcpu=%{target} | llc -O3 -mcpu=%{target}

// RUN: %{compile} | FileCheck %s --check-prefixes=ASM,F16
// RUN: %{emit} | FileCheck %s --check-prefix=IR
// REDEFINE: %{kernel} = linear_bf16_bias
// RUN: %{compile} | FileCheck %s --check-prefixes=ASM,BF16
// REDEFINE: %{target} = cooperlake
// RUN: %{compile} | FileCheck %s --check-prefixes=ASM,BF16
// REDEFINE: %{kernel} = pack_pairs
// RUN: %{compile} | FileCheck %s --check-prefix=PACK
// REDEFINE: %{target} = cascadelake
// RUN: not %{emit} 2>&1 | FileCheck %s --check-prefix=ERROR

// ASM-LABEL: nju_linear_{{.*}}_dpbf16
// F16-DAG: vcvtph2ps
// F16-DAG: vcvtne2ps2bf16
// BF16-NOT: vcvtph2ps
// ASM: vdpbf16ps {{.*}}zmm
// ASM-NOT: vdpbf16ps {{.*}}(%rsp)

// PACK-LABEL: nju_pack_pairs
// PACK: vcvtne2ps2bf16

// The biggest block: its sums are carried, and each step adds to each once.
// IR-LABEL: func.func @nju_linear_f16_dpbf16
// IR: memref.alloca() {alignment = 64 : i64} : memref<256x64xbf16>
// IR: default
// IR: vector.store {{.*}} : memref<256x64xbf16>
// IR: default
// IR: scf.for {{.*}} iter_args
// IR-COUNT-2: vector.load {{.*}} : memref<256x64xbf16>, vector<32xbf16>
// IR-COUNT-28: dpbf16ps.512
// IR-NOT: dpbf16ps.512
// IR: scf.yield

// ERROR: error: computing in bf16 needs a target with AMX or AVX512-BF16
module {}
