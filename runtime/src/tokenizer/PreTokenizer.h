//===- PreTokenizer.h - splitting a text into words -------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_RUNTIME_TOKENIZER_PRETOKENIZER_H
#define NJU_RUNTIME_TOKENIZER_PRETOKENIZER_H

#include "Regex.h"

namespace nju::tokenizer {

/// A piece of the text on its way to the model.
struct Piece {
  std::string text;
  bool first = false; ///< Begins at the beginning of the whole text.
  int32_t token = -1; ///< Already a token: not to be split.
};

/// One step of a pre-tokenizer of tokenizer.json.
struct PreTokenizerStep {
  enum class Kind {
    ByteLevel,       ///< Bytes to printable characters; may split by GPT-2.
    Split,           ///< By `pattern` or `regex`.
    Whitespace,      ///< Words and runs of signs.
    WhitespaceSplit, ///< At white space.
    Metaspace,       ///< Spaces become `pattern`, which begins a word.
    Digits,          ///< Numbers, digit by digit if `individual`.
    Punctuation      ///< At punctuation.
  };
  /// What becomes of the text between the pieces.
  enum class Behavior {
    Removed,
    Isolated,
    MergedWithPrevious,
    MergedWithNext,
    Contiguous
  };
  enum class Prepend { Never, First, Always };

  Kind kind;
  std::string pattern = {};
  std::optional<Regex> regex = {};
  Behavior behavior = Behavior::Isolated;
  bool invert = false;              ///< Split: the pattern says what to keep.
  bool individual = false;          ///< Digits: one piece a digit.
  bool split = true;                ///< Metaspace: begin a piece at each space.
  Prepend prepend = Prepend::Never; ///< ByteLevel: space; Metaspace: `pattern`.
};

/// The steps, in order. Immutable after loading.
class PreTokenizer {
public:
  void add(PreTokenizerStep step) { steps.push_back(std::move(step)); }

  /// Splits every piece that is no token yet. Empty pieces disappear.
  Status apply(std::vector<Piece> &pieces) const;

private:
  std::vector<PreTokenizerStep> steps;
};

} // namespace nju::tokenizer

#endif // NJU_RUNTIME_TOKENIZER_PRETOKENIZER_H
