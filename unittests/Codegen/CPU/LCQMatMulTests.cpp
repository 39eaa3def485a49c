//===- LCQMatMulTests.cpp - Products with LCQ weights -----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ProductCall.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Parser/Parser.h"
#include "nju/Quantization/Baselines.h"
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

#define NJU_MATRIX NJU_MEMREF1(uint8_t), NJU_MEMREF2(int8_t), NJU_MEMREF2(float)
#define NJU_MATRIX_ARG(packed)                                                 \
  NJU_ARG1(const_cast<uint8_t *>((packed).stream.data()),                      \
           int64_t((packed).stream.size())),                                   \
      NJU_ARG2(const_cast<int8_t *>((packed).basis.data()),                    \
               int64_t((packed).layout.rank),                                  \
               int64_t(1) << (packed).layout.bits),                            \
      NJU_ARG2(const_cast<float *>((packed).factors.data()),                   \
               int64_t((packed).factors.size()) /                              \
                   (packed).layout.getFactorColumns(),                         \
               (packed).layout.getFactorColumns())

using PackRows = void(int64_t, int64_t, NJU_MEMREF2(float), NJU_MEMREF2(int8_t),
                      NJU_MEMREF2(float), NJU_MEMREF2(int32_t));
/// A product with the matrices and other operands that `Rest` has.
template <typename... Rest>
using LCQLinear = void(int64_t, int64_t, NJU_MEMREF2(float),
                       NJU_MEMREF2(int8_t), NJU_MEMREF2(float),
                       NJU_MEMREF2(int32_t), Rest...);
using LCQRows = void(int64_t, int64_t, int64_t, NJU_MEMREF1(int64_t),
                     NJU_MATRIX, NJU_MEMREF2(float));

/// Formats of every number of bits and of ranks, and of every kind of scales,
/// with and without offsets, and with groups that are loops.
std::vector<lcq::LCQOptions> formats() {
  std::vector<lcq::LCQOptions> list;
  for (unsigned bits : {2, 3, 4})
    for (unsigned rank : {1, 2, 3})
      list.push_back({bits, rank == 2 ? 64 : 32, rank, bits == rank ? 16u : 8u,
                      (bits + rank) % 2 == 0});
  list.push_back({4, 8, 1, 8, true});
  list.push_back({3, 288, 2, 8, false});
  return list;
}

LCQLinearOptions kernelOptions(const lcq::LCQOptions &format) {
  LCQLinearOptions options;
  options.bits = format.bits;
  options.group = format.group;
  options.rank = format.rank;
  options.scaleBits = format.scaleBits;
  options.offset = format.offset;
  return options;
}

/// A format of weights that another quantizer made.
struct UniformFormat {
  unsigned bits;
  int64_t group;
  unsigned scaleBits; ///< 16 or 32
  unsigned zeroBits;  ///< 0, 8 or 32

  std::string str() const {
    return std::to_string(bits) + " bits, group " + std::to_string(group) +
           ", scales " + std::to_string(scaleBits) + ", zero points " +
           std::to_string(zeroBits);
  }
};

std::vector<UniformFormat> uniformFormats() {
  return {{4, 32, 32, 8},  {4, 16, 16, 8}, {4, 128, 32, 0}, {2, 64, 32, 32},
          {2, 16, 16, 32}, {3, 32, 32, 8}, {4, 288, 32, 32}};
}

LCQLinearOptions kernelOptions(const UniformFormat &format) {
  LCQLinearOptions options;
  options.bits = format.bits;
  options.group = format.group;
  options.scaleBits = format.scaleBits;
  options.zeroBits = format.zeroBits;
  return options;
}

/// A random matrix of a format, and its packed form.
struct Weights {
  Weights(int64_t rows, int64_t columns, const UniformFormat &format,
          unsigned seed = 0) {
    lcq::UniformWeights weights;
    weights.rows = rows;
    weights.columns = columns;
    weights.bits = format.bits;
    weights.group = format.group;
    weights.isSigned = seed % 2 == 1;
    std::mt19937 random(rows + columns + seed);
    std::normal_distribution<float> normal;
    weights.codes.resize(rows * columns);
    for (uint8_t &code : weights.codes)
      code = random() % (1 << format.bits);
    weights.scales.resize(rows * ((columns + format.group - 1) / format.group));
    for (float &scale : weights.scales) {
      scale = 0.01f * normal(random);
      if (format.scaleBits == 16)
        scale = float(int(scale * 0x1p12f)) * 0x1p-12f;
    }
    weights.zeroPoints.assign(1, 3);
    if (format.zeroBits)
      weights.zeroPoints.resize(weights.scales.size());
    for (float &zero : weights.zeroPoints)
      if (format.zeroBits)
        zero = format.zeroBits == 8 ? random() % (1 << format.bits)
                                    : 4 * normal(random);
    lcq::UniformForm form;
    form.scales =
        format.scaleBits == 16 ? lcq::GroupForm::F16 : lcq::GroupForm::F32;
    form.zeroPoints =
        format.zeroBits == 32 ? lcq::GroupForm::F32 : lcq::GroupForm::Integer;
    form.isCentered = format.zeroBits == 0;
    matrix = llvm::cantFail(lcq::importUniform(std::move(weights), form));
    packed = llvm::cantFail(lcq::pack(matrix));
  }

