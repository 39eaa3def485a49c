//===- TokenizerJsonTest.cpp - tests of tokenizer.json --------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestFiles.h"

using namespace nju;
using namespace nju::test;

namespace {

/// The tokens that Hugging Face's tokenizers makes of varied texts with small
/// tokenizers trained on a few lines.
void compareWithExpected(const std::string &name) {
  auto loaded = Tokenizer::fromFile(input(name + ".json"));
  ASSERT_TRUE(loaded.ok()) << loaded.status().message;
  const Tokenizer &tokenizer = **loaded;
  Json cases = Json::parse(readFile(input(name + ".expected.json")));
  ASSERT_FALSE(cases.empty());
  TokenizerEncodeOptions special;
  special.addBos = special.addEos = special.parseSpecial = true;
  for (const Json &expected : cases) {
    auto text = expected["text"].get<std::string>();
    SCOPED_TRACE(text);
    EXPECT_EQ(encode(tokenizer, text), expected["plain"].get<Tokens>());
    EXPECT_EQ(encode(tokenizer, text, special),
              expected["special"].get<Tokens>());
    EXPECT_EQ(decode(tokenizer, expected["plain"].get<Tokens>(), true),
              expected["decoded"].get<std::string>());
  }
}

/// The message for wordLevel with one component replaced.
std::string errorWith(const std::string &pointer, const Json &value) {
  Json json = wordLevel({"?", "a", "b"});
  json[Json::json_pointer(pointer)] = value;
  return errorOf(json.dump());
}

Json bpe(Json merges, Json extra = Json::object()) {
  Json json = wordLevel({"a", "b", "ab", "?"});
  json["model"]["type"] = "BPE";
  json["model"]["merges"] = std::move(merges);
  json["model"].update(extra);
  return json;
}

} // namespace

TEST(TokenizerJson, equals_tokenizers_on_qwen2_style) {
  compareWithExpected("qwen2");
}
TEST(TokenizerJson, equals_tokenizers_on_llama3_style) {
  compareWithExpected("llama3");
}
TEST(TokenizerJson, equals_tokenizers_on_llama2_style) {
  compareWithExpected("llama2");
}

TEST(TokenizerJson, finds_begin_and_end_by_template_and_name) {
  auto llama3 = Tokenizer::fromFile(input("llama3.json"));
  ASSERT_TRUE(llama3.ok());
  EXPECT_EQ((*llama3)->bos(), (*llama3)->find("<|begin_of_text|>"));
  EXPECT_EQ((*llama3)->eos(), Tokens{(*llama3)->find("<|end_of_text|>")});
  auto qwen2 = Tokenizer::fromFile(input("qwen2.json"));
  ASSERT_TRUE(qwen2.ok());
  EXPECT_EQ((*qwen2)->eos(), (Tokens{(*qwen2)->find("<|endoftext|>"),
                                     (*qwen2)->find("<|im_end|>")}));
  TokenizerEncodeOptions options;
  options.addBos = true; // Qwen has none to add.
  EXPECT_EQ(encode(**qwen2, "a", options).size(), 1u);
}

TEST(TokenizerJson, configuration_names_begin_and_end) {
  TokenizerFiles files;
  std::string main = readFile(input("qwen2.json"));
  files.main = main;
  files.config = R"({"bos_token": {"content": "<|im_start|>"},
                     "eos_token": "<|im_end|>"})";
  files.generation = R"({"eos_token_id": [0, 1, 99999999]})";
  auto tokenizer = Tokenizer::fromFiles(files);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message;
  int32_t end = (*tokenizer)->find("<|im_end|>");
  EXPECT_EQ((*tokenizer)->bos(), (*tokenizer)->find("<|im_start|>"));
  EXPECT_EQ((*tokenizer)->eos(),
            (Tokens{end, 0, 1, (*tokenizer)->find("<|endoftext|>")}));

  files.generation = R"({"eos_token_id": 0})";
  tokenizer = Tokenizer::fromFiles(files);
  ASSERT_TRUE(tokenizer.ok());
  EXPECT_EQ((*tokenizer)->eos()[1], 0);

  files.generation = "[]";
  EXPECT_EQ(Tokenizer::fromFiles(files).status().message,
            "generation_config.json: the document is an array, expected an "
            "object");
  files.config = "{";
  EXPECT_EQ(Tokenizer::fromFiles(files).status().message,
            "tokenizer_config.json: not valid JSON at byte 2");
}

