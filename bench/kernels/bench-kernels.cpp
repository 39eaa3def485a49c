//===- bench-kernels.cpp - Times the CPU kernels against the limits -*- C++ -*//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Products of TinyLlama-1.1B's shapes, one row and many, and attention, on all
// cores or OMP_NUM_THREADS of them. The limits are measured between the
// kernels, since other work on the machine changes both.
//
//   bench-kernels [f16|bf16|f32|attention|lcq [ROWS]]
//
//===----------------------------------------------------------------------===//

#include "../../unittests/Codegen/CPU/KernelJIT.h"
#include "nju/Support/HostRates.h"
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <omp.h>
#include <sys/mman.h>

using namespace nju;
using namespace nju::test;

using PackRows = void(int64_t, int64_t, NJU_MEMREF2(float), NJU_MEMREF1(float));
using Linear = void(int64_t, int64_t, NJU_MEMREF2(float), NJU_MEMREF1(float),
                    NJU_MEMREF3(void), NJU_MEMREF2(float),
                    NJU_MEMREF1(int64_t));
using PackLCQRows = void(int64_t, int64_t, NJU_MEMREF2(float),
                         NJU_MEMREF2(int8_t), NJU_MEMREF2(float),
                         NJU_MEMREF2(int32_t));
using LCQLinear = void(int64_t, int64_t, NJU_MEMREF2(float),
                       NJU_MEMREF2(int8_t), NJU_MEMREF2(float),
                       NJU_MEMREF2(int32_t), NJU_MEMREF1(uint8_t),
                       NJU_MEMREF2(int8_t), NJU_MEMREF2(float),
                       NJU_MEMREF2(float), NJU_MEMREF1(int64_t));
using Attention = void(int64_t, int64_t, int64_t, int64_t, int64_t, float,
                       NJU_MEMREF3(float), NJU_MEMREF1(int32_t),
                       NJU_MEMREF1(int32_t), NJU_MEMREF1(uint8_t),
                       NJU_MEMREF3(float), NJU_MEMREF2(float),
                       NJU_MEMREF1(int32_t));

namespace {

/// Attention of TinyLlama-1.1B, and of Llama-2-7B.
struct AttentionShape {
  int64_t heads, kvHeads, headDim;
};
constexpr AttentionShape kTiny = {32, 4, 64}, kLarge = {32, 32, 128};

CachedAttentionOptions makeOptions(AttentionShape shape, CacheType type) {
  CachedAttentionOptions options;
  options.heads = shape.heads;
  options.kvHeads = shape.kvHeads;
  options.headDim = shape.headDim;
  options.cacheType = type;
  return options;
}

/// Huge pages, as the runtime asks for.
template <typename T>
T *allocate(int64_t count) {
  size_t page = 2 << 20, bytes = (count * sizeof(T) + page - 1) / page * page;
  void *data = std::aligned_alloc(page, bytes);
  if (!data)
    std::abort();
  madvise(data, bytes, MADV_HUGEPAGE);
  std::memset(data, 0, bytes);
  return static_cast<T *>(data);
}

/// The best time of several calls, in seconds: for as long as the system needs
/// to give each thread a core of its own.
template <typename Function>
double best(int count, Function function) {
  double least = 1e30, total = 0;
  for (int i = 0; i < count || total < 0.3; ++i) {
    auto begin = std::chrono::steady_clock::now();
    function();
    std::chrono::duration<double> time =
        std::chrono::steady_clock::now() - begin;
    least = std::min(least, time.count());
    total += time.count();
  }
  return least;
}

struct Bench {
  explicit Bench(const std::string &type)
      : type(type), bytes(type == "f32" ? 4 : 2),
        jit("host", {[](KernelLibrary &l) { return l.packRows(); },
                     [&](KernelLibrary &l) {
                       mlir::Builder b(l.packRows().getContext());
                       LinearOptions options;
                       options.weightType =
                           type == "f32"    ? mlir::Type(b.getF32Type())
                           : type == "bf16" ? mlir::Type(b.getBF16Type())
                                            : mlir::Type(b.getF16Type());
                       return l.linear(options);
                     }}) {}

