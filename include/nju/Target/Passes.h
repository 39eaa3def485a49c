//===- Passes.h - Passes before the emission of code ------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_TARGET_PASSES_H
#define NJU_TARGET_PASSES_H

#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassRegistry.h"

namespace nju {

#define GEN_PASS_DECL
#include "nju/Target/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "nju/Target/Passes.h.inc"

} // namespace nju

#endif // NJU_TARGET_PASSES_H
