//===- Gpt2.cpp - vocab.json and merges.txt of GPT-2 ----------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ByteLevel.h"
#include "HuggingFace.h"

namespace nju::tokenizer {

namespace {

/// Lines "left right"; the first line may give the version.
Status readMerges(std::string_view text,
                  std::vector<BpeModel::StringPair> &pairs) {
  size_t number = 0;
  for (size_t position = 0; position < text.size();) {
    size_t end = std::min(text.find('\n', position), text.size());
    std::string_view line = text.substr(position, end - position);
    position = end + 1;
    ++number;
    if (!line.empty() && line.back() == '\r')
      line.remove_suffix(1);
    if (line.empty() || line.substr(0, 9) == "#version:")
      continue;
    size_t space = line.find(' ');
    if (space == std::string_view::npos || space == 0 ||
        space + 1 == line.size() ||
        line.find(' ', space + 1) != std::string_view::npos)
      return {NJU_DATA_LOSS, "merges.txt: line " + std::to_string(number) +
                                 " is " + quote(line) +
                                 ", expected two tokens"};
    pairs.emplace_back(line.substr(0, space), line.substr(space + 1));
  }
  return Status::success();
}

Status readVocabulary(const Json &vocab, Vocabulary &vocabulary) {
  if (!vocab.is_object() || vocab.empty())
    return {NJU_DATA_LOSS,
            std::string("the document is ") +
                (vocab.is_object() ? "an empty object" : describe(vocab)) +
                ", expected tokenizer.json or a vocabulary"};
  for (auto entry = vocab.begin(); entry != vocab.end(); ++entry) {
    if (!entry->is_number_integer())
      return {NJU_DATA_LOSS,
              "neither tokenizer.json (no model) nor a vocabulary (" +
                  quote(entry.key()) + " is " + describe(*entry) + ")"};
    // GPT-2 knows one mark; it is no text.
    TokenKind kind =
        entry.key() == "<|endoftext|>" ? TokenKind::Control : TokenKind::Normal;
    Status status = vocabulary.add(entry->get<int64_t>(), entry.key(), kind);
    if (!status.ok())
      return status;
  }
  vocabulary.index();
  return Status::success();
}

} // namespace

PartsResult loadGpt2(const Json &vocab, const TokenizerFiles &files) {
  auto parts = std::make_unique<Parts>();
  if (Status status = readVocabulary(vocab, parts->vocabulary); !status.ok())
    return status;
  if (files.merges.empty())
    return {NJU_NOT_FOUND, "a vocabulary needs merges.txt beside it"};
  std::vector<BpeModel::StringPair> pairs;
  if (Status status = readMerges(files.merges, pairs); !status.ok())
    return status;
  auto model =
      std::make_unique<BpeModel>(parts->vocabulary, BpeModel::Options());
  if (Status status = model->setMerges(pairs); !status.ok())
    return {status.code, "merges.txt: " + status.message};
  parts->model = std::move(model);

  Result<Regex> regex = Regex::compile(gpt2Pattern);
  if (!regex.ok())
    return regex.status();
  PreTokenizerStep step{PreTokenizerStep::Kind::ByteLevel};
  step.regex = std::move(*regex);
  parts->preTokenizer.add(std::move(step));
  parts->decoder.steps.push_back({DecoderStep::Kind::ByteLevel});

  AddedToken mark;
  mark.content = "<|endoftext|>";
  mark.id = parts->vocabulary.find(mark.content);
  mark.special = true;
  if (mark.id >= 0)
    if (Status status = parts->addedTokens.add(mark); !status.ok())
      return status;
  if (Status status = readSpecialTokens(files, *parts); !status.ok())
    return status;
  return parts;
}

} // namespace nju::tokenizer
