// The products of many rows with weights quantized by LCQ, with AMX: one
// configuration, tiles of dot products only leave the registers when they are
// done, and what few rows need is as it is without AMX.

// DEFINE: %{kernel} = lcq_linear:4x32x1x8
// DEFINE: %{target} = sapphirerapids
// DEFINE: %{emit} = nju-opt %s --nju-emit-kernels="kernels=%{kernel} target=%{target}"
// DEFINE: %{compile} = %{emit} --nju-lower-to-llvm | mlir-translate --mlir-to-llvmir | opt -S -O3 -mcpu=sapphirerapids | llc -O3 -mcpu=sapphirerapids

// RUN: %{compile} > %t.32.s
// RUN: FileCheck %s --input-file=%t.32.s --check-prefixes=ASM,SHORT
// RUN: grep -c ldtilecfg %t.32.s | FileCheck %s --check-prefix=ONCE
// RUN: grep -c tdpbssd %t.32.s | FileCheck %s --check-prefix=PRODUCTS
// RUN: %{emit} | FileCheck %s --check-prefix=IR
// REDEFINE: %{kernel} = lcq_linear:4x128x1x8
// RUN: %{compile} > %t.128.s
// RUN: FileCheck %s --input-file=%t.128.s --check-prefixes=ASM,LONG
// RUN: grep -c ldtilecfg %t.128.s | FileCheck %s --check-prefix=ONCE
// REDEFINE: %{kernel} = lcq_linear:3x64x2x16:offset:pair:int16
// RUN: %{compile} > %t.pair.s
// RUN: FileCheck %s --input-file=%t.pair.s --check-prefix=ASM
// RUN: grep -c ldtilecfg %t.pair.s | FileCheck %s --check-prefix=ONCE

// Tiles of groups of 8 would be mostly empty, and x in f32 is none of integers.
// REDEFINE: %{kernel} = lcq_linear:4x8x1x8,lcq_linear:4x32x1x8:f32
// RUN: %{emit} | FileCheck %s --check-prefix=NONE
// REDEFINE: %{kernel} = lcq_linear:4x32x1x8
// REDEFINE: %{target} = icelake-server
// RUN: %{emit} | FileCheck %s --check-prefix=NONE

// Rows are packed into tiles, or as without AMX.
// REDEFINE: %{kernel} = pack_lcq_rows:32
// REDEFINE: %{target} = x86-64-v4-amx
// RUN: %{emit} | FileCheck %s --check-prefix=PACK

// ONCE: {{^1$}}
// Of two blocks of rows by two tiles of weights, and of one block.
// PRODUCTS: {{^6$}}

// ASM-LABEL: nju_lcq_linear_{{.*}}_amx:
// ASM: ldtilecfg
// ASM-NOT: {{\(%[er]sp\), %tmm}}
// SHORT: tilezero
// SHORT: tdpbssd
// SHORT: tilestored
// SHORT: vcvtdq2ps {{.*}}(%rsp{{.*}}), %zmm
// SHORT-NEXT: vfmadd
// Two steps of 64 columns.
// LONG-COUNT-4: tilezero
// LONG-NOT: {{tilestored|tilezero}}
// LONG-COUNT-8: tdpbssd
// LONG-NOT: {{tdpbssd|tileloadd}}
// LONG-COUNT-4: tilestored
// ASM: tilerelease
// ASM-LABEL: nju_lcq_linear_{{[^_]*}}{{(_offset_i16_pair_epilogue0)?}}:
// ASM-NOT: {{ldtilecfg|tmm}}
// ASM: call{{.*}}_amx
// ASM-NOT: {{ldtilecfg|tmm}}

// A group of 32 columns is a tile of 16 lines of x by one of 8 units of
// weights.
// IR-LABEL: func.func private @nju_lcq_linear_4x32x1x8_amx
// IR: memref.alloca() {alignment = 64 : i64} : memref<1x8192x16xf32>
// IR: xori
// IR-COUNT-2: amx.tile_load {{.*}} !amx.tile<8x64xi8>
// IR-COUNT-2: amx.tile_load {{.*}} !amx.tile<16x32xi8>
// IR-COUNT-4: amx.tile_muli
// IR-NOT: amx.tile_muli
// IR-COUNT-4: amx.tile_store

// NONE-NOT: amx

// PACK-LABEL: func.func @nju_pack_lcq_rows_32(
// PACK: vector.store {{.*}} vector<8xi8>
// PACK: } else {
// PACK: vector.store {{.*}} vector<4xi8>
module {}
