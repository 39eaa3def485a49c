//===- Normalizer.h - changing a text before it is split --------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_RUNTIME_TOKENIZER_NORMALIZER_H
#define NJU_RUNTIME_TOKENIZER_NORMALIZER_H

#include "Regex.h"

namespace nju::tokenizer {

/// One step of a normalizer of tokenizer.json.
struct NormalizerStep {
  enum class Kind {
    Nfc,
    Nfd,
    Nfkc,
    Nfkd,
    Lowercase,
    StripAccents, ///< Removes the combining marks.
    Strip,        ///< White space at the ends: see `left`, `right`.
    Prepend,      ///< `content` before a text that is not empty.
    Replace,      ///< Every `pattern` (or match of `regex`) by `content`.
    ByteLevel     ///< Every byte by its printable character.
  };
  Kind kind;
  std::string pattern = {};
  std::string content = {};
  std::optional<Regex> regex = {};
  bool left = true, right = true;
};

/// The steps, in order. Immutable after loading.
class Normalizer {
public:
  void add(NormalizerStep step) { steps.push_back(std::move(step)); }

  /// Applies all steps to `text`, which must be valid UTF-8.
  Status apply(std::string &text) const;

private:
  std::vector<NormalizerStep> steps;
};

/// Replaces every occurrence of `pattern`, which must not be empty.
std::string replaceAll(std::string_view text, std::string_view pattern,
                       std::string_view content);

/// Replaces every match of `regex` by `content`, taken literally.
Result<std::string> replaceAll(std::string_view text, const Regex &regex,
                               std::string_view content);

} // namespace nju::tokenizer

#endif // NJU_RUNTIME_TOKENIZER_NORMALIZER_H
