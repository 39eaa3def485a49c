//===- CPUTarget.cpp - The processor to generate code for -------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Codegen/CPU/CPUTarget.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/TargetParser/Host.h"
#include "llvm/TargetParser/X86TargetParser.h"

using namespace llvm;

/// What generated code may use beyond SSE2 and what CPUID tells about: the
/// runtime checks each of them. Kept sorted.
static constexpr StringLiteral kFeatures[] = {
    "amx-bf16",     "amx-int8",   "amx-tile",
    "avx",          "avx2",       "avx512bf16",
    "avx512bitalg", "avx512bw",   "avx512cd",
    "avx512dq",     "avx512f",    "avx512fp16",
    "avx512ifma",   "avx512vbmi", "avx512vbmi2",
    "avx512vl",     "avx512vnni", "avx512vpopcntdq",
    "avxvnni",      "bmi",        "bmi2",
    "f16c",         "fma",        "gfni",
    "lzcnt",        "movbe",      "popcnt",
    "sse3",         "sse4.1",     "sse4.2",
    "ssse3"};

/// What every kernel needs.
static constexpr StringLiteral kNeeded[] = {"avx2", "f16c", "fma"};
/// What the 512-bit kernels need.
static constexpr StringLiteral kNeeded512[] = {"avx512bw", "avx512dq",
                                               "avx512f", "avx512vl"};

/// Features of a processor that LLVM knows by name, with those they imply.
static StringSet<> featuresOf(StringRef cpu) {
  SmallVector<StringRef> list;
  X86::getFeaturesForCPU(cpu, list);
  StringMap<bool> all;
  for (StringRef feature : list) {
    all[feature] = true;
    X86::updateImpliedFeatures(feature, /*Enabled=*/true, all);
  }
  StringSet<> set;
  for (auto &feature : all)
    if (feature.second)
      set.insert(feature.first());
  return set;
}

static StringSet<> hostFeatures() {
  StringSet<> set;
  for (auto &feature : sys::getHostCPUFeatures())
    if (feature.second)
      set.insert(feature.first());
  return set;
}

static bool hasAll(const StringSet<> &set, ArrayRef<StringLiteral> wanted) {
  return all_of(wanted, [&](StringRef name) { return set.contains(name); });
}

/// "host, x86-64-v3, ...": every accepted name.
static std::string acceptedNames() {
  SmallVector<StringRef> all;
  X86::fillValidCPUArchList(all, /*Only64Bit=*/true);
  std::string names = "host, x86-64-v3, x86-64-v4";
  for (StringRef name : all)
    if (!name.starts_with("x86-64") && hasAll(featuresOf(name), kNeeded))
      names += (", " + name).str();
  return names;
}

Expected<nju::CPUTarget> nju::CPUTarget::get(StringRef name) {
  CPUTarget target;
  target.name = name.str();
  StringSet<> set;
  if (name == "host") {
    target.cpu = sys::getHostCPUName().str();
    set = hostFeatures();
  } else if (X86::parseArchX86(name, /*Only64Bit=*/true) != X86::CK_None) {
    target.cpu = name.str();
    set = featuresOf(name);
  } else {
    return createStringError("unknown target '" + name +
                             "', expected one of: " + acceptedNames());
  }
  if (!hasAll(set, kNeeded))
    return createStringError(
        "target '" + name + "' (" + target.cpu +
        ") lacks AVX2, FMA or F16C, expected one of: " + acceptedNames());
  target.avx512 = hasAll(set, kNeeded512);
  // Name every feature that the runtime can check, present or absent: a host
  // whose name promises more than its CPUID (a virtual machine) must not get
  // code that it cannot run.
  SmallVector<std::string> flags;
  for (StringRef feature : kFeatures) {
    bool present = set.contains(feature);
    flags.push_back(((present ? "+" : "-") + feature).str());
    if (present)
      target.required.push_back(feature.str());
  }
  target.features = join(flags, ",");
  // Zen's own prefetchers keep four streams at the speed of a plain read;
  // prefetch instructions cost a fifth of it.
  if (StringRef(target.cpu).starts_with("znver")) {
    target.readStreams = 4;
    target.prefetchBytes = 0;
  }
  return target;
}
