//===- MatrixStore.cpp - Quantized matrices on disk -------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A file is a line that names the form, then numbers of 8 bytes: the lengths of
// key, basis, factors and codes, the errors, and the checksum of what follows:
// key, basis, factors and codes.
//
//===----------------------------------------------------------------------===//

#include "nju/Quantization/MatrixStore.h"

#include "nju/Support/OutputFile.h"
#include "nju/checksum.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include <cmath>
#include <cstring>

using namespace nju::lcq;
using llvm::StringRef;

static constexpr StringRef kForm = "nju lcq matrix 1\n";
static constexpr StringRef kSuffix = ".lcq";

namespace {

struct Header {
  uint64_t key, basis, factors, codes; ///< Bytes.
  double squares, errors, outputError; ///< NaN: no output error.
  uint64_t checksum;
};

/// A view of the bytes of a vector's elements.
template <typename T>
StringRef bytesOf(const std::vector<T> &elements) {
  return {reinterpret_cast<const char *>(elements.data()),
          elements.size() * sizeof(T)};
}

uint64_t getChecksum(llvm::ArrayRef<StringRef> sections) {
  nju::Checksum checksum;
  for (StringRef section : sections)
    checksum.update(section.data(), section.size());
  return checksum.digest();
}

/// Takes the next bytes of `rest`; false if there are not so many.
template <typename T>
bool take(StringRef &rest, uint64_t bytes, std::vector<T> &elements) {
  if (bytes > rest.size() || bytes % sizeof(T) != 0)
    return false;
  elements.resize(bytes / sizeof(T));
  if (bytes)
    std::memcpy(elements.data(), rest.data(), bytes);
  rest = rest.drop_front(bytes);
  return true;
}

} // namespace

std::string MatrixStore::getPath(StringRef name) const {
  nju::Checksum checksum;
  checksum.update(name.data(), name.size());
  llvm::SmallString<256> path(folder);
  llvm::sys::path::append(path, checksum.hex() + kSuffix);
  return std::string(path);
}

std::optional<StoredMatrix> MatrixStore::load(StringRef name,
                                              StringRef key) const {
  auto buffer = llvm::MemoryBuffer::getFile(getPath(name), /*IsText=*/false,
                                            /*RequiresNullTerminator=*/false);
  if (!buffer)
    return std::nullopt;
  StringRef rest = (*buffer)->getBuffer();
  Header header;
  if (!rest.consume_front(kForm) || rest.size() < sizeof(header))
    return std::nullopt;
  std::memcpy(&header, rest.data(), sizeof(header));
  rest = rest.drop_front(sizeof(header));
  if (header.checksum != getChecksum({rest}))
    return std::nullopt;
  StoredMatrix matrix;
  std::vector<char> found;
  if (!take(rest, header.key, found) ||
      StringRef(found.data(), found.size()) != key ||
      !take(rest, header.basis, matrix.basis) ||
      !take(rest, header.factors, matrix.factors) ||
      !take(rest, header.codes, matrix.codes) || !rest.empty())
    return std::nullopt;
  matrix.weights = {header.squares, header.errors};
  if (!std::isnan(header.outputError))
    matrix.outputError = header.outputError;
  return matrix;
}

llvm::Error MatrixStore::save(StringRef name, StringRef key,
                              const StoredMatrix &matrix) {
  if (std::error_code error = llvm::sys::fs::create_directory(folder))
    return llvm::createStringError("cannot create the folder '" + folder +
                                   "': " + error.message());
  auto file = OutputFile::create(getPath(name));
  if (!file)
    return file.takeError();
  StringRef sections[] = {key, bytesOf(matrix.basis), bytesOf(matrix.factors),
                          bytesOf(matrix.codes)};
  Header header = {sections[0].size(),
                   sections[1].size(),
                   sections[2].size(),
                   sections[3].size(),
                   matrix.weights.squares,
                   matrix.weights.errors,
                   matrix.outputError.value_or(std::nan("")),
                   getChecksum(sections)};
  if (llvm::Error error = (*file)->write(kForm))
    return error;
  if (llvm::Error error = (*file)->write(&header, sizeof(header)))
    return error;
  for (StringRef section : sections)
    if (llvm::Error error = (*file)->write(section))
      return error;
  return (*file)->commit();
}

void MatrixStore::remove() {
  std::error_code error;
  llvm::SmallVector<std::string> paths;
  for (llvm::sys::fs::directory_iterator it(folder, error), end;
       !error && it != end; it.increment(error))
    if (StringRef(it->path()).ends_with(kSuffix))
      paths.push_back(it->path());
  for (const std::string &path : paths)
    llvm::sys::fs::remove(path);
  llvm::sys::fs::remove(folder);
}
