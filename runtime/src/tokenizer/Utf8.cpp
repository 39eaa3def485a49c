//===- Utf8.cpp - reading and repairing UTF-8 -----------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Utf8.h"

namespace nju::tokenizer {

namespace {

/// Length of the character that `lead` begins, and the range that its second
/// byte must lie in (Unicode, table 3-7). Length 0: no character begins so.
struct Lead {
  unsigned length;
  unsigned char low, high;
};

Lead classify(unsigned char lead) {
  if (lead < 0x80)
    return {1, 0, 0};
  if (lead < 0xC2)
    return {0, 0, 0};
  if (lead < 0xE0)
    return {2, 0x80, 0xBF};
  if (lead < 0xF0) // No overlong forms, no surrogates.
    return {3, static_cast<unsigned char>(lead == 0xE0 ? 0xA0 : 0x80),
            static_cast<unsigned char>(lead == 0xED ? 0x9F : 0xBF)};
  if (lead < 0xF5) // No overlong forms, nothing above U+10FFFF.
    return {4, static_cast<unsigned char>(lead == 0xF0 ? 0x90 : 0x80),
            static_cast<unsigned char>(lead == 0xF4 ? 0x8F : 0xBF)};
  return {0, 0, 0};
}

/// Number of bytes at `position` that form a prefix of a character.
unsigned prefixLength(std::string_view text, size_t position, Lead lead) {
  unsigned length = 1;
  for (; length < lead.length && position + length < text.size(); ++length) {
    auto byte = static_cast<unsigned char>(text[position + length]);
    unsigned char low = length == 1 ? lead.low : 0x80;
    unsigned char high = length == 1 ? lead.high : 0xBF;
    if (byte < low || byte > high)
      break;
  }
  return length;
}

} // namespace

Character decodeCharacter(std::string_view text, size_t position) {
  auto first = static_cast<unsigned char>(text[position]);
  if (first < 0x80)
    return {first, 1, true};
  Lead lead = classify(first);
  unsigned length = lead.length ? prefixLength(text, position, lead) : 1;
  if (!lead.length || length < lead.length)
    return {replacementCharacter, length, false};
  char32_t value = first & (0xFF >> (length + 1));
  for (unsigned i = 1; i < length; ++i)
    value =
        (value << 6) | (static_cast<unsigned char>(text[position + i]) & 63);
  return {value, length, true};
}

void appendCharacter(std::string &text, char32_t character) {
  auto put = [&](unsigned byte) { text.push_back(static_cast<char>(byte)); };
  if (character < 0x80) {
    put(character);
  } else if (character < 0x800) {
    put(0xC0 | (character >> 6));
    put(0x80 | (character & 63));
  } else if (character < 0x10000) {
    put(0xE0 | (character >> 12));
    put(0x80 | ((character >> 6) & 63));
    put(0x80 | (character & 63));
  } else {
    put(0xF0 | (character >> 18));
    put(0x80 | ((character >> 12) & 63));
    put(0x80 | ((character >> 6) & 63));
    put(0x80 | (character & 63));
  }
}

bool isValidUtf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    Character character = decodeCharacter(text, i);
    if (!character.valid)
      return false;
    i += character.length;
  }
  return true;
}

std::string repairUtf8(std::string_view text) {
  std::string repaired;
  repaired.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    Character character = decodeCharacter(text, i);
    if (character.valid)
      repaired.append(text, i, character.length);
    else
      appendCharacter(repaired, replacementCharacter);
    i += character.length;
  }
  return repaired;
}

size_t incompleteSuffix(std::string_view text) {
  for (size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    size_t position = text.size() - back;
    auto byte = static_cast<unsigned char>(text[position]);
    if (byte < 0x80)
      return 0;
    if (byte < 0xC0)
      continue;
    Lead lead = classify(byte);
    bool begins =
        lead.length > back && prefixLength(text, position, lead) == back;
    return begins ? back : 0;
  }
  return 0;
}

bool isWhitespace(char32_t character) {
  if (character <= 0x20)
    return character == 0x20 || (character >= 9 && character <= 13);
  return character == 0x85 || character == 0xA0 || character == 0x1680 ||
         (character >= 0x2000 && character <= 0x200A) || character == 0x2028 ||
         character == 0x2029 || character == 0x202F || character == 0x205F ||
         character == 0x3000;
}

} // namespace nju::tokenizer
