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

Status readVocabulary(const Json &vocab, const std::string &path,
                      Vocabulary &vocabulary) {
  for (auto entry = vocab.begin(); entry != vocab.end(); ++entry) {
    if (!entry->is_number_integer())
      return {NJU_DATA_LOSS,
              path + ": the number of token " + quote(entry.key()) + " is " +
                  describe(*entry) + ", expected a whole number"};
    // Numbers beyond the signed range become negative and are refused too.
    Status status =
        vocabulary.add(entry->get<int64_t>(), entry.key(), TokenKind::Normal);
    if (!status.ok())
      return {status.code, path + ": " + status.message};
  }
  return Status::success();
}

/// A merge is "left right" or, in newer files, ["left", "right"].
Result<BpeModel::StringPair> readMerge(const Json &merge, size_t index) {
  auto wrong = [&](const std::string &what) {
    return Status(NJU_DATA_LOSS, "model.merges[" + std::to_string(index) +
                                     "] is " + what + ", expected two tokens");
  };
  if (merge.is_string()) {
    std::string_view text = merge.get_ref<const std::string &>();
    size_t space = text.find(' ');
    if (space == std::string_view::npos ||
        text.find(' ', space + 1) != std::string_view::npos)
      return wrong(quote(text));
    return BpeModel::StringPair(text.substr(0, space), text.substr(space + 1));
  }
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
      merge[1].is_string())
    return BpeModel::StringPair(merge[0].get_ref<const std::string &>(),
                                merge[1].get_ref<const std::string &>());
  return wrong(merge.is_array() ? "an array of other things" : describe(merge));
}

Status readBpe(const JsonFields &fields, Parts &parts, Status &status) {
  BpeModel::Options options;
  options.fuseUnknown = fields.boolean("fuse_unk", false);
  options.byteFallback = fields.boolean("byte_fallback", false);
  options.ignoreMerges = fields.boolean("ignore_merges", false);
  options.prefix = fields.string("continuing_subword_prefix", "");
  options.suffix = fields.string("end_of_word_suffix", "");
  std::string unknown = fields.string("unk_token", "");
  const Json &merges = fields.array("merges");
  if (!status.ok())
    return status;
  if (fields.find("unk_token")) {
    options.unknown = parts.vocabulary.find(unknown);
    if (options.unknown < 0) {
      fields.fail("unk_token",
                  "is " + quote(unknown) + ", which is not in the vocabulary");
      return status;
    }
  }
  std::vector<BpeModel::StringPair> pairs;
  pairs.reserve(merges.size());
  for (const Json &merge : merges) {
    Result<BpeModel::StringPair> pair = readMerge(merge, pairs.size());
    if (!pair.ok())
      return pair.status();
    pairs.push_back(*pair);
  }
  auto model = std::make_unique<BpeModel>(parts.vocabulary, std::move(options));
  status = model->setMerges(pairs);
  parts.model = std::move(model);
  return status;
}

Status readWordLevel(const JsonFields &fields, Parts &parts, Status &status) {
  std::string unknown = fields.string("unk_token", "");
  int32_t token = -1;
  if (fields.find("unk_token"))
    token = parts.vocabulary.find(unknown);
  parts.model = std::make_unique<WordLevelModel>(parts.vocabulary, token);
  return status;
}

/// Reads the vocabulary and then, when the added tokens are known too, `rest`.
Status readModel(const Json &json, Parts &parts) {
  Status status;
  JsonFields fields(json, "model", status);
  std::string type =
      fields.string("type", fields.find("merges") ? "BPE" : "WordLevel");
  if (status.ok() && type == "BPE")
    return readBpe(fields, parts, status);
  if (status.ok() && type == "WordLevel")
    return readWordLevel(fields, parts, status);
  fields.fail("type",
              "is " + quote(type) +
                  ", which is not supported; supported are BPE and WordLevel",
              NJU_INCOMPATIBLE);
  return status;
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

const Json &member(const Json &document, const char *key) {
  static const Json null;
  auto found = document.find(key);
  return found == document.end() ? null : *found;
}

PartsResult loadTokenizerJson(const Json &document,
                              const TokenizerFiles &files) {
  auto parts = std::make_unique<Parts>();
  Status status;
  JsonFields model(member(document, "model"), "model", status);
  const Json *vocab = model.find("vocab");
  if (status.ok() && vocab && vocab->is_object())
    status = readVocabulary(*vocab, "model.vocab", parts->vocabulary);
  if (status.ok())
    status = readNormalizer(member(document, "normalizer"), "normalizer",
                            parts->normalizer);
  const Json &added = member(document, "added_tokens");
  for (size_t i = 0; added.is_array() && status.ok() && i < added.size(); ++i)
    status = readAddedToken(added[i], "added_tokens[" + std::to_string(i) + "]",
                            *parts);
  parts->vocabulary.index();
  if (status.ok())
    status = readModel(member(document, "model"), *parts);
  if (status.ok() && (!vocab || !vocab->is_object()))
    model.fail("vocab", vocab ? std::string("is ") + describe(*vocab) +
                                    ", expected an object"
                              : "is missing, expected an object");
  if (status.ok())
    status = readPreTokenizer(member(document, "pre_tokenizer"),
                              "pre_tokenizer", parts->preTokenizer);
  if (status.ok())
    status =
        readDecoder(member(document, "decoder"), "decoder", parts->decoder);
  if (status.ok())
    status = readPostProcessor(member(document, "post_processor"),
                               "post_processor", *parts);
  if (status.ok())
    status = readSpecialTokens(files, *parts);
  if (!status.ok())
    return status;
  return parts;
}

} // namespace

PartsResult loadGpt2(const Json &vocab, const TokenizerFiles &files);

Result<Json> parseJson(std::string_view bytes, const std::string &name) {
  std::string where = name.empty() ? "" : name + ": ";
  try {
    return Json::parse(bytes.begin(), bytes.end());
  } catch (const Json::parse_error &error) {
    return {NJU_DATA_LOSS,
            where + "not valid JSON at byte " + std::to_string(error.byte)};
  } catch (const Json::exception &error) {
    return {NJU_DATA_LOSS, where + "not valid JSON: " + error.what()};
  }
}

PartsResult loadJson(const TokenizerFiles &files) {
  Result<Json> document = parseJson(files.main, "");
  if (!document.ok())
    return document.status();
  // A vocabulary may have a token called "model", which has a number.
  bool vocabulary = !document->is_object() || !document->contains("model") ||
                    (*document)["model"].is_number();
  if (!vocabulary)
    return loadTokenizerJson(*document, files);
  return loadGpt2(*document, files);
}

} // namespace nju::tokenizer
