//===- PackingTest.cpp - The layout that kernels read ---------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Quantization/Packing.h"
#include "RandomWeights.h"
#include "nju/Quantization/Baselines.h"
#include "nju/Support/HalfFloat.h"

using namespace nju::lcq;

namespace {

/// A matrix with random codes, scales, offsets and basis.
QuantizedMatrix makeRandom(int64_t rows, int64_t columns,
                           const LCQOptions &options) {
  QuantizedMatrix matrix = QuantizedMatrix::create(rows, columns, options);
  std::mt19937 random(rows * 1000 + columns + options.bits);
  for (float &v : matrix.basis.values)
    v = int(random() % 255) - 127;
  for (uint8_t &code : matrix.codes)
    code = random() % matrix.getLevels();
  auto fill = [&](GroupValues &values) {
    for (unsigned k = 0; k < values.getPlanes(); ++k)
      for (int64_t n = 0; n < rows; ++n) {
        std::vector<float> row = makeNormal(values.getGroups(), random(), 0.01);
        values.storeRow(k, n, row);
      }
    values.seal();
  };
  fill(matrix.scales);
  if (options.offset)
    fill(matrix.offsets);
  return matrix;
}

// Oracle O7: packing loses nothing.
TEST(Packing, RoundTripIsExact) {
  for (unsigned bits = 2; bits <= 4; ++bits)
    for (unsigned rank = 1; rank <= 3; ++rank)
      for (unsigned scaleBits : {8, 16})
        for (bool offset : {false, true})
          // Rows and columns that fill tiles and groups, and that do not.
          for (auto [rows, columns] : {std::pair<int64_t, int64_t>{32, 128},
                                       {1, 1},
                                       {17, 172},
                                       {5, 70}}) {
            LCQOptions options{bits, 64, rank, scaleBits, offset};
            QuantizedMatrix matrix = makeRandom(rows, columns, options);
            PackedMatrix packed = expectValue(pack(matrix));
            QuantizedMatrix back = unpack(packed);
            ASSERT_EQ(back.codes, matrix.codes) << options.str();
            ASSERT_EQ(back.dequantize(), matrix.dequantize()) << options.str();
            ASSERT_EQ(int64_t(packed.stream.size()), packed.layout.getBytes());
          }
}

/// y = W x of the first `tile`'s rows, read from the stream as a kernel does.
std::vector<double> multiply(const PackedMatrix &packed, int64_t tile,
                             const std::vector<float> &x) {
  const PackedLayout &layout = packed.layout;
  std::vector<double> y(16);
  unsigned levels = 1u << layout.bits;
  for (int64_t g = 0; g < layout.getGroups(); ++g) {
    const uint8_t *scales = packed.stream.data() + layout.getOffset(tile, g);
    const uint8_t *lines = scales + layout.kTileRows * layout.scaleBytes;
    for (int64_t j = 0; j < layout.getColumns(g); ++j)
      for (int64_t r = 0; r < 16; ++r) {
        // The bits of unit j / 4, byte 4 r + j % 4.
        int64_t unit = j / 4, byte = 4 * r + j % 4;
        unsigned code = 0;
        if (layout.bits != 3) {
          int64_t perLine = 8 / layout.bits;
          code = lines[unit / perLine * 64 + byte] >>
                 (unit % perLine * layout.bits);
        } else {
          const uint8_t *line = lines + unit / 8 * 192 + byte;
          int64_t u = unit % 8;
          if (u < 6)
            code = line[u / 2 * 64] >> (u % 2 * 4);
          else
            for (int bit = 0; bit < 3; ++bit)
              code |= (line[(2 - bit) * 64] >> (u == 6 ? 3 : 7) & 1) << bit;
        }
        code &= levels - 1;
        double sum = 0;
        for (unsigned k = 0; k < layout.rank; ++k)
          sum += double(int8_t(scales[k * 16 + r])) *
                 packed.factors[k * layout.getTiles() * 16 + tile * 16 + r] *
                 packed.basis[k * levels + code];
        int64_t column = g * layout.group + j;
        if (j < layout.group && column < layout.columns)
          y[r] += sum * x[column];
      }
  }
  return y;
}

TEST(Packing, IsWhatTheHeaderSays) {
  for (unsigned bits = 2; bits <= 4; ++bits) {
    LCQOptions options{bits, 32, 2, 8, false};
    QuantizedMatrix matrix = makeRandom(20, 90, options);
    PackedMatrix packed = expectValue(pack(matrix));
    std::vector<float> x = makeNormal(90, 1), weights = matrix.dequantize();
    for (int64_t tile = 0; tile < 2; ++tile) {
      std::vector<double> y = multiply(packed, tile, x);
      for (int64_t r = 0; r < 16; ++r) {
        int64_t n = tile * 16 + r;
        double expected = 0;
        for (int64_t j = 0; j < 90 && n < 20; ++j)
          expected += double(weights[n * 90 + j]) * x[j];
        EXPECT_NEAR(y[r], expected, 1e-5) << bits << " " << n;
      }
    }
  }
}

TEST(Packing, CountsPaddingInItsBytes) {
  LCQOptions options = LCQOptions::getDefault(4);
  PackedMatrix packed = expectValue(pack(makeRandom(64, 256, options)));
  EXPECT_EQ(packed.getBytes(), 64 * 256 / 2 + 64 * 8 + 64 * 4 + 16);
  // 17 rows take two tiles; 40 columns a group of 32 and one of 8.
  packed = expectValue(pack(makeRandom(17, 40, options)));
  EXPECT_EQ(packed.getBytes(), 32 * 40 / 2 + 32 * 2 + 32 * 4 + 16);
}

TEST(Packing, KeepsWeightsOfOtherQuantizers) {
  UniformWeights weights;
  weights.rows = 19;
  weights.columns = 70;
  weights.group = 32;
  for (unsigned bits : {2, 3, 4})
    for (bool isSigned : {false, true})
      for (GroupForm scales : {GroupForm::F16, GroupForm::F32})
        for (int zeros : {0, 1, 2}) {
          weights.bits = bits;
          weights.isSigned = isSigned;
          weights.codes.resize(19 * 70);
          for (size_t i = 0; i < weights.codes.size(); ++i)
            weights.codes[i] = i * 7 % (1 << bits);
          weights.scales = makeNormal(19 * 3, 3);
          for (float &scale : weights.scales)
            if (scales == GroupForm::F16)
              scale = nju::halfToFloat(nju::floatToHalf(scale));
          // One for all, integers, and others.
          weights.zeroPoints.assign(1, 2);
          if (zeros > 0)
            weights.zeroPoints = makeNormal(19 * 3, 4);
          if (zeros == 1)
            for (float &zero : weights.zeroPoints)
              zero = std::round(zero);
          UniformForm form = chooseForm(weights.scales, weights.zeroPoints);
          EXPECT_EQ(form.scales, scales);
          EXPECT_EQ(form.isCentered, zeros == 0);
          EXPECT_EQ(form.zeroPoints == GroupForm::Integer, zeros < 2);
          QuantizedMatrix matrix = expectValue(importUniform(weights, form));
          std::vector<float> values = matrix.dequantize();
          for (int64_t i = 0; i < 19 * 70; ++i) {
            int integer = weights.codes[i];
            if (isSigned && integer >= 1 << (bits - 1))
              integer -= 1 << bits;
            int64_t group = i / 70 * 3 + i % 70 / 32;
            float zero = weights.zeroPoints[zeros ? group : 0];
            ASSERT_EQ(values[i], weights.scales[group] * (integer - zero));
          }
          QuantizedMatrix again = unpack(expectValue(pack(matrix)));
          EXPECT_EQ(again.codes, weights.codes);
          EXPECT_EQ(again.dequantize(), values);
        }
}

TEST(Packing, RefusesWhatNoKernelReads) {
  LCQOptions options{3, 16, 1, 8, false};
  EXPECT_EQ(
      expectError(pack(makeRandom(4, 64, options))),
      "group=16 cannot be packed with codes of 3 bits, expected a multiple "
      "of 32");
  std::vector<float> weights = makeNormal(64, 5);
  EXPECT_EQ(expectError(pack(expectValue(
                quantizeNormalFloat(makeRows(weights, 1, 64), 4, 32)))),
            "a basis in f32 cannot be packed for the kernels, expected int8");
}

} // namespace
