//===- ByteLevel.cpp - bytes as printable characters ----------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ByteLevel.h"
#include "Utf8.h"
#include <array>

namespace nju::tokenizer {

const char *const gpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+)"
    R"(|\s+(?!\S)|\s+)";

namespace {

struct Tables {
  std::array<std::string, 256> character; ///< UTF-8 form of each byte.
  std::array<int, 0x144> byte;            ///< Byte of a character, or -1.

  Tables() {
    byte.fill(-1);
    char32_t next = 0x100;
    for (int value = 0; value < 256; ++value) {
      bool prints = (value >= 0x21 && value <= 0x7E) ||
                    (value >= 0xA1 && value <= 0xFF && value != 0xAD);
      char32_t written = prints ? static_cast<char32_t>(value) : next++;
      appendCharacter(character[value], written);
      byte[written] = value;
    }
  }
};

const Tables &tables() {
  static const Tables instance;
  return instance;
}

} // namespace

std::string bytesToCharacters(std::string_view text) {
  const Tables &table = tables();
  std::string result;
  result.reserve(text.size() + text.size() / 4);
  for (char c : text)
    result += table.character[static_cast<unsigned char>(c)];
  return result;
}

std::string charactersToBytes(std::string_view text) {
  const Tables &table = tables();
  std::string result;
  result.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    Character character = decodeCharacter(text, i);
    int byte = character.valid && character.value < table.byte.size()
                   ? table.byte[character.value]
                   : -1;
    if (byte < 0)
      return std::string(text);
    result.push_back(static_cast<char>(byte));
    i += character.length;
  }
  return result;
}

} // namespace nju::tokenizer
