//===- VectorCode.cpp - Code for the vectors of this processor ------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Support/VectorCode.h"

size_t nju::getFirstVariant() {
#if defined(__x86_64__)
  static const size_t first = [] {
    bool hasAVX512 = __builtin_cpu_supports("avx512f") &&
                     __builtin_cpu_supports("avx512vl") &&
                     __builtin_cpu_supports("avx512bw") &&
                     __builtin_cpu_supports("avx512dq");
    bool hasAVX2 =
        __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    return hasAVX512 ? 0 : hasAVX2 ? 1 : 2;
  }();
  return first;
#else
  return 0;
#endif
}
