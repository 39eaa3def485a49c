// Attention of many tokens with AMX: one configuration of the tiles, which what
// few tokens need is without.

// DEFINE: %{kernel} = cached_attention:32x4x64:tiles
// DEFINE: %{target} = sapphirerapids
// DEFINE: %{compute} = auto
// DEFINE: %{emit} = nju-opt %s --nju-emit-kernels="kernels=%{kernel} target=%{target} compute=%{compute}"
// DEFINE: %{compile} = %{emit} --nju-lower-to-llvm | mlir-translate --mlir-to-llvmir | opt -S -O3 -mcpu=sapphirerapids | llc -O3 -mcpu=sapphirerapids

// RUN: %{compile} > %t.s
// RUN: FileCheck %s --input-file=%t.s --check-prefix=ASM
// RUN: grep -c tdpbf16ps %t.s | FileCheck %s --check-prefix=PRODUCTS
// RUN: %{emit} | FileCheck %s --check-prefix=IR
// REDEFINE: %{kernel} = cached_attention:8x2x80:q4:tiles:128
// RUN: not %{emit} 2>&1 | FileCheck %s --check-prefix=GROUPS
// REDEFINE: %{kernel} = cached_attention:8x2x128:q4:tiles:128
// RUN: %{compile} > %t.q4.s
// RUN: FileCheck %s --input-file=%t.q4.s --check-prefix=ASM

// REDEFINE: %{kernel} = cached_attention:32x4x64:tiles
// REDEFINE: %{compute} = f32
// RUN: not %{emit} 2>&1 | FileCheck %s --check-prefix=NONE
// REDEFINE: %{compute} = auto
// REDEFINE: %{target} = icelake-server
// RUN: not %{emit} 2>&1 | FileCheck %s --check-prefix=NONE
// REDEFINE: %{target} = sapphirerapids
// REDEFINE: %{kernel} = cached_attention:8x2x40:tiles
// RUN: not %{emit} 2>&1 | FileCheck %s --check-prefix=HEAD

// NONE: error: unknown kernel 'cached_attention:32x4x64:tiles', expected {{.*}}cached_attention:HxGxD[:f16|:q8|:q4][:tiles][:WINDOW]
// HEAD: error: unknown kernel 'cached_attention:8x2x40:tiles'
// GROUPS: unknown kernel

// Scores of 2 x 2 tiles, two steps of a head; of 4 tiles of columns two at once.
// PRODUCTS: {{^16$}}

// IR-LABEL: func.func private @nju_cached_attention_32x4x64_tiles_amx(
// IR: amx.tile_mulf
// IR-LABEL: func.func @nju_cached_attention_32x4x64_tiles(
// IR-NOT: amx.
// IR: call @nju_cached_attention_32x4x64_tiles_amx

// ASM-LABEL: nju_cached_attention_{{.*}}_amx:
// ASM: ldtilecfg
// ASM-NOT: {{\(%[er]sp\), %tmm}}
// ASM: tdpbf16ps
// Weights are rounded two vectors at once.
// ASM: vpslld $23
// ASM: vcvtne2ps2bf16
// ASM: tdpbf16ps
// ASM: tilerelease
// ASM-LABEL: nju_cached_attention_{{[^_]*(_q4)?}}_tiles{{(_window128)?}}:
// ASM-NOT: {{ldtilecfg|tmm}}
// ASM: call{{.*}}_amx
// ASM-NOT: {{ldtilecfg|tmm}}
// ASM: .size
module {}
