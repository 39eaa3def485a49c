//===- WeightFileTests.cpp - Writes the packed weights of a model -*- C++ -*-=//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestModule.h"
#include "nju/Dialect/NJU/IR/WeightLayout.h"
#include "nju/Target/WeightFile.h"
#include "nju/checksum.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"
#include "gtest/gtest.h"
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>

using namespace nju;
using namespace nju::test;

namespace {

/// A weight file in memory.
struct Loaded {
  llvm::json::Object header;
  std::string data;
  uint64_t headerLength = 0;

  /// The elements of a tensor, as T.
  template <typename T>
  std::vector<T> get(llvm::StringRef name) {
    llvm::json::Object *tensor = header.getObject(name);
    if (!tensor) {
      ADD_FAILURE() << "no tensor " << name.str();
      return {};
    }
    llvm::json::Array *offsets = tensor->getArray("data_offsets");
    int64_t begin = *(*offsets)[0].getAsInteger();
    int64_t end = *(*offsets)[1].getAsInteger();
    EXPECT_EQ(begin % 64, 0);
    std::vector<T> values((end - begin) / sizeof(T));
    std::memcpy(values.data(), data.data() + begin, end - begin);
    return values;
  }
};

Loaded load(llvm::StringRef path) {
  Loaded loaded;
  auto buffer = llvm::MemoryBuffer::getFile(path);
  if (!buffer) {
    ADD_FAILURE() << "cannot read " << path.str();
    return loaded;
  }
  llvm::StringRef bytes = (*buffer)->getBuffer();
  std::memcpy(&loaded.headerLength, bytes.data(), 8);
  auto header = llvm::json::parse(bytes.substr(8, loaded.headerLength));
  if (!header) {
    ADD_FAILURE() << llvm::toString(header.takeError());
    return loaded;
  }
  loaded.header = *header->getAsObject();
  loaded.data = bytes.substr(8 + loaded.headerLength).str();
  return loaded;
}

class WeightFileTest : public TestModule {
protected:
  /// Declares params and uses each, in the order of `names`.
  void
  parseParams(const std::string &params,
              const std::vector<std::pair<std::string, std::string>> &uses) {
    std::string text = params + "\nfunc.func @main() {\n";
    for (auto &[name, type] : uses)
      text += "  %" + name + " = nju.param_ref @" + name + " : " + type + "\n";
    parse(text + "  return\n}\n");
    assignWeightOffsets(*module);
  }
  Loaded writeAndLoad() {
    std::string path = file("w.safetensors");
    auto info = writeWeightFile(*module, path);
    EXPECT_TRUE(succeeded(info));
    if (failed(info))
      return {};
    Loaded loaded = load(path);
    EXPECT_EQ(info->bytes, loaded.data.size());
    Checksum checksum;
    checksum.update(loaded.data.data(), loaded.data.size());
    EXPECT_EQ(info->hash, checksum.hex());
    auto *metadata = loaded.header.getObject("__metadata__");
    EXPECT_EQ(metadata->getString("nju.hash"), info->hash);
    EXPECT_EQ(metadata->getString("nju.abi"), "4");
    return loaded;
  }
  /// A file of the numbers 0, 1, 2, ...
  template <typename T>
  void writeNumbers(const std::string &name, size_t count) {
    std::vector<T> values(count);
    std::iota(values.begin(), values.end(), T(0));
    writeBytes(name, values.data(), count * sizeof(T));
  }
};

TEST_F(WeightFileTest, CopiesFilesAndAttributes) {
  writeNumbers<float>("a.bin", 40);
  parseParams(R"(
    nju.param @a : tensor<2x3xf32> = #nju.file<"a.bin", 16, tensor<2x3xf32>>
    nju.param @b : tensor<3xi64> = dense<[1, -2, 3]> : tensor<3xi64>
    nju.param @flags : tensor<3xi1> = dense<[true, false, true]> : tensor<3xi1>
  )",
              {{"b", "tensor<3xi64>"},
               {"flags", "tensor<3xi1>"},
               {"a", "tensor<2x3xf32>"}});
  Loaded loaded = writeAndLoad();
  EXPECT_EQ(loaded.get<float>("a"), (std::vector<float>{4, 5, 6, 7, 8, 9}));
  EXPECT_EQ(loaded.get<int64_t>("b"), (std::vector<int64_t>{1, -2, 3}));
  EXPECT_EQ(loaded.get<uint8_t>("flags"), (std::vector<uint8_t>{1, 0, 1}));
  // In the order of use, each at a multiple of 64; gaps are tensors.
  EXPECT_EQ((8 + loaded.headerLength) % 64, 0u);
  EXPECT_EQ(loaded.data.size(), 192u);
  EXPECT_EQ(loaded.get<uint8_t>("flags").size(), 3u);
  EXPECT_TRUE(loaded.header.getObject("padding.0"));
  EXPECT_TRUE(loaded.header.getObject("padding.2"));
}

