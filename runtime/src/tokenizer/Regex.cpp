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

Status unsupported(std::string_view pattern, const std::string &what) {
  return {NJU_INCOMPATIBLE, "pattern " + quote(pattern) + " uses " + what +
                                ", which is not supported"};
}

/// Translates a character class that begins at `position` (its '[').
Status translateClass(std::string_view pattern, size_t &position,
                      std::string &translated) {
  translated += pattern[position++];
  if (position < pattern.size() && pattern[position] == '^')
    translated += pattern[position++];
  for (bool first = true; position < pattern.size(); first = false) {
    char c = pattern[position];
    std::string_view rest = pattern.substr(position);
    if (c == ']' && !first) {
      translated += pattern[position++];
      return Status::success();
    }
    if (rest.substr(0, 2) == "&&")
      return unsupported(pattern, "an intersection of classes (&&)");
    if (rest.substr(0, 2) == "[:") {
      size_t end = rest.find(":]");
      if (end == std::string_view::npos)
        return unsupported(pattern, "an unfinished POSIX class");
      translated += rest.substr(0, end + 2);
      position += end + 2;
    } else if (c == '[') {
      return unsupported(pattern, "a class inside a class");
    } else if (c == '\\' && rest.size() > 1) {
      if (rest[1] == 's')
        translated += spaceClass;
      else if (rest[1] == 'h')
        translated += "0-9a-fA-F";
      else
        translated += rest.substr(0, 2);
      position += 2;
    } else {
      translated += c;
      ++position;
    }
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
      Status status = translateClass(pattern, position, translated);
      if (!status.ok())
        return status;
    } else if (c == '\\' && position + 1 < pattern.size()) {
      char escaped = pattern[position + 1];
      if (escaped == 's')
        (translated += "[").append(spaceClass) += "]";
      else if (escaped == 'S')
        (translated += "[^").append(spaceClass) += "]";
      else if (escaped == 'h')
        translated += "[0-9a-fA-F]";
      else if (escaped == 'H')
        translated += "[^0-9a-fA-F]";
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
