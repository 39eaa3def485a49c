//===- Utf8Test.cpp - tests of reading UTF-8 ------------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Utf8.h"
#include <gtest/gtest.h>

using namespace nju::tokenizer;

TEST(Utf8, keeps_well_formed_text) {
  std::string text = "aß€😀\U0010FFFF\uD7FF\uE000";
  EXPECT_TRUE(isValidUtf8(text));
  EXPECT_EQ(repairUtf8(text), text);
}

// Unicode 15, table 3-8: one U+FFFD for each maximal subpart.
TEST(Utf8, replaces_maximal_subparts) {
  const std::string r = "\uFFFD";
  EXPECT_EQ(repairUtf8("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64"),
            "a" + r + r + r + "b" + r + "c" + r + r + "d");
  EXPECT_EQ(repairUtf8("\xC0\xAF"), r + r);                 // overlong
  EXPECT_EQ(repairUtf8("\xE0\x9F\x80"), r + r + r);         // overlong
  EXPECT_EQ(repairUtf8("\xED\xA0\x80"), r + r + r);         // surrogate
  EXPECT_EQ(repairUtf8("\xF4\x91\x92\x93"), r + r + r + r); // too large
  EXPECT_EQ(repairUtf8("\xFF"), r);
  EXPECT_FALSE(isValidUtf8("\xC3"));
}

TEST(Utf8, decodes_and_encodes_every_character) {
  for (char32_t c = 1; c < 0x110000; c += c < 0x1000 ? 1 : 97) {
    if (c >= 0xD800 && c < 0xE000)
      continue;
    std::string text;
    appendCharacter(text, c);
    Character character = decodeCharacter(text, 0);
    ASSERT_TRUE(character.valid) << c;
    ASSERT_EQ(character.value, c);
    ASSERT_EQ(character.length, text.size());
  }
}

TEST(Utf8, finds_what_is_incomplete_at_the_end) {
  EXPECT_EQ(incompleteSuffix(""), 0u);
  EXPECT_EQ(incompleteSuffix("a"), 0u);
  EXPECT_EQ(incompleteSuffix("é"), 0u);
  EXPECT_EQ(incompleteSuffix("a\xC3"), 1u);
  EXPECT_EQ(incompleteSuffix("a\xE2\x82"), 2u);
  EXPECT_EQ(incompleteSuffix("\xF0\x9F\x98"), 3u);
  EXPECT_EQ(incompleteSuffix("\xE0\x80"), 0u); // can become no character
  EXPECT_EQ(incompleteSuffix("\x80\x80\x80\x80"), 0u);
}

TEST(Utf8, knows_white_space) {
  EXPECT_TRUE(isWhitespace(' '));
  EXPECT_TRUE(isWhitespace(0x85));
  EXPECT_TRUE(isWhitespace(0x3000));
  EXPECT_FALSE(isWhitespace(0x200B));
  EXPECT_FALSE(isWhitespace(0x180E));
}
