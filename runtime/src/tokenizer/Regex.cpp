//===- Regex.cpp - regular expressions of tokenizer.json ------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#define PCRE2_CODE_UNIT_WIDTH 8

#include "Regex.h"
#include "Utf8.h"
#include "Vocabulary.h"
#include <pcre2.h>

namespace nju::tokenizer {

namespace {

// White_Space of Unicode as the inside of a class. PCRE2's own \s has U+180E
// too, which tokenizers trained with Oniguruma do not treat as space.
constexpr const char *spaceClass =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a})"
    R"(\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";

constexpr const char *notSpaceClass =
    R"(\x{0}-\x{8}\x{e}-\x{1f}\x{21}-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f})"
    R"(\x{1681}-\x{1fff}\x{200b}-\x{2027}\x{202a}-\x{202e}\x{2030}-\x{205e})"
    R"(\x{2060}-\x{2fff}\x{3001}-\x{10ffff})";

// \w of Oniguruma as the inside of a class. PCRE2's own has no marks.
constexpr const char *wordClass =
    R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{b2}\x{b3}\x{b9}\x{bc}-\x{be})"
    R"(\x{24b6}-\x{24e9}\x{1f130}-\x{1f149}\x{1f150}-\x{1f169})"
    R"(\x{1f170}-\x{1f189})";

/// What an escaped letter stands for in a class; null: what PCRE2 thinks.
const char *insideClass(char escaped) {
  switch (escaped) {
  case 's':
    return spaceClass;
  case 'S':
    return notSpaceClass;
  case 'w':
    return wordClass;
  case 'h':
    return "0-9a-fA-F";
  case 'H':
    return R"(\x{0}-\x{2f}\x{3a}-\x{40}\x{47}-\x{60}\x{67}-\x{10ffff})";
  default:
    return nullptr;
  }
}

Status unsupported(std::string_view pattern, const std::string &what) {
  return {NJU_INCOMPATIBLE, "pattern " + quote(pattern) + " uses " + what +
                                ", which is not supported"};
}

/// Translates [:name:] at the beginning of `rest`; returns its length, 0 if it
/// has no end.
size_t translatePosixClass(std::string_view rest, std::string &translated) {
  size_t end = rest.find(":]");
  if (end == std::string_view::npos)
    return 0;
  std::string_view name = rest.substr(2, end - 2);
  if (name == "punct")
    translated += R"(\p{P}\p{S})";
  else if (name == "space")
    translated += spaceClass;
  else if (name == "word")
    translated += wordClass;
  else
    translated += rest.substr(0, end + 2);
  return end + 2;
}

/// Translates the inside of a character class up to its ']'. Classes inside
/// classes are unions, so their inside is put in their place.
Status translateClass(std::string_view pattern, size_t &position,
                      std::string &translated) {
  size_t depth = 0;
  for (bool first = true; position < pattern.size(); first = false) {
    std::string_view rest = pattern.substr(position);
    size_t length = 1;
    if (rest[0] == ']' && !first) {
      if (depth-- == 0)
        return Status::success();
    } else if (rest.substr(0, 2) == "&&") {
      return unsupported(pattern, "an intersection of classes (&&)");
    } else if (rest.substr(0, 2) == "[:") {
      length = translatePosixClass(rest, translated);
      if (!length)
        return unsupported(pattern, "an unfinished POSIX class");
    } else if (rest.substr(0, 2) == "[^") {
      return unsupported(pattern, "a negated class inside a class");
    } else if (rest[0] == '[') {
      ++depth;
    } else if (rest[0] == '\\' && rest.size() > 1) {
      length = 2;
      if (rest[1] == 'W')
        return unsupported(pattern, "\\W inside a class");
      if (const char *inside = insideClass(rest[1]))
        translated += inside;
      else
        translated += rest.substr(0, 2);
    } else {
      translated += rest[0];
    }
    position += length;
  }
  return Status::success(); // PCRE2 reports the missing bracket.
}

