//===- HuggingFace.cpp - reading tokenizer.json ---------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "HuggingFace.h"

namespace nju::tokenizer {

namespace {

const Json &member(const Json &document, const char *key) {
  static const Json null;
  auto found = document.find(key);
  return found == document.end() ? null : *found;
}

Status readVocabulary(TokenizerDocument &document, Vocabulary &vocabulary) {
  for (auto &[text, number] : document.vocabulary) {
    Status status = vocabulary.add(number, std::move(text), TokenKind::Normal);
    if (!status.ok())
      return {status.code, "model.vocab: " + status.message};
  }
  return Status::success();
}

Status readBpe(const JsonFields &fields, const TokenizerDocument &document,
               Parts &parts, Status &status) {
  BpeModel::Options options;
  options.fuseUnknown = fields.boolean("fuse_unk", false);
  options.byteFallback = fields.boolean("byte_fallback", false);
  options.ignoreMerges = fields.boolean("ignore_merges", false);
  options.prefix = fields.string("continuing_subword_prefix", "");
  options.suffix = fields.string("end_of_word_suffix", "");
  std::string unknown = fields.string("unk_token", "");
  if (!document.hasMerges)
    fields.array("merges"); // Says what is there instead.
  if (!status.ok())
    return status;
  if (fields.find("unk_token")) {
    options.unknown = parts.vocabulary.findInModel(unknown);
    if (options.unknown < 0) {
      fields.fail("unk_token",
                  "is " + quote(unknown) + ", which is not in the vocabulary");
      return status;
    }
  }
  std::vector<BpeModel::StringPair> pairs(document.merges.begin(),
                                          document.merges.end());
  auto model = std::make_unique<BpeModel>(parts.vocabulary, std::move(options));
  status = model->setMerges(pairs);
  parts.model = std::move(model);
  return status;
}

Status readWordLevel(const JsonFields &fields, Parts &parts, Status &status) {
  std::string unknown = fields.string("unk_token", "");
  int32_t token = -1;
  if (fields.find("unk_token"))
    token = parts.vocabulary.findInModel(unknown);
  parts.model = std::make_unique<WordLevelModel>(parts.vocabulary, token);
  return status;
}

Status readModel(const TokenizerDocument &document, Parts &parts) {
  Status status;
  JsonFields fields(member(document.rest, "model"), "model", status);
  std::string type =
      fields.string("type", document.hasMerges ? "BPE" : "WordLevel");
  if (status.ok() && type != "BPE" && type != "WordLevel")
    fields.fail("type",
                "is " + quote(type) +
                    ", which is not supported; supported are BPE and WordLevel",
                NJU_INCOMPATIBLE);
  if (!document.hasVocabulary)
    fields.object("vocab"); // Says what is there instead.
  if (!status.ok())
    return status;
  return type == "BPE" ? readBpe(fields, document, parts, status)
                       : readWordLevel(fields, parts, status);
}

Status readAddedToken(const Json &json, const std::string &path, Parts &parts) {
  Status status;
  JsonFields fields(json, path, status);
  int64_t id = fields.integer("id");
  AddedToken token;
  token.content = fields.string("content");
  token.special = fields.boolean("special", false);
  token.singleWord = fields.boolean("single_word", false);
  token.stripLeft = fields.boolean("lstrip", false);
  token.stripRight = fields.boolean("rstrip", false);
  bool normalized = fields.boolean("normalized", !token.special);
  if (status.ok())
    status = parts.vocabulary.replace(id, token.content,
                                      token.special ? TokenKind::Control
                                                    : TokenKind::Added);
  // What is looked for in normalized text must be normalized as that is.
  if (status.ok() && normalized)
    status = parts.normalizer.apply(token.content);
  if (!status.ok())
    return status;
  token.id = static_cast<int32_t>(id);
  return (normalized ? parts.normalizedAddedTokens : parts.addedTokens)
      .add(std::move(token));
}

//===----------------------------------------------------------------------===//
// Post-processors: what goes round a text
//===----------------------------------------------------------------------===//

Status checkToken(const Parts &parts, int64_t id, const std::string &path) {
  if (id >= 0 && id <= maxTokenId &&
      parts.vocabulary.contains(static_cast<int32_t>(id)))
    return Status::success();
  return {NJU_DATA_LOSS, path + " names token " + std::to_string(id) +
                             ", which is not in the vocabulary"};
}

/// Appends the token numbers behind a special token of a template.
Status appendSpecial(const Json &specials, const std::string &name,
                     const std::string &path, const Parts &parts,
                     std::vector<int32_t> &out) {
  Status status;
  std::string where = path + ".special_tokens." + name;
  auto found = specials.find(name);
  if (found == specials.end())
    return {NJU_DATA_LOSS, where + " is missing"};
  JsonFields fields(*found, where, status);
  const Json &ids = fields.array("ids");
  for (const Json &id : ids) {
    int64_t value = id.is_number_integer() ? id.get<int64_t>() : -1;
    if (status.ok())
      status = checkToken(parts, value, where);
    if (status.ok())
      out.push_back(static_cast<int32_t>(value));
  }
  return status;
}

Status readTemplate(const JsonFields &fields, Parts &parts, Status &status) {
  const Json &single = fields.array("single");
  const Json *specials = fields.find("special_tokens");
  if (!status.ok())
    return status;
  static const Json none = Json::object();
  if (!specials || !specials->is_object())
    specials = &none;
  bool after = false;
  parts.prefix.clear();
  parts.suffix.clear();
  for (size_t i = 0; i < single.size() && status.ok(); ++i) {
    std::string path = fields.path() + ".single[" + std::to_string(i) + "]";
    JsonFields element(single[i], path, status);
    if (element.find("Sequence")) {
      after = true;
      continue;
    }
    const Json &special = element.object("SpecialToken");
    if (!status.ok())
      return status;
    JsonFields token(special, path + ".SpecialToken", status);
    std::string name = token.string("id");
    if (status.ok())
      status = appendSpecial(*specials, name, fields.path(), parts,
                             after ? parts.suffix : parts.prefix);
  }
  return status;
}

/// BertProcessing and RobertaProcessing: ["[SEP]", 102] and ["[CLS]", 101].
Status readPair(const JsonFields &fields, const char *key, const Parts &parts,
                Status &status, std::vector<int32_t> &out) {
  const Json &pair = fields.array(key);
  if (!status.ok())
    return status;
  if (pair.size() != 2 || !pair[1].is_number_integer()) {
    fields.fail(key, "is malformed, expected a token and its number");
    return status;
  }
  int64_t id = pair[1].get<int64_t>();
  status = checkToken(parts, id, fields.path() + "." + key);
  if (status.ok())
    out = {static_cast<int32_t>(id)};
  return status;
}

Status readPostProcessor(const Json &json, const std::string &path,
                         Parts &parts, int depth = 0) {
  if (json.is_null())
    return Status::success();
  Status status;
  JsonFields fields(json, path, status);
  std::string type = fields.string("type");
  if (!status.ok() || type == "ByteLevel") // That one only moves offsets.
    return status;
  if (type == "TemplateProcessing")
    return readTemplate(fields, parts, status);
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    status = readPair(fields, "cls", parts, status, parts.prefix);
    return status.ok() ? readPair(fields, "sep", parts, status, parts.suffix)
                       : status;
  }
  if (type == "Sequence" && depth < 16) {
    const Json &processors = fields.array("processors");
    for (size_t i = 0; i < processors.size() && status.ok(); ++i)
      status = readPostProcessor(
          processors[i], path + ".processors[" + std::to_string(i) + "]", parts,
          depth + 1);
    return status;
  }
  fields.fail("type",
              "is " + quote(type) +
                  ", which is not supported; supported are ByteLevel, "
                  "TemplateProcessing, BertProcessing, RobertaProcessing and "
                  "Sequence",
              NJU_INCOMPATIBLE);
  return status;
}

//===----------------------------------------------------------------------===//
// Whole documents
//===----------------------------------------------------------------------===//

PartsResult loadTokenizerJson(TokenizerDocument &document,
                              const TokenizerFiles &files) {
  auto parts = std::make_unique<Parts>();
  const Json &rest = document.rest;
  Status status = readVocabulary(document, parts->vocabulary);
  if (status.ok())
    status = readNormalizer(member(rest, "normalizer"), "normalizer",
                            parts->normalizer);
  const Json &added = member(rest, "added_tokens");
  for (size_t i = 0; added.is_array() && status.ok() && i < added.size(); ++i)
    status = readAddedToken(added[i], "added_tokens[" + std::to_string(i) + "]",
                            *parts);
  parts->vocabulary.index();
  if (status.ok())
    status = readModel(document, *parts);
  if (status.ok())
    status = readPreTokenizer(member(rest, "pre_tokenizer"), "pre_tokenizer",
                              parts->preTokenizer);
  if (status.ok())
    status = readDecoder(member(rest, "decoder"), "decoder", parts->decoder);
  if (status.ok())
    status = readPostProcessor(member(rest, "post_processor"), "post_processor",
                               *parts);
  if (status.ok())
    status = readSpecialTokens(files, *parts);
  if (!status.ok())
    return status;
  return parts;
}

} // namespace

PartsResult loadGpt2(const Json &vocab, const TokenizerFiles &files);

PartsResult loadJson(const TokenizerFiles &files) {
  Result<TokenizerDocument> document = parseTokenizerDocument(files.main);
  if (!document.ok())
    return document.status();
  // A vocabulary may have a token called "model", which has a number.
  const Json &rest = document->rest;
  bool vocabulary =
      !rest.is_object() || !rest.contains("model") || rest["model"].is_number();
  if (vocabulary)
    return loadGpt2(rest, files);
  return loadTokenizerJson(*document, files);
}

} // namespace nju::tokenizer
