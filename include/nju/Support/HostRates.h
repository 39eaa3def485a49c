//===- HostRates.h - What this machine can do at most -----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_SUPPORT_HOSTRATES_H
#define NJU_SUPPORT_HOSTRATES_H

#include <cstddef>
#include <cstdlib>
#include <memory>

namespace nju {

/// The limits that floor times are computed from.
struct HostRates {
  unsigned threads;      ///< Threads that were used.
  double bytesPerSecond; ///< Reading memory, far beyond the caches.
  double flopsPerSecond; ///< f32 fused multiply-adds, two operations each.
};

/// Measures this machine with one thread a core, in about a second and with
/// 512 MB of memory: the best of three passes of a read loop (one stream a
/// thread, and two), and of register-only multiply-adds of the widest vectors
/// that the CPU has.
HostRates measureHostRates();

/// Memory to be read, in large pages where the system has them.
class ReadMeter {
public:
  /// `threads` threads touch a part each: so many will read at most.
  ReadMeter(size_t bytes, unsigned threads);

  /// Bytes a second that `threads` threads read, each in `streams` (1, 2 or 4)
  /// parts side by side: the best of three passes. 0 without memory.
  double measure(unsigned threads, unsigned streams) const;

private:
  size_t bytes;
  std::unique_ptr<void, decltype(&std::free)> memory;
};

/// What does arithmetic.
enum class ComputeUnit {
  FMA,     ///< f32 multiply-adds of the widest vectors
  VNNI,    ///< int8 dot products of 512 bits
  AMXInt8, ///< int8 products of tiles
  AMXBF16, ///< bf16 products of tiles
};

/// Operations a second of `threads` threads (a multiply-add is two): the best
/// of three passes. 0 if the CPU has no such unit.
double measureComputeRate(ComputeUnit unit, unsigned threads);

} // namespace nju

#endif // NJU_SUPPORT_HOSTRATES_H
