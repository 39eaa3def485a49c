//===- MatMulTests.cpp - Products with packed weights -----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KernelJIT.h"
#include "llvm/ADT/APFloat.h"
#include "gtest/gtest.h"
#include <cmath>
#include <cstring>
#include <random>

using namespace nju;
using namespace nju::test;

namespace {

using PackRows = void(int64_t, int64_t, NJU_MEMREF2(float), NJU_MEMREF1(float));
using Linear = void(int64_t, int64_t, NJU_MEMREF2(float), NJU_MEMREF1(float),
                    NJU_MEMREF3(void), NJU_MEMREF2(float));
using LinearBias = void(int64_t, int64_t, NJU_MEMREF2(float),
                        NJU_MEMREF1(float), NJU_MEMREF3(void),
                        NJU_MEMREF1(float), NJU_MEMREF2(float));

constexpr float kUntouched = 12345.0f;

/// A weight type: its name, and how a float is stored in it.
struct WeightFormat {
  const char *name;
  const llvm::fltSemantics &semantics;
  size_t bytes;
};

std::vector<WeightFormat> weightFormats() {
  return {{"f32", llvm::APFloat::IEEEsingle(), 4},
          {"f16", llvm::APFloat::IEEEhalf(), 2},
          {"bf16", llvm::APFloat::BFloat(), 2}};
}

/// A product to compute, with weights [K, N] that are exact in their format.
struct Problem {
  Problem(int64_t depth, int64_t columns, const WeightFormat &format,
          unsigned seed)
      : depth(depth), columns(columns), panels((columns + 31) / 32) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    weights.resize(depth * columns);
    packed.resize(panels * depth * 32 * format.bytes);
    for (int64_t k = 0; k < depth; ++k)
      for (int64_t n = 0; n < columns; ++n) {
        llvm::APFloat value(normal(random));
        bool lost;
        value.convert(format.semantics, llvm::APFloat::rmNearestTiesToEven,
                      &lost);
        uint64_t bits = value.bitcastToAPInt().getZExtValue();
        std::memcpy(
            &packed[(((n / 32) * depth + k) * 32 + n % 32) * format.bytes],
            &bits, format.bytes);
        weights[k * columns + n] = value.convertToDouble();
      }
    bias.resize(columns);
    for (float &b : bias)
      b = normal(random);
  }

  int64_t depth, columns, panels;
  std::vector<double> weights;
  std::vector<uint8_t> packed;
  std::vector<float> bias;
};

std::vector<float> randomRows(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float &value : values)
    value = normal(random);
  return values;
}

/// Runs the kernels as `workers` workers one after the other would.
std::vector<float> runLinear(KernelJIT &jit, const WeightFormat &format,
                             Problem &problem, std::vector<float> rows,
                             int64_t workers, bool bias) {
  int64_t count = rows.size() / problem.depth;
  std::vector<float> packedRows(rows.size());
  // One element more than y has: it must stay as it is.
  std::vector<float> y(count * problem.columns + 1, kUntouched);
  std::string name = std::string("nju_linear_") + format.name;
  auto *pack = jit.get<PackRows>("nju_pack_rows");
  for (int64_t w = 0; w < workers; ++w)
    pack(w, workers, NJU_ARG2(rows.data(), count, problem.depth),
         NJU_ARG1(packedRows.data(), int64_t(packedRows.size())));
  void *weights = problem.packed.data();
  for (int64_t w = 0; w < workers; ++w)
    if (bias)
      jit.get<LinearBias>(name + "_bias")(
          w, workers, NJU_ARG2(rows.data(), count, problem.depth),
          NJU_ARG1(packedRows.data(), int64_t(packedRows.size())),
          NJU_ARG3(weights, problem.panels, problem.depth, int64_t(32)),
          NJU_ARG1(problem.bias.data(), problem.columns),
          NJU_ARG2(y.data(), count, problem.columns));
    else
      jit.get<Linear>(name)(
          w, workers, NJU_ARG2(rows.data(), count, problem.depth),
          NJU_ARG1(packedRows.data(), int64_t(packedRows.size())),
          NJU_ARG3(weights, problem.panels, problem.depth, int64_t(32)),
          NJU_ARG2(y.data(), count, problem.columns));
  EXPECT_EQ(y.back(), kUntouched);
  y.pop_back();
  return y;
}

