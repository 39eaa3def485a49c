//===- ByteVectors.h - Vectors of int8 --------------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_CODEGEN_CPU_BYTEVECTORS_H
#define NJU_LIB_CODEGEN_CPU_BYTEVECTORS_H

#include "KernelBuilder.h"
#include "nju/Codegen/CPU/CPUTarget.h"

namespace nju {

/// Integer vectors of the width of a register.
class ByteVectors {
public:
  using Value = KernelBuilder::Value;

  /// Without `dots`, for looking up only.
  ByteVectors(KernelBuilder &k, const CPUTarget &target, bool dots);

  /// Whether one instruction multiplies unsigned by signed bytes and adds.
  bool hasUnsignedDot() const { return vnni; }
  /// Four bytes of x in each lane, in the forms that `dot` reads.
  struct Factor {
    Value bytes;     ///< int8
    Value magnitude; ///< Their magnitudes, without VNNI.
  };
  /// The four bytes at `indices`.
  Factor loadFactor(Value memref, mlir::ValueRange indices);
  /// Whether a look-up reads six bits of an index and ignores the other two.
  /// Else it reads four, and the others must be zero.
  bool readsSixBits() const { return permutes; }
  /// A table whose entry i is entry `entry(i)` of a basis row of `levels`.
  Value loadTable(Value basis, int64_t row, int64_t levels,
                  llvm::function_ref<int64_t(int64_t)> entry);
  Value lookUp(Value table, Value codes);
  /// Whether tables of 16 numbers in f32 can be looked up in.
  bool hasFloatTables() const { return wide; }
  /// The first 16 entries of a table.
  Value toFloatTable(Value table);
  /// What is looked up by the lower four bits of each lane (i32).
  Value lookUpFloats(Value table, Value indices);
  /// sum + what was looked up times the factor. The first sum is `start`.
  Value dot(Value sum, Value values, const Factor &factor);
  /// What a group's sum begins with, where those of its x times -128 are
  /// `corrections` (i32).
  Value start(Value corrections);

  Value load(Value memref, Value at, int64_t count);
  Value cast(Value vector, mlir::Type element);
  /// The bits of each byte that `bits` has.
  Value mask(Value bytes, int bits);
  Value merge(Value x, Value y) {
    return mlir::arith::OrIOp::create(k.b, k.loc, x, y);
  }
  /// Bytes moved right; a byte's upper bits are undefined.
  Value shift(Value bytes, int count);

private:
  Value constant(mlir::Type element, int64_t value);

  KernelBuilder &k;
  bool wide, permutes, vnni;
  mlir::Type i8, i16, i32;
};

} // namespace nju

#endif // NJU_LIB_CODEGEN_CPU_BYTEVECTORS_H
