//===- TestFiles.h - tokenizer files for the tests --------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_UNITTESTS_TOKENIZER_TESTFILES_H
#define NJU_UNITTESTS_TOKENIZER_TESTFILES_H

#include "Tokenizer.h"
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace nju::test {

using Tokens = std::vector<int32_t>;

inline std::string readFile(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline std::string input(const std::string &name) {
  return std::string(NJU_INPUTS_DIR) + "/" + name;
}

/// A file of the shared test data, or "" if it is not there.
inline std::string shared(const std::string &name) {
  const char *folder = std::getenv("NJU_SHARED");
  std::string path = std::string(folder ? folder : NJU_SHARED_DIR) + "/" + name;
  return std::filesystem::exists(path) ? path : "";
}

/// A tokenizer that is expected to load.
inline std::unique_ptr<Tokenizer> load(std::string_view bytes,
                                       const std::string &name = "") {
  auto tokenizer = Tokenizer::fromBytes(bytes, name);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message;
  return tokenizer.ok() ? std::move(*tokenizer) : nullptr;
}

/// The message of a tokenizer that is expected not to load.
inline std::string errorOf(std::string_view bytes,
                           const std::string &name = "") {
  auto tokenizer = Tokenizer::fromBytes(bytes, name);
  EXPECT_FALSE(tokenizer.ok());
  return tokenizer.status().message;
}

inline Tokens encode(const Tokenizer &tokenizer, std::string_view text,
                     TokenizerEncodeOptions options = {}) {
  auto tokens = tokenizer.encode(text, options);
  EXPECT_TRUE(tokens.ok()) << tokens.status().message;
  return tokens.ok() ? *tokens : Tokens();
}

inline std::string decode(const Tokenizer &tokenizer, const Tokens &tokens,
                          bool skipSpecial = false) {
  auto text = tokenizer.decode(tokens.data(), tokens.size(), skipSpecial);
  EXPECT_TRUE(text.ok()) << text.status().message;
  return text.ok() ? *text : "";
}

inline std::string byteToken(int byte) {
  char text[8];
  std::snprintf(text, sizeof(text), "<0x%02X>", byte);
  return text;
}

//===----------------------------------------------------------------------===//
// llama2.c
//===----------------------------------------------------------------------===//

struct ScoredToken {
  std::string text;
  float score = 0;
};

/// A tokenizer.bin with these tokens.
inline std::string llama2cFile(const std::vector<ScoredToken> &tokens,
                               int32_t longest = 27) {
  std::string bytes(reinterpret_cast<const char *>(&longest), 4);
  for (const ScoredToken &token : tokens) {
    auto size = static_cast<int32_t>(token.text.size());
    bytes.append(reinterpret_cast<const char *>(&token.score), 4);
    bytes.append(reinterpret_cast<const char *>(&size), 4);
    bytes += token.text;
  }
  return bytes;
}

/// Marks, bytes, then `words` from token 259 on.
inline std::string llama2cWithBytes(std::initializer_list<ScoredToken> words) {
  std::vector<ScoredToken> tokens = {{"<unk>"}, {"\n<s>\n"}, {"\n</s>\n"}};
  for (int byte = 0; byte < 256; ++byte)
    tokens.push_back({byteToken(byte)});
  tokens.insert(tokens.end(), words);
  return llama2cFile(tokens);
}

//===----------------------------------------------------------------------===//
// sentencepiece
//===----------------------------------------------------------------------===//

inline std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 128; value >>= 7)
    bytes += static_cast<char>(value | 128);
  return bytes + static_cast<char>(value);
}

inline std::string bytesField(int number, std::string_view bytes) {
  return varint(number << 3 | 2) + varint(bytes.size()) + std::string(bytes);
}

inline std::string varintField(int number, uint64_t value) {
  return varint(number << 3) + varint(value);
}

/// Field of a piece; types: 1 normal, 2 unknown, 3 control, 4 user-defined,
/// 5 unused, 6 byte.
inline std::string piece(std::string_view text, float score = 0, int type = 1) {
  std::string message = bytesField(1, text);
  message += static_cast<char>(2 << 3 | 5);
  message.append(reinterpret_cast<const char *>(&score), 4);
  return bytesField(1, message + varintField(3, type));
}

struct SentencePieceOptions {
  bool addDummyPrefix = true;
  bool removeExtraWhitespace = false;
  std::string characterMap = {};
  int modelType = 2; // BPE
};

/// A model with marks, bytes and then `pieces` from token 259 on.
inline std::string sentencePieceFile(const std::string &pieces,
                                     SentencePieceOptions options = {}) {
  std::string bytes =
      piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3);
  for (int byte = 0; byte < 256; ++byte)
    bytes += piece(byteToken(byte), 0, 6);
  bytes += pieces;
  bytes +=
      bytesField(2, varintField(3, options.modelType) + varintField(35, 1));
  bytes += bytesField(3, bytesField(2, options.characterMap) +
                             varintField(3, options.addDummyPrefix) +
                             varintField(4, options.removeExtraWhitespace));
  return bytes;
}

/// "▁hello" and what leads to it, and some letters.
inline std::string helloPieces() {
  std::string pieces;
  float score = -1;
  for (const char *text :
       {"he", "ll", "hell", "hello", "\u2581hello", "\u2581w", "or", "ld",
        "\u2581w"
        "or",
        "\u2581world"})
    pieces += piece(text, score--);
  for (const char *text : {"\u2581", "h", "e", "l", "o", "w", "r", "d", "!"})
    pieces += piece(text, -100);
  return pieces;
}

//===----------------------------------------------------------------------===//
// tokenizer.json
//===----------------------------------------------------------------------===//

using Json = nlohmann::json;

/// A tokenizer.json with these components; whole words unless `model` says
/// otherwise.
inline Json wordLevel(std::initializer_list<const char *> words) {
  Json vocabulary = Json::object();
  for (const char *word : words) {
    auto number = vocabulary.size();
    vocabulary[word] = number;
  }
  return {{"added_tokens", Json::array()},
          {"normalizer", nullptr},
          {"pre_tokenizer", {{"type", "WhitespaceSplit"}}},
          {"post_processor", nullptr},
          {"decoder", nullptr},
          {"model",
           {{"type", "WordLevel"}, {"unk_token", "?"}, {"vocab", vocabulary}}}};
}

} // namespace nju::test

#endif // NJU_UNITTESTS_TOKENIZER_TESTFILES_H
