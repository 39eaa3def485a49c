//===- bench-quantization.cpp - Speed and error of LCQ --------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Quantizes a matrix of random normal f16 weights, without data or with the
// second moments of correlated inputs; a line of JSON a format.
//
//   bench-quantization [--calibrated] [--threads N] ROWS COLUMNS [FORMAT...]
//
//===----------------------------------------------------------------------===//

#include "nju/Quantization/Calibrated.h"

#include "llvm/Support/Parallel.h"
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

using namespace nju::lcq;
using Clock = std::chrono::steady_clock;

/// Sums of twelve uniform numbers: normal enough, and made in no time.
static std::vector<uint16_t> makeWeights(int64_t count) {
  std::vector<uint16_t> weights(count);
  std::mt19937 random(1);
  for (uint16_t &weight : weights) {
    int sum = 0;
    for (int i = 0; i < 4; ++i) {
      uint32_t bits = random();
      sum +=
          int(bits & 0x3ff) + int(bits >> 10 & 0x3ff) + int(bits >> 20 & 0x3ff);
    }
    // Mean 6138, deviation 1024; as f16 by way of an exact f32.
    float value = (sum - 6138) / 65536.f;
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    uint32_t magnitude = bits & 0x7fffffff;
    weight = (bits >> 16 & 0x8000) |
             (magnitude < 0x38800000 ? 0 : (magnitude - 0x38000000) >> 13);
  }
  return weights;
}

/// Neighbours correlate, and columns differ in size.
static std::vector<float> makeMoments(int64_t columns) {
  std::vector<float> moments(columns * columns);
  auto size = [](int64_t j) { return std::exp(std::sin(double(j))); };
  for (int64_t i = 0; i < columns; ++i)
    for (int64_t j = 0; j < columns; ++j)
      moments[i * columns + j] =
          size(i) * size(j) * std::pow(0.8, double(std::abs(i - j)));
  return moments;
}

[[noreturn]] static void fail(const std::string &message) {
  std::fprintf(stderr, "bench-quantization: error: %s\n", message.c_str());
  std::exit(1);
}

static void measure(const StridedWeights &weights, const char *format,
                    const std::vector<float> &moments) {
  llvm::Expected<LCQOptions> options = LCQOptions::parse(format);
  if (!options)
    fail(llvm::toString(options.takeError()));
  QuantizationError error;
  CalibrationReport report;
  auto start = Clock::now();
  llvm::Expected<QuantizedMatrix> matrix =
      moments.empty()
          ? quantizeDataFree(weights, *options, &error)
          : quantizeCalibrated(weights, moments, *options, 3, &report);
  double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  if (!matrix)
    fail(llvm::toString(matrix.takeError()));
  double count = double(weights.getRows()) * weights.getColumns();
  std::printf("{\"format\": \"%s\", \"bits_per_weight\": %.4f, "
              "\"weight_error\": %.5f, \"seconds\": %.3f, "
              "\"f16_bytes_per_second\": %.4g",
              options->str().c_str(), matrix->getBitsPerWeight(),
              moments.empty() ? error.getRelative()
                              : report.weights.getRelative(),
              seconds, 2 * count / seconds);
  if (!moments.empty())
    std::printf(", \"output_error\": %.5f",
                std::sqrt(report.objective / report.zeroObjective));
  std::puts("}");
  std::fflush(stdout);
}

int main(int argc, char **argv) {
  bool calibrated = false;
  int at = 1;
  for (; at < argc && argv[at][0] == '-'; ++at) {
    if (!std::strcmp(argv[at], "--calibrated"))
      calibrated = true;
    else if (!std::strcmp(argv[at], "--threads") && at + 1 < argc)
      llvm::parallel::strategy =
          llvm::hardware_concurrency(std::atoi(argv[++at]));
    else
      fail(std::string("unknown option ") + argv[at]);
  }
  int64_t rows = at < argc ? std::atoll(argv[at++]) : 0;
  int64_t columns = at < argc ? std::atoll(argv[at++]) : 0;
  if (rows < 1 || columns < 1)
    fail("expected [--calibrated] [--threads N] ROWS COLUMNS [FORMAT...]");
  std::vector<const char *> formats(argv + at, argv + argc);
  if (formats.empty())
    formats = {"lcq4", "lcq3", "lcq2"};
  std::vector<uint16_t> data = makeWeights(rows * columns);
  StridedWeights weights(data.data(), WeightType::F16, rows, columns);
  std::vector<float> moments;
  if (calibrated)
    moments = makeMoments(columns);
  for (const char *format : formats)
    measure(weights, format, moments);
  return 0;
}
