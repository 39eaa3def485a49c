//===- Calibration.cpp - The tokens that a model is calibrated with -------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Calibration.h"

#include "TokenArray.h"
#include "Tokenizer.h"
#include "nju/documents.h"
#include "nju/tokenizer.h"
#include "llvm/Support/ConvertUTF.h"
#include "llvm/Support/MemoryBuffer.h"

using namespace mlir;
using namespace nju;

using Tokens = std::vector<int32_t>;

/// Tokens of a sequence of a graph that says nothing about its length.
static constexpr int64_t kGraphSequence = 128;

//===----------------------------------------------------------------------===//
// Text
//===----------------------------------------------------------------------===//

namespace {

/// The tokenizer of a model.
class TextEncoder {
public:
  static llvm::Expected<TextEncoder> load(StringRef model);

  /// Encodes with flags of NJU_TOKENIZER_*.
  llvm::Expected<Tokens> encode(StringRef text, uint32_t flags) const;

private:
  struct Release {
    void operator()(nju_tokenizer *tokenizer) const {
      nju_tokenizer_release(tokenizer);
    }
  };
  std::unique_ptr<nju_tokenizer, Release> tokenizer;
};

} // namespace

static llvm::Error lastError() {
  return llvm::createStringError(nju_last_error_message());
}

llvm::Expected<TextEncoder> TextEncoder::load(StringRef model) {
  std::optional<std::string> file = findTokenizer(model);
  if (!file)
    return llvm::createStringError(
        "there is no tokenizer beside model '" + model +
        "' for the calibration text; put tokenizer.json, tokenizer.model or "
        "tokenizer.bin there, or give the tokens as a .npy array");
  nju_tokenizer *raw = nullptr;
  if (nju_tokenizer_load(file->c_str(), &raw) != NJU_OK)
    return lastError();
  TextEncoder encoder;
  encoder.tokenizer.reset(raw);
  return encoder;
}

llvm::Expected<Tokens> TextEncoder::encode(StringRef text,
                                           uint32_t flags) const {
  Tokens tokens(text.size() + 8);
  size_t count = 0;
  auto run = [&] {
    return nju_tokenizer_encode(tokenizer.get(), text.data(), text.size(),
                                flags, tokens.size(), tokens.data(), &count);
  };
  nju_status status = run();
  if (status == NJU_OUT_OF_RANGE && count > tokens.size()) {
    tokens.resize(count);
    status = run();
  }
  if (status != NJU_OK)
    return lastError();
  tokens.resize(count);
  return tokens;
}

int32_t nju::findBeginningToken(StringRef model) {
  llvm::Expected<TextEncoder> encoder = TextEncoder::load(model);
  if (!encoder) {
    llvm::consumeError(encoder.takeError());
    return -1;
  }
  llvm::Expected<Tokens> prefix = encoder->encode("", NJU_TOKENIZER_ADD_BOS);
  if (prefix)
    return prefix->empty() ? -1 : prefix->front();
  llvm::consumeError(prefix.takeError());
  return -1;
}

/// The begin of a text that certainly has `tokens` tokens, if all of it has.
static StringRef takeBegin(StringRef text, int64_t tokens) {
  // Runs of blanks make long tokens, but not that long on the average.
  constexpr size_t kBytesPerToken = 64;
  size_t size = kBytesPerToken * (tokens + 1);
  if (text.size() <= size)
    return text;
  while ((static_cast<unsigned char>(text[size]) & 0xc0) == 0x80)
    --size;
  return text.take_front(size);
}

static llvm::Error checkUTF8(StringRef text, StringRef file) {
  const auto *begin = text.bytes_begin(), *at = begin;
  if (llvm::isLegalUTF8String(&at, text.bytes_end()))
    return llvm::Error::success();
  return llvm::createStringError("calibration text '" + file +
                                 "' is not UTF-8: byte " +
                                 llvm::Twine(at - begin) + " is no character");
}

namespace {

/// Makes sequences of a text.
class TextCutter {
public:
  TextCutter(const TextEncoder &encoder, int64_t length, int64_t maxTokens)
      : encoder(encoder), length(length), left(maxTokens) {}

  /// For a language model: every token of the documents.
  llvm::Error addDocuments(ArrayRef<std::string_view> documents);
  /// For another graph: each text is a sequence.
  llvm::Error addTexts(ArrayRef<std::string_view> texts);

  TokenBatch take() { return std::move(batch); }

private:
  void add(Tokens tokens);

  const TextEncoder &encoder;
  int64_t length, left;
  TokenBatch batch;
};

} // namespace

void TextCutter::add(Tokens tokens) {
  if (int64_t(tokens.size()) > left)
    tokens.resize(left);
  if (tokens.empty())
    return;
  left -= tokens.size();
  batch.sequences.push_back(std::move(tokens));
}

