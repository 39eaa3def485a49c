//===- SpecialTokens.cpp - which tokens begin and end a text --------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "HuggingFace.h"

namespace nju::tokenizer {

namespace {

// Names that published models give the tokens, the most specific first.
constexpr std::string_view beginNames[] = {
    "<|begin_of_text|>", "<|startoftext|>", "<bos>", "<s>", "[BOS]",
    "<|endoftext|>"};
constexpr std::string_view endNames[] = {
    "<|end_of_text|>", "<|endoftext|>", "</s>",       "<eos>",
    "<|im_end|>",      "<|eot_id|>",    "<|eom_id|>", "<|end|>",
    "<end_of_turn>",   "[EOS]"};

/// The mark with this name; -1 if the name is not there or is ordinary text.
int32_t findMark(std::string_view name, const Parts &parts) {
  int32_t token = parts.vocabulary.find(name);
  bool text = token >= 0 && parts.vocabulary.kind(token) == TokenKind::Normal;
  return text ? -1 : token;
}

/// The token that a field of tokenizer_config.json names, as a string or as an
/// object with a content; -1 if it names none.
int32_t namedToken(const Json &config, const char *key, const Parts &parts) {
  auto found = config.find(key);
  if (found == config.end())
    return -1;
  const Json *name = &*found;
  if (name->is_object() && name->contains("content"))
    name = &(*name)["content"];
  if (!name->is_string())
    return -1;
  return parts.vocabulary.find(name->get_ref<const std::string &>());
}

void addEnd(Parts &parts, int64_t token) {
  if (token < 0 || token > maxTokenId ||
      !parts.vocabulary.contains(static_cast<int32_t>(token)))
    return;
  auto id = static_cast<int32_t>(token);
  if (std::find(parts.eos.begin(), parts.eos.end(), id) == parts.eos.end())
    parts.eos.push_back(id);
}

Result<Json> parseCompanion(std::string_view bytes, const char *name) {
  if (bytes.empty())
    return Json::object();
  Result<Json> json = parseJson(bytes, name);
  if (json.ok() && !json->is_object())
    return {NJU_DATA_LOSS, std::string(name) + ": the document is " +
                               describe(*json) + ", expected an object"};
  return json;
}

} // namespace

Status readSpecialTokens(const TokenizerFiles &files, Parts &parts) {
  Result<Json> config = parseCompanion(files.config, "tokenizer_config.json");
  if (!config.ok())
    return config.status();
  Result<Json> generation =
      parseCompanion(files.generation, "generation_config.json");
  if (!generation.ok())
    return generation.status();

  parts.bos = namedToken(*config, "bos_token", parts);
  if (parts.bos < 0 && !parts.prefix.empty())
    parts.bos = parts.prefix.front();
  for (std::string_view name : beginNames)
    if (parts.bos < 0)
      parts.bos = findMark(name, parts);

  addEnd(parts, namedToken(*config, "eos_token", parts));
  if (auto ids = generation->find("eos_token_id"); ids != generation->end()) {
    if (ids->is_number_integer())
      addEnd(parts, ids->get<int64_t>());
    for (const Json &id : *ids)
      if (ids->is_array() && id.is_number_integer())
        addEnd(parts, id.get<int64_t>());
  }
  for (std::string_view name : endNames)
    addEnd(parts, findMark(name, parts));
  return Status::success();
}

} // namespace nju::tokenizer
