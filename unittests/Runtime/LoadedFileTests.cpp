//===- LoadedFileTests.cpp - Files read into memory -----------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestUtils.h"

#include "LoadedFile.h"

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <vector>

using namespace nju;
using namespace nju::test;

namespace {
struct Loading : testing::Test {
  /// Some chunks, and a bit that fills no page.
  static constexpr size_t size = (9 << 20) + 123;

  void SetUp() override {
    std::string bytes(size, 0);
    uint32_t state = 7;
    for (char &byte : bytes)
      byte = (state = state * 1664525 + 1013904223) >> 24;
    path = folder.write("file", bytes);
    contents = bytes;
    EXPECT_OK(mapped.open(path, "weight file"));
  }

  /// Makes the system forget the file's pages.
  void forgetPages() {
    int file = open(path.c_str(), O_RDONLY);
    ASSERT_GE(file, 0);
    EXPECT_EQ(fsync(file), 0);
    EXPECT_EQ(posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED), 0);
    close(file);
  }

  nju_status load(LoadedFile &file, const LoadProgress &progress = nullptr) {
    return file.load(path, mapped, "weight file", progress);
  }
  void expectContents(const LoadedFile &file) {
    ASSERT_GE(file.getSize(), size);
    EXPECT_EQ(memcmp(file.getData(), contents.data(), size), 0);
  }

  TemporaryFolder folder;
  std::string path, contents;
  MappedFile mapped;
};
} // namespace

TEST_F(Loading, ReadsWhatIsInThePageCacheAndWhatIsNot) {
  LoadedFile warm;
  ASSERT_OK(load(warm));
  expectContents(warm);
  forgetPages();
  LoadedFile cold;
  ASSERT_OK(load(cold));
  expectContents(cold);
  // A part of it only.
  forgetPages();
  std::string part(5 << 20, 0);
  std::ifstream(path, std::ios::binary).read(part.data(), part.size());
  LoadedFile mixed;
  ASSERT_OK(load(mixed));
  expectContents(mixed);
}

TEST_F(Loading, StartsAtALargePage) {
  LoadedFile file;
  ASSERT_OK(load(file));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(file.getData()) % (2 << 20), 0u);
}

TEST_F(Loading, ReportsProgress) {
  std::vector<uint64_t> steps;
  LoadedFile file;
  ASSERT_OK(load(file, [&](uint64_t done, uint64_t total) {
    EXPECT_EQ(total, size);
    steps.push_back(done);
    return false;
  }));
  EXPECT_TRUE(std::is_sorted(steps.begin(), steps.end()));
  ASSERT_FALSE(steps.empty());
  EXPECT_EQ(steps.back(), size);
}

TEST_F(Loading, StopsWhenAsked) {
  LoadedFile file;
  EXPECT_FAILURE(load(file, [](uint64_t, uint64_t) { return true; }),
                 NJU_CANCELLED,
                 "loading weight file '" + path + "' was cancelled");
}

TEST_F(Loading, NoticesThatTheFileWasCut) {
  ASSERT_EQ(truncate(path.c_str(), 5000000), 0);
  LoadedFile file;
  EXPECT_FAILURE(load(file), NJU_DATA_LOSS,
                 "weight file '" + path +
                     "' ended at byte 5000000 while it was read, expected " +
                     std::to_string(size) + " bytes");
}

TEST_F(Loading, SaysWhyReadingFails) {
  ASSERT_EQ(unlink(path.c_str()), 0);
  LoadedFile gone;
  EXPECT_FAILURE(load(gone), NJU_IO_ERROR,
                 "cannot read weight file '" + path +
                     "' at byte 0: No such file or directory");
  // A folder opens, but cannot be read.
  ASSERT_TRUE(std::filesystem::create_directory(path));
  LoadedFile folder;
  EXPECT_FAILURE(load(folder), NJU_IO_ERROR, ": Is a directory");
}

TEST_F(Loading, SaysHowMuchMemoryIsMissing) {
  // 4 TB on paper; nothing of it is written.
  std::string huge = folder.write("huge", "");
  ASSERT_EQ(truncate(huge.c_str(), off_t(1) << 42), 0);
  MappedFile file;
  ASSERT_OK(file.open(huge, "weight file"));
  LoadedFile loaded;
  EXPECT_FAILURE(loaded.load(huge, file, "weight file", nullptr),
                 NJU_RESOURCE_EXHAUSTED,
                 "loading weight file '" + huge +
                     "' into memory needs 4398046511104 bytes, ");
  EXPECT_NE(std::string(nju_last_error_message())
                .find(" available: map it instead (NJU_WEIGHTS_MAP, nju-run "
                      "--weights=map)"),
            std::string::npos)
      << nju_last_error_message();
}
