//===- Gradients.h - Gradients of nju ops -----------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DIALECT_NJU_ANALYSIS_GRADIENTS_H
#define NJU_DIALECT_NJU_ANALYSIS_GRADIENTS_H

#include "nju/Dialect/NJU/Analysis/HostTensor.h"
#include "llvm/ADT/SmallVector.h"
#include <string>

namespace nju {

/// Whether a gradient with respect to the op's result can be carried on to its
/// operand `index`: elements of f32 on which the result depends smoothly.
/// `nju.linear` is not among the ops: who trains its weight knows its form.
bool hasGradient(mlir::Operation *op, unsigned index);

/// Reverse mode of one op: from the gradient of a loss with respect to the
/// op's result those with respect to the operands that are `wanted`; the others
/// are left empty. `operands` and `result` are what the op was computed with,
/// all f32 where they are floats; weights of norms, tables, masks and indices
/// are no operands that could be wanted. For `nju.cached_attention`, positions
/// of each sequence must be 0, 1, 2, ... On failure `reason` says why.
///
/// Products and attention work on the threads of llvm::parallel; results do not
/// depend on their number.
mlir::FailureOr<llvm::SmallVector<HostTensor>>
gradientOp(mlir::Operation *op, llvm::ArrayRef<HostTensor> operands,
           const HostTensor &result, const HostTensor &gradient,
           llvm::ArrayRef<bool> wanted, std::string &reason);

} // namespace nju

#endif // NJU_DIALECT_NJU_ANALYSIS_GRADIENTS_H
