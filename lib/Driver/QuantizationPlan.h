//===- QuantizationPlan.h - Which weight gets which format ------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_DRIVER_QUANTIZATIONPLAN_H
#define NJU_LIB_DRIVER_QUANTIZATIONPLAN_H

#include "nju/Quantization/LCQOptions.h"
#include "nju/Transforms/QuantizableWeights.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <optional>
#include <vector>

namespace nju {

/// Formats by the names and roles of weights. A format is one that
/// `LCQOptions::parse` reads, or none: the weight stays as it is.
class QuantizationPlan {
public:
  using Format = std::optional<lcq::LCQOptions>;

  /// The plan of `--quantize=TEXT`: the format for all matrices of products,
  /// but at least 4 bits for embeddings and the head, whose every row is one
  /// token's, and none for matrices that are too small to gain from it.
  static llvm::Expected<QuantizationPlan> get(llvm::StringRef text);

  /// Changes the plan by a JSON file (docs/quantization.md).
  llvm::Error read(llvm::StringRef path);

  /// Whether a matrix may gain something; smaller ones stay as they are unless
  /// a plan names them.
  static bool isLargeEnough(const QuantizableWeight &weight);

  /// The format of each weight. An error if the plan names what is none of
  /// them.
  llvm::Expected<std::vector<Format>>
  choose(llvm::ArrayRef<QuantizableWeight> weights) const;

  /// Whether a name or pattern of the plan is that of the weight. What came
  /// quantized is only changed by these.
  bool names(llvm::StringRef weight) const { return findRule(weight); }

  /// Whether the file says a format, or none, for the weight itself or for its
  /// role, and not just for all others.
  bool decides(const QuantizableWeight &weight) const;
  /// Whether weights that it does not decide about get a format.
  bool hasDefault() const { return matrices.has_value(); }

private:
  struct Rule {
    std::string pattern; ///< A name, in which * is any text.
    Format format;
  };
  llvm::Error parse(llvm::StringRef text);
  const Rule *findRule(llvm::StringRef name) const;

  Format matrices, embedding, head;
  bool decidesEmbedding = false, decidesHead = false;
  std::vector<Rule> rules;
  std::string source; ///< The file, for errors.
};

/// The attribute that says a format, and the format that it says.
LCQAttr toAttr(mlir::MLIRContext *context, const lcq::LCQOptions &format);
lcq::LCQOptions fromAttr(LCQAttr attr);

/// The text of a plan that gives each weight its format by its name.
std::string printPlan(llvm::ArrayRef<QuantizableWeight> weights,
                      llvm::ArrayRef<QuantizationPlan::Format> formats);

} // namespace nju

#endif // NJU_LIB_DRIVER_QUANTIZATIONPLAN_H