  Weights(int64_t rows, int64_t columns, const lcq::LCQOptions &format,
          unsigned seed = 0)
      : matrix(lcq::QuantizedMatrix::create(rows, columns, format)) {
    std::mt19937 random(rows + columns + seed);
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

/// How rows are laid out: the greatest number of lines (digits of rows) in a
/// block, and whether there are tiles for many rows.
struct RowsLayout {
  RowsLayout(llvm::StringRef name, bool hasTiles) : hasTiles(hasTiles) {
    CPUTarget target = llvm::cantFail(CPUTarget::get(name));
    blockLines = target.getVectorRegisters() == 32 ? 12 : 4;
  }
  int64_t blockLines;
  bool hasTiles;
};

/// Rows in int8 digits, as a kernel makes them.
struct PackedRows {
  /// Sizes, of weights whose lines have `lineColumns` columns.
  PackedRows(std::vector<float> from, int64_t depth, int64_t group,
             int64_t lineColumns, int64_t digits, RowsLayout layout)
      : x(std::move(from)), rows(x.size() / depth), depth(depth),
        padded((depth + lineColumns - 1) / lineColumns * lineColumns),
        groups((padded + group - 1) / group),
        scaleColumns(LCQLinearOptions::getScaleGroups(group) * group),
        runs((padded + scaleColumns - 1) / scaleColumns), digits(digits),
        blocks((rows * digits + layout.blockLines - 1) / layout.blockLines),
        xqRows(rows), scales(rows * runs + 1, -1),
        sums(rows * digits * groups + 1, -1) {
    int64_t tiles = (rows + 15) / 16 * ((depth + 31) / 32);
    if (layout.hasTiles)
      xqRows = (tiles * 16 * 32 * 2 + padded - 1) / padded;
    xq.assign(xqRows * digits * padded + 1, 99);
  }

  void pack(KernelJIT &jit, const std::string &name, int64_t workers) {
    auto *kernel = jit.get<PackRows>(name);
    for (int64_t w = 0; w < workers; ++w)
      kernel(w, workers, NJU_ARG2(x.data(), rows, depth),
             NJU_ARG2(xq.data(), xqRows, digits * padded),
             NJU_ARG2(scales.data(), rows, runs),
             NJU_ARG2(sums.data(), rows, digits * groups));
    EXPECT_EQ(xq.back(), 99);
    EXPECT_EQ(scales.back(), -1);
    EXPECT_EQ(sums.back(), -1);
  }

  int8_t code(int64_t row, int64_t column, int64_t digit) const {
    return xq[blockOf(row) * padded +
              (column / 4 * lines(row) + line(row, digit)) * 4 + column % 4];
  }
  int32_t sum(int64_t row, int64_t group) const {
    return sums[blockOf(row) * groups + group * lines(row) + line(row, 0)];
  }
  float scale(int64_t row, int64_t column) const {
    int64_t first = blockOf(row) / digits, size = lines(row) / digits;
    return scales[first * runs + column / scaleColumns * size + row - first];
  }
  /// x as the digits have it.
  double value(int64_t row, int64_t column) const {
    double sum = 0;
    for (int64_t d = 0; d < digits; ++d)
      sum = 256 * sum + code(row, column, d);
    return sum * scale(row, column);
  }
  /// The largest magnitude among the columns that share a scale.
  float magnitude(int64_t row, int64_t column) const {
    float largest = 0;
    int64_t begin = column / scaleColumns * scaleColumns;
    for (int64_t j = begin; j < std::min(begin + scaleColumns, depth); ++j)
      largest = std::max(largest, std::abs(x[row * depth + j]));
    return largest;
  }

  std::vector<float> x;
  int64_t rows, depth, padded, groups, scaleColumns, runs, digits;
  int64_t blocks, xqRows;
  std::vector<int8_t> xq;
  std::vector<float> scales;
  std::vector<int32_t> sums;

private:
  int64_t block(int64_t row) const {
    int64_t b = 0;
    while (rows * (b + 1) / blocks <= row)
      ++b;
    return b;
  }
  /// The first line of the row's block, its number of lines, and the place of
  /// one of the row's among them.
  int64_t blockOf(int64_t row) const {
    return rows * block(row) / blocks * digits;
  }
  int64_t lines(int64_t row) const {
    return rows * (block(row) + 1) / blocks * digits - blockOf(row);
  }
  int64_t line(int64_t row, int64_t digit) const {
    return row * digits + digit - blockOf(row);
  }
};

/// s = p0 + e0; 2 s + e1
constexpr const char *kSumEpilogue = R"(
  func.func @epilogue(%p0: f32, %e0: f32, %e1: f32) -> f32 {
    %s = arith.addf %p0, %e0 : f32
    %two = arith.constant 2.0 : f32
    %t = arith.mulf %s, %two : f32
    %z = arith.addf %t, %e1 : f32
    return %z : f32
  })";
/// silu(p0) * p1
constexpr const char *kGateEpilogue = R"(
  func.func @epilogue(%p0: f32, %p1: f32) -> f32 {
    %one = arith.constant 1.0 : f32
    %n = arith.negf %p0 : f32
    %e = math.exp %n : f32
    %d = arith.addf %e, %one : f32
    %g = arith.divf %p0, %d : f32
    %z = arith.mulf %g, %p1 : f32
    return %z : f32
  })";

