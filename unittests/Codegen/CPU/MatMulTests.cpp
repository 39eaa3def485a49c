//===- MatMulTests.cpp - Products with packed weights -----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ProductCall.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Parser/Parser.h"
#include "nju/Dialect/Exec/IR/Exec.h"
#include "llvm/ADT/APFloat.h"
#include "llvm/Support/FormatVariadic.h"
#include "gtest/gtest.h"
#include <cmath>
#include <cstring>
#include <random>

using namespace nju;
using namespace nju::test;

namespace {

using Linear = void(int64_t, int64_t, NJU_MEMREF2(float), NJU_MEMREF1(float),
                    NJU_MEMREF3(void), NJU_MEMREF2(float),
                    NJU_MEMREF1(int64_t));
/// With a bias and a residual.
using LinearSum = void(int64_t, int64_t, NJU_MEMREF2(float), NJU_MEMREF1(float),
                       NJU_MEMREF3(void), NJU_MEMREF1(float),
                       NJU_MEMREF2(float), NJU_MEMREF2(float),
                       NJU_MEMREF1(int64_t));
/// With two weights.
using LinearPair = void(int64_t, int64_t, NJU_MEMREF2(float),
                        NJU_MEMREF1(float), NJU_MEMREF3(void),
                        NJU_MEMREF3(void), NJU_MEMREF2(float),
                        NJU_MEMREF1(int64_t));

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

/// The call of `problem` with these rows.
struct Call : ProductCall<float> {
  Call(const Problem &problem, const std::vector<float> &rows)
      : ProductCall("nju_pack_rows", rows, problem.depth, problem.columns,
                    rows.size(), kUntouched) {}
};

void *weightsOf(const Problem &problem) {
  return const_cast<uint8_t *>(problem.packed.data());
}

std::vector<float> runLinear(KernelJIT &jit, const WeightFormat &format,
                             const Problem &problem,
                             const std::vector<float> &rows, int64_t workers) {
  Call call(problem, rows);
  auto *kernel = jit.get<Linear>(std::string("nju_linear_") + format.name);
  return call.run(jit, workers, [&](int64_t worker, int64_t workers) {
    kernel(worker, workers, NJU_ARG2(call.x.data(), call.rows, problem.depth),
           NJU_ARG1(call.packed.data(), call.size),
           NJU_ARG3(weightsOf(problem), problem.panels, problem.depth,
                    int64_t(32)),
           NJU_ARG2(call.y.data(), call.rows, problem.columns),
           NJU_ARG1(&call.next, 1));
  });
}

/// A product whose epilogue is `body`, ops on f32 values: the products %p0 (and
/// %p1), then %e0, %e1, ... of the given ranks. It yields %z.
mlir::func::FuncOp emitWithEpilogue(KernelLibrary &library, int64_t weights,
                                    llvm::ArrayRef<int64_t> ranks,
                                    llvm::StringRef body) {
  mlir::MLIRContext *context = library.packRows().getContext();
  context->loadDialect<exec::ExecDialect, mlir::math::MathDialect>();
  std::string arguments, operands, types, block;
  for (int64_t i = 0; i < weights; ++i) {
    arguments += llvm::formatv(", %w{0}: memref<4x8x32xf16>", i).str();
    operands += llvm::formatv(", %w{0}", i).str();
    types += ", memref<4x8x32xf16>";
    block += llvm::formatv("{0}%p{1}: f32", i ? ", " : "", i).str();
  }
  std::string with, withTypes;
  for (auto [i, rank] : llvm::enumerate(ranks)) {
    llvm::StringRef type = rank == 1 ? "memref<100xf32>" : "memref<?x100xf32>";
    llvm::StringRef comma = i ? ", " : "";
    arguments += llvm::formatv(", %o{0}: {1}", i, type).str();
    with += llvm::formatv("{0}%o{1}", comma, i).str();
    withTypes += (comma + type).str();
    block += llvm::formatv(", %e{0}: f32", i).str();
  }
  if (!with.empty())
    with = " with(" + with + " : " + withTypes + ")";
  std::string text = "func.func @f(%x: memref<?x8xf32>" + arguments +
                     ", %y: memref<?x100xf32>) { exec.linear ins(%x" +
                     operands + " : memref<?x8xf32>" + types + ")" + with +
                     " outs(%y : memref<?x100xf32>) epilogue { ^bb0(" + block +
                     "):\n" + body.str() + "\nexec.yield %z : f32 }\nreturn }";
  auto module = mlir::parseSourceString<mlir::ModuleOp>(text, context);
  EXPECT_TRUE(module) << text;
  LinearOptions options;
  options.weightType = mlir::Float16Type::get(context);
  options.weights = weights;
  options.others.assign(ranks.begin(), ranks.end());
  module->walk(
      [&](exec::LinearOp op) { options.epilogue = &op.getEpilogue(); });
  return library.linear(options);
}

mlir::func::FuncOp emitLinear(KernelLibrary &library, llvm::StringRef type) {
  mlir::Builder b(library.packRows().getContext());
  LinearOptions options;
  options.weightType = type == "f32"   ? mlir::Type(b.getF32Type())
                       : type == "f16" ? mlir::Type(b.getF16Type())
                                       : mlir::Type(b.getBF16Type());
  return library.linear(options);
}

constexpr const char *kSumBody = R"(
  %s = arith.addf %p0, %e0 : f32
  %two = arith.constant 2.0 : f32
  %t = arith.mulf %s, %two : f32
  %z = arith.addf %t, %e1 : f32)";
