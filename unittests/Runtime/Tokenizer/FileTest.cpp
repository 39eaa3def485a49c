//===- FileTest.cpp - tests of finding tokenizer files --------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestFiles.h"
#include <unistd.h>

using namespace nju;
using namespace nju::test;
namespace fs = std::filesystem;

namespace {

/// A folder that goes away with the test.
class FileTest : public ::testing::Test {
protected:
  void SetUp() override {
    std::string pattern = fs::temp_directory_path() / "nju-tokenizer-XXXXXX";
    ASSERT_TRUE(mkdtemp(pattern.data()));
    folder = pattern;
  }
  void TearDown() override { fs::remove_all(folder); }

  std::string write(const std::string &name, const std::string &bytes) {
    std::ofstream(folder / name, std::ios::binary) << bytes;
    return folder / name;
  }
  std::string error(const std::string &path) {
    auto tokenizer = Tokenizer::fromFile(path);
    EXPECT_FALSE(tokenizer.ok());
    return tokenizer.status().message;
  }

  /// The bytes a, b and a space, as GPT-2 writes them.
  const std::string vocabulary =
      R"({"a": 0, "b": 1, "Ġ": 2, "ab": 3, "Ġab": 4, "<|endoftext|>": 5})";
  fs::path folder;
};

} // namespace

TEST_F(FileTest, loads_gpt2_pairs) {
  std::string merges = "#version: 0.2\na b\r\nĠ ab\n\n";
  write("my_vocab.json", vocabulary);
  write("my_merges.txt", merges);
  write("merges.txt", "broken");
  auto tokenizer = Tokenizer::fromFile(folder / "my_vocab.json");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message;
  EXPECT_EQ(encode(**tokenizer, "ab ab"), (Tokens{3, 4}));
  EXPECT_EQ(decode(**tokenizer, {3, 4, 5}, true), "ab ab");
  EXPECT_EQ((*tokenizer)->bos(), 5);
  EXPECT_EQ((*tokenizer)->eos(), Tokens{5});
  TokenizerEncodeOptions special;
  special.parseSpecial = special.addBos = true; // GPT-2 has none to add.
  EXPECT_EQ(encode(**tokenizer, "a<|endoftext|>", special), (Tokens{0, 5}));
  EXPECT_EQ((*tokenizer)->encode("c").status().message,
            "the tokenizer has no token for 'c' and no unknown token");
}

TEST_F(FileTest, reports_damaged_pairs) {
  std::string path = write("vocab.json", vocabulary);
  EXPECT_EQ(error(path), path + ": a vocabulary needs merges.txt beside it");
  write("merges.txt", "a b\nab\n");
  EXPECT_EQ(error(path),
            path + ": merges.txt: line 2 is 'ab', expected two tokens");
  write("merges.txt", "b a\n");
  EXPECT_EQ(error(path), path + ": merges.txt: merge 0 needs the token 'ba', "
                                "which is not in the vocabulary");
}

TEST_F(FileTest, a_token_may_be_called_model) {
  std::string path = write("vocab.json", R"({"model": 0, "a": 1})");
  write("merges.txt", "#version: 0.2\n");
  auto tokenizer = Tokenizer::fromFile(path);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message;
  EXPECT_EQ((*tokenizer)->find("model"), 0);
}

TEST_F(FileTest, looks_into_directories) {
  EXPECT_EQ(error(folder), folder.string() +
                               ": no tokenizer in this directory; expected "
                               "tokenizer.json, tokenizer.model, vocab.json "
                               "with merges.txt, or tokenizer.bin");
  write("tokenizer.model", sentencePieceFile(helloPieces()));
  auto tokenizer = Tokenizer::fromFile(folder);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message;
  EXPECT_EQ((*tokenizer)->vocabularySize(), 278);
  write("tokenizer.json", wordLevel({"?", "a"}).dump());
  tokenizer = Tokenizer::fromFile(folder);
  ASSERT_TRUE(tokenizer.ok());
  EXPECT_EQ((*tokenizer)->vocabularySize(), 2);
}

TEST_F(FileTest, reads_the_configuration_beside) {
  std::string path = write("tokenizer.json", wordLevel({"?", "a"}).dump());
  write("tokenizer_config.json", R"({"eos_token": "a"})");
  auto tokenizer = Tokenizer::fromFile(path);
  ASSERT_TRUE(tokenizer.ok());
  EXPECT_EQ((*tokenizer)->eos(), Tokens{1});
  write("tokenizer_config.json", "{");
  EXPECT_EQ(error(path), path + ": tokenizer_config.json: not valid JSON at "
                                "byte 2");
}

TEST_F(FileTest, tells_formats_by_content) {
  // The names lie.
  std::string model = write("a.json", sentencePieceFile(helloPieces()));
  std::string bin = write("a.model", llama2cWithBytes({{" ", -1}}));
  std::string json = write("a.bin", wordLevel({"?"}).dump());
  for (const std::string &path : {model, bin, json}) {
    auto tokenizer = Tokenizer::fromFile(path);
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message;
  }
}

TEST_F(FileTest, reports_missing_and_foreign_files) {
  std::string missing = folder / "none.json";
  EXPECT_EQ(error(missing),
            missing + ": cannot open: No such file or directory");
  EXPECT_EQ(Tokenizer::fromFile(missing).status().code, NJU_NOT_FOUND);
  std::string foreign = write("foreign", "some text");
  EXPECT_EQ(error(foreign),
            foreign + ": not a tokenizer of a known format; expected "
                      "tokenizer.json, a sentencepiece model, vocab.json with "
                      "merges.txt, or tokenizer.bin of llama2.c");
  EXPECT_EQ(Tokenizer::fromFile(foreign).status().code, NJU_DATA_LOSS);
  std::string empty = write("empty.json", "");
  EXPECT_EQ(error(empty), empty + ": the file is empty, expected a tokenizer");
  std::string huge = write("huge.bin", "");
  fs::resize_file(huge, (uintmax_t(1) << 29) + 1); // sparse
  EXPECT_EQ(error(huge), huge + ": has 536870913 bytes, expected a tokenizer "
                                "of at most 536870912");
}
