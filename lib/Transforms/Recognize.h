//===- Recognize.h - Rules of --nju-recognize -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_TRANSFORMS_RECOGNIZE_H
#define NJU_LIB_TRANSFORMS_RECOGNIZE_H

#include "mlir/IR/PatternMatch.h"
#include "nju/Dialect/NJU/Analysis/ShapeInference.h"
#include "nju/Dialect/NJU/IR/NJU.h"

namespace nju {

/// What the rules share. `shapes` knows the values of the function and follows
/// the rewriting.
struct Recognition {
  ShapeInference shapes;
  unsigned rmsNorms = 0, layerNorms = 0, gelus = 0, silus = 0, swiglus = 0;
  unsigned ropes = 0, attentions = 0, experts = 0;

  /// True if two values certainly have the same dimensions.
  bool haveSameShape(mlir::Value a, mlir::Value b);
};

void populateRecognizeNormalization(mlir::RewritePatternSet &patterns,
                                    Recognition &recognition);
void populateRecognizeActivation(mlir::RewritePatternSet &patterns,
                                 Recognition &recognition);
void populateRecognizeGatheredExperts(mlir::RewritePatternSet &patterns,
                                      Recognition &recognition);
void populateRecognizeRope(mlir::RewritePatternSet &patterns,
                           Recognition &recognition);
void populateRecognizeAttention(mlir::RewritePatternSet &patterns,
                                Recognition &recognition);

/// Replaces mixtures of experts. `rewriter` must keep the shapes in step.
void recognizeExperts(mlir::func::FuncOp function, Recognition &recognition,
                      mlir::RewriterBase &rewriter);

} // namespace nju

#endif // NJU_LIB_TRANSFORMS_RECOGNIZE_H
