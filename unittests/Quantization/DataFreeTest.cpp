//===- DataFreeTest.cpp - Quantization without data -----------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Quantization/DataFree.h"
#include "RandomWeights.h"
#include "Stories.h"
#include "nju/Quantization/Baselines.h"
#include "nju/Quantization/LowRank.h"
#include "nju/Quantization/Packing.h"
#include "llvm/Support/Parallel.h"

using namespace nju::lcq;

namespace {

using Floats = std::vector<float>;

LCQOptions parseOK(llvm::StringRef text) {
  return expectValue(LCQOptions::parse(text));
}

QuantizedMatrix quantize(const Floats &weights, int64_t rows, int64_t columns,
                         llvm::StringRef options,
                         QuantizationError *error = nullptr) {
  return expectValue(quantizeDataFree(makeRows(weights, rows, columns),
                                      parseOK(options), error));
}

double getErrorOf(const Floats &weights, int64_t rows, int64_t columns,
                  llvm::StringRef options) {
  return getRelativeError(
      weights, quantize(weights, rows, columns, options).dequantize());
}

//===----------------------------------------------------------------------===//
// Codebooks of low rank
//===----------------------------------------------------------------------===//

// Oracle O4: a further rank never loses, and with enough of them nothing is
// lost.
TEST(LowRank, ErrorFallsWithTheRank) {
  constexpr int64_t kGroups = 40;
  constexpr unsigned kLevels = 8;
  Floats random = makeNormal(kGroups * kLevels, 8);
  std::vector<double> codebooks(random.begin(), random.end()), scales;
  double last = INFINITY, norm = 0;
  for (double c : codebooks)
    norm += c * c;
  for (unsigned rank = 1; rank <= kLevels; ++rank) {
    std::vector<double> basis =
        factorizeCodebooks(codebooks, kGroups, kLevels, rank, scales);
    double error = 0;
    for (int64_t g = 0; g < kGroups; ++g)
      for (unsigned l = 0; l < kLevels; ++l) {
        double rest = codebooks[g * kLevels + l];
        for (unsigned k = 0; k < rank; ++k)
          rest -= scales[k * kGroups + g] * basis[k * kLevels + l];
        error += rest * rest;
      }
    EXPECT_LT(error, last);
    last = error;
  }
  EXPECT_LT(last, 1e-24 * norm);
}

TEST(LowRank, FindsTheRankOfTheCodebooks) {
  constexpr int64_t kGroups = 30;
  std::vector<double> codebooks, scales;
  for (int64_t g = 0; g < kGroups; ++g)
    for (double v : {-1., -0.3, 0.4, 2.})
      codebooks.push_back((g + 1) * v + (g % 7) * v * v);
  factorizeCodebooks(codebooks, kGroups, 4, 1, scales);
  std::vector<double> basis =
      factorizeCodebooks(codebooks, kGroups, 4, 2, scales);
  for (int64_t g = 0; g < kGroups; ++g)
    for (unsigned l = 0; l < 4; ++l)
      EXPECT_NEAR(codebooks[g * 4 + l],
                  scales[g] * basis[l] + scales[kGroups + g] * basis[4 + l],
                  1e-10);
}

// Oracle O4: the weights' error falls as well.
TEST(DataFree, ErrorFallsWithTheRankAndTheOffset) {
  Floats weights = makeNormal(128 * 512, 11);
  for (const char *bits : {"2", "3", "4"}) {
    std::string base = std::string("lcq:bits=") + bits + ",group=64,rank=";
    double last = 1;
    for (const char *rank : {"1", "2", "3"}) {
      double error = getErrorOf(weights, 128, 512, base + rank);
      EXPECT_LT(error, last) << base << rank;
      last = error;
    }
    EXPECT_LT(getErrorOf(weights, 128, 512, base + "1,offset"),
              getErrorOf(weights, 128, 512, base + "1"));
  }
}

//===----------------------------------------------------------------------===//
// Quality
//===----------------------------------------------------------------------===//

// Normal weights, group 64: the relative errors are properties of the method.
// Round-to-nearest has .091, .195 and .457.
TEST(DataFree, KeepsNormalWeights) {
  Floats weights = makeNormal(512 * 1024, 12, 0.02);
  struct {
    const char *options;
    double error;
  } cases[] = {{"lcq:bits=4,group=64", .0822},
               {"lcq:bits=3,group=64", .1672},
               {"lcq:bits=2,group=64,rank=1", .3300},
               {"lcq:bits=3,group=64,rank=2", .1612},
               {"lcq:bits=3,group=64,rank=3", .1568},
               {"lcq:bits=2,group=64,rank=2", .3185},
               {"lcq:bits=3,group=64,offset", .1625},
               {"lcq4", .0757},
               {"lcq3", .1549}};
  for (auto &c : cases)
    EXPECT_LT(getErrorOf(weights, 512, 1024, c.options), c.error) << c.options;
}

// On trained weights, against round-to-nearest of the same group.
TEST(DataFree, BeatsRoundToNearestOnTrainedWeights) {
  std::vector<StoriesMatrix> matrices = readStories();
  if (matrices.empty())
    GTEST_SKIP() << "stories260K is absent";
  ASSERT_EQ(matrices.size(), 35u);
  struct {
    unsigned bits;
    const char *options;
    double ratio;
  } cases[] = {{4, "lcq:bits=4,group=64", .91},
               {3, "lcq:bits=3,group=64", .87},
               {2, "lcq:bits=2,group=64,rank=1", .74}};
  for (auto &c : cases) {
    double ours = 0, theirs = 0;
    for (const StoriesMatrix &m : matrices) {
      double norm = 0;
      for (float w : m.weights)
        norm += double(w) * w;
      auto add = [&](const QuantizedMatrix &quantized, double &sum) {
        sum += norm *
               std::pow(getRelativeError(m.weights, quantized.dequantize()), 2);
      };
      add(quantize(m.weights, m.rows, m.columns, c.options), ours);
      add(expectValue(quantizeRoundToNearest(
              makeRows(m.weights, m.rows, m.columns), c.bits, 64)),
          theirs);
    }
    EXPECT_LT(std::sqrt(ours / theirs), c.ratio) << c.options;
  }
}

TEST(DataFree, TakesTheNearestCodesOfTheStoredCodebook) {
  constexpr int64_t kRows = 37, kColumns = 200;
  Floats weights = makeNormal(kRows * kColumns, 13);
  for (const char *options : {"lcq4", "lcq:bits=2,group=64,rank=2",
                              "lcq:bits=3,rank=3,offset,double-quant=16"}) {
    QuantizationError error;
    QuantizedMatrix matrix =
        quantize(weights, kRows, kColumns, options, &error);
    Floats table(matrix.getLevels());
    for (int64_t n = 0; n < kRows; ++n)
      for (int64_t j = 0; j < kColumns; ++j) {
        matrix.getCodewords(n, j / matrix.group, table);
        int64_t i = n * kColumns + j;
        ASSERT_EQ(matrix.codes[i], getNearestCode(weights[i], table)) << i;
      }
    EXPECT_NEAR(error.getRelative(),
                getRelativeError(weights, matrix.dequantize()), 1e-5);
    EXPECT_EQ(unpack(expectValue(pack(matrix))).dequantize(),
              matrix.dequantize());
  }
}

//===----------------------------------------------------------------------===//
// The same numbers always
//===----------------------------------------------------------------------===//

TEST(DataFree, DoesNotDependOnThreads) {
  Floats weights = makeNormal(200 * 512, 14);
  QuantizedMatrix many =
      quantize(weights, 200, 512, "lcq:bits=2,group=64,rank=2");
  llvm::ThreadPoolStrategy strategy = llvm::parallel::strategy;
  llvm::parallel::strategy = llvm::hardware_concurrency(1);
  QuantizedMatrix one =
      quantize(weights, 200, 512, "lcq:bits=2,group=64,rank=2");
  llvm::parallel::strategy = strategy;
  EXPECT_EQ(many.codes, one.codes);
  EXPECT_EQ(many.basis.values, one.basis.values);
  EXPECT_EQ(many.dequantize(), one.dequantize());
}

TEST(DataFree, DoesNotDependOnHowWeightsAreStored) {
  constexpr int64_t kRows = 40, kColumns = 96;
  std::vector<uint16_t> halves(kRows * kColumns), byColumns(kRows * kColumns);
  std::mt19937 random(15);
  for (int64_t n = 0; n < kRows; ++n)
    for (int64_t j = 0; j < kColumns; ++j) {
      // Of either sign, between 2^-7 and 2^-3.
      uint16_t half = 0x2000 + random() % 0x1000 + (random() % 2) * 0x8000;
      halves[n * kColumns + j] = byColumns[j * kRows + n] = half;
    }
  LCQOptions options = parseOK("lcq3");
  QuantizedMatrix a = expectValue(quantizeDataFree(
      StridedWeights(halves.data(), WeightType::F16, kRows, kColumns),
      options));
  QuantizedMatrix b = expectValue(
      quantizeDataFree(StridedWeights(byColumns.data(), WeightType::F16, kRows,
                                      kColumns, 1, kRows),
                       options));
  EXPECT_EQ(a.dequantize(), b.dequantize());
}

// Powers of two change no bit: neither do weights near the ends of f32
// overflow, nor are they lost in f16 scales.
TEST(DataFree, ScalesWithTheWeights) {
  Floats weights = makeNormal(20 * 64, 16);
  for (const char *options : {"lcq3", "lcq:bits=3,double-quant=16",
                              "lcq:bits=2,rank=2,offset,double-quant=16"}) {
    Floats expected = quantize(weights, 20, 64, options).dequantize();
    for (float factor : {0x1p124f, 0x1p40f, 0x1p-30f, 0x1p-90f}) {
      Floats scaled = weights;
      for (float &w : scaled)
        w *= factor;
      Floats result = quantize(scaled, 20, 64, options).dequantize();
      for (float &w : result)
        w /= factor;
      EXPECT_EQ(result, expected) << options << " " << factor;
    }
  }
}

//===----------------------------------------------------------------------===//
// Exact handling
//===----------------------------------------------------------------------===//

TEST(DataFree, KeepsZerosExactly) {
  Floats weights = makeNormal(20 * 128, 17);
  for (int64_t j = 0; j < 64; ++j)
    weights[3 * 128 + j] = 0;
  for (int64_t j = 0; j < 128; ++j)
    weights[7 * 128 + j] = 0;
  for (const char *options : {"lcq4", "lcq3", "lcq:bits=2,group=64,rank=2",
                              "lcq:bits=3,offset,double-quant=16"}) {
    Floats result = quantize(weights, 20, 128, options).dequantize();
    for (int64_t j = 0; j < 128; ++j) {
      if (j < 64)
        EXPECT_EQ(result[3 * 128 + j], 0) << options;
      EXPECT_EQ(result[7 * 128 + j], 0) << options;
    }
  }
  Floats zeros(5 * 40);
  EXPECT_EQ(quantize(zeros, 5, 40, "lcq:bits=2,group=64,rank=2").dequantize(),
            zeros);
}

TEST(DataFree, KeepsConstantRows) {
  for (const char *options :
       {"lcq4", "lcq:bits=2,group=64,rank=2", "lcq:bits=3,offset"}) {
    Floats weights(6 * 64);
    for (int64_t i = 0; i < 6 * 64; ++i)
      weights[i] = (i / 64 - 2) * 0.37f;
    EXPECT_LT(getErrorOf(weights, 6, 64, options), 1e-4) << options;
  }
}

TEST(DataFree, TakesMatricesOfOneRowOrColumn) {
  Floats weights = makeNormal(100, 18);
  for (const char *options : {"lcq4", "lcq3", "lcq:bits=2,group=64,rank=2",
                              "lcq:bits=2,rank=3,offset"}) {
    EXPECT_LT(getErrorOf(weights, 1, 100, options), 0.5) << options;
    // Each row is one weight: a scale of its own.
    EXPECT_LT(getErrorOf(weights, 100, 1, options), 0.02) << options;
    EXPECT_LT(getErrorOf({weights[0]}, 1, 1, options), 1e-3) << options;
  }
}

TEST(DataFree, TakesSubnormalWeights) {
  // Of f16, which keep their precision.
  std::vector<uint16_t> halves(4 * 64);
  for (size_t i = 0; i < halves.size(); ++i)
    halves[i] = i * 37 % 0x400;
  StridedWeights rows(halves.data(), WeightType::F16, 4, 64);
  QuantizationError error;
  expectValue(quantizeDataFree(rows, parseOK("lcq4"), &error));
  EXPECT_LT(error.getRelative(), 0.1);
  // Of f32, which may become zero.
  Floats tiny(64, 1e-40f);
  for (const char *options :
       {"lcq4", "lcq:bits=2,group=64,rank=2", "lcq:bits=3,double-quant=16"})
    for (float w : quantize(tiny, 1, 64, options).dequantize())
      EXPECT_NEAR(w, 0, 0x1p-125) << options;
}

TEST(DataFree, NamesTheFirstWeightThatIsNotFinite) {
  Floats weights = makeNormal(300 * 64, 19);
  weights[250 * 64 + 3] = NAN;
  weights[130 * 64 + 9] = -INFINITY;
  auto quantizeBad = [&] {
    return expectError(
        quantizeDataFree(makeRows(weights, 300, 64), parseOK("lcq4")));
  };
  // The basis is fitted to all of such a small matrix, from the top down.
  EXPECT_EQ(quantizeBad(), "weight in row 130, column 9 is infinite, expected "
                           "finite weights");
  weights[130 * 64 + 9] = 0;
  EXPECT_EQ(quantizeBad(),
            "weight in row 250, column 3 is NaN, expected finite weights");
}

TEST(DataFree, RefusesWrongOptionsAndEmptyMatrices) {
  Floats weights(64);
  LCQOptions options;
  options.bits = 2;
  options.rank = 5;
  EXPECT_EQ(expectError(quantizeDataFree(makeRows(weights, 1, 64), options)),
            "rank=5 is more than the 4 codewords that 2 bits tell apart");
  EXPECT_EQ(expectError(quantizeDataFree(makeRows(weights, 0, 64), {})),
            "matrix of 0 rows and 64 columns has no weights to quantize");
}

} // namespace
