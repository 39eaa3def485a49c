//===- Buffers.h - What a buffer is a view of -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_CONVERSION_BUFFERS_H
#define NJU_CONVERSION_BUFFERS_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "nju/Dialect/Exec/IR/KernelAttributes.h"

namespace nju::exec {

/// Arguments of the final `@step`, in order; see docs/abi.md.
enum StepArgument : unsigned {
  kWorker,
  kWorkers,
  kTokens,
  kPositions,
  kSequences,
  kRows,
  kLogits,
  kWeights,
  kCache,
  kArena,
  kMaxSequences,
  kCacheTokens,
  kNumStepArguments
};

/// Bytes at most of a buffer in the arena.
constexpr llvm::StringLiteral kBytesAttr = "exec.bytes";

/// Marks a buffer of a step that is zero when a step begins and when it ends:
/// it shares its memory with no other.
constexpr llvm::StringLiteral kZeroAttr = "exec.zero";

/// The functions that are no kernels: @step or @main.
inline llvm::SmallVector<mlir::func::FuncOp> programsOf(mlir::ModuleOp module) {
  return llvm::to_vector(llvm::make_filter_range(
      module.getOps<mlir::func::FuncOp>(), [](mlir::func::FuncOp function) {
        return function.isPublic() && !function.isExternal();
      }));
}

/// The argument that holds all weights, of @step or @main.
inline mlir::Value weightsOf(mlir::func::FuncOp function) {
  return function.getArgument(function.getName() == "step"
                                  ? unsigned(kWeights)
                                  : function.getNumArguments() - 1);
}

/// True for ops whose result is another view of operand 0.
inline bool isView(mlir::Operation *op) {
  return llvm::isa<mlir::memref::CastOp, mlir::memref::SubViewOp,
                   mlir::memref::ExpandShapeOp, mlir::memref::CollapseShapeOp,
                   mlir::memref::ReinterpretCastOp, mlir::memref::ReshapeOp,
                   mlir::memref::ViewOp, mlir::memref::TransposeOp>(op);
}

/// What `value` is a view of: an allocation, an argument, a weight, a view of
/// the arena.
inline mlir::Value rootOf(mlir::Value value) {
  while (mlir::Operation *def = value.getDefiningOp()) {
    if (!isView(def) || def->hasAttr(kBytesAttr))
      break;
    value = def->getOperand(0);
  }
  return value;
}

/// The number of elements.
inline mlir::Value countElements(mlir::ImplicitLocOpBuilder &b,
                                 mlir::Value buffer) {
  auto type = llvm::cast<mlir::MemRefType>(buffer.getType());
  mlir::Value count = mlir::arith::ConstantIndexOp::create(b, 1);
  for (int64_t i = 0; i < type.getRank(); ++i) {
    mlir::Value size =
        type.isDynamicDim(i)
            ? mlir::Value(mlir::memref::DimOp::create(b, buffer, i))
            : mlir::Value(
                  mlir::arith::ConstantIndexOp::create(b, type.getDimSize(i)));
    count = b.createOrFold<mlir::arith::MulIOp>(count, size);
  }
  return count;
}

/// A new buffer of the identity layout, with the sizes of `value`.
inline mlir::Value allocLike(mlir::ImplicitLocOpBuilder &b, mlir::Value value) {
  auto type = llvm::cast<mlir::MemRefType>(value.getType());
  llvm::SmallVector<mlir::Value> sizes;
  for (int64_t i = 0; i < type.getRank(); ++i)
    if (type.isDynamicDim(i))
      sizes.push_back(mlir::memref::DimOp::create(b, value, i));
  return mlir::memref::AllocOp::create(
      b, mlir::MemRefType::get(type.getShape(), type.getElementType()), sizes);
}

} // namespace nju::exec

#endif // NJU_CONVERSION_BUFFERS_H