  void linear(int64_t depth, int64_t columns, int64_t rows);

  std::string type;
  int64_t bytes;
  KernelJIT jit;
};

} // namespace

void Bench::linear(int64_t depth, int64_t columns, int64_t rows) {
  int64_t panels = (columns + 31) / 32, size = panels * 32 * depth * bytes;
  // One row: as many matrices as no cache holds.
  int64_t copies = rows == 1 ? std::max<int64_t>(1, (600 << 20) / size) : 1;
  auto *weights = allocate<char>(size * copies);
  auto *x = allocate<float>(rows * depth), *xp = allocate<float>(rows * depth);
  auto *y = allocate<float>(rows * columns);
  auto *next = allocate<int64_t>(8 * copies);
  auto *pack = jit.get<PackRows>("nju_pack_rows");
  auto *kernel = jit.get<Linear>("nju_linear_" + type);
  double seconds = best(5, [&] {
#pragma omp parallel
    for (int64_t copy = 0; copy < copies; ++copy) {
      int64_t worker = omp_get_thread_num(), workers = omp_get_num_threads();
      void *w = weights + copy * size;
      pack(worker, workers, NJU_ARG2(x, rows, depth),
           NJU_ARG1(xp, rows * depth));
#pragma omp barrier
      kernel(worker, workers, NJU_ARG2(x, rows, depth),
             NJU_ARG1(xp, rows * depth),
             NJU_ARG3(w, panels, depth, int64_t(32)),
             NJU_ARG2(y, rows, columns), NJU_ARG1(next + copy * 8, 1));
#pragma omp barrier
    }
  });
  HostRates rates = measureHostRates();
  double gflops = 2.0 * rows * depth * columns * copies / seconds / 1e9;
  double gbytes = double(size) * copies / seconds / 1e9;
  std::printf("linear %s K=%5ld N=%5ld T=%4ld  %7.1f GFLOP/s (%.2f of %.0f)  "
              "%6.1f GB/s (%.2f of %.1f)\n",
              type.c_str(), depth, columns, rows, gflops,
              gflops * 1e9 / rates.flopsPerSecond, rates.flopsPerSecond / 1e9,
              gbytes, gbytes * 1e9 / rates.bytesPerSecond,
              rates.bytesPerSecond / 1e9);
  std::fflush(stdout);
  for (void *data :
       {(void *)weights, (void *)x, (void *)xp, (void *)y, (void *)next})
    std::free(data);
}

