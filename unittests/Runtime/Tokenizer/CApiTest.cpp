//===- CApiTest.cpp - tests of the C API of the tokenizers ----------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestFiles.h"
#include "nju/tokenizer.h"
#include <thread>

using namespace nju::test;

namespace {

class TokenizerApi : public ::testing::Test {
protected:
  void SetUp() override {
    std::string bytes = sentencePieceFile(helloPieces());
    ASSERT_EQ(
        nju_tokenizer_create(bytes.data(), bytes.size(), nullptr, &tokenizer),
        NJU_OK)
        << nju_last_error_message();
    word = nju_tokenizer_find(tokenizer, "▁hello", std::strlen("▁hello"));
  }
  void TearDown() override { nju_tokenizer_release(tokenizer); }

  nju_tokenizer *tokenizer = nullptr;
  int32_t word = -1;
  size_t count = 77;
  int32_t tokens[8] = {};
  char text[32] = {};
};

std::string message() { return nju_last_error_message(); }

} // namespace

TEST_F(TokenizerApi, describes_the_vocabulary) {
  EXPECT_EQ(nju_tokenizer_vocabulary(tokenizer), 278);
  EXPECT_EQ(nju_tokenizer_bos(tokenizer), 1);
  const int32_t *eos = nullptr;
  ASSERT_EQ(nju_tokenizer_eos(tokenizer, &eos), 1u);
  EXPECT_EQ(eos[0], 2);
  EXPECT_EQ(nju_tokenizer_eos(tokenizer, nullptr), 1u);
  EXPECT_EQ(nju_tokenizer_is_special(tokenizer, 1), 1);
  EXPECT_EQ(nju_tokenizer_is_special(tokenizer, word), 0);
  EXPECT_EQ(nju_tokenizer_is_special(tokenizer, -1), 0);
  size_t size = 0;
  const char *name = nju_tokenizer_token(tokenizer, word, &size);
  EXPECT_EQ(std::string(name, size), "▁hello");
  EXPECT_EQ(nju_tokenizer_token(tokenizer, 100000, &size), nullptr);
  EXPECT_EQ(size, 0u);
  EXPECT_EQ(nju_tokenizer_find(tokenizer, "nothing", 7), -1);
  EXPECT_EQ(nju_tokenizer_find(tokenizer, nullptr, 1), -1);
}

TEST_F(TokenizerApi, encodes_into_the_callers_buffer) {
  EXPECT_EQ(nju_tokenizer_encode(tokenizer, "hello hello", 11,
                                 NJU_TOKENIZER_ADD_BOS | NJU_TOKENIZER_ADD_EOS,
                                 8, tokens, &count),
            NJU_OK);
  EXPECT_EQ(Tokens(tokens, tokens + count), (Tokens{1, word, word, 2}));
  EXPECT_EQ(nju_tokenizer_encode(tokenizer, "<s>", 3,
                                 NJU_TOKENIZER_PARSE_SPECIAL, 8, tokens,
                                 &count),
            NJU_OK);
  EXPECT_EQ(Tokens(tokens, tokens + count), Tokens{1});
}

TEST_F(TokenizerApi, says_how_large_the_buffer_must_be) {
  EXPECT_EQ(
      nju_tokenizer_encode(tokenizer, "hello hello", 11, 0, 0, nullptr, &count),
      NJU_OUT_OF_RANGE);
  EXPECT_EQ(count, 2u);
  EXPECT_EQ(message(), "the text has 2 tokens, the buffer 0");
  EXPECT_EQ(
      nju_tokenizer_encode(tokenizer, "hello hello", 11, 0, 1, tokens, &count),
      NJU_OUT_OF_RANGE);
  EXPECT_EQ(tokens[0], word);
  EXPECT_EQ(tokens[1], 0);

  tokens[1] = word;
  EXPECT_EQ(nju_tokenizer_decode(tokenizer, tokens, 2, 0, 5, text, &count),
            NJU_OUT_OF_RANGE);
  EXPECT_EQ(count, 11u);
  EXPECT_STREQ(text, "hello");
  EXPECT_EQ(message(), "the text has 11 bytes, the buffer 5");
}

TEST_F(TokenizerApi, decodes_into_the_callers_buffer) {
  int32_t sequence[] = {1, word, word, 2};
  EXPECT_EQ(nju_tokenizer_decode(tokenizer, sequence, 4,
                                 NJU_TOKENIZER_SKIP_SPECIAL, 32, text, &count),
            NJU_OK);
  EXPECT_EQ(std::string(text, count), "hello hello");
  EXPECT_EQ(nju_tokenizer_decode(tokenizer, nullptr, 0, 0, 0, nullptr, &count),
            NJU_OK);
  EXPECT_EQ(count, 0u);
  sequence[1] = 278;
  EXPECT_EQ(nju_tokenizer_decode(tokenizer, sequence, 4, 0, 32, text, &count),
            NJU_OUT_OF_RANGE);
  EXPECT_EQ(count, 0u);
  EXPECT_EQ(message(), "token 278 is out of range, expected 0 to 277");
}

