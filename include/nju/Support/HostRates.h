//===- HostRates.h - What this machine can do at most -----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_SUPPORT_HOSTRATES_H
#define NJU_SUPPORT_HOSTRATES_H

namespace nju {

/// The limits that floor times are computed from.
struct HostRates {
  unsigned threads;      ///< Threads that were used.
  double bytesPerSecond; ///< Reading memory, far beyond the caches.
  double flopsPerSecond; ///< f32 fused multiply-adds, two operations each.
};

/// Measures this machine with one thread a core, in about a second and with
/// 512 MB of memory: the best of three passes of a read loop (one stream a
/// thread, and two), and of
/// register-only multiply-adds of the widest vectors that the CPU has.
HostRates measureHostRates();

} // namespace nju

#endif // NJU_SUPPORT_HOSTRATES_H
