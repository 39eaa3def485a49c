//===- StagedOutputs.cpp - Files that appear together -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "StagedOutputs.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Process.h"
#include "llvm/Support/Signals.h"

using namespace nju;

StagedOutputs::~StagedOutputs() {
  for (const File &file : files) {
    llvm::sys::fs::remove(file.temporary);
    llvm::sys::DontRemoveFileOnSignal(file.temporary);
  }
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
  for (const File &file : files) {
    if (std::error_code code = llvm::sys::fs::rename(file.temporary, file.path))
      return llvm::createFileError(file.path, code);
    llvm::sys::DontRemoveFileOnSignal(file.temporary);
  }
  files.clear();
  return llvm::Error::success();
}
