//===- Import.cpp - ONNX models to the nju dialect -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Import/ONNX/Import.h"
#include "GraphImporter.h"
#include "OpRegistry.h"
#include "WireFormat.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace nju::onnx_import;

static InFlightDiagnostic emitFileError(llvm::StringRef path,
                                        MLIRContext *context) {
  return emitError(UnknownLoc::get(context)) << path << ": ";
}

static ModelSource makeSource(llvm::StringRef bytes, llvm::StringRef path) {
  SmallString<256> absolute(path);
  llvm::sys::fs::make_absolute(absolute);
  llvm::sys::path::remove_dots(absolute);
  return {path.str(), llvm::sys::path::parent_path(absolute).str(),
          llvm::sys::path::filename(absolute).str(), bytes};
}

OwningOpRef<ModuleOp>
nju::importONNXFromBuffer(llvm::StringRef bytes, llvm::StringRef path,
                          MLIRContext *context,
                          const ONNXImportOptions &options) {
  context->loadDialect<NJUDialect, func::FuncDialect>();
  onnx::ModelProto model;
  if (llvm::Error error = parseModel(bytes, model)) {
    emitFileError(path, context)
        << "is no ONNX model: " << llvm::toString(std::move(error));
    return {};
  }
  if (!model.has_graph() || !model.has_ir_version()) {
    emitFileError(path, context)
        << "is no ONNX model: it has no "
        << (model.has_graph() ? "IR version" : "graph");
    return {};
  }
  ModelSource source = makeSource(bytes, path);
  return GraphImporter(model, source, context, options).importModel();
}

OwningOpRef<ModuleOp> nju::importONNX(llvm::StringRef path,
                                      MLIRContext *context,
                                      const ONNXImportOptions &options) {
  auto refuse = [&](std::error_code error) -> OwningOpRef<ModuleOp> {
    emitFileError(path, context) << "cannot be read: " << error.message();
    return {};
  };
  llvm::sys::fs::file_status status;
  if (std::error_code error = llvm::sys::fs::status(path, status))
    return refuse(error);
  // Reading a device or a pipe might never end.
  if (!llvm::sys::fs::is_regular_file(status)) {
    emitFileError(path, context)
        << "is no regular file; expected an ONNX model";
    return {};
  }
  auto buffer = llvm::MemoryBuffer::getFile(path, /*IsText=*/false,
                                            /*RequiresNullTerminator=*/false);
  if (!buffer)
    return refuse(buffer.getError());
  return importONNXFromBuffer((*buffer)->getBuffer(), path, context, options);
}

std::vector<nju::ONNXOpSupport> nju::supportedONNXOps() {
  std::vector<ONNXOpSupport> ops;
  const OpRegistry &registry = OpRegistry::get();
  for (const OpRegistry::Key &key : registry.keys()) {
    int64_t first = registry.lookup(key.domain, key.type)->back().since;
    bool isStandard = key.domain.empty();
    ops.push_back({isStandard ? "ai.onnx" : key.domain, key.type, first,
                   isStandard ? kMaxOpset : kMaxMicrosoftOpset});
  }
  llvm::sort(ops, [](const ONNXOpSupport &a, const ONNXOpSupport &b) {
    return std::tie(a.domain, a.type) < std::tie(b.domain, b.type);
  });
  return ops;
}
