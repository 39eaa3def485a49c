//===- SentencePieceTest.cpp - tests of sentencepiece models --------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "SentencePieceProto.h"
#include "TestFiles.h"
#include <cmath>

using namespace nju;
using namespace nju::test;
using nju::tokenizer::checkCharacterMap;

namespace {

std::unique_ptr<Tokenizer> hello(SentencePieceOptions options = {}) {
  return load(sentencePieceFile(helloPieces(), options), "t.model");
}

Tokens find(const Tokenizer &tokenizer, std::vector<std::string> texts) {
  Tokens tokens;
  for (const std::string &text : texts)
    tokens.push_back(tokenizer.find(text));
  return tokens;
}

/// A double array of two blocks in which 'a' leads to a leaf: its root is unit
/// 0 with its children at 256 ^ label, the value of the leaf is in unit 512.
std::vector<uint32_t> trieUnits() {
  std::vector<uint32_t> units(1024, 0x80000000u);
  units[0] = 256u << 10;
  units[256 ^ 'a'] = ((256u ^ 'a' ^ 512u) << 10) | 1u << 8 | 'a';
  units[512] = 0x80000000u;
  return units;
}

std::string characterMap(const std::vector<uint32_t> &units,
                         std::string texts = std::string("b\0", 2)) {
  auto size = static_cast<uint32_t>(units.size() * 4);
  std::string map(reinterpret_cast<const char *>(&size), 4);
  map.append(reinterpret_cast<const char *>(units.data()), size);
  return map + texts;
}

} // namespace

TEST(SentencePiece, has_marks_and_tokens) {
  auto tokenizer = hello();
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(tokenizer->vocabularySize(), 259 + 19);
  EXPECT_EQ(tokenizer->bos(), 1);
  EXPECT_EQ(tokenizer->eos(), Tokens{2});
  EXPECT_TRUE(tokenizer->isSpecial(2));
}

TEST(SentencePiece, encodes_words_and_spaces) {
  auto tokenizer = hello();
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(encode(*tokenizer, "hello world"),
            find(*tokenizer, {"▁hello", "▁world"}));
  EXPECT_EQ(encode(*tokenizer, "  hello"),
            find(*tokenizer, {"▁", "▁", "▁hello"}));
  EXPECT_EQ(encode(*tokenizer, "hello  world "),
            find(*tokenizer, {"▁hello", "▁", "▁world", "▁"}));
  EXPECT_EQ(encode(*tokenizer, "hello▁ hello"),
            find(*tokenizer, {"▁hello", "▁", "▁hello"}));
  EXPECT_EQ(encode(*tokenizer, ""), Tokens());
  EXPECT_EQ(encode(*tokenizer, "é"),
            find(*tokenizer, {"▁", "<0xC3>", "<0xA9>"}));
}

TEST(SentencePiece, encodes_without_space_prefix) {
  SentencePieceOptions options;
  options.addDummyPrefix = false;
  auto tokenizer = hello(options);
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(encode(*tokenizer, "hello hello"),
            find(*tokenizer, {"hello", "▁hello"}));
  EXPECT_EQ(decode(*tokenizer, find(*tokenizer, {"▁hello"})), " hello");
}

TEST(SentencePiece, removes_extra_whitespace) {
  SentencePieceOptions options;
  options.removeExtraWhitespace = true;
  auto tokenizer = hello(options);
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(encode(*tokenizer, "  hello   world "),
            find(*tokenizer, {"▁hello", "▁world"}));
  EXPECT_EQ(decode(*tokenizer, find(*tokenizer, {"▁", "▁", "▁hello"})),
            "hello");
}

TEST(SentencePiece, parses_marks_only_on_request) {
  auto tokenizer = hello();
  ASSERT_TRUE(tokenizer);
  TokenizerEncodeOptions options;
  options.addBos = true;
  EXPECT_EQ(encode(*tokenizer, "<s>hello", options).size(), 1u + 1 + 3 + 1);
  options.parseSpecial = options.addEos = true;
  Tokens hello = find(*tokenizer, {"▁hello"});
  EXPECT_EQ(encode(*tokenizer, "hello</s>hello", options),
            (Tokens{1, hello[0], 2, hello[0], 2}));
}

TEST(SentencePiece, decodes_bytes_marks_and_unknown) {
  auto tokenizer = hello();
  ASSERT_TRUE(tokenizer);
  int32_t word = tokenizer->find("▁hello");
  EXPECT_EQ(decode(*tokenizer, {word, word}), "hello hello");
  EXPECT_EQ(decode(*tokenizer, {1, word, 2}), "<s> hello</s>");
  EXPECT_EQ(decode(*tokenizer, {1, word, 2}, true), "hello");
  EXPECT_EQ(decode(*tokenizer, {0, word}), " \u2047  hello");
  EXPECT_EQ(decode(*tokenizer, {0xC3 + 3, 0xA9 + 3, word}), "é hello");
  EXPECT_EQ(decode(*tokenizer, {0xE2 + 3, 0x82 + 3, word}),
            "\uFFFD\uFFFD hello");
}

TEST(SentencePiece, normalizes_by_its_table) {
  SentencePieceOptions options;
  options.characterMap = characterMap(trieUnits(), std::string("hello\0", 6));
  auto tokenizer = hello(options);
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(encode(*tokenizer, "a world"),
            find(*tokenizer, {"▁hello", "▁world"}));
}

