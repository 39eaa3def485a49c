//===- TestModule.h - A module and a folder to test with --------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_UNITTESTS_TARGET_TESTMODULE_H
#define NJU_UNITTESTS_TARGET_TESTMODULE_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "nju/Dialect/NJU/IR/ModelFolder.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include "nju/Target/ToLLVM.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"
#include "gtest/gtest.h"
#include <set>
#include <string>

namespace nju::test {

/// A module that is parsed from text, and an empty folder that is removed.
class TestModule : public testing::Test {
protected:
  TestModule() : context(makeRegistry()) {
    context.loadAllAvailableDialects();
    llvm::sys::fs::createUniqueDirectory("nju-test", folder);
  }
  ~TestModule() override { llvm::sys::fs::remove_directories(folder); }

  static mlir::DialectRegistry makeRegistry() {
    mlir::DialectRegistry registry;
    registerTargetInterfaces(registry);
    registry.insert<NJUDialect>();
    return registry;
  }

  void parse(llvm::StringRef text) {
    module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
    ASSERT_TRUE(module);
    setModelFolder(*module, folder.str());
  }
  std::string file(llvm::StringRef name) {
    llvm::SmallString<128> path = folder;
    llvm::sys::path::append(path, name);
    return path.str().str();
  }
  void writeBytes(llvm::StringRef name, const void *data, size_t size) {
    std::error_code error;
    llvm::raw_fd_ostream out(file(name), error);
    ASSERT_FALSE(error);
    out.write(static_cast<const char *>(data), size);
  }
  /// The folder holds nothing but `names`.
  bool isEmptyBut(const std::set<std::string> &names) {
    std::error_code error;
    for (llvm::sys::fs::directory_iterator entry(folder, error), end;
         entry != end && !error; entry.increment(error))
      if (!names.count(llvm::sys::path::filename(entry->path()).str()))
        return false;
    return true;
  }
  /// `function` fails with a diagnostic that contains `text`.
  template <typename Function>
  void expectError(Function function, llvm::StringRef text) {
    std::string messages;
    mlir::ScopedDiagnosticHandler handler(&context,
                                          [&](mlir::Diagnostic &diagnostic) {
                                            messages += diagnostic.str() + "\n";
                                          });
    EXPECT_TRUE(mlir::failed(function()));
    EXPECT_NE(messages.find(text.str()), std::string::npos)
        << "expected '" << text.str() << "' in: " << messages;
  }

  mlir::MLIRContext context;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  llvm::SmallString<128> folder;
};

} // namespace nju::test

#endif // NJU_UNITTESTS_TARGET_TESTMODULE_H
