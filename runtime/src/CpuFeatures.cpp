//===- CpuFeatures.cpp - CPU features by LLVM's names ---------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Bit positions: Intel 64 and IA-32 Architectures Software Developer's Manual,
// volume 2, CPUID; AMD64 Architecture Programmer's Manual, volume 3, appendix
// E. For aarch64: Documentation/arch/arm64/elf_hwcaps.rst of Linux.
//
//===----------------------------------------------------------------------===//

#include "CpuFeatures.h"

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__)
#include <cstdio>
#include <sys/auxv.h>
#endif

using namespace nju;

#if defined(__x86_64__)

namespace {
enum Register { EAX, EBX, ECX, EDX };

/// Register state that the operating system must save, as XCR0 bits.
enum OsState : uint64_t {
  None = 0,
  Ymm = 0x6,          // SSE and AVX
  Zmm = 0xe6,         // ... opmask, upper halves, upper registers
  Tiles = 0x60000,    // AMX configuration and data
  Extended = 0x80000, // APX
};

struct Feature {
  const char *name;
  uint32_t leaf, subleaf;
  Register reg;
  int bit;
  OsState state;
};
} // namespace

static const Feature features[] = {
    {"x87", 1, 0, EDX, 0, None},
    {"cx8", 1, 0, EDX, 8, None},
    {"cmov", 1, 0, EDX, 15, None},
    {"mmx", 1, 0, EDX, 23, None},
    {"fxsr", 1, 0, EDX, 24, None},
    {"sse", 1, 0, EDX, 25, None},
    {"sse2", 1, 0, EDX, 26, None},
    {"sse3", 1, 0, ECX, 0, None},
    {"pclmul", 1, 0, ECX, 1, None},
    {"ssse3", 1, 0, ECX, 9, None},
    {"fma", 1, 0, ECX, 12, Ymm},
    {"cx16", 1, 0, ECX, 13, None},
    {"sse4.1", 1, 0, ECX, 19, None},
    {"sse4.2", 1, 0, ECX, 20, None},
    {"crc32", 1, 0, ECX, 20, None},
    {"movbe", 1, 0, ECX, 22, None},
    {"popcnt", 1, 0, ECX, 23, None},
    {"aes", 1, 0, ECX, 25, None},
    {"xsave", 1, 0, ECX, 27, None}, // OSXSAVE: enabled by the system
    {"avx", 1, 0, ECX, 28, Ymm},
    {"f16c", 1, 0, ECX, 29, Ymm},
    {"rdrnd", 1, 0, ECX, 30, None},
    {"fsgsbase", 7, 0, EBX, 0, None},
    {"sgx", 7, 0, EBX, 2, None},
    {"bmi", 7, 0, EBX, 3, None},
    {"avx2", 7, 0, EBX, 5, Ymm},
    {"bmi2", 7, 0, EBX, 8, None},
    {"invpcid", 7, 0, EBX, 10, None},
    {"rtm", 7, 0, EBX, 11, None},
    {"avx512f", 7, 0, EBX, 16, Zmm},
    {"avx512dq", 7, 0, EBX, 17, Zmm},
    {"rdseed", 7, 0, EBX, 18, None},
    {"adx", 7, 0, EBX, 19, None},
    {"avx512ifma", 7, 0, EBX, 21, Zmm},
    {"clflushopt", 7, 0, EBX, 23, None},
    {"clwb", 7, 0, EBX, 24, None},
    {"avx512cd", 7, 0, EBX, 28, Zmm},
    {"sha", 7, 0, EBX, 29, None},
    {"avx512bw", 7, 0, EBX, 30, Zmm},
    {"avx512vl", 7, 0, EBX, 31, Zmm},
    {"avx512vbmi", 7, 0, ECX, 1, Zmm},
    {"pku", 7, 0, ECX, 4, None}, // OSPKE
    {"waitpkg", 7, 0, ECX, 5, None},
    {"avx512vbmi2", 7, 0, ECX, 6, Zmm},
    {"shstk", 7, 0, ECX, 7, None},
    {"gfni", 7, 0, ECX, 8, None},
    {"vaes", 7, 0, ECX, 9, Ymm},
    {"vpclmulqdq", 7, 0, ECX, 10, Ymm},
    {"avx512vnni", 7, 0, ECX, 11, Zmm},
    {"avx512bitalg", 7, 0, ECX, 12, Zmm},
    {"avx512vpopcntdq", 7, 0, ECX, 14, Zmm},
    {"rdpid", 7, 0, ECX, 22, None},
    {"cldemote", 7, 0, ECX, 25, None},
    {"movdiri", 7, 0, ECX, 27, None},
    {"movdir64b", 7, 0, ECX, 28, None},
    {"enqcmd", 7, 0, ECX, 29, None},
    {"uintr", 7, 0, EDX, 5, None},
    {"avx512vp2intersect", 7, 0, EDX, 8, Zmm},
    {"serialize", 7, 0, EDX, 14, None},
    {"tsxldtrk", 7, 0, EDX, 16, None},
    {"pconfig", 7, 0, EDX, 18, None},
    {"amx-bf16", 7, 0, EDX, 22, Tiles},
    {"avx512fp16", 7, 0, EDX, 23, Zmm},
    {"amx-tile", 7, 0, EDX, 24, Tiles},
    {"amx-int8", 7, 0, EDX, 25, Tiles},
    {"sha512", 7, 1, EAX, 0, Ymm},
    {"sm3", 7, 1, EAX, 1, Ymm},
    {"sm4", 7, 1, EAX, 2, Ymm},
    {"raoint", 7, 1, EAX, 3, None},
    {"avxvnni", 7, 1, EAX, 4, Ymm},
    {"avx512bf16", 7, 1, EAX, 5, Zmm},
    {"cmpccxadd", 7, 1, EAX, 7, None},
    {"amx-fp16", 7, 1, EAX, 21, Tiles},
    {"hreset", 7, 1, EAX, 22, None},
    {"avxifma", 7, 1, EAX, 23, Ymm},
    {"movrs", 7, 1, EAX, 31, None},
    {"avxvnniint8", 7, 1, EDX, 4, Ymm},
    {"avxneconvert", 7, 1, EDX, 5, Ymm},
    {"amx-complex", 7, 1, EDX, 8, Tiles},
    {"avxvnniint16", 7, 1, EDX, 10, Ymm},
    {"prefetchi", 7, 1, EDX, 14, None},
    {"usermsr", 7, 1, EDX, 15, None},
    {"avx10.1", 7, 1, EDX, 19, Zmm},
    // LLVM's parts of APX, which is one bit.
    {"egpr", 7, 1, EDX, 21, Extended},
    {"ccmp", 7, 1, EDX, 21, Extended},
    {"ndd", 7, 1, EDX, 21, Extended},
    {"nf", 7, 1, EDX, 21, Extended},
    {"ppx", 7, 1, EDX, 21, Extended},
    {"push2pop2", 7, 1, EDX, 21, Extended},
    {"zu", 7, 1, EDX, 21, Extended},
    {"xsaveopt", 0xd, 1, EAX, 0, None},
    {"xsavec", 0xd, 1, EAX, 1, None},
    {"xsaves", 0xd, 1, EAX, 3, None},
    {"ptwrite", 0x14, 0, EBX, 4, None},
    {"kl", 0x19, 0, EBX, 0, None},
    {"widekl", 0x19, 0, EBX, 2, None},
    {"amx-fp8", 0x1e, 1, EAX, 4, Tiles},
    {"amx-tf32", 0x1e, 1, EAX, 6, Tiles},
    {"amx-avx512", 0x1e, 1, EAX, 7, Tiles},
    {"amx-movrs", 0x1e, 1, EAX, 8, Tiles},
    {"avx10.2", 0x24, 0, EBX, 1, Zmm}, // the version's bit: 2 or 3
    {"sahf", 0x80000001, 0, ECX, 0, None},
    {"lzcnt", 0x80000001, 0, ECX, 5, None},
    {"sse4a", 0x80000001, 0, ECX, 6, None},
    {"prfchw", 0x80000001, 0, ECX, 8, None},
    {"xop", 0x80000001, 0, ECX, 11, Ymm},
    {"lwp", 0x80000001, 0, ECX, 15, None},
    {"fma4", 0x80000001, 0, ECX, 16, Ymm},
    {"tbm", 0x80000001, 0, ECX, 21, None},
    {"mwaitx", 0x80000001, 0, ECX, 29, None},
    {"64bit", 0x80000001, 0, EDX, 29, None},
    {"clzero", 0x80000008, 0, EBX, 0, None},
    {"rdpru", 0x80000008, 0, EBX, 4, None},
    {"wbnoinvd", 0x80000008, 0, EBX, 9, None},
};

