//===- EntryPoints.h - What the runtime calls -------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_TARGET_ENTRYPOINTS_H
#define NJU_LIB_TARGET_ENTRYPOINTS_H

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/BuiltinTypes.h"
#include <optional>

namespace nju {

/// The function that does a model's work, as it was before its conversion to
/// the LLVM dialect.
struct EntryFunction {
  std::string name; ///< "step" or "main"
  mlir::FunctionType type;
  /// See exec::kCheckMessagesAttr; null if there are no checks.
  mlir::StringAttr checkMessages;

  /// The results that are the model's.
  llvm::ArrayRef<mlir::Type> getOutputs() const {
    return type.getResults().drop_back(checkMessages ? 3 : 0);
  }
};

/// `@step`, or else `@main`, of a module; none if there is no such function.
std::optional<EntryFunction> findEntry(mlir::ModuleOp module);

/// Adds the function that the runtime calls, after the conversion, and makes
/// all others internal.
mlir::LogicalResult addEntry(mlir::ModuleOp module, const EntryFunction &entry);

} // namespace nju

#endif // NJU_LIB_TARGET_ENTRYPOINTS_H
