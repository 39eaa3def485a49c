//===- LCQParametersTest.cpp - Training a quantized matrix ----------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Quantization/LCQParameters.h"

#include "RandomWeights.h"
#include "nju/Quantization/Baselines.h"
#include "nju/Quantization/Calibrated.h"
#include "nju/Quantization/Packing.h"
#include "llvm/Support/Parallel.h"

using namespace nju::lcq;

using Floats = std::vector<float>;

namespace {

LCQOptions parseOK(llvm::StringRef text) {
  return expectValue(LCQOptions::parse(text));
}

/// A matrix quantized with second moments, so that not every code is that of
/// the nearest codeword.
struct Start {
  Start(int64_t rows, int64_t columns, llvm::StringRef options,
        unsigned seed = 1)
      : rows(rows), columns(columns),
        weights(makeNormal(rows * columns, seed, 0.02)) {
    std::fill_n(weights.begin(), columns / 2, 0.f);
    Floats inputs = makeNormal(300 * columns, seed + 1);
    std::vector<double> moments(columns * columns);
    for (int64_t t = 0; t < 300; ++t)
      for (int64_t i = 0; i < columns; ++i) {
        inputs[t * columns + i] += 0.8f * inputs[t * columns + i / 2];
        for (int64_t j = 0; j <= i; ++j) {
          moments[i * columns + j] +=
              double(inputs[t * columns + i]) * inputs[t * columns + j];
          moments[j * columns + i] = moments[i * columns + j];
        }
      }
    matrix = expectValue(quantizeCalibrated(makeRows(weights, rows, columns),
                                            moments, parseOK(options)));
  }

  LCQParameters create() const {
    return expectParameters(
        LCQParameters::create(matrix, makeRows(weights, rows, columns)));
  }
  static LCQParameters expectParameters(llvm::Expected<LCQParameters> value) {
    if (!value)
      ADD_FAILURE() << llvm::toString(value.takeError());
    return std::move(*value);
  }