mlir::func::FuncOp emitLinear(KernelLibrary &library, LCQLinearOptions options,
                              const char *epilogue = nullptr) {
  if (!epilogue)
    return library.lcqLinear(options);
  mlir::MLIRContext *context = library.packRows().getContext();
  context->loadDialect<mlir::math::MathDialect>();
  auto module = mlir::parseSourceString<mlir::ModuleOp>(epilogue, context);
  auto function = *module->getOps<mlir::func::FuncOp>().begin();
  options.epilogue = &function.getBody();
  return library.lcqLinear(options);
}

/// Compiled kernels of a format.
struct Kernels {
  template <typename Format>
  Kernels(llvm::StringRef target, const Format &format)
      : Kernels(target, kernelOptions(format)) {}
  Kernels(llvm::StringRef target, const LCQLinearOptions &options,
          const char *epilogue = nullptr, llvm::StringRef compute = "f32")
      : options(options), layout(target, compute != "f32"),
        jit(target,
            {[&](KernelLibrary &l) {
               auto function = l.packLCQRows(options.group, options.activations,
                                             options.packs);
               packName = function.getName().str();
               return function;
             },
             [&](KernelLibrary &l) {
               auto function = emitLinear(l, options, epilogue);
               name = function.getName().str();
               return function;
             },
             [&](KernelLibrary &l) { return l.lcqRows(options); }},
            compute) {}

  PackedRows pack(const std::vector<float> &x, int64_t depth,
                  int64_t workers = 1) {
    int64_t digits = options.activations == ActivationType::Int16 ? 2 : 1;
    PackedRows packed(x, depth, options.group, options.getLineColumns(), digits,
                      layout);
    packed.pack(jit, packName, workers);
    return packed;
  }

  /// Calls the product on threads with the arguments behind those of x.
  template <typename... Rest, typename... Arguments>
  void call(PackedRows &x, int64_t workers, Arguments... arguments) {
    auto *kernel = jit.get<LCQLinear<Rest...>>(name);
    std::vector<std::thread> threads;
    for (int64_t w = 0; w < workers; ++w)
      threads.emplace_back([&, w] {
        kernel(w, workers, NJU_ARG2(x.x.data(), x.rows, x.depth),
               NJU_ARG2(x.xq.data(), x.xqRows, x.digits * x.padded),
               NJU_ARG2(x.scales.data(), x.rows, x.runs),
               NJU_ARG2(x.sums.data(), x.rows, x.digits * x.groups),
               arguments...);
      });
    for (std::thread &thread : threads)
      thread.join();
  }

