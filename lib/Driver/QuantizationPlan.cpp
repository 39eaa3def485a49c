//===- QuantizationPlan.cpp - Which weight gets which format ----*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "QuantizationPlan.h"

#include "nju/Support/LCQLayout.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"

using namespace nju;
using lcq::LCQOptions;
using llvm::Expected;
using llvm::StringRef;
using llvm::Twine;

/// Smaller matrices stay: a tile has 16 rows, and lines are 64 bytes.
static constexpr int64_t kLeastRows = 16, kLeastColumns = 32;
/// Of embeddings and the head, unless the plan says otherwise.
static constexpr unsigned kLeastBitsOfTokens = 4;

/// A format that kernels have, or none.
static Expected<QuantizationPlan::Format> parseFormat(StringRef text) {
  if (text == "none")
    return QuantizationPlan::Format();
  Expected<LCQOptions> options = LCQOptions::parse(text);
  if (!options)
    return options.takeError();
  int64_t step = LCQLayout::getLineColumns(options->bits);
  if (options->group % step != 0)
    return llvm::createStringError(
        "'" + text + "' has groups of " + Twine(options->group) +
        ", expected a multiple of " + Twine(step) + " with codes of " +
        Twine(options->bits) + " bits");
  return *options;
}

Expected<QuantizationPlan> QuantizationPlan::get(StringRef text) {
  Expected<Format> format = parseFormat(text);
  if (!format)
    return format.takeError();
  QuantizationPlan plan;
  plan.matrices = plan.embedding = plan.head = *format;
  if (*format && (*format)->bits < kLeastBitsOfTokens)
    plan.embedding = plan.head = LCQOptions::getDefault(kLeastBitsOfTokens);
  return plan;
}

llvm::Error QuantizationPlan::read(StringRef path) {
  auto buffer = llvm::MemoryBuffer::getFile(path, /*IsText=*/true);
  if (!buffer)
    return llvm::createStringError("cannot read the plan '" + path +
                                   "': " + buffer.getError().message());
  source = path.str();
  if (llvm::Error error = parse((*buffer)->getBuffer()))
    return llvm::createStringError("plan '" + path +
                                   "': " + llvm::toString(std::move(error)));
  return llvm::Error::success();
}

llvm::Error QuantizationPlan::parse(StringRef text) {
  Expected<llvm::json::Value> json = llvm::json::parse(text);
  if (!json)
    return json.takeError();
  const llvm::json::Object *object = json->getAsObject();
  if (!object)
    return llvm::createStringError("expected an object");
  auto readFormat = [](StringRef key,
                       const llvm::json::Value &value) -> Expected<Format> {
    if (std::optional<StringRef> format = value.getAsString())
      return parseFormat(*format);
    return llvm::createStringError("'" + key +
                                   "' is no string, expected a "
                                   "format such as \"lcq3\", or \"none\"");
  };
  std::pair<StringRef, Format *> roles[] = {
      {"default", &matrices}, {"embedding", &embedding}, {"head", &head}};
  for (const auto &[key, value] : *object) {
    StringRef name = key;
    auto role = llvm::find_if(roles, [&](auto &r) { return r.first == name; });
    if (role != std::end(roles)) {
      Expected<Format> format = readFormat(name, value);
      if (!format)
        return format.takeError();
      *role->second = *format;
      decidesEmbedding |= name == "embedding";
      decidesHead |= name == "head";
      continue;
    }
    const llvm::json::Object *tensors = value.getAsObject();
    if (name != "tensors" || !tensors)
      return llvm::createStringError(
          "'" + name +
          "' is not known, expected \"default\", "
          "\"embedding\", \"head\" and an object \"tensors\"");
    for (const auto &[pattern, format] : *tensors) {
      Expected<Format> parsed = readFormat(pattern, format);
      if (!parsed)
        return parsed.takeError();
      rules.push_back({StringRef(pattern).str(), *parsed});
    }
  }
  // A name says more than a pattern, a long pattern more than a short one.
  llvm::sort(rules, [](const Rule &a, const Rule &b) {
    auto rank = [](const Rule &rule) {
      return std::make_tuple(StringRef(rule.pattern).contains('*'),
                             -int64_t(rule.pattern.size()), rule.pattern);
    };
    return rank(a) < rank(b);
  });
  return llvm::Error::success();
}

/// Whether `name` is `pattern` with some text for each *.
static bool matches(StringRef pattern, StringRef name) {
  auto [first, rest] = pattern.split('*');
  if (!pattern.contains('*'))
    return pattern == name;
  if (!name.consume_front(first))
    return false;
  for (size_t skip = 0; skip <= name.size(); ++skip)
    if (matches(rest, name.drop_front(skip)))
      return true;
  return false;
}

const QuantizationPlan::Rule *QuantizationPlan::findRule(StringRef name) const {
  auto rule = llvm::find_if(
      rules, [&](const Rule &rule) { return matches(rule.pattern, name); });
  return rule == rules.end() ? nullptr : &*rule;
}

bool QuantizationPlan::decides(const QuantizableWeight &weight) const {
  ParamOp param = weight.param;
  if (names(param.getSymName()))
    return true;
  return weight.isHead ? decidesHead : weight.isEmbedding && decidesEmbedding;
}

bool QuantizationPlan::isLargeEnough(const QuantizableWeight &weight) {
  return weight.rows >= kLeastRows && weight.columns >= kLeastColumns;
}

Expected<std::vector<QuantizationPlan::Format>>
QuantizationPlan::choose(llvm::ArrayRef<QuantizableWeight> weights) const {
  for (const Rule &rule : rules)
    if (llvm::none_of(weights, [&](const QuantizableWeight &weight) {
          ParamOp param = weight.param;
          return matches(rule.pattern, param.getSymName());
        }))
      return llvm::createStringError(
          "plan '" + source + "': no weight that can be quantized is called '" +
          rule.pattern + "' (--emit=nju shows their names)");
  std::vector<Format> formats;
  for (const QuantizableWeight &weight : weights) {
    ParamOp param = weight.param;
    Format &format = formats.emplace_back();
    if (const Rule *rule = findRule(param.getSymName()))
      format = rule->format;
    else if (!isLargeEnough(weight))
      continue;
    else if (weight.isHead)
      format = head;
    else
      format = weight.isEmbedding ? embedding : matrices;
  }
  return formats;
}

LCQAttr nju::toAttr(mlir::MLIRContext *context, const LCQOptions &format) {
  return LCQAttr::get(context, format.bits, format.group, format.rank,
                      format.scaleBits, format.offset, /*zero_bits=*/0);
}

LCQOptions nju::fromAttr(LCQAttr attr) {
  LCQOptions format;
  format.bits = attr.getBits();
  format.group = attr.getGroup();
  format.rank = attr.getRank();
  format.scaleBits = attr.getScaleBits();
  format.offset = attr.getOffset();
  return format;
}

std::string nju::printPlan(llvm::ArrayRef<QuantizableWeight> weights,
                           llvm::ArrayRef<QuantizationPlan::Format> formats) {
  std::string text;
  llvm::raw_string_ostream os(text);
  llvm::json::OStream json(os, /*IndentSize=*/2);
  json.object([&] {
    for (StringRef role : {"default", "embedding", "head"})
      json.attribute(role, "none");
    json.attributeObject("tensors", [&] {
      for (auto [weight, format] : llvm::zip_equal(weights, formats)) {
        ParamOp param = weight.param;
        if (format)
          json.attribute(param.getSymName(), format->str());
      }
    });
  });
  os << "\n";
  return text;
}
