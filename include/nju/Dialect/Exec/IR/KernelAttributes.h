//===- KernelAttributes.h - Notes on kernels --------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Discardable attributes of the functions that exec.launch names. They are gone
// once launches have become calls.
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DIALECT_EXEC_IR_KERNELATTRIBUTES_H
#define NJU_DIALECT_EXEC_IR_KERNELATTRIBUTES_H

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace nju::exec {

/// Marks functions whose linalg ops every worker does a share of.
constexpr llvm::StringLiteral kKernelAttr = "exec.kernel";
/// Marks kernels that worker 0 runs alone.
constexpr llvm::StringLiteral kSerialAttr = "exec.serial";
/// Marks kernels of a step: rows (tokens) are dealt out where that is possible,
/// worker w of W gets the rows [T w / W, T (w + 1) / W) of T.
constexpr llvm::StringLiteral kDealRowsAttr = "exec.deal_rows";
/// On an argument, the number of a dimension (an i64): a worker touches only
/// its own rows, dealt out along that dimension as above. All dimensions before
/// it are 1. Kernels that agree on the rows of a buffer need no barrier.
constexpr llvm::StringLiteral kRowsAttr = "exec.rows";
/// Marks kernels that do nothing if the arguments with `exec.rows` have one
/// row.
constexpr llvm::StringLiteral kIdleForOneRowAttr = "exec.idle_for_one_row";

/// On an amx.tile_load: its lines are used once, and should not take the place
/// of others in the first cache.
constexpr llvm::StringLiteral kStreamsAttr = "exec.streams";

/// On @main once its checks are lowered: the messages, each NUL-terminated,
/// behind one NUL. The function has three results behind its own then: where
/// the message of what failed begins, 0 if nothing did, and the two numbers.
/// It stays until the conversion to LLVM.
constexpr llvm::StringLiteral kCheckMessagesAttr = "exec.check_messages";

/// [begin, end) of `count` items that worker `worker` of `workers` does: the
/// one way in which kernels deal out rows.
std::pair<mlir::Value, mlir::Value>
createShare(mlir::OpBuilder &b, mlir::Location loc, mlir::Value count,
            mlir::Value worker, mlir::Value workers);

/// Removes all but the last of these attributes from the function and its
/// arguments.
void removeKernelAttributes(mlir::func::FuncOp kernel);

} // namespace nju::exec

#endif // NJU_DIALECT_EXEC_IR_KERNELATTRIBUTES_H
