//===- Utf8.h - reading and repairing UTF-8 ---------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_RUNTIME_TOKENIZER_UTF8_H
#define NJU_RUNTIME_TOKENIZER_UTF8_H

#include <cstddef>
#include <string>
#include <string_view>

namespace nju::tokenizer {

constexpr char32_t replacementCharacter = 0xFFFD;

/// One decoded character. Where the text is ill-formed `valid` is false,
/// `value` is U+FFFD and `length` is that of the maximal subpart (Unicode,
/// section 3.9): as many bytes as could have begun a character, at least one.
struct Character {
  char32_t value;
  unsigned length;
  bool valid;
};

/// Decodes the character at `position`, which must be inside `text`.
Character decodeCharacter(std::string_view text, size_t position);

/// Appends the UTF-8 form of a Unicode scalar value.
void appendCharacter(std::string &text, char32_t character);

bool isValidUtf8(std::string_view text);

/// `text` with every ill-formed subpart replaced by U+FFFD.
std::string repairUtf8(std::string_view text);

/// Number of bytes at the end of `text` that begin a character but do not yet
/// complete it (0 to 3).
size_t incompleteSuffix(std::string_view text);

/// White_Space of Unicode, which is what `\s` means to tokenizer.json files.
bool isWhitespace(char32_t character);

} // namespace nju::tokenizer

#endif // NJU_RUNTIME_TOKENIZER_UTF8_H
