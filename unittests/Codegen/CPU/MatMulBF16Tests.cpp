//===- MatMulBF16Tests.cpp - Products in bf16 -------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The kernels run with AMX and AVX512-BF16 emulated, and where this machine has
// one of them with the instructions themselves: all must give what the manual
// says, bit for bit.
//
//===----------------------------------------------------------------------===//

#include "ProductCall.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "nju/Dialect/Exec/IR/Exec.h"
#include "llvm/ADT/APFloat.h"
#include "gtest/gtest.h"
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <ostream>
#include <random>

using namespace nju;
using namespace nju::test;

namespace {

using Linear = void(int64_t, int64_t, NJU_MEMREF2(float), NJU_MEMREF1(uint16_t),
                    NJU_MEMREF3(uint16_t), NJU_MEMREF2(float),
                    NJU_MEMREF1(int64_t));
using LinearBias = void(int64_t, int64_t, NJU_MEMREF2(float),
                        NJU_MEMREF1(uint16_t), NJU_MEMREF3(uint16_t),
                        NJU_MEMREF1(float), NJU_MEMREF2(float),
                        NJU_MEMREF1(int64_t));
/// With two weights.
using LinearPair = void(int64_t, int64_t, NJU_MEMREF2(float),
                        NJU_MEMREF1(uint16_t), NJU_MEMREF3(uint16_t),
                        NJU_MEMREF3(uint16_t), NJU_MEMREF2(float),
                        NJU_MEMREF1(int64_t));

constexpr uint16_t kNaN = 0xffff;

/// A product to compute: rows [T, K] and weights [K, N], in panels.
struct Problem {
  Problem(int64_t rows, int64_t depth, int64_t columns, bool half,
          unsigned seed)
      : rows(rows), depth(depth), columns(columns), panels((columns + 31) / 32),
        half(half), x(rows * depth), weights(depth * columns), bias(columns),
        packed(panels * depth * 32) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (auto *values : {&x, &weights, &bias})
      for (float &value : *values)
        value = normal(random);
    pack();
  }

  /// Rounds the weights to their type, and writes the panels. Columns behind
  /// the last hold NaN: nobody may mix them into others.
  void pack() {
    std::fill(packed.begin(), packed.end(), kNaN);
    const llvm::fltSemantics &type =
        half ? llvm::APFloat::IEEEhalf() : llvm::APFloat::BFloat();
    for (int64_t k = 0; k < depth; ++k)
      for (int64_t n = 0; n < columns; ++n) {
        llvm::APFloat value(weights[k * columns + n]);
        bool lost;
        value.convert(type, llvm::APFloat::rmNearestTiesToEven, &lost);
        packed[((n / 32) * depth + k) * 32 + n % 32] =
            value.bitcastToAPInt().getZExtValue();
        weights[k * columns + n] = value.convertToDouble();
      }
  }

  int64_t rows, depth, columns, panels;
  bool half;
  std::vector<float> x, weights, bias;
  std::vector<uint16_t> packed;
};

int64_t roundUp(int64_t value, int64_t step) {
  return (value + step - 1) / step * step;
}

/// What computes: the code's target, and which kernels it has.
struct Machine {
  std::string target;
  LinearUnit unit;

  bool hasTiles() const { return unit == LinearUnit::Tiles; }
  friend void PrintTo(const Machine &machine, std::ostream *os) {
    *os << machine.target;
  }
  std::string kernel(const char *operands, const char *epilogue = "") const {
    return std::string("nju_linear_") + operands +
           (hasTiles() ? "_amx" : "_dpbf16") + epilogue;
  }
};

/// The call of `problem`, with rows as `machine` reads them.
struct Call : ProductCall<uint16_t> {
  Call(const Machine &machine, Problem &p)
      : ProductCall(machine.hasTiles() ? "nju_pack_tiles" : "nju_pack_pairs",
                    p.x, p.depth, p.columns,
                    machine.hasTiles()
                        ? roundUp(p.rows, 16) * roundUp(p.depth, 32)
                        : p.rows * roundUp(p.depth, 2),
                    kNaN) {}
};

std::vector<float> run(KernelJIT &jit, const Machine &machine, Problem &p,
                       int64_t workers) {
  Call call(machine, p);
  auto *kernel = jit.get<Linear>(machine.kernel(p.half ? "f16" : "bf16"));
  return call.run(jit, workers, [&](int64_t worker, int64_t workers) {
    kernel(worker, workers, NJU_ARG2(p.x.data(), p.rows, p.depth),
           NJU_ARG1(call.packed.data(), call.size),
           NJU_ARG3(p.packed.data(), p.panels, p.depth, int64_t(32)),
           NJU_ARG2(call.y.data(), p.rows, p.columns), NJU_ARG1(&call.next, 1));
  });
}