  std::vector<float> run(const Weights &weights, PackedRows &x,
                         int64_t workers) {
    int64_t columns = weights.packed.layout.rows, next = 0;
    std::vector<float> y(x.rows * columns + 1, 12345);
    call<NJU_MATRIX, NJU_MEMREF2(float), NJU_MEMREF1(int64_t)>(
        x, workers, NJU_MATRIX_ARG(weights.packed),
        NJU_ARG2(y.data(), x.rows, columns), NJU_ARG1(&next, 1));
    EXPECT_EQ(y.back(), 12345);
    EXPECT_EQ(next, 0);
    y.pop_back();
    return y;
  }

  LCQLinearOptions options;
  RowsLayout layout;
  std::string packName, name;
  KernelJIT jit;
};

class LCQMatMulTest : public testing::TestWithParam<std::string> {};

/// A naive product of the rows as they were rounded with the weights.
void expectProduct(const Weights &weights, const PackedRows &x,
                   const std::vector<float> &y) {
  const lcq::QuantizedMatrix &matrix = weights.matrix;
  std::vector<float> values = matrix.dequantize();
  for (int64_t row = 0; row < x.rows; ++row) {
    std::vector<double> rounded;
    for (int64_t j = 0; j < matrix.columns; ++j)
      rounded.push_back(x.value(row, j));
    for (int64_t n = 0; n < matrix.rows; ++n) {
      double sum = 0, size = 0;
      for (int64_t j = 0; j < matrix.columns; ++j) {
        double product = rounded[j] * values[n * matrix.columns + j];
        sum += product;
        size += std::abs(product);
      }
      ASSERT_NEAR(y[row * matrix.rows + n], sum, 1e-6 * size)
          << "row " << row << ", column " << n << " of " << matrix.rows;
    }
  }
}

/// Of rows in int8.
template <typename Format>
void expectProducts(const std::string &target, const Format &format) {
  Kernels kernels(target, format);
  // Sizes with and without whole tiles, groups and lines; few and many rows.
  for (auto [rows, columns, depth] :
       std::vector<std::array<int64_t, 3>>{{1, 64, 1152},
                                           {1, 129, 7 * 64},
                                           {2, 37, 3 * 64 + 36},
                                           {3, 20, 1152},
                                           {8, 33, 3 * 64 + 36},
                                           {17, 37, 3 * 64 + 36},
                                           {40, 16, 1152},
                                           {545, 300, 172},
                                           {1, 1, 16}}) {
    SCOPED_TRACE(format.str() + ", rows " + std::to_string(rows) + ", depth " +
                 std::to_string(depth));
    // Where there is one group only, it may be shorter than the format's.
    Weights weights(columns, depth, format);
    std::vector<float> values = randomRows(rows * depth, depth), apart;
    PackedRows x = kernels.pack(values, depth);
    std::vector<float> y = kernels.run(weights, x, 2);
    expectProduct(weights, x, y);
    // With few rows at once the bits are the same, whatever makes them.
    for (int64_t row = 0; row < rows; row += 7) {
      PackedRows few =
          kernels.pack({values.begin() + row * depth,
                        values.begin() + std::min(row + 7, rows) * depth},
                       depth);
      llvm::append_range(apart, kernels.run(weights, few, 1));
    }
    EXPECT_EQ(0, std::memcmp(y.data(), apart.data(), y.size() * sizeof(float)));
  }
}

TEST_P(LCQMatMulTest, IsTheProductWithTheRoundedRows) {
  for (const lcq::LCQOptions &format : formats())
    expectProducts(GetParam(), format);
  for (const UniformFormat &format : uniformFormats())
    expectProducts(GetParam(), format);
}

