//===- NpyTests.cpp - Arrays in NumPy's format ----------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestUtils.h"

#include "Common.h"
#include "Npy.h"

#include <cstring>

using namespace nju::run;
using nju::test::readFile;
using nju::test::TemporaryFolder;

/// A file as NumPy writes it: version 1 unless `wide`.
static std::string makeFile(const std::string &dict, const std::string &data,
                            int version = 1) {
  std::string header = dict;
  header += std::string(64 - (header.size() + 11) % 64, ' ') + "\n";
  std::string file = "\x93NUMPY";
  file += {char(version), 0, char(header.size()), char(header.size() >> 8)};
  if (version > 1)
    file += {0, 0};
  return file + header + data;
}

static std::string makeDict(const std::string &descr, const std::string &order,
                            const std::string &shape) {
  return "{'descr': '" + descr + "', 'fortran_order': " + order +
         ", 'shape': " + shape + ", }";
}

static std::string getFailure(const std::string &bytes) {
  TemporaryFolder folder;
  std::string path = folder.write("bad.npy", bytes);
  try {
    readNpy(path);
  } catch (const Failure &failure) {
    EXPECT_NE(std::string(failure.what()).find(path), std::string::npos);
    return failure.what();
  }
  return "no failure";
}

TEST(Npy, ReadsAllTypes) {
  TemporaryFolder folder;
  const struct {
    const char *descr;
    uint8_t code, bits;
  } types[] = {
      {"<f2", kDLFloat, 16},  {"<f4", kDLFloat, 32}, {"<f8", kDLFloat, 64},
      {"|i1", kDLInt, 8},     {"<i2", kDLInt, 16},   {"<i4", kDLInt, 32},
      {"<i8", kDLInt, 64},    {"|u1", kDLUInt, 8},   {"<u2", kDLUInt, 16},
      {"<u4", kDLUInt, 32},   {"<u8", kDLUInt, 64},  {"|b1", NJU_DL_BOOL, 8},
      {"|V2", kDLBfloat, 16}, {"<V2", kDLBfloat, 16}};
  for (const auto &type : types) {
    std::string data(3 * type.bits / 8, 'x');
    std::string path = folder.write(
        "a.npy", makeFile(makeDict(type.descr, "False", "(3,)"), data));
    NpyArray array = readNpy(path);
    EXPECT_EQ(array.type.code, type.code) << type.descr;
    EXPECT_EQ(array.type.bits, type.bits) << type.descr;
    EXPECT_EQ(array.shape, std::vector<int64_t>{3});
    EXPECT_EQ(std::string(array.data.begin(), array.data.end()), data);
  }
}

TEST(Npy, ReadsScalarsEmptyArraysAndNewerVersions) {
  TemporaryFolder folder;
  NpyArray scalar = readNpy(
      folder.write("s.npy", makeFile(makeDict("<f4", "False", "()"), "abcd")));
  EXPECT_TRUE(scalar.shape.empty());
  EXPECT_EQ(scalar.data.size(), 4u);
  NpyArray empty = readNpy(folder.write(
      "e.npy",
      makeFile(makeDict("<f4", "False", "(0, 9223372036854775807)"), "")));
  EXPECT_EQ(empty.shape[0], 0);
  EXPECT_TRUE(empty.data.empty());
  NpyArray wide = readNpy(folder.write(
      "w.npy", makeFile(makeDict("<i4", "False", "(2, 1)"), "abcdefgh", 2)));
  EXPECT_EQ(wide.shape, (std::vector<int64_t>{2, 1}));
}

TEST(Npy, ReordersFortranArrays) {
  TemporaryFolder folder;
  // [2, 3] with elements 1 to 6 in row-major order.
  std::string data = {1, 4, 2, 5, 3, 6};
  NpyArray array = readNpy(
      folder.write("f.npy", makeFile(makeDict("|u1", "True", "(2, 3)"), data)));
  EXPECT_EQ(array.data, (std::vector<uint8_t>{1, 2, 3, 4, 5, 6}));
}