/// Rows times weights quantized by LCQ with int8 scales: random bytes, whose
/// speed is that of any others. K is whole groups.
static void lcqLinear(const LCQLinearOptions &options, int64_t depth,
                      int64_t columns, int64_t rows) {
  std::string names[2];
  KernelJIT jit("host", {[&](KernelLibrary &l) {
                           auto kernel = l.packLCQRows(options.group,
                                                       options.activations);
                           names[0] = kernel.getName().str();
                           return kernel;
                         },
                         [&](KernelLibrary &l) {
                           auto kernel = l.lcqLinear(options);
                           names[1] = kernel.getName().str();
                           return kernel;
                         }});
  int64_t digits = options.activations == ActivationType::Int16 ? 2 : 1;
  int64_t groups = depth / options.group, tiles = (columns + 15) / 16;
  int64_t groupBytes =
      16 * (options.rank + options.offset) + options.group * 2 * options.bits;
  int64_t size = tiles * groups * groupBytes;
  // Few rows: as many matrices as no cache holds.
  int64_t copies = rows <= 16 ? std::max<int64_t>(1, (600 << 20) / size) : 1;
  auto *weights = allocate<uint8_t>(size * copies);
  for (int64_t i = 0; i < size * copies; ++i)
    weights[i] = i * 2654435761u >> 24;
  auto *x = allocate<float>(rows * depth);
  int64_t runs =
      (groups + options.getScaleGroups() - 1) / options.getScaleGroups();
  auto *scales = allocate<float>(rows * runs);
  auto *xq = allocate<int8_t>(rows * depth * digits);
  auto *basis = allocate<int8_t>(3 * 16);
  auto *sums = allocate<int32_t>(rows * groups * digits);
  auto *factors = allocate<float>(4 * tiles * 16);
  auto *y = allocate<float>(rows * columns);
  auto *next = allocate<int64_t>(8 * copies);
  for (int64_t i = 0; i < rows * depth; ++i)
    x[i] = i % 17 - 8;
  auto *pack = jit.get<PackLCQRows>(names[0]);
  auto *kernel = jit.get<LCQLinear>(names[1]);
  double seconds = best(5, [&] {
#pragma omp parallel
    for (int64_t copy = 0; copy < copies; ++copy) {
      int64_t worker = omp_get_thread_num(), workers = omp_get_num_threads();
      pack(worker, workers, NJU_ARG2(x, rows, depth),
           NJU_ARG2(xq, rows, depth * digits), NJU_ARG2(scales, rows, runs),
           NJU_ARG2(sums, rows, groups * digits));
#pragma omp barrier
      kernel(worker, workers, NJU_ARG2(x, rows, depth),
             NJU_ARG2(xq, rows, depth * digits), NJU_ARG2(scales, rows, runs),
             NJU_ARG2(sums, rows, groups * digits),
             NJU_ARG1(weights + copy * size, size),
             NJU_ARG2(basis, options.rank, int64_t(1) << options.bits),
             NJU_ARG2(factors, int64_t(4), tiles * 16),
             NJU_ARG2(y, rows, columns), NJU_ARG1(next + copy * 8, 1));
#pragma omp barrier
    }
  });
  double bytes = measureHostRates().bytesPerSecond;
  double peak = measureComputeRate(ComputeUnit::VNNI, omp_get_max_threads());
  double gbytes = double(size) * copies / seconds;
  double rate = 2.0 * rows * depth * columns * copies / seconds;
  std::printf("%-28s K=%5ld N=%5ld T=%3ld  %9.1f us  %6.1f GB/s (%.2f of "
              "%.1f)  %7.1f Gop/s (%.2f of %.0f)\n",
              names[1].c_str(), depth, columns, rows, seconds / copies * 1e6,
              gbytes / 1e9, gbytes / bytes, bytes / 1e9, rate / 1e9,
              peak ? rate / peak : 0, peak / 1e9);
  std::fflush(stdout);
  for (void *data :
       {(void *)weights, (void *)x, (void *)scales, (void *)xq, (void *)basis,
        (void *)sums, (void *)factors, (void *)y, (void *)next})
    std::free(data);
}

/// Products of `rows` rows; of one row for every format, of several for the
/// default one and rank 2.
static void lcqProducts(int64_t rows) {
  for (int64_t bits : {4, 3, 2})
    for (int64_t rank : {1, 2, 3}) {
      if (rows > 1 && (rank == 3 || (rank == 2 && bits != 4)))
        continue;
      for (auto [depth, columns] :
           {std::pair<int64_t, int64_t>{2048, 5632}, {5632, 2048}}) {
        LCQLinearOptions options;
        options.bits = bits;
        options.group = rank == 1 ? 32 : 64;
        options.rank = rank;
        lcqLinear(options, depth, columns, rows);
      }
    }
}

/// All products of TinyLlama with the default format of 4 bits, 512 rows.
static void lcqPrefill() {
  for (auto activations : {ActivationType::Int8, ActivationType::Int16})
    for (auto [depth, columns] : {std::pair<int64_t, int64_t>{2048, 2048},
                                  {2048, 256},
                                  {2048, 5632},
                                  {5632, 2048},
                                  {2048, 32000}}) {
      LCQLinearOptions options;
      options.activations = activations;
      lcqLinear(options, depth, columns, 512);
    }
}

