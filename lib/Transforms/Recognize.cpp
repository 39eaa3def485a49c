//===- Recognize.cpp - Decomposed structures become one op -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Recognize.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Dominance.h"
#include "mlir/Transforms/CSE.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "nju/Transforms/Passes.h"

namespace nju {
#define GEN_PASS_DEF_RECOGNIZE
#include "nju/Transforms/Passes.h.inc"
} // namespace nju

using namespace mlir;
using namespace nju;

bool Recognition::haveSameShape(Value a, Value b) {
  // `dims` of one value may move those of the other.
  ShapeInference::Dims dims(shapes.dims(a));
  return a == b || ArrayRef<SymbolicExpr>(dims) == shapes.dims(b);
}

namespace {

/// Keeps the shapes in step with the IR.
class ShapeListener : public RewriterBase::Listener {
public:
  explicit ShapeListener(ShapeInference &shapes) : shapes(shapes) {}
  void notifyOperationInserted(Operation *op, OpBuilder::InsertPoint) override {
    // New ops are made for operands of fitting shapes.
    (void)shapes.infer(op);
  }
  void notifyOperationErased(Operation *op) override { shapes.forget(op); }

private:
  ShapeInference &shapes;
};

class Recognize : public nju::impl::RecognizeBase<Recognize> {
public:
  using RecognizeBase::RecognizeBase;

  void runOnOperation() override {
    for (auto function : getOperation().getOps<func::FuncOp>())
      if (!function.isExternal() && failed(recognize(function)))
        return signalPassFailure();
  }

private:
  LogicalResult recognize(func::FuncOp function) {
    // Exporters write the same subexpression several times.
    IRRewriter rewriter(function.getContext());
    DominanceInfo dominance(function);
    eliminateCommonSubExpressions(rewriter, dominance, function);

    Recognition recognition;
    if (failed(recognition.shapes.inferFunction(function)))
      return failure();
    RewritePatternSet patterns(function.getContext());
    populateRecognizeNormalization(patterns, recognition);
    populateRecognizeActivation(patterns, recognition);
    populateRecognizeGatheredExperts(patterns, recognition);
    populateRecognizeRope(patterns, recognition);
    populateRecognizeAttention(patterns, recognition);
    ShapeListener listener(recognition.shapes);
    GreedyRewriteConfig config;
    config.setListener(&listener);
    if (failed(applyPatternsGreedily(function, std::move(patterns), config)))
      return function.emitError()
             << "recognition of '" << function.getName() << "' does not end";
    // What experts compute is recognised first: it is compared as a whole.
    IRRewriter shapedRewriter(function.getContext(), &listener);
    recognizeExperts(function, recognition, shapedRewriter);
    count(recognition);
    return success();
  }

  void count(const Recognition &recognition) {
    numRMSNorm += recognition.rmsNorms;
    numLayerNorm += recognition.layerNorms;
    numGelu += recognition.gelus;
    numSilu += recognition.silus;
    numSwiGLU += recognition.swiglus;
    numRope += recognition.ropes;
    numAttention += recognition.attentions;
    numExperts += recognition.experts;
  }
};

} // namespace
