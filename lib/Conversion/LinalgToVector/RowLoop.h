//===- RowLoop.h - Dealing out a step's work by tokens ----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// In a step most kernels treat each token (row) by itself. If each of them
// deals the rows out to the workers in the same way, what one kernel writes is
// read by the same worker in the next, and no barrier is needed between them.
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_CONVERSION_LINALGTOVECTOR_ROWLOOP_H
#define NJU_LIB_CONVERSION_LINALGTOVECTOR_ROWLOOP_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include <optional>

namespace nju::vectorize {

/// The parallel loop over rows by which the op's work can be dealt out: the
/// only loop of unknown size, along the first dimension of every result that
/// is not 1. None if there is no such loop, or if a row is so long that
/// several workers should share it.
std::optional<int64_t> findRowLoop(mlir::linalg::GenericOp op);

/// The dimension of a kernel's argument that the loops over rows of all its
/// users run along, if these touch nothing but what belongs to their row.
std::optional<int64_t> findRowDimension(mlir::BlockArgument argument);

/// Sets `exec.rows` on the arguments of `kernel`, whose rows are dealt out,
/// that are touched at the worker's own rows only.
void markRowArguments(mlir::func::FuncOp kernel);

/// Whether a reduction of the same kernel begins with what the op fills.
bool isStartValue(mlir::linalg::FillOp op);

/// If all operands are laid out identically and contiguously: the op with one
/// loop for all, or with `rowLoop` (which becomes loop 0) one for rows and one
/// for the rest. Else the op itself.
mlir::linalg::GenericOp flatten(mlir::linalg::GenericOp op,
                                std::optional<int64_t> &rowLoop);

} // namespace nju::vectorize

#endif // NJU_LIB_CONVERSION_LINALGTOVECTOR_ROWLOOP_H
