//===- OutputFileTests.cpp - Files that appear complete or not at all -----===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestModule.h"
#include "nju/Support/OutputFile.h"
#include "llvm/Support/MemoryBuffer.h"
#include <csignal>
#include <sys/resource.h>

using namespace nju;
using namespace nju::test;

namespace {

class OutputFileTest : public TestModule {
protected:
  std::string content(llvm::StringRef name) {
    auto buffer = llvm::MemoryBuffer::getFile(file(name));
    return buffer ? (*buffer)->getBuffer().str() : "(none)";
  }
};

TEST_F(OutputFileTest, AppearsOnCommit) {
  llvm::cantFail(writeFile(file("a"), "old"));
  {
    auto out = llvm::cantFail(OutputFile::create(file("a")));
    llvm::cantFail(out->write("12345"));
    llvm::cantFail(out->writeAt(1, "XY", 2));
    EXPECT_EQ(content("a"), "old");
    llvm::cantFail(out->commit());
  }
  EXPECT_EQ(content("a"), "1XY45");
  EXPECT_TRUE(isEmptyBut({"a"}));
}

TEST_F(OutputFileTest, LeavesNothingWithoutCommit) {
  {
    auto out = llvm::cantFail(OutputFile::create(file("a")));
    llvm::cantFail(out->write("half"));
  }
  EXPECT_TRUE(isEmptyBut({}));
}

TEST_F(OutputFileTest, BypassingTheCacheChangesNothing) {
  // More than one staging buffer, and an odd rest.
  std::string text;
  for (int i = 0; text.size() < (9 << 20) + 12345; ++i)
    text += std::to_string(i) + ",";
  auto out = llvm::cantFail(OutputFile::create(file("a")));
  out->bypassCache();
  llvm::StringRef rest = text;
  for (size_t size = 1; !rest.empty(); size = size * 3 + 1) {
    llvm::cantFail(out->write(rest.take_front(size)));
    rest = rest.drop_front(std::min(size, rest.size()));
  }
  llvm::cantFail(out->writeAt(0, "Z", 1));
  llvm::cantFail(out->commit());
  text[0] = 'Z';
  EXPECT_TRUE(content("a") == text);
}

TEST_F(OutputFileTest, SaysWhyItCannotWrite) {
  auto out = llvm::cantFail(OutputFile::create(file("a")));
  // A limit on the size of files stands for a full disk.
  rlimit before;
  getrlimit(RLIMIT_FSIZE, &before);
  rlimit small = {1 << 16, before.rlim_max};
  auto *handler = std::signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &small);
  std::string written = llvm::toString(out->write(std::string(1 << 20, 'x')));
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(written, "cannot write '" + file("a") + "': File too large");
}

TEST_F(OutputFileTest, SaysWhyItCannotCreate) {
  auto out = OutputFile::create("/nowhere/a");
  ASSERT_FALSE(out);
  EXPECT_EQ(llvm::toString(out.takeError()),
            "cannot create '/nowhere/a': No such file or directory");
}

} // namespace
