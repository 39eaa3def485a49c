//===- RecognizeNormalization.cpp - RMSNorm and LayerNorm -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Small steps that meet: x / rms(x) becomes an rms_norm of weight one, a
// multiplication after it becomes its weight, an rms_norm of x - mean(x) is a
// layer_norm, an addition after that becomes its bias.
//
//===----------------------------------------------------------------------===//

#include "PatternUtils.h"
#include "Recognize.h"

using namespace mlir;
using namespace nju;

namespace {

/// s if `value` is `1 / sqrt(s)`.
Value matchInverseRoot(Value value) {
  if (auto rsqrt = value.getDefiningOp<RsqrtOp>())
    return rsqrt.getInput();
  if (Value root = matchReciprocal(value))
    return matchSquareRoot(root);
  if (auto sqrt = value.getDefiningOp<SqrtOp>())
    return matchReciprocal(sqrt.getInput());
  auto pow = value.getDefiningOp<PowOp>();
  if (!pow || rankOf(pow.getRhs()) > rankOf(pow.getLhs()))
    return nullptr;
  return matchNumber(pow.getRhs()) == -0.5 ? pow.getLhs() : Value();
}

struct Quotient {
  Value dividend, squaredDivisor;
};

/// `x / sqrt(s)` in the candidates' spellings; up to two readings of a product.
SmallVector<Quotient, 2> matchOverRoot(Operation *op) {
  SmallVector<Quotient, 2> readings;
  if (auto div = dyn_cast<DivOp>(op))
    if (Value square = matchSquareRoot(div.getRhs()))
      readings.push_back({div.getLhs(), square});
  if (auto mul = dyn_cast<MulOp>(op)) {
    if (Value square = matchInverseRoot(mul.getRhs()))
      readings.push_back({mul.getLhs(), square});
    if (Value square = matchInverseRoot(mul.getLhs()))
      readings.push_back({mul.getRhs(), square});
  }
  return readings;
}

/// epsilon if `value` is `mean(x^2) + epsilon` over the last dimension.
std::optional<double> matchMeanSquare(Value value, Value x) {
  double epsilon = 0.0;
  if (std::optional<WithNumber> shifted = matchShifted(value)) {
    epsilon = shifted->number;
    value = shifted->value;
  }
  Value squares = matchMeanOfLast(value);
  if (!squares || epsilon < 0.0 || matchSquare(squares) != x)
    return std::nullopt;
  return epsilon;
}

/// x / sqrt(mean(x^2) + epsilon) is an rms_norm whose weights are one.
template <typename OpTy>
struct RootMeanSquare : OpRewritePattern<OpTy> {
  RootMeanSquare(MLIRContext *context, Recognition &recognition)
      : OpRewritePattern<OpTy>(context), recognition(recognition) {}

  LogicalResult matchAndRewrite(OpTy op,
                                PatternRewriter &rewriter) const override {
    for (const Quotient &reading : matchOverRoot(op)) {
      Value x = reading.dividend;
      auto type = cast<RankedTensorType>(x.getType());
      auto epsilon = matchMeanSquare(reading.squaredDivisor, x);
      if (!epsilon || type.getRank() < 1 || ShapedType::isDynamic(lastDim(x)))
        continue;
      auto vector = RankedTensorType::get(lastDim(x), type.getElementType());
      Value ones = createSplat(rewriter, op.getLoc(), vector, 1.0);
      rewriter.replaceOpWithNewOp<RMSNormOp>(
          op, type, x, ones, rewriter.getF64FloatAttr(*epsilon));
      ++recognition.rmsNorms;
      return success();
    }
    return rewriter.notifyMatchFailure(op, "no root mean square");
  }

  Recognition &recognition;
};

/// A vector of as many elements as the last dimension of `x`.
bool isVectorFor(Value value, Value x) {
  auto type = cast<RankedTensorType>(value.getType());
  return type.getRank() == 1 && !type.isDynamicDim(0) &&
         type.getDimSize(0) == lastDim(x);
}

/// norm(x, ones) * w is norm(x, w).
template <typename NormOp>
struct NormWeight : OpRewritePattern<MulOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(MulOp op,
                                PatternRewriter &rewriter) const override {
    for (auto [normed, weight] : {std::pair(op.getLhs(), op.getRhs()),
                                  std::pair(op.getRhs(), op.getLhs())}) {
      auto norm = normed.template getDefiningOp<NormOp>();
      if (!norm || !isSplat(norm.getWeight(), 1.0) || hasBias(norm) ||
          !isVectorFor(weight, normed))
        continue;
      IRMapping mapping;
      mapping.map(norm.getWeight(), weight);
      Operation *weighted = rewriter.clone(*norm, mapping);
      rewriter.replaceOp(op, weighted);
      return success();
    }
    return rewriter.notifyMatchFailure(op, "no weight of a norm");
  }

private:
  static bool hasBias(RMSNormOp) { return false; }
  static bool hasBias(LayerNormOp norm) { return norm.getBias() != nullptr; }
};

/// rms_norm(x - mean(x), w) is layer_norm(x, w).
struct CentredNorm : OpRewritePattern<RMSNormOp> {
  CentredNorm(MLIRContext *context, Recognition &recognition)
      : OpRewritePattern(context), recognition(recognition) {}

  LogicalResult matchAndRewrite(RMSNormOp op,
                                PatternRewriter &rewriter) const override {
    auto centred = op.getInput().getDefiningOp<SubOp>();
    if (!centred || matchMeanOfLast(centred.getRhs()) != centred.getLhs())
      return rewriter.notifyMatchFailure(op, "input is not centred");
    rewriter.replaceOpWithNewOp<LayerNormOp>(op, op.getType(), centred.getLhs(),
                                             op.getWeight(), Value(),
                                             op.getEpsilonAttr());
    ++recognition.layerNorms;
    --recognition.rmsNorms;
    return success();
  }

  Recognition &recognition;
};

/// layer_norm(x, w) + b is layer_norm(x, w, b).
struct NormBias : OpRewritePattern<AddOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(AddOp op,
                                PatternRewriter &rewriter) const override {
    for (auto [normed, bias] : {std::pair(op.getLhs(), op.getRhs()),
                                std::pair(op.getRhs(), op.getLhs())}) {
      auto norm = normed.getDefiningOp<LayerNormOp>();
      if (!norm || norm.getBias() || !isVectorFor(bias, normed))
        continue;
      rewriter.replaceOpWithNewOp<LayerNormOp>(
          op, norm.getType(), norm.getInput(), norm.getWeight(), bias,
          norm.getEpsilonAttr());
      return success();
    }
    return rewriter.notifyMatchFailure(op, "no bias of a norm");
  }
};

} // namespace

void nju::populateRecognizeNormalization(RewritePatternSet &patterns,
                                         Recognition &recognition) {
  MLIRContext *context = patterns.getContext();
  patterns.add<RootMeanSquare<MulOp>, RootMeanSquare<DivOp>, CentredNorm>(
      context, recognition);
  patterns.add<NormWeight<RMSNormOp>, NormWeight<LayerNormOp>, NormBias>(
      context);
}