TEST_P(LCQMatMulTest, RowsDoNotDependOnTheBatchOrTheWorkers) {
  for (lcq::LCQOptions format : {lcq::LCQOptions{3, 64, 2, 8, true},
                                 lcq::LCQOptions{4, 32, 1, 16, false}}) {
    Kernels kernels(GetParam(), format);
    int64_t columns = 300, depth = 172, count = 700;
    Weights weights(columns, depth, format);
    std::vector<float> x = randomRows(count * depth, 4);
    PackedRows packed = kernels.pack(x, depth);
    std::vector<float> all = kernels.run(weights, packed, 1);
    for (int64_t rows = 1; rows <= 41; ++rows)
      for (int64_t workers : {1, 3}) {
        std::vector<float> last(x.end() - rows * depth, x.end());
        PackedRows some = kernels.pack(last, depth, workers);
        std::vector<float> y = kernels.run(weights, some, workers);
        EXPECT_EQ(0, std::memcmp(y.data(), all.data() + all.size() - y.size(),
                                 y.size() * sizeof(float)))
            << rows << " rows, " << workers << " workers";
      }
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
  Kernels kernels(GetParam(), lcq::LCQOptions{4, 32, 1, 8, false});
  int64_t depth = 203, group = 32;
  std::vector<float> x = randomRows(17 * depth, 9);
  PackedRows packed = kernels.pack(x, depth, 2);
  ASSERT_EQ(packed.padded, 208);
  ASSERT_EQ(packed.groups, 7);
  ASSERT_EQ(packed.runs, 2);
  for (int64_t row = 0; row < 17; ++row)
    for (int64_t g = 0; g < packed.groups; ++g) {
      int64_t end = std::min((g + 1) * group, packed.padded);
      auto at = [&](int64_t j) { return j < depth ? x[row * depth + j] : 0; };
      float magnitude = packed.magnitude(row, g * group);
      EXPECT_EQ(packed.scale(row, g * group), magnitude / 127);
      int32_t sum = 0;
      for (int64_t j = g * group; j < end; ++j) {
        int8_t q = packed.code(row, j, 0);
        EXPECT_EQ(q, std::nearbyint(at(j) * (127 / magnitude)));
        sum += q;
      }
      EXPECT_EQ(packed.sum(row, g), -128 * sum);
    }
}

TEST_P(LCQMatMulTest, TwoDigitsAreNearlyExact) {
  for (lcq::LCQOptions format : {lcq::LCQOptions{4, 32, 1, 8, false},
                                 lcq::LCQOptions{3, 64, 2, 16, true},
                                 lcq::LCQOptions{2, 32, 3, 8, false}}) {
    LCQLinearOptions options = kernelOptions(format);
    options.activations = ActivationType::Int16;
    Kernels kernels(GetParam(), options);
    int64_t columns = 37, depth = 3 * 64 + 36;
    Weights weights(columns, depth, format);
    std::vector<float> all = randomRows(40 * depth, 3), last;
    all[0] = 100, all[1] = -100, all[2] = 99.9999f;
    for (int64_t rows : {40, 17, 6, 3, 2, 1, 0}) {
      SCOPED_TRACE(format.str() + ", rows " + std::to_string(rows));
      std::vector<float> x(all.begin(), all.begin() + rows * depth);
      PackedRows packed = kernels.pack(x, depth, 2);
      for (int64_t i = 0; i < rows * depth; ++i) {
        int64_t row = i / depth, j = i % depth;
        // Half a step of 127 * 256 to the largest magnitude.
        ASSERT_NEAR(packed.value(row, j), x[i],
                    packed.magnitude(row, j) * 0x1.1p-16);
      }
      std::vector<float> y = kernels.run(weights, packed, 2);
      expectProduct(weights, packed, y);
      // A row's result is the same among fewer rows.
      if (rows > 0 && !last.empty())
        EXPECT_EQ(0, std::memcmp(y.data(), last.data(), y.size() * 4));
      last = y;
    }
  }
}

/// Of rows in f32.
template <typename Format>
void expectExactProducts(const std::string &target, const Format &format) {
  LCQLinearOptions options = kernelOptions(format);
  options.activations = ActivationType::F32;
  Kernels kernels(target, options);
  for (int64_t depth : {3 * 64 + 37, 1152, 5}) {
    int64_t columns = 37;
    Weights weights(columns, depth, format);
    std::vector<float> values = weights.matrix.dequantize();
    std::vector<float> all = randomRows(40 * depth, 3), last;
    for (int64_t rows : {40, 17, 6, 3, 2, 1, 0}) {
      SCOPED_TRACE(format.str() + ", depth " + std::to_string(depth) +
                   ", rows " + std::to_string(rows));
      // The digits are not used: only their sizes fit.
      PackedRows x =
          kernels.pack({all.begin(), all.begin() + rows * depth}, depth);
      std::vector<float> y = kernels.run(weights, x, 2);
      for (size_t i = 0; i < y.size(); ++i) {
        float sum = 0;
        for (int64_t j = 0; j < depth; ++j)
          sum = std::fma(all[i / columns * depth + j],
                         values[i % columns * depth + j], sum);
        ASSERT_EQ(y[i], sum) << "element " << i;
      }
    }
  }
}

TEST_P(LCQMatMulTest, RowsInF32AreExact) {
  for (const lcq::LCQOptions &format : formats())
    expectExactProducts(GetParam(), format);
  for (const UniformFormat &format : uniformFormats())
    expectExactProducts(GetParam(), format);
}

TEST_P(LCQMatMulTest, RowsThatAreNotFiniteAreSeen) {
  lcq::LCQOptions format;
  Kernels kernels(GetParam(), format);
  int64_t depth = 160;
  Weights weights(20, depth, format);
  for (float value : {NAN, INFINITY, -INFINITY}) {
    std::vector<float> x = randomRows(depth, 2);
    x[140] = value;
    PackedRows packed = kernels.pack(x, depth);
    EXPECT_FALSE(std::isnan(packed.scales[0]));
    EXPECT_TRUE(std::isnan(packed.scales[1]));
    for (float result : kernels.run(weights, packed, 1))
      EXPECT_TRUE(std::isnan(result));
    // Nobody else's result is touched.
    x = randomRows(20 * depth, 2);
    x[7 * depth + 3] = value;
    packed = kernels.pack(x, depth);
    std::vector<float> y = kernels.run(weights, packed, 1);
    for (int64_t i = 0; i < 20 * 20; ++i)
      EXPECT_EQ(std::isnan(y[i]), i / 20 == 7) << i;
  }
}

TEST_P(LCQMatMulTest, TinyRowsAreZero) {
  Kernels kernels(GetParam(), lcq::LCQOptions{4, 32, 1, 8, false});
  for (float value : {0.0f, -0.0f, 1e-38f, 1e-45f}) {
    PackedRows packed = kernels.pack(std::vector<float>(32, value), 32);
    EXPECT_EQ(packed.sums[0], 0);
    EXPECT_EQ(packed.xq[0], 0);
    EXPECT_LT(packed.scales[0], 1e-30f);
  }
}

TEST_P(LCQMatMulTest, AddsOthersInItsEpilogue) {
  lcq::LCQOptions format{4, 32, 1, 8, false};
  LCQLinearOptions options = kernelOptions(format);
  options.others = {1, 2};
  Kernels kernels(GetParam(), options, kSumEpilogue);
  Kernels plain(GetParam(), format);
  int64_t columns = 70, depth = 104;
  Weights weights(columns, depth, format);
  std::vector<float> bias = randomRows(columns, 1);
  for (int64_t rows : {0, 1, 2, 3, 17, 40}) {
    PackedRows x = plain.pack(randomRows(rows * depth, rows), depth);
    std::vector<float> expected = plain.run(weights, x, 1);
    std::vector<float> residual = randomRows(rows * columns, 2);
    std::vector<float> y(rows * columns + 1, 12345);
    int64_t next = 0;
    kernels.call<NJU_MATRIX, NJU_MEMREF1(float), NJU_MEMREF2(float),
                 NJU_MEMREF2(float), NJU_MEMREF1(int64_t)>(
        x, 2, NJU_MATRIX_ARG(weights.packed), NJU_ARG1(bias.data(), columns),
        NJU_ARG2(residual.data(), rows, columns),
        NJU_ARG2(y.data(), rows, columns), NJU_ARG1(&next, 1));
    for (size_t i = 0; i < expected.size(); ++i)
      ASSERT_EQ(y[i], (expected[i] + bias[i % columns]) * 2 + residual[i])
          << rows << " rows, element " << i;
    EXPECT_EQ(y.back(), 12345);
  }
}

/// Of two matrices, with `rows` rows.
void expectGated(const std::string &target, const lcq::LCQOptions &format,
                 int64_t rows, llvm::StringRef compute) {
  LCQLinearOptions options = kernelOptions(format);
  Kernels plain(target, options, nullptr, compute);
  options.weights = 2;
  Kernels kernels(target, options, kGateEpilogue, compute);
  int64_t columns = 90, depth = 136, next = 0;
  Weights a(columns, depth, format), b(columns, depth, format, 5);
  PackedRows x = plain.pack(randomRows(rows * depth, rows), depth);
  std::vector<float> gate = plain.run(a, x, 1), up = plain.run(b, x, 1);
  std::vector<float> y(rows * columns + 1, 12345);
  kernels
      .call<NJU_MATRIX, NJU_MATRIX, NJU_MEMREF2(float), NJU_MEMREF1(int64_t)>(
          x, 2, NJU_MATRIX_ARG(a.packed), NJU_MATRIX_ARG(b.packed),
          NJU_ARG2(y.data(), rows, columns), NJU_ARG1(&next, 1));
  for (size_t i = 0; i < gate.size(); ++i) {
    double expected = double(gate[i]) / (1 + std::exp(-gate[i])) * up[i];
    ASSERT_NEAR(y[i], expected, 1e-5 * std::abs(expected) + 1e-12);
  }
  EXPECT_EQ(y.back(), 12345);
  EXPECT_EQ(next, 0);
}

TEST_P(LCQMatMulTest, GatesAProductWithAnother) {
  for (lcq::LCQOptions format : {lcq::LCQOptions{3, 32, 2, 16, true},
                                 lcq::LCQOptions{4, 32, 1, 8, false}})
    for (int64_t rows : {1, 3, 17})
      expectGated(GetParam(), format, rows, "f32");
}

/// Rows that are looked up.
template <typename Format>
void expectRows(const std::string &target, const Format &format) {
  std::string name;
  KernelJIT jit(target, {[&](KernelLibrary &l) {
                  auto function = l.lcqRows(kernelOptions(format));
                  name = function.getName().str();
                  return function;
                }});
  for (auto [count, depth] :
       std::vector<std::array<int64_t, 2>>{{37, 172}, {16, 64}, {1, 7}}) {
    SCOPED_TRACE(format.str() + ", depth " + std::to_string(depth));
    Weights table(count, depth, format);
    std::vector<float> values = table.matrix.dequantize();
    std::vector<int64_t> rows = {0,      count - 1, count / 2,  -1,
                                 -count, 0,         count + 10, -count - 10};
    std::vector<int64_t> found = {0, count - 1, count / 2, count - 1,
                                  0, 0,         count - 1, 0};
    for (int64_t workers : {1, 3}) {
      std::vector<float> y(rows.size() * depth + 1, 12345);
      auto *kernel = jit.get<LCQRows>(name);
      for (int64_t w = 0; w < workers; ++w)
        kernel(w, workers, count, NJU_ARG1(rows.data(), int64_t(rows.size())),
               NJU_MATRIX_ARG(table.packed),
               NJU_ARG2(y.data(), int64_t(rows.size()), depth));
      for (size_t t = 0; t < rows.size(); ++t)
        ASSERT_EQ(0, std::memcmp(y.data() + t * depth,
                                 values.data() + found[t] * depth,
                                 depth * sizeof(float)))
            << "row " << rows[t];
      EXPECT_EQ(y.back(), 12345);
    }
  }
}

TEST_P(LCQMatMulTest, RowsOfATableAreDequantized) {
  for (const lcq::LCQOptions &format : formats())
    expectRows(GetParam(), format);
  for (const UniformFormat &format : uniformFormats())
    expectRows(GetParam(), format);
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
                           for (char &c : name)
                             c = std::isalnum(c) ? c : '_';
                           return name;
                         });

