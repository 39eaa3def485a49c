//===- FakeModel.h - A model by hand for the runtime's tests ----*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Implements the ABI the way generated code does: a "language model" whose
// logits depend on every token of the sequence through the key/value cache, so
// that a wrong position, sequence, fork or trim shows, and a small graph.
//
//===----------------------------------------------------------------------===//

#ifndef NJU_UNITTESTS_RUNTIME_FAKEMODEL_H
#define NJU_UNITTESTS_RUNTIME_FAKEMODEL_H

#include "nju/abi.h"

#include <string>
#include <vector>

namespace nju::fake {

constexpr int vocabulary = 64;
constexpr int maxTokens = 40;
constexpr int maxSequences = 3;
constexpr int maxBatchTokens = 8;
constexpr int arenaBytes = 1024;
/// Steps and runs that meet this token (or value) fail with `failureCode`.
constexpr int failingToken = 63;
constexpr int failureCode = 7;
/// A run that meets this value finds that its inputs contradict each other.
constexpr int contradictingValue = 61;
/// A run that meets this value makes an output of a wrong shape.
constexpr int wrongShapeValue = 62;

/// The data section of the weight file.
std::vector<unsigned char> makeWeights();
/// The safetensors file around it; `hash` empty takes the right one.
std::string makeWeightFile(const std::string &hash = "");

/// Entries of the signature's variants, from names and JSON lists of features.
std::string
makeVariants(const std::vector<std::pair<std::string, std::string>> &variants);

/// Signatures.
std::string makeLanguageModelSignature(
    const std::string &variants = makeVariants({{"fake-cpu", "[]"}}));
std::string makeGraphSignature();

/// Entry points.
int32_t step(const nju_abi_step_args *args);
int32_t run(nju_abi_run_args *args);

/// What `step` must predict after `tokens`, computed without a cache.
int predict(const std::vector<int> &tokens);
/// The logits row that predicts `next`.
std::vector<float> makeLogits(int next);

/// A descriptor around `signature`, which must live as long.
nju_abi_descriptor makeDescriptor(const std::string &signature);

} // namespace nju::fake

#endif // NJU_UNITTESTS_RUNTIME_FAKEMODEL_H
