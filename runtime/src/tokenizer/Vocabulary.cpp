//===- Vocabulary.cpp - tokens by number and by text ----------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Vocabulary.h"
#include "Utf8.h"

namespace nju::tokenizer {

Status Vocabulary::reserve(int64_t id, std::string_view text) {
  if (id < 0 || id > maxTokenId)
    return {NJU_DATA_LOSS, "token " + quote(text) + " has number " +
                               std::to_string(id) + ", expected 0 to " +
                               std::to_string(maxTokenId)};
  if (static_cast<size_t>(id) >= tokens.size()) {
    tokens.resize(id + 1);
    kinds.resize(id + 1, TokenKind::Missing);
    inModel.resize(id + 1, false);
  }
  return Status::success();
}

Status Vocabulary::add(int64_t id, std::string text, TokenKind kind) {
  if (Status status = reserve(id, text); !status.ok())
    return status;
  if (kinds[id] != TokenKind::Missing)
    return {NJU_DATA_LOSS, "tokens " + quote(tokens[id]) + " and " +
                               quote(text) + " have the same number " +
                               std::to_string(id)};
  tokens[id] = std::move(text);
  kinds[id] = kind;
  inModel[id] = true;
  return Status::success();
}

Status Vocabulary::replace(int64_t id, std::string text, TokenKind kind) {
  if (Status status = reserve(id, text); !status.ok())
    return status;
  inModel[id] = inModel[id] && tokens[id] == text;
  tokens[id] = std::move(text);
  kinds[id] = kind;
  return Status::success();
}

void Vocabulary::index() {
  ids.clear();
  ids.reserve(tokens.size());
  byteTokens.fill(-1);
  for (int32_t id = 0; id < size(); ++id) {
    if (kinds[id] == TokenKind::Missing || !ids.emplace(tokens[id], id).second)
      continue;
    if (int byte = parseByteToken(tokens[id]); byte >= 0)
      byteTokens[byte] = id;
  }
}

int32_t Vocabulary::find(std::string_view text) const {
  auto found = ids.find(text);
  return found == ids.end() ? -1 : found->second;
}

bool Vocabulary::spaceOnlyBegins(std::string_view space) const {
  for (int32_t id = 0; id < size(); ++id) {
    // The others never take part in merges.
    if (kinds[id] != TokenKind::Normal && kinds[id] != TokenKind::Added)
      continue;
    std::string_view rest = tokens[id];
    while (rest.substr(0, space.size()) == space)
      rest.remove_prefix(space.size());
    if (rest.find(space) != std::string_view::npos)
      return false;
  }
  return findInModel(space) >= 0;
}

int parseByteToken(std::string_view text) {
  if (text.size() != 6 || text.substr(0, 3) != "<0x" || text[5] != '>')
    return -1;
  int value = 0;
  for (char digit : text.substr(3, 2)) {
    if (digit >= '0' && digit <= '9')
      value = value * 16 + (digit - '0');
    else if (digit >= 'A' && digit <= 'F')
      value = value * 16 + (digit - 'A' + 10);
    else if (digit >= 'a' && digit <= 'f')
      value = value * 16 + (digit - 'a' + 10);
    else
      return -1;
  }
  return value;
}

std::string quote(std::string_view text) {
  constexpr size_t shown = 40;
  std::string result = "'";
  for (size_t i = 0; i < text.size();) {
    if (i >= shown) {
      result += "...";
      break;
    }
    Character character = decodeCharacter(text, i);
    if (!character.valid || character.value < 0x20 || character.value == 0x7F) {
      static const char digits[] = "0123456789abcdef";
      for (size_t j = i; j < i + character.length; ++j) {
        auto byte = static_cast<unsigned char>(text[j]);
        result += {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
      }
    } else {
      result.append(text, i, character.length);
    }
    i += character.length;
  }
  return result + "'";
}

} // namespace nju::tokenizer
