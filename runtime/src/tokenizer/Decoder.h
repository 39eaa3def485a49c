//===- Decoder.h - from tokens to text, as they come ------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A decoder is a chain of stages that tokens are pushed through one by one, so
// that a whole sequence and a stream give the same text. What cannot be known
// yet (half a character, white space that may have to go) waits in its stage.
//
//===----------------------------------------------------------------------===//

#ifndef NJU_RUNTIME_TOKENIZER_DECODER_H
#define NJU_RUNTIME_TOKENIZER_DECODER_H

#include "Regex.h"
#include "Vocabulary.h"

namespace nju::tokenizer {

/// One step of a decoder.
struct DecoderStep {
  enum class Kind {
    Replace,      ///< `pattern` (or match of `regex`) in each token.
    ByteFallback, ///< <0x0A> becomes its byte.
    Fuse,         ///< All further steps see one long token.
    Strip,        ///< Up to `start` and `stop` times `content` at the ends.
    Metaspace,    ///< `pattern` becomes a space; dropped in the first token.
    ByteLevel,    ///< Printable characters to bytes; fuses.
    Suffix,       ///< `pattern` (end of word) becomes a space.
    Join,         ///< A space between tokens: no decoder at all.
    SentencePiece ///< U+2581 is a space, a leading one is dropped.
  };
  Kind kind;
  std::string pattern = {};
  std::string content = {};
  std::optional<Regex> regex = {};
  size_t start = 0, stop = 0;
  bool dropLeadingSpace = true;  ///< Metaspace, SentencePiece.
  bool dropRepeatedly = false;   ///< SentencePiece: until there is text.
  bool dropAfterControl = false; ///< SentencePiece: after <s> too.
  std::string unknown = {};      ///< SentencePiece: text of unknown tokens.
};

/// The steps, in order. Immutable after loading.
struct Decoder {
  std::vector<DecoderStep> steps;
  /// One U+FFFD for each byte that forms no character, instead of one for each
  /// maximal subpart.
  bool replaceEachByte = false;
};

/// Where a stage puts what it has made.
class TokenSink {
public:
  virtual ~TokenSink() = default;
  virtual Status push(std::string_view text, TokenKind kind) = 0;
  virtual Status finish() = 0;
};

/// A chain of stages and the text that came out at its end.
class DecoderChain {
public:
  /// `decoder` must outlive the chain.
  explicit DecoderChain(const Decoder &decoder);
  DecoderChain(DecoderChain &&) = default;

  /// Pushes a token; text that is certain now is appended to text().
  Status push(std::string_view token, TokenKind kind) {
    return stages.front()->push(token, kind);
  }
  /// Lets out what waits: half characters become U+FFFD.
  Status finish() { return stages.front()->finish(); }

  std::string &text() { return *output; }

private:
  std::unique_ptr<std::string> output = std::make_unique<std::string>();
  std::vector<std::unique_ptr<TokenSink>> stages;
};

} // namespace nju::tokenizer

#endif // NJU_RUNTIME_TOKENIZER_DECODER_H
