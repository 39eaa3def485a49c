//===- HostRates.cpp - What this machine can do at most ---------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Support/HostRates.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>
#include <vector>
#if defined(__linux__)
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

using namespace nju;
using Clock = std::chrono::steady_clock;

/// Sixteen floats; the compiler splits them where registers are narrower.
using Vector = float __attribute__((vector_size(64)));
/// A cache line.
using Words = uint64_t __attribute__((vector_size(64)));

namespace {

constexpr size_t kHugePage = size_t(2) << 20;
constexpr int kPasses = 3;
constexpr int kAccumulators = 12;
constexpr long kRounds = 4'000'000;

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

/// Adds up a range, `Streams` parts of it side by side, `Lines` cache lines of
/// each at a time.
template <int Streams, int Lines>
inline uint64_t readLoop(const Words *begin, size_t count) {
  size_t part = count / Streams;
  Words sums[Lines * Streams] = {};
  for (size_t i = 0; i + Lines <= part; i += Lines)
    for (int s = 0; s < Streams; ++s)
      for (int j = 0; j < Lines; ++j)
        sums[Lines * s + j] += begin[s * part + i + j];
  uint64_t sum = 0;
  for (Words &words : sums)
    sum += words[0];
  return sum;
}

inline uint64_t readStreams(const Words *begin, size_t count,
                            unsigned streams) {
  return streams == 1   ? readLoop<1, 8>(begin, count)
         : streams == 2 ? readLoop<2, 8>(begin, count)
                        : readLoop<4, 4>(begin, count);
}

#if defined(__x86_64__)
__attribute__((target("avx512f"), flatten))
uint64_t readAVX512(const Words *begin, size_t count, unsigned streams) {
  return readStreams(begin, count, streams);
}
__attribute__((target("avx2"), flatten)) uint64_t readAVX2(const Words *begin,
                                                           size_t count,
                                                           unsigned streams) {
  return readStreams(begin, count, streams);
}
#endif
uint64_t readBaseline(const Words *begin, size_t count, unsigned streams) {
  return readStreams(begin, count, streams);
}

/// The widest variant that this CPU runs.
auto widestRead() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f"))
    return readAVX512;
  if (__builtin_cpu_supports("avx2"))
    return readAVX2;
#endif
  return readBaseline;
}

//===----------------------------------------------------------------------===//
// Arithmetic
//===----------------------------------------------------------------------===//

/// A loop that never leaves the registers, and its operations a call. Its sum
/// is used, so that it cannot be left out. Null where the CPU has no such unit.
struct ComputeLoop {
  double (*run)() = nullptr;
  double operations = 0;
};

/// Independent chains of x = x * y + y, enough to hide the latency.
template <int Chains>
inline double fmaLoop() {
  Vector x[Chains], y;
  for (int i = 0; i < 16; ++i)
    y[i] = 0.5f;
  for (Vector &v : x)
    v = y;
  for (long k = 0; k < kRounds; ++k)
    for (Vector &v : x)
      v = v * y + y;
  float sum = 0;
  for (Vector &v : x)
    sum += v[0];
  return sum;
}

#if defined(__x86_64__)
__attribute__((target("avx512f"), flatten)) double fmaAVX512() {
  return fmaLoop<kAccumulators>();
}
__attribute__((target("avx2,fma"), flatten)) double fmaAVX2() {
  return fmaLoop<kAccumulators / 2>();
}

__attribute__((target("avx512f,avx512vnni"))) double vnniAVX512() {
  __m512i x[kAccumulators], y = _mm512_set1_epi8(3);
  for (__m512i &v : x)
    v = y;
  for (long k = 0; k < kRounds; ++k)
    for (__m512i &v : x)
      v = _mm512_dpbusd_epi32(v, y, y);
  int64_t sum = 0;
  for (__m512i &v : x)
    sum += v[0];
  return sum;
}

/// Products of tiles; two of the left and two of the right side meet in four
/// accumulators, as a kernel would have them.
constexpr long kTileRounds = 500'000;
constexpr size_t kTileBytes = 1024;

