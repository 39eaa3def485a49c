//===- Llama2c.cpp - tokenizer.bin of llama2.c ----------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The file: int32 longest token length, then for each token float32 score,
// int32 length, bytes; little-endian, to the end of the file.
//
//===----------------------------------------------------------------------===//

#include "Parts.h"
#include <cmath>
#include <cstring>

namespace nju::tokenizer {

namespace {

constexpr uint32_t longestPlausible = 1 << 16;

uint32_t readWord(std::string_view bytes, size_t position) {
  uint32_t word = 0;
  for (int i = 3; i >= 0; --i)
    word = word << 8 | static_cast<unsigned char>(bytes[position + i]);
  return word;
}

float readFloat(std::string_view bytes, size_t position) {
  uint32_t word = readWord(bytes, position);
  float value;
  std::memcpy(&value, &word, sizeof(value));
  return value;
}

TokenKind kindOf(int32_t id, std::string_view text) {
  if (id == 0)
    return TokenKind::Unknown;
  if (id == 1 || id == 2)
    return TokenKind::Control;
  return parseByteToken(text) >= 0 ? TokenKind::Byte : TokenKind::Normal;
}

Status at(int32_t token, size_t position, const std::string &what) {
  return {NJU_DATA_LOSS, "token " + std::to_string(token) + " at byte " +
                             std::to_string(position) + " " + what};
}

Status readTokens(std::string_view bytes, Vocabulary &vocabulary,
                  std::vector<float> &scores) {
  uint32_t longest = readWord(bytes, 0);
  size_t position = 4;
  for (int32_t id = 0; position < bytes.size(); ++id) {
    if (bytes.size() - position < 8)
      return at(id, position, "is truncated, expected a score and a length");
    float score = readFloat(bytes, position);
    uint32_t length = readWord(bytes, position + 4);
    if (std::isnan(score))
      return at(id, position, "has a score that is not a number");
    if (length > longest)
      return at(id, position,
                "has length " + std::to_string(length) +
                    ", expected at most the " + std::to_string(longest) +
                    " of the header");
    if (bytes.size() - position - 8 < length)
      return at(id, position,
                "has length " + std::to_string(length) + ", but only " +
                    std::to_string(bytes.size() - position - 8) +
                    " bytes follow");
    std::string text(bytes.substr(position + 8, length));
    TokenKind kind = kindOf(id, text);
    if (Status status = vocabulary.add(id, std::move(text), kind); !status.ok())
      return status;
    scores.push_back(score);
    position += 8 + length;
  }
  return Status::success();
}

} // namespace

bool looksLikeLlama2c(std::string_view bytes) {
  if (bytes.size() < 12)
    return false;
  uint32_t longest = readWord(bytes, 0);
  return longest > 0 && longest <= longestPlausible &&
         readWord(bytes, 8) <= longest;
}

PartsResult loadLlama2c(std::string_view bytes) {
  if (bytes.size() < 12)
    return {NJU_DATA_LOSS, "truncated after " + std::to_string(bytes.size()) +
                               " bytes, expected a header and tokens"};
  auto parts = std::make_unique<Parts>();
  std::vector<float> scores;
  if (Status status = readTokens(bytes, parts->vocabulary, scores);
      !status.ok())
    return status;
  if (parts->vocabulary.size() < 3)
    return {NJU_DATA_LOSS, "has " + std::to_string(parts->vocabulary.size()) +
                               " tokens, expected unknown, begin and end of "
                               "text and more"};
  parts->vocabulary.index();
  parts->model = std::make_unique<ScoreBpeModel>(parts->vocabulary, scores,
                                                 ScoreBpeModel::Options());
  parts->bos = 1;
  parts->eos = {2};
  parts->prefix = {1};
  parts->suffix = {2};
  for (auto [id, content] : {std::pair(1, "<s>"), std::pair(2, "</s>")}) {
    AddedToken token;
    token.id = id;
    token.content = content;
    token.special = true;
    if (Status status = parts->addedTokens.add(token); !status.ok())
      return status;
  }
  DecoderStep step{DecoderStep::Kind::SentencePiece};
  step.pattern = " ";
  step.unknown = parts->vocabulary.text(0);
  step.dropAfterControl = true;
  parts->decoder.steps.push_back(std::move(step));
  parts->decoder.replaceEachByte = true;
  return parts;
}

} // namespace nju::tokenizer
