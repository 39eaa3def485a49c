//===- Panels.h - Checks of packed weights ----------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What the verifiers of ops on packed weights have in common.
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_DIALECT_NJU_IR_PANELS_H
#define NJU_LIB_DIALECT_NJU_IR_PANELS_H

#include "nju/Dialect/NJU/IR/NJU.h"

namespace nju {

/// Checks that `weight` is cut in panels, and that so many columns fill them.
mlir::LogicalResult verifyPanels(mlir::Operation *op,
                                 mlir::RankedTensorType weight,
                                 int64_t columns);

} // namespace nju

#endif // NJU_LIB_DIALECT_NJU_IR_PANELS_H
