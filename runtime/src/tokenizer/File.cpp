//===- File.cpp - finding and reading tokenizer files ---------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Tokenizer.h"
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

namespace nju {

using namespace tokenizer;

namespace {

namespace fs = std::filesystem;

constexpr uintmax_t maxFileSize = uintmax_t(1) << 29;

std::string systemError() { return std::strerror(errno); }

Result<std::string> readFile(const fs::path &path) {
  std::error_code error;
  uintmax_t size = fs::file_size(path, error);
  if (!error && size > maxFileSize)
    return {NJU_RESOURCE_EXHAUSTED,
            path.string() + ": has " + std::to_string(size) +
                " bytes, expected a tokenizer of at most " +
                std::to_string(maxFileSize)};
  std::FILE *file = std::fopen(path.c_str(), "rb");
  if (!file)
    return {errno == ENOENT ? NJU_NOT_FOUND : NJU_IO_ERROR,
            path.string() + ": cannot open: " + systemError()};
  std::string bytes;
  char buffer[1 << 16];
  size_t count;
  // The size may lie (pipes, growing files), so read to the end.
  while ((count = std::fread(buffer, 1, sizeof(buffer), file)) > 0 &&
         bytes.size() <= maxFileSize)
    bytes.append(buffer, count);
  bool failed = std::ferror(file);
  std::string reason = failed ? systemError() : "";
  std::fclose(file);
  if (failed)
    return {NJU_IO_ERROR, path.string() + ": cannot read: " + reason};
  if (bytes.size() > maxFileSize)
    return {NJU_RESOURCE_EXHAUSTED, path.string() +
                                        ": expected a tokenizer of at most " +
                                        std::to_string(maxFileSize) + " bytes"};
  return bytes;
}

/// Reads a file that need not be there.
Result<std::string> readIfPresent(const fs::path &path) {
  std::error_code error;
  if (path.empty() || !fs::is_regular_file(path, error))
    return std::string();
  return readFile(path);
}

Result<fs::path> findInDirectory(const fs::path &directory) {
  for (const char *name :
       {"tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer.bin"}) {
    std::error_code error;
    if (fs::is_regular_file(directory / name, error))
      return directory / name;
  }
  return {NJU_NOT_FOUND, directory.string() +
                             ": no tokenizer in this directory; expected "
                             "tokenizer.json, tokenizer.model, vocab.json "
                             "with merges.txt, or tokenizer.bin"};
}

/// merges.txt that belongs to a vocab.json: of the same stem, if there is one.
fs::path mergesBeside(const fs::path &vocabulary) {
  constexpr std::string_view ending = "vocab.json";
  std::string name = vocabulary.filename().string();
  fs::path plain = vocabulary.parent_path() / "merges.txt";
  if (name.size() < ending.size() ||
      name.compare(name.size() - ending.size(), ending.size(), ending) != 0)
    return plain;
  name.replace(name.size() - ending.size(), ending.size(), "merges.txt");
  fs::path sibling = vocabulary.parent_path() / name;
  std::error_code error;
  return fs::is_regular_file(sibling, error) ? sibling : plain;
}

Result<std::unique_ptr<Tokenizer>> loadFile(const std::string &path) {
  fs::path main = path;
  std::error_code error;
  if (fs::is_directory(main, error)) {
    Result<fs::path> found = findInDirectory(main);
    if (!found.ok())
      return found.status();
    main = *found;
  }
  Result<std::string> bytes = readFile(main);
  if (!bytes.ok())
    return bytes.status();
  fs::path folder = main.parent_path();
  bool json = main.extension() == ".json";
  Result<std::string> merges =
      readIfPresent(json ? mergesBeside(main) : fs::path());
  Result<std::string> config = readIfPresent(folder / "tokenizer_config.json");
  Result<std::string> generation =
      readIfPresent(folder / "generation_config.json");
  for (const Result<std::string> *companion : {&merges, &config, &generation})
    if (!companion->ok())
      return companion->status();
  return Tokenizer::fromFiles(
      {*bytes, *merges, *config, *generation, main.string()});
}

} // namespace

Result<std::unique_ptr<Tokenizer>>
Tokenizer::fromFile(const std::string &path) {
  try {
    return loadFile(path);
  } catch (const std::bad_alloc &) {
    return {NJU_RESOURCE_EXHAUSTED, path + ": out of memory"};
  } catch (const std::exception &error) {
    return {NJU_IO_ERROR, path + ": " + error.what()};
  }
}

} // namespace nju
