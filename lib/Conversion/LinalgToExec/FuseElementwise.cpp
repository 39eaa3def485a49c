//===- FuseElementwise.cpp - Fuse element-wise linalg ops -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Linalg/Transforms/Transforms.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Math/Transforms/Passes.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "nju/Conversion/Passes.h"

using namespace mlir;

namespace nju {
#define GEN_PASS_DEF_FUSEELEMENTWISE
#include "nju/Conversion/Passes.h.inc"
} // namespace nju

/// True if computing an element again costs hardly more than loading it.
static bool isCheap(linalg::GenericOp op) {
  unsigned count = 0;
  for (Operation &nested : op.getBody()->without_terminator()) {
    if (isa<math::MathDialect>(nested.getDialect()) ||
        isa<arith::DivFOp, arith::DivSIOp, arith::DivUIOp, arith::RemFOp,
            arith::RemUIOp, arith::RemSIOp, tensor::ExtractOp>(nested))
      return false;
    ++count;
  }
  return count <= 4;
}

/// True if the op only converts elements that stay where they are.
static bool isConversion(linalg::GenericOp op) {
  if (op.getNumDpsInputs() != 1 ||
      !op.getMatchingIndexingMap(op.getDpsInputOperand(0)).isIdentity())
    return false;
  auto body = op.getBody()->without_terminator();
  return llvm::hasSingleElement(body) &&
         isa<arith::ExtFOp, arith::ExtUIOp>(*body.begin());
}

/// True if some input that runs along the result's last dimension would not
/// run along the consumer's: such reads cannot be vectorized.
static bool movesLastDim(linalg::GenericOp producer) {
  int64_t loops = producer.getNumLoops();
  if (loops == 0)
    return false;
  for (OpOperand *input : producer.getDpsInputOperands()) {
    AffineMap map = producer.getMatchingIndexingMap(input);
    for (auto [i, expr] : llvm::enumerate(map.getResults()))
      if (expr.isFunctionOfDim(loops - 1) && i + 1 != map.getNumResults())
        return true;
  }
  return false;
}

/// Fuse if no work is done twice, or hardly any.
static bool shouldFuse(OpOperand *operand) {
  auto producer = operand->get().getDefiningOp<linalg::GenericOp>();
  auto consumer = dyn_cast<linalg::GenericOp>(operand->getOwner());
  if (!producer || !consumer)
    return false;
  AffineMap map = consumer.getMatchingIndexingMap(operand);
  bool once = operand->get().hasOneUse();
  if (!once && !isConversion(producer))
    return false;
  bool elementwise = consumer.getNumReductionLoops() == 0;
  if (elementwise && movesLastDim(producer))
    return false;
  return map.isPermutation() || isCheap(producer);
}

namespace nju {
namespace {
struct FuseElementwise : impl::FuseElementwiseBase<FuseElementwise> {
  using FuseElementwiseBase::FuseElementwiseBase;

  void runOnOperation() override {
    MLIRContext *context = &getContext();
    RewritePatternSet patterns(context);
    linalg::populateElementwiseOpsFusionPatterns(patterns, shouldFuse);
    linalg::populateEraseUnusedOperandsAndResultsPatterns(patterns);
    // Powers with a constant exponent become products and roots.
    populateMathAlgebraicSimplificationPatterns(patterns);
    linalg::GenericOp::getCanonicalizationPatterns(patterns, context);
    tensor::EmptyOp::getCanonicalizationPatterns(patterns, context);
    tensor::DimOp::getCanonicalizationPatterns(patterns, context);
    GreedyRewriteConfig config;
    config.setUseTopDownTraversal();
    if (failed(
            applyPatternsGreedily(getOperation(), std::move(patterns), config)))
      signalPassFailure();
  }
};
} // namespace
} // namespace nju
