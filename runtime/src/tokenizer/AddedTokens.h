//===- AddedTokens.h - tokens matched before the model ----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_RUNTIME_TOKENIZER_ADDEDTOKENS_H
#define NJU_RUNTIME_TOKENIZER_ADDEDTOKENS_H

#include "PreTokenizer.h"
#include <array>
#include <map>

namespace nju::tokenizer {

/// A token that is recognised in the text itself, such as <|im_end|>.
struct AddedToken {
  int32_t id = -1;
  std::string content = {};
  bool special = false;    ///< Recognised only if the caller asks for it.
  bool singleWord = false; ///< Not inside a word.
  bool stripLeft = false;  ///< Takes the white space before it.
  bool stripRight = false; ///< Takes the white space after it.
};

/// Longest accepted added token, in bytes.
constexpr size_t maxAddedTokenSize = 1024;

/// Finds added tokens in texts: leftmost first, the longest of those that begin
/// at one place. Immutable after loading.
class AddedTokenMatcher {
public:
  /// `token.content` is what is looked for; the last of equal contents wins.
  Status add(AddedToken token);
  bool empty() const { return tokens.empty(); }

  /// Cuts every piece that is no token yet at the added tokens in it. Special
  /// tokens are left as text unless `parseSpecial`.
  void split(std::vector<Piece> &pieces, bool parseSpecial) const;

  /// The longest token that begins at `position`; null if none does.
  const AddedToken *longestAt(std::string_view text, size_t position) const;

private:
  struct Node {
    std::map<unsigned char, uint32_t> children;
    int32_t token = -1; ///< Index into `tokens`.
  };

  void splitPiece(const Piece &piece, bool parseSpecial,
                  std::vector<Piece> &result) const;

  std::vector<AddedToken> tokens;
  std::vector<Node> nodes{1};
  std::array<bool, 256> begins{}; ///< Bytes with which a token begins.
};

} // namespace nju::tokenizer

#endif // NJU_RUNTIME_TOKENIZER_ADDEDTOKENS_H