TEST_F(TokenizerApi, streams) {
  nju_token_stream *stream = nullptr;
  ASSERT_EQ(
      nju_token_stream_create(tokenizer, NJU_TOKENIZER_SKIP_SPECIAL, &stream),
      NJU_OK);
  const char *out = nullptr;
  size_t size = 0;
  EXPECT_EQ(nju_token_stream_push(stream, 1, &out, &size), NJU_OK);
  EXPECT_STREQ(out, "");
  EXPECT_EQ(nju_token_stream_push(stream, word, &out, &size), NJU_OK);
  EXPECT_STREQ(out, "hello");
  EXPECT_EQ(size, 5u);
  EXPECT_EQ(nju_token_stream_push(stream, -5, &out, &size), NJU_OUT_OF_RANGE);
  EXPECT_STREQ(out, "");
  EXPECT_EQ(size, 0u);
  EXPECT_EQ(nju_token_stream_push(stream, word, &out, nullptr), NJU_OK);
  EXPECT_STREQ(out, " hello");
  EXPECT_EQ(nju_token_stream_push(stream, 0xC3 + 3, &out, nullptr), NJU_OK);
  EXPECT_STREQ(out, "");
  EXPECT_EQ(nju_token_stream_finish(stream, &out, &size), NJU_OK);
  EXPECT_STREQ(out, "\uFFFD");
  nju_token_stream_release(stream);
  nju_token_stream_release(nullptr);
}

TEST_F(TokenizerApi, refuses_wrong_arguments) {
  nju_tokenizer *none = tokenizer;
  EXPECT_EQ(nju_tokenizer_load(nullptr, &none), NJU_INVALID_ARGUMENT);
  EXPECT_EQ(none, nullptr);
  EXPECT_EQ(message(), "path is NULL");
  EXPECT_EQ(nju_tokenizer_load("x", nullptr), NJU_INVALID_ARGUMENT);
  EXPECT_EQ(message(), "out_tokenizer is NULL");
  EXPECT_EQ(nju_tokenizer_load("/nowhere/t.json", &none), NJU_NOT_FOUND);
  EXPECT_EQ(message(),
            "/nowhere/t.json: cannot open: No such file or directory");
  EXPECT_EQ(nju_tokenizer_create(nullptr, 3, nullptr, &none),
            NJU_INVALID_ARGUMENT);
  EXPECT_EQ(message(), "data is NULL");
  EXPECT_EQ(nju_tokenizer_create("abc", 3, "t", &none), NJU_DATA_LOSS);

  EXPECT_EQ(nju_tokenizer_encode(tokenizer, nullptr, 1, 0, 8, tokens, &count),
            NJU_INVALID_ARGUMENT);
  EXPECT_EQ(message(), "text is NULL");
  EXPECT_EQ(nju_tokenizer_encode(tokenizer, "a", 1, 0, 8, nullptr, &count),
            NJU_INVALID_ARGUMENT);
  EXPECT_EQ(message(), "tokens is NULL");
  EXPECT_EQ(nju_tokenizer_encode(nullptr, "a", 1, 0, 8, tokens, &count),
            NJU_INVALID_ARGUMENT);
  EXPECT_EQ(message(), "tokenizer is NULL");
  EXPECT_EQ(nju_tokenizer_encode(tokenizer, "a", 1, 8, 8, tokens, &count),
            NJU_INVALID_ARGUMENT);
  EXPECT_EQ(message(), "flags are 0x8, expected only those of 0x7");
  EXPECT_EQ(nju_tokenizer_encode(tokenizer, "a", 1, 0, 8, tokens, nullptr),
            NJU_INVALID_ARGUMENT);
  EXPECT_EQ(message(), "out_count is NULL");

  EXPECT_EQ(nju_tokenizer_decode(tokenizer, tokens, 1, 1, 32, text, &count),
            NJU_INVALID_ARGUMENT);
  EXPECT_EQ(message(), "flags are 0x1, expected only those of 0x8");
  EXPECT_EQ(nju_tokenizer_decode(tokenizer, nullptr, 1, 0, 32, text, &count),
            NJU_INVALID_ARGUMENT);
  EXPECT_EQ(message(), "tokens is NULL");
  EXPECT_EQ(nju_tokenizer_decode(tokenizer, tokens, 1, 0, 32, nullptr, &count),
            NJU_INVALID_ARGUMENT);
  EXPECT_EQ(message(), "text is NULL");

  const char *out = nullptr;
  EXPECT_EQ(nju_token_stream_push(nullptr, 1, &out, nullptr),
            NJU_INVALID_ARGUMENT);
  EXPECT_EQ(message(), "stream is NULL");
  nju_token_stream *stream = nullptr;
  EXPECT_EQ(nju_token_stream_create(nullptr, 0, &stream), NJU_INVALID_ARGUMENT);
  EXPECT_EQ(nju_token_stream_create(tokenizer, 1, &stream),
            NJU_INVALID_ARGUMENT);
  nju_tokenizer_release(nullptr);
}

TEST_F(TokenizerApi, one_tokenizer_serves_many_threads) {
  std::vector<std::thread> threads;
  std::vector<Tokens> results(8);
  for (Tokens &result : results)
    threads.emplace_back([&] {
      for (int round = 0; round < 50; ++round) {
        result.resize(64);
        size_t written = 0;
        nju_tokenizer_encode(tokenizer, "hello world é hello", 20, 0, 64,
                             result.data(), &written);
        result.resize(written);
      }
    });
  for (std::thread &thread : threads)
    thread.join();
  for (const Tokens &result : results) {
    EXPECT_FALSE(result.empty());
    EXPECT_EQ(result, results[0]);
  }
}
