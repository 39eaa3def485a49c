//===- LMPlan.cpp - What the step of a language model computes -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "LMStep.h"
#include "nju/Dialect/NJU/Analysis/RowEvaluator.h"

using namespace mlir;
using namespace nju;

bool nju::isShapeOperand(OpOperand &operand) {
  return isa<ReshapeOp, BroadcastToOp, SliceOp, TileOp>(operand.getOwner()) &&
         operand.getOperandNumber() > 0;
}

namespace {

bool isByElement(Operation *op) { return isElementwise(op) || isa<RopeOp>(op); }

bool isReduction(Operation *op) {
  return isa<ReduceMaxOp, ReduceMeanOp, ReduceMinOp, ReduceProdOp, ReduceSumOp>(
      op);
}

class Planner {
public:
  Planner(LMGraph &graph, MutableArrayRef<LMAttention> attentions)
      : graph(graph) {
    for (LMAttention &attention : attentions)
      plan.attentionOf[attention.root] = &attention;
  }

  FailureOr<LMPlan> run() {
    llvm::SetVector<Operation *> needed, inner;
    visit(graph.getLogits(), needed);
    close(needed);
    for (auto &[root, attention] : plan.attentionOf) {
      if (!needed.contains(root))
        continue;
      inner.insert(root);
      for (Value source : sourcesOf(root))
        visit(source, inner);
    }
    close(inner);
    for (Operation &op : graph.getFunction().getBody().front()) {
      if (!needed.contains(&op))
        continue;
      plan.ops.push_back(&op);
      if (!inner.contains(&op))
        plan.rowOps.insert(&op);
      if (!plan.attentionOf.contains(&op) && failed(check(&op)))
        return failure();
    }
    return std::move(plan);
  }

private:
  LMGraph &graph;
  LMPlan plan;

  /// The data that an op, or the attention whose root it is, is computed from.
  SmallVector<Value> sourcesOf(Operation *op) {
    if (LMAttention *attention = plan.attentionOf.lookup(op))
      return {attention->query, attention->keySource.fresh,
              attention->valueSource.fresh};
    return SmallVector<Value>(op->getOperands());
  }

  void visit(Value value, llvm::SetVector<Operation *> &set) {
    if (Operation *op = value.getDefiningOp(); op && graph.isData(value))
      set.insert(op);
  }

  void close(llvm::SetVector<Operation *> &set) {
    for (size_t i = 0; i < set.size(); ++i)
      for (Value source : sourcesOf(set[i]))
        visit(source, set);
  }

  LogicalResult refuse(Operation *op, const Twine &why) {
    return graph.refuse(op->getLoc(),
                        "'" + op->getName().getStringRef() + "' " + why);
  }

  /// Every row of the result must come from the same row of the data.
  LogicalResult check(Operation *op) {
    std::optional<int64_t> axis = graph.tokenAxis(op->getResult(0));
    if (!axis)
      return refuse(op, "does not give one row for each token");
    for (OpOperand &operand : op->getOpOperands()) {
      Value value = operand.get();
      if (graph.isData(value)) {
        if (llvm::is_contained(graph.getPasts(), value))
          return refuse(op, "uses a past outside of an attention");
        std::optional<int64_t> from = graph.tokenAxis(value);
        if (!from)
          return refuse(op, "uses a value without one row for each token");
        if (!keepsRows(op, operand, *from, *axis))
          return refuse(op, "mixes tokens");
      } else if (graph.isPositional(value) && !isShapeOperand(operand)) {
        if (failed(checkPositional(op, operand, *axis)))
          return failure();
      }
    }
    return checkBounds(op);
  }

  /// A positional operand is aligned with the rows or the same for all.
  LogicalResult checkPositional(Operation *op, OpOperand &operand,
                                int64_t axis) {
    auto gather = dyn_cast<GatherOp>(op);
    if (gather && operand.getOperandNumber() == 1 &&
        !graph.isData(gather.getInput())) {
      plan.lookups.push_back(gather);
    } else if (!graph.hasStaticShape(operand.get())) {
      std::optional<int64_t> from = graph.tokenAxis(operand.get());
      if (!from || !(isByElement(op) || isa<ConcatOp>(op)) ||
          !keepsRows(op, operand, *from, axis))
        return refuse(op, "uses positions in an unknown way");
    }
    plan.tables.insert(operand.get());
    return success();
  }

