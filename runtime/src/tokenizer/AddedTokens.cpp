//===- AddedTokens.cpp - tokens matched before the model ------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "AddedTokens.h"
#include "Utf8.h"
#include "Vocabulary.h"
#include <unicode/uchar.h>

namespace nju::tokenizer {

namespace {

bool isWord(char32_t c) {
  return u_hasBinaryProperty(c, UCHAR_ALPHABETIC) || u_isalnum(c) || c == '_';
}

bool endsWithWord(std::string_view text) {
  size_t begin = text.size();
  while (begin > 0 &&
         (static_cast<unsigned char>(text[--begin]) & 0xC0) == 0x80)
    ;
  return !text.empty() && isWord(decodeCharacter(text, begin).value);
}

bool startsWithWord(std::string_view text) {
  return !text.empty() && isWord(decodeCharacter(text, 0).value);
}

/// Start of the white space at the end of `text`.
size_t trailingSpace(std::string_view text) {
  size_t begin = text.size();
  while (begin > 0) {
    size_t previous = begin - 1;
    while (previous > 0 &&
           (static_cast<unsigned char>(text[previous]) & 0xC0) == 0x80)
      --previous;
    if (!isWhitespace(decodeCharacter(text, previous).value))
      break;
    begin = previous;
  }
  return begin;
}

/// Length of the white space at the start of `text`.
size_t leadingSpace(std::string_view text) {
  size_t end = 0;
  while (end < text.size()) {
    Character character = decodeCharacter(text, end);
    if (!isWhitespace(character.value))
      break;
    end += character.length;
  }
  return end;
}

} // namespace

Status AddedTokenMatcher::add(AddedToken token) {
  if (token.content.empty())
    return Status::success(); // Matches nothing.
  if (token.content.size() > maxAddedTokenSize)
    return {NJU_DATA_LOSS, "added token " + quote(token.content) + " has " +
                               std::to_string(token.content.size()) +
                               " bytes, expected at most " +
                               std::to_string(maxAddedTokenSize)};
  uint32_t node = 0;
  for (char c : token.content) {
    auto next = static_cast<uint32_t>(nodes.size());
    auto [child, added] =
        nodes[node].children.emplace(static_cast<unsigned char>(c), next);
    node = child->second;
    if (added)
      nodes.emplace_back();
  }
  begins[static_cast<unsigned char>(token.content[0])] = true;
  nodes[node].token = static_cast<int32_t>(tokens.size());
  tokens.push_back(std::move(token));
  return Status::success();
}

const AddedToken *AddedTokenMatcher::longestAt(std::string_view text,
                                               size_t position) const {
  if (!begins[static_cast<unsigned char>(text[position])])
    return nullptr;
  const AddedToken *longest = nullptr;
  uint32_t node = 0;
  for (size_t i = position; i < text.size(); ++i) {
    auto child = nodes[node].children.find(static_cast<unsigned char>(text[i]));
    if (child == nodes[node].children.end())
      break;
    node = child->second;
    if (nodes[node].token >= 0)
      longest = &tokens[nodes[node].token];
  }
  return longest;
}

void AddedTokenMatcher::splitPiece(const Piece &piece, bool parseSpecial,
                                   std::vector<Piece> &result) const {
  std::string_view text = piece.text;
  auto put = [&](size_t begin, size_t end, int32_t token) {
    if (begin < end)
      result.push_back({std::string(text.substr(begin, end - begin)),
                        piece.first && begin == 0, token});
  };
  size_t done = 0;
  for (size_t i = 0; i < text.size();) {
    const AddedToken *token = longestAt(text, i);
    if (!token) {
      ++i;
      continue;
    }
    size_t begin = i, end = i + token->content.size();
    i = end;
    if (token->special && !parseSpecial)
      continue;
    if (token->singleWord && (endsWithWord(text.substr(0, begin)) ||
                              startsWithWord(text.substr(end))))
      continue;
    if (token->stripLeft)
      begin = std::max(done, trailingSpace(text.substr(0, begin)));
    if (token->stripRight)
      end += leadingSpace(text.substr(end));
    put(done, begin, -1);
    put(begin, end, token->id);
    done = i = end;
  }
  put(done, text.size(), -1);
}

void AddedTokenMatcher::split(std::vector<Piece> &pieces,
                              bool parseSpecial) const {
  if (empty())
    return;
  std::vector<Piece> result;
  for (Piece &piece : pieces)
    if (piece.token >= 0)
      result.push_back(std::move(piece));
    else
      splitPiece(piece, parseSpecial, result);
  pieces = std::move(result);
}

} // namespace nju::tokenizer