TEST(TokenizerJson, whole_words_and_unknown) {
  auto tokenizer = load(wordLevel({"?", "a", "b"}).dump());
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(encode(*tokenizer, "a  b c a"), (Tokens{1, 2, 0, 1}));
  EXPECT_EQ(decode(*tokenizer, {1, 2, 0}), "a b ?");
  Json json = wordLevel({"?", "a"});
  json["model"].erase("unk_token");
  tokenizer = load(json.dump());
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(tokenizer->encode("c").status().message,
            "the tokenizer has no token for 'c' and no unknown token");
}

TEST(TokenizerJson, merges_in_both_notations) {
  for (Json merge : {Json("a b"), Json::array({"a", "b"})}) {
    auto tokenizer = load(bpe(Json::array({merge})).dump());
    ASSERT_TRUE(tokenizer);
    EXPECT_EQ(encode(*tokenizer, "abab a"), (Tokens{2, 2, 0}));
  }
}

TEST(TokenizerJson, unknown_text_is_fused_on_request) {
  auto apart = load(bpe({"a b"}).dump());
  auto fused = load(bpe({"a b"}, {{"fuse_unk", true}}).dump());
  ASSERT_TRUE(apart && fused);
  EXPECT_EQ(encode(*apart, "axyb"), (Tokens{0, 3, 3, 1}));
  EXPECT_EQ(encode(*fused, "axyb"), (Tokens{0, 3, 1}));
}

TEST(TokenizerJson, words_can_go_before_merges) {
  Json json = bpe(Json::array());
  auto without = load(json.dump());
  json["model"]["ignore_merges"] = true;
  auto with = load(json.dump());
  ASSERT_TRUE(without && with);
  EXPECT_EQ(encode(*without, "ab"), (Tokens{0, 1}));
  EXPECT_EQ(encode(*with, "ab"), (Tokens{2}));
}

TEST(TokenizerJson, prefix_and_suffix_of_symbols) {
  Json json = bpe({"a ##b"}, {{"continuing_subword_prefix", "##"}});
  json["model"]["vocab"] = {{"a", 0}, {"##b", 1}, {"ab", 2}, {"?", 3}};
  auto tokenizer = load(json.dump());
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(encode(*tokenizer, "ab a"), (Tokens{2, 0}));
  json = bpe({"a b</w>"}, {{"end_of_word_suffix", "</w>"}});
  json["model"]["vocab"] = {{"a", 0}, {"b</w>", 1}, {"ab</w>", 2}, {"?", 3}};
  tokenizer = load(json.dump());
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(encode(*tokenizer, "ab b aab"), (Tokens{2, 1, 0, 2}));
}

TEST(TokenizerJson, templates_and_pairs_go_round_the_text) {
  TokenizerEncodeOptions both;
  both.addBos = both.addEos = true;
  Json json = wordLevel({"?", "a", "[CLS]", "[SEP]"});
  json["post_processor"] = {
      {"type", "BertProcessing"}, {"cls", {"[CLS]", 2}}, {"sep", {"[SEP]", 3}}};
  auto tokenizer = load(json.dump());
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(encode(*tokenizer, "a", both), (Tokens{2, 1, 3}));
  json["post_processor"] = Json::parse(R"({"type": "Sequence", "processors": [
    {"type": "ByteLevel"},
    {"type": "TemplateProcessing", "single": [
       {"SpecialToken": {"id": "X"}}, {"Sequence": {"id": "A"}},
       {"SpecialToken": {"id": "Y"}}],
     "special_tokens": {"X": {"ids": [2, 3]}, "Y": {"ids": [3]}}}]})");
  tokenizer = load(json.dump());
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(encode(*tokenizer, "a", both), (Tokens{2, 3, 1, 3}));
  EXPECT_EQ(encode(*tokenizer, "a"), (Tokens{1}));
}

