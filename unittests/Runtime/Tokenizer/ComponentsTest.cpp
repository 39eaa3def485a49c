//===- ComponentsTest.cpp - tests of the parts of tokenizer.json ----------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "HuggingFace.h"
#include <gtest/gtest.h>

using namespace nju;
using namespace nju::tokenizer;

namespace {

std::string normalize(const char *json, std::string text) {
  Normalizer normalizer;
  Status status = readNormalizer(Json::parse(json), "n", normalizer);
  EXPECT_TRUE(status.ok()) << status.message;
  status = normalizer.apply(text);
  EXPECT_TRUE(status.ok()) << status.message;
  return text;
}

/// The pieces of `text`, separated by '|'.
std::string split(const char *json, const std::string &text,
                  bool first = true) {
  PreTokenizer preTokenizer;
  Status status = readPreTokenizer(Json::parse(json), "p", preTokenizer);
  EXPECT_TRUE(status.ok()) << status.message;
  std::vector<Piece> pieces = {{text, first}};
  status = preTokenizer.apply(pieces);
  EXPECT_TRUE(status.ok()) << status.message;
  std::string result;
  for (const Piece &piece : pieces)
    result += (result.empty() ? "" : "|") + piece.text;
  return result;
}

std::string decode(const char *json, const std::vector<std::string> &tokens) {
  Decoder decoder;
  Status status = readDecoder(Json::parse(json), "d", decoder);
  EXPECT_TRUE(status.ok()) << status.message;
  DecoderChain chain(decoder);
  for (const std::string &token : tokens)
    EXPECT_TRUE(chain.push(token, TokenKind::Normal).ok());
  EXPECT_TRUE(chain.finish().ok());
  return chain.text();
}

std::string normalizerError(const char *json) {
  Normalizer normalizer;
  return readNormalizer(Json::parse(json), "normalizer", normalizer).message;
}
std::string preTokenizerError(const char *json) {
  PreTokenizer preTokenizer;
  return readPreTokenizer(Json::parse(json), "pre_tokenizer", preTokenizer)
      .message;
}
std::string decoderError(const char *json) {
  Decoder decoder;
  return readDecoder(Json::parse(json), "decoder", decoder).message;
}

} // namespace

TEST(Normalizers, unicode_forms) {
  EXPECT_EQ(normalize(R"({"type": "NFC"})", "e\u0301"), "é");
  EXPECT_EQ(normalize(R"({"type": "NFD"})", "é"), "e\u0301");
  EXPECT_EQ(normalize(R"({"type": "NFKC"})", "ﬁ①"), "fi1");
  EXPECT_EQ(normalize(R"({"type": "NFKD"})", "ﬁé"), "fie\u0301");
  EXPECT_EQ(normalize(R"({"type": "Lowercase"})", "ÀBİΣ"), "àbi\u0307σ");
  EXPECT_EQ(normalize(R"({"type": "StripAccents"})", "e\u0301x"), "ex");
}

TEST(Normalizers, strip_prepend_replace) {
  EXPECT_EQ(normalize(R"({"type": "Strip"})", " \u3000a b\n"), "a b");
  EXPECT_EQ(normalize(R"({"type": "Strip", "strip_left": false})", " a "),
            " a");
  EXPECT_EQ(normalize(R"({"type": "Strip"})", " \n"), "");
  EXPECT_EQ(normalize(R"({"type": "Prepend", "prepend": "_"})", "a"), "_a");
  EXPECT_EQ(normalize(R"({"type": "Prepend", "prepend": "_"})", ""), "");
  EXPECT_EQ(normalize(R"({"type": "Replace", "pattern": {"String": " "},
                          "content": "__"})",
                      " a b"),
            "__a__b");
  EXPECT_EQ(normalize(R"({"type": "Replace", "pattern": {"Regex": " +"},
                          "content": "$0"})",
                      "a   b c"),
            "a$0b$0c");
  EXPECT_EQ(normalize(R"({"type": "ByteLevel"})", "a é\n"), "aĠÃ©Ċ");
  EXPECT_EQ(normalize(R"({"type": "Sequence", "normalizers": [
                          {"type": "Strip"},
                          {"type": "Prepend", "prepend": " "}]})",
                      "  a"),
            " a");
  EXPECT_EQ(normalize("null", "a"), "a");
}

