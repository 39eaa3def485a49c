//===- MatrixStoreTest.cpp - Quantized matrices on disk ---------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Quantization/MatrixStore.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "gtest/gtest.h"
#include <fstream>

using namespace nju::lcq;

namespace {

/// A folder of its own for each test.
class MatrixStoreTest : public ::testing::Test {
protected:
  void SetUp() override {
    ASSERT_FALSE(llvm::sys::fs::createUniqueDirectory("matrix-store", folder));
  }
  void TearDown() override { llvm::sys::fs::remove_directories(folder); }

  std::string getFolder() const { return std::string(folder) + "/store"; }
  std::string getOnlyFile() const {
    std::error_code error;
    llvm::sys::fs::directory_iterator it(getFolder(), error);
    return it->path();
  }

  llvm::SmallString<128> folder;
};

StoredMatrix makeMatrix() {
  StoredMatrix matrix;
  matrix.basis = {-127, 3, 5, 127};
  matrix.factors = {0.25f, -1e-30f, 3.0f};
  for (int i = 0; i < 1000; ++i)
    matrix.codes.push_back(i * 7);
  matrix.weights = {2.0, 0.125};
  return matrix;
}

TEST_F(MatrixStoreTest, FindsWhatWasSavedWithTheSameKey) {
  MatrixStore store(getFolder());
  EXPECT_FALSE(store.load("a/w", "key"));
  StoredMatrix matrix = makeMatrix();
  ASSERT_FALSE(bool(store.save("a/w", "key", matrix)));
  matrix.outputError = 0.5;
  matrix.codes.clear();
  ASSERT_FALSE(bool(store.save("b", "key", matrix)));

  MatrixStore again(getFolder());
  std::optional<StoredMatrix> found = again.load("a/w", "key");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->basis, makeMatrix().basis);
  EXPECT_EQ(found->factors, makeMatrix().factors);
  EXPECT_EQ(found->codes, makeMatrix().codes);
  EXPECT_EQ(found->weights.squares, 2.0);
  EXPECT_EQ(found->weights.errors, 0.125);
  EXPECT_FALSE(found->outputError);
  EXPECT_EQ(again.load("b", "key")->outputError, 0.5);
  EXPECT_FALSE(again.load("a/w", "another"));
  EXPECT_FALSE(again.load("c", "key"));
}

/// Any byte that is changed, added or lost makes a file as good as none.
TEST_F(MatrixStoreTest, DamagedFilesAreNotFound) {
  MatrixStore store(getFolder());
  ASSERT_FALSE(bool(store.save("w", "key", makeMatrix())));
  std::string path = getOnlyFile(), bytes;
  {
    std::ifstream in(path, std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(in), {});
  }
  auto findsWith = [&](const std::string &content) {
    std::ofstream(path, std::ios::binary) << content;
    return store.load("w", "key").has_value();
  };
  ASSERT_TRUE(findsWith(bytes));
  for (size_t i = 0; i < bytes.size(); i += 3) {
    // The errors are numbers for the report; all others decide.
    size_t form = bytes.find('\n') + 1;
    if (i >= form + 32 && i < form + 56)
      continue;
    std::string damaged = bytes;
    damaged[i] ^= 0x40;
    EXPECT_FALSE(findsWith(damaged)) << "byte " << i;
  }
  for (size_t size : {size_t(0), size_t(5), size_t(40), bytes.size() - 1})
    EXPECT_FALSE(findsWith(bytes.substr(0, size))) << size << " bytes";
  EXPECT_FALSE(findsWith(bytes + "x"));
}

TEST_F(MatrixStoreTest, RemoveLeavesFilesOfOthers) {
  MatrixStore store(getFolder());
  store.remove();
  ASSERT_FALSE(bool(store.save("w", "key", makeMatrix())));
  store.remove();
  EXPECT_FALSE(llvm::sys::fs::exists(getFolder()));
  ASSERT_FALSE(bool(store.save("w", "key", makeMatrix())));
  std::string other = getFolder() + "/notes.txt";
  std::ofstream(other) << "mine";
  store.remove();
  EXPECT_TRUE(llvm::sys::fs::exists(other));
  EXPECT_FALSE(store.load("w", "key"));
}

TEST_F(MatrixStoreTest, SaysWhyAFolderCannotBeMade) {
  std::ofstream(getFolder()) << "a file";
  MatrixStore store(getFolder());
  llvm::Error error = store.save("w", "key", makeMatrix());
  ASSERT_TRUE(bool(error));
  EXPECT_NE(llvm::toString(std::move(error)).find(getFolder()),
            std::string::npos);
}

} // namespace
