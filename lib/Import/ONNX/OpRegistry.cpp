//===- OpRegistry.cpp - What the importer knows of each op -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "OpRegistry.h"
#include "llvm/ADT/STLExtras.h"

using namespace nju::onnx_import;

OpRegistry::OpRegistry() {
  registerActivationOps(*this);
  registerAttentionOps(*this);
  registerMicrosoftAttentionOps(*this);
  registerMicrosoftExpertOps(*this);
  registerConstantOps(*this);
  registerControlFlowOps(*this);
  registerConvolutionOps(*this);
  registerEinsumOps(*this);
  registerElementwiseOps(*this);
  registerIndexingOps(*this);
  registerLossOps(*this);
  registerMatMulOps(*this);
  registerNormalizationOps(*this);
  registerPoolingOps(*this);
  registerQuantizationOps(*this);
  registerQuantizeLinearOps(*this);
  registerReductionOps(*this);
  registerSequenceOps(*this);
  registerShapeOps(*this);
}

const OpRegistry &OpRegistry::get() {
  static const OpRegistry registry;
  return registry;
}

void OpRegistry::add(llvm::StringRef type, int64_t since, Arity inputs,
                     OpEntry::Handler handler, llvm::StringRef domain) {
  llvm::SmallVector<OpEntry, 1> &entries = domains[domain][type];
  entries.push_back({handler, since, inputs});
  llvm::sort(entries, [](const OpEntry &a, const OpEntry &b) {
    return a.since > b.since;
  });
}

const llvm::SmallVector<OpEntry, 1> *
OpRegistry::lookup(llvm::StringRef domain, llvm::StringRef type) const {
  auto types = domains.find(domain);
  if (types == domains.end())
    return nullptr;
  auto entries = types->second.find(type);
  return entries == types->second.end() ? nullptr : &entries->second;
}

llvm::SmallVector<OpRegistry::Key> OpRegistry::keys() const {
  llvm::SmallVector<Key> keys;
  for (const auto &domain : domains)
    for (const auto &type : domain.second)
      keys.push_back({domain.first().str(), type.first().str()});
  return keys;
}