/// silu(a) * b
constexpr const char *kGateBody = R"(
  %one = arith.constant 1.0 : f32
  %n = arith.negf %p0 : f32
  %e = math.exp %n : f32
  %d = arith.addf %e, %one : f32
  %g = arith.divf %p0, %d : f32
  %z = arith.mulf %g, %p1 : f32)";

class MatMulTest : public testing::TestWithParam<std::string> {
protected:
  MatMulTest()
      : jit(GetParam(), {[](KernelLibrary &l) { return l.packRows(); },
                         [](KernelLibrary &l) { return emitLinear(l, "f32"); },
                         [](KernelLibrary &l) { return emitLinear(l, "f16"); },
                         [](KernelLibrary &l) { return emitLinear(l, "bf16"); },
                         [](KernelLibrary &l) {
                           return emitWithEpilogue(l, 1, {1, 2}, kSumBody);
                         },
                         [](KernelLibrary &l) {
                           return emitWithEpilogue(l, 2, {}, kGateBody);
                         }}) {}
  KernelJIT jit;
};

/// x w in double precision, and the sums of the products' magnitudes, which is
/// what rounding errors grow with.
struct Exact {
  Exact(const Problem &problem, const std::vector<float> &rows) {
    for (size_t t = 0; t < rows.size() / problem.depth; ++t)
      for (int64_t n = 0; n < problem.columns; ++n) {
        double sum = 0, size = 0;
        for (int64_t k = 0; k < problem.depth; ++k) {
          double product = double(rows[t * problem.depth + k]) *
                           problem.weights[k * problem.columns + n];
          sum += product;
          size += std::abs(product);
        }
        sums.push_back(sum);
        sizes.push_back(size);
      }
  }
  std::vector<double> sums, sizes;
};

double largestError(const Problem &problem, const std::vector<float> &rows,
                    const std::vector<float> &y) {
  Exact exact(problem, rows);
  double largest = 0;
  for (size_t i = 0; i < y.size(); ++i)
    largest =
        std::max(largest, std::abs(y[i] - exact.sums[i]) / exact.sizes[i]);
  return largest;
}

TEST_P(MatMulTest, EqualsSumsInDoublePrecision) {
  struct {
    int64_t depth, columns;
  } shapes[] = {{1, 1}, {64, 64}, {172, 100}, {3, 31}, {40, 257}, {512, 33}};
  for (const WeightFormat &format : weightFormats())
    for (auto &shape : shapes) {
      Problem problem(shape.depth, shape.columns, format, 1);
      for (int64_t rows = 1; rows <= 40; rows += rows < 16 ? 1 : 4) {
        std::vector<float> x = randomRows(rows * shape.depth, rows);
        std::vector<float> y = runLinear(jit, format, problem, x, 2);
        // f32: 2^-24 for each addition that the chain of sums makes.
        EXPECT_LT(largestError(problem, x, y), 1e-6)
            << format.name << ", " << rows << " rows, K = " << shape.depth
            << ", N = " << shape.columns;
      }
    }
}

/// 2 * (x w + bias) + residual
TEST_P(MatMulTest, AddsABiasAndAResidual) {
  WeightFormat format = weightFormats()[1];
  Problem problem(70, 75, format, 2);
  for (int64_t rows : {1, 2, 17, 33}) {
    std::vector<float> x = randomRows(rows * problem.depth, rows);
    std::vector<float> residual = randomRows(rows * problem.columns, rows + 1);
    Call call(problem, x);
    auto *kernel = jit.get<LinearSum>("nju_linear_f16_epilogue0");
    std::vector<float> y =
        call.run(jit, 2, [&](int64_t worker, int64_t workers) {
          kernel(worker, workers, NJU_ARG2(call.x.data(), rows, problem.depth),
                 NJU_ARG1(call.packed.data(), rows * problem.depth),
                 NJU_ARG3(weightsOf(problem), problem.panels, problem.depth,
                          int64_t(32)),
                 NJU_ARG1(problem.bias.data(), problem.columns),
                 NJU_ARG2(residual.data(), rows, problem.columns),
                 NJU_ARG2(call.y.data(), rows, problem.columns),
                 NJU_ARG1(&call.next, 1));
        });
    Exact exact(problem, x);
    for (size_t i = 0; i < y.size(); ++i)
      EXPECT_NEAR(y[i],
                  2 * (exact.sums[i] + problem.bias[i % problem.columns]) +
                      residual[i],
                  2e-6 * (exact.sizes[i] + 10));
  }
}

