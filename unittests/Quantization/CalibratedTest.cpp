//===- CalibratedTest.cpp - Quantization by the outputs -------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Quantization/Calibrated.h"
#include "RandomWeights.h"
#include "nju/Quantization/Packing.h"
#include "llvm/Support/Parallel.h"

using namespace nju::lcq;

namespace {

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

/// Second moments of correlated inputs with columns of very different size.
Doubles makeMoments(int64_t columns, int64_t tokens, unsigned seed) {
  Floats noise = makeNormal(tokens * columns, seed);
  Floats size = makeNormal(columns, seed + 1, 0.7);
  Doubles moments(columns * columns), x(columns);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t j = 0; j < columns; ++j)
      x[j] = std::exp(size[j]) * noise[t * columns + j] +
             (j > 0 ? 0.8 * x[j - 1] : 0);
    for (int64_t i = 0; i < columns; ++i)
      for (int64_t j = 0; j < columns; ++j)
        moments[i * columns + j] += x[i] * x[j];
  }
  return moments;
}

/// H with the damping of `quantizeCalibrated`.
Doubles damp(Doubles moments, int64_t columns) {
  double mean = 0;
  for (int64_t j = 0; j < columns; ++j)
    mean += moments[j * columns + j] / columns;
  for (int64_t j = 0; j < columns; ++j)
    moments[j * columns + j] += 0.01 * mean;
  return moments;
}

/// tr(E H E').
double getObjective(const Floats &weights, const Floats &result,
                    const Doubles &moments, int64_t columns) {
  double objective = 0;
  for (size_t row = 0; row < weights.size(); row += columns)
    for (int64_t i = 0; i < columns; ++i) {
      double product = 0;
      for (int64_t j = 0; j < columns; ++j)
        product += moments[i * columns + j] *
                   (double(weights[row + j]) - result[row + j]);
      objective += product * (double(weights[row + i]) - result[row + i]);
    }
  return objective;
}

/// Upper U with H^-1 = U' U.
Doubles factorizeInverse(Doubles h, int64_t n) {
  // Gauss-Jordan, then Cholesky.
  Doubles inverse(n * n);
  for (int64_t i = 0; i < n; ++i)
    inverse[i * n + i] = 1;
  for (int64_t p = 0; p < n; ++p) {
    double pivot = h[p * n + p];
    for (int64_t j = 0; j < n; ++j) {
      h[p * n + j] /= pivot;
      inverse[p * n + j] /= pivot;
    }
    for (int64_t i = 0; i < n; ++i) {
      double factor = h[i * n + p];
      for (int64_t j = 0; j < n && i != p; ++j) {
        h[i * n + j] -= factor * h[p * n + j];
        inverse[i * n + j] -= factor * inverse[p * n + j];
      }
    }
  }
  Doubles u(n * n);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = i; j < n; ++j) {
      double value = inverse[i * n + j];
      for (int64_t k = 0; k < i; ++k)
        value -= u[k * n + i] * u[k * n + j];
      u[i * n + j] = i == j ? std::sqrt(value) : value / u[i * n + i];
    }
  return u;
}

/// Asymmetric integers of a group: the clipping of least squared error.
struct Grid {
  double scale = 1, zero = 0;

  double round(double w, double top) const {
    return scale * (std::clamp(std::round(w / scale) + zero, 0., top) - zero);
  }
};

Grid searchGrid(const double *w, int64_t count, double top) {
  double low = std::min(0., *std::min_element(w, w + count));
  double high = std::max(0., *std::max_element(w, w + count));
  Grid best;
  double least = INFINITY;
  for (double clip = 1; clip > 0.4; clip -= 0.02) {
    Grid grid;
    grid.scale = clip * (high - low) / top;
    grid.zero = std::clamp(-std::round(clip * low / grid.scale), 0., top);
    double error = 0;
    for (int64_t j = 0; j < count; ++j)
      error += std::pow(w[j] - grid.round(w[j], top), 2);
    if (error < least) {
      least = error;
      best = grid;
    }
  }
  return best;
}

