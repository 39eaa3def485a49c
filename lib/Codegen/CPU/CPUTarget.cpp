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
#include "llvm/TargetParser/AArch64TargetParser.h"
#include "llvm/TargetParser/Host.h"
#include "llvm/TargetParser/Triple.h"
#include "llvm/TargetParser/X86TargetParser.h"

using namespace llvm;

/// What generated code may use beyond SSE2 and what CPUID tells about: the
/// runtime checks each of them. Kept sorted.
static constexpr StringLiteral kX86Features[] = {
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
/// The same for aarch64, beyond NEON and what the kernel's AT_HWCAP tells
/// about. SVE is left out: kernels have vectors of a fixed length.
static constexpr StringLiteral kAArch64Features[] = {
    "bf16", "dotprod", "fp16fml", "fullfp16", "i8mm", "lse", "rdm"};

/// What every x86-64 kernel needs.
static constexpr StringLiteral kNeeded[] = {"avx2", "f16c", "fma"};
/// What the 512-bit kernels need.
static constexpr StringLiteral kNeeded512[] = {"avx512bw", "avx512dq",
                                               "avx512f", "avx512vl"};

/// Names of our own: a level of the x86-64 psABI and more. The code of a
/// library for `x86-64` is that of these and of the levels themselves.
namespace {
struct ExtendedLevel {
  StringLiteral name, level;
  ArrayRef<StringLiteral> features;
};
} // namespace
static constexpr StringLiteral kVNNI[] = {"avx512vnni"};
static constexpr StringLiteral kBF16[] = {"avx512bf16", "avx512vbmi",
                                          "avx512vnni"};
static constexpr StringLiteral kAMX[] = {"amx-bf16",   "amx-int8",
                                         "amx-tile",   "avx512bf16",
                                         "avx512vbmi", "avx512vnni"};
static const ExtendedLevel kExtendedLevels[] = {
    {"x86-64-v4-amx", "x86-64-v4", kAMX},
    {"x86-64-v4-bf16", "x86-64-v4", kBF16},
    {"x86-64-v4-vnni", "x86-64-v4", kVNNI},
};
/// What `x86-64` means, the most demanding first.
static constexpr StringLiteral kVariants[] = {"x86-64-v4-amx", "x86-64-v4-bf16",
                                              "x86-64-v4-vnni", "x86-64-v4",
                                              "x86-64-v3"};

//===----------------------------------------------------------------------===//
// Features by name
//===----------------------------------------------------------------------===//

/// Features of a processor that LLVM knows by name, with those they imply.
static StringSet<> x86Features(StringRef cpu) {
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

static StringSet<> aarch64Features(const AArch64::CpuInfo &cpu) {
  std::vector<StringRef> list;
  AArch64::getExtensionFeatures(cpu.getImpliedExtensions(), list);
  StringSet<> set;
  for (StringRef feature : list)
    if (feature.consume_front("+"))
      set.insert(feature);
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

//===----------------------------------------------------------------------===//
// Processors by name
//===----------------------------------------------------------------------===//

namespace {
struct Processor {
  std::string cpu; ///< LLVM's name.
  bool x86;
  StringSet<> features;
};
} // namespace

static std::optional<Processor> findProcessor(StringRef name) {
  if (name == "host")
    return Processor{sys::getHostCPUName().str(),
                     Triple(sys::getDefaultTargetTriple()).isX86(),
                     hostFeatures()};
  for (const ExtendedLevel &extended : kExtendedLevels)
    if (name == extended.name) {
      StringSet<> features = x86Features(extended.level);
      features.insert(extended.features.begin(), extended.features.end());
      return Processor{extended.level.str(), true, features};
    }
  if (X86::parseArchX86(name, /*Only64Bit=*/true) != X86::CK_None)
    return Processor{name.str(), true, x86Features(name)};
  if (name == "aarch64")
    return Processor{"generic", false, {}};
  if (auto cpu = AArch64::parseCpu(AArch64::resolveCPUAlias(name)))
    return Processor{cpu->Name.str(), false, aarch64Features(*cpu)};
  return std::nullopt;
}

//===----------------------------------------------------------------------===//
// Accepted names
//===----------------------------------------------------------------------===//

static SmallVector<StringRef> acceptedNames() {
  SmallVector<StringRef> names = {"host", "x86-64"};
  names.append(std::rbegin(kVariants), std::rend(kVariants));
  names.push_back("aarch64");
  SmallVector<StringRef> all;
  X86::fillValidCPUArchList(all, /*Only64Bit=*/true);
  for (StringRef name : all)
    if (!name.starts_with("x86-64") && hasAll(x86Features(name), kNeeded))
      names.push_back(name);
  all.clear();
  AArch64::fillValidCPUArchList(all);
  names.append(all.begin(), all.end());
  return names;
}

static Error unknownTarget(StringRef name) {
  SmallVector<StringRef> names = acceptedNames();
  StringRef closest;
  unsigned least = name.size() / 3 + 1;
  for (StringRef candidate : names) {
    unsigned distance = name.edit_distance(candidate, true, least);
    if (distance < least) {
      least = distance;
      closest = candidate;
    }
  }
  std::string hint =
      closest.empty() ? "" : ", did you mean '" + closest.str() + "'";
  return createStringError("unknown target '" + name + "'" + hint +
                           "; expected one of: " + join(names, ", "));
}

//===----------------------------------------------------------------------===//
// CPUTarget
//===----------------------------------------------------------------------===//

bool nju::CPUTarget::hasFeature(StringRef feature) const {
  return is_contained(required, feature);
}

bool nju::CPUTarget::hasAMXBF16() const {
  if (emulatesBF16())
    return emulated == Emulated::AMX;
  return avx512 && hasFeature("amx-tile") && hasFeature("amx-bf16") &&
         hasFeature("avx512bf16");
}

bool nju::CPUTarget::hasPairsOfBF16() const {
  return emulatesBF16() || (avx512 && hasFeature("avx512bf16"));
}

Expected<nju::CPUTarget> nju::CPUTarget::get(StringRef name) {
  if (name == "x86-64")
    return createStringError("target 'x86-64' means several processors, "
                             "expected one of them: " +
                             join(ArrayRef(kVariants), ", "));
  CPUTarget target;
  target.name = name.str();
  if (name.consume_back("+emulated-amx"))
    target.emulated = Emulated::AMX;
  else if (name.consume_back("+emulated-avx512bf16"))
    target.emulated = Emulated::AVX512BF16;
  std::optional<Processor> processor = findProcessor(name);
  if (!processor)
    return unknownTarget(name);
  const StringSet<> &set = processor->features;
  if (processor->x86 && !hasAll(set, kNeeded))
    return createStringError("target '" + name + "' (" + processor->cpu +
                             ") lacks AVX2, FMA or F16C, expected one of: " +
                             join(acceptedNames(), ", "));
  target.cpu = processor->cpu;
  target.x86 = processor->x86;
  target.triple =
      target.x86 ? "x86_64-unknown-linux-gnu" : "aarch64-unknown-linux-gnu";
  target.avx512 = target.x86 && hasAll(set, kNeeded512);
  ArrayRef<StringLiteral> known = kAArch64Features;
  if (target.x86)
    known = kX86Features;
  for (StringRef feature : known)
    if (set.contains(feature) &&
        !(target.emulatesBF16() &&
          (feature.starts_with("amx-") || feature == "avx512bf16"))) {
      target.features += (target.required.empty() ? "+" : ",+") + feature.str();
      target.required.push_back(feature.str());
    }
  // Zen's own prefetchers keep four streams at the speed of a plain read;
  // prefetch instructions cost a fifth of it.
  if (StringRef(target.cpu).starts_with("znver")) {
    target.zen = true;
    target.readStreams = 4;
    target.prefetchBytes = 0;
  }
  return target;
}

Expected<std::vector<nju::CPUTarget>>
nju::CPUTarget::getVariants(StringRef name) {
  std::vector<CPUTarget> targets;
  SmallVector<StringRef> names = {name};
  if (name == "x86-64")
    names.assign(std::begin(kVariants), std::end(kVariants));
  for (StringRef variant : names) {
    Expected<CPUTarget> target = get(variant);
    if (!target)
      return target.takeError();
    targets.push_back(std::move(*target));
  }
  return targets;
}

Expected<nju::ComputeType> nju::getComputeType(StringRef name,
                                               const CPUTarget &target) {
  bool isFast = target.hasAMXBF16() || target.hasFastPairsOfBF16();
  if (name == "f32" || (name == "auto" && !isFast))
    return ComputeType::F32;
  if (name != "auto" && name != "bf16")
    return createStringError("unknown type '" + name +
                             "' to compute in, expected auto, f32 or bf16");
  if (!target.hasAMXBF16() && !target.hasPairsOfBF16())
    return createStringError(
        "computing in bf16 needs a target with AMX or AVX512-BF16, such as "
        "sapphirerapids or znver4; '" +
        target.getName() + "' (" + target.getCPU() +
        ") lacks avx512bf16, and amx-tile or amx-bf16");
  return name == "auto" ? ComputeType::Auto : ComputeType::BF16;
}