class MatMulTest : public testing::TestWithParam<std::string> {
protected:
  MatMulTest()
      : jit(GetParam(),
            {[](KernelLibrary &l) { return l.packRows(); },
             [](KernelLibrary &l) { return l.linear(type(l, "f32"), false); },
             [](KernelLibrary &l) { return l.linear(type(l, "f16"), false); },
             [](KernelLibrary &l) { return l.linear(type(l, "bf16"), false); },
             [](KernelLibrary &l) { return l.linear(type(l, "f16"), true); }}) {
  }
  static mlir::Type type(KernelLibrary &library, llvm::StringRef name) {
    mlir::Builder b(library.packRows().getContext());
    return name == "f32"   ? mlir::Type(b.getF32Type())
           : name == "f16" ? mlir::Type(b.getF16Type())
                           : mlir::Type(b.getBF16Type());
  }
  KernelJIT jit;
};

/// The largest error of y, relative to the sum of the products' magnitudes,
/// which is what rounding errors grow with.
double largestError(const Problem &problem, const std::vector<float> &rows,
                    const std::vector<float> &y, bool bias) {
  double largest = 0;
  for (size_t t = 0; t < rows.size() / problem.depth; ++t)
    for (int64_t n = 0; n < problem.columns; ++n) {
      double sum = bias ? problem.bias[n] : 0, size = std::abs(sum);
      for (int64_t k = 0; k < problem.depth; ++k) {
        double product = double(rows[t * problem.depth + k]) *
                         problem.weights[k * problem.columns + n];
        sum += product;
        size += std::abs(product);
      }
      largest =
          std::max(largest, std::abs(y[t * problem.columns + n] - sum) / size);
    }
  return largest;
}

TEST_P(MatMulTest, EqualsSumsInDoublePrecision) {
  struct {
    int64_t depth, columns;
  } shapes[] = {{1, 1}, {64, 64}, {172, 100}, {3, 31}, {40, 257}, {512, 33}};
  for (const WeightFormat &format : weightFormats())
    for (auto &shape : shapes) {
      Problem problem(shape.depth, shape.columns, format, 1);
      for (int64_t rows = 1; rows <= 40; ++rows) {
        std::vector<float> x = randomRows(rows * shape.depth, rows);
        std::vector<float> y = runLinear(jit, format, problem, x, 2, false);
        // f32: 2^-24 for each addition that the chain of sums makes.
        EXPECT_LT(largestError(problem, x, y, false), 1e-6)
            << format.name << ", " << rows << " rows, K = " << shape.depth
            << ", N = " << shape.columns;
      }
    }
}

TEST_P(MatMulTest, AddsTheBias) {
  WeightFormat format = weightFormats()[1];
  Problem problem(70, 75, format, 2);
  for (int64_t rows : {1, 2, 17}) {
    std::vector<float> x = randomRows(rows * problem.depth, rows);
    std::vector<float> y = runLinear(jit, format, problem, x, 1, true);
    EXPECT_LT(largestError(problem, x, y, true), 1e-6);
  }
}

TEST_P(MatMulTest, RowsDoNotDependOnTheBatchOrTheWorkers) {
  for (const WeightFormat &format : weightFormats()) {
    Problem problem(172, 300, format, 3);
    std::vector<float> x = randomRows(40 * problem.depth, 4);
    std::vector<float> all = runLinear(jit, format, problem, x, 1, false);
    for (int64_t rows : {1, 2, 5, 6, 7, 13, 14, 15, 28, 39})
      for (int64_t workers : {1, 2, 3, 16}) {
        std::vector<float> some(x.end() - rows * problem.depth, x.end());
        std::vector<float> y =
            runLinear(jit, format, problem, some, workers, false);
        EXPECT_EQ(0, std::memcmp(y.data(), all.data() + all.size() - y.size(),
                                 y.size() * sizeof(float)))
            << format.name << ", " << rows << " rows, " << workers
            << " workers";
      }
  }
}

TEST_P(MatMulTest, NoRowsWriteNothing) {
  WeightFormat format = weightFormats()[0];
  Problem problem(8, 40, format, 5);
  EXPECT_TRUE(runLinear(jit, format, problem, {}, 2, false).empty());
}

INSTANTIATE_TEST_SUITE_P(Targets, MatMulTest,
                         testing::ValuesIn(runnableTargets()),
                         [](const auto &info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

} // namespace