  /// Slices and repetitions leave the rows alone.
  LogicalResult checkBounds(Operation *op) {
    auto slice = dyn_cast<SliceOp>(op);
    if (!slice)
      return success();
    for (Value bounds : {slice.getStarts(), slice.getEnds(), slice.getSteps()})
      if (graph.isData(bounds))
        return refuse(op, "has bounds that depend on the tokens");
    int64_t axis = *graph.tokenAxis(slice.getInput());
    auto steps = graph.getShapes().constantContent(slice.getSteps());
    for (auto [i, sliced] : llvm::enumerate(slice.getAxes()))
      if (sliced == axis && (!steps || (*steps)[i] != 1))
        return refuse(op, "reorders tokens");
    return success();
  }

  /// True if row i (along `from`) of an operand goes to row i (along `to`) of
  /// the result, and nowhere else.
  bool keepsRows(Operation *op, OpOperand &operand, int64_t from, int64_t to) {
    auto inType = cast<RankedTensorType>(operand.get().getType());
    auto outType = cast<RankedTensorType>(op->getResult(0).getType());
    int64_t inRank = inType.getRank(), outRank = outType.getRank();
    bool alignedRight = inRank - from == outRank - to;
    unsigned number = operand.getOperandNumber();
    if (isByElement(op))
      return alignedRight && (!isa<RopeOp>(op) || from < inRank - 1);
    if (isa<MatMulOp>(op))
      return alignedRight && from != inRank - (number == 0 ? 1 : 2) &&
             !(number == 1 && from == inRank - 1);
    if (isa<RMSNormOp, LayerNormOp>(op))
      return number == 0 && alignedRight && from < inRank - 1;
    if (auto softmax = dyn_cast<SoftmaxOp>(op))
      return from == to && static_cast<int64_t>(softmax.getAxis()) != from;
    if (isa<CumSumOp, GatherElementsOp, TopKOp>(op))
      return from == to &&
             op->getAttrOfType<IntegerAttr>("axis").getInt() != from;
    if (isa<ExpertMatMulOp>(op))
      return number < 2 && from == 0 && to == 0;
    if (isReduction(op))
      return keepsRowsReduced(op, from, to);
    return number == 0 || isa<ConcatOp>(op) || isa<GatherOp>(op)
               ? keepsRowsMoved(op, operand, from, to)
               : false;
  }

  bool keepsRowsReduced(Operation *op, int64_t from, int64_t to) {
    auto axes = op->getAttrOfType<DenseI64ArrayAttr>("axes").asArrayRef();
    if (llvm::is_contained(axes, from))
      return false;
    if (op->hasAttr("keep_dims"))
      return from == to;
    return to ==
           from - llvm::count_if(axes, [&](int64_t a) { return a < from; });
  }

  bool keepsRowsMoved(Operation *op, OpOperand &operand, int64_t from,
                      int64_t to) {
    auto inShape = cast<RankedTensorType>(operand.get().getType()).getShape();
    auto outShape =
        cast<RankedTensorType>(op->getResult(0).getType()).getShape();
    auto product = [](ArrayRef<int64_t> dims) {
      int64_t size = 1;
      for (int64_t dim : dims)
        size *= dim;
      return size;
    };
    if (auto transpose = dyn_cast<TransposeOp>(op))
      return transpose.getPermutation()[to] == from;
    if (isa<ReshapeOp, SqueezeOp, UnsqueezeOp>(op))
      return product(inShape.take_front(from)) ==
                 product(outShape.take_front(to)) &&
             product(inShape.drop_front(from + 1)) ==
                 product(outShape.drop_front(to + 1));
    if (auto concat = dyn_cast<ConcatOp>(op))
      return from == to && static_cast<int64_t>(concat.getAxis()) != from;
    if (isa<SliceOp>(op))
      return from == to;
    if (isa<BroadcastToOp>(op))
      return inShape.size() - from == outShape.size() - to;
    if (isa<TileOp>(op))
      return from == to;
    if (auto gather = dyn_cast<GatherOp>(op)) {
      int64_t axis = gather.getAxis();
      int64_t indexRank = gather.getIndices().getType().getRank();
      if (operand.getOperandNumber() == 1)
        return !graph.isData(gather.getInput()) && to == axis + from;
      return !graph.isData(gather.getIndices()) && from != axis &&
             to == (from < axis ? from : from + indexRank - 1);
    }
    return false;
  }
};

} // namespace

FailureOr<LMPlan> nju::planStep(LMGraph &graph,
                                MutableArrayRef<LMAttention> attentions) {
  return Planner(graph, attentions).run();
}
