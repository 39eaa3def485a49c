//===- ByteVectors.cpp - Vectors of int8 ------------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ByteVectors.h"

#include "nju/Support/LCQLayout.h"

using namespace mlir;
using namespace nju;

using Value = ByteVectors::Value;

/// Columns whose x a lane has.
static constexpr int64_t kUnitColumns = LCQLayout::kUnitColumns;

ByteVectors::ByteVectors(KernelBuilder &k, const CPUTarget &target, bool dots)
    : k(k), wide(target.hasAVX512()),
      permutes(wide && target.hasFeature("avx512vbmi")),
      vnni(dots && target.hasFeature(wide ? "avx512vnni" : "avxvnni")),
      i8(k.b.getI8Type()), i16(k.b.getI16Type()), i32(k.b.getI32Type()) {}

Value ByteVectors::load(Value memref, Value at, int64_t count) {
  return vector::LoadOp::create(k.b, k.loc, VectorType::get({count}, i8),
                                memref, ValueRange(at));
}

Value ByteVectors::cast(Value vector, Type element) {
  auto type = mlir::cast<VectorType>(vector.getType());
  int64_t bits = type.getDimSize(0) * type.getElementTypeBitWidth();
  return vector::BitCastOp::create(
      k.b, k.loc,
      VectorType::get({bits / element.getIntOrFloatBitWidth()}, element),
      vector);
}

/// A register whose elements are all `value`.
Value ByteVectors::constant(Type element, int64_t value) {
  int64_t size = k.lanes * 32 / element.getIntOrFloatBitWidth();
  return arith::ConstantOp::create(
      k.b, k.loc,
      DenseElementsAttr::get(VectorType::get({size}, element),
                             k.b.getIntegerAttr(element, value)));
}

Value ByteVectors::mask(Value bytes, int bits) {
  return arith::AndIOp::create(k.b, k.loc, bytes, constant(i8, int8_t(bits)));
}

Value ByteVectors::shift(Value bytes, int count) {
  return cast(arith::ShRUIOp::create(k.b, k.loc, cast(bytes, i16),
                                     constant(i16, count)),
              i8);
}

ByteVectors::Factor ByteVectors::loadFactor(Value memref, ValueRange indices) {
  Value bytes = vector::LoadOp::create(
      k.b, k.loc, VectorType::get({kUnitColumns}, i8), memref, indices);
  Value word =
      vector::ExtractOp::create(k.b, k.loc, cast(bytes, i32), int64_t(0));
  bytes = cast(k.broadcast(word), i8);
  if (vnni)
    return {bytes, nullptr};
  Value negative = arith::SubIOp::create(k.b, k.loc, constant(i8, 0), bytes);
  return {bytes, arith::MaxSIOp::create(k.b, k.loc, bytes, negative)};
}

Value ByteVectors::loadTable(Value basis, int64_t row, int64_t levels,
                             llvm::function_ref<int64_t(int64_t)> entry) {
  Value values =
      vector::LoadOp::create(k.b, k.loc, VectorType::get({levels}, i8), basis,
                             ValueRange{k.index(row), k.index(0)});
  llvm::SmallVector<int64_t> entries;
  for (int64_t i = 0; i < k.lanes * 4; ++i)
    entries.push_back(entry(i % (permutes ? 64 : 16)));
  Value table = vector::ShuffleOp::create(k.b, k.loc, values, values, entries);
  // VPDPBUSD wants one side unsigned: v + 128.
  return vnni ? arith::XOrIOp::create(k.b, k.loc, table, constant(i8, -128))
              : table;
}

Value ByteVectors::lookUp(Value table, Value codes) {
  if (permutes)
    return k.intrinsic("llvm.x86.avx512.permvar.qi.512", table.getType(),
                       {table, codes});
  return k.intrinsic(wide ? "llvm.x86.avx512.pshuf.b.512"
                          : "llvm.x86.avx2.pshuf.b",
                     table.getType(), {table, codes});
}

Value ByteVectors::toFloatTable(Value table) {
  auto order = llvm::to_vector(llvm::seq<int64_t>(16));
  Value entries = vector::ShuffleOp::create(k.b, k.loc, table, table, order);
  return arith::SIToFPOp::create(k.b, k.loc, k.vectorType(16), entries);
}

Value ByteVectors::lookUpFloats(Value table, Value indices) {
  return k.intrinsic("llvm.x86.avx512.permvar.sf.512", table.getType(),
                     {table, indices});
}

Value ByteVectors::start(Value corrections) {
  return vnni ? k.broadcast(corrections) : constant(i32, 0);
}

Value ByteVectors::dot(Value sum, Value values, const Factor &factor) {
  if (vnni)
    return k.intrinsic(wide ? "llvm.x86.avx512.vpdpbusd.512"
                            : "llvm.x86.avx512.vpdpbusd.256",
                       sum.getType(), {sum, values, factor.bytes});
  // VPMADDUBSW wants one side unsigned, too, and its sums of two products to
  // fit 16 bits: the magnitudes of x, whose signs go to the other side.
  if (wide) {
    Value zero = constant(i8, 0);
    Value negative = arith::CmpIOp::create(
        k.b, k.loc, arith::CmpIPredicate::slt, factor.bytes, zero);
    values = k.select(negative, arith::SubIOp::create(k.b, k.loc, zero, values),
                      values);
  } else {
    values = k.intrinsic("llvm.x86.avx2.psign.b", values.getType(),
                         {values, factor.bytes});
  }
  Value ones = constant(i16, 1);
  Value pairs = k.intrinsic(wide ? "llvm.x86.avx512.pmaddubs.w.512"
                                 : "llvm.x86.avx2.pmadd.ub.sw",
                            ones.getType(), {factor.magnitude, values});
  Value quads = k.intrinsic(wide ? "llvm.x86.avx512.pmaddw.d.512"
                                 : "llvm.x86.avx2.pmadd.wd",
                            sum.getType(), {pairs, ones});
  return k.add(sum, quads);
}
