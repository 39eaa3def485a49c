//===- StreamTest.cpp - tests of decoding token by token ------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestFiles.h"
#include "Utf8.h"
#include <random>

using namespace nju;
using namespace nju::test;

namespace {

/// Pushes the tokens through a stream; every piece must be valid UTF-8.
std::string stream(const Tokenizer &tokenizer, const Tokens &tokens,
                   bool skipSpecial = false) {
  TokenStream stream(tokenizer, skipSpecial);
  std::string text;
  for (int32_t token : tokens) {
    auto piece = stream.push(token);
    EXPECT_TRUE(piece.ok()) << piece.status().message;
    EXPECT_TRUE(tokenizer::isValidUtf8(*piece));
    text += *piece;
  }
  auto rest = stream.finish();
  EXPECT_TRUE(rest.ok());
  return text.append(*rest);
}

std::vector<std::unique_ptr<Tokenizer>> tokenizers() {
  std::vector<std::unique_ptr<Tokenizer>> all;
  for (const char *name : {"qwen2.json", "llama3.json", "llama2.json"})
    all.push_back(load(readFile(input(name)), name));
  all.push_back(load(sentencePieceFile(helloPieces())));
  SentencePieceOptions options;
  options.removeExtraWhitespace = true;
  all.push_back(load(sentencePieceFile(helloPieces(), options)));
  all.push_back(load(llama2cWithBytes({{" ", -9}, {" a", -1}, {"a", -9}})));
  return all;
}

} // namespace

TEST(Stream, holds_back_half_characters) {
  auto tokenizer = load(readFile(input("llama2.json")));
  ASSERT_TRUE(tokenizer);
  TokenStream stream(*tokenizer, false);
  for (const char *token : {"<0xF0>", "<0x9F>", "<0x99>"})
    EXPECT_EQ(*stream.push(tokenizer->find(token)), "") << token;
  EXPECT_EQ(*stream.push(tokenizer->find("<0x82>")), "🙂");
  EXPECT_EQ(*stream.push(tokenizer->find("<0xC3>")), "");
  EXPECT_EQ(*stream.finish(), "\uFFFD");
}

TEST(Stream, gets_spaces_right) {
  auto tokenizer = load(sentencePieceFile(helloPieces()));
  ASSERT_TRUE(tokenizer);
  int32_t word = tokenizer->find("▁hello");
  TokenStream stream(*tokenizer, true);
  EXPECT_EQ(*stream.push(1), "");
  EXPECT_EQ(*stream.push(word), "hello");
  EXPECT_EQ(*stream.push(word), " hello");
  EXPECT_EQ(*stream.finish(), "");
  EXPECT_EQ(*stream.push(word), "hello"); // begins anew
}

TEST(Stream, refuses_numbers_out_of_range) {
  auto tokenizer = load(sentencePieceFile(helloPieces()));
  ASSERT_TRUE(tokenizer);
  TokenStream stream(*tokenizer, false);
  for (int32_t token : {-1, 278, 1 << 30}) {
    auto piece = stream.push(token);
    EXPECT_EQ(piece.status().code, NJU_OUT_OF_RANGE);
    EXPECT_EQ(piece.status().message, "token " + std::to_string(token) +
                                          " is out of range, expected 0 to "
                                          "277");
  }
  EXPECT_EQ(*stream.push(tokenizer->find("▁hello")), "hello");
}

TEST(Stream, equals_the_whole_text) {
  std::mt19937 random(5);
  for (auto &tokenizer : tokenizers()) {
    ASSERT_TRUE(tokenizer);
    for (const char *text : {"hello  world", " a  b ", "日本 🙂🙂\n\n x", ""}) {
      Tokens tokens = encode(*tokenizer, text);
      EXPECT_EQ(stream(*tokenizer, tokens), decode(*tokenizer, tokens));
    }
    for (int round = 0; round < 200; ++round) {
      Tokens tokens(random() % 20);
      for (int32_t &token : tokens)
        token = static_cast<int32_t>(random() % tokenizer->vocabularySize());
      for (bool skip : {false, true})
        ASSERT_EQ(stream(*tokenizer, tokens, skip),
                  decode(*tokenizer, tokens, skip));
    }
  }
}
