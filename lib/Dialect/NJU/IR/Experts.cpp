//===- Experts.cpp - Mixtures of experts -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Panels.h"

using namespace mlir;

/// The input is [T, K] or [T, C, K], the choices are
/// [T, C], and the result is [T, C, columns], where a weight has `depth` rows.
template <typename OpTy>
static LogicalResult verifyChoices(OpTy op, int64_t depth) {
  RankedTensorType input = op.getInput().getType(),
                   choices = op.getChoices().getType(), result = op.getType();
  bool fits =
      choices.getRank() == 2 && result.getRank() == 3 &&
      (input.getRank() == 2 || input.getRank() == 3) &&
      input.getShape().back() == depth && result.getElementType().isF32() &&
      result.getDimSize(1) == choices.getDimSize(1) &&
      (input.getRank() == 2 || input.getDimSize(1) == choices.getDimSize(1)) &&
      !ShapedType::isDynamic(choices.getDimSize(1));
  if (fits)
    return success();
  return op.emitOpError() << "makes " << result << " of " << input
                          << " and choices " << choices << ", expected [T, C, "
                          << "columns], [T, " << depth << "] or [T, C, "
                          << depth << "], and [T, C] with a static C";
}

/// All experts' weights are of the type.
static LogicalResult verifyWeights(Operation *op, ValueRange weights,
                                   Type expected) {
  for (Type type : weights.getTypes())
    if (type != expected)
      return op->emitOpError()
             << "has a weight of type " << type << ", expected " << expected;
  return success();
}

LogicalResult nju::ExpertMatMulOp::verify() {
  if (getWeights().empty())
    return emitOpError() << "has no weights, expected one for each expert";
  auto weight = cast<RankedTensorType>(getWeights().front().getType());
  if (weight.getRank() != 2 || !weight.hasStaticShape())
    return emitOpError() << "has weight " << weight
                         << ", expected a matrix of static sizes";
  if (failed(verifyWeights(*this, getWeights(), weight)) ||
      failed(verifyChoices(*this, weight.getDimSize(0))))
    return failure();
  if (getType().getShape().back() != weight.getDimSize(1))
    return emitOpError() << "has result " << getType() << ", expected "
                         << weight.getDimSize(1) << " columns";
  return success();
}

static LogicalResult verifyQuantized(nju::ExpertLinearOp op, int64_t columns) {
  int64_t depth = op.getInput().getType().getRank()
                      ? op.getInput().getType().getShape().back()
                      : ShapedType::kDynamic;
  if (ShapedType::isDynamic(depth) || ShapedType::isDynamic(columns) ||
      depth < 1 || columns < 1 || op.getWeights().size() % 3 != 0)
    return op.emitOpError() << "has " << op.getWeights().size()
                            << " weights with a format, expected three for "
                            << "each expert, of static sizes";
  int64_t experts = op.getNumExperts();
  int64_t first = 0;
  for (nju::LCQPart part :
       {nju::LCQPart::Codes, nju::LCQPart::Basis, nju::LCQPart::Factors}) {
    Type type = op.getFormat()->getPartType(part, depth, columns);
    if (failed(verifyWeights(op, op.getWeights().slice(first, experts), type)))
      return failure();
    first += experts;
  }
  return verifyChoices(op, depth);
}

LogicalResult nju::ExpertLinearOp::verify() {
  if (getWeights().empty())
    return emitOpError() << "has no weights, expected one for each expert";
  int64_t columns =
      getType().getRank() ? getType().getShape().back() : ShapedType::kDynamic;
  if (getFormat())
    return verifyQuantized(*this, columns);
  auto weight = cast<RankedTensorType>(getWeights().front().getType());
  if (failed(verifyPanels(*this, weight, columns)) ||
      failed(verifyWeights(*this, getWeights(), weight)))
    return failure();
  return verifyChoices(*this, weight.getDimSize(1));
}
