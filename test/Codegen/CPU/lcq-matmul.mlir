// The inner loops of products with weights quantized by LCQ: a look-up and a
// dot product for each four columns and rank, without sums in memory.

// DEFINE: %{kernel} = lcq_linear:4x32x1x8
// DEFINE: %{target} = x86-64-v4-vnni
// DEFINE: %{attr} = -mattr=+avx512vnni
// DEFINE: %{cpu} = x86-64-v4
// DEFINE: %{compile} = nju-opt %s --nju-emit-kernels="kernels=%{kernel} target=%{target}" --nju-lower-to-llvm | mlir-translate --mlir-to-llvmir | llc -O3 -mcpu=%{cpu} %{attr}

// RUN: %{compile} | FileCheck %s --check-prefix=VNNI
// RUN: %{compile} | python3 %S/Inputs/dot-loops.py | FileCheck %s --check-prefix=LOOPS
// REDEFINE: %{kernel} = lcq_linear:2x64x2x16:offset
// RUN: %{compile} | FileCheck %s --check-prefix=VNNI
// REDEFINE: %{kernel} = lcq_linear:3x64x2x8
// RUN: %{compile} | FileCheck %s --check-prefix=THREE

// REDEFINE: %{kernel} = lcq_linear:4x32x1x8
// REDEFINE: %{target} = x86-64-v4
// REDEFINE: %{attr} = -mattr=+avx512bw
// RUN: %{compile} | FileCheck %s --check-prefix=V4
// REDEFINE: %{target} = x86-64-v3
// REDEFINE: %{cpu} = x86-64-v3
// REDEFINE: %{attr} = -mattr=+avx2
// RUN: %{compile} | FileCheck %s --check-prefix=V3
// REDEFINE: %{target} = alderlake
// REDEFINE: %{cpu} = alderlake
// REDEFINE: %{attr} = -mattr=+avxvnni
// RUN: %{compile} | FileCheck %s --check-prefix=AVXVNNI

// REDEFINE: %{kernel} = lcq_linear:2x64x2x8
// REDEFINE: %{target} = znver4
// REDEFINE: %{cpu} = znver4
// REDEFINE: %{attr} = -mattr=+avx512vnni
// RUN: %{compile} | python3 %S/Inputs/dot-loops.py | FileCheck %s --check-prefix=RANKS
// RUN: nju-opt %s --nju-emit-kernels="kernels=lcq_linear:4x32x1x8 target=znver4" | FileCheck %s --check-prefix=ZEN
// RUN: nju-opt %s --nju-emit-kernels="kernels=lcq_linear:4x32x1x8 target=cascadelake" | FileCheck %s --check-prefix=INTEL
// RUN: nju-opt %s --nju-emit-kernels="kernels=pack_lcq_rows:32 target=x86-64-v3" | FileCheck %s --check-prefix=PACK
// RUN: nju-opt %s --nju-emit-kernels="kernels=lcq_linear:4x32x1x8:pair:int16,lcq_rows:3x32x2x16:offset target=x86-64-v3" | FileCheck %s --check-prefix=NAMES
// RUN: nju-opt %s --nju-emit-kernels="kernels=lcq_linear:4x32x1x32:zero8,lcq_rows:2x16x1x16:zero32 target=x86-64-v3" | FileCheck %s --check-prefix=ZEROS

// VNNI-LABEL: nju_lcq_linear
// VNNI-NOT: vpmaddubsw
// VNNI: lock{{[[:space:]]+}}xadd
// VNNI: vpshufb {{.*}}zmm
// VNNI: vpdpbusd {{.*}}zmm
// VNNI-NOT: vpmaddubsw

// A group of 32 columns: one row, twelve rows with looked-up weights from
// memory, eight rows with what is looked up for all. No sums are moved.
// LOOPS-DAG: loop dots=8 embedded=8 look-ups=8 masks=8 converted=2 stack=0
// LOOPS-DAG: loop dots=96 embedded=96 look-ups=0 masks=0 converted=12 stack=0
// LOOPS-DAG: loop dots=64 embedded=64 look-ups=8 masks=8 converted=9 stack=0

// With two ranks, too. Where look-ups ignore upper bits, codes are not masked.
// RANKS: loop dots=8 embedded=0 look-ups=8 masks=0 converted=0 stack={{[0-4]}}

// The bits of the last two units are put together by one instruction.
// THREE-LABEL: nju_lcq_linear
// THREE: vpternlog
// THREE: vpdpbusd {{.*}}zmm

// V4-LABEL: nju_lcq_linear
// V4-NOT: vpdpbusd
// V4: vpshufb {{.*}}zmm
// V4: vpmaddubsw {{.*}}zmm
// V4: vpmaddwd {{.*}}zmm
// V4-NOT: vpdpbusd

// V3-LABEL: nju_lcq_linear
// V3-NOT: {{zmm|vpdpbusd}}
// V3: vpshufb {{.*}}ymm
// V3: vpsignb {{.*}}ymm
// V3: vpmaddubsw {{.*}}ymm
// V3: vpmaddwd {{.*}}ymm
// V3-NOT: {{zmm|vpdpbusd}}

// AVXVNNI-LABEL: nju_lcq_linear
// AVXVNNI-NOT: vpmaddubsw
// AVXVNNI: vpdpbusd {{.*}}ymm
// AVXVNNI-NOT: vpmaddubsw

// No prefetch for one row: 8 dot products of four columns for a group of 32
// columns.
// ZEN-LABEL: func.func @nju_lcq_linear_4x32x1x8(
// ZEN-NOT: memref.prefetch
// ZEN: scf.for {{.*}} iter_args
// ZEN-COUNT-8: vpdpbusd.512
// ZEN-NOT: memref.prefetch
// ZEN: scf.yield

// INTEL-LABEL: func.func @nju_lcq_linear_4x32x1x8(
// INTEL: memref.prefetch
// INTEL: vpdpbusd.512

// PACK-LABEL: func.func @nju_pack_lcq_rows_32(
// PACK: vector.maskedload
// PACK: arith.trunci {{.*}} vector<8xi8>
// NAMES: func.func @nju_lcq_linear_4x32x1x8_i16_pair_epilogue0(
// NAMES: func.func @nju_lcq_rows_3x32x2x16_offset(

// ZEROS: func.func @nju_lcq_linear_4x32x1x32_zero8(
// ZEROS: func.func @nju_lcq_rows_2x16x1x16_zero32(
module {}