//===----------------------------------------------------------------------===//
// Tiles
//===----------------------------------------------------------------------===//

/// More rows than this are products of tiles.
constexpr int64_t kRowsBeforeTiles = 24;

/// A naive product of the rows with the weights, both rounded to bf16.
void expectTileProduct(const Weights &weights, const std::vector<float> &x,
                       const std::vector<float> &y) {
  const lcq::QuantizedMatrix &matrix = weights.matrix;
  std::vector<float> values = matrix.dequantize();
  for (float &value : values)
    value = roundToBF16(value);
  int64_t depth = matrix.columns;
  for (size_t i = 0; i < y.size(); ++i) {
    const float *row = &x[i / matrix.rows * depth];
    const float *column = &values[i % matrix.rows * depth];
    double sum = 0, size = 0;
    for (int64_t j = 0; j < depth; ++j) {
      double product = double(roundToBF16(row[j])) * column[j];
      sum += product;
      size += std::abs(product);
    }
    ASSERT_NEAR(y[i], sum, 2e-6 * size) << "row " << i / matrix.rows;
  }
}

/// Machines with AMX: emulated, and the host if it has it.
class LCQTilesTest : public testing::TestWithParam<std::string> {
protected:
  template <typename Format>
  void expectTiles(const Format &format);
};

