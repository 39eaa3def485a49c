//===- Decoder.cpp - from tokens to text, as they come --------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Decoder.h"
#include "ByteLevel.h"
#include "Normalizer.h"
#include "Utf8.h"
#include <algorithm>

namespace nju::tokenizer {

namespace {

/// The end of every chain: makes valid UTF-8 of the bytes that arrive.
class Assembler : public TokenSink {
public:
  Assembler(std::string &output, bool replaceEachByte)
      : output(output), replaceEachByte(replaceEachByte) {}

  Status push(std::string_view text, TokenKind) override {
    pending += text;
    size_t waiting = incompleteSuffix(pending);
    emit(std::string_view(pending).substr(0, pending.size() - waiting));
    pending.erase(0, pending.size() - waiting);
    return Status::success();
  }

  Status finish() override {
    emit(pending);
    pending.clear();
    return Status::success();
  }

private:
  void emit(std::string_view text) {
    for (size_t i = 0; i < text.size();) {
      Character character = decodeCharacter(text, i);
      unsigned times = replaceEachByte ? character.length : 1;
      if (character.valid)
        output.append(text, i, character.length);
      else
        for (unsigned j = 0; j < times; ++j)
          appendCharacter(output, replacementCharacter);
      i += character.length;
    }
  }

  std::string &output;
  std::string pending;
  bool replaceEachByte;
};

/// A stage that hands on to the next one.
class Stage : public TokenSink {
public:
  Stage(const DecoderStep &step, TokenSink &next) : step(step), next(next) {}
  Status finish() override { return next.finish(); }

protected:
  const DecoderStep &step;
  TokenSink &next;
};

class ReplaceStage : public Stage {
public:
  using Stage::Stage;
  Status push(std::string_view text, TokenKind kind) override {
    if (!step.regex)
      return next.push(replaceAll(text, step.pattern, step.content), kind);
    Result<std::string> replaced = replaceAll(text, *step.regex, step.content);
    if (!replaced.ok())
      return replaced.status();
    return next.push(*replaced, kind);
  }
};

class ByteFallbackStage : public Stage {
public:
  using Stage::Stage;
  Status push(std::string_view text, TokenKind kind) override {
    int byte = parseByteToken(text);
    if (byte < 0)
      return next.push(text, kind);
    char character = static_cast<char>(byte);
    return next.push({&character, 1}, kind);
  }
};

class ByteLevelStage : public Stage {
public:
  using Stage::Stage;
  Status push(std::string_view text, TokenKind kind) override {
    return next.push(charactersToBytes(text), kind);
  }
};

class MetaspaceStage : public Stage {
public:
  using Stage::Stage;
  Status push(std::string_view text, TokenKind kind) override {
    bool drop = first && step.dropLeadingSpace;
    first = false;
    return next.push(replaceAll(text, step.pattern, drop ? "" : " "), kind);
  }

private:
  bool first = true;
};

class JoinStage : public Stage {
public:
  using Stage::Stage;
  Status push(std::string_view text, TokenKind kind) override {
    std::string joined = first ? "" : " ";
    first = false;
    return next.push(joined.append(text), kind);
  }

private:
  bool first = true;
};

/// The space of an end-of-word suffix comes with the next token, because the
/// last token has none.
class SuffixStage : public Stage {
public:
  using Stage::Stage;
  Status push(std::string_view text, TokenKind kind) override {
    std::string out = ended ? " " : "";
    size_t cut = step.pattern.size();
    ended =
        text.size() >= cut && text.substr(text.size() - cut) == step.pattern;
    if (ended)
      text.remove_suffix(cut);
    return next.push(out + replaceAll(text, step.pattern, " "), kind);
  }

private:
  bool ended = false;
};

/// Strips each token by itself.
class StripStage : public Stage {
public:
  using Stage::Stage;
  Status push(std::string_view text, TokenKind kind) override {
    for (size_t i = 0; i < step.start && begins(text); ++i)
      text.remove_prefix(step.content.size());
    for (size_t i = 0; i < step.stop && ends(text); ++i)
      text.remove_suffix(step.content.size());
    return next.push(text, kind);
  }

private:
  bool begins(std::string_view text) const {
    return text.substr(0, step.content.size()) == step.content;
  }
  bool ends(std::string_view text) const {
    return text.size() >= step.content.size() &&
           text.substr(text.size() - step.content.size()) == step.content;
  }
};

/// Strips the whole text, of which the tokens are parts. As many `content` as
/// may have to go at the end wait until something follows.
class StripTextStage : public Stage {
public:
  using Stage::Stage;

