//===- SentencePiece.cpp - models of sentencepiece ------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Parts.h"
#include "SentencePieceProto.h"
#include <sentencepiece_processor.h>

// The library prints its errors; we return them. This function is exported by
// every release, but only the newer ones declare it in the public header.
namespace sentencepiece::logging {
void SetMinLogLevel(int level);
}

namespace nju::tokenizer {

namespace {

class SentencePieceModel : public Model {
public:
  Status load(std::string_view bytes) {
    constexpr int fatalOnly = 3;
    sentencepiece::logging::SetMinLogLevel(fatalOnly);
    auto status =
        processor.LoadFromSerializedProto({bytes.data(), bytes.size()});
    if (status.ok())
      return Status::success();
    return {NJU_DATA_LOSS,
            std::string("the sentencepiece library refuses the model: ") +
                status.error_message()};
  }

  Status encode(const std::vector<Piece> &pieces,
                std::vector<int32_t> &tokens) const override {
    Cache cache;
    for (const Piece &piece : pieces) {
      if (piece.token >= 0) {
        tokens.push_back(piece.token);
        continue;
      }
      Status status = cutAtSpaces ? encodeWords(piece.text, cache, tokens)
                                  : encodeWord(piece.text, cache, tokens);
      if (!status.ok())
        return status;
    }
    return Status::success();
  }

  /// Whether a text may be encoded word by word, which is several times faster:
  /// the library's own space before the word stands for the one in the text.
  /// Set after loading.
  bool cutAtSpaces = false;
  int32_t space = -1; ///< The token of a space.

  sentencepiece::SentencePieceProcessor processor;

private:
  struct Cache {
    static constexpr size_t longestWord = 64;
    std::unordered_map<std::string_view, std::vector<int>> known;
    std::vector<int> ids;
  };

  Status encodeWords(std::string_view text, Cache &cache,
                     std::vector<int32_t> &tokens) const {
    for (bool first = true; !text.empty(); first = false) {
      size_t size = wordSize(text);
      // The library puts a space before each word; this one has it already. It
      // puts none before nothing, as at a space that ends the text.
      std::string_view word =
          text.substr(first ? 0 : 1, size - (first ? 0 : 1));
      if (word.empty())
        tokens.push_back(space);
      else if (Status status = encodeWord(word, cache, tokens); !status.ok())
        return status;
      text.remove_prefix(size);
    }
    return Status::success();
  }

  /// To before the first space that follows neither a space nor its symbol.
  static size_t wordSize(std::string_view text) {
    for (size_t size = firstWord(text, " ");;) {
      std::string_view word = text.substr(0, size);
      if (size == text.size() || word.size() < spaceSymbol.size() ||
          word.substr(size - spaceSymbol.size()) != spaceSymbol)
        return size;
      size += firstWord(text.substr(size), " ");
    }
  }

  Status encodeWord(std::string_view word, Cache &cache,
                    std::vector<int32_t> &tokens) const {
    auto found = cache.known.find(word);
    const std::vector<int> *ids = &cache.ids;
    if (found != cache.known.end()) {
      ids = &found->second;
    } else {
      auto status = processor.Encode({word.data(), word.size()}, &cache.ids);
      if (!status.ok())
        return {NJU_INTERNAL, std::string("sentencepiece cannot encode: ") +
                                  status.error_message()};
      if (word.size() <= Cache::longestWord)
        cache.known.emplace(word, cache.ids);
    }
    tokens.insert(tokens.end(), ids->begin(), ids->end());
    return Status::success();
  }
};

/// Whether no token, user-defined text or normalization reaches over the
/// beginning of a word, so that words are encoded alike alone and in a text.
bool wordsAreIndependent(const SentencePieceProto &model,
                         const Vocabulary &vocabulary) {
  for (const SentencePieceProto::Piece &piece : model.pieces)
    if (piece.type == SentencePieceProto::Type::UserDefined &&
        (piece.text.find(' ') != std::string_view::npos ||
         piece.text.find(spaceSymbol) != std::string_view::npos))
      return false;
  return model.addDummyPrefix && !model.removeExtraWhitespace &&
         !model.whitespaceAsSuffix && model.escapeWhitespace &&
         model.characterMap.empty() && vocabulary.spaceOnlyBegins();
}

TokenKind kindOf(SentencePieceProto::Type type) {
  switch (type) {
  case SentencePieceProto::Type::Unknown:
    return TokenKind::Unknown;
  case SentencePieceProto::Type::Control:
    return TokenKind::Control;
  case SentencePieceProto::Type::UserDefined:
    return TokenKind::Added;
  case SentencePieceProto::Type::Byte:
    return TokenKind::Byte;
  default:
    return TokenKind::Normal;
  }
}

/// Tokens, and the matcher of those that sentencepiece never makes from text.
Status addPieces(const SentencePieceProto &model, Parts &parts) {
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    std::string text(model.pieces[i].text);
    TokenKind kind = kindOf(model.pieces[i].type);
    if (kind == TokenKind::Control) {
      AddedToken token;
      token.id = static_cast<int32_t>(i);
      token.content = text;
      token.special = true;
      if (Status status = parts.addedTokens.add(token); !status.ok())
        return status;
    }
    Status status =
        parts.vocabulary.add(static_cast<int64_t>(i), std::move(text), kind);
    if (!status.ok())
      return status;
  }
  parts.vocabulary.index();
  return Status::success();
}

} // namespace

PartsResult loadSentencePiece(std::string_view bytes) {
  Result<SentencePieceProto> proto = parseSentencePiece(bytes);
  if (!proto.ok())
    return proto.status();
  auto parts = std::make_unique<Parts>();
  if (Status status = addPieces(*proto, *parts); !status.ok())
    return status;
  auto model = std::make_unique<SentencePieceModel>();
  if (Status status = model->load(bytes); !status.ok())
    return status;

  model->cutAtSpaces = wordsAreIndependent(*proto, parts->vocabulary);
  model->space = parts->vocabulary.find(spaceSymbol);

  // Models with a begin token are trained with it; -1 says there is none.
  parts->bos = model->processor.bos_id();
  if (parts->bos >= 0)
    parts->prefix = {parts->bos};
  if (int eos = model->processor.eos_id(); eos >= 0)
    parts->eos = parts->suffix = {eos};
  parts->model = std::move(model);

  DecoderStep step{DecoderStep::Kind::SentencePiece};
  step.pattern = std::string(spaceSymbol);
  step.unknown = std::string(proto->unknownSurface);
  step.dropLeadingSpace = proto->addDummyPrefix || proto->removeExtraWhitespace;
  step.dropRepeatedly = proto->removeExtraWhitespace;
  parts->decoder.steps.push_back(std::move(step));
  parts->decoder.replaceEachByte = true;
  return parts;
}

} // namespace nju::tokenizer
