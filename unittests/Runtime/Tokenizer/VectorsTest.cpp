//===- VectorsTest.cpp - published tokenizers and vectors -----------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestFiles.h"
#include <sstream>

using namespace nju;
using namespace nju::test;

namespace {

/// Compares with the vectors NAME.inp and NAME.out of the shared data.
void compareWithVectors(const std::string &file, const std::string &name) {
  std::string path = shared("data/tokenizers/" + file);
  std::string inputs = shared("data/tokenizers/vectors-" + name + ".inp");
  std::string outputs = shared("data/tokenizers/vectors-" + name + ".out");
  if (path.empty() || inputs.empty() || outputs.empty())
    GTEST_SKIP() << "the shared test data is not there";
  auto tokenizer = Tokenizer::fromFile(path);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message;

  const std::string separator = "\n__ggml_vocab_test__\n";
  std::string texts = readFile(inputs);
  std::stringstream lines(readFile(outputs));
  size_t count = 0;
  for (size_t begin = 0; begin < texts.size(); ++count) {
    size_t end = std::min(texts.find(separator, begin), texts.size());
    std::string text = texts.substr(begin, end - begin), line;
    begin = end + separator.size();
    std::getline(lines, line);
    std::stringstream numbers(line);
    Tokens expected{std::istream_iterator<int32_t>(numbers), {}};
    EXPECT_EQ(encode(**tokenizer, text), expected) << text;
    EXPECT_EQ(decode(**tokenizer, expected), text);
  }
  EXPECT_GT(count, 40u);

  for (const char *story :
       {"wikitext2-valid.txt", "tinyshakespeare.txt", "corpus.en.txt"}) {
    std::string text = readFile(shared(std::string("data/text/") + story));
    ASSERT_FALSE(text.empty()) << story;
    EXPECT_EQ(decode(**tokenizer, encode(**tokenizer, text)), text) << story;
  }
}

} // namespace

TEST(Vectors, gpt2) { compareWithVectors("gpt2_vocab.json", "gpt-2"); }
TEST(Vectors, llama2) {
  compareWithVectors("tokenizer-llama2-32000.model", "llama-spm");
}
TEST(Vectors, phi3) {
  compareWithVectors("phi3-llama-tokenizer.json", "phi-3");
}
