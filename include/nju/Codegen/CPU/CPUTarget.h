//===- CPUTarget.h - The processor to generate code for ---------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_CODEGEN_CPU_CPUTARGET_H
#define NJU_CODEGEN_CPU_CPUTARGET_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <string>
#include <vector>

namespace nju {

/// What products are computed in. In bf16, weights and rows are rounded to bf16
/// and their products added in f32, by AMX.
enum class ComputeType {
  F32,
  Auto, ///< bf16 with bf16 weights, which lose nothing by it; else f32.
  BF16  ///< bf16 with bf16 and f16 weights, f32 with f32 weights.
};

/// An x86-64 processor with AVX2 and FMA or better, or an aarch64 one. A value
/// type; const functions may be called from any thread.
class CPUTarget {
public:
  /// The processor that `name` means: `host`, `x86-64-v3`, `x86-64-v4`,
  /// `x86-64-v4-vnni`, `x86-64-v4-amx`, `aarch64`, or a processor name that
  /// LLVM knows. Fails, with a message that lists what is accepted, for another
  /// name and for an x86-64 processor without AVX2, FMA and F16C. With
  /// `+emulated-amx` or `+emulated-avx512bf16` behind the name, products in
  /// bf16 are computed as these would by other instructions, slowly.
  static llvm::Expected<CPUTarget> get(llvm::StringRef name);

  /// The processors that --target=`name` means, those that need most first:
  /// `x86-64` means several, whose code goes into one library; every other name
  /// one.
  static llvm::Expected<std::vector<CPUTarget>>
  getVariants(llvm::StringRef name);

  /// The name that `get` was given.
  llvm::StringRef getName() const { return name; }
  /// The same, but the processor's own name for `host`: how the signature calls
  /// the code.
  llvm::StringRef getVariantName() const { return name == "host" ? cpu : name; }
  llvm::StringRef getTriple() const { return triple; }
  bool isX86() const { return x86; }

  /// The processor that code is tuned for, by LLVM's name.
  llvm::StringRef getCPU() const { return cpu; }
  /// LLVM's -mcpu: the least processor of the architecture. What code may use
  /// beyond it is in `getFeatures` alone, so that a host whose name promises
  /// more than its CPUID (a virtual machine) gets no code that it cannot run.
  llvm::StringRef getBaseCPU() const { return x86 ? "x86-64" : "generic"; }
  /// LLVM's -mattr: "+avx2,+fma,...".
  const std::string &getFeatures() const { return features; }
  /// Features that the generated code may use, by LLVM's names and sorted: what
  /// the signature lists and the runtime checks (docs/abi.md).
  llvm::ArrayRef<std::string> getRequiredFeatures() const { return required; }
  bool hasFeature(llvm::StringRef feature) const;

  bool hasAVX512() const { return avx512; }
  /// Whether tiles of bf16 can be multiplied, by AMX or as if by it.
  bool hasAMXBF16() const;
  /// Whether pairs of bf16 can be multiplied, by AVX512-BF16 or as if by it.
  bool hasPairsOfBF16() const;
  /// Whether that is faster than multiplying in f32.
  bool hasFastPairsOfBF16() const { return zen && hasPairsOfBF16(); }
  bool emulatesBF16() const { return emulated != Emulated::None; }
  /// f32 elements of a vector register: 4 (NEON), 8 or 16.
  int64_t getVectorLanes() const { return !x86 ? 4 : avx512 ? 16 : 8; }
  /// Number of vector registers: 16 or 32.
  int64_t getVectorRegisters() const { return x86 && !avx512 ? 16 : 32; }

  /// Linear streams that one thread reads weights in at once, and how many
  /// bytes ahead of each it prefetches (0: the hardware does it better). By
  /// measurement: bench/README.md, "Reading weights".
  int64_t getReadStreams() const { return readStreams; }
  int64_t getPrefetchBytes() const { return prefetchBytes; }
  /// The same for products of several rows, which read one stream, and whose
  /// arithmetic takes about as long as reading and has to overlap with it:
  /// bench/README.md, "Several rows at once".
  int64_t getBlockPrefetchBytes() const { return 4096; }
  /// Whether products of many rows widen f16 and bf16 weights before their
  /// inner loops rather than in them: bench/README.md, "Staged weights".
  bool stagesWeights() const { return x86 && !zen; }
  /// Whether a multiply-add had better load the element that it multiplies a
  /// register by than share a broadcast with its neighbour: bench/README.md,
  /// "Factors from memory".
  bool embedsBroadcasts() const { return avx512 && zen; }

private:
  CPUTarget() = default;

  std::string name, cpu, triple, features;
  std::vector<std::string> required;
  enum class Emulated { None, AMX, AVX512BF16 };
  Emulated emulated = Emulated::None;
  bool x86 = true, avx512 = false, zen = false;
  int64_t readStreams = 2, prefetchBytes = 2048;
};

/// The type that `name` (the value of --compute: `auto`, `f32` or `bf16`) means
/// on `target`; `auto` is f32 where bf16 is not faster. Fails for another name,
/// and for bf16 on a target that cannot multiply it.
llvm::Expected<ComputeType> getComputeType(llvm::StringRef name,
                                           const CPUTarget &target);

} // namespace nju

#endif // NJU_CODEGEN_CPU_CPUTARGET_H
