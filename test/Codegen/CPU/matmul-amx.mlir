// The products with AMX: one configuration, in the loops a tile is loaded for
// each that is multiplied, and sums stay in registers.

// DEFINE: %{kernel} = linear_f16
// DEFINE: %{emit} = nju-opt %s --nju-emit-kernels="kernels=%{kernel} target=sapphirerapids compute=bf16"
// DEFINE: %{compile} = %{emit} --nju-lower-to-llvm | mlir-translate --mlir-to-llvmir | opt -S -O3 -mcpu=sapphirerapids | llc -O3 -mcpu=sapphirerapids

// RUN: %{compile} > %t.f16.s
// RUN: FileCheck %s --input-file=%t.f16.s --check-prefixes=ASM,F16
// RUN: grep -c ldtilecfg %t.f16.s | FileCheck %s --check-prefix=ONCE
// RUN: %{emit} | FileCheck %s --check-prefix=IR
// REDEFINE: %{kernel} = linear_bf16_bias
// RUN: %{compile} > %t.bf16.s
// RUN: FileCheck %s --input-file=%t.bf16.s --check-prefixes=ASM,BF16
// RUN: grep -c ldtilecfg %t.bf16.s | FileCheck %s --check-prefix=ONCE
// REDEFINE: %{kernel} = pack_tiles
// RUN: %{compile} | FileCheck %s --check-prefix=PACK

// ONCE: {{^1$}}

// ASM-LABEL: nju_linear_{{.*}}_amx
// ASM: ldtilecfg
// A pair of rows of f16 is converted and interleaved; bf16 is interleaved only.
// F16: vcvtph2ps
// F16: vcvtne2ps2bf16
// BF16-NOT: vcvtne2ps2bf16 %zmm{{[0-9]+}}, %zmm{{[0-9]+}}, %zmm{{[0-9]+}}{{$}}
// ASM: vpunpcklwd
// ASM: vpunpckhwd

// Two tiles of rows by two of columns, over a block of k. Rows do not stay in the
// first cache.
// ASM: tileloaddt1 {{.*}}, %tmm6
// ASM-NOT: {{tilestored|tileloadd |tdpbf16ps|\(%[er]sp\), %tmm}}
// ASM: tileloaddt1 {{.*}}, %tmm7
// ASM-NOT: {{tilestored|tileload}}
// ASM-COUNT-4: tdpbf16ps
// ASM-NOT: {{tdpbf16ps|tileloadd|tilestored}}
// ASM: jb
// ASM-COUNT-4: tilestored

// PACK-LABEL: nju_pack_tiles
// PACK: vcvtne2ps2bf16

// The sums of 2 x 2 tiles are carried, and each step adds to each once.
// IR-LABEL: func.func @nju_linear_f16_amx
// IR: memref.alloca() {alignment = 64 : i64} : memref<8x32x2x16x16xf32>
// IR: scf.for {{.*}} iter_args
// IR-COUNT-2: memref.prefetch {{.*}} locality<2>
// IR-COUNT-4: memref.prefetch {{.*}} locality<3>
// IR-COUNT-2: amx.tile_load {{.*}} : memref<16x2x16x32xbf16>
// IR-COUNT-2: amx.tile_load {{.*}} {exec.streams}
// IR-COUNT-4: amx.tile_mulf
// IR-NOT: amx.tile_mulf
// IR: scf.yield
module {}
