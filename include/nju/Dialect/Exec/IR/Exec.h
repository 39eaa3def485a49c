//===- Exec.h - The exec dialect -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DIALECT_EXEC_IR_EXEC_H
#define NJU_DIALECT_EXEC_IR_EXEC_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "nju/Dialect/NJU/IR/NJU.h"

#include "nju/Dialect/Exec/IR/ExecDialect.h.inc"
#define GET_OP_CLASSES
#include "nju/Dialect/Exec/IR/ExecOps.h.inc"

namespace nju::exec {

/// Fills the epilogue of an exec.linear that has one weight and one other
/// operand: their sum.
void buildBiasEpilogue(mlir::OpBuilder b, mlir::Location loc,
                       mlir::Region &epilogue);

} // namespace nju::exec

#endif // NJU_DIALECT_EXEC_IR_EXEC_H
