//===- Import.h - ONNX models to the nju dialect -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_IMPORT_ONNX_IMPORT_H
#define NJU_IMPORT_ONNX_IMPORT_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include <string>
#include <vector>

namespace nju {

struct ONNXImportOptions {
  /// Most nodes, nju ops and sequence elements that a model may become. Nested
  /// functions can describe a graph that is exponentially larger than its file.
  uint64_t maxOps = 4'000'000;
};

/// Reads the ONNX model `path`. The result holds `func.func @main`, whose
/// arguments and results carry `nju.name` (the name in the model) and
/// `nju.dims` (one dimension name a dimension, "" for a static or an anonymous
/// one), and an `nju.param` for each weight. The module attribute `nju.folder`
/// is the absolute folder that the paths of `#nju.file` are relative to.
///
/// Weights are not read: the file is mapped, and only the graph and small
/// constants become part of the result.
///
/// On an error, one diagnostic is emitted, which names the file and the node or
/// tensor, and the result is null. Loads the dialects it needs into `context`.
/// Calls with different contexts may run at once.
mlir::OwningOpRef<mlir::ModuleOp>
importONNX(llvm::StringRef path, mlir::MLIRContext *context,
           const ONNXImportOptions &options = {});

/// The same for a model in memory. `path` is the file that `bytes` are the
/// content of: weights refer to it, external data are looked for in its folder,
/// and diagnostics name it. It need not exist.
mlir::OwningOpRef<mlir::ModuleOp>
importONNXFromBuffer(llvm::StringRef bytes, llvm::StringRef path,
                     mlir::MLIRContext *context,
                     const ONNXImportOptions &options = {});

/// An op type that the importer knows.
struct ONNXOpSupport {
  /// "ai.onnx" or the name of another domain.
  std::string domain;
  std::string type;
  /// First and last opset of the domain in which it is known.
  int64_t firstOpset;
  int64_t lastOpset;
};

/// All op types that the importer knows, sorted by domain and type.
std::vector<ONNXOpSupport> supportedONNXOps();

} // namespace nju

#endif // NJU_IMPORT_ONNX_IMPORT_H
