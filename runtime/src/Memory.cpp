//===- Memory.cpp - Anonymous memory and what is left of it ---------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Memory.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

using namespace nju;

static constexpr uint64_t unknown = std::numeric_limits<uint64_t>::max();

/// What the kernel makes of MADV_HUGEPAGE on x86-64 and aarch64.
static constexpr uint64_t hugePageSize = 2 << 20;

Mapping::~Mapping() {
  if (data)
    munmap(data, size);
}

bool Mapping::reserve(uint64_t bytes, bool hugePages) {
  if (bytes == 0)
    return true;
  if (bytes > std::numeric_limits<size_t>::max() / 2)
    return false;
  // Older kernels place a mapping at any page: a large page is cut out of more.
  uint64_t page = sysconf(_SC_PAGESIZE);
  uint64_t spare = hugePages ? hugePageSize - page : 0;
  uint64_t whole = (bytes + page - 1) / page * page;
  void *address = mmap(nullptr, whole + spare, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED)
    return false;
  data = static_cast<uint8_t *>(address);
  size = bytes;
  if (!hugePages)
    return true;
  uint64_t before = -reinterpret_cast<uintptr_t>(address) % hugePageSize;
  if (before)
    munmap(data, before);
  data += before;
  if (before < spare)
    munmap(data + whole, spare - before);
  madvise(data, whole, MADV_HUGEPAGE);
  return true;
}

/// Reads a file of one number; `unknown` if there is none ("max" included).
static uint64_t readNumber(const char *path) {
  unsigned long long value;
  FILE *file = fopen(path, "re");
  if (!file)
    return unknown;
  bool read = fscanf(file, "%llu", &value) == 1;
  fclose(file);
  return read ? value : unknown;
}

/// Finds `key` in a file of "key value" lines; `unknown` if it is not there.
static uint64_t readField(const char *path, const char *key) {
  FILE *file = fopen(path, "re");
  if (!file)
    return unknown;
  char name[128];
  unsigned long long value;
  uint64_t result = unknown;
  while (fscanf(file, "%127s %llu%*[^\n]", name, &value) == 2)
    if (!strcmp(name, key)) {
      result = value;
      break;
    }
  fclose(file);
  return result;
}

uint64_t nju::getAvailableMemory() {
  uint64_t available = unknown;
  uint64_t free = readField("/proc/meminfo", "MemAvailable:");
  uint64_t swap = readField("/proc/meminfo", "SwapFree:");
  if (free != unknown)
    available = (free + (swap == unknown ? 0 : swap)) * 1024;

  uint64_t limit = readNumber("/sys/fs/cgroup/memory.max");
  uint64_t used = readNumber("/sys/fs/cgroup/memory.current");
  if (limit == unknown || used == unknown)
    return available;
  // Cached file pages are given back under pressure.
  uint64_t cached = readField("/sys/fs/cgroup/memory.stat", "file");
  if (cached != unknown)
    used -= std::min(used, cached);
  return std::min(available, limit - std::min(limit, used));
}

/// The number in `text`; 0 if there is none from 1 to maxCores.
static int32_t parseCores(const char *text) {
  char *rest;
  long cores = strtol(text, &rest, 10);
  bool isNumber = *text >= '0' && *text <= '9' && !*rest;
  return isNumber && cores >= 1 && cores <= maxCores ? cores : 0;
}

int32_t nju::getAvailableCores() {
  if (const char *given = getenv("NJU_CORES"))
    return parseCores(given);
  cpu_set_t set;
  int cores = 1;
  if (sched_getaffinity(0, sizeof(set), &set) == 0)
    cores = std::max(1, CPU_COUNT(&set));
  if (FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re")) {
    unsigned long long quota, period;
    if (fscanf(file, "%llu %llu", &quota, &period) == 2 && period)
      cores = std::min<unsigned long long>(
          cores, std::max(1ull, (quota + period - 1) / period));
    fclose(file);
  }
  return std::min(cores, maxCores);
}
