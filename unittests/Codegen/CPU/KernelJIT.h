//===- KernelJIT.h - Runs library kernels in the process --------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Kernels go through the product's own lowering and -O3 pipeline; only the
// linker is replaced by LLVM's JIT.
//
//===----------------------------------------------------------------------===//

#ifndef NJU_UNITTESTS_CODEGEN_CPU_KERNELJIT_H
#define NJU_UNITTESTS_CODEGEN_CPU_KERNELJIT_H

#include "nju/Codegen/CPU/KernelLibrary.h"
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace nju::test {

class KernelJIT {
public:
  using Emitter = llvm::function_ref<mlir::func::FuncOp(KernelLibrary &)>;

  /// Compiles the kernels that the emitters make, for `target` and `compute`
  /// (values of --target and --compute); ends the program on errors.
  KernelJIT(llvm::StringRef target, llvm::ArrayRef<Emitter> emitters,
            llvm::StringRef compute = "f32");
  ~KernelJIT();

  template <typename Function>
  Function *get(llvm::StringRef name) {
    return reinterpret_cast<Function *>(address(name));
  }

private:
  void *address(llvm::StringRef name);
  struct Impl;
  std::unique_ptr<Impl> impl;
};

/// Targets whose code this machine runs: "host", and "x86-64-v3" in addition.
std::vector<std::string> runnableTargets();
/// Targets with AMX whose code this machine runs: "host", if it has it and
/// Linux gives this process the tile registers; and where it has AVX-512,
/// emulated.
std::vector<std::string> runnableTargetsWithTiles();
/// A subnormal number becomes zero.
float flush(float value);
/// bf16 as AMX and AVX512-BF16 round to it: to the nearest, ties to even, and
/// subnormal numbers are zeros.
float roundToBF16(float value);
/// Whether this machine has all that code for `target` may use.
bool isRunnable(llvm::StringRef target);

// Memrefs as the converted functions take them: parameters and arguments.
#define NJU_MEMREF1(type) type *, type *, int64_t, int64_t, int64_t
#define NJU_MEMREF2(type)                                                      \
  type *, type *, int64_t, int64_t, int64_t, int64_t, int64_t
#define NJU_MEMREF3(type)                                                      \
  type *, type *, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t
#define NJU_ARG1(data, a) data, data, 0, a, 1
#define NJU_ARG2(data, a, b) data, data, 0, a, b, b, 1
#define NJU_ARG3(data, a, b, c) data, data, 0, a, b, c, (b) * (c), c, 1

} // namespace nju::test

#endif // NJU_UNITTESTS_CODEGEN_CPU_KERNELJIT_H
