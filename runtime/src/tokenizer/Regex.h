//===- Regex.h - regular expressions of tokenizer.json ----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_RUNTIME_TOKENIZER_REGEX_H
#define NJU_RUNTIME_TOKENIZER_REGEX_H

#include "Result.h"
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace nju::tokenizer {

/// A range of bytes in a text.
struct Range {
  size_t begin, end;
};

/// A compiled pattern. The patterns of tokenizer.json are written for
/// Oniguruma; they are translated where PCRE2 reads the same letters otherwise
/// and refused where it has no equal. Immutable, safe to share by threads.
class Regex {
public:
  static Result<Regex> compile(std::string_view pattern);

  /// All matches from left to right, without the empty ones. `text` must be
  /// valid UTF-8. Fails with NJU_RESOURCE_EXHAUSTED instead of backtracking
  /// without end.
  Status findAll(std::string_view text, std::vector<Range> &matches) const;

private:
  // Holds a pcre2_code; the type stays out of the header.
  std::shared_ptr<void> code;
};

/// The pattern as PCRE2 must read it, or what of it has no equal there.
Result<std::string> translateOniguruma(std::string_view pattern);

} // namespace nju::tokenizer

#endif // NJU_RUNTIME_TOKENIZER_REGEX_H
