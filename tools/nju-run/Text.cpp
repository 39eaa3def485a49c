//===- Text.cpp - Tokens and text -----------------------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Text.h"

#include <algorithm>
#include <sys/stat.h>

using namespace nju::run;

//===----------------------------------------------------------------------===//
// Tokenizer
//===----------------------------------------------------------------------===//

static bool isFile(const std::string &path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

std::string Tokenizer::find(const std::string &modelPath) {
  size_t slash = modelPath.rfind('/');
  std::string folder =
      slash == std::string::npos ? "" : modelPath.substr(0, slash + 1);
  std::string stem = modelPath.substr(folder.size());
  stem = stem.substr(0, stem.rfind('.'));
  for (const std::string &name :
       {stem + ".tokenizer.json", stem + ".tokenizer.model",
        stem + ".tokenizer.bin", std::string("tokenizer.json"),
        std::string("tokenizer.model"), std::string("tokenizer.bin")})
    if (isFile(folder + name))
      return folder + name;
  if (isFile(folder + "vocab.json") && isFile(folder + "merges.txt"))
    return folder + "vocab.json";
  return "";
}

/// Models are padded to round vocabularies, by at most this many tokens.
static int64_t getMaxPadding(int64_t vocabulary) {
  return std::max<int64_t>(64, vocabulary / 32);
}

Tokenizer::Tokenizer(const std::string &path, const ModelOptions &options,
                     const nju_model *model) {
  std::string file = path.empty() ? find(options.path) : path;
  if (file.empty())
    throw Failure("there is no tokenizer beside model '" + options.path +
                  "': name one with --tokenizer, or use --tokens and --print "
                  "tokens");
  nju_tokenizer *raw;
  check(nju_tokenizer_load(file.c_str(), &raw));
  handle.reset(raw);
  int64_t ours = nju_tokenizer_vocabulary(raw);
  int64_t models = nju_model_vocabulary(model);
  if (ours > models || models - ours > getMaxPadding(models))
    throw Failure("tokenizer '" + file + "' has " + std::to_string(ours) +
                  " tokens, model '" + options.path + "' has a vocabulary of " +
                  std::to_string(models) +
                  ": they do not belong together; name the right one with "
                  "--tokenizer");
}

std::vector<int32_t> Tokenizer::encode(const std::string &text,
                                       uint32_t flags) const {
  std::vector<int32_t> tokens(text.size() + 8);
  size_t count;
  nju_status status =
      nju_tokenizer_encode(handle.get(), text.data(), text.size(), flags,
                           tokens.size(), tokens.data(), &count);
  if (status == NJU_OUT_OF_RANGE && count > tokens.size()) {
    tokens.resize(count);
    status = nju_tokenizer_encode(handle.get(), text.data(), text.size(), flags,
                                  tokens.size(), tokens.data(), &count);
  }
  check(status);
  tokens.resize(count);
  return tokens;
}

std::vector<int32_t> Tokenizer::getPrefix() const {
  return encode("", NJU_TOKENIZER_ADD_BOS);
}

std::vector<int32_t> Tokenizer::getEndTokens() const {
  const int32_t *tokens;
  size_t count = nju_tokenizer_eos(handle.get(), &tokens);
  std::vector<int32_t> result(tokens, tokens + count);
  // Some models, llama2.c's among them, only ever learned that texts begin.
  if (nju_tokenizer_bos(handle.get()) >= 0)
    result.push_back(nju_tokenizer_bos(handle.get()));
  return result;
}

int32_t Tokenizer::findToken(const std::string &name) const {
  return nju_tokenizer_find(handle.get(), name.data(), name.size());
}

//===----------------------------------------------------------------------===//
// Stop strings
//===----------------------------------------------------------------------===//

StopFilter::StopFilter(std::vector<std::string> stops)
    : stops(std::move(stops)) {}

/// Length of the longest end of `text` that begins `stop` but is not all of it.
static size_t getOverlap(const std::string &text, const std::string &stop) {
  size_t length = std::min(text.size(), stop.size() - 1);
  while (length && text.compare(text.size() - length, length, stop, 0, length))
    --length;
  return length;
}

std::string StopFilter::push(const std::string &text) {
  if (stopped)
    return "";
  held += text;
  size_t end = std::string::npos, overlap = 0;
  for (const std::string &stop : stops) {
    end = std::min(end, held.find(stop));
    overlap = std::max(overlap, getOverlap(held, stop));
  }
  stopped = end != std::string::npos;
  size_t certain = stopped ? end : held.size() - overlap;
  std::string result = held.substr(0, certain);
  held.erase(0, stopped ? std::string::npos : certain);
  return result;
}

std::string StopFilter::finish() {
  std::string result;
  result.swap(held);
  return result;
}

//===----------------------------------------------------------------------===//
// Printing
//===----------------------------------------------------------------------===//

TextPrinter::TextPrinter(const Tokenizer &tokenizer,
                         std::vector<std::string> stops)
    : vocabulary(nju_tokenizer_vocabulary(tokenizer.get())), stops(stops),
      filter(std::move(stops)) {
  nju_token_stream *raw;
  check(nju_token_stream_create(tokenizer.get(), NJU_TOKENIZER_SKIP_SPECIAL,
                                &raw));
  stream.reset(raw);
}

std::string TextPrinter::decode(int32_t token) {
  // The rest of a padded vocabulary stands for no text.
  if (token >= vocabulary)
    return "";
  const char *text;
  size_t size;
  check(nju_token_stream_push(stream.get(), token, &text, &size));
  return std::string(text, size);
}

void TextPrinter::addPrompt(const std::vector<int32_t> &tokens, bool echo) {
  for (int32_t token : tokens) {
    std::string text = decode(token);
    if (echo)
      print(text);
  }
}

bool TextPrinter::add(int32_t token) {
  print(filter.push(decode(token)));
  return !filter.isStopped();
}

void TextPrinter::finish() {
  const char *text;
  size_t size;
  check(nju_token_stream_finish(stream.get(), &text, &size));
  print(filter.push(std::string(text, size)) + filter.finish());
}

void TextPrinter::restart() { filter = StopFilter(stops); }