/// The last `tokens` tokens of a sequence of `length`.
static void attention(AttentionShape shape, CacheType type, int64_t length,
                      int64_t tokens) {
  int64_t heads = shape.heads, headDim = shape.headDim;
  int64_t kvHeads = shape.kvHeads;
  std::string name;
  AttentionScratch scratch;
  KernelJIT jit("host", {[&](KernelLibrary &l) {
                  auto options = makeOptions(shape, type);
                  auto kernel = l.cachedAttention(options);
                  name = kernel.getName().str();
                  scratch = l.attentionScratch(options, length, tokens);
                  return kernel;
                }});
  int64_t cacheTokens = (length + 15) / 16 * 16;
  int64_t elementBytes = type == CacheType::F32 ? 4 : 2;
  int64_t layerBytes = 2 * cacheTokens * kvHeads * headDim * elementBytes;
  // One token: as many layers as no cache holds.
  int64_t layers =
      tokens == 1 ? std::max<int64_t>(1, (400 << 20) / layerBytes) : 1;
  auto *cache = allocate<uint8_t>(layers * layerBytes);
  auto *q = allocate<float>(tokens * heads * headDim);
  auto *y = allocate<float>(tokens * heads * headDim);
  auto *positions = allocate<int32_t>(tokens);
  auto *sequences = allocate<int32_t>(tokens);
  auto *partials = allocate<float>(scratch.records * scratch.recordSize);
  auto *counters = allocate<int32_t>(scratch.counters);
  double seen = 0;
  for (int64_t t = 0; t < tokens; ++t) {
    positions[t] = length - tokens + t;
    seen += positions[t] + 1;
  }
  auto *kernel = jit.get<Attention>(name);
  double seconds = best(5, [&] {
#pragma omp parallel
    for (int64_t layer = 0; layer < layers; ++layer) {
      int64_t worker = omp_get_thread_num(), workers = omp_get_num_threads();
      void *data = cache + layer * layerBytes;
      kernel(worker, workers, 0, 1, cacheTokens, 0.125f,
             NJU_ARG3(q, tokens, heads, headDim), NJU_ARG1(positions, tokens),
             NJU_ARG1(sequences, tokens),
             NJU_ARG1(static_cast<uint8_t *>(data), layerBytes),
             NJU_ARG3(y, tokens, heads, headDim),
             NJU_ARG2(partials, scratch.records, scratch.recordSize),
             NJU_ARG1(counters, scratch.counters));
#pragma omp barrier
    }
  });
  seconds /= layers;
  HostRates rates = measureHostRates();
  double gflops = 4.0 * heads * headDim * seen / seconds / 1e9;
  double gbytes = layerBytes / seconds / 1e9;
  std::printf("%s length=%5ld T=%4ld  %9.1f us  %7.1f GFLOP/s (%.2f of %.0f)  "
              "%6.1f GB/s (%.2f of %.1f)\n",
              name.c_str(), length, tokens, seconds * 1e6, gflops,
              gflops * 1e9 / rates.flopsPerSecond, rates.flopsPerSecond / 1e9,
              gbytes, gbytes * 1e9 / rates.bytesPerSecond,
              rates.bytesPerSecond / 1e9);
  std::fflush(stdout);
  for (void *data : {(void *)cache, (void *)q, (void *)y, (void *)positions,
                     (void *)sequences, (void *)partials, (void *)counters})
    std::free(data);
}

static void products(const std::string &type) {
  Bench bench(type);
  for (int64_t rows : {1, 8, 512})
    for (auto [depth, columns] : {std::pair<int64_t, int64_t>{2048, 2048},
                                  {2048, 256},
                                  {2048, 5632},
                                  {5632, 2048},
                                  {2048, 32000}})
      bench.linear(depth, columns, rows);
}

int main(int argc, char **argv) {
  std::string what = argc > 1 ? argv[1] : "f16";
  if (what == "lcq") {
    if (argc > 2)
      lcqProducts(std::max(1, std::atoi(argv[2])));
    else
      lcqPrefill();
    return 0;
  }
  if (what != "attention")
    products(what);
  for (AttentionShape shape : {kTiny, kLarge})
    for (CacheType type : {CacheType::F32, CacheType::F16}) {
      for (int64_t length : {128, 512, 1900})
        attention(shape, type, length, 1);
      attention(shape, type, 512, 512);
      attention(shape, type, 2048, 512);
    }
  return 0;
}
