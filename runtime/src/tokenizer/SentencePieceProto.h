//===- SentencePieceProto.h - checking sentencepiece models -----*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The sentencepiece library trusts the models that it loads: it follows the
// offsets of the normalization table without a look at its size (CVE-2026-1260)
// and ends the process on some contradictions. So a model is read here first,
// and refused unless every offset in it stays inside.
//
//===----------------------------------------------------------------------===//

#ifndef NJU_RUNTIME_TOKENIZER_SENTENCEPIECEPROTO_H
#define NJU_RUNTIME_TOKENIZER_SENTENCEPIECEPROTO_H

#include "Result.h"
#include <cstdint>
#include <string_view>
#include <vector>

namespace nju::tokenizer {

/// What we need of the ModelProto of sentencepiece_model.proto. Views refer to
/// the parsed bytes.
struct SentencePieceProto {
  enum class Type {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6
  };
  struct Piece {
    std::string_view text;
    float score = 0;
    Type type = Type::Normal;
  };

  enum class Kind { Unigram = 1, Bpe = 2, Word = 3, Character = 4 };

  std::vector<Piece> pieces;
  Kind kind = Kind::Unigram;
  bool byteFallback = false;
  std::string_view beginPiece = "<s>", endPiece = "</s>";
  std::string_view unknownSurface = " \xE2\x81\x87 ";
  std::string_view characterMap;    ///< Of the normalizer.
  std::string_view denormalizerMap; ///< Of the denormalizer.
  bool addDummyPrefix = true;
  bool removeExtraWhitespace = true;
  bool escapeWhitespace = true;
  bool whitespaceAsSuffix = false;
};

/// Reads and checks a model.
Result<SentencePieceProto> parseSentencePiece(std::string_view bytes);

/// Checks that no lookup in a precompiled normalization table leaves it.
Status checkCharacterMap(std::string_view map);

} // namespace nju::tokenizer

#endif // NJU_RUNTIME_TOKENIZER_SENTENCEPIECEPROTO_H
