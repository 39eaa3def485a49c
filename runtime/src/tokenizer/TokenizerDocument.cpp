//===- TokenizerDocument.cpp - parsing tokenizer.json ---------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TokenizerDocument.h"
#include "Vocabulary.h"

namespace nju::tokenizer {

namespace {

/// Deepest accepted nesting; real files have six levels.
constexpr size_t maxNesting = 64;

/// Receives the events of the parser. Every function returns whether to go on.
class DocumentBuilder : public nlohmann::json_sax<Json> {
public:
  explicit DocumentBuilder(TokenizerDocument &document) : document(document) {}

  Status status;

  bool null() override { return value(nullptr, "null"); }
  bool boolean(bool given) override { return value(given, "a boolean"); }
  bool number_float(double given, const std::string &) override {
    return value(given, "a fraction");
  }
  bool binary(Json::binary_t &) override { return false; }
  bool number_integer(int64_t given) override {
    return mode == Mode::Vocabulary ? token(given) : value(given, "a number");
  }
  bool number_unsigned(uint64_t given) override {
    // Vocabulary::add refuses what does not fit.
    constexpr auto most = std::numeric_limits<int64_t>::max();
    if (mode == Mode::Vocabulary)
      return token(given > uint64_t(most) ? most : int64_t(given));
    return value(given, "a number");
  }
  bool string(std::string &given) override {
    if (mode == Mode::Pair) {
      pair.push_back(std::move(given));
      return true;
    }
    return mode == Mode::Merges ? merge(given)
                                : value(std::move(given), "a string");
  }
  bool key(std::string &name) override {
    pendingKey = std::move(name);
    return true;
  }

  bool start_object(size_t) override {
    if (mode != Mode::Tree)
      return wrong("an object");
    if (atModelKey("vocab")) {
      mode = Mode::Vocabulary;
      document.hasVocabulary = true;
      return true;
    }
    return open(Json::object());
  }
  bool end_object() override {
    if (mode == Mode::Tree)
      stack.pop_back();
    mode = Mode::Tree;
    return true;
  }
  bool start_array(size_t) override {
    if (mode == Mode::Merges) {
      mode = Mode::Pair;
      pair.clear();
      return true;
    }
    if (mode != Mode::Tree)
      return wrong("an array");
    if (atModelKey("merges")) {
      mode = Mode::Merges;
      document.hasMerges = true;
      return true;
    }
    return open(Json::array());
  }
  bool end_array() override {
    if (mode == Mode::Pair)
      return endPair();
    if (mode == Mode::Tree)
      stack.pop_back();
    mode = Mode::Tree;
    return true;
  }
  bool parse_error(size_t position, const std::string &,
                   const nlohmann::detail::exception &) override {
    status = {NJU_DATA_LOSS,
              "not valid JSON at byte " + std::to_string(position)};
    return false;
  }

private:
  enum class Mode { Tree, Vocabulary, Merges, Pair };

  bool atModelKey(std::string_view name) const {
    return stack.size() == 2 && stack[1] == model && pendingKey == name;
  }

  /// Puts a value at the present place of the tree; returns where it is.
  Json *place(Json json) {
    if (stack.empty()) {
      document.rest = std::move(json);
      return &document.rest;
    }
    Json &parent = *stack.back();
    if (parent.is_array()) {
      parent.push_back(std::move(json));
      return &parent.back();
    }
    return &(parent[pendingKey] = std::move(json));
  }

  bool open(Json json) {
    if (stack.size() == maxNesting) {
      status = {NJU_DATA_LOSS, "the JSON is nested more than " +
                                   std::to_string(maxNesting) + " deep"};
      return false;
    }
    bool isModel = stack.size() == 1 && stack[0]->is_object() &&
                   json.is_object() && pendingKey == "model";
    stack.push_back(place(std::move(json)));
    if (isModel)
      model = stack.back();
    return true;
  }

  bool value(Json json, const char *what) {
    if (mode != Mode::Tree)
      return wrong(what);
    place(std::move(json));
    return true;
  }

  bool token(int64_t number) {
    document.vocabulary.emplace_back(std::move(pendingKey), number);
    return true;
  }

  bool merge(std::string_view text) {
    size_t space = text.find(' ');
    if (space == std::string_view::npos ||
        text.find(' ', space + 1) != std::string_view::npos)
      return wrong(quote(text));
    document.merges.emplace_back(text.substr(0, space), text.substr(space + 1));
    return true;
  }

  bool endPair() {
    mode = Mode::Merges;
    if (pair.size() != 2)
      return wrong("an array of " + std::to_string(pair.size()));
    document.merges.emplace_back(std::move(pair[0]), std::move(pair[1]));
    return true;
  }

  bool wrong(const std::string &what) {
    if (mode == Mode::Vocabulary)
      status = {NJU_DATA_LOSS, "model.vocab: the number of token " +
                                   quote(pendingKey) + " is " + what +
                                   ", expected a whole number"};
    else
      status = {NJU_DATA_LOSS, "model.merges[" +
                                   std::to_string(document.merges.size()) +
                                   "] is " + what + ", expected two tokens"};
    return false;
  }

  TokenizerDocument &document;
  Mode mode = Mode::Tree;
  std::vector<Json *> stack; ///< The open objects and arrays of the tree.
  const Json *model = nullptr;
  std::string pendingKey;
  std::vector<std::string> pair;
};

} // namespace

Result<TokenizerDocument> parseTokenizerDocument(std::string_view bytes) {
  TokenizerDocument document;
  DocumentBuilder builder(document);
  bool complete = Json::sax_parse(bytes.begin(), bytes.end(), &builder);
  if (builder.status.ok() && !complete)
    return {NJU_DATA_LOSS, "not valid JSON"};
  if (!builder.status.ok())
    return builder.status;
  return document;
}

Result<Json> parseJson(std::string_view bytes, const std::string &name) {
  Result<TokenizerDocument> document = parseTokenizerDocument(bytes);
  if (document.ok())
    return std::move(document->rest);
  return {document.status().code, name + ": " + document.status().message};
}

} // namespace nju::tokenizer
