//===- VectorCode.h - Code for the vectors of this processor ----*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The compiler itself is built for the least of its processors. Loops that take
// its time are templates on the width of a vector, inlined to one function for
// each kind of processor, and which of them runs is chosen when it runs.
//
//===----------------------------------------------------------------------===//

#ifndef NJU_SUPPORT_VECTORCODE_H
#define NJU_SUPPORT_VECTORCODE_H

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace nju {

/// What is inlined to the variants for processors; a function of its own would
/// be compiled for the least of them.
#define NJU_INLINE inline __attribute__((always_inline))

#if defined(__x86_64__)
#define NJU_TARGET_AVX512                                                      \
  __attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")))
#define NJU_TARGET_AVX2 __attribute__((target("avx2,fma")))
#endif

namespace detail {
template <int Width>
struct VectorTypes {
  typedef float Vector __attribute__((vector_size(Width * 4)));
  typedef int32_t Mask __attribute__((vector_size(Width * 4)));
};
} // namespace detail

/// `Width` floats.
template <int Width>
using Vector = typename detail::VectorTypes<Width>::Vector;
/// What comparisons of them give.
template <int Width>
using Mask = typename detail::VectorTypes<Width>::Mask;

template <int Width>
NJU_INLINE Vector<Width> load(const float *from) {
  Vector<Width> vector;
  std::memcpy(&vector, from, sizeof(vector));
  return vector;
}
template <int Width>
NJU_INLINE void store(float *to, Vector<Width> vector) {
  std::memcpy(to, &vector, sizeof(vector));
}

/// Of variants for AVX-512, AVX2 with FMA, and the least x86-64 (on another
/// architecture one variant only), the first that this processor runs.
size_t getFirstVariant();

} // namespace nju

#endif // NJU_SUPPORT_VECTORCODE_H