std::vector<float> roundAll(const std::vector<float> &values) {
  std::vector<float> rounded;
  for (float value : values)
    rounded.push_back(roundToBF16(value));
  return rounded;
}

/// What the manual says of TDPBF16PS, tile after tile: `x(k)` times `w(k)`.
template <typename X, typename W>
float sumOfTiles(int64_t depth, X x, W w) {
  float sum = 0;
  for (int64_t tile = 0; tile < depth; tile += 32) {
    float chains[2] = {0, 0};
    for (int64_t k = tile; k < std::min(tile + 32, depth); ++k)
      chains[k % 2] = flush(std::fma(x(k), w(k), chains[k % 2]));
    sum = flush(flush(sum) + flush(chains[0] + chains[1]));
  }
  return sum;
}

/// What the manual says of VDPBF16PS, pair after pair.
template <typename X, typename W>
float sumOfPairs(int64_t depth, X x, W w) {
  float sum = 0;
  for (int64_t k = 0; k < depth; k += 2) {
    bool pair = k + 1 < depth;
    sum = flush(std::fma(pair ? x(k + 1) : 0, pair ? w(k + 1) : 0, sum));
    sum = flush(std::fma(x(k), w(k), sum));
  }
  return sum;
}

std::vector<float> sums(const Machine &machine, const Problem &p) {
  std::vector<float> rows = roundAll(p.x), weights = roundAll(p.weights), y;
  for (int64_t t = 0; t < p.rows; ++t)
    for (int64_t n = 0; n < p.columns; ++n) {
      auto x = [&](int64_t k) { return rows[t * p.depth + k]; };
      auto w = [&](int64_t k) { return weights[k * p.columns + n]; };
      y.push_back(machine.hasTiles() ? sumOfTiles(p.depth, x, w)
                                     : sumOfPairs(p.depth, x, w));
    }
  return y;
}

/// The largest error of y against the sums of `x` times `weights` in f64,
/// relative to the sum of the products' magnitudes, which is what rounding
/// errors grow with.
double largestError(const Problem &p, const std::vector<float> &x,
                    const std::vector<float> &weights,
                    const std::vector<float> &y) {
  double largest = 0;
  for (int64_t t = 0; t < p.rows; ++t)
    for (int64_t n = 0; n < p.columns; ++n) {
      double sum = 0, size = 0;
      for (int64_t k = 0; k < p.depth; ++k) {
        double product =
            double(x[t * p.depth + k]) * weights[k * p.columns + n];
        sum += product;
        size += std::abs(product);
      }
      largest = std::max(largest, std::abs(y[t * p.columns + n] - sum) / size);
    }
  return largest;
}

