//===- GradientsImpl.h - The families of gradients --------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_DIALECT_NJU_ANALYSIS_GRADIENTSIMPL_H
#define NJU_LIB_DIALECT_NJU_ANALYSIS_GRADIENTSIMPL_H

#include "StridedCopy.h"
#include "nju/Dialect/NJU/Analysis/HostTensor.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include <optional>
#include <string>

namespace nju::detail {

/// One op whose result's gradient is carried on.
struct GradientRequest {
  mlir::Operation *op;
  llvm::ArrayRef<HostTensor> operands;
  const HostTensor &result, &gradient;
  llvm::ArrayRef<bool> wanted;
  std::string &reason;
  /// One an operand; those that are wanted begin as zeros.
  llvm::MutableArrayRef<HostTensor> results;

  mlir::LogicalResult fail(const llvm::Twine &why) const {
    reason = why.str();
    return mlir::failure();
  }
  const float *operand(unsigned i) const {
    return operands[i].elements<float>().data();
  }
  /// Null if it is not wanted.
  float *target(unsigned i) const {
    return wanted[i] ? results[i].mutableElements<float>().data() : nullptr;
  }
  const float *incoming() const { return gradient.elements<float>().data(); }
  const float *output() const { return result.elements<float>().data(); }
};

using GradientResult = std::optional<mlir::LogicalResult>;

/// The families: no value if the op is not of the family.
GradientResult gradientElementwise(const GradientRequest &request);
GradientResult gradientShape(const GradientRequest &request);
GradientResult gradientIndexing(const GradientRequest &request);
GradientResult gradientReduction(const GradientRequest &request);
GradientResult gradientMatMul(const GradientRequest &request);
GradientResult gradientNormalization(const GradientRequest &request);
GradientResult gradientAttention(const GradientRequest &request);

} // namespace nju::detail

#endif // NJU_LIB_DIALECT_NJU_ANALYSIS_GRADIENTSIMPL_H