struct alignas(64) TileConfig {
  uint8_t palette = 1, startRow = 0, reserved[14] = {};
  uint16_t rowBytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

#define NJU_TILE_LOOP(PRODUCT)                                                 \
  TileConfig config;                                                           \
  alignas(64) static const uint8_t zeros[kTileBytes] = {};                     \
  alignas(64) float result[kTileBytes / sizeof(float)];                        \
  _tile_loadconfig(&config);                                                   \
  _tile_zero(0);                                                               \
  _tile_zero(1);                                                               \
  _tile_zero(2);                                                               \
  _tile_zero(3);                                                               \
  _tile_loadd(4, zeros, 64);                                                   \
  _tile_loadd(5, zeros, 64);                                                   \
  _tile_loadd(6, zeros, 64);                                                   \
  _tile_loadd(7, zeros, 64);                                                   \
  for (long k = 0; k < kTileRounds; ++k) {                                     \
    PRODUCT(0, 4, 6);                                                          \
    PRODUCT(1, 4, 7);                                                          \
    PRODUCT(2, 5, 6);                                                          \
    PRODUCT(3, 5, 7);                                                          \
  }                                                                            \
  _tile_stored(0, result, 64);                                                 \
  _tile_release();                                                             \
  return result[0]

__attribute__((target("amx-tile,amx-int8"))) double amxInt8() {
  NJU_TILE_LOOP(_tile_dpbssd);
}
__attribute__((target("amx-tile,amx-bf16"))) double amxBF16() {
  NJU_TILE_LOOP(_tile_dpbf16ps);
}

/// Linux gives a process the tiles only when it asks for them.
bool requestTiles() {
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}
#endif // __x86_64__

double fmaBaseline() { return fmaLoop<kAccumulators / 4>(); }

/// The widest variant that this CPU runs.
ComputeLoop widestFma() {
  constexpr double flopsOfChain = 2.0 * 16 * kRounds;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f"))
    return {fmaAVX512, flopsOfChain * kAccumulators};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    return {fmaAVX2, flopsOfChain * (kAccumulators / 2)};
#endif
  return {fmaBaseline, flopsOfChain * (kAccumulators / 4)};
}

ComputeLoop getLoop(ComputeUnit unit) {
  if (unit == ComputeUnit::FMA)
    return widestFma();
#if defined(__x86_64__)
  constexpr double operationsOfTile = 2.0 * 16 * 16 * 4 * kTileRounds;
  if (unit == ComputeUnit::VNNI && __builtin_cpu_supports("avx512vnni"))
    return {vnniAVX512, 2.0 * 64 * kRounds * kAccumulators};
  if (unit == ComputeUnit::AMXInt8 && __builtin_cpu_supports("amx-int8") &&
      requestTiles())
    return {amxInt8, operationsOfTile * 64};
  if (unit == ComputeUnit::AMXBF16 && __builtin_cpu_supports("amx-bf16") &&
      requestTiles())
    return {amxBF16, operationsOfTile * 32};
#endif
  return {};
}

/// Best time of a few passes of `body(thread)` on every thread at once.
double bestSeconds(unsigned threads,
                   const std::function<void(unsigned)> &body) {
  double best = 1e30;
  for (int pass = 0; pass < kPasses; ++pass) {
    auto start = Clock::now();
    std::vector<std::thread> workers;
    for (unsigned t = 1; t < threads; ++t)
      workers.emplace_back(body, t);
    body(0);
    for (std::thread &worker : workers)
      worker.join();
    best = std::min(
        best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

} // namespace

ReadMeter::ReadMeter(size_t bytes, unsigned threads)
    : bytes(bytes / kHugePage * kHugePage),
      memory(std::aligned_alloc(kHugePage, this->bytes), std::free) {
  if (!memory)
    return;
#if defined(__linux__)
  madvise(memory.get(), this->bytes, MADV_HUGEPAGE);
#endif
  // Each thread touches its part first: it lies near that thread's core.
  auto *data = static_cast<char *>(memory.get());
  size_t share = this->bytes / threads;
  bestSeconds(threads,
              [&](unsigned t) { std::memset(data + t * share, 1, share); });
}

double ReadMeter::measure(unsigned threads, unsigned streams) const {
  if (!memory)
    return 0;
  const auto *words = static_cast<const Words *>(memory.get());
  size_t share = bytes / sizeof(Words) / threads;
  auto read = widestRead();
  std::atomic<uint64_t> sink{0};
  double seconds = bestSeconds(threads, [&](unsigned t) {
    sink += read(words + t * share, share, streams);
  });
  // Never: the bytes are all ones.
  if (sink == 0)
    return 0;
  return share * threads * sizeof(Words) / seconds;
}

double nju::measureComputeRate(ComputeUnit unit, unsigned threads) {
  ComputeLoop loop = getLoop(unit);
  if (!loop.run)
    return 0;
  std::vector<double> sums(threads);
  double seconds =
      bestSeconds(threads, [&](unsigned t) { sums[t] = loop.run(); });
  // Not a number is what no loop gives.
  if (sums[0] != sums[0])
    return 0;
  return loop.operations * threads / seconds;
}

HostRates nju::measureHostRates() {
  unsigned threads = std::max(1u, std::thread::hardware_concurrency());
  double read = 0;
  {
    ReadMeter meter(size_t(512) << 20, threads);
    for (unsigned streams : {1, 2})
      read = std::max(read, meter.measure(threads, streams));
  }
  return {threads, read, measureComputeRate(ComputeUnit::FMA, threads)};
}
