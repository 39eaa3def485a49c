//===- Tokenizer.cpp - text to tokens and back ----------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Tokenizer.h"
#include "Parts.h"
#include "Utf8.h"
#include <new>

namespace nju {

using namespace tokenizer;

namespace {

/// Longest text that encode takes, in bytes. Positions are 32 bits wide inside
/// and in the libraries, and a text can grow several times.
constexpr size_t maxTextSize = size_t(1) << 28;

/// Runs `work` and turns what our libraries throw into a status.
template <typename Work>
auto guarded(Work &&work) -> decltype(work()) {
  try {
    return work();
  } catch (const std::bad_alloc &) {
    return Status(NJU_RESOURCE_EXHAUSTED, "out of memory");
  } catch (const std::exception &error) {
    return Status(NJU_INTERNAL, error.what());
  } catch (...) {
    return Status(NJU_INTERNAL, "unknown failure of a library");
  }
}

} // namespace

Tokenizer::Tokenizer(std::unique_ptr<Parts> parts) : parts(std::move(parts)) {}
Tokenizer::~Tokenizer() = default;

namespace {

enum class Format { Json, SentencePiece, Llama2c, Unknown };

bool endsWith(std::string_view text, std::string_view end) {
  return text.size() >= end.size() &&
         text.substr(text.size() - end.size()) == end;
}

Format detect(std::string_view bytes, std::string_view name) {
  size_t begin = bytes.find_first_not_of(" \t\r\n");
  if (bytes.substr(0, 3) == "\xEF\xBB\xBF" ||
      (begin != std::string_view::npos && bytes[begin] == '{'))
    return Format::Json;
  if (looksLikeLlama2c(bytes))
    return Format::Llama2c;
  // A sentencepiece model begins with its first piece: field 1, of some length.
  if (bytes.size() > 1 && bytes[0] == '\n' && bytes[1] != '\0')
    return Format::SentencePiece;
  if (endsWith(name, ".json"))
    return Format::Json;
  if (endsWith(name, ".model"))
    return Format::SentencePiece;
  if (endsWith(name, ".bin"))
    return Format::Llama2c;
  return Format::Unknown;
}

PartsResult loadParts(const TokenizerFiles &files) {
  if (files.main.empty())
    return {NJU_DATA_LOSS, "the file is empty, expected a tokenizer"};
  switch (detect(files.main, files.name)) {
  case Format::Json:
    return loadJson(files);
  case Format::SentencePiece:
    return loadSentencePiece(files.main);
  case Format::Llama2c:
    return loadLlama2c(files.main);
  case Format::Unknown:
    break;
  }
  return {NJU_DATA_LOSS,
          "not a tokenizer of a known format; expected tokenizer.json, a "
          "sentencepiece model, vocab.json with merges.txt, or tokenizer.bin "
          "of llama2.c"};
}

} // namespace

Result<std::unique_ptr<Tokenizer>>
Tokenizer::fromFiles(const TokenizerFiles &files) {
  return guarded([&]() -> Result<std::unique_ptr<Tokenizer>> {
    PartsResult parts = loadParts(files);
    if (parts.ok())
      return std::unique_ptr<Tokenizer>(new Tokenizer(std::move(*parts)));
    std::string where = files.name.empty() ? "" : files.name + ": ";
    return {parts.status().code, where + parts.status().message};
  });
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::fromBytes(std::string_view bytes,
                                                        std::string name) {
  TokenizerFiles files;
  files.main = bytes;
  files.name = std::move(name);
  return fromFiles(files);
}

int32_t Tokenizer::vocabularySize() const { return parts->vocabulary.size(); }

int32_t Tokenizer::bos() const { return parts->bos; }

const std::vector<int32_t> &Tokenizer::eos() const { return parts->eos; }

bool Tokenizer::isSpecial(int32_t token) const {
  return parts->vocabulary.contains(token) &&
         parts->vocabulary.kind(token) == TokenKind::Control;
}

std::string_view Tokenizer::text(int32_t token) const {
  if (!parts->vocabulary.contains(token))
    return {};
  return parts->vocabulary.text(token);
}

int32_t Tokenizer::find(std::string_view text) const {
  return parts->vocabulary.find(text);
}

Result<std::vector<int32_t>>
Tokenizer::encode(std::string_view text, TokenizerEncodeOptions options) const {
  if (text.size() > maxTextSize)
    return {NJU_RESOURCE_EXHAUSTED,
            "the text has " + std::to_string(text.size()) +
                " bytes, expected at most " + std::to_string(maxTextSize) +
                "; encode it in parts"};
  return guarded([&] { return encodeValid(repairUtf8(text), options); });
}

Result<std::vector<int32_t>>
Tokenizer::encodeValid(std::string text,
                       const TokenizerEncodeOptions &options) const {
  std::vector<Piece> pieces;
  if (!text.empty())
    pieces.push_back({std::move(text), /*first=*/true});
  parts->addedTokens.split(pieces, options.parseSpecial);
  for (Piece &piece : pieces)
    if (piece.token < 0)
      if (Status status = parts->normalizer.apply(piece.text); !status.ok())
        return status;
  parts->normalizedAddedTokens.split(pieces, options.parseSpecial);
  if (Status status = parts->preTokenizer.apply(pieces); !status.ok())
    return status;

  std::vector<int32_t> tokens;
  if (options.addBos)
    tokens = parts->prefix;
  if (Status status = parts->model->encode(pieces, tokens); !status.ok())
    return status;
  if (options.addEos)
    tokens.insert(tokens.end(), parts->suffix.begin(), parts->suffix.end());
  return tokens;
}

Status Tokenizer::push(DecoderChain &chain, int32_t token,
                       bool skipSpecial) const {
  const Vocabulary &vocabulary = parts->vocabulary;
  if (token < 0 || token >= vocabulary.size())
    return {NJU_OUT_OF_RANGE, "token " + std::to_string(token) +
                                  " is out of range, expected 0 to " +
                                  std::to_string(vocabulary.size() - 1)};
  TokenKind kind = vocabulary.kind(token);
  if (kind == TokenKind::Missing)
    return Status::success();
  if (kind != TokenKind::Control || !skipSpecial)
    return chain.push(vocabulary.text(token), kind);
  // Sentencepiece must know of the mark, the others must not.
  const std::vector<DecoderStep> &steps = parts->decoder.steps;
  if (steps.empty() || steps.front().kind != DecoderStep::Kind::SentencePiece)
    return Status::success();
  return chain.push("", kind);
}

Result<std::string> Tokenizer::decode(const int32_t *tokens, size_t count,
                                      bool skipSpecial) const {
  return guarded([&]() -> Result<std::string> {
    DecoderChain chain(parts->decoder);
    for (size_t i = 0; i < count; ++i)
      if (Status status = push(chain, tokens[i], skipSpecial); !status.ok())
        return status;
    if (Status status = chain.finish(); !status.ok())
      return status;
    return std::move(chain.text());
  });
}

TokenStream::TokenStream(const Tokenizer &tokenizer, bool skipSpecial)
    : tokenizer(tokenizer), skipSpecial(skipSpecial),
      chain(std::make_unique<DecoderChain>(tokenizer.parts->decoder)) {}

TokenStream::~TokenStream() = default;

Result<std::string_view> TokenStream::take(Status status) {
  if (!status.ok())
    return status;
  taken.clear();
  std::swap(taken, chain->text());
  return std::string_view(taken);
}

Result<std::string_view> TokenStream::push(int32_t token) {
  return guarded([&]() -> Result<std::string_view> {
    return take(tokenizer.push(*chain, token, skipSpecial));
  });
}

Result<std::string_view> TokenStream::finish() {
  return guarded([&]() -> Result<std::string_view> {
    Result<std::string_view> rest = take(chain->finish());
    chain = std::make_unique<DecoderChain>(tokenizer.parts->decoder);
    return rest;
  });
}

} // namespace nju
