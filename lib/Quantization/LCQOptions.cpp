//===- LCQOptions.cpp - How a matrix is to be quantized -------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Quantization/LCQOptions.h"

#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/Twine.h"

using namespace nju::lcq;
using llvm::Error;
using llvm::Expected;
using llvm::StringRef;
using llvm::Twine;

static Error makeError(const Twine &message) {
  return llvm::createStringError(message);
}

LCQOptions LCQOptions::getDefault(unsigned bits) {
  LCQOptions options;
  options.bits = bits;
  return options;
}

Error LCQOptions::verify() const {
  if (bits < kMinBits || bits > kMaxBits)
    return makeError("bits=" + Twine(bits) + " is not supported, expected " +
                     Twine(kMinBits) + " to " + Twine(kMaxBits));
  if (group < 1)
    return makeError("group=" + Twine(group) +
                     " is not supported, expected 1 column or more");
  if (rank > getLevels())
    return makeError("rank=" + Twine(rank) + " is more than the " +
                     Twine(getLevels()) + " codewords that " + Twine(bits) +
                     " bits tell apart");
  if (rank < 1 || rank > kMaxRank)
    return makeError("rank=" + Twine(rank) +
                     " is not supported, expected 1 to " + Twine(kMaxRank));
  if (scaleBits != 8 && scaleBits != 16)
    return makeError("double-quant=" + Twine(scaleBits) +
                     " is not supported, expected 8 (int8 and an f32 a row) or "
                     "16 (f16)");
  return Error::success();
}

/// Sets what `item`, "key=value" or "offset", says.
static Error parseItem(StringRef item, LCQOptions &options) {
  auto [key, value] = item.split('=');
  if (key == "offset") {
    if (item != "offset")
      return makeError("'offset' takes no value, found '" + item + "'");
    options.offset = true;
    return Error::success();
  }
  if (key != "bits" && key != "group" && key != "rank" && key != "double-quant")
    return makeError("unknown key '" + key +
                     "', expected bits, group, rank, double-quant or offset");
  uint32_t number;
  if (value.getAsInteger(10, number))
    return makeError("'" + key + "' expects a number, found '" + value + "'");
  if (key == "bits")
    options.bits = number;
  else if (key == "group")
    options.group = number;
  else if (key == "rank")
    options.rank = number;
  else
    options.scaleBits = number;
  return Error::success();
}

Expected<LCQOptions> LCQOptions::parse(StringRef text) {
  for (unsigned bits = kMinBits; bits <= kMaxBits; ++bits)
    if (text == ("lcq" + Twine(bits)).str())
      return getDefault(bits);
  StringRef list = text;
  if (!list.consume_front("lcq:") || list.empty())
    return makeError(
        "'" + text +
        "' is no quantization, expected lcq4, lcq3, lcq2 or a list "
        "such as lcq:bits=3,group=64,rank=2,double-quant=8,offset");
  llvm::SmallVector<StringRef> items;
  list.split(items, ',');
  // The bits choose the defaults of the others, wherever they stand.
  LCQOptions options;
  for (StringRef item : items)
    if (item.starts_with("bits="))
      if (Error error = parseItem(item, options))
        return std::move(error);
  options = getDefault(options.bits);
  llvm::SmallVector<StringRef> seen;
  for (StringRef item : items) {
    StringRef key = item.split('=').first;
    if (llvm::is_contained(seen, key))
      return makeError("'" + key + "' is given twice in '" + text + "'");
    seen.push_back(key);
    if (Error error = parseItem(item, options))
      return std::move(error);
  }
  if (Error error = options.verify())
    return std::move(error);
  return options;
}

std::string LCQOptions::str() const {
  return ("lcq:bits=" + Twine(bits) + ",group=" + Twine(group) +
          ",rank=" + Twine(rank) + ",double-quant=" + Twine(scaleBits) +
          (offset ? ",offset" : ""))
      .str();
}