  Status push(std::string_view text, TokenKind kind) override {
    pending += text;
    if (atStart && !stripStart())
      return Status::success();
    size_t keep = 0, size = step.content.size();
    std::string_view rest = pending;
    for (; keep < step.stop && rest.size() >= size &&
           rest.substr(rest.size() - size) == step.content;
         ++keep)
      rest.remove_suffix(size);
    std::string ready(rest);
    pending.erase(0, ready.size());
    return next.push(ready, kind);
  }

  Status finish() override {
    std::string_view rest = pending;
    size_t size = step.content.size();
    for (size_t i = 0; i < step.stop && rest.size() >= size &&
                       rest.substr(rest.size() - size) == step.content;
         ++i)
      rest.remove_suffix(size);
    Status status = next.push(rest, TokenKind::Normal);
    pending.clear();
    return status.ok() ? next.finish() : status;
  }

private:
  /// Returns false while nothing but `content` has been seen.
  bool stripStart() {
    while (removed < step.start &&
           pending.compare(0, step.content.size(), step.content) == 0) {
      pending.erase(0, step.content.size());
      ++removed;
    }
    bool mayStillStrip = removed < step.start && pending.empty();
    atStart = mayStillStrip;
    return !mayStillStrip;
  }

  std::string pending;
  size_t removed = 0;
  bool atStart = true;
};

class SentencePieceStage : public Stage {
public:
  using Stage::Stage;

  Status push(std::string_view text, TokenKind kind) override {
    if (kind == TokenKind::Control) {
      if (step.dropAfterControl)
        expectSpace = true;
      else if (!text.empty())
        expectSpace = false;
      return next.push(text, kind);
    }
    if (kind == TokenKind::Byte || kind == TokenKind::Unknown) {
      expectSpace = false;
      char byte = static_cast<char>(parseByteToken(text));
      return kind == TokenKind::Byte ? next.push({&byte, 1}, kind)
                                     : next.push(step.unknown, kind);
    }
    if (expectSpace && step.dropLeadingSpace && begins(text)) {
      text.remove_prefix(step.pattern.size());
      expectSpace = step.dropRepeatedly && text.empty();
    } else if (!text.empty()) {
      expectSpace = false;
    }
    return next.push(replaceAll(text, step.pattern, " "), kind);
  }

private:
  bool begins(std::string_view text) const {
    return text.substr(0, step.pattern.size()) == step.pattern;
  }

  bool expectSpace = true;
};

std::unique_ptr<TokenSink> makeStage(const DecoderStep &step, TokenSink &next,
                                     bool fused) {
  using Kind = DecoderStep::Kind;
  switch (step.kind) {
  case Kind::Replace:
    return std::make_unique<ReplaceStage>(step, next);
  case Kind::ByteFallback:
    return std::make_unique<ByteFallbackStage>(step, next);
  case Kind::Strip:
    if (fused)
      return std::make_unique<StripTextStage>(step, next);
    return std::make_unique<StripStage>(step, next);
  case Kind::Metaspace:
    return std::make_unique<MetaspaceStage>(step, next);
  case Kind::ByteLevel:
    return std::make_unique<ByteLevelStage>(step, next);
  case Kind::Suffix:
    return std::make_unique<SuffixStage>(step, next);
  case Kind::Join:
    return std::make_unique<JoinStage>(step, next);
  case Kind::SentencePiece:
    return std::make_unique<SentencePieceStage>(step, next);
  case Kind::Fuse:
    break;
  }
  return nullptr;
}

} // namespace

DecoderChain::DecoderChain(const Decoder &decoder) {
  using Kind = DecoderStep::Kind;
  std::vector<bool> fused;
  bool nowFused = false;
  for (const DecoderStep &step : decoder.steps) {
    fused.push_back(nowFused);
    nowFused |= step.kind == Kind::Fuse || step.kind == Kind::ByteLevel;
  }
  stages.push_back(
      std::make_unique<Assembler>(*output, decoder.replaceEachByte));
  for (size_t i = decoder.steps.size(); i-- > 0;)
    if (auto stage = makeStage(decoder.steps[i], *stages.back(), fused[i]))
      stages.push_back(std::move(stage));
  std::reverse(stages.begin(), stages.end());
}

} // namespace nju::tokenizer
