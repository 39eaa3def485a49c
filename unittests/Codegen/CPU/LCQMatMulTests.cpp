//===- LCQMatMulTests.cpp - Products with LCQ weights -----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ProductCall.h"
#include "nju/Quantization/Packing.h"
#include "llvm/Support/FormatVariadic.h"
#include "gtest/gtest.h"
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <random>
#include <thread>

using namespace nju;
using namespace nju::test;

namespace {

using PackRows = void(int64_t, int64_t, NJU_MEMREF2(float), NJU_MEMREF2(int8_t),
                      NJU_MEMREF2(float), NJU_MEMREF2(int32_t));
using LCQLinear = void(int64_t, int64_t, float, float, NJU_MEMREF2(int8_t),
                       NJU_MEMREF2(float), NJU_MEMREF2(int32_t),
                       NJU_MEMREF1(uint8_t), NJU_MEMREF2(int8_t),
                       NJU_MEMREF1(float), NJU_MEMREF2(float),
                       NJU_MEMREF1(int64_t));

/// Formats of every number of bits and of ranks, and of every kind of scales,
/// with and without offsets, and with groups that are loops.
std::vector<lcq::LCQOptions> formats() {
  std::vector<lcq::LCQOptions> list;
  for (unsigned bits : {2, 3, 4})
    for (unsigned rank : {1, 2, 3})
      for (bool offset : {false, true})
        list.push_back({bits, rank == 2 ? 64 : 32, rank,
                        rank % 2 == offset ? 8u : 16u, offset});
  list.push_back({4, 8, 1, 8, true});
  list.push_back({3, 288, 2, 8, false});
  return list;
}

LCQLinearOptions kernelOptions(const lcq::LCQOptions &format) {
  return {format.bits, format.group, format.rank, format.scaleBits,
          format.offset};
}

/// A random matrix of a format, and its packed form.
struct Weights {
  Weights(int64_t rows, int64_t columns, const lcq::LCQOptions &format)
      : matrix(lcq::QuantizedMatrix::create(rows, columns, format)) {
    std::mt19937 random(rows + columns);
    for (uint8_t &code : matrix.codes)
      code = random() % matrix.getLevels();
    for (float &value : matrix.basis.values)
      value = int(random() % 255) - 127;
    // The largest sums that pairs and quadruples of products can have.
    std::fill_n(matrix.basis.values.begin(), 2, -127.0f);
    fill(matrix.scales, random);
    if (format.offset)
      fill(matrix.offsets, random);
    packed = llvm::cantFail(lcq::pack(matrix));
  }

  static void fill(lcq::GroupValues &values, std::mt19937 &random) {
    std::normal_distribution<float> normal;
    std::vector<float> row(values.getGroups());
    for (unsigned plane = 0; plane < values.getPlanes(); ++plane)
      for (int64_t r = 0; r < values.getRows(); ++r) {
        for (float &value : row)
          value = 0.01f * normal(random);
        values.storeRow(plane, r, row);
      }
    values.seal();
  }

  lcq::QuantizedMatrix matrix;
  lcq::PackedMatrix packed;
};

/// Rows in int8, as a kernel makes them.
struct PackedRows {
  PackedRows(KernelJIT &jit, int64_t group, int64_t lineColumns,
             std::vector<float> x, int64_t depth, int64_t workers)
      : rows(x.size() / depth),
        padded((depth + lineColumns - 1) / lineColumns * lineColumns),
        groups((padded + group - 1) / group), xq(rows * padded + 1, 99),
        scales(rows * groups + 1, -1), sums(rows * groups + 1, -1) {
    auto *kernel =
        jit.get<PackRows>("nju_pack_lcq_rows_" + std::to_string(group));
    for (int64_t w = 0; w < workers; ++w)
      kernel(w, workers, NJU_ARG2(x.data(), rows, depth),
             NJU_ARG2(xq.data(), rows, padded),
             NJU_ARG2(scales.data(), rows, groups),
             NJU_ARG2(sums.data(), rows, groups));
    EXPECT_EQ(xq.back(), 99);
    EXPECT_EQ(scales.back(), -1);
    EXPECT_EQ(sums.back(), -1);
  }

  int64_t rows, padded, groups;
  std::vector<int8_t> xq;
  std::vector<float> scales;
  std::vector<int32_t> sums;
};

class LCQMatMulTest : public testing::TestWithParam<std::string> {
protected:
  /// Compiled kernels of a format.
  struct Kernels {
    Kernels(llvm::StringRef target, const lcq::LCQOptions &format)
        : options(kernelOptions(format)),
          jit(target,
              {[&](KernelLibrary &l) { return l.packLCQRows(options.group); },
               [&](KernelLibrary &l) { return l.lcqLinear(options); }}) {}

