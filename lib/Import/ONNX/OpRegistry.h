//===- OpRegistry.h - What the importer knows of each op -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_IMPORT_ONNX_OPREGISTRY_H
#define NJU_LIB_IMPORT_ONNX_OPREGISTRY_H

#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringRef.h"
#include <limits>
#include <string>

namespace nju::onnx_import {

class NodeImporter;

/// The newest opset of the domain ai.onnx whose ops are known.
constexpr int64_t kMaxOpset = 24;
/// Of com.microsoft, the ops of ONNX Runtime's own.
constexpr int64_t kMaxMicrosoftOpset = 1;
constexpr llvm::StringLiteral kMicrosoft = "com.microsoft";

/// How many inputs a node may name.
struct Arity {
  int min;
  int max;

  static constexpr int kAny = std::numeric_limits<int>::max();
  /*implicit*/ Arity(int count) : min(count), max(count) {}
  Arity(int min, int max) : min(min), max(max) {}
};

struct OpEntry {
  /// Emits the nju ops of a node and names its results. Its required inputs
  /// are there.
  using Handler = void (*)(NodeImporter &node);

  Handler handler;
  /// The first opset in which the op means what `handler` does.
  int64_t since;
  Arity inputs;
};

/// The op types of all families. Immutable once made.
class OpRegistry {
public:
  static const OpRegistry &get();

  /// Called by the families. Of the entries of an op type, that with the
  /// highest `since` that a node's opset reaches is taken.
  void add(llvm::StringRef type, int64_t since, Arity inputs,
           OpEntry::Handler handler, llvm::StringRef domain = "");

  /// The entries of an op type, with descending `since`; null if it is unknown.
  const llvm::SmallVector<OpEntry, 1> *lookup(llvm::StringRef domain,
                                              llvm::StringRef type) const;

  struct Key {
    std::string domain, type;
  };
  /// All op types, in no order.
  llvm::SmallVector<Key> keys() const;

private:
  OpRegistry();

  llvm::StringMap<llvm::StringMap<llvm::SmallVector<OpEntry, 1>>> domains;
};

// The op families, one file each.
void registerActivationOps(OpRegistry &registry);
void registerAttentionOps(OpRegistry &registry);
void registerMicrosoftAttentionOps(OpRegistry &registry);
void registerMicrosoftExpertOps(OpRegistry &registry);
void registerConstantOps(OpRegistry &registry);
void registerControlFlowOps(OpRegistry &registry);
void registerConvolutionOps(OpRegistry &registry);
void registerEinsumOps(OpRegistry &registry);
void registerElementwiseOps(OpRegistry &registry);
void registerIndexingOps(OpRegistry &registry);
void registerLossOps(OpRegistry &registry);
void registerMatMulOps(OpRegistry &registry);
void registerNormalizationOps(OpRegistry &registry);
void registerPoolingOps(OpRegistry &registry);
void registerQuantizationOps(OpRegistry &registry);
void registerQuantizeLinearOps(OpRegistry &registry);
void registerReductionOps(OpRegistry &registry);
void registerSequenceOps(OpRegistry &registry);
void registerShapeOps(OpRegistry &registry);

} // namespace nju::onnx_import

#endif // NJU_LIB_IMPORT_ONNX_OPREGISTRY_H
