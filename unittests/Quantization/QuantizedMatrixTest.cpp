//===- QuantizedMatrixTest.cpp - Codebooks, and formats as rank 1 ---------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "RandomWeights.h"
#include "nju/Quantization/Baselines.h"

using namespace nju::lcq;

namespace {

/// A matrix of one row whose groups have 4 weights, with scales in f32.
QuantizedMatrix makeRow(unsigned rank, std::vector<float> basis,
                        std::vector<std::vector<float>> scales,
                        std::vector<float> offsets,
                        std::vector<uint8_t> codes) {
  LCQOptions options;
  options.bits = 2;
  options.group = 4;
  options.rank = rank;
  QuantizedMatrix matrix = QuantizedMatrix::create(1, codes.size(), options);
  matrix.basis.values = basis;
  int64_t groups = matrix.getGroups();
  matrix.scales = GroupValues(GroupForm::F32, rank, 1, groups);
  for (unsigned k = 0; k < rank; ++k)
    matrix.scales.storeRow(k, 0, scales[k]);
  if (!offsets.empty()) {
    matrix.offsetKind = OffsetKind::Offset;
    matrix.offsets = GroupValues(GroupForm::F32, 1, 1, groups);
    matrix.offsets.storeRow(0, 0, offsets);
  }
  matrix.codes = codes;
  return matrix;
}

std::vector<float> getTable(const QuantizedMatrix &matrix, int64_t group) {
  std::vector<float> table(matrix.getLevels());
  matrix.getCodewords(0, group, table);
  return table;
}

using Floats = std::vector<float>;

// Oracle O1: rank 1 with the basis 0, 1, 2, 3 is round-to-nearest.
TEST(QuantizedMatrix, HoldsUniformCodebooks) {
  QuantizedMatrix matrix =
      makeRow(1, {0, 1, 2, 3}, {{0.5, 1}}, {0.5, 1}, {0, 1, 2, 3, 0, 1, 2, 3});
  EXPECT_EQ(getTable(matrix, 0), Floats({-0.5, 0, 0.5, 1}));
  EXPECT_EQ(getTable(matrix, 1), Floats({-1, 0, 1, 2}));
  for (int64_t g = 0; g < 2; ++g) {
    float scale = g + 1, zero = 1;
    scale /= 2;
    for (float w : {-3.f, -0.6f, -0.2f, 0.1f, 0.3f, 0.9f, 1.6f, 7.f})
      EXPECT_EQ(getNearestCode(w, getTable(matrix, g)),
                std::clamp(std::round(w / scale) + zero, 0.f, 3.f))
          << w;
  }
}

// Oracle O2: the nearest codeword of the group's own table.
TEST(QuantizedMatrix, TakesTheNearestCodeword) {
  QuantizedMatrix matrix =
      makeRow(2, {-3, -1, 1, 3, -4, -1, 1, 4}, {{1, 0}, {0, 1}}, {},
              std::vector<uint8_t>(8));
  Floats weights = {-2.5, 0.2, 1.9, 3.5};
  Floats expected[] = {{-3, 1, 1, 3}, {-4, 1, 1, 4}};
  double errors[] = {1.95, 3.95};
  std::vector<uint8_t> codes;
  for (int64_t g = 0; g < 2; ++g) {
    Floats table = getTable(matrix, g);
    double error = 0;
    for (int i = 0; i < 4; ++i) {
      codes.push_back(getNearestCode(weights[i], table));
      float value = table[codes.back()];
      EXPECT_EQ(value, expected[g][i]);
      error += (value - weights[i]) * (value - weights[i]);
    }
    EXPECT_NEAR(error, errors[g], 1e-6);
  }
  EXPECT_EQ(codes, std::vector<uint8_t>({0, 2, 2, 3, 0, 2, 2, 3}));
}

TEST(QuantizedMatrix, TakesTheLowestOfSeveralNearestCodes) {
  EXPECT_EQ(getNearestCode(0, {1, -1, 1, -1}), 0u);
  EXPECT_EQ(getNearestCode(2, {0, 1, 1, -1}), 1u);
}

// Oracle O5: a change of coordinates of the codebook changes no weight.
TEST(QuantizedMatrix, KeepsItsWeightsUnderAChangeOfCoordinates) {
  std::vector<uint8_t> codes = {0, 1, 2, 3, 3, 2, 1, 0};
  // V' = R V and S' = R^-T S with R = [2 1; 0 -4].
  QuantizedMatrix one = makeRow(2, {-7, -2, 3, 5, 4, -1, -2, 6},
                                {{1, 0.5}, {-2, 0.25}}, {}, codes);
  QuantizedMatrix two = makeRow(2, {-10, -5, 4, 16, -16, 4, 8, -24},
                                {{0.5, 0.25}, {0.625, 0}}, {}, codes);
  EXPECT_EQ(one.dequantize(), two.dequantize());
  for (int64_t g = 0; g < 2; ++g)
    EXPECT_EQ(getTable(one, g), getTable(two, g));
}

// Oracle O6: the order of the codewords is free.
TEST(QuantizedMatrix, KeepsItsWeightsWhenCodesAreRenamed) {
  QuantizedMatrix one =
      makeRow(2, {-7, -2, 3, 5, 4, -1, -2, 6}, {{1, 0.5}, {-2, 0.25}}, {1, 2},
              {0, 1, 2, 3, 3, 2, 1, 0});
  QuantizedMatrix two =
      makeRow(2, {3, -7, 5, -2, -2, 4, 6, -1}, {{1, 0.5}, {-2, 0.25}}, {1, 2},
              {1, 3, 0, 2, 2, 0, 3, 1});
  EXPECT_EQ(one.dequantize(), two.dequantize());
}

TEST(QuantizedMatrix, CountsAllBits) {
  LCQOptions options;
  options.bits = 3;
  options.group = 64;
  options.rank = 2;
  // Codes 3; two int8 scales a group of 64; two f32 a row; a basis of 2 x 8.
  double basis = 2 * 8 * 8 / (2048. * 100);
  EXPECT_DOUBLE_EQ(
      QuantizedMatrix::create(100, 2048, options).getBitsPerWeight(),
      3 + 16. / 64 + 64. / 2048 + basis);
  options.offset = true;
  EXPECT_DOUBLE_EQ(
      QuantizedMatrix::create(100, 2048, options).getBitsPerWeight(),
      3 + 24. / 64 + 96. / 2048 + basis);
  options.scaleBits = 16;
  EXPECT_DOUBLE_EQ(
      QuantizedMatrix::create(100, 2048, options).getBitsPerWeight(),
      3 + 48. / 64 + 2 * 32 / (2048. * 100) + basis);
}

TEST(GroupValues, StoresScalesOfAnySizeInF16) {
  // Beyond f16 on both sides, and zero.
  for (float size : {1e30f, 1.f, 1e-30f}) {
    GroupValues values(GroupForm::F16, 1, 1, 4);
    Floats row = {size, -size * 0.1234567f, size * 1e-6f, 0};
    Floats wanted = row;
    values.storeRow(0, 0, row);
    values.seal();
    for (int64_t g = 0; g < 4; ++g) {
      EXPECT_EQ(values.get(0, 0, g), row[g]);
      EXPECT_NEAR(row[g], wanted[g], std::abs(wanted[g]) / 2048);
    }
  }
}

TEST(GroupValues, StoresRowsInInt8) {
  GroupValues values(GroupForm::Int8, 1, 3, 3);
  Floats rows[] = {{1e30f, -4.9e29f, 0}, {0, 0, 0}, {1e-44f, 1e-44f, 0}};
  for (int64_t n = 0; n < 3; ++n) {
    Floats wanted = rows[n];
    values.storeRow(0, n, rows[n]);
    for (int64_t g = 0; g < 3; ++g) {
      EXPECT_EQ(values.get(0, n, g), rows[n][g]);
      // Half a step, and what is no normal number.
      EXPECT_NEAR(rows[n][g], wanted[g], wanted[0] / 254 + 0x1p-126);
    }
  }
}

/// Weights with zeros, a constant group and groups of one sign.
Floats makeMixed(int64_t rows, int64_t columns) {
  Floats weights = makeNormal(rows * columns, 3, 0.02);
  for (int64_t i = 0; i < 16; ++i) {
    weights[i] = 0;
    weights[columns + i] = 0.125f;
    weights[2 * columns + i] = -std::abs(weights[2 * columns + i]);
  }
  return weights;
}

// Rank 1 reproduces round-to-nearest bit for bit.
TEST(Baselines, RoundToNearestIsExact) {
  constexpr int64_t kRows = 9, kColumns = 44, kGroup = 16;
  Floats weights = makeMixed(kRows, kColumns);
  for (unsigned bits = 2; bits <= 4; ++bits) {
    QuantizedMatrix matrix = expectValue(quantizeRoundToNearest(
        makeRows(weights, kRows, kColumns), bits, kGroup));
    Floats result = matrix.dequantize();
    float top = (1 << bits) - 1;
    for (int64_t n = 0; n < kRows; ++n) {
      for (int64_t begin = 0; begin < kColumns; begin += kGroup) {
        float low = 0, high = 0;
        int64_t end = std::min(kColumns, begin + kGroup);
        for (int64_t j = begin; j < end; ++j) {
          low = std::min(low, weights[n * kColumns + j]);
          high = std::max(high, weights[n * kColumns + j]);
        }
        float scale = high / top - low / top;
        float zero = scale > 0 ? -std::round(low / scale) : 0;
        for (int64_t j = begin; j < end; ++j) {
          float w = weights[n * kColumns + j], expected = 0;
          if (scale > 0)
            expected =
                scale *
                (std::clamp(std::round(w / scale) + zero, 0.f, top) - zero);
          ASSERT_EQ(result[n * kColumns + j], expected) << n << " " << j;
        }
      }
    }
  }
}

// Rank 1 reproduces NormalFloat bit for bit.
TEST(Baselines, NormalFloatIsExact) {
  constexpr int64_t kRows = 9, kColumns = 48, kGroup = 16;
  Floats weights = makeMixed(kRows, kColumns);
  for (unsigned bits = 2; bits <= 4; ++bits) {
    Floats table = getNormalFloatTable(bits);
    QuantizedMatrix matrix = expectValue(
        quantizeNormalFloat(makeRows(weights, kRows, kColumns), bits, kGroup));
    Floats result = matrix.dequantize();
    for (int64_t i = 0; i < kRows * kColumns; ++i) {
      int64_t begin = i / kGroup * kGroup;
      float scale = 0;
      for (int64_t j = begin; j < begin + kGroup; ++j)
        scale = std::max(scale, std::abs(weights[j]));
      float best = table[0] * scale;
      for (float v : table)
        if (std::abs(weights[i] - v * scale) < std::abs(weights[i] - best))
          best = v * scale;
      ASSERT_EQ(result[i], best) << i;
    }
  }
}

TEST(Baselines, NormalFloatTablesAreQuantiles) {
  EXPECT_NEAR(getNormalQuantile(0.975), 1.959963984540054, 1e-12);
  EXPECT_EQ(getNormalFloatTable(2).size(), 4u);
  for (unsigned bits = 2; bits <= 4; ++bits) {
    Floats table = getNormalFloatTable(bits);
    EXPECT_EQ(table.front(), -1);
    EXPECT_EQ(table.back(), 1);
    EXPECT_EQ(table[(1 << (bits - 1)) - 1], 0);
    EXPECT_TRUE(std::is_sorted(table.begin(), table.end()));
  }
  // Of the 4-bit table: the second from the top is a quantile too.
  double step = (0.9677083 - 0.5) / 8;
  EXPECT_NEAR(
      getNormalFloatTable(4)[14],
      getNormalQuantile(0.9677083 - step) / getNormalQuantile(0.9677083), 1e-6);
}

TEST(Baselines, ImportsCodesScalesAndZeroPoints) {
  constexpr int64_t kRows = 5, kColumns = 40, kGroup = 16;
  std::vector<uint8_t> codes(kRows * kColumns);
  for (size_t i = 0; i < codes.size(); ++i)
    codes[i] = i * 7 % 16;
  Floats scales = makeNormal(kRows * 3, 4), zeros(kRows * 3);
  for (size_t i = 0; i < zeros.size(); ++i)
    zeros[i] = i % 16;
  UniformWeights weights{kRows, kColumns, 4,      kGroup,
                         false, codes,    scales, zeros};
  Floats result = expectValue(importUniform(weights, chooseForm(scales, zeros)))
                      .dequantize();
  for (int64_t n = 0; n < kRows; ++n)
    for (int64_t j = 0; j < kColumns; ++j) {
      int64_t group = n * 3 + j / kGroup;
      ASSERT_EQ(result[n * kColumns + j],
                scales[group] * (codes[n * kColumns + j] - zeros[group]));
    }
}

TEST(Baselines, RefusesWhatIsNoMatrix) {
  UniformWeights uniform{2, 2, 4, 2, false, {0, 1, 16, 2}, {1, 1}, {0, 0}};
  EXPECT_EQ(expectError(importUniform(uniform, {})),
            "code 16 in row 1, column 0 is not one of 4 bits");
  uniform.codes = {0, 1, 2};
  EXPECT_EQ(expectError(importUniform(uniform, {})),
            "3 codes, 2 scales and 2 zero points do not fit a matrix of 2 rows "
            "of 2 columns in groups of 2");
  Floats weights = {1, 2, 3, INFINITY};
  EXPECT_EQ(expectError(quantizeRoundToNearest(makeRows(weights, 2, 2), 4, 2)),
            "weight in row 1, column 1 is infinite, expected finite weights");
  EXPECT_EQ(expectError(quantizeNormalFloat(makeRows(weights, 0, 4), 4, 2)),
            "matrix of 0 rows and 4 columns has no weights to quantize");
}

TEST(StridedWeights, ReadsEveryTypeAndOrder) {
  // 1, -2, 0.5 and the smallest f16 above zero, by columns.
  uint16_t halves[] = {0x3c00, 0xc000, 0x3800, 0x0001};
  Floats out(4);
  StridedWeights byColumns(halves, WeightType::F16, 2, 2, 1, 2);
  EXPECT_FALSE(bool(byColumns.read(0, 2, out)));
  EXPECT_EQ(out, Floats({1, 0.5, -2, 0x1p-24f}));
  uint16_t bfloats[] = {0x3f80, 0xc000, 0x7f80, 0x0001};
  StridedWeights byRows(bfloats, WeightType::BF16, 2, 2);
  EXPECT_FALSE(bool(byRows.read(0, 2, out)));
  EXPECT_EQ(out, Floats({1, -2, INFINITY, 0x1p-133f}));
  uint16_t special[] = {0x7c00, 0xfc00, 0x7bff, 0x83ff};
  EXPECT_FALSE(
      bool(StridedWeights(special, WeightType::F16, 2, 2).read(0, 2, out)));
  EXPECT_EQ(out, Floats({INFINITY, -INFINITY, 65504, -1023 * 0x1p-24f}));
}

} // namespace