llvm::Error TextCutter::addDocuments(ArrayRef<std::string_view> documents) {
  llvm::Expected<Tokens> prefix = encoder.encode("", NJU_TOKENIZER_ADD_BOS);
  if (!prefix)
    return prefix.takeError();
  int64_t own = length - int64_t(prefix->size());
  if (own <= 0)
    return llvm::createStringError("sequences of " + llvm::Twine(length) +
                                   " tokens are too short for calibration");
  for (std::string_view document : documents) {
    if (left <= 0)
      break;
    llvm::Expected<Tokens> tokens =
        encoder.encode(takeBegin(document, left), 0);
    if (!tokens)
      return tokens.takeError();
    int64_t count = tokens->size();
    for (int64_t begin = 0; begin < count; begin += own) {
      Tokens sequence = *prefix;
      sequence.insert(sequence.end(), tokens->begin() + begin,
                      tokens->begin() + std::min(begin + own, count));
      add(std::move(sequence));
    }
  }
  return llvm::Error::success();
}

llvm::Error TextCutter::addTexts(ArrayRef<std::string_view> texts) {
  for (std::string_view text : texts) {
    if (left <= 0)
      break;
    if (StringRef(text).trim().empty())
      continue;
    llvm::Expected<Tokens> tokens =
        encoder.encode(takeBegin(StringRef(text).rtrim("\r\n"), length),
                       NJU_TOKENIZER_ADD_BOS | NJU_TOKENIZER_ADD_EOS);
    if (!tokens)
      return tokens.takeError();
    if (int64_t(tokens->size()) > length)
      tokens->resize(length);
    add(std::move(*tokens));
  }
  return llvm::Error::success();
}

static std::vector<std::string_view> splitLines(std::string_view text) {
  llvm::SmallVector<StringRef> lines;
  StringRef(text).split(lines, '\n');
  return std::vector<std::string_view>(lines.begin(), lines.end());
}

static llvm::Expected<TokenBatch> readText(StringRef text,
                                           const CalibrationOptions &options,
                                           int64_t length, bool isStep) {
  if (text.empty())
    return llvm::createStringError("calibration text '" + options.file +
                                   "' is empty");
  if (llvm::Error failed = checkUTF8(text, options.file))
    return failed;
  auto encoder = TextEncoder::load(options.model);
  if (!encoder)
    return encoder.takeError();
  TextCutter cutter(*encoder, length, options.maxTokens);
  std::vector<std::string_view> documents = splitDocuments(text);
  if (!isStep && documents.size() == 1)
    documents = splitLines(documents[0]);
  llvm::Error failed =
      isStep ? cutter.addDocuments(documents) : cutter.addTexts(documents);
  if (failed)
    return failed;
  return cutter.take();
}

//===----------------------------------------------------------------------===//
// Tokens
//===----------------------------------------------------------------------===//

static llvm::Expected<TokenBatch>
readTokens(StringRef bytes, const CalibrationOptions &options, int64_t length) {
  auto sequences = readTokenArray(bytes, options.file);
  if (!sequences)
    return sequences.takeError();
  TokenBatch batch;
  int64_t left = options.maxTokens;
  for (const Tokens &sequence : *sequences) {
    int64_t size = sequence.size();
    for (int64_t begin = 0; begin < size && left > 0; begin += length) {
      int64_t count = std::min({length, size - begin, left});
      auto from = sequence.begin() + begin;
      batch.sequences.emplace_back(from, from + count);
      left -= count;
    }
  }
  return batch;
}

std::optional<int64_t> nju::getMostTokens(func::FuncOp function) {
  auto lm =
      function->getParentOfType<ModuleOp>()->getAttrOfType<DictionaryAttr>(
          "nju.lm");
  auto limit = lm ? lm.getAs<IntegerAttr>("max_tokens") : IntegerAttr();
  return limit ? std::optional(limit.getInt()) : std::nullopt;
}

/// Tokens of a sequence, at most.
static int64_t getLength(func::FuncOp function,
                         const CalibrationOptions &options) {
  std::optional<int64_t> limit = getMostTokens(function);
  int64_t most = limit.value_or(kGraphSequence);
  if (options.maxSequence == 0)
    return most;
  return limit ? std::min(most, options.maxSequence) : options.maxSequence;
}

llvm::Expected<TokenBatch> CalibrationData::read(func::FuncOp function) const {
  auto buffer = llvm::MemoryBuffer::getFile(options.file, /*IsText=*/false,
                                            /*RequiresNullTerminator=*/false);
  if (!buffer)
    return llvm::createStringError("cannot open calibration file '" +
                                   options.file +
                                   "': " + buffer.getError().message());
  StringRef bytes = (*buffer)->getBuffer();
  int64_t length = getLength(function, options);
  llvm::Expected<TokenBatch> batch =
      isTokenArray(bytes)
          ? readTokens(bytes, options, length)
          : readText(bytes, options, length, function.getName() == "step");
  if (!batch)
    return batch;
  int64_t count = batch->countTokens();
  if (count < kLeastCalibrationTokens)
    return llvm::createStringError(
        "calibration file '" + options.file + "' gives " + llvm::Twine(count) +
        " tokens, expected at least " + llvm::Twine(kLeastCalibrationTokens));
  return batch;
}
