//===- Passes.td - Passes on the nju dialect -*- tablegen -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_TRANSFORMS_PASSES
#define NJU_TRANSFORMS_PASSES

include "mlir/Pass/PassBase.td"

#endif // NJU_TRANSFORMS_PASSES