/// Reads a cpuid leaf; zeros if the processor does not know it.
static void readLeaf(uint32_t leaf, uint32_t subleaf, uint32_t (&regs)[4]) {
  memset(regs, 0, sizeof(regs));
  __get_cpuid_count(leaf, subleaf, &regs[EAX], &regs[EBX], &regs[ECX],
                    &regs[EDX]);
  // Structured extended features: the main leaf counts the subleaves.
  if (leaf == 7 && subleaf) {
    uint32_t main[4] = {};
    __get_cpuid_count(7, 0, &main[EAX], &main[EBX], &main[ECX], &main[EDX]);
    if (main[EAX] < subleaf)
      memset(regs, 0, sizeof(regs));
  }
}

/// XCR0: the register state that the operating system saves.
static uint64_t readOsState() {
  uint32_t regs[4];
  readLeaf(1, 0, regs);
  if (!(regs[ECX] >> 27 & 1))
    return 0;
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t(high) << 32 | low;
}

/// Linux gives a process the tile registers on request only: they make the
/// frames of signals larger. See Documentation/arch/x86/xstate.rst.
static bool requestTiles() {
  constexpr int requestPermission = 0x1023; // ARCH_REQ_XCOMP_PERM
  constexpr int tileData = 18;              // XFEATURE_XTILEDATA
  static const bool granted =
      syscall(SYS_arch_prctl, requestPermission, tileData) == 0;
  return granted;
}