  int64_t rows, columns;
  Floats weights;
  QuantizedMatrix matrix;
};

const char *const kFormats[] = {"lcq4", "lcq:bits=3,group=32,rank=2",
                                "lcq:bits=2,group=64,rank=3,double-quant=16",
                                "lcq:bits=3,group=40,offset",
                                "lcq:bits=2,rank=2,offset,double-quant=16"};

TEST(LCQParameters, BeginsAsTheStart) {
  for (const char *format : kFormats) {
    Start start(19, 90, format);
    LCQParameters parameters = start.create();
    // Not a bit differs, although compensation chose codes that are not
    // nearest.
    EXPECT_EQ(parameters.getValues(), llvm::ArrayRef(start.matrix.dequantize()))
        << format;
    Floats stored = parameters.finalize().dequantize();
    EXPECT_LT(getRelativeError(start.matrix.dequantize(), stored), 1e-6)
        << format;
  }
}

/// The sum of gradient * weights for frozen codes, in f64.
double getLoss(const QuantizedMatrix &matrix, const std::vector<double> &scales,
               const std::vector<double> &basis,
               const std::vector<double> &offsets, const Floats &gradient) {
  int64_t groups = matrix.getGroups();
  unsigned levels = matrix.getLevels();
  double loss = 0;
  for (int64_t i = 0; i < matrix.rows * matrix.columns; ++i) {
    int64_t row = i / matrix.columns;
    int64_t g = row * groups + i % matrix.columns / matrix.group;
    double weight = offsets.empty() ? 0 : -offsets[g];
    for (unsigned k = 0; k < matrix.basis.rank; ++k)
      weight += scales[k * matrix.rows * groups + g] *
                basis[k * levels + matrix.codes[i]];
    loss += gradient[i] * weight;
  }
  return loss;
}

// lcq.md, O3.
TEST(LCQParameters, GradientsAreThoseOfFiniteDifferences) {
  for (const char *format : kFormats) {
    Start start(19, 90, format);
    const QuantizedMatrix &matrix = start.matrix;
    Floats gradient = makeNormal(19 * 90, 5);
    CodebookGradients found = getCodebookGradients(matrix, gradient);
    std::vector<double> scales, offsets,
        basis(matrix.basis.values.begin(), matrix.basis.values.end());
    for (unsigned k = 0; k < matrix.basis.rank; ++k)
      for (int64_t i = 0; i < 19 * matrix.getGroups(); ++i)
        scales.push_back(matrix.scales.get(k, i / matrix.getGroups(),
                                           i % matrix.getGroups()));
    if (matrix.offsetKind != OffsetKind::None)
      for (int64_t i = 0; i < 19 * matrix.getGroups(); ++i)
        offsets.push_back(matrix.offsets.get(0, i / matrix.getGroups(),
                                             i % matrix.getGroups()));
    ASSERT_EQ(found.scales.size(), scales.size());
    ASSERT_EQ(found.offsets.size(), offsets.size());
    auto check = [&](std::vector<double> &at,
                     const std::vector<double> &gradients, double step) {
      for (size_t i = 0; i < at.size(); ++i) {
        double value = at[i];
        at[i] = value + step;
        double above = getLoss(matrix, scales, basis, offsets, gradient);
        at[i] = value - step;
        double below = getLoss(matrix, scales, basis, offsets, gradient);
        at[i] = value;
        double difference = (above - below) / (2 * step);
        EXPECT_NEAR(gradients[i], difference,
                    1e-6 * std::max(1., std::abs(difference)))
            << format << " " << i;
      }
    };
    check(scales, found.scales, 1e-4);
    check(basis, found.basis, 1e-2);
    check(offsets, found.offsets, 1e-2);
  }
}

/// Half of the squared sums of the errors of neighbours, with a tenth of the
/// errors' own squares, and the gradient: errors should cancel out.
double getLoss(const Start &start, llvm::ArrayRef<float> values,
               Floats &gradient) {
  double loss = 0;
  gradient.resize(values.size());
  for (size_t i = 0; i < values.size(); i += 2) {
    double first = values[i] - start.weights[i],
           second = values[i + 1] - start.weights[i + 1], sum = first + second;
    loss += sum * sum / 2 + 0.05 * (first * first + second * second);
    gradient[i] = sum + 0.1 * first;
    gradient[i + 1] = sum + 0.1 * second;
  }
  return loss;
}

TEST(LCQParameters, TrainingLowersTheLossAndIsStored) {
  for (const char *format : kFormats)
    for (bool frozen : {false, true}) {
      Start start(35, 90, format, 7);
      // There, what training gains is lost in codes that flip.
      if (start.matrix.bits == 4 && !frozen)
        continue;
      LCQParameters parameters = start.create();
      parameters.setCodesFrozen(frozen);
      Floats gradient;
      double before = getLoss(start, parameters.getValues(), gradient);
      constexpr int kSteps = 150;
      for (int step = 0; step < kSteps; ++step) {
        parameters.setRounded(step >= kSteps / 2);
        parameters.update();
        getLoss(start, parameters.getValues(), gradient);
        parameters.step(gradient, LCQRates() * (0.5 - 0.5 * step / kSteps));
      }
      QuantizedMatrix result = parameters.finalize();
      parameters.setRounded(true);
      parameters.update();
      // Not a bit is lost in what is stored, packed and unpacked.
      EXPECT_EQ(parameters.getValues(), llvm::ArrayRef(result.dequantize()));
      if (result.group % 32 == 0)
        EXPECT_EQ(unpack(expectValue(pack(result))).dequantize(),
                  result.dequantize());
      double after = getLoss(start, parameters.getValues(), gradient);
      EXPECT_LT(after, before) << format << " frozen: " << frozen;
      EXPECT_EQ(result.codes == start.matrix.codes, frozen);
      EXPECT_EQ(result.getBitsPerWeight(), start.matrix.getBitsPerWeight());
    }
}

TEST(LCQParameters, GoesBackToAnEarlierState) {
  Start start(9, 64, "lcq:bits=2,rank=2,offset");
  LCQParameters parameters = start.create();
  LCQParameters::State state = parameters.getState();
  Floats before = parameters.getValues().vec();
  Floats gradient = makeNormal(9 * 64, 3);
  auto train = [&] {
    parameters.resetAverages();
    for (int i = 0; i < 5; ++i) {
      parameters.update();
      parameters.step(gradient, LCQRates() * 5);
    }
    parameters.update();
    return parameters.getValues().vec();
  };
  Floats first = train();
  EXPECT_NE(first, before);
  parameters.setState(state);
  parameters.update();
  EXPECT_EQ(parameters.getValues().vec(), before);
  EXPECT_EQ(train(), first);
}

TEST(LCQParameters, DoesNotDependOnThreads) {
  Start start(70, 64, "lcq3");
  Floats gradient = makeNormal(70 * 64, 3);
  auto train = [&] {
    LCQParameters parameters = start.create();
    for (int i = 0; i < 3; ++i) {
      parameters.step(gradient, LCQRates());
      parameters.update();
    }
    return parameters.getValues().vec();
  };
  Floats many = train();
  llvm::ThreadPoolStrategy strategy = llvm::parallel::strategy;
  llvm::parallel::strategy = llvm::hardware_concurrency(1);
  EXPECT_EQ(train(), many);
  llvm::parallel::strategy = strategy;
}

TEST(LCQParameters, SaysWhatIsWrong) {
  Start start(4, 64, "lcq4");
  auto createBad = [&](const QuantizedMatrix &matrix, int64_t rows,
                       const Floats &weights) {
    llvm::Expected<LCQParameters> result =
        LCQParameters::create(matrix, makeRows(weights, rows, 64));
    return result ? "no error" : llvm::toString(result.takeError());
  };
  EXPECT_EQ(createBad(start.matrix, 3, start.weights),
            "cannot train a matrix of 4x64 towards weights of 3x64");
  EXPECT_EQ(createBad(expectValue(quantizeNormalFloat(
                          makeRows(start.weights, 4, 64), 4, 32)),
                      4, start.weights),
            "cannot train a matrix of another format: expected an int8 basis, "
            "and scales and offsets in int8 or f16");
  Floats bad = start.weights;
  bad[70] = NAN;
  EXPECT_EQ(createBad(start.matrix, 4, bad),
            "weight in row 1, column 6 is NaN, expected finite weights");
}

} // namespace
