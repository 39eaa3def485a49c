// The products of many rows with weights quantized by LCQ, with AMX: one
// configuration, sums only leave the registers at the end of a block of k, rows
// stream past the first cache, and what few rows need is as it is without AMX.

// DEFINE: %{kernel} = lcq_linear:4x32x1x8
// DEFINE: %{target} = sapphirerapids
// DEFINE: %{compute} = auto
// DEFINE: %{emit} = nju-opt %s --nju-emit-kernels="kernels=%{kernel} target=%{target} compute=%{compute}"
// DEFINE: %{compile} = %{emit} --nju-lower-to-llvm | mlir-translate --mlir-to-llvmir | opt -S -O3 -mcpu=sapphirerapids | llc -O3 -mcpu=sapphirerapids

// RUN: %{compile} > %t.4.s
// RUN: FileCheck %s --input-file=%t.4.s --check-prefixes=ASM,FLOATS
// RUN: grep -c ldtilecfg %t.4.s | FileCheck %s --check-prefix=ONCE
// RUN: grep -c tdpbf16ps %t.4.s | FileCheck %s --check-prefix=PRODUCTS
// RUN: %{emit} | FileCheck %s --check-prefix=IR
// REDEFINE: %{kernel} = lcq_linear:3x64x2x16:offset:pair
// RUN: %{compile} > %t.pair.s
// RUN: FileCheck %s --input-file=%t.pair.s --check-prefix=ASM
// RUN: grep -c ldtilecfg %t.pair.s | FileCheck %s --check-prefix=ONCE

// Two digits, and x in f32, are nearer to the product than bf16 is.
// REDEFINE: %{kernel} = lcq_linear:4x32x1x8:int16,lcq_linear:4x32x1x8:f32
// RUN: %{emit} | FileCheck %s --check-prefix=NONE
// REDEFINE: %{kernel} = lcq_linear:4x32x1x8
// REDEFINE: %{target} = icelake-server
// RUN: %{emit} | FileCheck %s --check-prefix=NONE
// REDEFINE: %{target} = sapphirerapids
// REDEFINE: %{compute} = f32
// RUN: %{emit} | FileCheck %s --check-prefix=NONE
// REDEFINE: %{compute} = auto

// Many rows are packed into tiles, few as without AMX.
// REDEFINE: %{kernel} = pack_lcq_rows:32
// REDEFINE: %{target} = x86-64-v4-amx
// RUN: %{emit} | FileCheck %s --check-prefix=PACK

// ONCE: {{^1$}}
// Of two tiles of rows by two of weights, and of one, in a loop each.
// PRODUCTS: {{^6$}}

// ASM-LABEL: nju_lcq_linear_{{.*}}_amx:
// ASM: ldtilecfg
// ASM-NOT: {{\(%[er]sp\), %tmm}}
// Codes are looked up in a table of f32, two columns rounded at once.
// FLOATS: vpermps
// FLOATS: vmulps
// FLOATS: vcvtne2ps2bf16
// ASM: tileloaddt1 {{.*}}, %tmm6
// ASM-NEXT: tileloaddt1 {{.*}}, %tmm7
// ASM: tdpbf16ps
// ASM-NEXT: tdpbf16ps
// ASM-NEXT: tdpbf16ps
// ASM-NEXT: tdpbf16ps
// ASM-NOT: {{tileload|tdpbf16ps}}
// ASM: tilestored
// ASM: tilerelease
// ASM-LABEL: nju_lcq_linear_{{[^_]*}}{{(_offset_pair_epilogue0)?}}:
// ASM-NOT: {{ldtilecfg|tmm}}
// ASM: call{{.*}}_amx
// ASM-NOT: {{ldtilecfg|tmm}}

// IR-LABEL: func.func private @nju_lcq_linear_4x32x1x8_amx
// IR: memref.view {{.*}} : memref<?xi8> to memref<?xbf16>
// IR-COUNT-2: amx.tile_load {{.*}} : memref<16x2x16x32xbf16> into !amx.tile<16x32xbf16>
// IR-COUNT-2: amx.tile_load {{.*}} {exec.streams}
// IR-COUNT-4: amx.tile_mulf
// IR-NOT: amx.tile_mulf
// IR-COUNT-4: amx.tile_store

// NONE-NOT: amx

// PACK-LABEL: func.func @nju_pack_lcq_rows_32(
// PACK: vector<32xbf16>
// PACK: } else {
// PACK: vector.store {{.*}} vector<4xi8>
module {}
