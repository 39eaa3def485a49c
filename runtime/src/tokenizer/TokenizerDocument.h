//===- TokenizerDocument.h - parsing tokenizer.json -------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_RUNTIME_TOKENIZER_TOKENIZERDOCUMENT_H
#define NJU_RUNTIME_TOKENIZER_TOKENIZERDOCUMENT_H

#include "JsonFields.h"
#include <vector>

namespace nju::tokenizer {

/// A parsed tokenizer.json. Vocabulary and merges are nearly all of the file
/// (300,000 entries in Llama 3), so they are taken out of the stream and never
/// become JSON values: that makes loading three times as fast.
struct TokenizerDocument {
  Json rest; ///< Everything else.
  /// model.vocab, if it is an object.
  bool hasVocabulary = false;
  std::vector<std::pair<std::string, int64_t>> vocabulary;
  /// model.merges, if it is an array.
  bool hasMerges = false;
  std::vector<std::pair<std::string, std::string>> merges;
};

Result<TokenizerDocument> parseTokenizerDocument(std::string_view bytes);

/// Parses other documents; `name` is the file for messages.
Result<Json> parseJson(std::string_view bytes, const std::string &name);

} // namespace nju::tokenizer

#endif // NJU_RUNTIME_TOKENIZER_TOKENIZERDOCUMENT_H
