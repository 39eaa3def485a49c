//===- Vocabulary.h - tokens by number and by text --------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_RUNTIME_TOKENIZER_VOCABULARY_H
#define NJU_RUNTIME_TOKENIZER_VOCABULARY_H

#include "Result.h"
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace nju::tokenizer {

/// What a token stands for.
enum class TokenKind : uint8_t {
  Missing, ///< No token has this number.
  Normal,  ///< Its text.
  Added,   ///< Its text, matched before the model sees the text.
  Control, ///< A mark such as <s>: never made from ordinary text.
  Unknown, ///< Any text that has no token.
  Byte     ///< One byte, written <0x0A>.
};

/// Largest token number that is accepted: a damaged file must not make us
/// reserve memory for billions of tokens.
constexpr int32_t maxTokenId = (1 << 22) - 1;

/// The tokens of a tokenizer. Filled by a loader, then frozen by index();
/// immutable and safe to share afterwards.
class Vocabulary {
public:
  /// Puts a token at `id`. Refuses numbers out of range and a second token of
  /// the same number.
  Status add(int64_t id, std::string text, TokenKind kind);

  /// Puts an added token at `id`, in the place of what was there. The model
  /// does not know it unless it has a token of this number and text itself.
  Status replace(int64_t id, std::string text, TokenKind kind);

  /// Builds the table behind find. The lowest number wins where two tokens
  /// have the same text. Call once, after the last add.
  void index();

  /// Highest token number plus one.
  int32_t size() const { return static_cast<int32_t>(tokens.size()); }
  bool contains(int32_t id) const {
    return id >= 0 && id < size() && kinds[id] != TokenKind::Missing;
  }
  std::string_view text(int32_t id) const { return tokens[id]; }
  TokenKind kind(int32_t id) const { return kinds[id]; }

  /// Number of the token with this text; -1 if there is none.
  int32_t find(std::string_view text) const;

  /// The same among the tokens that the model itself knows.
  int32_t findInModel(std::string_view text) const {
    int32_t id = find(text);
    return id >= 0 && inModel[id] ? id : -1;
  }

  /// Whether `space` is a token and stands nowhere but at the beginning of
  /// tokens (or in runs of itself). Then no token, and so no merge, reaches
  /// over the beginning of a word.
  bool spaceOnlyBegins(std::string_view space) const;

  /// Number of the token <0xXX> of a byte; -1 if there is none.
  int32_t byteToken(uint8_t byte) const { return byteTokens[byte]; }

private:
  Status reserve(int64_t id, std::string_view text);

  std::vector<std::string> tokens;
  std::vector<TokenKind> kinds;
  std::vector<bool> inModel;
  std::unordered_map<std::string_view, int32_t> ids;
  std::array<int32_t, 256> byteTokens{};
};

/// U+2581, which stands for a space in the tokens of sentencepiece.
constexpr std::string_view spaceSymbol = "\xE2\x96\x81";

/// The byte that a token of the form <0x0A> stands for; -1 for other texts.
int parseByteToken(std::string_view text);

/// `text` in quotes for a message: shortened, control characters escaped.
std::string quote(std::string_view text);

} // namespace nju::tokenizer

#endif // NJU_RUNTIME_TOKENIZER_VOCABULARY_H
