//===- Model.h - from words to tokens ---------------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_RUNTIME_TOKENIZER_MODEL_H
#define NJU_RUNTIME_TOKENIZER_MODEL_H

#include "AddedTokens.h"
#include "Merge.h"
#include "Vocabulary.h"

namespace nju::tokenizer {

/// Turns pieces of text into token numbers. Immutable; any number of threads
/// may encode at once.
class Model {
public:
  virtual ~Model() = default;

  /// Appends the tokens of all pieces, in order. The text of pieces that are no
  /// tokens yet is valid UTF-8.
  virtual Status encode(const std::vector<Piece> &pieces,
                        std::vector<int32_t> &tokens) const = 0;
};

/// Byte pair encoding by ranked merges, as tokenizer.json and GPT-2's pair of
/// files describe it.
class BpeModel : public Model {
public:
  struct Options {
    int32_t unknown = -1;      ///< Token of text that has none; -1: an error.
    bool fuseUnknown = false;  ///< One unknown token for a run of such text.
    bool byteFallback = false; ///< Text without a token: its bytes <0x0A>.
    bool ignoreMerges = false; ///< A word that is a token is that token.
    std::string prefix = {};   ///< Of symbols inside a word.
    std::string suffix = {};   ///< Of the last symbol of a word.
  };

  /// `vocabulary` must outlive the model.
  BpeModel(const Vocabulary &vocabulary, Options options);

  /// Takes the merges in the order of their rank. Fails if one of them names a
  /// token that is not in the vocabulary.
  using StringPair = std::pair<std::string_view, std::string_view>;
  Status setMerges(const std::vector<StringPair> &pairs);

  Status encode(const std::vector<Piece> &pieces,
                std::vector<int32_t> &tokens) const override;

private:
  Status symbolsOf(std::string_view word, std::vector<int32_t> &symbols) const;
  bool appendBytes(std::string_view text, std::vector<int32_t> &symbols) const;

  const Vocabulary &vocabulary;
  Options options;
  PairTable merges;
  /// A piece may be cut before the spaces of its words: see
  /// Vocabulary::spaceOnlyBegins.
  bool cutAtSpaces;
};

/// One token a word.
class WordLevelModel : public Model {
public:
  WordLevelModel(const Vocabulary &vocabulary, int32_t unknown)
      : vocabulary(vocabulary), unknown(unknown) {}

  Status encode(const std::vector<Piece> &pieces,
                std::vector<int32_t> &tokens) const override;

private:
  const Vocabulary &vocabulary;
  int32_t unknown;
};

/// Byte pair encoding by scores, as sentencepiece trains it and llama2.c uses
/// it: of all neighbours whose joined text is a token, the one of the highest
/// score merges.
class ScoreBpeModel : public Model {
public:
  struct Options {
    std::string space = " "; ///< How tokens write a space.
    bool addPrefix = true;   ///< A space goes before the text.
    /// Texts that are always one token, whatever merges there are.
    AddedTokenMatcher whole = {};
  };

  /// One score a token. `vocabulary` must outlive the model.
  ScoreBpeModel(const Vocabulary &vocabulary, const std::vector<float> &scores,
                Options options);

  Status encode(const std::vector<Piece> &pieces,
                std::vector<int32_t> &tokens) const override;

private:
  Status symbolsOf(std::string_view text, std::vector<int32_t> &symbols) const;

  const Vocabulary &vocabulary;
  Options options;
  std::vector<uint32_t> ranks; ///< 0 is the highest score.
  bool cutAtSpaces;
};

} // namespace nju::tokenizer

#endif // NJU_RUNTIME_TOKENIZER_MODEL_H
