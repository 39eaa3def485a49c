// RUN: nju-opt %s --nju-emulate-bf16 --split-input-file --verify-diagnostics

func.func @integers(%x: memref<16x64xi8>, %y: memref<16x16xi32>) {
  %c0 = arith.constant 0 : index
  %a = amx.tile_load %x[%c0, %c0] : memref<16x64xi8> into !amx.tile<16x64xi8>
  %s = amx.tile_zero : !amx.tile<16x16xi32>
  // expected-error @below {{cannot be emulated}}
  %r = amx.tile_muli %a, %a, %s : !amx.tile<16x64xi8>, !amx.tile<16x64xi8>, !amx.tile<16x16xi32>
  amx.tile_store %y[%c0, %c0], %r : memref<16x16xi32>, !amx.tile<16x16xi32>
  return
}

// -----

func.func @sums_used_twice(%x: memref<16x32xbf16>, %y: memref<16x16xf32>) {
  %c0 = arith.constant 0 : index
  %a = amx.tile_load %x[%c0, %c0] : memref<16x32xbf16> into !amx.tile<16x32xbf16>
  %s = amx.tile_zero : !amx.tile<16x16xf32>
  // expected-error @below {{cannot be emulated: its sums are used again}}
  %r = amx.tile_mulf %a, %a, %s : !amx.tile<16x32xbf16>, !amx.tile<16x32xbf16>, !amx.tile<16x16xf32>
  amx.tile_store %y[%c0, %c0], %r : memref<16x16xf32>, !amx.tile<16x16xf32>
  amx.tile_store %y[%c0, %c0], %s : memref<16x16xf32>, !amx.tile<16x16xf32>
  return
}
