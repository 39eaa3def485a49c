//===- TokenArray.cpp - Tokens in a NumPy array ---------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TokenArray.h"

#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/Endian.h"
#include <limits>

using llvm::StringRef;
using namespace nju;

static constexpr StringRef kMagic = "\x93NUMPY";

bool nju::isTokenArray(StringRef bytes) { return bytes.starts_with(kMagic); }

/// The header's dict, which is taken from the bytes; empty if there is none.
static StringRef takeHeader(StringRef &bytes) {
  // Magic, version, and the length in 2 bytes or, from version 2 on, in 4.
  if (bytes.size() < 10 || bytes[6] < 1 || bytes[6] > 3)
    return "";
  size_t begin = bytes[6] == 1 ? 10 : 12;
  if (bytes.size() < begin)
    return "";
  size_t length = begin == 10
                      ? llvm::support::endian::read16le(bytes.data() + 8)
                      : llvm::support::endian::read32le(bytes.data() + 8);
  if (bytes.size() - begin < length)
    return "";
  StringRef header = bytes.substr(begin, length);
  bytes = bytes.drop_front(begin + length);
  return header;
}

/// What stands after a key of the dict, which NumPy writes in one form only.
static StringRef valueOf(StringRef header, StringRef key) {
  size_t at = header.find(key);
  return at == StringRef::npos ? ""
                               : header.drop_front(at + key.size()).ltrim();
}

/// The sizes of a shape such as "(3, 5), }"; none if it is not one.
static llvm::SmallVector<int64_t> parseShape(StringRef text) {
  llvm::SmallVector<StringRef> parts;
  llvm::SmallVector<int64_t> shape;
  if (!text.consume_front("("))
    return {};
  text.split(')').first.split(parts, ',');
  for (StringRef part : parts) {
    int64_t size;
    if (part.trim().empty())
      continue;
    if (part.trim().getAsInteger(10, size) || size < 0)
      return {};
    shape.push_back(size);
  }
  return shape;
}

llvm::Expected<TokenArray> nju::readTokenArray(StringRef bytes,
                                               StringRef file) {
  auto fail = [&](const llvm::Twine &what) {
    return llvm::createStringError("calibration tokens '" + file + "' " + what);
  };
  StringRef header = takeHeader(bytes);
  StringRef type = valueOf(header, "'descr':");
  if (header.empty() || type.empty())
    return fail("have no header of a .npy file");
  bool isWide = type.starts_with("'<i8'");
  if (!isWide && !type.starts_with("'<i4'"))
    return fail("have elements of NumPy type " + type.split(',').first +
                ", expected '<i4' or '<i8'");
  if (!valueOf(header, "'fortran_order':").starts_with("False"))
    return fail("are in Fortran order, expected C order");
  llvm::SmallVector<int64_t> shape = parseShape(valueOf(header, "'shape':"));
  if (shape.empty() || shape.size() > 2)
    return fail("have " + llvm::Twine(shape.size()) +
                " dimensions, expected [tokens] or [sequences, tokens]");
  TokenArray array;
  array.rows = shape.size() == 2 ? shape[0] : 1;
  array.columns = shape.back();
  // Compare with the file before memory is asked for.
  uint64_t width = isWide ? 8 : 4, held = bytes.size() / width;
  if (array.columns != 0 && uint64_t(array.rows) > held / array.columns)
    return fail("are truncated");
  array.tokens.reserve(array.rows * array.columns);
  for (int64_t i = 0; i < array.rows * array.columns; ++i) {
    int64_t token =
        isWide ? llvm::support::endian::read64le(bytes.data() + i * 8)
               : int32_t(llvm::support::endian::read32le(bytes.data() + i * 4));
    if (token < 0 || token > std::numeric_limits<int32_t>::max())
      return fail("have " + llvm::Twine(token) + " at index " + llvm::Twine(i) +
                  ", which is no token");
    array.tokens.push_back(token);
  }
  return array;
}
