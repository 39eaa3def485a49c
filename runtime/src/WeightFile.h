//===- WeightFile.h - The safetensors file of a model -----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_RUNTIME_WEIGHTFILE_H
#define NJU_RUNTIME_WEIGHTFILE_H

#include "MappedFile.h"
#include "Signature.h"

namespace nju {

/// The mapped weights of a model. Any bytes are safe to open: the header is
/// checked against the file's size before anything is used.
class WeightFile {
public:
  /// Maps `path` and compares it with what `signature` was compiled with; with
  /// `verify` the whole data section is read and its checksum compared.
  nju_status open(const std::string &path, const Signature &signature,
                  bool verify);

  /// The data section: signature.weightsBytes bytes, aligned to
  /// NJU_ABI_ALIGNMENT.
  const uint8_t *getData() const { return data; }

private:
  nju_status readHeader(const std::string &path, std::string &hash);

  MappedFile file;
  const uint8_t *data = nullptr;
  uint64_t dataSize = 0;
};

} // namespace nju

#endif // NJU_RUNTIME_WEIGHTFILE_H
