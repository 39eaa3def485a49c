//===- Result.h - a status, or a value and a status -------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_RUNTIME_TOKENIZER_RESULT_H
#define NJU_RUNTIME_TOKENIZER_RESULT_H

#include "nju/nju.h"
#include <optional>
#include <string>
#include <utility>

namespace nju::tokenizer {

/// What a fallible call came to. The message is lower case, without a final
/// full stop, and empty on success.
struct [[nodiscard]] Status {
  nju_status code = NJU_OK;
  std::string message;

  Status() = default;
  Status(nju_status code, std::string message)
      : code(code), message(std::move(message)) {}

  bool ok() const { return code == NJU_OK; }
  static Status success() { return {}; }
};

/// A value, or the status that says why there is none.
template <typename T>
class [[nodiscard]] Result {
public:
  Result(T value) : value(std::move(value)) {}
  Result(Status status) : failure(std::move(status)) {}
  Result(nju_status code, std::string message)
      : failure(code, std::move(message)) {}

  bool ok() const { return value.has_value(); }
  const Status &status() const { return failure; }
  T &operator*() { return *value; }
  const T &operator*() const { return *value; }
  T *operator->() { return &*value; }
  const T *operator->() const { return &*value; }

private:
  std::optional<T> value;
  Status failure;
};

} // namespace nju::tokenizer

#endif // NJU_RUNTIME_TOKENIZER_RESULT_H
