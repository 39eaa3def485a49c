//===- RecognizeAttention.cpp - Scaled dot-product attention -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "PatternUtils.h"
#include "Recognize.h"

using namespace mlir;
using namespace nju;

void nju::populateRecognizeAttention(RewritePatternSet &patterns,
                                     Recognition &recognition) {}
