//===- FoldConstantsImpl.h - Simplifications of nju-fold-constants -*- C++
//-*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_TRANSFORMS_FOLDCONSTANTSIMPL_H
#define NJU_LIB_TRANSFORMS_FOLDCONSTANTSIMPL_H

#include "mlir/IR/Builders.h"
#include "nju/Dialect/NJU/Analysis/ShapeInference.h"

namespace nju::detail {

/// A value that `op`'s result may be replaced by because the shapes prove it,
/// or null. May create ops before `op` (and infers them), or change an operand
/// of `op` in place.
mlir::Value simplify(mlir::Operation *op, ShapeInference &shapes,
                     mlir::OpBuilder &builder);

} // namespace nju::detail

#endif // NJU_LIB_TRANSFORMS_FOLDCONSTANTSIMPL_H
