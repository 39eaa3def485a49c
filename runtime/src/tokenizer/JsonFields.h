//===- JsonFields.h - reading JSON objects with errors ----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_RUNTIME_TOKENIZER_JSONFIELDS_H
#define NJU_RUNTIME_TOKENIZER_JSONFIELDS_H

#include "Result.h"
#include <nlohmann/json.hpp>

namespace nju::tokenizer {

using Json = nlohmann::json;

/// What a value is, for messages: "an object", "a string".
const char *describe(const Json &value);

/// Reads the fields of one object. The first wrong type or missing field is
/// kept in the status that all readers of a document share; reading goes on
/// with defaults, so the caller checks the status once.
class JsonFields {
public:
  /// `path` says where `object` stands, such as "decoder.decoders[1]".
  JsonFields(const Json &object, std::string path, Status &status);

  const std::string &path() const { return where; }

  /// The field, or null if it is missing or null.
  const Json *find(const char *key) const;

  /// Required fields.
  std::string string(const char *key) const;
  const Json &array(const char *key) const;
  const Json &object(const char *key) const;
  int64_t integer(const char *key) const;

  /// Fields with a default.
  std::string string(const char *key, std::string missing) const;
  bool boolean(const char *key, bool missing) const;
  int64_t integer(const char *key, int64_t missing) const;

  /// Records a failure at `key` unless there is one already.
  void fail(const char *key, const std::string &what,
            nju_status code = NJU_DATA_LOSS) const;

private:
  const Json &required(const char *key, Json::value_t type,
                       const char *expected) const;

  const Json *json;
  std::string where;
  Status *status;
};

} // namespace nju::tokenizer

#endif // NJU_RUNTIME_TOKENIZER_JSONFIELDS_H