TEST_F(WeightFileTest, CoversTheDataSectionWithoutHoles) {
  writeNumbers<float>("a.bin", 100);
  parseParams(R"(
    nju.param @a : tensor<5xf32> = #nju.file<"a.bin", 0, tensor<5xf32>>
    nju.param @b : tensor<17xf32> = #nju.file<"a.bin", 0, tensor<17xf32>>
  )",
              {{"a", "tensor<5xf32>"}, {"b", "tensor<17xf32>"}});
  Loaded loaded = writeAndLoad();
  std::map<int64_t, int64_t> extents;
  for (auto &entry : loaded.header)
    if (entry.first != "__metadata__") {
      auto *offsets = entry.second.getAsObject()->getArray("data_offsets");
      extents[*(*offsets)[0].getAsInteger()] = *(*offsets)[1].getAsInteger();
    }
  int64_t end = 0;
  for (auto [from, to] : extents) {
    EXPECT_EQ(from, end);
    end = to;
  }
  EXPECT_EQ(end, int64_t(loaded.data.size()));
}

TEST_F(WeightFileTest, LeavesOutWhatNobodyUses) {
  parseParams(R"(
    nju.param @used : tensor<2xf32> = dense<[1.0, 2.0]> : tensor<2xf32>
    nju.param @unused : tensor<2xf32> = dense<[1.0, 2.0]> : tensor<2xf32>
  )",
              {{"used", "tensor<2xf32>"}});
  Loaded loaded = writeAndLoad();
  EXPECT_EQ(loaded.data.size(), 64u);
  EXPECT_FALSE(loaded.header.getObject("unused"));
}

/// Element (n, k) of an [N, K] source is n * K + k.
TEST_F(WeightFileTest, PacksPanels) {
  constexpr int64_t N = 75, K = 130;
  writeNumbers<float>("w.bin", N * K);
  parseParams(R"(
    nju.param @t : tensor<3x130x32xf32> = #nju.file<"w.bin", 0, tensor<75x130xf32>> {permutation = array<i64: 1, 0>, panels = 32 : i64}
    nju.param @n : tensor<5x75x32xf32> = #nju.file<"w.bin", 0, tensor<75x130xf32>> {panels = 32 : i64}
  )",
              {{"t", "tensor<3x130x32xf32>"}, {"n", "tensor<5x75x32xf32>"}});
  Loaded loaded = writeAndLoad();
  std::vector<float> transposed = loaded.get<float>("t");
  std::vector<float> straight = loaded.get<float>("n");
  for (int64_t n = 0; n < 96; ++n)
    for (int64_t k = 0; k < K; ++k)
      ASSERT_EQ(transposed[((n / 32) * K + k) * 32 + n % 32],
                n < N ? n * K + k : 0);
  for (int64_t n = 0; n < 160; ++n)
    for (int64_t k = 0; k < N; ++k)
      ASSERT_EQ(straight[((n / 32) * N + k) * 32 + n % 32],
                n < K ? k * K + n : 0);
}

/// Larger than one piece, so that strips must fit together.
TEST_F(WeightFileTest, PacksMatricesPieceByPiece) {
  constexpr int64_t N = 9000, K = 2100;
  std::vector<uint16_t> source(N * K);
  for (size_t i = 0; i < source.size(); ++i)
    source[i] = i * 2654435761u >> 16;
  writeBytes("w.bin", source.data(), source.size() * 2);
  parseParams(R"(
    nju.param @t : tensor<282x2100x32xf16> = #nju.file<"w.bin", 0, tensor<9000x2100xf16>> {permutation = array<i64: 1, 0>, panels = 32 : i64}
    nju.param @n : tensor<66x9000x32xf16> = #nju.file<"w.bin", 0, tensor<9000x2100xf16>> {panels = 32 : i64}
    nju.param @p : tensor<2100x9000xf16> = #nju.file<"w.bin", 0, tensor<9000x2100xf16>> {permutation = array<i64: 1, 0>}
  )",
              {{"t", "tensor<282x2100x32xf16>"},
               {"n", "tensor<66x9000x32xf16>"},
               {"p", "tensor<2100x9000xf16>"}});
  Loaded loaded = writeAndLoad();
  auto t = loaded.get<uint16_t>("t"), n = loaded.get<uint16_t>("n");
  auto p = loaded.get<uint16_t>("p");
  size_t wrong = 0;
  for (int64_t i = 0; i < N; ++i)
    for (int64_t k = 0; k < K; ++k) {
      uint16_t value = source[i * K + k];
      wrong += t[((i / 32) * K + k) * 32 + i % 32] != value;
      wrong += n[((k / 32) * N + i) * 32 + k % 32] != value;
      wrong += p[k * N + i] != value;
    }
  EXPECT_EQ(wrong, 0u);
}