    PackedRows pack(const std::vector<float> &x, int64_t depth,
                    int64_t workers = 1) {
      return PackedRows(jit, options.group, options.getLineColumns(), x, depth,
                        workers);
    }

    std::vector<float> run(const Weights &weights, PackedRows &x,
                           int64_t workers) {
      lcq::PackedMatrix packed = weights.packed;
      int64_t columns = packed.layout.rows;
      std::vector<float> y(x.rows * columns + 1, 12345);
      int64_t next = 0;
      auto *kernel = jit.get<LCQLinear>(
          llvm::formatv("nju_lcq_linear_{0}x{1}x{2}x{3}{4}", options.bits,
                        options.group, options.rank, options.scaleBits,
                        options.offset ? "_offset" : "")
              .str());
      auto work = [&](int64_t worker) {
        kernel(worker, workers, packed.scaleUnit, packed.offsetUnit,
               NJU_ARG2(x.xq.data(), x.rows, x.padded),
               NJU_ARG2(x.scales.data(), x.rows, x.groups),
               NJU_ARG2(x.sums.data(), x.rows, x.groups),
               NJU_ARG1(packed.stream.data(), int64_t(packed.stream.size())),
               NJU_ARG2(packed.basis.data(), options.rank,
                        int64_t(1) << options.bits),
               NJU_ARG1(packed.factors.data(), int64_t(packed.factors.size())),
               NJU_ARG2(y.data(), x.rows, columns), NJU_ARG1(&next, 1));
      };
      std::vector<std::thread> threads;
      for (int64_t w = 0; w < workers; ++w)
        threads.emplace_back(work, w);
      for (std::thread &thread : threads)
        thread.join();
      EXPECT_EQ(y.back(), 12345);
      EXPECT_EQ(next, 0);
      y.pop_back();
      return y;
    }

