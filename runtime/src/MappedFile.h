//===- MappedFile.h - Read-only file mapping --------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_RUNTIME_MAPPEDFILE_H
#define NJU_RUNTIME_MAPPEDFILE_H

#include "Status.h"

#include <string>

namespace nju {

/// A whole file mapped for reading.
class MappedFile {
public:
  MappedFile() = default;
  ~MappedFile();
  MappedFile(const MappedFile &) = delete;
  MappedFile &operator=(const MappedFile &) = delete;

  /// `what` names the kind of file in messages, for example "weight file".
  nju_status open(const std::string &path, const char *what);
  /// Ends the mapping.
  void close();

  const uint8_t *getData() const { return data; }
  uint64_t getSize() const { return size; }

private:
  const uint8_t *data = nullptr;
  uint64_t size = 0;
};

} // namespace nju

#endif // NJU_RUNTIME_MAPPEDFILE_H
