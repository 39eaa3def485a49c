//===- Tokenizer.h - text to tokens and back --------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_RUNTIME_TOKENIZER_TOKENIZER_H
#define NJU_RUNTIME_TOKENIZER_TOKENIZER_H

#include "Result.h"
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace nju {

namespace tokenizer {
struct Parts;
class DecoderChain;
} // namespace tokenizer

/// The contents of the files that describe a tokenizer. Empty: not there.
struct TokenizerFiles {
  std::string_view main;       ///< tokenizer.json, .model, .bin or vocab.json.
  std::string_view merges;     ///< GPT-2's merges.txt.
  std::string_view config;     ///< tokenizer_config.json.
  std::string_view generation; ///< generation_config.json.
  std::string name; ///< Of the main file, for messages and as a hint.
};

/// What encode does beside turning the text into tokens.
struct TokenizerEncodeOptions {
  bool addBos = false;       ///< Put before it what the tokenizer puts there.
  bool addEos = false;       ///< Put after it what the tokenizer puts there.
  bool parseSpecial = false; ///< Recognise special tokens in the text.
};

/// A tokenizer of any supported format. Immutable after loading: all const
/// functions may be called by any number of threads at once. No function
/// throws.
class Tokenizer {
public:
  /// Loads a file, or the tokenizer in a directory. The format is told by the
  /// content. Files that belong to it are looked for beside it.
  static tokenizer::Result<std::unique_ptr<Tokenizer>>
  fromFile(const std::string &path);

  /// Loads from memory; nothing of `bytes` is referred to afterwards. `name`
  /// (a file name) decides where the bytes alone do not.
  static tokenizer::Result<std::unique_ptr<Tokenizer>>
  fromBytes(std::string_view bytes, std::string name = "");
  static tokenizer::Result<std::unique_ptr<Tokenizer>>
  fromFiles(const TokenizerFiles &files);

  ~Tokenizer();

  /// Highest token number plus one.
  int32_t vocabularySize() const;
  /// The token that begins a text; -1 if there is none.
  int32_t bos() const;
  /// The tokens that end a text, the principal one first.
  const std::vector<int32_t> &eos() const;
  /// Whether `token` is a mark and no text.
  bool isSpecial(int32_t token) const;

  /// A token as the file writes it; nothing for a number without a token.
  std::string_view text(int32_t token) const;
  /// The token that the file writes so; -1 if there is none.
  int32_t find(std::string_view text) const;

  /// Ill-formed UTF-8 in `text` is read as U+FFFD.
  tokenizer::Result<std::vector<int32_t>>
  encode(std::string_view text, TokenizerEncodeOptions options = {}) const;

  /// The text of a whole sequence, valid UTF-8.
  tokenizer::Result<std::string> decode(const int32_t *tokens, size_t count,
                                        bool skipSpecial) const;

private:
  friend class TokenStream;

  explicit Tokenizer(std::unique_ptr<tokenizer::Parts> parts);
  tokenizer::Status push(tokenizer::DecoderChain &chain, int32_t token,
                         bool skipSpecial) const;
  tokenizer::Result<std::vector<int32_t>>
  encodeValid(std::string text, const TokenizerEncodeOptions &options) const;

  std::unique_ptr<tokenizer::Parts> parts;
};

/// Decodes token by token. The pieces that push and finish return, put
/// together, are what Tokenizer::decode makes of the same tokens; each is valid
/// UTF-8. One thread at a time.
class TokenStream {
public:
  /// `tokenizer` must outlive the stream.
  TokenStream(const Tokenizer &tokenizer, bool skipSpecial);
  ~TokenStream();

  /// The text that is certain now, possibly empty; valid until the next call.
  tokenizer::Result<std::string_view> push(int32_t token);
  /// What was held back. The stream begins anew afterwards.
  tokenizer::Result<std::string_view> finish();

private:
  tokenizer::Result<std::string_view> take(tokenizer::Status status);

  const Tokenizer &tokenizer;
  bool skipSpecial;
  std::unique_ptr<tokenizer::DecoderChain> chain;
  std::string taken;
};

} // namespace nju

#endif // NJU_RUNTIME_TOKENIZER_TOKENIZER_H