static bool isPresent(const Feature &feature) {
  uint32_t regs[4];
  readLeaf(feature.leaf, feature.subleaf, regs);
  return (regs[feature.reg] >> feature.bit & 1) &&
         (readOsState() & feature.state) == feature.state &&
         (feature.state != Tiles || requestTiles());
}

std::string nju::getCpuName() {
  uint32_t regs[4];
  readLeaf(0x80000000, 0, regs);
  if (regs[EAX] < 0x80000004)
    return "unknown processor";
  char text[49] = {};
  for (uint32_t i = 0; i < 3; ++i) {
    readLeaf(0x80000002 + i, 0, regs);
    memcpy(text + 16 * i, regs, 16);
  }
  std::string name = text;
  size_t begin = name.find_first_not_of(' ');
  size_t end = name.find_last_not_of(' ');
  return begin == std::string::npos ? "unknown processor"
                                    : name.substr(begin, end - begin + 1);
}

#elif defined(__aarch64__)

namespace {
struct Feature {
  const char *name;
  unsigned long vector; ///< AT_HWCAP or AT_HWCAP2
  uint64_t bits;        ///< All of them.
};
} // namespace

static const Feature features[] = {
    {"fp-armv8", AT_HWCAP, 1 << 0}, {"neon", AT_HWCAP, 1 << 1},
    {"lse", AT_HWCAP, 1 << 8},      {"fullfp16", AT_HWCAP, 1 << 9 | 1 << 10},
    {"rdm", AT_HWCAP, 1 << 12},     {"dotprod", AT_HWCAP, 1 << 20},
    {"sve", AT_HWCAP, 1 << 22},     {"fp16fml", AT_HWCAP, 1 << 23},
    {"sve2", AT_HWCAP2, 1 << 1},    {"i8mm", AT_HWCAP2, 1 << 13},
    {"bf16", AT_HWCAP2, 1 << 14},
};

static bool isPresent(const Feature &feature) {
  return (getauxval(feature.vector) & feature.bits) == feature.bits;
}

/// Implementer and part, which tools turn into a name.
std::string nju::getCpuName() {
  unsigned implementer = 0, part = 0;
  char line[256];
  FILE *file = fopen("/proc/cpuinfo", "re");
  while (file && fgets(line, sizeof(line), file)) {
    sscanf(line, "CPU implementer : %x", &implementer);
    sscanf(line, "CPU part : %x", &part);
  }
  if (file)
    fclose(file);
  if (!implementer)
    return "unknown processor";
  snprintf(line, sizeof(line), "aarch64, implementer 0x%x, part 0x%x",
           implementer, part);
  return line;
}

#else
#error "this machine is not supported"
#endif

FeatureState nju::getCpuFeature(const std::string &name) {
  for (const Feature &feature : features)
    if (name == feature.name)
      return isPresent(feature) ? FeatureState::Present : FeatureState::Missing;
  return FeatureState::Unknown;
}

std::vector<std::string> nju::getCpuFeatures() {
  std::vector<std::string> names;
  for (const Feature &feature : features)
    if (isPresent(feature))
      names.push_back(feature.name);
  return names;
}
