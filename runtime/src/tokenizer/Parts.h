//===- Parts.h - what a tokenizer is made of --------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_RUNTIME_TOKENIZER_PARTS_H
#define NJU_RUNTIME_TOKENIZER_PARTS_H

#include "AddedTokens.h"
#include "Decoder.h"
#include "Model.h"
#include "Normalizer.h"
#include "Tokenizer.h"

namespace nju::tokenizer {

/// Every format is loaded into this. Stays where it is once made, because the
/// model refers to the vocabulary.
struct Parts {
  Parts() = default;
  Parts(const Parts &) = delete;

  Vocabulary vocabulary;
  AddedTokenMatcher addedTokens;           ///< Matched in the original text.
  AddedTokenMatcher normalizedAddedTokens; ///< Matched after the normalizer.
  Normalizer normalizer;
  PreTokenizer preTokenizer;
  std::unique_ptr<Model> model;
  Decoder decoder;
  std::vector<int32_t> prefix, suffix; ///< What goes round a text.
  int32_t bos = -1;
  std::vector<int32_t> eos;
};

using PartsResult = Result<std::unique_ptr<Parts>>;

/// tokenizer.json of Hugging Face, or GPT-2's vocab.json with files.merges.
PartsResult loadJson(const TokenizerFiles &files);
/// A model of sentencepiece.
PartsResult loadSentencePiece(std::string_view bytes);
/// tokenizer.bin of llama2.c.
PartsResult loadLlama2c(std::string_view bytes);

/// Whether the bytes can be a tokenizer.bin: a small positive longest token
/// length and a first entry that fits.
bool looksLikeLlama2c(std::string_view bytes);

} // namespace nju::tokenizer

#endif // NJU_RUNTIME_TOKENIZER_PARTS_H
