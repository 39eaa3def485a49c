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

namespace {

/// A number of at most this size swallows any score it is added to in f32, so
/// that replacing a score by it is adding it.
constexpr double kSwallows = -1e30;

Value skipCasts(Value value) {
  while (auto cast = value.getDefiningOp<CastOp>()) {
    if (cast.getInput().getType() != cast.getType())
      break;
    value = cast.getInput();
  }
  return value;
}

/// What is done to the products of queries and keys before the softmax.
struct Scores {
  Value products;
  double scale = 1.0;
  /// Added to the scores, if not null.
  Value mask;
  /// Scores are kept where this is `keepIf`, and replaced elsewhere.
  Value condition, replacement;
  bool keepIf = true;
};

class Attention : public OpRewritePattern<MatMulOp> {
public:
  Attention(MLIRContext *context, Recognition &recognition)
      : OpRewritePattern(context), recognition(recognition) {}

  LogicalResult matchAndRewrite(MatMulOp op,
                                PatternRewriter &rewriter) const override {
    auto softmax = skipCasts(op.getLhs()).getDefiningOp<SoftmaxOp>();
    if (!softmax || softmax.getLog() || rankOf(softmax) != 4 ||
        softmax.getAxis() != 3)
      return rewriter.notifyMatchFailure(op, "no softmax over rank 4");
    std::optional<Scores> scores = matchScores(skipCasts(softmax.getInput()));
    if (!scores)
      return rewriter.notifyMatchFailure(op, "no scores");
    auto products = scores->products.getDefiningOp<MatMulOp>();
    Value query = products.getLhs(), key = products.getRhs();
    if (std::optional<WithNumber> scaled = matchScaled(query)) {
      scores->scale *= scaled->number;
      query = scaled->value;
    }
    if (std::optional<WithNumber> scaled = matchScaled(key)) {
      scores->scale *= scaled->number;
      key = scaled->value;
    }
    if (!fit(query, key, op.getRhs(), op))
      return rewriter.notifyMatchFailure(op, "operands do not fit");
    Value mask = createMask(*scores, rewriter, op.getLoc());
    rewriter.replaceOpWithNewOp<AttentionOp>(
        op, op.getType(), query, untransposed(key, rewriter), op.getRhs(), mask,
        rewriter.getF64FloatAttr(scores->scale), nullptr);
    ++recognition.attentions;
    return success();
  }

private:
  Recognition &recognition;

  std::optional<Scores> matchScores(Value value) const {
    Scores scores;
    if (auto select = value.getDefiningOp<SelectOp>()) {
      if (!matchReplacement(select, scores))
        return std::nullopt;
      value = scores.keepIf ? select.getTrueValue() : select.getFalseValue();
      if (!recognition.haveSameShape(select, value))
        return std::nullopt;
    }
    if (auto add = value.getDefiningOp<AddOp>(); add && !matchShifted(value)) {
      bool left = leadsToProducts(add.getLhs());
      if (scores.condition || left == leadsToProducts(add.getRhs()))
        return std::nullopt;
      Value rest = left ? add.getLhs() : add.getRhs();
      scores.mask = left ? add.getRhs() : add.getLhs();
      if (!recognition.haveSameShape(add, rest))
        return std::nullopt;
      value = rest;
    }
    value = skipCasts(value);
    if (std::optional<WithNumber> scaled = matchScaled(value)) {
      scores.scale = scaled->number;
      value = scaled->value;
    }
    scores.products = skipCasts(value);
    if (!scores.products.getDefiningOp<MatMulOp>())
      return std::nullopt;
    return scores;
  }

  bool leadsToProducts(Value value) const {
    value = skipCasts(value);
    if (std::optional<WithNumber> scaled = matchScaled(value))
      value = skipCasts(scaled->value);
    return value.getDefiningOp<MatMulOp>() != nullptr;
  }

  /// A choice between scores and a number that swallows them.
  bool matchReplacement(SelectOp select, Scores &scores) const {
    std::optional<double> number = matchNumber(select.getFalseValue());
    scores.keepIf = number.has_value();
    scores.replacement = select.getFalseValue();
    if (!number) {
      number = matchNumber(select.getTrueValue());
      scores.replacement = select.getTrueValue();
    }
    scores.condition = select.getCondition();
    return number && *number <= kSwallows;
  }

  /// The mask that is added: what there is, or zero where scores are kept.
  Value createMask(const Scores &scores, PatternRewriter &rewriter,
                   Location loc) const {
    if (!scores.condition)
      return scores.mask;
    auto condition = cast<RankedTensorType>(scores.condition.getType());
    auto scalar = cast<RankedTensorType>(scores.replacement.getType());
    Value zero = createSplat(
        rewriter, loc, RankedTensorType::get({}, scalar.getElementType()), 0.0);
    double number = *matchNumber(scores.replacement);
    Value low =
        createSplat(rewriter, loc,
                    RankedTensorType::get({}, scalar.getElementType()), number);
    return SelectOp::create(rewriter, loc,
                            condition.clone(scalar.getElementType()),
                            scores.condition, scores.keepIf ? zero : low,
                            scores.keepIf ? low : zero);
  }

  /// Query `[B, H, S, D]`, transposed key `[B, H, D, L]`, value `[B, H, L, D]`
  /// with the same B and static H and D.
  bool fit(Value query, Value key, Value value, Value result) const {
    for (Value operand : {query, key, value})
      if (rankOf(operand) != 4)
        return false;
    ShapeInference &shapes = recognition.shapes;
    ShapeInference::Dims q(shapes.dims(query)), k(shapes.dims(key)),
        v(shapes.dims(value));
    return q[0] == k[0] && k[0] == v[0] && q[1] == k[1] && k[1] == v[1] &&
           q[1].isConstant() && q[3].isConstant() && q[3] == k[2] &&
           v[3].isConstant() && k[3] == v[2];
  }

  /// `[B, H, D, L]` as `[B, H, L, D]`.
  Value untransposed(Value key, PatternRewriter &rewriter) const {
    SmallVector<int64_t> permutation = {0, 1, 3, 2};
    Value source = key;
    if (auto transpose = key.getDefiningOp<TransposeOp>()) {
      source = transpose.getInput();
      permutation.clear();
      for (int64_t i : {0, 1, 3, 2})
        permutation.push_back(transpose.getPermutation()[i]);
    }
    if (llvm::is_sorted(permutation))
      return source;
    auto type = cast<RankedTensorType>(source.getType());
    SmallVector<int64_t> shape;
    for (int64_t dim : permutation)
      shape.push_back(type.getDimSize(dim));
    return TransposeOp::create(rewriter, source.getLoc(), type.clone(shape),
                               source, permutation);
  }
};

} // namespace

void nju::populateRecognizeAttention(RewritePatternSet &patterns,
                                     Recognition &recognition) {
  patterns.add<Attention>(patterns.getContext(), recognition);
}
