//===- PreTokenizer.cpp - splitting a text into words ---------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "PreTokenizer.h"
#include "ByteLevel.h"
#include "Normalizer.h"
#include "Utf8.h"
#include <unicode/uchar.h>

namespace nju::tokenizer {

namespace {

using Behavior = PreTokenizerStep::Behavior;

/// A stretch of the text that is, or is not, the delimiter.
struct Stretch {
  size_t begin, end;
  bool match;
};
using Stretches = std::vector<Stretch>;

/// Fills the gaps between matches, so that the stretches cover the text.
Stretches cover(size_t size, const std::vector<Range> &matches) {
  Stretches stretches;
  size_t position = 0;
  for (Range match : matches) {
    if (match.begin > position)
      stretches.push_back({position, match.begin, false});
    stretches.push_back({match.begin, match.end, true});
    position = match.end;
  }
  if (position < size)
    stretches.push_back({position, size, false});
  return stretches;
}

/// Every character for which `test` holds is a match of its own.
template <typename Test>
Stretches matchCharacters(std::string_view text, Test &&test) {
  std::vector<Range> matches;
  for (size_t i = 0; i < text.size();) {
    Character character = decodeCharacter(text, i);
    if (test(character.value))
      matches.push_back({i, i + character.length});
    i += character.length;
  }
  return cover(text.size(), matches);
}

Stretches matchString(std::string_view text, std::string_view pattern) {
  std::vector<Range> matches;
  for (size_t i = text.find(pattern); i != std::string_view::npos;
       i = text.find(pattern, i + pattern.size()))
    matches.push_back({i, i + pattern.size()});
  return cover(text.size(), matches);
}

/// Joins each match with the stretch before it (`next` false) or after it.
std::vector<Range> mergeMatches(const Stretches &stretches, bool next) {
  std::vector<Range> ranges;
  for (size_t i = 0; i < stretches.size(); ++i) {
    const Stretch &now = stretches[i];
    // A match joins one neighbour that is no match; the neighbour of a run of
    // matches is the nearest one.
    bool joins = next ? i > 0 && stretches[i - 1].match && !now.match
                      : i > 0 && now.match && !stretches[i - 1].match;
    if (joins)
      ranges.back().end = now.end;
    else
      ranges.push_back({now.begin, now.end});
  }
  return ranges;
}

std::vector<Range> select(const Stretches &stretches, Behavior behavior) {
  std::vector<Range> ranges;
  switch (behavior) {
  case Behavior::Removed:
    for (const Stretch &stretch : stretches)
      if (!stretch.match)
        ranges.push_back({stretch.begin, stretch.end});
    return ranges;
  case Behavior::Isolated:
    for (const Stretch &stretch : stretches)
      ranges.push_back({stretch.begin, stretch.end});
    return ranges;
  case Behavior::Contiguous:
    for (size_t i = 0; i < stretches.size(); ++i)
      if (i && stretches[i].match == stretches[i - 1].match)
        ranges.back().end = stretches[i].end;
      else
        ranges.push_back({stretches[i].begin, stretches[i].end});
    return ranges;
  case Behavior::MergedWithPrevious:
    return mergeMatches(stretches, /*next=*/false);
  case Behavior::MergedWithNext:
    return mergeMatches(stretches, /*next=*/true);
  }
  return ranges;
}

/// `\w` of Rust's regular expressions (Unicode, UTS 18 annex C).
bool isWord(char32_t c) {
  uint32_t mask = U_MASK(u_charType(c));
  return u_hasBinaryProperty(c, UCHAR_ALPHABETIC) ||
         (mask & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) ||
         u_hasBinaryProperty(c, UCHAR_JOIN_CONTROL);
}

bool isNumeric(char32_t c) { return U_MASK(u_charType(c)) & U_GC_N_MASK; }

bool isPunctuation(char32_t c) {
  if (c < 0x80) // The signs of ASCII count, whatever their category.
    return c == '_' || (c > 0x20 && c < 0x7F && !isWord(c));
  return U_MASK(u_charType(c)) & U_GC_P_MASK;
}

/// Words and runs of other signs, white space dropped: `\w+|[^\w\s]+`.
std::vector<Range> splitWhitespace(std::string_view text) {
  std::vector<Range> ranges;
  int previous = 0;
  for (size_t i = 0; i < text.size();) {
    Character character = decodeCharacter(text, i);
    int kind = isWord(character.value)         ? 1
               : isWhitespace(character.value) ? 0
                                               : 2;
    if (kind && kind == previous)
      ranges.back().end = i + character.length;
    else if (kind)
      ranges.push_back({i, i + character.length});
    previous = kind;
    i += character.length;
  }
  return ranges;
}

Result<std::vector<Range>> splitByRegex(std::string_view text,
                                        const Regex &regex, bool invert,
                                        Behavior behavior) {
  std::vector<Range> matches;
  if (Status status = regex.findAll(text, matches); !status.ok())
    return status;
  Stretches stretches = cover(text.size(), matches);
  if (invert)
    for (Stretch &stretch : stretches)
      stretch.match = !stretch.match;
  return select(stretches, behavior);
}

std::vector<Range> whole(std::string_view text) {
  if (text.empty())
    return {};
  return {{0, text.size()}};
}

/// Puts the prefix before the text as `prepend` says, unless it is there.
void prependUnlessPresent(Piece &piece, PreTokenizerStep::Prepend prepend,
                          std::string_view prefix) {
  using Prepend = PreTokenizerStep::Prepend;
  bool wanted =
      prepend == Prepend::Always || (prepend == Prepend::First && piece.first);
  bool present = piece.text.compare(0, prefix.size(), prefix) == 0;
  if (wanted && !present && !piece.text.empty())
    piece.text.insert(0, prefix);
}

/// Where `piece` is cut; may change its text first.
Result<std::vector<Range>> splitPiece(const PreTokenizerStep &step,
                                      Piece &piece) {
  using Kind = PreTokenizerStep::Kind;
  switch (step.kind) {
  case Kind::ByteLevel:
    prependUnlessPresent(piece, step.prepend, " ");
    if (step.regex)
      return splitByRegex(piece.text, *step.regex, false, Behavior::Isolated);
    return whole(piece.text);
  case Kind::Split: {
    if (step.regex)
      return splitByRegex(piece.text, *step.regex, step.invert, step.behavior);
    Stretches stretches = matchString(piece.text, step.pattern);
    if (step.invert)
      for (Stretch &stretch : stretches)
        stretch.match = !stretch.match;
    return select(stretches, step.behavior);
  }
  case Kind::Whitespace:
    return splitWhitespace(piece.text);
  case Kind::WhitespaceSplit:
    return select(matchCharacters(piece.text, isWhitespace), Behavior::Removed);
  case Kind::Metaspace:
    piece.text = replaceAll(piece.text, " ", step.pattern);
    prependUnlessPresent(piece, step.prepend, step.pattern);
    if (!step.split)
      return whole(piece.text);
    return select(matchString(piece.text, step.pattern),
                  Behavior::MergedWithNext);
  case Kind::Digits:
    return select(matchCharacters(piece.text, isNumeric),
                  step.individual ? Behavior::Isolated : Behavior::Contiguous);
  case Kind::Punctuation:
    return select(matchCharacters(piece.text, isPunctuation), step.behavior);
  }
  return whole(piece.text);
}

Status applyStep(const PreTokenizerStep &step, std::vector<Piece> &pieces) {
  std::vector<Piece> result;
  result.reserve(pieces.size());
  bool bytes = step.kind == PreTokenizerStep::Kind::ByteLevel;
  for (Piece &piece : pieces) {
    if (piece.token >= 0) {
      result.push_back(std::move(piece));
      continue;
    }
    Result<std::vector<Range>> ranges = splitPiece(step, piece);
    if (!ranges.ok())
      return ranges.status();
    std::string_view text = piece.text;
    for (Range range : *ranges) {
      std::string_view part = text.substr(range.begin, range.end - range.begin);
      result.push_back({bytes ? bytesToCharacters(part) : std::string(part),
                        piece.first && range.begin == 0});
    }
  }
  pieces = std::move(result);
  return Status::success();
}

} // namespace

Status PreTokenizer::apply(std::vector<Piece> &pieces) const {
  for (const PreTokenizerStep &step : steps)
    if (Status status = applyStep(step, pieces); !status.ok())
      return status;
  return Status::success();
}

} // namespace nju::tokenizer