/// GPTQ with a clip search for each group, as it is published.
Floats quantizeGPTQ(const Floats &weights, const Doubles &moments,
                    int64_t columns, unsigned bits, int64_t group) {
  Doubles u = factorizeInverse(moments, columns);
  Floats result(weights.size());
  double top = (1 << bits) - 1;
  for (size_t row = 0; row < weights.size(); row += columns) {
    Doubles w(weights.begin() + row, weights.begin() + row + columns);
    Grid grid;
    for (int64_t j = 0; j < columns; ++j) {
      if (j % group == 0)
        grid = searchGrid(&w[j], std::min(group, columns - j), top);
      double value = grid.round(w[j], top);
      result[row + j] = value;
      double error = (w[j] - value) / u[j * columns + j];
      for (int64_t i = j; i < columns; ++i)
        w[i] -= error * u[j * columns + i];
    }
  }
  return result;
}

LCQOptions parseOK(llvm::StringRef text) {
  return expectValue(LCQOptions::parse(text));
}

TEST(Calibrated, ObjectiveFallsInEachStep) {
  constexpr int64_t kRows = 70, kColumns = 200;
  Floats weights = makeNormal(kRows * kColumns, 21, 0.02);
  Doubles moments = makeMoments(kColumns, 400, 22);
  Doubles damped = damp(moments, kColumns);
  for (const char *options :
       {"lcq4", "lcq3", "lcq:bits=2,group=64,rank=2",
        "lcq:bits=3,rank=1,offset", "lcq:bits=3,rank=3,double-quant=16",
        "lcq:bits=2,rank=1,group=144"}) {
    CalibrationReport report;
    QuantizedMatrix matrix =
        expectValue(quantizeCalibrated(makeRows(weights, kRows, kColumns),
                                       moments, parseOK(options), 3, &report));
    ASSERT_EQ(report.objectives.size(), 6u);
    for (size_t i = 1; i < report.objectives.size(); ++i)
      EXPECT_LE(report.objectives[i], report.objectives[i - 1] * (1 + 1e-6))
          << options << " step " << i;
    EXPECT_LT(report.objectives.back(), report.objectives.front() * 0.97);
    Floats result = matrix.dequantize();
    EXPECT_NEAR(report.objective,
                getObjective(weights, result, damped, kColumns),
                1e-3 * report.objective)
        << options;
    EXPECT_NEAR(report.zeroObjective,
                getObjective(weights, Floats(weights.size()), damped, kColumns),
                1e-4 * report.zeroObjective);
    EXPECT_NEAR(report.weights.getRelative(), getRelativeError(weights, result),
                1e-4);
    EXPECT_EQ(unpack(expectValue(pack(matrix))).dequantize(), result);
  }
}

TEST(Calibrated, BeatsDataFreeAndGPTQ) {
  constexpr int64_t kRows = 96, kColumns = 256;
  Floats weights = makeNormal(kRows * kColumns, 23, 0.02);
  Doubles moments = makeMoments(kColumns, 600, 24);
  Doubles damped = damp(moments, kColumns);
  StridedWeights rows = makeRows(weights, kRows, kColumns);
  for (unsigned bits = 2; bits <= 4; ++bits) {
    // Fewer bits than GPTQ's: it has a zero point for each group, too.
    LCQOptions options{bits, 64, 1, 8, false};
    CalibrationReport report;
    expectValue(quantizeCalibrated(rows, moments, options, 3, &report));
    double dataFree = getObjective(
        weights, expectValue(quantizeDataFree(rows, options)).dequantize(),
        damped, kColumns);
    double gptq =
        getObjective(weights, quantizeGPTQ(weights, damped, kColumns, bits, 64),
                     damped, kColumns);
    EXPECT_LT(report.objective, 0.5 * dataFree) << bits;
    EXPECT_LT(report.objective, 0.85 * gptq) << bits;
  }
}

