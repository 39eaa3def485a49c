//===- FixturesTest.cpp - Imports the whole models of the tests -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ModelBuilder.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include <gtest/gtest.h>

using namespace nju::test;

/// All .onnx files in a folder, also in environment variable NJU_EXTRA_MODELS.
static std::vector<std::string> findModels() {
  std::vector<std::string> models;
  std::vector<std::string> folders{NJU_SOURCE_DIR "/test/fixtures",
                                   NJU_SOURCE_DIR "/examples/tiny-stories"};
  if (const char *extra = std::getenv("NJU_EXTRA_MODELS"))
    folders.push_back(extra);
  for (const std::string &folder : folders) {
    std::error_code error;
    llvm::sys::fs::directory_iterator it(folder, error), end;
    for (; !error && it != end; it.increment(error))
      if (llvm::sys::path::extension(it->path()) == ".onnx")
        models.push_back(it->path());
  }
  llvm::sort(models);
  return models;
}

TEST(Fixtures, AreImportedWithoutDiagnostics) {
  for (const std::string &path : findModels()) {
    SCOPED_TRACE(path);
    ImportResult result = collect([&](mlir::MLIRContext *context) {
      return nju::importONNX(path, context);
    });
    EXPECT_EQ(result.diagnostics, "");
    EXPECT_NE(result.ir, "");
  }
}
