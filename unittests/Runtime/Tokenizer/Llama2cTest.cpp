//===- Llama2cTest.cpp - tests of tokenizer.bin ---------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestFiles.h"
#include <cmath>
#include <sstream>

using namespace nju;
using namespace nju::test;

namespace {

std::string simple() {
  return llama2cWithBytes({{" ", -100},
                           {"a", -100},
                           {"b", -100},
                           {"ab", -1},
                           {" a", -2},
                           {" ab", -3},
                           {"ba", -1},
                           {"é", -100}});
}

} // namespace

TEST(Llama2c, has_marks_and_tokens) {
  auto tokenizer = load(simple());
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(tokenizer->vocabularySize(), 267);
  EXPECT_EQ(tokenizer->bos(), 1);
  EXPECT_EQ(tokenizer->eos(), Tokens{2});
  EXPECT_EQ(tokenizer->text(262), "ab");
  EXPECT_EQ(tokenizer->find("ab"), 262);
  EXPECT_EQ(tokenizer->find("abc"), -1);
  EXPECT_EQ(tokenizer->text(9999), "");
  EXPECT_TRUE(tokenizer->isSpecial(1));
  EXPECT_FALSE(tokenizer->isSpecial(262));
}

// The highest score first, of equals the leftmost; a space goes before the
// text.
TEST(Llama2c, merges_by_score_from_the_left) {
  auto tokenizer = load(simple());
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(encode(*tokenizer, "ab"), (Tokens{264}));
  EXPECT_EQ(encode(*tokenizer, "aba"), (Tokens{264, 260}));
  EXPECT_EQ(encode(*tokenizer, "bab"), (Tokens{259, 265, 261}));
  EXPECT_EQ(encode(*tokenizer, ""), Tokens());
}

TEST(Llama2c, adds_marks_on_request) {
  auto tokenizer = load(simple());
  ASSERT_TRUE(tokenizer);
  TokenizerEncodeOptions options;
  options.addBos = options.addEos = true;
  EXPECT_EQ(encode(*tokenizer, "a", options), (Tokens{1, 263, 2}));
  EXPECT_EQ(encode(*tokenizer, "", options), (Tokens{1, 2}));
  options.parseSpecial = true;
  EXPECT_EQ(encode(*tokenizer, "a<s>a", options), (Tokens{1, 263, 1, 263, 2}));
}

TEST(Llama2c, falls_back_to_bytes) {
  auto tokenizer = load(simple());
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(encode(*tokenizer, "é"), (Tokens{259, 266}));
  EXPECT_EQ(encode(*tokenizer, "ß"), (Tokens{259, 0xC3 + 3, 0x9F + 3}));
  // Text that looks like a byte token is text.
  EXPECT_EQ(encode(*tokenizer, "<0x41>").size(), 7u);
}

TEST(Llama2c, decodes_bytes_and_leading_space) {
  auto tokenizer = load(simple());
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(decode(*tokenizer, {264, 263}), "ab a");
  EXPECT_EQ(decode(*tokenizer, {0xC3 + 3, 0x9F + 3, 264}), "ß ab");
  EXPECT_EQ(decode(*tokenizer, {0xC3 + 3, 264}), "\uFFFD ab");
  EXPECT_EQ(decode(*tokenizer, {1, 264, 2}, /*skipSpecial=*/true), "ab");
  // As llama2.c does: the space after the begin of a text is dropped.
  EXPECT_EQ(decode(*tokenizer, {264, 2, 1, 264}, true), "abab");
  EXPECT_EQ(decode(*tokenizer, {1, 264}), "\n<s>\nab");
}

TEST(Llama2c, reports_damage) {
  std::string good = simple();
  EXPECT_EQ(errorOf(good.substr(0, 20), "t.bin"),
            "t.bin: token 1 at byte 17 is truncated, expected a score and a "
            "length");
  EXPECT_EQ(errorOf(good.substr(0, 27), "t.bin"),
            "t.bin: token 1 at byte 17 has length 5, but only 2 bytes follow");
  EXPECT_EQ(errorOf(good.substr(0, 6), "t.bin"),
            "t.bin: truncated after 6 bytes, expected a header and tokens");
  EXPECT_EQ(errorOf(llama2cFile({{"<unk>"}, {"<s>"}}, 9)),
            "has 2 tokens, expected unknown, begin and end of text and more");
  EXPECT_EQ(errorOf(llama2cFile({{"a"}, {"b"}, {"c"}, {"too long"}}, 3)),
            "token 3 at byte 31 has length 8, expected at most the 3 of the "
            "header");
  EXPECT_EQ(errorOf(llama2cFile({{"a"}, {"b"}, {"c"}, {"d", NAN}}, 3)),
            "token 3 at byte 31 has a score that is not a number");
}

TEST(Llama2c, needs_byte_tokens_for_unknown_text) {
  auto tokenizer = load(llama2cFile({{"<unk>"}, {"<s>"}, {"</s>"}, {" "}}, 9));
  ASSERT_TRUE(tokenizer);
  auto tokens = tokenizer->encode("x");
  EXPECT_EQ(tokens.status().code, NJU_INVALID_ARGUMENT);
  EXPECT_EQ(tokens.status().message,
            "the tokenizer has no token for 'x' and no unknown token");
}

TEST(Llama2c, stories_round_trip) {
  std::string folder = shared("data/stories260K");
  if (folder.empty())
    GTEST_SKIP() << "the shared test data is not there";
  auto loaded = Tokenizer::fromFile(folder + "/tok512.bin");
  ASSERT_TRUE(loaded.ok()) << loaded.status().message;
  const Tokenizer &tokenizer = **loaded;
  EXPECT_EQ(tokenizer.vocabularySize(), 512);

  std::string text = readFile(folder + "/greedy-200.txt");
  Tokens tokens;
  std::stringstream list(readFile(folder + "/greedy-200.tokens"));
  for (std::string number; std::getline(list, number, ',');)
    tokens.push_back(std::stoi(number));
  EXPECT_EQ(tokens.size(), 200u);
  EXPECT_EQ(decode(tokenizer, tokens), text);
  EXPECT_EQ(encode(tokenizer, text), tokens);

  for (const char *name : {"tinystories-eval-ascii.txt",
                           "tinystories-valid-30k.txt", "corpus.en.txt"}) {
    std::string story = readFile(shared(std::string("data/text/") + name));
    ASSERT_FALSE(story.empty()) << name;
    EXPECT_EQ(decode(tokenizer, encode(tokenizer, story)), story) << name;
  }
}
