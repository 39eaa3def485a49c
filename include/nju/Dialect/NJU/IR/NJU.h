//===- NJU.h - The nju dialect -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DIALECT_NJU_IR_NJU_H
#define NJU_DIALECT_NJU_IR_NJU_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "nju/Support/LCQLayout.h"

#include "nju/Dialect/NJU/IR/NJUDialect.h.inc"
#include "nju/Dialect/NJU/IR/NJUEnums.h.inc"
#define GET_ATTRDEF_CLASSES
#include "nju/Dialect/NJU/IR/NJUAttributes.h.inc"
#define GET_OP_CLASSES
#include "nju/Dialect/NJU/IR/NJUOps.h.inc"

namespace nju {

/// Columns of a panel of a packed weight matrix; see nju.linear. One number for
/// every target, so that a weight file does not depend on the target.
constexpr int64_t kPanelColumns = 32;

} // namespace nju

#endif // NJU_DIALECT_NJU_IR_NJU_H