std::string compileError(int code) {
  unsigned char buffer[256];
  if (pcre2_get_error_message(code, buffer, sizeof(buffer)) < 0)
    return "error " + std::to_string(code);
  return reinterpret_cast<const char *>(buffer);
}

struct MatchDeleter {
  void operator()(pcre2_match_data *data) const { pcre2_match_data_free(data); }
};
struct ContextDeleter {
  void operator()(pcre2_match_context *context) const {
    pcre2_match_context_free(context);
  }
};

} // namespace

Result<std::string> translateOniguruma(std::string_view pattern) {
  std::string translated;
  for (size_t position = 0; position < pattern.size();) {
    char c = pattern[position];
    if (c == '[') {
      bool negated = pattern.substr(position, 2) == "[^";
      translated += negated ? "[^" : "[";
      position += negated ? 2 : 1;
      Status status = translateClass(pattern, position, translated);
      if (!status.ok())
        return status;
    } else if (c == '\\' && position + 1 < pattern.size()) {
      char escaped = pattern[position + 1];
      if (escaped == 'W')
        (translated += "[^").append(wordClass) += "]";
      else if (const char *inside = insideClass(escaped))
        (translated += "[").append(inside) += "]";
      else
        (translated += c) += escaped;
      position += 2;
    } else {
      translated += c;
      ++position;
    }
  }
  return translated;
}

Result<Regex> Regex::compile(std::string_view pattern) {
  Result<std::string> translated = translateOniguruma(pattern);
  if (!translated.ok())
    return translated.status();
  int error = 0;
  PCRE2_SIZE offset = 0;
  // In Oniguruma's Ruby syntax ^ and $ stand at every line.
  pcre2_code *code = pcre2_compile(
      reinterpret_cast<PCRE2_SPTR>(translated->data()), translated->size(),
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error,
      &offset, nullptr);
  if (!code)
    return {NJU_DATA_LOSS, "pattern " + quote(pattern) +
                               " is not valid: " + compileError(error)};
  // Where no just-in-time compiler is available the interpreter serves.
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  Regex regex;
  regex.code = std::shared_ptr<void>(code, [](void *held) {
    pcre2_code_free(static_cast<pcre2_code *>(held));
  });
  return regex;
}

Status Regex::findAll(std::string_view text,
                      std::vector<Range> &matches) const {
  auto *compiled = static_cast<const pcre2_code *>(code.get());
  std::unique_ptr<pcre2_match_data, MatchDeleter> data(
      pcre2_match_data_create(1, nullptr));
  std::unique_ptr<pcre2_match_context, ContextDeleter> context(
      pcre2_match_context_create(nullptr));
  if (!data || !context)
    return {NJU_RESOURCE_EXHAUSTED, "out of memory"};
  // Patterns of real tokenizers need one step a character.
  pcre2_set_match_limit(context.get(), 20000000);
  pcre2_set_heap_limit(context.get(), 256 * 1024);

  auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  uint32_t options = PCRE2_NO_UTF_CHECK;
  for (size_t position = 0; position < text.size();) {
    int found =
        pcre2_match(compiled, subject, text.size(), position,
                    options | PCRE2_NOTEMPTY, data.get(), context.get());
    if (found == PCRE2_ERROR_NOMATCH)
      break;
    if (found == PCRE2_ERROR_JIT_STACKLIMIT && !(options & PCRE2_NO_JIT)) {
      options |= PCRE2_NO_JIT;
      continue;
    }
    if (found < 0)
      return {NJU_RESOURCE_EXHAUSTED,
              "the split pattern of the tokenizer gave up at byte " +
                  std::to_string(position) +
                  " of the text: " + compileError(found)};
    PCRE2_SIZE *ends = pcre2_get_ovector_pointer(data.get());
    // \K and lookbehind can report a match that begins before `position`.
    if (ends[0] < position || ends[1] <= ends[0])
      return {NJU_INCOMPATIBLE, "the split pattern of the tokenizer matches "
                                "backwards, which is not supported"};
    matches.push_back({ends[0], ends[1]});
    position = ends[1];
  }
  return Status::success();
}

} // namespace nju::tokenizer