TEST_F(WeightFileTest, PermutesHigherRanks) {
  writeNumbers<int32_t>("a.bin", 2 * 3 * 4);
  parseParams(R"(
    nju.param @a : tensor<4x2x3xi32> = #nju.file<"a.bin", 0, tensor<2x3x4xi32>> {permutation = array<i64: 2, 0, 1>}
  )",
              {{"a", "tensor<4x2x3xi32>"}});
  std::vector<int32_t> a = writeAndLoad().get<int32_t>("a");
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 2; ++j)
      for (int k = 0; k < 3; ++k)
        EXPECT_EQ(a[(i * 2 + j) * 3 + k], (j * 3 + k) * 4 + i);
}

TEST_F(WeightFileTest, ConvertsFloats) {
  double values[] = {1.0,     -0.1,  65504.0,       65520.0,  1e-7,
                     6.1e-05, 3e-08, 1.00048828125, INFINITY, -0.0};
  writeBytes("a.bin", values, sizeof(values));
  parseParams(R"(
    nju.param @half : tensor<10xf16> = #nju.file<"a.bin", 0, tensor<10xf64>>
    nju.param @brain : tensor<10xbf16> = #nju.file<"a.bin", 0, tensor<10xf64>>
    nju.param @single : tensor<10xf32> = #nju.file<"a.bin", 0, tensor<10xf64>>
  )",
              {{"half", "tensor<10xf16>"},
               {"brain", "tensor<10xbf16>"},
               {"single", "tensor<10xf32>"}});
  Loaded loaded = writeAndLoad();
  auto half = loaded.get<uint16_t>("half"),
       brain = loaded.get<uint16_t>("brain");
  auto single = loaded.get<float>("single");
  for (int i = 0; i < 10; ++i) {
    auto bits = [&](const llvm::fltSemantics &semantics) {
      llvm::APFloat value(values[i]);
      bool lost;
      value.convert(semantics, llvm::APFloat::rmNearestTiesToEven, &lost);
      return value.bitcastToAPInt().getZExtValue();
    };
    EXPECT_EQ(half[i], bits(llvm::APFloat::IEEEhalf())) << values[i];
    EXPECT_EQ(brain[i], bits(llvm::APFloat::BFloat())) << values[i];
    EXPECT_EQ(single[i], float(values[i]));
  }
}

TEST_F(WeightFileTest, WidensEveryHalf) {
  writeNumbers<uint16_t>("a.bin", 65536);
  parseParams(R"(
    nju.param @h : tensor<65536xf32> = #nju.file<"a.bin", 0, tensor<65536xf16>>
    nju.param @b : tensor<65536xf32> = #nju.file<"a.bin", 0, tensor<65536xbf16>>
  )",
              {{"h", "tensor<65536xf32>"}, {"b", "tensor<65536xf32>"}});
  Loaded loaded = writeAndLoad();
  auto h = loaded.get<float>("h"), b = loaded.get<float>("b");
  for (uint32_t i = 0; i < 65536; ++i) {
    llvm::APFloat half(llvm::APFloat::IEEEhalf(), llvm::APInt(16, i));
    llvm::APFloat brain(llvm::APFloat::BFloat(), llvm::APInt(16, i));
    if (half.isNaN())
      EXPECT_TRUE(std::isnan(h[i]));
    else
      ASSERT_EQ(h[i], half.convertToFloat()) << i;
    if (!brain.isNaN())
      ASSERT_EQ(b[i], brain.convertToFloat()) << i;
  }
}

TEST_F(WeightFileTest, ReportsShortFiles) {
  writeNumbers<float>("a.bin", 4);
  parseParams(R"(
    nju.param @a : tensor<5xf32> = #nju.file<"a.bin", 8, tensor<5xf32>>
  )",
              {{"a", "tensor<5xf32>"}});
  expectError([&] { return writeWeightFile(*module, file("w.safetensors")); },
              "cannot read weight 'a': 'a.bin' has 16 bytes, expected at least "
              "28");
  EXPECT_TRUE(isEmptyBut({"a.bin"}));
}

TEST_F(WeightFileTest, ReportsMissingFiles) {
  parseParams(R"(
    nju.param @a : tensor<5xf32> = #nju.file<"gone.bin", 0, tensor<5xf32>>
  )",
              {{"a", "tensor<5xf32>"}});
  expectError([&] { return writeWeightFile(*module, file("w.safetensors")); },
              "No such file");
  EXPECT_TRUE(isEmptyBut({}));
}

TEST_F(WeightFileTest, ReportsFilesThatCannotBeCreated) {
  parseParams(R"(
    nju.param @a : tensor<5xf32> = dense<1.0> : tensor<5xf32>
  )",
              {{"a", "tensor<5xf32>"}});
  expectError([&] { return writeWeightFile(*module, "/nowhere/w"); },
              "cannot create '/nowhere/w': No such file");
}

} // namespace
