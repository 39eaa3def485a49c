//===- OutputFile.h - Files that appear complete or not at all --*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_SUPPORT_OUTPUTFILE_H
#define NJU_SUPPORT_OUTPUTFILE_H

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>

namespace nju {

/// A file that is written under a temporary name in the folder of its final
/// name, and renamed when it is complete. Unless `commit` succeeds nothing is
/// left behind, also after a signal that ends the program (handleInterrupts).
/// A device or a pipe is written as it is. Not thread-safe.
class OutputFile {
public:
  /// Creates the temporary file. Existing files are replaced only by `commit`.
  static llvm::Expected<std::unique_ptr<OutputFile>>
  create(llvm::StringRef path);
  ~OutputFile();
  OutputFile(const OutputFile &) = delete;
  OutputFile &operator=(const OutputFile &) = delete;

  /// The final name.
  llvm::StringRef getPath() const { return path; }
  /// The name to write to from elsewhere (by another program, say).
  llvm::StringRef getTemporaryPath() const { return temporary; }

  /// Makes sure that there is room for `size` bytes, where the file system can:
  /// a full disk is known before the work is done.
  llvm::Error reserve(uint64_t size);
  /// Lets what follows bypass the page cache, where the file system can: for
  /// files of many gigabytes, which would push everything else out of it (and
  /// whose copying is most of the time). To be called before the first write.
  void bypassCache();
  /// Appends `size` bytes.
  llvm::Error write(const void *data, size_t size);
  llvm::Error write(llvm::StringRef text) {
    return write(text.data(), text.size());
  }
  /// Overwrites bytes that were appended before.
  llvm::Error writeAt(uint64_t offset, const void *data, size_t size);

  /// Gives the file its final name.
  llvm::Error commit();

private:
  OutputFile(llvm::StringRef path, llvm::StringRef temporary, int descriptor)
      : path(path), temporary(temporary), descriptor(descriptor) {}
  llvm::Error failure(llvm::StringRef doing, int error);
  llvm::Error writeNow(const char *bytes, size_t size);
  llvm::Error flush();

  struct Free {
    void operator()(char *data) const { std::free(data); }
  };

  std::string path, temporary;
  int descriptor;
  /// What waits to be written around the cache, which takes whole blocks.
  std::unique_ptr<char, Free> staging;
  size_t staged = 0;
};

/// A file in the system's temporary folder, removed at the end of its life or
/// of the program.
class TemporaryFile {
public:
  static llvm::Expected<TemporaryFile> create(llvm::StringRef suffix,
                                              llvm::StringRef content = "");
  TemporaryFile(TemporaryFile &&other) : path(std::move(other.path)) {
    other.path.clear();
  }
  TemporaryFile &operator=(TemporaryFile &&) = delete;
  ~TemporaryFile();

  llvm::StringRef getPath() const { return path; }

private:
  explicit TemporaryFile(llvm::StringRef path) : path(path) {}
  std::string path;
};

/// Writes a whole small file.
llvm::Error writeFile(llvm::StringRef path, llvm::StringRef content);

} // namespace nju

#endif // NJU_SUPPORT_OUTPUTFILE_H
