//===- StagedOutputs.h - Files that appear together -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DRIVER_STAGEDOUTPUTS_H
#define NJU_DRIVER_STAGEDOUTPUTS_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <string>
#include <vector>

namespace nju {

/// The files of one compilation. They are written under temporary names beside
/// their final ones and get those all at the end, so that a failure, a full
/// disk or Ctrl-C leaves what was there before.
class StagedOutputs {
public:
  explicit StagedOutputs(llvm::StringRef stem) : stem(stem) {}
  ~StagedOutputs();
  StagedOutputs(const StagedOutputs &) = delete;
  StagedOutputs &operator=(const StagedOutputs &) = delete;

  /// Fails if the files could not be written: there is no such folder, a folder
  /// is in the way, or the weight file would replace one that is not ours.
  llvm::Error check(llvm::ArrayRef<llvm::StringRef> suffixes) const;

  /// The temporary path of the file that will be `stem` + `suffix`.
  std::string add(llvm::StringRef suffix);

  /// Gives every file its final name.
  llvm::Error commit();

private:
  struct File {
    std::string temporary, path;
  };

  std::string stem;
  std::vector<File> files;
};

} // namespace nju

#endif // NJU_DRIVER_STAGEDOUTPUTS_H
