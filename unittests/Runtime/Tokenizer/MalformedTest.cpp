//===- MalformedTest.cpp - damaged tokenizers do no harm ------------------===//
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

struct Sample {
  const char *name;
  std::string bytes, merges = {};
};

std::string characterMapModel() {
  SentencePieceOptions options;
  std::vector<uint32_t> units(768, 0x80000000u);
  units[0] = 256u << 10;
  units[256 ^ 'a'] = ((256u ^ 'a' ^ 512u) << 10) | 1u << 8 | 'a';
  uint32_t size = 768 * 4;
  options.characterMap.assign(reinterpret_cast<const char *>(&size), 4);
  options.characterMap.append(reinterpret_cast<const char *>(units.data()),
                              size);
  options.characterMap += std::string("he\0", 3);
  return sentencePieceFile(helloPieces(), options);
}

std::vector<Sample> samples() {
  SentencePieceOptions unigram;
  unigram.modelType = 1;
  return {
      {"qwen2.json", readFile(input("qwen2.json"))},
      {"llama2.json", readFile(input("llama2.json"))},
      {"words.json", wordLevel({"?", "a"}).dump()},
      {"bpe.model", sentencePieceFile(helloPieces() + piece("<x>", 0, 4))},
      {"unused.model", sentencePieceFile(helloPieces() + piece("wo", 0, 5))},
      {"unigram.model", sentencePieceFile(helloPieces(), unigram)},
      {"table.model", characterMapModel()},
      {"tokenizer.bin", llama2cWithBytes({{" ", -9}, {"a", -9}, {" a", -1}})},
      {"vocab.json", R"({"a": 0, "b": 1, "Ġ": 2, "ab": 3, "Ġab": 4})",
       "#version: 0.2\na b\nĠ ab\n"}};
}

/// Loads, and if that succeeds encodes and decodes. Any outcome is right but a
/// crash, an exception, a failure without a message or ill-formed text.
bool exercise(const Sample &sample) {
  TokenizerFiles files;
  files.main = sample.bytes;
  files.merges = sample.merges;
  files.name = sample.name;
  auto tokenizer = Tokenizer::fromFiles(files);
  if (!tokenizer.ok()) {
    EXPECT_FALSE(tokenizer.status().message.empty());
    return false;
  }
  TokenizerEncodeOptions options;
  options.parseSpecial = options.addBos = options.addEos = true;
  for (const char *text : {"hello  world, aaa <s>é🙂\n", "a\xFF\xC3"}) {
    auto tokens = (*tokenizer)->encode(text, options);
    if (!tokens.ok()) {
      EXPECT_FALSE(tokens.status().message.empty());
      continue;
    }
    auto decoded = (*tokenizer)->decode(tokens->data(), tokens->size(), false);
    EXPECT_TRUE(decoded.ok()) << decoded.status().message;
    EXPECT_TRUE(tokenizer::isValidUtf8(*decoded));
  }
  return true;
}

} // namespace

TEST(Malformed, samples_are_sound) {
  for (const Sample &sample : samples())
    EXPECT_TRUE(exercise(sample)) << sample.name;
}

TEST(Malformed, truncated_anywhere) {
  for (Sample sample : samples()) {
    SCOPED_TRACE(sample.name);
    std::string whole = sample.bytes, merges = sample.merges;
    // Every length near the ends, a sample of those between.
    for (size_t size = 0; size < whole.size();
         size += size < 300 || size + 300 > whole.size() ? 1 : 13) {
      sample.bytes = whole.substr(0, size);
      exercise(sample);
    }
    sample.bytes = whole;
    for (size_t size = 0; size < merges.size(); ++size) {
      sample.merges = merges.substr(0, size);
      exercise(sample);
    }
  }
}

TEST(Malformed, random_bytes_changed) {
  std::mt19937 random(11);
  for (Sample sample : samples()) {
    SCOPED_TRACE(sample.name);
    std::string whole = sample.bytes;
    for (int round = 0; round < 500; ++round) {
      sample.bytes = whole;
      for (unsigned change = random() % 4 + 1; change > 0; --change) {
        // Half of the changes near the end, where the structure is.
        size_t position =
            random() % 2 ? random() % whole.size()
                         : whole.size() - 1 - random() % (whole.size() / 8);
        sample.bytes[position] = static_cast<char>(random());
      }
      exercise(sample);
    }
  }
}

TEST(Malformed, random_bytes_only) {
  std::mt19937 random(3);
  for (const char *name : {"x.json", "x.model", "x.bin", "x"})
    for (int round = 0; round < 300; ++round) {
      std::string bytes(random() % 200, '\0');
      for (char &byte : bytes)
        byte = static_cast<char>(random());
      if (!bytes.empty() && round % 3)
        bytes[0] = round % 3 == 1 ? '\n' : '{';
      exercise({name, bytes});
    }
}

TEST(Malformed, ill_formed_text_is_read_as_replacement_characters) {
  auto tokenizer = load(readFile(input("qwen2.json")));
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(encode(*tokenizer, "a\xFF\xC3 b"),
            encode(*tokenizer, "a\uFFFD\uFFFD b"));
  EXPECT_EQ(encode(*tokenizer, std::string_view("a\0b", 3)).size(), 3u);
}

TEST(Malformed, texts_beyond_the_limit_are_refused) {
  auto tokenizer = load(wordLevel({"?"}).dump());
  ASSERT_TRUE(tokenizer);
  // The size is looked at before any byte.
  std::string_view text("x", (size_t(1) << 28) + 1);
  auto tokens = tokenizer->encode(text);
  EXPECT_EQ(tokens.status().code, NJU_RESOURCE_EXHAUSTED);
  EXPECT_EQ(tokens.status().message,
            "the text has 268435457 bytes, expected at most 268435456; encode "
            "it in parts");
}