TEST(Normalizers, report_errors) {
  EXPECT_EQ(normalizerError(R"({"type": "Precompiled"})"),
            "normalizer.type is 'Precompiled', which is not supported; "
            "supported are NFC, NFD, NFKC, NFKD, Strip, StripAccents, Prepend, "
            "Lowercase, Replace, ByteLevel and Sequence");
  EXPECT_EQ(normalizerError(R"({"type": "Replace", "content": ""})"),
            "normalizer.pattern is missing, expected an object");
  EXPECT_EQ(normalizerError(R"({"type": "Replace", "pattern": {"String": ""},
                                "content": ""})"),
            "normalizer.pattern.String is empty, expected the text to look "
            "for");
  EXPECT_EQ(normalizerError(R"({"type": "Sequence", "normalizers": [
                 {"type": "Replace", "pattern": {"Regex": "("},
                  "content": ""}]})"),
            "normalizer.normalizers[0]: pattern '(' is not valid: missing "
            "closing parenthesis");
  Json deep = {{"type", "NFC"}};
  for (int i = 0; i < 20; ++i)
    deep = {{"type", "Sequence"}, {"normalizers", {deep}}};
  EXPECT_NE(
      normalizerError(deep.dump().c_str()).find("is nested more than 16 deep"),
      std::string::npos);
}

TEST(PreTokenizers, byte_level) {
  EXPECT_EQ(split(R"({"type": "ByteLevel", "add_prefix_space": false})",
                  "It's 3 b.\n"),
            "It|'s|Ġ3|Ġb|.|Ċ");
  EXPECT_EQ(split(R"({"type": "ByteLevel"})", "a"), "Ġa");
  EXPECT_EQ(split(R"({"type": "ByteLevel"})", " a"), "Ġa");
  EXPECT_EQ(split(R"({"type": "ByteLevel", "use_regex": false,
                      "add_prefix_space": false})",
                  "a b"),
            "aĠb");
}

TEST(PreTokenizers, split_behaviors) {
  auto by = [](const std::string &behavior, const char *invert = "false") {
    std::string json = R"({"type": "Split", "pattern": {"String": "-"},
                           "invert": )" +
                       std::string(invert) + R"(, "behavior": ")" + behavior +
                       "\"}";
    return split(json.c_str(), "-a--b-");
  };
  EXPECT_EQ(by("Removed"), "a|b");
  EXPECT_EQ(by("Isolated"), "-|a|-|-|b|-");
  EXPECT_EQ(by("Contiguous"), "-|a|--|b|-");
  EXPECT_EQ(by("MergedWithPrevious"), "-|a-|-|b-");
  EXPECT_EQ(by("MergedWithNext"), "-a|-|-b|-");
  EXPECT_EQ(by("Removed", "true"), "-|-|-|-");
  EXPECT_EQ(split(R"({"type": "Split", "pattern": {"Regex": "\\d+|x"},
                      "behavior": "Isolated"})",
                  "a12xb"),
            "a|12|x|b");
}

TEST(PreTokenizers, words_digits_punctuation) {
  EXPECT_EQ(split(R"({"type": "Whitespace"})", "Hé_y, you!? ½"),
            "Hé_y|,|you|!?|½");
  EXPECT_EQ(split(R"({"type": "WhitespaceSplit"})", " a,b\u3000c\n"), "a,b|c");
  EXPECT_EQ(split(R"({"type": "Digits"})", "a12b3"), "a|12|b|3");
  EXPECT_EQ(split(R"({"type": "Digits", "individual_digits": true})", "a12½"),
            "a|1|2|½");
  EXPECT_EQ(split(R"({"type": "Punctuation"})", "a_b+c…!d"), "a|_|b|+|c|…|!|d");
  EXPECT_EQ(
      split(R"({"type": "Punctuation", "behavior": "Contiguous"})", "a!?b"),
      "a|!?|b");
}

TEST(PreTokenizers, metaspace) {
  EXPECT_EQ(split(R"({"type": "Metaspace", "replacement": "_"})", "a b  c"),
            "_a|_b|_|_c");
  EXPECT_EQ(split(R"({"type": "Metaspace", "split": false})", "a b"), "▁a▁b");
  EXPECT_EQ(split(R"({"type": "Metaspace", "prepend_scheme": "never"})", "a b"),
            "a|▁b");
  EXPECT_EQ(split(R"({"type": "Metaspace", "prepend_scheme": "first"})", "a"),
            "▁a");
  EXPECT_EQ(split(R"({"type": "Metaspace", "prepend_scheme": "first"})", "a",
                  /*first=*/false),
            "a");
  EXPECT_EQ(split(R"({"type": "Metaspace", "add_prefix_space": false})", "a"),
            "a");
}

TEST(PreTokenizers, sequence_and_none) {
  EXPECT_EQ(split(R"({"type": "Sequence", "pretokenizers": [
                      {"type": "WhitespaceSplit"}, {"type": "Digits"}]})",
                  "a1 b"),
            "a|1|b");
  EXPECT_EQ(split("null", "a b"), "a b");
}