    LCQLinearOptions options;
    KernelJIT jit;
  };
};

/// A naive product of the rows as they were rounded with the weights.
void expectProduct(const Weights &weights, const PackedRows &x,
                   const std::vector<float> &y) {
  const lcq::QuantizedMatrix &matrix = weights.matrix;
  std::vector<float> values = matrix.dequantize();
  for (int64_t row = 0; row < x.rows; ++row)
    for (int64_t n = 0; n < matrix.rows; ++n) {
      double sum = 0, size = 0;
      for (int64_t j = 0; j < matrix.columns; ++j) {
        double factor = double(x.xq[row * x.padded + j]) *
                        x.scales[row * x.groups + j / matrix.group];
        double product = factor * values[n * matrix.columns + j];
        sum += product;
        size += std::abs(product);
      }
      ASSERT_NEAR(y[row * matrix.rows + n], sum, 1e-6 * size)
          << "row " << row << ", column " << n << " of " << matrix.rows;
    }
}

TEST_P(LCQMatMulTest, IsTheProductWithTheRoundedRows) {
  for (const lcq::LCQOptions &format : formats()) {
    Kernels kernels(GetParam(), format);
    // Sizes with and without whole tiles, groups and lines.
    for (auto [rows, columns, depth] :
         std::vector<std::array<int64_t, 3>>{{1, 64, 1152},
                                             {1, 129, 7 * 64},
                                             {2, 37, 3 * 64 + 36},
                                             {1, 1, 16}}) {
      SCOPED_TRACE(format.str() + ", depth " + std::to_string(depth));
      // Where there is one group only, it may be shorter than the format's.
      Weights weights(columns, depth, format);
      PackedRows x = kernels.pack(randomRows(rows * depth, depth), depth);
      expectProduct(weights, x, kernels.run(weights, x, 2));
    }
  }
}

TEST_P(LCQMatMulTest, RowsDoNotDependOnTheBatchOrTheWorkers) {
  lcq::LCQOptions format{3, 64, 2, 8, true};
  Kernels kernels(GetParam(), format);
  int64_t columns = 300, depth = 172;
  Weights weights(columns, depth, format);
  std::vector<float> x = randomRows(17 * depth, 4);
  PackedRows packed = kernels.pack(x, depth);
  std::vector<float> all = kernels.run(weights, packed, 1);
  for (int64_t rows : {1, 2, 7, 16})
    for (int64_t workers : {1, 2, 3, 16}) {
      std::vector<float> last(x.end() - rows * depth, x.end());
      PackedRows some = kernels.pack(last, depth, workers);
      std::vector<float> y = kernels.run(weights, some, workers);
      EXPECT_EQ(0, std::memcmp(y.data(), all.data() + all.size() - y.size(),
                               y.size() * sizeof(float)))
          << rows << " rows, " << workers << " workers";
    }
}

TEST_P(LCQMatMulTest, LargestDotProductsAreExact) {
  // All codes mean -127: pairs of products reach 2 * 127 * 127.
  for (unsigned bits : {2, 3, 4}) {
    lcq::LCQOptions format{bits, 32, 1, 16, false};
    Kernels kernels(GetParam(), format);
    Weights weights(16, 64, format);
    std::fill(weights.matrix.codes.begin(), weights.matrix.codes.end(), 1);
    weights.packed = llvm::cantFail(lcq::pack(weights.matrix));
    for (float value : {1.0f, -1.0f}) {
      PackedRows x = kernels.pack(std::vector<float>(64, value), 64);
      expectProduct(weights, x, kernels.run(weights, x, 1));
    }
  }
}

TEST_P(LCQMatMulTest, NoRowsWriteNothing) {
  lcq::LCQOptions format;
  Kernels kernels(GetParam(), format);
  Weights weights(40, 64, format);
  PackedRows x = kernels.pack({}, 64);
  EXPECT_TRUE(kernels.run(weights, x, 2).empty());
}

TEST_P(LCQMatMulTest, RowsAreRoundedToTheNearest) {
  Kernels kernels(GetParam(), {4, 32, 1, 8, false});
  int64_t depth = 75, group = 32;
  std::vector<float> x = randomRows(3 * depth, 9);
  PackedRows packed = kernels.pack(x, depth, 2);
  ASSERT_EQ(packed.padded, 80);
  ASSERT_EQ(packed.groups, 3);
  for (int64_t row = 0; row < 3; ++row)
    for (int64_t g = 0; g < packed.groups; ++g) {
      int64_t end = std::min((g + 1) * group, packed.padded);
      auto at = [&](int64_t j) { return j < depth ? x[row * depth + j] : 0; };
      float magnitude = 0;
      for (int64_t j = g * group; j < end; ++j)
        magnitude = std::max(magnitude, std::abs(at(j)));
      EXPECT_EQ(packed.scales[row * packed.groups + g], magnitude / 127);
      int32_t sum = 0;
      for (int64_t j = g * group; j < end; ++j) {
        int8_t q = packed.xq[row * packed.padded + j];
        EXPECT_EQ(q, std::nearbyint(at(j) * (127 / magnitude)));
        sum += q;
      }
      EXPECT_EQ(packed.sums[row * packed.groups + g], sum);
    }
}

TEST_P(LCQMatMulTest, RowsThatAreNotFiniteAreSeen) {
  lcq::LCQOptions format;
  Kernels kernels(GetParam(), format);
  Weights weights(20, 96, format);
  for (float value : {NAN, INFINITY, -INFINITY}) {
    std::vector<float> x = randomRows(96, 2);
    x[40] = value;
    PackedRows packed = kernels.pack(x, 96);
    EXPECT_FALSE(std::isnan(packed.scales[0]));
    EXPECT_TRUE(std::isnan(packed.scales[1]));
    for (float result : kernels.run(weights, packed, 1))
      EXPECT_TRUE(std::isnan(result));
  }
}

TEST_P(LCQMatMulTest, TinyRowsAreZero) {
  Kernels kernels(GetParam(), {4, 32, 1, 8, false});
  for (float value : {0.0f, -0.0f, 1e-38f, 1e-45f}) {
    PackedRows packed = kernels.pack(std::vector<float>(32, value), 32);
    EXPECT_EQ(packed.sums[0], 0);
    EXPECT_EQ(packed.xq[0], 0);
    EXPECT_LT(packed.scales[0], 1e-30f);
  }
}

/// The host's targets, and AVX-512 without VNNI.
std::vector<std::string> targets() {
  std::vector<std::string> list = runnableTargets();
  if (llvm::is_contained(list, "x86-64-v3"))
    list.push_back("x86-64-v4");
  return list;
}

INSTANTIATE_TEST_SUITE_P(Targets, LCQMatMulTest, testing::ValuesIn(targets()),
                         [](const auto &info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

} // namespace
