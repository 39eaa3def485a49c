//===- Compile.cpp - From a model file to a shared library -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Driver/Compile.h"

#include "Tokenizer.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"
#include "nju/Codegen/CPU/CPUTarget.h"
#include "nju/Dialect/Exec/IR/Exec.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include "nju/Dialect/NJU/IR/WeightLayout.h"
#include "nju/Driver/Progress.h"
#include "nju/Import/ONNX/Import.h"
#include "nju/Support/OutputFile.h"
#include "nju/Target/Emit.h"
#include "nju/Target/ToLLVM.h"
#include "nju/Transforms/Passes.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace nju;

namespace {

/// One run of the compiler; each step is a phase of docs/architecture.md.
class Compilation {
public:
  Compilation(const CompileOptions &options, MLIRContext &context)
      : options(options), context(context),
        progress(options.quiet, countPhases(options.emit)) {}

  LogicalResult run();

private:
  static int countPhases(EmitKind emit);
  LogicalResult checkOptions();
  LogicalResult import();
  LogicalResult emitText();
  LogicalResult runPasses(llvm::function_ref<void(OpPassManager &)> build);
  LogicalResult fail(llvm::Error error);
  InFlightDiagnostic error() { return emitError(UnknownLoc::get(&context)); }

  const CompileOptions &options;
  MLIRContext &context;
  Progress progress;
  std::optional<CPUTarget> target;
  OwningOpRef<ModuleOp> module;
};

} // namespace

int Compilation::countPhases(EmitKind emit) {
  switch (emit) {
  case EmitKind::Import:
    return 1;
  case EmitKind::NJU:
    return 2;
  case EmitKind::Linalg:
    return 3;
  case EmitKind::LLVM:
  case EmitKind::Asm:
  case EmitKind::Obj:
    return 4;
  case EmitKind::So:
    return 6;
  }
  return 0;
}

LogicalResult Compilation::fail(llvm::Error failure) {
  return error() << llvm::toString(std::move(failure));
}

LogicalResult Compilation::checkOptions() {
  auto positive = [&](StringRef name, int64_t value,
                      int64_t least) -> LogicalResult {
    if (value >= least && value <= (int64_t(1) << 30))
      return success();
    return error() << "--" << name << "=" << value << " is out of range, "
                   << "expected " << std::max<int64_t>(least, 1)
                   << " to 1073741824";
  };
  if (failed(positive("max-tokens", options.maxTokens, 0)) ||
      failed(positive("max-sequences", options.maxSequences, 1)) ||
      failed(positive("max-batch-tokens", options.maxBatchTokens, 1)))
    return failure();
  if (options.output == "-" && (options.emit == EmitKind::So))
    return error() << "cannot write a shared library to stdout; give -o STEM";
  llvm::Expected<CPUTarget> found = CPUTarget::get(options.target);
  if (!found)
    return fail(found.takeError());
  target = *found;
  return success();
}

LogicalResult
Compilation::runPasses(llvm::function_ref<void(OpPassManager &)> build) {
  PassManager manager(&context);
  if (failed(applyPassManagerCLOptions(manager)))
    return failure();
  build(manager);
  return manager.run(*module);
}

LogicalResult Compilation::import() {
  progress.begin("import " + llvm::sys::path::filename(options.input).str());
  module = importONNX(options.input, &context);
  return success(static_cast<bool>(module));
}

/// Writes the module as text, without the elements of large tables.
LogicalResult Compilation::emitText() {
  OpPrintingFlags flags;
  flags.elideLargeElementsAttrs(64);
  std::string text;
  llvm::raw_string_ostream os(text);
  module->print(os, flags);
  os << "\n";
  progress.finish();
  if (options.output == "-") {
    llvm::outs() << text;
    return success();
  }
  llvm::Error written = writeFile(options.output, text);
  return written ? fail(std::move(written)) : success();
}

LogicalResult Compilation::run() {
  if (failed(checkOptions()))
    return failure();
  if (options.emit != EmitKind::Import)
    return error() << "this build can only --emit=import";
  return failed(import()) ? failure() : emitText();
}

void nju::registerCompilerDialects(DialectRegistry &registry) {
  registry.insert<NJUDialect, exec::ExecDialect>();
}

LogicalResult nju::compile(const CompileOptions &options,
                           MLIRContext &context) {
  return Compilation(options, context).run();
}
