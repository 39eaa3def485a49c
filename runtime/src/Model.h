//===- Model.h - A loaded model ---------------------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_RUNTIME_MODEL_H
#define NJU_RUNTIME_MODEL_H

#include "Signature.h"
#include "WeightFile.h"

#include "nju/abi.h"

#include <memory>

namespace nju {

/// What a compiled model consists of at run time. Immutable once opened and
/// shared by the model's handle and its sessions.
class Model {
public:
  ~Model();

  /// Loads the shared library `path`, then opens its descriptor.
  nju_status load(const std::string &path, const nju_model_options &options);

  /// Checks the descriptor and the machine, maps the weights. `path` is the
  /// shared library, empty if the program itself holds the descriptor.
  nju_status open(const void *descriptor, const std::string &path,
                  const nju_model_options &options);

  const Signature &getSignature() const { return signature; }
  const nju_abi_descriptor &getDescriptor() const { return *descriptor; }
  /// The variant that runs here, and its name.
  const nju_abi_variant &getCode() const { return *code; }
  const std::string &getVariant() const;
  /// Null if the model has no weights.
  const uint8_t *getWeights() const { return weights.getData(); }

private:
  nju_status checkDescriptor(const void *address);
  nju_status chooseVariant(const char *wanted);
  nju_status useVariant(size_t index);
  nju_status openWeights(const std::string &path,
                         const nju_model_options &options);

  void *library = nullptr;
  const nju_abi_descriptor *descriptor = nullptr;
  const nju_abi_variant *code = nullptr;
  Signature signature;
  WeightFile weights;
};

/// Turns the C API's number of threads into one to run with: 0 becomes all
/// cores. Fails if it is negative or more than the cores.
nju_status resolveThreads(int64_t requested, int32_t &numThreads);

} // namespace nju

struct nju_model {
  std::shared_ptr<const nju::Model> model;
};

#endif // NJU_RUNTIME_MODEL_H
