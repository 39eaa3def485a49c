//===- Report.h - What a compiled model costs -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DRIVER_REPORT_H
#define NJU_DRIVER_REPORT_H

#include "mlir/IR/BuiltinOps.h"
#include "nju/Refinement/Refine.h"
#include "llvm/Support/raw_ostream.h"
#include <map>
#include <optional>
#include <string>

namespace nju {

/// Numbers of a module in the nju dialect after packing. Bytes are those of the
/// weight file; a multiply-add counts as two operations.
struct ModelCosts {
  bool languageModel = false;
  int64_t parameters = 0; ///< Number of weight elements, tables not counted.
  std::map<std::string, int64_t> weightBytes; ///< By kind of use.
  int64_t weightTotal = 0;
  int64_t decodeBytes = 0;  ///< Weight bytes that one token reads.
  int64_t flopsOfToken = 0; ///< Matrix products, each token.
  int64_t flopsOfRow = 0;   ///< Further ones for a token whose logits count.
  int64_t cacheBytesOfToken = 0;
  std::string cacheType;
  int64_t maxTokens = 0, maxSequences = 0, maxBatchTokens = 0;
  std::map<std::string, int64_t> ops; ///< Structure ops by name.
};

ModelCosts computeCosts(mlir::ModuleOp module);

/// What quantizing a matrix gave.
struct QuantizedWeightCosts {
  enum class Origin {
    Quantized,
    AsGiven,    ///< It came quantized.
    Dequantized ///< The same, but no kernel has its format.
  };
  std::string name, format;
  Origin origin = Origin::Quantized;
  int64_t elements = 0;
  int64_t bytes = 0;      ///< Of all its parts, padding included.
  double weightError = 0; ///< Relative, in the Frobenius norm.
  /// With calibration, squared error of the outputs over their squares.
  std::optional<double> outputError;
};

/// What is known after lowering.
struct LoweredCosts {
  int64_t arenaBytes = 0;
  int64_t arenaLowerBound = 0;
  int64_t launches = 0;      ///< Kernel launches of a step.
  int64_t kernels = 0;       ///< Different kernels.
  int64_t barriers = 0;      ///< Waits of a step that has one token.
  int64_t batchBarriers = 0; ///< Further ones if it has several.
  std::string processors;    ///< What there is code for, the numbers' first.
};

/// Reads the attributes and launches of a lowered module.
LoweredCosts readLoweredCosts(mlir::ModuleOp module);

/// Prints the report; measures this machine for the floor times.
/// `listsFormats`: with the format of each quantized matrix.
void printReport(const ModelCosts &costs, const LoweredCosts &lowered,
                 llvm::ArrayRef<QuantizedWeightCosts> quantized,
                 std::optional<RefineLoss> refinement, bool listsFormats,
                 llvm::raw_ostream &os);

} // namespace nju

#endif // NJU_DRIVER_REPORT_H