TEST(Calibrated, MakesUpForChangedInputs) {
  constexpr int64_t kTokens = 600, kRows = 70, kColumns = 100;
  Floats weights = makeNormal(kRows * kColumns, 41, 0.02);
  Floats before = makeNormal(kTokens * kColumns, 42), after = before;
  // Columns that lose a part of themselves to their neighbours, and noise.
  Floats noise = makeNormal(kTokens * kColumns, 43, 0.1);
  for (int64_t i = 1; i < kTokens * kColumns; ++i)
    after[i] += 0.3f * before[i - 1] + noise[i];
  Floats moments(kColumns * kColumns), deviation(kColumns * kColumns);
  for (int64_t t = 0; t < kTokens; ++t)
    for (int64_t i = 0; i < kColumns; ++i)
      for (int64_t j = 0; j < kColumns; ++j) {
        float x = after[t * kColumns + i], y = after[t * kColumns + j];
        moments[i * kColumns + j] += x * y;
        deviation[i * kColumns + j] += x * (before[t * kColumns + j] - y);
      }
  auto getError = [&](const Floats &result) {
    double error = 0;
    for (int64_t t = 0; t < kTokens; ++t)
      for (int64_t r = 0; r < kRows; ++r) {
        double difference = 0;
        for (int64_t j = 0; j < kColumns; ++j)
          difference += after[t * kColumns + j] * result[r * kColumns + j] -
                        before[t * kColumns + j] * weights[r * kColumns + j];
        error += difference * difference;
      }
    return error;
  };
  auto quantize = [&](const InputDeviation &deviation) {
    return expectValue(quantizeCalibrated(makeRows(weights, kRows, kColumns),
                                          moments, parseOK("lcq4"), 3, nullptr,
                                          deviation))
        .dequantize();
  };
  // Half of what can be made up for leaves a quarter, and noise.
  double without = getError(weights);
  double with = getError(quantize({deviation, 100 * kTokens}));
  EXPECT_LT(with, 0.4 * without);
  Floats plain = quantize({});
  EXPECT_LT(with, 0.4 * getError(plain));
  // Few tokens say less, and as many as columns nothing.
  double few = getError(quantize({deviation, 2 * kColumns}));
  EXPECT_GT(few, 1.2 * with);
  EXPECT_LT(few, 0.8 * without);
  EXPECT_EQ(quantize({deviation, kColumns}), plain);

  auto refused = [&](llvm::ArrayRef<float> deviation) {
    return expectError(quantizeCalibrated(makeRows(weights, kRows, kColumns),
                                          moments, parseOK("lcq4"), 3, nullptr,
                                          {deviation, kTokens}));
  };
  EXPECT_EQ(refused(Floats(3)), "3 deviations do not fit a matrix of 100 "
                                "columns, expected 10000");
  deviation[205] = NAN;
  EXPECT_EQ(
      refused(deviation),
      "deviation of columns 2 and 5 is not finite, expected X'(X0 - X) of "
      "the layer's inputs");
}

TEST(Calibrated, FitsTheBasisToTheWeightThatOutweighsAll) {
  // 16 rows of each 64 are sampled for the basis; the weight is in others.
  constexpr int64_t kRows = 2048, kColumns = 64, kRow = 17, kColumn = 5;
  Floats weights = makeNormal(kRows * kColumns, 33, 0.05);
  weights[kRow * kColumns + kColumn] = 8;
  Doubles moments(kColumns * kColumns);
  for (int64_t j = 0; j < kColumns; ++j)
    moments[j * kColumns + j] = j == kColumn ? 250 : 1;
  Floats result = expectValue(quantizeCalibrated(
                                  makeRows(weights, kRows, kColumns), moments,
                                  parseOK("lcq:bits=2,rank=1,group=64")))
                      .dequantize();
  // Its 63 neighbours need a codeword near zero; with one at an eighth of the
  // largest their error would be that of 1 each.
  double error = 0;
  for (int64_t j = 0; j < kColumns; ++j) {
    int64_t i = kRow * kColumns + j;
    error += j == kColumn ? 0 : std::pow(result[i] - weights[i], 2);
  }
  EXPECT_NEAR(result[kRow * kColumns + kColumn], 8, 0.2);
  EXPECT_LT(error, 63);
}

