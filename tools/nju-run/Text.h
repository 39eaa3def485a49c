//===- Text.h - Tokens and text ---------------------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_RUN_TEXT_H
#define NJU_RUN_TEXT_H

#include "Common.h"

#include "nju/tokenizer.h"

namespace nju::run {

/// A tokenizer that fits a model.
class Tokenizer {
public:
  /// Loads `path`; if it is empty, the tokenizer beside the model. Fails if
  /// there is none, or if it is not the model's.
  Tokenizer(const std::string &path, const ModelOptions &options,
            const nju_model *model);

  /// The tokenizer beside the model: STEM.tokenizer.json, .model or .bin, then
  /// tokenizer.json, tokenizer.model, tokenizer.bin, vocab.json with
  /// merges.txt. Empty if there is none.
  static std::string find(const std::string &modelPath);

  /// Encodes with flags of NJU_TOKENIZER_*.
  std::vector<int32_t> encode(const std::string &text, uint32_t flags) const;
  /// What the tokenizer puts before a text; empty for some.
  std::vector<int32_t> getPrefix() const;
  /// Tokens after which there is no more of a text: its ends, and the begin of
  /// another.
  std::vector<int32_t> getEndTokens() const;
  /// The token of this very name; -1 if there is none.
  int32_t findToken(const std::string &name) const;

  const nju_tokenizer *get() const { return handle.get(); }

private:
  struct ReleaseTokenizer {
    void operator()(nju_tokenizer *tokenizer) const {
      nju_tokenizer_release(tokenizer);
    }
  };
  std::unique_ptr<nju_tokenizer, ReleaseTokenizer> handle;
};

/// Holds back text that may become a stop string.
class StopFilter {
public:
  explicit StopFilter(std::vector<std::string> stops);

  /// Adds text; returns what is certain to come before any stop string.
  std::string push(const std::string &text);
  /// Returns what was held back, unless a stop string was met.
  std::string finish();
  /// Whether a stop string was met; nothing is returned after it.
  bool isStopped() const { return stopped; }

private:
  std::vector<std::string> stops;
  std::string held;
  bool stopped = false;
};

/// Turns generated tokens into text for the terminal, up to a stop string.
class TextPrinter {
public:
  TextPrinter(const Tokenizer &tokenizer, std::vector<std::string> stops);

  /// Takes tokens of the prompt in, so that the text after it joins well; they
  /// are printed if `echo`.
  void addPrompt(const std::vector<int32_t> &tokens, bool echo);
  /// Prints what the token adds; false once a stop string is met.
  bool add(int32_t token);
  /// Prints what was held back.
  void finish();
  /// Whether a stop string ended the text.
  bool isStopped() const { return filter.isStopped(); }
  /// Makes ready for the next text.
  void restart();

private:
  std::string decode(int32_t token);

  struct ReleaseStream {
    void operator()(nju_token_stream *stream) const {
      nju_token_stream_release(stream);
    }
  };
  std::unique_ptr<nju_token_stream, ReleaseStream> stream;
  int32_t vocabulary;
  std::vector<std::string> stops;
  StopFilter filter;
};

} // namespace nju::run

#endif // NJU_RUN_TEXT_H