template <typename Format>
void LCQTilesTest::expectTiles(const Format &format) {
  Kernels kernels(GetParam(), kernelOptions(format), nullptr, "auto");
  Kernels vectors(GetParam(), format);
  // Sizes with and without whole tiles, groups, lines and blocks of k.
  for (auto [columns, depth] : std::vector<std::array<int64_t, 2>>{
           {64, 1152}, {37, 3 * 64 + 36}, {16, 7 * 64}, {300, 172}, {1, 16}}) {
    Weights weights(columns, depth, format);
    int64_t most = columns == 300 ? 545 : 57;
    std::vector<float> all = randomRows(most * depth, depth), last;
    for (int64_t rows : {most, int64_t(40), kRowsBeforeTiles + 1}) {
      SCOPED_TRACE(format.str() + ", rows " + std::to_string(rows) +
                   ", depth " + std::to_string(depth));
      std::vector<float> x(all.begin(), all.begin() + rows * depth);
      PackedRows packed = kernels.pack(x, depth, 3);
      std::vector<float> y = kernels.run(weights, packed, 2);
      expectTileProduct(weights, x, y);
      // A row's result does not depend on the rows behind it.
      EXPECT_TRUE(last.empty() ||
                  std::memcmp(y.data(), last.data(), y.size() * 4) == 0);
      last = y;
    }
    // Few rows are as without tiles.
    for (int64_t rows : {kRowsBeforeTiles, int64_t(13), int64_t(1)}) {
      std::vector<float> x(all.begin(), all.begin() + rows * depth);
      PackedRows packed = kernels.pack(x, depth),
                 other = vectors.pack(x, depth);
      EXPECT_EQ(kernels.run(weights, packed, 2),
                vectors.run(weights, other, 1));
    }
  }
}

