//===- StagedOutputs.cpp - Files that appear together -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "StagedOutputs.h"

#include "nju/Support/Interrupt.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Process.h"
#include "llvm/Support/Signals.h"

using namespace nju;

StagedOutputs::~StagedOutputs() {
  for (const File &file : files) {
    llvm::sys::fs::remove(file.temporary);
    llvm::sys::DontRemoveFileOnSignal(file.temporary);
  }
}

/// Whether `path` is a safetensors file that nju-compile did not write: the
/// weights of an original model often have just this name.
static bool isForeignWeightFile(llvm::StringRef path) {
  auto buffer = llvm::MemoryBuffer::getFile(path, /*IsText=*/false,
                                            /*RequiresNullTerminator=*/false);
  if (!buffer || (*buffer)->getBufferSize() < 8)
    return false;
  llvm::StringRef bytes = (*buffer)->getBuffer();
  uint64_t length = llvm::support::endian::read64le(bytes.data());
  llvm::StringRef header = bytes.substr(8, length);
  return header.size() == length && header.starts_with("{") &&
         !header.contains("\"nju.hash\"");
}

llvm::Error
StagedOutputs::check(llvm::ArrayRef<llvm::StringRef> suffixes) const {
  namespace fs = llvm::sys::fs;
  llvm::StringRef name = llvm::sys::path::filename(stem);
  if (name.empty() || name == "." || name == ".." || stem.back() == '/')
    return llvm::createStringError("-o '" + stem +
                                   "' names no file, expected a stem such as "
                                   "'model'");
  llvm::StringRef folder = llvm::sys::path::parent_path(stem);
  if (folder.empty())
    folder = ".";
  if (!fs::is_directory(folder))
    return llvm::createStringError("cannot write '" + stem +
                                   "': there is no "
                                   "folder '" +
                                   folder + "'");
  if (std::error_code code = fs::access(folder, fs::AccessMode::Write))
    return llvm::createStringError("cannot write to folder '" + folder +
                                   "': " + code.message());
  for (llvm::StringRef suffix : suffixes) {
    std::string path = stem + suffix.str();
    if (fs::exists(path) && !fs::is_regular_file(path))
      return llvm::createStringError("cannot write '" + path +
                                     "': what is there is no regular file");
    if (suffix == ".safetensors" && isForeignWeightFile(path))
      return llvm::createStringError(
          "'" + path +
          "' was not written by nju-compile and would be "
          "replaced: choose another -o, or remove it");
  }
  return llvm::Error::success();
}

std::string StagedOutputs::add(llvm::StringRef suffix) {
  // The process number keeps two compilations to one stem apart.
  std::string temporary = stem + ".partial" +
                          std::to_string(llvm::sys::Process::getProcessId()) +
                          suffix.str();
  llvm::sys::RemoveFileOnSignal(temporary);
  files.push_back({temporary, stem + suffix.str()});
  return temporary;
}

llvm::Error StagedOutputs::commit() {
  UninterruptedScope scope;
  for (const File &file : files) {
    if (std::error_code code = llvm::sys::fs::rename(file.temporary, file.path))
      return llvm::createFileError(file.path, code);
    llvm::sys::DontRemoveFileOnSignal(file.temporary);
  }
  files.clear();
  scope.ignoreInterrupts();
  return llvm::Error::success();
}
