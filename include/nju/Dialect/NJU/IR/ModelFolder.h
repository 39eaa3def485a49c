//===- ModelFolder.h - Where the files of a model lie -----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DIALECT_NJU_IR_MODELFOLDER_H
#define NJU_DIALECT_NJU_IR_MODELFOLDER_H

#include "mlir/IR/BuiltinOps.h"

namespace nju {

/// The folder that paths in `#nju.file_data` are relative to: the module's
/// attribute `nju.folder`, and the working directory where it has none. The
/// text belongs to the context.
llvm::StringRef getModelFolder(mlir::ModuleOp module);

void setModelFolder(mlir::ModuleOp module, llvm::StringRef folder);

} // namespace nju

#endif // NJU_DIALECT_NJU_IR_MODELFOLDER_H