TEST(PreTokenizers, report_errors) {
  EXPECT_EQ(preTokenizerError(R"({"type": "UnicodeScripts"})"),
            "pre_tokenizer.type is 'UnicodeScripts', which is not supported; "
            "supported are ByteLevel, Split, Whitespace, WhitespaceSplit, "
            "Metaspace, Digits, Punctuation and Sequence");
  EXPECT_EQ(preTokenizerError(R"({"type": "Sequence", "pretokenizers": [
                 {"type": "Split", "pattern": {"String": "x"},
                  "behavior": "Gone"}]})"),
            "pre_tokenizer.pretokenizers[0].behavior is 'Gone', expected "
            "Removed, Isolated, MergedWithPrevious, MergedWithNext or "
            "Contiguous");
  EXPECT_EQ(preTokenizerError(R"({"type": "Metaspace",
                                  "prepend_scheme": "last"})"),
            "pre_tokenizer.prepend_scheme is 'last', expected always, first or "
            "never");
  EXPECT_EQ(preTokenizerError(R"({"type": "Metaspace", "replacement": ""})"),
            "pre_tokenizer.replacement is empty, expected one character");
  EXPECT_EQ(preTokenizerError(R"({"type": "Digits", "individual_digits": 1})"),
            "pre_tokenizer.individual_digits is a number, expected a boolean");
  EXPECT_EQ(preTokenizerError("[]"),
            "pre_tokenizer is an array, expected an object");
}

TEST(Decoders, byte_level) {
  EXPECT_EQ(decode(R"({"type": "ByteLevel"})", {"aĠ", "Ã", "©", "<|é€|>"}),
            "a é<|é€|>");
  EXPECT_EQ(decode(R"({"type": "ByteLevel"})", {"Ã", "a", "Ã"}),
            "\uFFFDa\uFFFD");
}

TEST(Decoders, llama_sequence) {
  const char *json = R"({"type": "Sequence", "decoders": [
    {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
    {"type": "ByteFallback"}, {"type": "Fuse"},
    {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})";
  EXPECT_EQ(decode(json, {"▁▁a", "▁b"}), " a b");
  EXPECT_EQ(decode(json, {"<0xC3>", "<0xA9>", "▁b"}), "é b");
  EXPECT_EQ(decode(json, {"<0xC3>", "b"}), "\uFFFDb");
  EXPECT_EQ(decode(json, {"▁", "▁", "a"}), " a");
  EXPECT_EQ(decode(json, {}), "");
}

TEST(Decoders, strip_tokens_or_text) {
  EXPECT_EQ(decode(R"({"type": "Strip", "content": "_", "start": 1,
                       "stop": 2})",
                   {"__a___", "_b"}),
            "_a_b");
  const char *fused = R"({"type": "Sequence", "decoders": [{"type": "Fuse"},
    {"type": "Strip", "content": "_", "start": 2, "stop": 2}]})";
  EXPECT_EQ(decode(fused, {"_", "_", "_a", "_", "_", "_"}), "_a_");
  EXPECT_EQ(decode(fused, {"_", "_"}), "");
  EXPECT_EQ(decode(fused, {"a_", "b"}), "a_b");
}

TEST(Decoders, metaspace_suffix_replace) {
  EXPECT_EQ(decode(R"({"type": "Metaspace"})", {"▁a", "▁b"}), "a b");
  EXPECT_EQ(decode(R"({"type": "Metaspace", "prepend_scheme": "never"})",
                   {"▁a", "▁b"}),
            " a b");
  EXPECT_EQ(decode(R"({"type": "BPEDecoder"})", {"a", "b</w>", "c</w>"}),
            "ab c");
  EXPECT_EQ(decode(R"({"type": "Replace", "pattern": {"Regex": "_+"},
                       "content": " "})",
                   {"a__b_"}),
            "a b ");
  EXPECT_EQ(decode("null", {"a", "b"}), "a b");
}

TEST(Decoders, report_errors) {
  EXPECT_EQ(decoderError(R"({"type": "CTC"})"),
            "decoder.type is 'CTC', which is not supported; supported are "
            "ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace, "
            "BPEDecoder and Sequence");
  EXPECT_EQ(decoderError(R"({"type": "Strip", "content": ""})"),
            "decoder.content is empty, expected one character");
  EXPECT_EQ(decoderError(R"({"type": "Strip", "content": " ", "start": -1})"),
            "decoder.start or stop is negative");
  EXPECT_EQ(decoderError(R"({"type": "BPEDecoder", "suffix": ""})"),
            "decoder.suffix is empty, expected the end of a word");
  EXPECT_EQ(decoderError(R"({"type": "Sequence", "decoders": {}})"),
            "decoder.decoders is an object, expected an array");
}
