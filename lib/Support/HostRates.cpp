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
#endif

using Clock = std::chrono::steady_clock;

/// Sixteen floats; the compiler splits them where registers are narrower.
using Vector = float __attribute__((vector_size(64)));
/// A cache line.
using Words = uint64_t __attribute__((vector_size(64)));

namespace {

constexpr size_t kBufferBytes = size_t(512) << 20;
constexpr size_t kHugePage = size_t(2) << 20;
constexpr int kPasses = 3;
constexpr int kAccumulators = 12;
constexpr long kRounds = 4'000'000;

/// Adds up a range, `Streams` parts of it side by side.
template <int Streams>
inline uint64_t readLoop(const Words *begin, size_t count) {
  size_t part = count / Streams;
  Words sums[8 * Streams] = {};
  for (size_t i = 0; i + 8 <= part; i += 8)
    for (int s = 0; s < Streams; ++s)
      for (int j = 0; j < 8; ++j)
        sums[8 * s + j] += begin[s * part + i + j];
  uint64_t sum = 0;
  for (Words &words : sums)
    sum += words[0];
  return sum;
}

#if defined(__x86_64__)
__attribute__((target("avx512f"), flatten))
uint64_t readAVX512(const Words *begin, size_t count, bool several) {
  return several ? readLoop<2>(begin, count) : readLoop<1>(begin, count);
}
__attribute__((target("avx2"), flatten)) uint64_t readAVX2(const Words *begin,
                                                           size_t count,
                                                           bool several) {
  return several ? readLoop<2>(begin, count) : readLoop<1>(begin, count);
}
#endif
uint64_t readBaseline(const Words *begin, size_t count, bool several) {
  return several ? readLoop<2>(begin, count) : readLoop<1>(begin, count);
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

/// Independent chains of x = x * y + y, enough to hide the latency.
template <int Chains>
inline float fmaLoop() {
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
__attribute__((target("avx512f"), flatten)) float fmaAVX512() {
  return fmaLoop<kAccumulators>();
}
__attribute__((target("avx2,fma"), flatten)) float fmaAVX2() {
  return fmaLoop<kAccumulators / 2>();
}
#endif
float fmaBaseline() { return fmaLoop<kAccumulators / 4>(); }

/// The widest variant that this CPU runs, and its flops a call.
std::pair<float (*)(), double> widestFma() {
  constexpr double flopsOfChain = 2.0 * 16 * kRounds;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f"))
    return {fmaAVX512, flopsOfChain * kAccumulators};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    return {fmaAVX2, flopsOfChain * (kAccumulators / 2)};
#endif
  return {fmaBaseline, flopsOfChain * (kAccumulators / 4)};
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

/// Bytes a second that all threads read, by the better of two patterns.
static double measureRead(unsigned threads, std::atomic<uint64_t> &sink) {
  size_t share = kBufferBytes / sizeof(Words) / threads;
  std::unique_ptr<void, decltype(&std::free)> memory(
      std::aligned_alloc(kHugePage, kBufferBytes), std::free);
  if (!memory)
    return 0;
#if defined(__linux__)
  madvise(memory.get(), kBufferBytes, MADV_HUGEPAGE);
#endif
  auto *words = static_cast<Words *>(memory.get());
  auto read = widestRead();
  // Each thread touches its part first: it lies near that thread's core.
  bestSeconds(threads, [&](unsigned t) {
    std::memset(words + t * share, 1, share * sizeof(Words));
  });
  double seconds = 1e30;
  for (bool several : {false, true})
    seconds = std::min(seconds, bestSeconds(threads, [&](unsigned t) {
                         sink += read(words + t * share, share, several);
                       }));
  return share * threads * sizeof(Words) / seconds;
}

nju::HostRates nju::measureHostRates() {
  unsigned threads = std::max(1u, std::thread::hardware_concurrency());
  std::atomic<uint64_t> sink{0};
  double read = measureRead(threads, sink);
  auto [fma, flops] = widestFma();
  auto run = fma;
  double fmaSeconds = bestSeconds(
      threads, [&](unsigned) { sink += static_cast<uint64_t>(run()); });
  // The sum is used, so that no loop can be left out.
  double check = sink == 0 ? 1.0 : 0.0;
  return {threads, read + check, flops * threads / fmaSeconds};
}