TEST(Npy, WritesWhatItReads) {
  TemporaryFolder folder;
  for (std::vector<int64_t> shape :
       {std::vector<int64_t>{}, {4}, {2, 3}, {1, 2, 3}, {0, 5}})
    for (DLDataType type :
         {DLDataType{kDLFloat, 32, 1}, DLDataType{kDLBfloat, 16, 1},
          DLDataType{NJU_DL_BOOL, 8, 1}, DLDataType{kDLInt, 64, 1}}) {
      NpyArray array;
      array.type = type;
      array.shape = shape;
      size_t size = type.bits / 8;
      for (int64_t dimension : shape)
        size *= dimension;
      for (size_t i = 0; i < size; ++i)
        array.data.push_back(i);
      writeNpy(folder.get("a.npy"), array.getTensor());
      NpyArray copy = readNpy(folder.get("a.npy"));
      EXPECT_EQ(copy.type.code, type.code);
      EXPECT_EQ(copy.type.bits, type.bits);
      EXPECT_EQ(copy.shape, shape);
      EXPECT_EQ(copy.data, array.data);
      // The data begins at a multiple of 64.
      EXPECT_EQ((readFile(folder.get("a.npy")).size() - size) % 64, 0u);
    }
}

TEST(Npy, WritesTheHeaderNumPyWrites) {
  std::string header = makeNpyHeader({kDLFloat, 32, 1}, {3, 4});
  EXPECT_EQ(header.substr(10, 59),
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }");
  EXPECT_EQ(makeNpyHeader({kDLInt, 8, 1}, {7}).substr(10, 57),
            "{'descr': '|i1', 'fortran_order': False, 'shape': (7,), }");
  EXPECT_EQ(makeNpyHeader({kDLBfloat, 16, 1}, {}).substr(10, 55),
            "{'descr': '|V2', 'fortran_order': False, 'shape': (), }");
  EXPECT_EQ(header.back(), '\n');
}

TEST(Npy, LeavesNothingHalfWritten) {
  TemporaryFolder folder;
  folder.write("a.npy", "old");
  {
    OutputFile file(folder.get("a.npy"));
    file.write("new", 3);
  } // not committed
  EXPECT_EQ(readFile(folder.get("a.npy")), "old");
  EXPECT_EQ(
      std::system(("test $(ls " + folder.get("") + " | wc -l) = 1").c_str()),
      0);
  EXPECT_THROW(OutputFile(folder.get("none/a.npy")), Failure);
}

TEST(Npy, SaysWhatIsWrong) {
  const struct {
    std::string bytes, message;
  } cases[] = {
      {"", "is truncated"},
      {"hello world", "is not a .npy file"},
      {makeFile("{}", "", 4), "has .npy version 4, expected 1 to 3"},
      {makeFile(makeDict("<f4", "False", "(3,)"), "abc"),
       "is truncated: its shape needs 12 bytes of data, it has 3"},
      {makeFile(makeDict("<f4", "False", "(9223372036854775807, 9)"), ""),
       "has a shape too large to count"},
      {makeFile(makeDict("<f4", "False", "(99999999999999999999,)"), ""),
       "expected a size below 2^63"},
      {makeFile(makeDict(">f4", "False", "(3,)"), ""), "is big-endian"},
      {makeFile(makeDict("<c8", "False", "(3,)"), ""),
       "has elements of NumPy type '<c8'"},
      {makeFile(makeDict("", "False", "(3,)"), ""), "of NumPy type ''"},
      {makeFile("[1]", ""), "expected { at byte 0"},
      {makeFile("{'descr': [('a', '<f4')], }", ""), "expected a string"},
      {makeFile("{'descr': '<f4', }", ""),
       "expected 'descr', 'fortran_order' and 'shape'"},
      {makeFile("{'colour': '<f4', }", ""), "expected 'descr', "},
      {makeFile(makeDict("<f4", "Maybe", "(3,)"), ""), "expected False"},
      {makeFile(makeDict("<f4", "False", "(-3,)"), ""), "expected a size"},
      {makeFile(makeDict("<f4", "False", "(3"), ""), "expected"},
      {std::string("\x93NUMPY\x02\0\xff\xff\xff\x7f", 12),
       "it is longer than a megabyte"},
  };
  for (const auto &entry : cases) {
    std::string message = getFailure(entry.bytes);
    EXPECT_NE(message.find(entry.message), std::string::npos)
        << "expected '" << entry.message << "' in: " << message;
  }
  EXPECT_THROW(readNpy("/nonexistent/a.npy"), Failure);
}

TEST(Npy, SurvivesChangedBytes) {
  std::string good =
      makeFile(makeDict("<f4", "True", "(3, 2)"), std::string(24, 'x'));
  TemporaryFolder folder;
  for (size_t i = 0; i < good.size(); ++i)
    for (int flip : {1, 8, 0x40, 0x80, 0xff}) {
      std::string bad = good;
      bad[i] ^= flip;
      std::string path = folder.write("a.npy", bad);
      try {
        readNpy(path);
      } catch (const Failure &failure) {
        EXPECT_STRNE(failure.what(), "");
      }
    }
}