TEST(TokenizerJson, added_tokens_strip_and_respect_words) {
  Json json = wordLevel({"?", "a"});
  json["added_tokens"] = Json::parse(R"([
    {"id": 5, "content": "<x>", "special": true, "lstrip": true,
     "rstrip": true},
    {"id": 6, "content": "<xy>", "special": false, "normalized": false},
    {"id": 7, "content": "B", "single_word": true, "normalized": true}])");
  json["normalizer"] = {{"type", "Lowercase"}};
  auto tokenizer = load(json.dump());
  ASSERT_TRUE(tokenizer);
  EXPECT_EQ(tokenizer->vocabularySize(), 8);
  EXPECT_EQ(tokenizer->text(4), "");
  TokenizerEncodeOptions special;
  special.parseSpecial = true;
  EXPECT_EQ(encode(*tokenizer, "a <x> a", special), (Tokens{1, 5, 1}));
  EXPECT_EQ(encode(*tokenizer, "a <x> a"), (Tokens{1, 0, 1}));
  EXPECT_EQ(encode(*tokenizer, "a<xy>a"), (Tokens{1, 6, 1}));
  EXPECT_EQ(encode(*tokenizer, "a b ab"), (Tokens{1, 7, 0}));
  EXPECT_EQ(decode(*tokenizer, {1, 5, 6}, true), "a <xy>");
  EXPECT_EQ(decode(*tokenizer, {1, 4, 1}), "a a");
}

TEST(TokenizerJson, refuses_documents_that_are_no_tokenizer) {
  EXPECT_EQ(errorOf("{\"a\": "), "not valid JSON at byte 7");
  EXPECT_EQ(errorOf("{\"a\": \"\xFF\"}"), "not valid JSON at byte 8");
  EXPECT_EQ(errorOf("[]", "t.json"),
            "t.json: the document is an array, expected tokenizer.json or a "
            "vocabulary");
  EXPECT_EQ(errorOf("{}"), "the document is an empty object, expected "
                           "tokenizer.json or a vocabulary");
  EXPECT_EQ(errorOf(R"({"a": "b"})"),
            "neither tokenizer.json (no model) nor a vocabulary ('a' is a "
            "string)");
  EXPECT_EQ(errorOf(R"({"model": []})"),
            "model is an array, expected an object");
  std::string deep = "{\"a\":";
  for (int i = 0; i < 100; ++i)
    deep += "[";
  EXPECT_EQ(errorOf(deep), "the JSON is nested more than 64 deep");
}

TEST(TokenizerJson, refuses_malformed_models) {
  EXPECT_EQ(errorWith("/model/type", "Unigram"),
            "model.type is 'Unigram', which is not supported; supported are "
            "BPE and WordLevel");
  EXPECT_EQ(errorWith("/model/type", 3),
            "model.type is a number, expected a string");
  EXPECT_EQ(errorWith("/model/vocab", Json::array()),
            "model.vocab is an array, expected an object");
  EXPECT_EQ(errorWith("/model/vocab", nullptr),
            "model.vocab is missing, expected an object");
  EXPECT_EQ(errorWith("/model/vocab/a", "x"),
            "model.vocab: the number of token 'a' is a string, expected a "
            "whole number");
  EXPECT_EQ(errorWith("/model/vocab/a", 1.5),
            "model.vocab: the number of token 'a' is a fraction, expected a "
            "whole number");
  EXPECT_EQ(errorWith("/model/vocab/a", Json::array()),
            "model.vocab: the number of token 'a' is an array, expected a "
            "whole number");
  EXPECT_EQ(errorWith("/model/vocab/a", 4194304),
            "model.vocab: token 'a' has number 4194304, expected 0 to 4194303");
  EXPECT_EQ(errorWith("/model/vocab/a", -1),
            "model.vocab: token 'a' has number -1, expected 0 to 4194303");
  EXPECT_EQ(errorWith("/model/vocab/a", 2),
            "model.vocab: tokens 'a' and 'b' have the same number 2");
}

