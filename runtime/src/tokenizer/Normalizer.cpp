//===- Normalizer.cpp - changing a text before it is split ----------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Normalizer.h"
#include "ByteLevel.h"
#include "Utf8.h"
#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>

namespace nju::tokenizer {

namespace {

const icu::Normalizer2 *unicodeForm(NormalizerStep::Kind kind,
                                    UErrorCode &error) {
  switch (kind) {
  case NormalizerStep::Kind::Nfc:
    return icu::Normalizer2::getNFCInstance(error);
  case NormalizerStep::Kind::Nfd:
    return icu::Normalizer2::getNFDInstance(error);
  case NormalizerStep::Kind::Nfkc:
    return icu::Normalizer2::getNFKCInstance(error);
  default:
    return icu::Normalizer2::getNFKDInstance(error);
  }
}

Status applyUnicodeForm(NormalizerStep::Kind kind, std::string &text) {
  UErrorCode error = U_ZERO_ERROR;
  const icu::Normalizer2 *form = unicodeForm(kind, error);
  std::string result;
  result.reserve(text.size());
  icu::StringByteSink<std::string> sink(&result);
  if (U_SUCCESS(error))
    form->normalizeUTF8(
        0, icu::StringPiece(text.data(), static_cast<int32_t>(text.size())),
        sink, nullptr, error);
  if (U_FAILURE(error))
    return {NJU_INTERNAL,
            std::string("Unicode normalization failed: ") + u_errorName(error)};
  text = std::move(result);
  return Status::success();
}

void lowercase(std::string &text) {
  std::string result;
  result.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    Character character = decodeCharacter(text, i);
    // The one character whose lower case is two characters in every context.
    if (character.value == 0x130)
      result += "i\u0307";
    else
      appendCharacter(result, u_tolower(character.value));
    i += character.length;
  }
  text = std::move(result);
}

void stripAccents(std::string &text) {
  std::string result;
  result.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    Character character = decodeCharacter(text, i);
    uint32_t mask = U_MASK(u_charType(character.value));
    if (!(mask & U_GC_M_MASK))
      result.append(text, i, character.length);
    i += character.length;
  }
  text = std::move(result);
}

void strip(std::string &text, bool left, bool right) {
  size_t begin = text.size(), end = 0;
  for (size_t i = 0; i < text.size();) {
    Character character = decodeCharacter(text, i);
    if (!isWhitespace(character.value)) {
      begin = std::min(begin, i);
      end = i + character.length;
    }
    i += character.length;
  }
  if (begin == text.size()) {
    if (left || right)
      text.clear();
    return;
  }
  text = text.substr(left ? begin : 0,
                     (right ? end : text.size()) - (left ? begin : 0));
}

Status applyStep(const NormalizerStep &step, std::string &text) {
  using Kind = NormalizerStep::Kind;
  switch (step.kind) {
  case Kind::Nfc:
  case Kind::Nfd:
  case Kind::Nfkc:
  case Kind::Nfkd:
    return applyUnicodeForm(step.kind, text);
  case Kind::Lowercase:
    lowercase(text);
    break;
  case Kind::StripAccents:
    stripAccents(text);
    break;
  case Kind::Strip:
    strip(text, step.left, step.right);
    break;
  case Kind::Prepend:
    if (!text.empty())
      text.insert(0, step.content);
    break;
  case Kind::Replace:
    if (step.regex) {
      Result<std::string> replaced =
          replaceAll(text, *step.regex, step.content);
      if (!replaced.ok())
        return replaced.status();
      text = std::move(*replaced);
    } else {
      text = replaceAll(text, step.pattern, step.content);
    }
    break;
  case Kind::ByteLevel:
    text = bytesToCharacters(text);
    break;
  }
  return Status::success();
}

} // namespace

Status Normalizer::apply(std::string &text) const {
  for (const NormalizerStep &step : steps)
    if (Status status = applyStep(step, text); !status.ok())
      return status;
  return Status::success();
}

std::string replaceAll(std::string_view text, std::string_view pattern,
                       std::string_view content) {
  std::string result;
  result.reserve(text.size());
  for (size_t position = 0;;) {
    size_t found = text.find(pattern, position);
    if (found == std::string_view::npos) {
      result.append(text, position);
      return result;
    }
    result.append(text, position, found - position).append(content);
    position = found + pattern.size();
  }
}

Result<std::string> replaceAll(std::string_view text, const Regex &regex,
                               std::string_view content) {
  std::vector<Range> matches;
  if (Status status = regex.findAll(text, matches); !status.ok())
    return status;
  std::string result;
  result.reserve(text.size());
  size_t position = 0;
  for (Range match : matches) {
    result.append(text, position, match.begin - position).append(content);
    position = match.end;
  }
  result.append(text, position);
  return result;
}

} // namespace nju::tokenizer
