//===- Passes.h - Passes on the nju dialect -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_TRANSFORMS_PASSES_H
#define NJU_TRANSFORMS_PASSES_H

#include "mlir/Pass/Pass.h"

namespace nju {

#define GEN_PASS_DECL
#include "nju/Transforms/Passes.h.inc"

/// Registers every pass of this library by its command-line flag.
void registerTransformsPasses();

} // namespace nju

#endif // NJU_TRANSFORMS_PASSES_H
