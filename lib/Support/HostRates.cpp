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
#include <functional>
#include <thread>
#include <vector>

using Clock = std::chrono::steady_clock;

/// Sixteen floats; the compiler splits them where registers are narrower.
using Vector = float __attribute__((vector_size(64)));

namespace {

constexpr size_t kBufferBytes = size_t(512) << 20;
constexpr int kPasses = 3;
constexpr int kAccumulators = 12;
constexpr long kRounds = 4'000'000;

/// Adds up words of a range, in a loop that any compiler vectorises.
uint64_t readRange(const uint64_t *begin, const uint64_t *end) {
  uint64_t sums[8] = {};
  for (const uint64_t *p = begin; p + 8 <= end; p += 8)
    for (int i = 0; i < 8; ++i)
      sums[i] += p[i];
  uint64_t sum = 0;
  for (uint64_t s : sums)
    sum += s;
  return sum;
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

nju::HostRates nju::measureHostRates() {
  unsigned threads = std::max(1u, std::thread::hardware_concurrency());
  std::vector<uint64_t> buffer(kBufferBytes / sizeof(uint64_t), 1);
  std::atomic<uint64_t> sink{0};
  size_t share = buffer.size() / threads;
  double readSeconds = bestSeconds(threads, [&](unsigned t) {
    const uint64_t *begin = buffer.data() + t * share;
    sink += readRange(begin, begin + share);
  });
  auto [fma, flops] = widestFma();
  auto run = fma;
  double fmaSeconds = bestSeconds(
      threads, [&](unsigned) { sink += static_cast<uint64_t>(run()); });
  // The sum is used, so that no loop can be left out.
  double check = sink == 0 ? 1.0 : 0.0;
  return {threads, (share * threads * sizeof(uint64_t) + check) / readSeconds,
          flops * threads / fmaSeconds};
}