bool sameBits(const std::vector<float> &a, const std::vector<float> &b) {
  return a.size() == b.size() &&
         std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// f32: 2^-24 for each addition that the chain of sums makes.
constexpr double kF32Error = 1e-6;
/// 2^-8 for each of the two factors of a product.
constexpr double kBF16Error = 257.0 / 256 * 257.0 / 256 - 1 + kF32Error;

/// Machines whose code runs here: emulated ones, and the host if it has the
/// instructions, and Linux gives this process the tile registers.
std::vector<Machine> machines() {
  std::vector<Machine> machines;
  for (std::string name : runnableTargets()) {
    machines.push_back({name + "+emulated-amx", LinearUnit::Tiles});
    machines.push_back({name + "+emulated-avx512bf16", LinearUnit::Pairs});
  }
  auto host = CPUTarget::get("host");
  if (!host)
    llvm::consumeError(host.takeError());
  else if (llvm::is_contained(runnableTargetsWithTiles(), "host"))
    machines.push_back({"host", LinearUnit::Tiles});
  else if (host->hasPairsOfBF16())
    machines.push_back({"host", LinearUnit::Pairs});
  return machines;
}

mlir::func::FuncOp emitLinear(KernelLibrary &library, bool half) {
  mlir::Builder b(library.packRows().getContext());
  LinearOptions options;
  options.weightType =
      half ? mlir::Type(b.getF16Type()) : mlir::Type(b.getBF16Type());
  return library.linear(options);
}

/// A product with f16 weights whose epilogue is `Op` of two values: products
/// of two weights, or a product and a bias.
template <typename Op>
mlir::func::FuncOp emitWithEpilogue(KernelLibrary &library, int64_t weights) {
  mlir::OpBuilder b(library.packRows().getContext());
  b.getContext()->loadDialect<exec::ExecDialect>();
  mlir::Region epilogue;
  mlir::Location loc = b.getUnknownLoc();
  mlir::Block *block = b.createBlock(
      &epilogue, {}, {b.getF32Type(), b.getF32Type()}, {loc, loc});
  mlir::Value result =
      Op::create(b, loc, block->getArgument(0), block->getArgument(1));
  exec::YieldOp::create(b, loc, result);
  LinearOptions options;
  options.weightType = b.getF16Type();
  options.weights = weights;
  options.others.assign(2 - weights, 1);
  options.epilogue = &epilogue;
  return library.linear(options);
}

class MatMulBF16Test : public testing::TestWithParam<Machine> {
protected:
  /// Compiled once for each machine.
  static KernelJIT &jitFor(const Machine &machine) {
    static std::map<std::string, std::unique_ptr<KernelJIT>> jits;
    std::unique_ptr<KernelJIT> &jit = jits[machine.target];
    if (!jit)
      jit = compile(machine);
    return *jit;
  }
  static std::unique_ptr<KernelJIT> compile(const Machine &machine) {
    return std::unique_ptr<KernelJIT>(new KernelJIT(
        machine.target,
        {[&](KernelLibrary &l) { return l.packRows(machine.unit); },
         [](KernelLibrary &l) { return emitLinear(l, true); },
         [](KernelLibrary &l) { return emitLinear(l, false); },
         [](KernelLibrary &l) {
           return emitWithEpilogue<mlir::arith::AddFOp>(l, 1);
         },
         [](KernelLibrary &l) {
           return emitWithEpilogue<mlir::arith::MulFOp>(l, 2);
         }},
        "bf16"));
  }
  const Machine &machine = GetParam();
  KernelJIT &jit = jitFor(GetParam());
};

TEST_P(MatMulBF16Test, EqualsWhatTheManualSays) {
  struct {
    int64_t rows, depth, columns;
  } shapes[] = {{1, 1, 1},      {1, 64, 70},    {2, 33, 31},   {16, 100, 64},
                {17, 3, 33},    {33, 96, 40},   {48, 257, 96}, {64, 32, 32},
                {100, 300, 50}, {530, 40, 290}, {30, 1030, 70}};
  for (bool half : {true, false})
    for (auto &s : shapes) {
      Problem problem(s.rows, s.depth, s.columns, half, 1);
      EXPECT_TRUE(
          sameBits(run(jit, machine, problem, 2), sums(machine, problem)))
          << (half ? "f16, " : "bf16, ") << s.rows << " x " << s.depth << " x "
          << s.columns;
    }
}

TEST_P(MatMulBF16Test, EqualsSumsInDoublePrecision) {
  std::mt19937 random(2);
  auto upTo = [&](int64_t most) { return int64_t(random() % most) + 1; };
  for (int i = 0; i < 40; ++i) {
    int64_t depths[] = {1, 3, 33, 100, upTo(600)};
    Problem p(upTo(600), depths[i % 5], upTo(i % 4 ? 40 : 400), i % 3, i);
    std::vector<float> y = run(jit, machine, p, upTo(3));
    EXPECT_LT(largestError(p, roundAll(p.x), roundAll(p.weights), y),
              kF32Error);
    EXPECT_LT(largestError(p, p.x, p.weights, y), kBF16Error);
  }
}

TEST_P(MatMulBF16Test, AddsABias) {
  auto *kernel = jit.get<LinearBias>(machine.kernel("f16", "_epilogue0"));
  for (int64_t rows : {1, 2, 17, 40}) {
    Problem p(rows, 70, 75, true, rows);
    std::vector<float> expected = sums(machine, p);
    for (size_t i = 0; i < expected.size(); ++i)
      expected[i] += p.bias[i % p.columns];
    Call call(machine, p);
    std::vector<float> y =
        call.run(jit, 2, [&](int64_t worker, int64_t workers) {
          kernel(worker, workers, NJU_ARG2(p.x.data(), p.rows, p.depth),
                 NJU_ARG1(call.packed.data(), call.size),
                 NJU_ARG3(p.packed.data(), p.panels, p.depth, int64_t(32)),
                 NJU_ARG1(p.bias.data(), p.columns),
                 NJU_ARG2(call.y.data(), p.rows, p.columns),
                 NJU_ARG1(&call.next, 1));
        });
    EXPECT_TRUE(sameBits(y, expected)) << rows << " rows";
  }
}

TEST_P(MatMulBF16Test, MultipliesTwoProducts) {
  auto *kernel = jit.get<LinearPair>(machine.kernel("f16x2", "_epilogue1"));
  for (int64_t rows : {1, 16, 40})
    for (int64_t columns : {20, 75, 330}) {
      Problem p(rows, 300, columns, true, rows), q = p;
      Problem other(rows, 300, columns, true, rows + 1);
      q.packed = other.packed;
      q.weights = other.weights;
      std::vector<float> expected = sums(machine, p),
                         factors = sums(machine, q);
      for (size_t i = 0; i < expected.size(); ++i)
        expected[i] *= factors[i];
      Call call(machine, p);
      std::vector<float> y =
          call.run(jit, 2, [&](int64_t worker, int64_t workers) {
            kernel(worker, workers, NJU_ARG2(p.x.data(), p.rows, p.depth),
                   NJU_ARG1(call.packed.data(), call.size),
                   NJU_ARG3(p.packed.data(), p.panels, p.depth, int64_t(32)),
                   NJU_ARG3(q.packed.data(), p.panels, p.depth, int64_t(32)),
                   NJU_ARG2(call.y.data(), p.rows, p.columns),
                   NJU_ARG1(&call.next, 1));
          });
      EXPECT_TRUE(sameBits(y, expected))
          << rows << " rows, " << columns << " columns";
    }
}

TEST_P(MatMulBF16Test, RowsDoNotDependOnTheBatchOrTheWorkers) {
  for (bool half : {true, false}) {
    Problem all(600, 270, 300, half, 3);
    std::vector<float> expected = run(jit, machine, all, 1);
    for (int64_t rows : {1, 2, 5, 14, 15, 16, 17, 31, 32, 33, 100, 513})
      for (int64_t workers : {1, 3, 16}) {
        Problem some = all;
        some.rows = rows;
        some.x.assign(all.x.end() - rows * all.depth, all.x.end());
        std::vector<float> y = run(jit, machine, some, workers);
        std::vector<float> last(expected.end() - y.size(), expected.end());
        EXPECT_TRUE(sameBits(y, last))
            << rows << " rows, " << workers << " workers";
      }
  }
}

TEST_P(MatMulBF16Test, SubnormalNumbersAreZeros) {
  Problem problem(3, 64, 40, /*half=*/false, 4);
  for (size_t i = 0; i < problem.x.size(); ++i)
    problem.x[i] *= i % 3 ? 1e-39f : 1e-20f;
  for (size_t i = 0; i < problem.weights.size(); ++i)
    problem.weights[i] *= i % 5 ? 1e-18f : 1e-39f;
  problem.pack();
  EXPECT_TRUE(sameBits(run(jit, machine, problem, 1), sums(machine, problem)));
}

TEST_P(MatMulBF16Test, InfinitiesStayInTheirRow) {
  Problem problem(40, 50, 40, true, 5);
  Problem plain = problem;
  problem.x[3 * 50] = std::numeric_limits<float>::infinity();
  std::vector<float> y = run(jit, machine, problem, 1);
  std::vector<float> expected = run(jit, machine, plain, 1);
  for (int64_t t = 0; t < 40; ++t)
    for (int64_t n = 0; n < 40; ++n)
      if (t == 3)
        EXPECT_TRUE(std::isinf(y[t * 40 + n]));
      else
        EXPECT_EQ(y[t * 40 + n], expected[t * 40 + n]);
}

TEST_P(MatMulBF16Test, WhatIsNoNumberStaysInItsRow) {
  Problem problem(20, 31, 40, true, 7);
  problem.x[3 * 31 + 30] = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> y = run(jit, machine, problem, 1);
  for (int64_t t = 0; t < 20; ++t)
    for (int64_t n = 0; n < 40; ++n)
      EXPECT_EQ(std::isnan(y[t * 40 + n]), t == 3) << t;
}

TEST_P(MatMulBF16Test, NoRowsWriteNothing) {
  Problem problem(0, 8, 40, true, 6);
  EXPECT_TRUE(run(jit, machine, problem, 2).empty());
}

INSTANTIATE_TEST_SUITE_P(Targets, MatMulBF16Test, testing::ValuesIn(machines()),
                         [](const auto &info) {
                           std::string name = info.param.target;
                           for (char &c : name)
                             c = std::isalnum(c) ? c : '_';
                           return name;
                         });

} // namespace