/// silu(x a) * (x b), the same bits for a row alone and among others.
TEST_P(MatMulTest, GatesAProductWithAnother) {
  WeightFormat format = weightFormats()[1];
  for (int64_t columns : {1, 64, 150, 257}) {
    Problem a(40, columns, format, 3), b(40, columns, format, 4);
    std::vector<float> all, x = randomRows(30 * a.depth, columns);
    for (int64_t rows : {30, 15, 14, 2, 1}) {
      std::vector<float> some(x.end() - rows * a.depth, x.end());
      Call call(a, some);
      auto *kernel = jit.get<LinearPair>("nju_linear_f16x2_epilogue1");
      std::vector<float> y =
          call.run(jit, 3, [&](int64_t worker, int64_t workers) {
            kernel(worker, workers, NJU_ARG2(call.x.data(), rows, a.depth),
                   NJU_ARG1(call.packed.data(), rows * a.depth),
                   NJU_ARG3(weightsOf(a), a.panels, a.depth, int64_t(32)),
                   NJU_ARG3(weightsOf(b), b.panels, b.depth, int64_t(32)),
                   NJU_ARG2(call.y.data(), rows, columns),
                   NJU_ARG1(&call.next, 1));
          });
      if (all.empty())
        all = y;
      EXPECT_EQ(0, std::memcmp(y.data(), all.data() + all.size() - y.size(),
                               y.size() * sizeof(float)))
          << rows << " rows, " << columns << " columns";
      Exact exactA(a, some), exactB(b, some);
      for (size_t i = 0; i < y.size(); ++i) {
        double gate = exactA.sums[i] / (1 + std::exp(-exactA.sums[i]));
        EXPECT_NEAR(y[i], gate * exactB.sums[i],
                    4e-6 * (exactA.sizes[i] + 1) * (exactB.sizes[i] + 1));
      }
    }
  }
}

TEST_P(MatMulTest, RowsDoNotDependOnTheBatchOrTheWorkers) {
  for (const WeightFormat &format : weightFormats()) {
    Problem problem(172, 300, format, 3);
    std::vector<float> x = randomRows(40 * problem.depth, 4);
    std::vector<float> all = runLinear(jit, format, problem, x, 1);
    for (int64_t rows : {1, 2, 5, 6, 7, 13, 14, 15, 28, 39})
      for (int64_t workers : {1, 2, 3, 16}) {
        std::vector<float> some(x.end() - rows * problem.depth, x.end());
        std::vector<float> y = runLinear(jit, format, problem, some, workers);
        EXPECT_EQ(0, std::memcmp(y.data(), all.data() + all.size() - y.size(),
                                 y.size() * sizeof(float)))
            << format.name << ", " << rows << " rows, " << workers
            << " workers";
      }
  }
}

/// More rows and a longer K than the weights are staged for at once, where they
/// are, and one row alone, for which they never are.
TEST_P(MatMulTest, ManyRowsEqualOneRow) {
  for (const WeightFormat &format : weightFormats()) {
    Problem problem(530, 75, format, 6);
    std::vector<float> x = randomRows(290 * problem.depth, 7);
    std::vector<float> all = runLinear(jit, format, problem, x, 2);
    EXPECT_LT(largestError(problem, x, all), 1e-6) << format.name;
    for (int64_t row : {0, 17, 251, 252, 289}) {
      std::vector<float> one(x.begin() + row * problem.depth,
                             x.begin() + (row + 1) * problem.depth);
      std::vector<float> y = runLinear(jit, format, problem, one, 1);
      EXPECT_EQ(0, std::memcmp(y.data(), all.data() + row * problem.columns,
                               y.size() * sizeof(float)))
          << format.name << ", row " << row;
    }
  }
}

TEST_P(MatMulTest, NoRowsWriteNothing) {
  WeightFormat format = weightFormats()[0];
  Problem problem(8, 40, format, 5);
  EXPECT_TRUE(runLinear(jit, format, problem, {}, 2).empty());
}

/// With AVX-512 as Intel's processors and AMD's have it: factors and weights
/// take other ways into the registers.
std::vector<std::string> targets() {
  std::vector<std::string> targets = runnableTargets();
  for (const char *name : {"x86-64-v4", "znver4"})
    if (isRunnable(name))
      targets.push_back(name);
  return targets;
}

INSTANTIATE_TEST_SUITE_P(Targets, MatMulTest, testing::ValuesIn(targets()),
                         [](const auto &info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

} // namespace
