//===- Loss.cpp - Losses of ONNX -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "NodeImporter.h"

using namespace mlir;
using namespace nju;
using namespace nju::onnx_import;

namespace {
/// The dimension of classes, in inputs of logits and of their logarithms.
constexpr int64_t kClasses = 1;

struct Loss {
  Value logProbabilities, labels, classWeights;
  std::string reduction;
  std::optional<int64_t> ignored;
};
} // namespace

/// The logarithms that labels pick, times -1.
static Value emitPicked(NodeImporter &node, const Loss &loss, Value labels) {
  Value places = node.unsqueeze(labels, {kClasses});
  Value picked = node.create<GatherElementsOp>({loss.logProbabilities, places},
                                               node.i64("axis", kClasses));
  return node.create<NegOp>(node.squeeze(picked, {kClasses}));
}

static Value emitLoss(NodeImporter &node, const Loss &loss) {
  Type type = node.elementType(loss.logProbabilities);
  Value labels = loss.labels, isKept;
  if (loss.ignored) {
    Value ignored = node.scalarLike(labels, double(*loss.ignored));
    isKept = node.compare(ComparePredicate::ne, labels, ignored);
    labels = node.create<SelectOp>({isKept, labels, node.scalarLike(labels, 0)},
                                   {}, node.elementType(labels));
  }
  Value result = emitPicked(node, loss, labels), weights;
  if (loss.classWeights) {
    weights =
        node.create<GatherOp>({loss.classWeights, labels}, node.i64("axis", 0));
    result = node.create<MulOp>({result, weights});
  }
  if (isKept) {
    Value none = node.scalarLike(result, 0);
    result = node.create<SelectOp>({isKept, result, none}, {}, type);
    weights = weights ? node.create<SelectOp>({isKept, weights, none}, {}, type)
                      : node.cast(isKept, type);
  }
  if (loss.reduction == "none")
    return result;
  auto axes = llvm::to_vector(llvm::seq<int64_t>(0, node.rank(result)));
  if (loss.reduction == "mean" && !weights)
    return node.reduce<ReduceMeanOp>(result, axes, false);
  result = node.reduce<ReduceSumOp>(result, axes, false);
  if (loss.reduction == "sum")
    return result;
  return node.create<DivOp>(
      {result, node.reduce<ReduceSumOp>(weights, axes, false)});
}

/// Inputs 1 and 2 and the attributes, which both losses have.
static std::optional<Loss> readLoss(NodeImporter &node, Value scores) {
  Loss loss;
  loss.logProbabilities = scores;
  loss.reduction = node.stringAttr("reduction", "mean");
  loss.ignored = node.intAttr("ignore_index");
  loss.labels = node.input(1);
  loss.classWeights = node.input(2);
  if (!node.checkFloat(scores, "input 0") || !loss.labels)
    return std::nullopt;
  int64_t rank = node.rank(scores);
  Type labelType = node.elementType(loss.labels);
  if (rank <= kClasses) {
    node.emitError() << "input 0 is " << scores.getType()
                     << ", expected a dimension of samples and one of classes";
    return std::nullopt;
  }
  if (!labelType.isSignlessInteger(32) && !labelType.isSignlessInteger(64)) {
    node.emitError() << "input 1 is " << loss.labels.getType()
                     << ", expected a tensor of i32 or i64";
    return std::nullopt;
  }
  if (!node.checkRank(loss.labels, rank - 1, "input 1") ||
      (loss.classWeights && (!node.checkRank(loss.classWeights, 1, "input 2") ||
                             !node.checkSameType({scores, loss.classWeights}))))
    return std::nullopt;
  if (!llvm::is_contained({"none", "sum", "mean"}, loss.reduction)) {
    node.emitError() << "attribute 'reduction' is '" << loss.reduction
                     << "', expected 'none', 'sum' or 'mean'";
    return std::nullopt;
  }
  return loss;
}

static void importNegativeLogLikelihoodLoss(NodeImporter &node) {
  if (auto loss = readLoss(node, node.input(0)))
    node.setOutput(emitLoss(node, *loss));
}

static void importSoftmaxCrossEntropyLoss(NodeImporter &node) {
  auto loss = readLoss(node, node.input(0));
  if (!loss)
    return;
  loss->logProbabilities = node.create<SoftmaxOp>(
      loss->logProbabilities, {node.i64("axis", kClasses), node.unit("log")});
  node.setOutput(0, emitLoss(node, *loss));
  node.setOutput(1, loss->logProbabilities);
}

void nju::onnx_import::registerLossOps(OpRegistry &registry) {
  registry.add("NegativeLogLikelihoodLoss", 12, {2, 3},
               importNegativeLogLikelihoodLoss);
  registry.add("SoftmaxCrossEntropyLoss", 12, {2, 3},
               importSoftmaxCrossEntropyLoss);
}
