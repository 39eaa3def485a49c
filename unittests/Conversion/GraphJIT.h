//===- GraphJIT.h - Runs lowered graphs in the process ----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A graph goes through the product's own lowering, conversion and -O3 pipeline;
// only the linker is replaced by LLVM's JIT. The evaluator gives the truth.
//
//===----------------------------------------------------------------------===//

#ifndef NJU_UNITTESTS_CONVERSION_GRAPHJIT_H
#define NJU_UNITTESTS_CONVERSION_GRAPHJIT_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/OwningOpRef.h"
#include "nju/Dialect/NJU/Analysis/HostTensor.h"
#include <memory>
#include <string>
#include <tuple>
#include <vector>

namespace nju::test {

/// A module with `@main` on tensors, compiled.
class GraphJIT {
public:
  /// `folder` has the files of params. Fails the test and leaves an unusable
  /// object on errors.
  explicit GraphJIT(const std::string &text, const std::string &target = "host",
                    const std::string &folder = "");
  ~GraphJIT();

  bool isUsable() const;
  std::vector<mlir::RankedTensorType> inputTypes() const;
  /// Results by the compiled code.
  std::vector<HostTensor> run(const std::vector<HostTensor> &inputs,
                              int64_t threads);
  /// What a run reports that has to fail: the message and its two numbers. No
  /// output may be set then.
  std::tuple<std::string, int64_t, int64_t>
  runFailing(const std::vector<HostTensor> &inputs);
  /// Results by the evaluator; fails the test if it cannot.
  std::vector<HostTensor> evaluate(const std::vector<HostTensor> &inputs);

private:
  struct Impl;
  std::unique_ptr<Impl> impl;
};

/// A module with `@step` in LM form, compiled; with a key/value cache.
class StepJIT {
public:
  StepJIT(const std::string &text, int64_t maxSequences, int64_t cacheTokens,
          const std::string &target = "host");
  ~StepJIT();

  bool isUsable() const;
  /// Logits of the tokens `rows`.
  std::vector<float> step(const std::vector<int32_t> &tokens,
                          const std::vector<int32_t> &positions,
                          const std::vector<int32_t> &sequences,
                          const std::vector<int32_t> &rows, int64_t threads);

private:
  struct Impl;
  std::unique_ptr<Impl> impl;
  int64_t maxSequences, cacheTokens, vocabulary = 0;
};

} // namespace nju::test

#endif // NJU_UNITTESTS_CONVERSION_GRAPHJIT_H
