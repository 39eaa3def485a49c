//===- KernelBuilder.h - Shorthand for emitting kernels ---------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_CODEGEN_CPU_KERNELBUILDER_H
#define NJU_LIB_CODEGEN_CPU_KERNELBUILDER_H

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Builders.h"

namespace nju {

/// Of dynamic sizes.
inline mlir::MemRefType dynamicMemRef(int64_t rank, mlir::Type element) {
  llvm::SmallVector<int64_t> sizes(rank, mlir::ShapedType::kDynamic);
  return mlir::MemRefType::get(sizes, element);
}

/// Builds index arithmetic, loops and one-dimensional f32 vector code. Index
/// values are never negative, so that division is unsigned.
class KernelBuilder {
public:
  using Value = mlir::Value;
  using Values = llvm::SmallVector<Value>;

  KernelBuilder(mlir::OpBuilder builder, mlir::Location loc, int64_t lanes)
      : b(builder), loc(loc), lanes(lanes) {}

  mlir::OpBuilder b;
  mlir::Location loc;
  int64_t lanes; ///< f32 elements of a vector register.

  mlir::VectorType vectorType(int64_t size) {
    return mlir::VectorType::get({size}, b.getF32Type());
  }

  Value index(int64_t value);
  /// The index 0, which LLVM takes for any other: it does not see that elements
  /// that far apart are the same.
  Value opaqueZero();
  /// What an intrinsic of LLVM computes of these.
  Value intrinsic(llvm::StringRef name, mlir::Type type,
                  mlir::ValueRange operands);
  /// A buffer on the stack, where a cache line begins.
  Value scratch(llvm::ArrayRef<int64_t> shape, mlir::Type element);
  Value f32(float value);
  /// A vector of `size` lanes (default: a register) that are all `value`.
  Value splat(float value, int64_t size = 0);

  Value add(Value x, Value y);
  Value add(Value x, int64_t y);
  Value sub(Value x, Value y);
  Value mul(Value x, Value y);
  Value mul(Value x, int64_t y);
  Value div(Value x, Value y);
  Value div(Value x, int64_t y);
  Value rem(Value x, Value y);
  Value rem(Value x, int64_t y);
  Value min(Value x, Value y);
  Value max(Value x, Value y);
  Value ceilDiv(Value x, Value y);
  Value ceilDiv(Value x, int64_t y);
  Value less(Value x, Value y);
  Value equal(Value x, Value y);
  Value equal(Value x, int64_t y);
  Value both(Value x, Value y);
  Value select(Value condition, Value x, Value y);

  Value dim(Value memref, int64_t dimension);
  /// A memref<?x?xT> as memref<?xT>.
  Value flatten(Value memref);
  /// An i32 element as an index.
  Value loadIndex(Value memref, mlir::ValueRange indices);
  Value load(Value memref, mlir::ValueRange indices);
  void store(Value value, Value memref, mlir::ValueRange indices);

  /// `size` elements (default: a register), widened to f32.
  Value loadVector(Value memref, mlir::ValueRange indices, int64_t size = 0);
  void storeVector(Value value, Value memref, mlir::ValueRange indices);
  /// The lanes that `mask` has; the others are 0, or stay as they are.
  Value loadMasked(Value memref, mlir::ValueRange indices, Value mask);
  void storeMasked(Value value, Value memref, mlir::ValueRange indices,
                   Value mask);
  Value broadcast(Value scalar, int64_t size = 0);
  /// An index in every lane, as i32.
  Value broadcastI32(Value index);
  /// 0, 1, 2, ... as i32.
  Value lanesI32();
  /// A mask that has the first `count` lanes: none of them if it is negative,
  /// all if it is greater.
  Value firstLanes(Value count);
  Value fma(Value x, Value y, Value z);
  /// Two vectors of 16 f32 as one of bf16, rounded to the nearest, ties to
  /// even; subnormal numbers become 0.
  Value toBF16(Value low, Value high);
  Value mulf(Value x, Value y);
  Value addf(Value x, Value y);
  Value subf(Value x, Value y);
  Value divf(Value x, Value y);
  /// The larger of two scalars, or of each two lanes; `y` if one is NaN.
  Value maxf(Value x, Value y);
  Value minf(Value x, Value y);
  /// One value of all lanes: the halves are combined until one lane is left.
  Value reduce(Value vector, llvm::function_ref<Value(Value, Value)> combine);
  /// Reads the cache line of an element ahead; any address is allowed.
  void prefetch(Value memref, mlir::ValueRange indices);

  /// for i = lower; i < upper; i += step, carrying `init`.
  Values loop(Value lower, Value upper, Value step, Values init,
              llvm::function_ref<Values(Value, Values)> body);
  void loop(Value lower, Value upper, Value step,
            llvm::function_ref<void(Value)> body);
  void loop(Value lower, Value upper, llvm::function_ref<void(Value)> body) {
    loop(lower, upper, index(1), body);
  }
  void ifThen(Value condition, llvm::function_ref<void()> body);
  void ifThenElse(Value condition, llvm::function_ref<void()> body,
                  llvm::function_ref<void()> otherwise);
  /// Calls `body(c)` for the c in [first, last] that equals `value`.
  void switchOn(Value value, int64_t first, int64_t last,
                llvm::function_ref<void(int64_t)> body);

  /// [begin, end) of `count` items that worker `worker` of `workers` does.
  std::pair<Value, Value> share(Value count, Value worker, Value workers);

  /// Calls `body(i)` for each i in [0, count) on one of the workers: whoever
  /// asks first gets the next. `next` (memref<?xi64>, one element) is 0 before
  /// any worker begins and after all are done.
  void deal(Value count, Value next, Value workers,
            llvm::function_ref<void(Value)> body);

  /// The same, but calls `body` for `streams` items at a time, which lie far
  /// from each other so that memory sees as many linear streams; then for those
  /// left, one by one. `body` gets fewer items than `streams` once only, for
  /// which it emits code again.
  void dealApart(Value count, int64_t streams, Value next, Value workers,
                 llvm::function_ref<void(llvm::ArrayRef<Value>)> body);

  /// The same, but calls `body(begin, end)` for runs of items, so that a worker
  /// reads what lies behind each other: each worker gets a run of the first
  /// half of the items, then of half of what is left, and so on; short runs at
  /// the end make up for workers that are slower than others. Runs can be
  /// empty.
  void dealRuns(Value count, Value next, Value workers,
                llvm::function_ref<void(Value, Value)> body);

  /// What the block of scalar elementwise ops yields for these vectors, which
  /// stand for its arguments. Other values that it uses are constants.
  Value elementwise(mlir::Block &block, mlir::ValueRange arguments);

  /// exp(x) of f32 vectors with x <= 0, to about one unit in the last place:
  /// x = n ln 2 + r, then a polynomial of degree 6 (Cephes' coefficients) and a
  /// power of two put together in the exponent. 0 below -87; NaN stays NaN.
  Value expOfNonPositive(Value x);
  /// 2^x of f32 vectors with x <= 0, to 3e-6 of it, by a polynomial of degree
  /// 4; 0 below -126; NaN stays NaN.
  Value exp2OfNonPositive(Value x);
};

} // namespace nju

#endif // NJU_LIB_CODEGEN_CPU_KERNELBUILDER_H