TEST(TokenizerJson, refuses_malformed_merges) {
  auto error = [](Json merge) {
    return errorOf(bpe(Json::array({merge})).dump());
  };
  EXPECT_EQ(error("ab"), "model.merges[0] is 'ab', expected two tokens");
  EXPECT_EQ(error("a b a"), "model.merges[0] is 'a b a', expected two tokens");
  EXPECT_EQ(error(Json::array({"a"})),
            "model.merges[0] is an array of 1, expected two tokens");
  EXPECT_EQ(error(7), "model.merges[0] is a number, expected two tokens");
  EXPECT_EQ(error(Json::object()),
            "model.merges[0] is an object, expected two tokens");
  EXPECT_EQ(error("a c"), "merge 0 needs the token 'c', which is not in the "
                          "vocabulary");
  EXPECT_EQ(error("b a"), "merge 0 needs the token 'ba', which is not in the "
                          "vocabulary");
  Json json = bpe("x");
  EXPECT_EQ(errorOf(json.dump()),
            "model.merges is a string, expected an array");
  json = bpe(Json::array(), {{"unk_token", "<unk>"}});
  EXPECT_EQ(errorOf(json.dump()), "model.unk_token is '<unk>', which is not in "
                                  "the vocabulary");
  json = bpe(Json::array(), {{"fuse_unk", "yes"}});
  EXPECT_EQ(errorOf(json.dump()),
            "model.fuse_unk is a string, expected a boolean");
}

TEST(TokenizerJson, refuses_malformed_added_tokens) {
  auto error = [](Json token) {
    return errorWith("/added_tokens", Json::array({std::move(token)}));
  };
  EXPECT_EQ(error(3), "added_tokens[0] is a number, expected an object");
  EXPECT_EQ(error({{"content", "x"}}),
            "added_tokens[0].id is missing, expected a whole number");
  EXPECT_EQ(error({{"id", 1.5}, {"content", "x"}}),
            "added_tokens[0].id is a fraction, expected a whole number");
  EXPECT_EQ(error({{"id", 1}}),
            "added_tokens[0].content is missing, expected a string");
  EXPECT_EQ(error({{"id", 1}, {"content", std::string(2000, 'x')}}),
            "added token '" + std::string(40, 'x') +
                "...' has 2000 bytes, expected at most 1024");
}

TEST(TokenizerJson, refuses_malformed_post_processors) {
  auto error = [](const char *json) {
    return errorWith("/post_processor", Json::parse(json));
  };
  EXPECT_EQ(error(R"({"type": "X"})"),
            "post_processor.type is 'X', which is not supported; supported are "
            "ByteLevel, TemplateProcessing, BertProcessing, RobertaProcessing "
            "and Sequence");
  EXPECT_EQ(error(R"({"type": "TemplateProcessing"})"),
            "post_processor.single is missing, expected an array");
  EXPECT_EQ(error(R"({"type": "TemplateProcessing", "single": [1]})"),
            "post_processor.single[0] is a number, expected an object");
  EXPECT_EQ(error(R"({"type": "TemplateProcessing", "single": [
                      {"SpecialToken": {"id": "x"}}]})"),
            "post_processor.special_tokens.x is missing");
  EXPECT_EQ(error(R"({"type": "TemplateProcessing", "single": [
                      {"SpecialToken": {"id": "x"}}],
                      "special_tokens": {"x": {"ids": [77]}}})"),
            "post_processor.special_tokens.x names token 77, which is not in "
            "the vocabulary");
  EXPECT_EQ(error(R"({"type": "BertProcessing", "cls": ["x"]})"),
            "post_processor.cls is malformed, expected a token and its number");
  EXPECT_EQ(error(R"({"type": "Sequence", "processors": [{}]})"),
            "post_processor.processors[0].type is missing, expected a string");
}

TEST(TokenizerJson, large_texts_are_fast) {
  std::string text;
  for (const char *name : {"qwen2.json", "llama2.json"}) {
    auto tokenizer = Tokenizer::fromFile(input(name));
    ASSERT_TRUE(tokenizer.ok());
    // One word of 300,000 characters: quadratic merging would take minutes.
    for (std::string unit : {"the ", "a", "日", " ", "\n"}) {
      text.clear();
      while (text.size() < 300000)
        text += unit;
      Tokens tokens = encode(**tokenizer, text);
      EXPECT_EQ(decode(**tokenizer, tokens), text);
    }
  }
}
