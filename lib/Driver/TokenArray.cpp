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

namespace {

/// What the header of an array says, and the elements behind it.
struct ArrayFile {
  int64_t rows = 0, columns = 0;
  bool isWide = false;
  StringRef elements;

  int64_t get(int64_t index) const {
    const char *at = elements.data() + index * (isWide ? 8 : 4);
    return isWide ? int64_t(llvm::support::endian::read64le(at))
                  : int32_t(llvm::support::endian::read32le(at));
  }
};

} // namespace

/// An error that says what is wrong with the array, or nothing.
static llvm::Error parseArray(StringRef bytes, ArrayFile &array) {
  StringRef header = takeHeader(bytes);
  StringRef type = valueOf(header, "'descr':");
  if (header.empty() || type.empty())
    return llvm::createStringError("have no header of a .npy file");
  array.isWide = type.starts_with("'<i8'");
  if (!array.isWide && !type.starts_with("'<i4'"))
    return llvm::createStringError("have elements of NumPy type " +
                                   type.split(',').first +
                                   ", expected '<i4' or '<i8'");
  if (!valueOf(header, "'fortran_order':").starts_with("False"))
    return llvm::createStringError("are in Fortran order, expected C order");
  llvm::SmallVector<int64_t> shape = parseShape(valueOf(header, "'shape':"));
  if (shape.empty() || shape.size() > 2)
    return llvm::createStringError(
        "have " + llvm::Twine(shape.size()) +
        " dimensions, expected [tokens] or [sequences, tokens]");
  array.rows = shape.size() == 2 ? shape[0] : 1;
  array.columns = shape.back();
  // Compare with the file before memory is asked for.
  uint64_t held = bytes.size() / (array.isWide ? 8 : 4);
  if (array.columns != 0 && uint64_t(array.rows) > held / array.columns)
    return llvm::createStringError("are truncated");
  array.elements = bytes;
  return llvm::Error::success();
}

llvm::Expected<std::vector<std::vector<int32_t>>>
nju::readTokenArray(StringRef bytes, StringRef file) {
  auto fail = [&](const llvm::Twine &what) {
    return llvm::createStringError("calibration tokens '" + file + "' " + what);
  };
  ArrayFile array;
  if (llvm::Error error = parseArray(bytes, array))
    return fail(llvm::toString(std::move(error)));
  std::vector<std::vector<int32_t>> sequences;
  for (int64_t row = 0; row < array.rows; ++row) {
    size_t before = sequences.size();
    bool isInside = false;
    for (int64_t i = row * array.columns; i < (row + 1) * array.columns; ++i) {
      int64_t token = array.get(i);
      if (token > std::numeric_limits<int32_t>::max())
        return fail("have " + llvm::Twine(token) + " at index " +
                    llvm::Twine(i) + ", which is no token");
      if (token >= 0 && !isInside)
        sequences.emplace_back();
      isInside = token >= 0;
      if (isInside)
        sequences.back().push_back(int32_t(token));
    }
    if (sequences.size() == before)
      return fail("have no token in row " + llvm::Twine(row) +
                  ", expected one before the negative numbers");
  }
  return sequences;
}
