//===- Tokenizer.cpp - The tokenizer beside a model -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Tokenizer.h"

#include "nju/Support/OutputFile.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

using namespace llvm;

std::optional<std::string> nju::findTokenizer(StringRef model) {
  for (StringRef name :
       {"tokenizer.json", "tokenizer.model", "tokenizer.bin"}) {
    SmallString<256> path(sys::path::parent_path(model));
    sys::path::append(path, name);
    if (sys::fs::is_regular_file(path))
      return path.str().str();
  }
  return std::nullopt;
}

std::string nju::tokenizerSuffix(StringRef tokenizer) {
  return (".tokenizer" + sys::path::extension(tokenizer)).str();
}

Error nju::copyFile(StringRef from, StringRef to) {
  ErrorOr<std::unique_ptr<MemoryBuffer>> bytes =
      MemoryBuffer::getFile(from, /*IsText=*/false,
                            /*RequiresNullTerminator=*/false);
  if (!bytes)
    return createFileError(from, bytes.getError());
  return writeFile(to, (*bytes)->getBuffer());
}