TEST(SentencePiece, unigram_models_work) {
  SentencePieceOptions options;
  options.modelType = 1;
  auto tokenizer = hello(options);
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(encode(*tokenizer, "hello world"),
            find(*tokenizer, {"▁hello", "▁world"}));
}

TEST(SentencePiece, refuses_damaged_messages) {
  std::string good = sentencePieceFile(helloPieces());
  EXPECT_EQ(errorOf(good.substr(0, 5), "t.model"),
            "t.model: not a sentencepiece model or truncated: broken field at "
            "byte 0");
  EXPECT_EQ(errorOf(good.substr(0, good.size() - 1), "t.model"),
            "t.model: not a sentencepiece model or truncated: broken field at "
            "byte " +
                std::to_string(good.size() - 8));
  EXPECT_EQ(errorOf(varintField(1, 7), "t.model"),
            "t.model: field of a message of the sentencepiece model has the "
            "wrong type");
  auto wrongField = [](const std::string &message) {
    return errorOf(piece("a") + message);
  };
  EXPECT_EQ(wrongField(bytesField(1, varintField(1, 1))),
            "field piece of the sentencepiece model has the wrong type");
  EXPECT_EQ(wrongField(bytesField(1, varintField(2, 1))),
            "field score of the sentencepiece model has the wrong type");
  EXPECT_EQ(wrongField(bytesField(1, varintField(3, 7))),
            "field type of the sentencepiece model has the wrong type");
  EXPECT_EQ(wrongField(bytesField(3, bytesField(3, ""))),
            "field add_dummy_prefix of the sentencepiece model has the wrong "
            "type");
}

TEST(SentencePiece, refuses_impossible_pieces) {
  EXPECT_EQ(errorOf(piece("") + piece("a")), "piece 0 is empty");
  EXPECT_EQ(errorOf(piece("a") + piece(std::string_view("b\0c", 3))),
            "piece 1 contains a NUL character");
  EXPECT_EQ(errorOf(piece("a\xFF")), "piece 0 'a\\xff' is not UTF-8");
  EXPECT_EQ(errorOf(piece("a", NAN)),
            "piece 0 has a score that is not a number");
  EXPECT_EQ(errorOf(bytesField(2, ""), "t.model"),
            "t.model: the sentencepiece model has no pieces");
  std::string nested;
  for (int i = 1; i < 70; ++i)
    nested += piece(std::string(i, 'x'), 0, 4);
  EXPECT_NE(errorOf(sentencePieceFile(nested))
                .find(" begins with more than 63 others"),
            std::string::npos);
}

TEST(SentencePiece, passes_on_what_the_library_refuses) {
  EXPECT_EQ(errorOf(piece("a")), "the sentencepiece library refuses the model: "
                                 "unk is not defined.");
  EXPECT_EQ(errorOf(sentencePieceFile(piece("a") + piece("a"))),
            "the sentencepiece library refuses the model: a is already "
            "defined.");
}

TEST(SentencePiece, refuses_denormalizers) {
  std::string model = sentencePieceFile(helloPieces());
  model += bytesField(5, bytesField(2, characterMap(trieUnits())));
  EXPECT_EQ(errorOf(model), "the sentencepiece model has a denormalizer, which "
                            "is not supported");
}

TEST(SentencePieceTable, accepts_a_sound_table) {
  EXPECT_TRUE(checkCharacterMap("").ok());
  auto status = checkCharacterMap(characterMap(trieUnits()));
  EXPECT_TRUE(status.ok()) << status.message;
}

TEST(SentencePieceTable, refuses_unsound_tables) {
  const std::string table =
      "the normalization table of the sentencepiece model ";
  auto error = [](const std::string &map) {
    return checkCharacterMap(map).message;
  };
  EXPECT_EQ(error("ab"), table + "is truncated");
  EXPECT_EQ(error(std::string("\x04\0\0\0ab", 6)), table + "is truncated");
  EXPECT_EQ(error(characterMap({})), table + "is empty");
  EXPECT_EQ(error(characterMap(trieUnits(), "b")),
            table + "does not end its last text");
  EXPECT_EQ(error(characterMap(trieUnits(), std::string("\xFF\0", 2))),
            table + "contains texts that are not UTF-8");

  std::vector<uint32_t> units = trieUnits();
  units[0] = 4096u << 10;
  EXPECT_EQ(error(characterMap(units)), table + "points beyond its end");

  units = trieUnits();
  units[512] = 0x80000000u | 77;
  EXPECT_EQ(error(characterMap(units)), table + "names a text beyond its end");
  units[512] = 0x80000000u | 1;
  EXPECT_EQ(error(characterMap(units, std::string("é\0", 3))),
            table + "names a text inside a character");

  units = trieUnits();
  units[256 ^ 'a'] = ((256u ^ 'a' ^ 256u) << 10) | 'a'; // back to the root
  EXPECT_EQ(error(characterMap(units)), table + "contains a cycle");

  // A chain of 33 leaves, each in a block of its own.
  units.assign(256 * 36, 0x80000000u);
  units[0] = 256u << 10;
  for (uint32_t i = 1; i <= 33; ++i) {
    uint32_t from = 256 * i ^ 'a', to = 256 * (i + 1);
    units[from] = ((from ^ to) << 10) | 1u << 8 | 'a';
  }
  EXPECT_EQ(error(characterMap(units)),
            table + "has more than 32 entries that begin with one another");
}