TEST_P(LCQTilesTest, AreProductsInBF16) {
  for (const lcq::LCQOptions &format : formats())
    expectTiles(format);
  for (const UniformFormat &format : uniformFormats())
    expectTiles(format);
}

TEST_P(LCQTilesTest, GateAProductWithAnother) {
  expectGated(GetParam(), lcq::LCQOptions{3, 32, 2, 16, true}, 70, "auto");
}

TEST_P(LCQTilesTest, RowsThatAreNotFiniteAreSeen) {
  lcq::LCQOptions format;
  Kernels kernels(GetParam(), kernelOptions(format), nullptr, "auto");
  int64_t depth = 160, rows = 40;
  Weights weights(20, depth, format);
  std::vector<float> x = randomRows(rows * depth, 2);
  x[7 * depth + 3] = NAN;
  PackedRows packed = kernels.pack(x, depth);
  std::vector<float> y = kernels.run(weights, packed, 1);
  for (int64_t i = 0; i < rows * 20; ++i)
    EXPECT_EQ(std::isnan(y[i]), i / 20 == 7) << i;
}

/// What a product leaves for the next one is what that would make of it.
TEST_P(LCQTilesTest, PackTheirResult) {
  LCQLinearOptions options = kernelOptions(lcq::LCQOptions{4, 32, 1, 8, false});
  Kernels plain(GetParam(), options, nullptr, "auto");
  options.packs = true;
  Kernels packing(GetParam(), options, nullptr, "auto");
  for (int64_t columns : {300, 64, 37, 1})
    for (int64_t rows :
         {int64_t(57), kRowsBeforeTiles + 1, kRowsBeforeTiles, int64_t(1)}) {
      SCOPED_TRACE(std::to_string(rows) + "x" + std::to_string(columns));
      int64_t depth = 172, next = 0;
      Weights weights(columns, depth, lcq::LCQOptions{4, 32, 1, 8, false});
      PackedRows x = plain.pack(randomRows(rows * depth, rows), depth);
      std::vector<float> y = plain.run(weights, x, 1);
      PackedRows expected = plain.pack(y, columns);
      bool few = rows <= kRowsBeforeTiles;
      PackedRows found = expected;
      std::fill(found.xq.begin(), found.xq.end(), 99);
      found.x.assign(y.size(), 12345);
      packing.call<NJU_MATRIX, NJU_MEMREF2(float), NJU_MEMREF2(int8_t),
                   NJU_MEMREF1(int64_t)>(
          x, 3, NJU_MATRIX_ARG(weights.packed),
          NJU_ARG2(found.x.data(), rows, columns),
          NJU_ARG2(found.xq.data(), found.xqRows, found.padded),
          NJU_ARG1(&next, 1));
      EXPECT_EQ(next, 0);
      EXPECT_EQ(found.x, few ? y : std::vector<float>(y.size(), 12345));
      found.pack(packing.jit, packing.packName, 2);
      EXPECT_EQ(found.xq, expected.xq);
      EXPECT_EQ(found.sums, expected.sums);
    }
}

INSTANTIATE_TEST_SUITE_P(Machines, LCQTilesTest,
                         testing::ValuesIn(runnableTargetsWithTiles()),
                         [](const auto &info) {
                           return info.param == "host" ? "host" : "emulated";
                         });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(LCQTilesTest);

} // namespace
