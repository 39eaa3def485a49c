//===- Passes.cpp - Registration of the passes on the nju dialect -*- C++
//-*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Transforms/Passes.h"

namespace nju {
#define GEN_PASS_REGISTRATION
#include "nju/Transforms/Passes.h.inc"
} // namespace nju

void nju::registerTransformsPasses() { registerNJUTransformsPasses(); }
