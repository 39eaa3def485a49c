//===- Compile.h - From a model file to a shared library -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DRIVER_COMPILE_H
#define NJU_DRIVER_COMPILE_H

#include "mlir/IR/MLIRContext.h"
#include "nju/Dialect/NJU/IR/CacheLayout.h"
#include "llvm/Support/LogicalResult.h"
#include <cstdint>
#include <optional>
#include <string>

namespace nju {

/// Where a compilation stops, in order.
enum class EmitKind { Import, NJU, Linalg, LLVM, Asm, Obj, So };

/// What `nju-compile` was asked to do.
struct CompileOptions {
  std::string input;  ///< The ONNX file.
  std::string output; ///< STEM, or the file of an earlier `emit`.
  std::string target = "host";
  std::string sysroot;          ///< See LinkOptions.
  std::string compute = "auto"; ///< See getComputeType.
  std::string quantize;         ///< A format of LCQOptions::parse; empty: none.
  std::string quantizePlan; ///< A JSON file (docs/quantization.md), or empty.
  /// Chooses formats so that all weights together take no more.
  std::optional<double> bitsPerWeight;
  std::string savePlan;    ///< A file for the formats in the end, or empty.
  std::string calibration; ///< A text, tokens, or `self`; empty: none.
  int64_t calibrationTokens = 0; ///< At most; 0: what suffices.
  bool refine = false;           ///< Train the quantized weights.
  int64_t refineSteps = 0;       ///< Of the whole model; 0: what suffices.
  /// What products with quantized weights round x to; see ActivationType.
  std::string activations = "int8";
  EmitKind emit = EmitKind::So;
  bool report = false;     ///< Print the report to stdout.
  bool quiet = false;      ///< No progress.
  bool linkStatic = false; ///< Embed the runtime.
  int64_t maxTokens = 0;   ///< 0: what the model allows, at most 2048.
  int64_t maxSequences = 8;
  int64_t maxBatchTokens = 512;
  CacheType cacheType = CacheType::F32;

  /// Whether some weights may be quantized.
  bool quantizes() const {
    return !quantize.empty() || !quantizePlan.empty() || bitsPerWeight;
  }
};

/// Loads every dialect and extension that a compilation needs.
void registerCompilerDialects(mlir::DialectRegistry &registry);

/// Compiles. Diagnostics go to the context's handler, progress to stderr. On
/// failure no output exists that was not there before.
llvm::LogicalResult compile(const CompileOptions &options,
                            mlir::MLIRContext &context);

} // namespace nju

#endif // NJU_DRIVER_COMPILE_H
