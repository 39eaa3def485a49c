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

/// An x86-64 processor with AVX2 and FMA, or better. A value type; const
/// functions may be called from any thread.
class CPUTarget {
public:
  /// The processor that `name` (the value of --target) means: `host`,
  /// `x86-64-v3`, `x86-64-v4`, or a processor name that LLVM knows. Fails, with
  /// a message that lists what is accepted, for another name and for a
  /// processor without AVX2, FMA and F16C.
  static llvm::Expected<CPUTarget> get(llvm::StringRef name);

  /// The name that `get` was given.
  llvm::StringRef getName() const { return name; }
  /// LLVM's -mcpu.
  llvm::StringRef getCPU() const { return cpu; }
  /// LLVM's -mattr: "+avx2,+fma,...".
  const std::string &getFeatures() const { return features; }
  /// Features that the generated code may use, by LLVM's names and sorted: what
  /// the signature lists and the runtime checks (docs/abi.md).
  llvm::ArrayRef<std::string> getRequiredFeatures() const { return required; }

  bool hasAVX512() const { return avx512; }
  /// f32 elements of a vector register: 8 or 16.
  int64_t getVectorLanes() const { return avx512 ? 16 : 8; }
  /// Number of vector registers: 16 or 32.
  int64_t getVectorRegisters() const { return avx512 ? 32 : 16; }

  /// Linear streams that one thread reads weights in at once, and how many
  /// bytes ahead of each it prefetches (0: the hardware does it better). By
  /// measurement: bench/README.md, "Reading weights".
  int64_t getReadStreams() const { return readStreams; }
  int64_t getPrefetchBytes() const { return prefetchBytes; }

private:
  CPUTarget() = default;

  std::string name, cpu, features;
  std::vector<std::string> required;
  bool avx512 = false;
  int64_t readStreams = 2, prefetchBytes = 2048;
};

} // namespace nju

#endif // NJU_CODEGEN_CPU_CPUTARGET_H
