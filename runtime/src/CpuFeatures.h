//===- CpuFeatures.h - CPU features by LLVM's names -------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_RUNTIME_CPUFEATURES_H
#define NJU_RUNTIME_CPUFEATURES_H

#include <string>
#include <vector>

namespace nju {

/// Whether a feature can be used here.
enum class FeatureState { Unknown, Missing, Present };

/// Looks a feature up by LLVM's name ("avx512vnni"): the processor has it and
/// the operating system saves its registers.
FeatureState getCpuFeature(const std::string &name);

/// All features this machine offers, by LLVM's names, in table order.
std::vector<std::string> getCpuFeatures();

/// The processor's name for messages, "AMD EPYC 7763".
std::string getCpuName();

} // namespace nju

#endif // NJU_RUNTIME_CPUFEATURES_H
