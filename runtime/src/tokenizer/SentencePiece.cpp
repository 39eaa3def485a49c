//===- SentencePiece.cpp - models of sentencepiece ------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Parts.h"
#include "SentencePieceProto.h"
#include "Utf8.h"
#include <sentencepiece_processor.h>

// The library prints its errors; we return them. This function is exported by
// every release, but only the newer ones declare it in the public header.
namespace sentencepiece::logging {
void SetMinLogLevel(int level);
}

namespace nju::tokenizer {

namespace {

/// Any model, by way of the library.
class LibraryModel : public Model {
public:
  Status load(std::string_view bytes) {
    constexpr int fatalOnly = 3;
    static const bool quiet =
        (sentencepiece::logging::SetMinLogLevel(fatalOnly), true);
    static_cast<void>(quiet);
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
    std::vector<int> ids;
    for (const Piece &piece : pieces) {
      if (piece.token >= 0) {
        tokens.push_back(piece.token);
        continue;
      }
      auto status =
          processor.Encode({piece.text.data(), piece.text.size()}, &ids);
      if (!status.ok())
        return {NJU_INTERNAL, std::string("sentencepiece cannot encode: ") +
                                  status.error_message()};
      tokens.insert(tokens.end(), ids.begin(), ids.end());
    }
    return Status::success();
  }

private:
  sentencepiece::SentencePieceProcessor processor;
};

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

/// Whether each character of the pieces is a piece, so that merging may begin
/// with them.
bool charactersArePieces(const Vocabulary &vocabulary) {
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    std::string_view text = vocabulary.text(id);
    if (vocabulary.kind(id) != TokenKind::Normal)
      continue;
    for (size_t i = 0; i < text.size();) {
      size_t length = decodeCharacter(text, i).length;
      int32_t token = vocabulary.find(text.substr(i, length));
      if (token < 0 || vocabulary.kind(token) != TokenKind::Normal)
        return false;
      i += length;
    }
  }
  return true;
}

/// Whether the model is byte pair encoding without normalization, as those of
/// language models are. Our own merging is several times as fast as the
/// library's. Above all it works in a program that uses protocol buffers: the
/// library exports its own old copy of them and fails beside another one.
bool isPlainBpe(const SentencePieceProto &model, const Vocabulary &vocabulary) {
  using Type = SentencePieceProto::Type;
  size_t unknown = 0;
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const SentencePieceProto::Piece &piece = model.pieces[i];
    unknown += piece.type == Type::Unknown;
    bool spaced = piece.type == Type::UserDefined &&
                  piece.text.find(' ') != std::string_view::npos;
    bool unique = vocabulary.find(piece.text) == static_cast<int32_t>(i);
    if (spaced || !unique || piece.type == Type::Unused)
      return false;
  }
  for (int byte = 0; byte < 256; ++byte) {
    int32_t token = vocabulary.byteToken(static_cast<uint8_t>(byte));
    if (token < 0 || vocabulary.kind(token) != TokenKind::Byte)
      return false;
  }
  return unknown == 1 && model.kind == SentencePieceProto::Kind::Bpe &&
         model.byteFallback && model.characterMap.empty() &&
         model.escapeWhitespace && !model.removeExtraWhitespace &&
         !model.whitespaceAsSuffix && charactersArePieces(vocabulary);
}

Result<std::unique_ptr<Model>> makePlainBpe(const SentencePieceProto &model,
                                            const Vocabulary &vocabulary) {
  ScoreBpeModel::Options options;
  options.space = std::string(spaceSymbol);
  options.addPrefix = model.addDummyPrefix;
  std::vector<float> scores;
  for (const SentencePieceProto::Piece &piece : model.pieces) {
    if (piece.type == SentencePieceProto::Type::UserDefined) {
      AddedToken token;
      token.id = static_cast<int32_t>(scores.size());
      token.content = std::string(piece.text);
      if (Status status = options.whole.add(std::move(token)); !status.ok())
        return status;
    }
    scores.push_back(piece.score);
  }
  return std::unique_ptr<Model>(
      std::make_unique<ScoreBpeModel>(vocabulary, scores, std::move(options)));
}

Result<std::unique_ptr<Model>> makeModel(std::string_view bytes,
                                         const SentencePieceProto &proto,
                                         const Vocabulary &vocabulary) {
  if (isPlainBpe(proto, vocabulary))
    return makePlainBpe(proto, vocabulary);
  auto model = std::make_unique<LibraryModel>();
  if (Status status = model->load(bytes); !status.ok())
    return status;
  return std::unique_ptr<Model>(std::move(model));
}

/// The control piece with this name; -1 if there is none.
int32_t findControl(std::string_view name, std::string_view usual,
                    const Vocabulary &vocabulary) {
  int32_t token = vocabulary.find(name.empty() ? usual : name);
  bool control = token >= 0 && vocabulary.kind(token) == TokenKind::Control;
  return control ? token : -1;
}

} // namespace

PartsResult loadSentencePiece(std::string_view bytes) {
  Result<SentencePieceProto> proto = parseSentencePiece(bytes);
  if (!proto.ok())
    return proto.status();
  auto parts = std::make_unique<Parts>();
  if (Status status = addPieces(*proto, *parts); !status.ok())
    return status;
  Result<std::unique_ptr<Model>> model =
      makeModel(bytes, *proto, parts->vocabulary);
  if (!model.ok())
    return model.status();
  parts->model = std::move(*model);

  // Models with a begin token are trained with it.
  parts->bos = findControl(proto->beginPiece, "<s>", parts->vocabulary);
  if (parts->bos >= 0)
    parts->prefix = {parts->bos};
  int32_t eos = findControl(proto->endPiece, "</s>", parts->vocabulary);
  if (eos >= 0)
    parts->eos = parts->suffix = {eos};

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
