//===- ProductCall.h - Calls of products with packed rows -------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_UNITTESTS_CODEGEN_CPU_PRODUCTCALL_H
#define NJU_UNITTESTS_CODEGEN_CPU_PRODUCTCALL_H

#include "KernelJIT.h"
#include "gtest/gtest.h"
#include <functional>
#include <random>
#include <thread>
#include <vector>

namespace nju::test {

inline std::vector<float> randomRows(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float &value : values)
    value = normal(random);
  return values;
}

/// What the kernels of a product are called with, and what they leave. Rows are
/// packed as elements of type `Packed`. One element more than the packed rows
/// have, and one more than the result has, must stay as they are.
template <typename Packed>
struct ProductCall {
  static constexpr float kUntouched = 12345.0f;

  ProductCall(const char *pack, std::vector<float> x, int64_t depth,
              int64_t columns, int64_t packedSize, Packed guard)
      : pack(pack), x(std::move(x)), rows(this->x.size() / depth), depth(depth),
        size(packedSize), guard(guard), packed(size + 1, guard),
        y(rows * columns + 1, kUntouched) {}

  /// Calls the kernel that packs rows, then `kernel(worker, workers)` on
  /// threads.
  std::vector<float> run(KernelJIT &jit, int64_t workers,
                         const std::function<void(int64_t, int64_t)> &kernel) {
    auto *packRows = jit.get<void(int64_t, int64_t, NJU_MEMREF2(float),
                                  NJU_MEMREF1(Packed))>(pack);
    for (int64_t w = 0; w < workers; ++w)
      packRows(w, workers, NJU_ARG2(x.data(), rows, depth),
               NJU_ARG1(packed.data(), size));
    std::vector<std::thread> threads;
    for (int64_t w = 0; w < workers; ++w)
      threads.emplace_back(kernel, w, workers);
    for (std::thread &thread : threads)
      thread.join();
    EXPECT_EQ(packed.back(), guard);
    EXPECT_EQ(y.back(), kUntouched);
    EXPECT_EQ(next, 0);
    return {y.begin(), y.end() - 1};
  }

  const char *pack; ///< The kernel's name.
  std::vector<float> x;
  int64_t rows, depth;
  int64_t size; ///< Elements of the packed rows.
  Packed guard;
  std::vector<Packed> packed;
  std::vector<float> y;
  int64_t next = 0;
};

} // namespace nju::test

#endif // NJU_UNITTESTS_CODEGEN_CPU_PRODUCTCALL_H
