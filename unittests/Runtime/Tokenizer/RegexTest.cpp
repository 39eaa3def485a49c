//===- RegexTest.cpp - tests of the patterns ------------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Regex.h"
#include <gtest/gtest.h>

using namespace nju::tokenizer;

/// The matches of `pattern` in `text`, separated by '|'.
static std::string matches(std::string_view pattern, const std::string &text) {
  Result<Regex> regex = Regex::compile(pattern);
  EXPECT_TRUE(regex.ok()) << regex.status().message;
  if (!regex.ok())
    return "";
  std::vector<Range> ranges;
  Status status = regex->findAll(text, ranges);
  EXPECT_TRUE(status.ok()) << status.message;
  std::string result;
  for (Range range : ranges)
    result += (result.empty() ? "" : "|") +
              text.substr(range.begin, range.end - range.begin);
  return result;
}

static std::string compileError(std::string_view pattern) {
  Result<Regex> regex = Regex::compile(pattern);
  EXPECT_FALSE(regex.ok());
  return regex.status().message;
}

TEST(Regex, matches_unicode_categories) {
  EXPECT_EQ(matches(R"(\p{L}+|\p{N}+)", "Straße 日本 ½٣"), "Straße|日本|½٣");
}

TEST(Regex, lines_begin_and_end_at_line_breaks) {
  EXPECT_EQ(matches("^b$", "a\nb\nc"), "b");
}

// Where PCRE2 alone would say otherwise: U+180E is no space, marks are letters
// of words, symbols are punctuation.
TEST(Regex, reads_sets_as_oniguruma_does) {
  EXPECT_EQ(matches(R"(\s)", "a\u180E\u3000"), "\u3000");
  EXPECT_EQ(matches(R"([\s])", "a\u180E\u0085"), "\u0085");
  EXPECT_EQ(matches(R"(\S+)", "\u180Ea b"), "\u180Ea|b");
  EXPECT_EQ(matches(R"([\S\n]+)", "\u180E\n b"), "\u180E\n|b");
  EXPECT_EQ(matches(R"(\w+)", "हिन्दी-e\u0301"), "हिन्दी|e\u0301");
  EXPECT_EQ(matches(R"([\w!]+)", "हि!-"), "हि!");
  EXPECT_EQ(matches(R"(\W)", "a\u0301+"), "+");
  EXPECT_EQ(matches(R"(\h+)", "xyz12aF"), "12aF");
  EXPECT_EQ(matches(R"(\H+)", "xyz12"), "xyz");
  EXPECT_EQ(matches(R"([\h-]+)", "x1-f"), "1-f");
  EXPECT_EQ(matches(R"([\H]+)", "x1"), "x");
  EXPECT_EQ(matches(R"([[:punct:]]+)", "a+!€b"), "+!€");
  EXPECT_EQ(matches(R"([[:space:][:word:]]+)", "-\u3000e\u0301-"),
            "\u3000e\u0301");
  EXPECT_EQ(matches(R"([[:alpha:]]+)", "1ab2"), "ab");
}

TEST(Regex, takes_nested_classes_for_unions) {
  EXPECT_EQ(matches(R"( ?[^(\s|[.,!?])]+)", "Hello there, friend"),
            "Hello| there| friend");
  EXPECT_EQ(matches(R"([]a]+)", "x]a"), "]a");
  EXPECT_EQ(matches(R"([\]]+)", "x]a"), "]");
}

TEST(Regex, refuses_what_has_no_equal) {
  EXPECT_EQ(compileError("[a&&b]"), "pattern '[a&&b]' uses an intersection of "
                                    "classes (&&), which is not supported");
  EXPECT_EQ(compileError("[a[^b]]"),
            "pattern '[a[^b]]' uses a negated class inside a class, which is "
            "not supported");
  EXPECT_EQ(compileError(R"([\W])"),
            R"(pattern '[\W]' uses \W inside a class, )"
            "which is not supported");
  EXPECT_EQ(compileError("[[:alpha"), "pattern '[[:alpha' uses an unfinished "
                                      "POSIX class, which is not supported");
}

TEST(Regex, reports_invalid_patterns) {
  EXPECT_EQ(compileError("(a"),
            "pattern '(a' is not valid: missing closing parenthesis");
  EXPECT_EQ(compileError("[a"), "pattern '[a' is not valid: missing "
                                "terminating ] for character class");
  EXPECT_EQ(compileError(std::string(100, '(')).substr(0, 60),
            "pattern '" + std::string(40, '(') + "...' is not");
}

TEST(Regex, gives_up_instead_of_hanging) {
  Result<Regex> regex = Regex::compile("(a+)+$");
  ASSERT_TRUE(regex.ok());
  std::vector<Range> ranges;
  Status status = regex->findAll(std::string(200, 'a') + "b", ranges);
  EXPECT_EQ(status.code, NJU_RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.message,
            "the split pattern of the tokenizer gave up at byte "
            "0 of the text: match limit exceeded");
}

TEST(Regex, refuses_matches_that_go_backwards) {
  Result<Regex> regex = Regex::compile(R"((?=ab\K)|b)");
  if (!regex.ok())
    return; // Newer releases of PCRE2 refuse the pattern.
  std::vector<Range> ranges;
  Status status = regex->findAll("ab", ranges);
  EXPECT_EQ(status.message, "the split pattern of the tokenizer matches "
                            "backwards, which is not supported");
}

TEST(Regex, skips_empty_matches) { EXPECT_EQ(matches("x*", "axxb"), "xx"); }
