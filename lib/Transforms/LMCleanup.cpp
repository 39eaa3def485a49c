//===- LMCleanup.cpp - Movements that cancel -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The graph had heads before tokens, the step has tokens before heads. The
// transposes between the two meet and vanish.
//
//===----------------------------------------------------------------------===//

#include "LMStep.h"
#include "PatternUtils.h"

using namespace mlir;
using namespace nju;

namespace {

RankedTensorType permuted(RankedTensorType type,
                          ArrayRef<int64_t> permutation) {
  SmallVector<int64_t> shape;
  for (int64_t dim : permutation)
    shape.push_back(type.getDimSize(dim));
  return type.clone(shape);
}

/// transpose(transpose(x)) is one transpose or none.
struct TransposeOfTranspose : OpRewritePattern<TransposeOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(TransposeOp op,
                                PatternRewriter &rewriter) const override {
    auto inner = op.getInput().getDefiningOp<TransposeOp>();
    if (!inner)
      return failure();
    SmallVector<int64_t> permutation;
    for (int64_t dim : op.getPermutation())
      permutation.push_back(inner.getPermutation()[dim]);
    if (llvm::is_sorted(permutation))
      rewriter.replaceOp(op, inner.getInput());
    else
      rewriter.replaceOpWithNewOp<TransposeOp>(op, op.getType(),
                                               inner.getInput(), permutation);
    return success();
  }
};

/// A reshape by constants, without entries that copy a dimension.
bool hasPlainShape(ReshapeOp op) {
  auto shape = op.getShape().getDefiningOp<ConstantOp>();
  if (!shape)
    return false;
  auto elements = dyn_cast<DenseElementsAttr>(shape.getValue());
  return elements &&
         llvm::none_of(elements.getValues<APInt>(),
                       [](const APInt &dim) { return dim.isZero(); });
}

/// reshape(reshape(x)) is one reshape or none.
struct ReshapeOfReshape : OpRewritePattern<ReshapeOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(ReshapeOp op,
                                PatternRewriter &rewriter) const override {
    if (op.getInput().getType() == op.getType() &&
        op.getType().getNumDynamicDims() <= 1) {
      rewriter.replaceOp(op, op.getInput());
      return success();
    }
    auto inner = op.getInput().getDefiningOp<ReshapeOp>();
    if (!inner || !hasPlainShape(op))
      return failure();
    rewriter.replaceOpWithNewOp<ReshapeOp>(op, op.getType(), inner.getInput(),
                                           op.getShape(), op.getAllowZero());
    return success();
  }
};

/// A transpose that moves only dimensions of size one is a reshape.
struct TransposeOfUnits : OpRewritePattern<TransposeOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(TransposeOp op,
                                PatternRewriter &rewriter) const override {
    RankedTensorType type = op.getInput().getType();
    SmallVector<int64_t> real;
    for (int64_t dim : op.getPermutation())
      if (type.getDimSize(dim) != 1)
        real.push_back(dim);
    if (!llvm::is_sorted(real) || type.getNumDynamicDims() > 1)
      return failure();
    SmallVector<int64_t> shape;
    for (int64_t dim : op.getType().getShape())
      shape.push_back(ShapedType::isDynamic(dim) ? -1 : dim);
    auto numbers = RankedTensorType::get(shape.size(), rewriter.getI64Type());
    Value target = ConstantOp::create(
        rewriter, op.getLoc(),
        DenseElementsAttr::get(numbers, ArrayRef<int64_t>(shape)));
    rewriter.replaceOpWithNewOp<ReshapeOp>(op, op.getType(), op.getInput(),
                                           target, false);
    return success();
  }
};

/// transpose(f(x, ...)) is f(transpose(x), ...) if f works on single elements
/// or on the last dimension, which stays.
struct TransposeOfRows : OpRewritePattern<TransposeOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(TransposeOp op,
                                PatternRewriter &rewriter) const override {
    Operation *inner = op.getInput().getDefiningOp();
    ArrayRef<int64_t> permutation = op.getPermutation();
    int64_t rank = permutation.size();
    if (!inner || !inner->hasOneUse() || permutation.back() != rank - 1 ||
        !isa<RopeOp, RMSNormOp, LayerNormOp, AddOp, MulOp>(inner))
      return failure();
    unsigned moved =
        isa<RMSNormOp, LayerNormOp>(inner) ? 1 : inner->getNumOperands();
    for (Value operand : inner->getOperands().take_front(moved)) {
      auto type = cast<RankedTensorType>(operand.getType());
      // What broadcasts over all moved dimensions needs no transpose.
      if (type.getRank() != rank && type.getRank() > 1)
        return failure();
    }
    IRMapping mapping;
    for (Value operand : inner->getOperands().take_front(moved)) {
      auto type = cast<RankedTensorType>(operand.getType());
      if (type.getRank() == rank)
        mapping.map(operand, TransposeOp::create(rewriter, op.getLoc(),
                                                 permuted(type, permutation),
                                                 operand, permutation)
                                 .getResult());
    }
    Operation *clone = rewriter.clone(*inner, mapping);
    clone->getResult(0).setType(op.getType());
    rewriter.replaceOp(op, clone);
    return success();
  }
};

/// Rows are taken before a transpose, so that less is moved.
struct GatherOfTranspose : OpRewritePattern<GatherOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(GatherOp op,
                                PatternRewriter &rewriter) const override {
    auto inner = op.getInput().getDefiningOp<TransposeOp>();
    if (!inner || op.getIndices().getType().getRank() != 1)
      return failure();
    int64_t axis = inner.getPermutation()[op.getAxis()];
    SmallVector<int64_t> shape(inner.getInput().getType().getShape());
    shape[axis] = op.getType().getDimSize(op.getAxis());
    Value taken =
        GatherOp::create(rewriter, op.getLoc(), op.getType().clone(shape),
                         inner.getInput(), op.getIndices(), axis);
    rewriter.replaceOpWithNewOp<TransposeOp>(op, op.getType(), taken,
                                             inner.getPermutation());
    return success();
  }
};

/// A query times a number is a scale.
struct ScaledQuery : OpRewritePattern<CachedAttentionOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(CachedAttentionOp op,
                                PatternRewriter &rewriter) const override {
    std::optional<WithNumber> scaled = matchScaled(op.getQuery());
    if (!scaled || scaled->value.getType() != op.getQuery().getType())
      return failure();
    double scale = op.getScale().convertToDouble() * scaled->number;
    rewriter.modifyOpInPlace(op, [&] {
      op.getQueryMutable().assign(scaled->value);
      op.setScaleAttr(rewriter.getF64FloatAttr(scale));
    });
    return success();
  }
};

} // namespace

void nju::populateLMCleanup(RewritePatternSet &patterns) {
  patterns.add<TransposeOfTranspose, ReshapeOfReshape, TransposeOfUnits,
               TransposeOfRows, GatherOfTranspose, ScaledQuery>(
      patterns.getContext());
}