TEST(Calibrated, DoesNotDependOnThreadsOrTheTypeOfH) {
  constexpr int64_t kRows = 150, kColumns = 130;
  Floats weights = makeNormal(kRows * kColumns, 25);
  Doubles moments = makeMoments(kColumns, 300, 26);
  // Values that f32 holds.
  Floats narrow(moments.begin(), moments.end());
  moments.assign(narrow.begin(), narrow.end());
  StridedWeights rows = makeRows(weights, kRows, kColumns);
  QuantizedMatrix many =
      expectValue(quantizeCalibrated(rows, moments, parseOK("lcq3")));
  llvm::ThreadPoolStrategy strategy = llvm::parallel::strategy;
  llvm::parallel::strategy = llvm::hardware_concurrency(1);
  QuantizedMatrix one =
      expectValue(quantizeCalibrated(rows, narrow, parseOK("lcq3")));
  llvm::parallel::strategy = strategy;
  EXPECT_EQ(many.codes, one.codes);
  EXPECT_EQ(many.dequantize(), one.dequantize());
}

TEST(Calibrated, TakesSmallAndDegenerateMatrices) {
  for (auto [rows, columns] :
       {std::pair<int64_t, int64_t>{1, 1}, {1, 100}, {100, 1}, {3, 33}}) {
    Floats weights = makeNormal(rows * columns, 27);
    CalibrationReport report;
    // Fewer tokens than columns: H alone is singular.
    expectValue(quantizeCalibrated(makeRows(weights, rows, columns),
                                   makeMoments(columns, 5, 28), parseOK("lcq4"),
                                   2, &report));
    EXPECT_LT(report.objective, 0.01 * report.zeroObjective);
  }
  // Columns without any input, and rows and groups of zeros.
  constexpr int64_t kColumns = 96;
  Floats weights = makeNormal(5 * kColumns, 29);
  std::fill_n(weights.begin(), kColumns, 0.f);
  std::fill_n(weights.begin() + kColumns, 32, 0.f);
  Doubles moments = makeMoments(kColumns, 200, 30);
  for (int64_t i = 0; i < kColumns; ++i)
    for (int64_t j = 0; j < kColumns; ++j)
      if (i % 7 == 0 || j % 7 == 0)
        moments[i * kColumns + j] = 0;
  for (const char *options : {"lcq4", "lcq:bits=2,group=64,rank=2"}) {
    Floats result =
        expectValue(quantizeCalibrated(makeRows(weights, 5, kColumns), moments,
                                       parseOK(options)))
            .dequantize();
    for (int64_t j = 0; j < kColumns; ++j)
      EXPECT_EQ(result[j], 0);
    for (float w : result)
      EXPECT_TRUE(std::isfinite(w));
  }
}

TEST(Calibrated, SaysWhatIsWrong) {
  Floats weights = makeNormal(4 * 8, 31);
  auto quantizeBad = [&](Doubles moments, int rounds = 3) {
    return expectError(quantizeCalibrated(makeRows(weights, 4, 8), moments,
                                          parseOK("lcq4"), rounds));
  };
  EXPECT_EQ(quantizeBad(Doubles(63)),
            "63 second moments do not fit a matrix of "
            "8 columns, expected 64");
  EXPECT_EQ(quantizeBad(Doubles(64)), "second moments are all zero: no "
                                      "calibration token reached the layer");
  Doubles moments = makeMoments(8, 20, 32);
  EXPECT_EQ(quantizeBad(moments, 0),
            "0 rounds of calibration, expected 1 or more");
  Doubles bad = moments;
  bad[1 * 8 + 2] = NAN;
  EXPECT_EQ(quantizeBad(bad), "second moment of columns 1 and 2 is not finite, "
                              "expected X'X of the layer's inputs");
  bad = moments;
  bad[3 * 8 + 3] = -1;
  EXPECT_EQ(quantizeBad(bad), "second moment of column 3 is negative, expected "
                              "X'X of the layer's inputs");
  bad = moments;
  bad[1] = bad[8] = 1e6;
  EXPECT_EQ(quantizeBad(bad),
            "second moments are not positive, expected X'X of "
            "the layer's inputs");
  weights[9] = NAN;
  EXPECT_EQ(quantizeBad(moments),
            "weight in row 1, column 1 is NaN, expected finite weights");
}

} // namespace
