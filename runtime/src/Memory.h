//===- Memory.h - Anonymous memory and what is left of it -------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_RUNTIME_MEMORY_H
#define NJU_RUNTIME_MEMORY_H

#include <cstddef>
#include <cstdint>

namespace nju {

/// Zeroed anonymous memory whose pages are committed when first touched.
class Mapping {
public:
  Mapping() = default;
  ~Mapping();
  Mapping(const Mapping &) = delete;
  Mapping &operator=(const Mapping &) = delete;

  /// Reserves `size` bytes (page aligned); false if the address space has no
  /// room. With `hugePages` they begin at a large page, and the kernel is asked
  /// for such pages.
  bool reserve(uint64_t size, bool hugePages);

  /// Null if the size is 0.
  uint8_t *getData() const { return data; }
  uint64_t getSize() const { return size; }

private:
  uint8_t *data = nullptr;
  uint64_t size = 0;
};

/// Bytes that this process can still use without driving the machine, or its
/// control group, out of memory. Swap counts. UINT64_MAX if unknown.
uint64_t getAvailableMemory();

/// More processors than this are a mistake: OpenMP aborts on absurd numbers.
inline constexpr int maxCores = 1024;

/// Processors this process may use at once: its affinity, and its control
/// group's quota if it has one. The environment variable NJU_CORES, where it is
/// set, counts instead; 0 if it is no number from 1 to maxCores.
int32_t getAvailableCores();

} // namespace nju

#endif // NJU_RUNTIME_MEMORY_H
