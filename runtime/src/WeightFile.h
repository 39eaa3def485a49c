//===- WeightFile.h - The safetensors file of a model -----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_RUNTIME_WEIGHTFILE_H
#define NJU_RUNTIME_WEIGHTFILE_H

#include "LoadedFile.h"
#include "MappedFile.h"
#include "Signature.h"

namespace nju {

/// The weights of a model, mapped or in memory. Any bytes are safe to open: the
/// header is checked against the file's size before anything is used.
class WeightFile {
public:
  /// Maps or loads `path`, as `options` say, and compares it with what
  /// `signature` was compiled with; when they ask to verify, the whole data
  /// section is read and its checksum compared.
  nju_status open(const std::string &path, const Signature &signature,
                  const nju_model_options &options);

  /// The data section: signature.weightsBytes bytes, aligned to
  /// NJU_ABI_ALIGNMENT.
  const uint8_t *getData() const { return data; }

private:
  nju_status readHeader(const std::string &path, std::string &hash);
  nju_status checkHeader(const std::string &path, const Signature &signature,
                         const std::string &hash) const;
  nju_status load(const std::string &path, const nju_model_options &options);
  nju_status place(const std::string &path, const nju_model_options &options);
  nju_status verify(const std::string &path, const Signature &signature) const;

  MappedFile file;
  LoadedFile loaded;
  const uint8_t *data = nullptr;
  uint64_t dataSize = 0;
};

} // namespace nju

#endif // NJU_RUNTIME_WEIGHTFILE_H
