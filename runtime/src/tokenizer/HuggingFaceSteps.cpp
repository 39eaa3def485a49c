//===- HuggingFaceSteps.cpp - components of tokenizer.json ----------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ByteLevel.h"
#include "HuggingFace.h"
#include <map>

namespace nju::tokenizer {

namespace {

/// Sequences inside sequences; a damaged file must not exhaust the stack.
constexpr int maxDepth = 16;

Status tooDeep(const std::string &path) {
  return {NJU_DATA_LOSS,
          path + " is nested more than " + std::to_string(maxDepth) + " deep"};
}

/// Calls `read` for each element of the array `key`.
template <typename Read>
Status readEach(const JsonFields &fields, const char *key, Status &status,
                Read &&read) {
  const Json &elements = fields.array(key);
  for (size_t i = 0; status.ok() && i < elements.size(); ++i)
    status = read(elements[i],
                  fields.path() + "." + key + "[" + std::to_string(i) + "]");
  return status;
}

void failType(const JsonFields &fields, const std::string &type,
              const char *supported) {
  fields.fail("type",
              "is " + quote(type) + ", which is not supported; supported are " +
                  supported,
              NJU_INCOMPATIBLE);
}

/// A pattern: {"String": ...} or {"Regex": ...}.
void readPattern(const JsonFields &fields, Status &status, std::string &string,
                 std::optional<Regex> &regex) {
  const Json &json = fields.object("pattern");
  if (!status.ok())
    return;
  JsonFields pattern(json, fields.path() + ".pattern", status);
  if (!pattern.find("Regex")) {
    string = pattern.string("String");
    if (status.ok() && string.empty())
      pattern.fail("String", "is empty, expected the text to look for");
    return;
  }
  Result<Regex> compiled = Regex::compile(pattern.string("Regex"));
  if (compiled.ok())
    regex = std::move(*compiled);
  else if (status.ok())
    status = {compiled.status().code,
              fields.path() + ": " + compiled.status().message};
}

PreTokenizerStep::Behavior readBehavior(const JsonFields &fields,
                                        const char *missing) {
  using Behavior = PreTokenizerStep::Behavior;
  static const std::map<std::string, Behavior> names = {
      {"Removed", Behavior::Removed},
      {"Isolated", Behavior::Isolated},
      {"MergedWithPrevious", Behavior::MergedWithPrevious},
      {"MergedWithNext", Behavior::MergedWithNext},
      {"Contiguous", Behavior::Contiguous}};
  std::string name = fields.string("behavior", missing);
  auto found = names.find(name);
  if (found != names.end())
    return found->second;
  fields.fail("behavior", "is " + quote(name) +
                              ", expected Removed, Isolated, "
                              "MergedWithPrevious, MergedWithNext or "
                              "Contiguous");
  return Behavior::Isolated;
}

/// `prepend_scheme`, or `add_prefix_space` as older files say it.
PreTokenizerStep::Prepend readPrepend(const JsonFields &fields) {
  using Prepend = PreTokenizerStep::Prepend;
  bool prefix = fields.boolean("add_prefix_space", true);
  std::string scheme =
      fields.string("prepend_scheme", prefix ? "always" : "never");
  if (scheme == "always")
    return Prepend::Always;
  if (scheme == "first")
    return Prepend::First;
  if (scheme != "never")
    fields.fail("prepend_scheme",
                "is " + quote(scheme) + ", expected always, first or never");
  return Prepend::Never;
}

std::string readReplacement(const JsonFields &fields) {
  std::string replacement = fields.string("replacement", "\xE2\x96\x81");
  if (replacement.empty())
    fields.fail("replacement", "is empty, expected one character");
  return replacement;
}

} // namespace

Status readNormalizer(const Json &json, const std::string &path,
                      Normalizer &normalizer, int depth) {
  if (json.is_null())
    return Status::success();
  if (depth > maxDepth)
    return tooDeep(path);
  Status status;
  JsonFields fields(json, path, status);
  std::string type = fields.string("type");
  if (!status.ok())
    return status;
  using Kind = NormalizerStep::Kind;
  if (type == "Sequence")
    return readEach(fields, "normalizers", status,
                    [&](const Json &element, const std::string &where) {
                      return readNormalizer(element, where, normalizer,
                                            depth + 1);
                    });
  static const std::map<std::string, Kind> kinds = {
      {"NFC", Kind::Nfc},         {"NFD", Kind::Nfd},
      {"NFKC", Kind::Nfkc},       {"NFKD", Kind::Nfkd},
      {"Strip", Kind::Strip},     {"StripAccents", Kind::StripAccents},
      {"Prepend", Kind::Prepend}, {"Lowercase", Kind::Lowercase},
      {"Replace", Kind::Replace}, {"ByteLevel", Kind::ByteLevel}};
  auto found = kinds.find(type);
  if (found == kinds.end()) {
    failType(fields, type,
             "NFC, NFD, NFKC, NFKD, Strip, StripAccents, Prepend, Lowercase, "
             "Replace, ByteLevel and Sequence");
    return status;
  }
  NormalizerStep step{found->second};
  if (step.kind == Kind::Strip) {
    step.left = fields.boolean("strip_left", true);
    step.right = fields.boolean("strip_right", true);
  } else if (step.kind == Kind::Prepend) {
    step.content = fields.string("prepend");
  } else if (step.kind == Kind::Replace) {
    readPattern(fields, status, step.pattern, step.regex);
    step.content = fields.string("content");
  }
  if (status.ok())
    normalizer.add(std::move(step));
  return status;
}

Status readPreTokenizer(const Json &json, const std::string &path,
                        PreTokenizer &preTokenizer, int depth) {
  if (json.is_null())
    return Status::success();
  if (depth > maxDepth)
    return tooDeep(path);
  Status status;
  JsonFields fields(json, path, status);
  std::string type = fields.string("type");
  if (!status.ok())
    return status;
  using Kind = PreTokenizerStep::Kind;
  if (type == "Sequence")
    return readEach(fields, "pretokenizers", status,
                    [&](const Json &element, const std::string &where) {
                      return readPreTokenizer(element, where, preTokenizer,
                                              depth + 1);
                    });
  static const std::map<std::string, Kind> kinds = {
      {"ByteLevel", Kind::ByteLevel},
      {"Split", Kind::Split},
      {"Whitespace", Kind::Whitespace},
      {"WhitespaceSplit", Kind::WhitespaceSplit},
      {"Metaspace", Kind::Metaspace},
      {"Digits", Kind::Digits},
      {"Punctuation", Kind::Punctuation}};
  auto found = kinds.find(type);
  if (found == kinds.end()) {
    failType(fields, type,
             "ByteLevel, Split, Whitespace, WhitespaceSplit, Metaspace, "
             "Digits, Punctuation and Sequence");
    return status;
  }
  PreTokenizerStep step{found->second};
  switch (step.kind) {
  case Kind::ByteLevel:
    if (fields.boolean("add_prefix_space", true))
      step.prepend = PreTokenizerStep::Prepend::Always;
    if (fields.boolean("use_regex", true)) {
      Result<Regex> regex = Regex::compile(gpt2Pattern);
      if (!regex.ok())
        return regex.status();
      step.regex = std::move(*regex);
    }
    break;
  case Kind::Split:
    readPattern(fields, status, step.pattern, step.regex);
    step.behavior = readBehavior(fields, "Isolated");
    step.invert = fields.boolean("invert", false);
    break;
  case Kind::Metaspace:
    step.pattern = readReplacement(fields);
    step.prepend = readPrepend(fields);
    step.split = fields.boolean("split", true);
    break;
  case Kind::Digits:
    step.individual = fields.boolean("individual_digits", false);
    break;
  case Kind::Punctuation:
    step.behavior = readBehavior(fields, "Isolated");
    break;
  default:
    break;
  }
  if (status.ok())
    preTokenizer.add(std::move(step));
  return status;
}

Status readDecoder(const Json &json, const std::string &path, Decoder &decoder,
                   int depth) {
  using Kind = DecoderStep::Kind;
  if (json.is_null()) {
    decoder.steps.push_back({Kind::Join});
    return Status::success();
  }
  if (depth > maxDepth)
    return tooDeep(path);
  Status status;
  JsonFields fields(json, path, status);
  std::string type = fields.string("type");
  if (!status.ok())
    return status;
  if (type == "Sequence")
    return readEach(fields, "decoders", status,
                    [&](const Json &element, const std::string &where) {
                      return readDecoder(element, where, decoder, depth + 1);
                    });
  static const std::map<std::string, Kind> kinds = {
      {"ByteLevel", Kind::ByteLevel},
      {"Replace", Kind::Replace},
      {"ByteFallback", Kind::ByteFallback},
      {"Fuse", Kind::Fuse},
      {"Strip", Kind::Strip},
      {"Metaspace", Kind::Metaspace},
      {"BPEDecoder", Kind::Suffix}};
  auto found = kinds.find(type);
  if (found == kinds.end()) {
    failType(fields, type,
             "ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace, "
             "BPEDecoder and Sequence");
    return status;
  }
  DecoderStep step{found->second};
  if (step.kind == Kind::Replace) {
    readPattern(fields, status, step.pattern, step.regex);
    step.content = fields.string("content");
  } else if (step.kind == Kind::ByteFallback) {
    decoder.replaceEachByte = true;
  } else if (step.kind == Kind::Strip) {
    step.content = fields.string("content");
    if (status.ok() && step.content.empty())
      fields.fail("content", "is empty, expected one character");
    int64_t start = fields.integer("start", 0),
            stop = fields.integer("stop", 0);
    if (start < 0 || stop < 0)
      fields.fail("start", "or stop is negative");
    step.start = static_cast<size_t>(start);
    step.stop = static_cast<size_t>(stop);
  } else if (step.kind == Kind::Metaspace) {
    step.pattern = readReplacement(fields);
    step.dropLeadingSpace =
        readPrepend(fields) != PreTokenizerStep::Prepend::Never;
  } else if (step.kind == Kind::Suffix) {
    step.pattern = fields.string("suffix", "</w>");
    if (status.ok() && step.pattern.empty())
      fields.fail("suffix", "is empty, expected the end of a word");
  }
  if (status.ok())
    decoder.steps.push_back(std::move(step));
  return status;
}

} // namespace nju::tokenizer
