//===- LMAttention.cpp - The attentions of a language model -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "LMAttention.h"
#include "PatternUtils.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace nju;

bool nju::isMovement(Operation *op) {
  return isa<TransposeOp, ReshapeOp, SqueezeOp, UnsqueezeOp, BroadcastToOp,
             ConcatOp, SliceOp, GatherOp, GatherElementsOp, TileOp>(op);
}

namespace {

/// Ops that may stand between the products and the softmax: one element in, one
/// element out, and dimensions of size one.
bool keepsElementsApart(Operation *op) {
  return isa<AddOp, SubOp, MulOp, DivOp, MaxOp, MinOp, SelectOp, CastOp, NegOp,
             TanhOp, CompareOp, IsNaNOp, IsInfOp, AndOp, OrOp, NotOp, ReshapeOp,
             SqueezeOp, UnsqueezeOp, ConcatOp>(op) &&
         (!isa<ConcatOp>(op) || op->getNumOperands() == 1);
}

class Finder {
public:
  explicit Finder(LMGraph &graph) : graph(graph) {}

  FailureOr<SmallVector<LMAttention, 0>> run() {
    markNeeded();
    SmallVector<LMAttention, 0> attentions;
    for (Operation &op : graph.getFunction().getBody().front()) {
      if (!needed.contains(&op))
        continue;
      FailureOr<LMAttention> attention = LMAttention();
      if (auto softmax = dyn_cast<SoftmaxOp>(op)) {
        // Probabilities of a fixed number of things are no attention's.
        if (!softmax.getType().isDynamicDim(softmax.getAxis()))
          continue;
        attention = match(softmax);
      } else if (auto whole = dyn_cast<AttentionOp>(op))
        attention = match(whole);
      else
        continue;
      if (failed(attention) || failed(checkShapes(*attention)))
        return failure();
      attentions.push_back(*attention);
    }
    if (attentions.empty())
      return graph.refuse(graph.getFunction().getLoc(), "it has no attention");
    return attentions;
  }

private:
  LMGraph &graph;
  /// Data ops that the logits depend on.
  llvm::SetVector<Operation *> needed;

  void markNeeded() {
    auto visit = [&](Value value) {
      if (Operation *op = value.getDefiningOp(); op && graph.isData(value))
        needed.insert(op);
    };
    visit(graph.getLogits());
    for (size_t i = 0; i < needed.size(); ++i)
      if (!isa<ShapeOfOp>(needed[i]))
        for (Value operand : needed[i]->getOperands())
          visit(operand);
  }

  /// Follows the probabilities down to their product with the values.
  FailureOr<MatMulOp> findMix(SoftmaxOp softmax) {
    Value value = softmax.getResult();
    while (true) {
      llvm::SetVector<Operation *> users;
      for (Operation *user : value.getUsers())
        if (needed.contains(user))
          users.insert(user);
      Operation *next = nullptr;
      if (users.size() == 1)
        next = users.front();
      else if (users.size() == 2)
        next = skipNaNGuard(value, users);
      if (!next)
        break;
      if (auto matmul = dyn_cast<MatMulOp>(next)) {
        if (matmul.getLhs() == value && graph.isData(matmul.getRhs()))
          return matmul;
        break;
      }
      if (!isa<CastOp, ReshapeOp, SqueezeOp, UnsqueezeOp, SelectOp>(next))
        break;
      value = next->getResult(0);
    }
    return graph.refuse(softmax.getLoc(),
                        "a softmax is not multiplied with values");
  }

  /// The select of `isnan(p) ? 0 : p`: no row of a causal mask is empty, so
  /// that p is never NaN by the mask.
  Operation *skipNaNGuard(Value value,
                          const llvm::SetVector<Operation *> &users) {
    for (Operation *user : users) {
      auto select = dyn_cast<SelectOp>(user);
      if (!select || select.getFalseValue() != value ||
          matchNumber(select.getTrueValue()) != 0.0)
        continue;
      auto test = select.getCondition().getDefiningOp<IsNaNOp>();
      if (test && test.getInput() == value && users.contains(test))
        return select;
    }
    return nullptr;
  }

  /// Follows the softmax's input up to the one product that it is made of.
  FailureOr<MatMulOp> findProducts(Value weights) {
    llvm::SetVector<Value> chain;
    chain.insert(weights);
    MatMulOp products;
    for (size_t i = 0; i < chain.size(); ++i) {
      Operation *op = chain[i].getDefiningOp();
      if (auto matmul = dyn_cast_or_null<MatMulOp>(op); matmul && !products) {
        products = matmul;
        continue;
      }
      if (!op || op == products || !keepsElementsApart(op))
        return graph.refuse(chain[i].getLoc(),
                            "a softmax is not taken over products of queries "
                            "and keys");
      for (Value operand : op->getOperands())
        if (graph.isData(operand))
          chain.insert(operand);
    }
    return products;
  }

  FailureOr<LMAttention> match(SoftmaxOp softmax) {
    if (softmax.getLog() || static_cast<int64_t>(softmax.getAxis()) !=
                                softmax.getType().getRank() - 1)
      return graph.refuse(softmax.getLoc(),
                          "a softmax is not over the last dimension");
    FailureOr<MatMulOp> mix = findMix(softmax);
    if (failed(mix))
      return failure();
    FailureOr<MatMulOp> products = findProducts(softmax.getInput());
    if (failed(products))
      return failure();
    LMAttention attention;
    attention.root = *mix;
    attention.query = products->getLhs();
    attention.key = products->getRhs();
    attention.keyIsTransposed = true;
    attention.value = mix->getRhs();
    attention.products = products->getResult();
    attention.weights = softmax.getInput();
    return attention;
  }

  FailureOr<LMAttention> match(AttentionOp op) {
    LMAttention attention;
    attention.root = op;
    attention.query = op.getQuery();
    attention.key = op.getKey();
    attention.value = op.getValue();
    attention.mask = op.getMask();
    attention.causal = op.getCausal();
    attention.scale = op.getScale().convertToDouble();
    return attention;
  }

  LogicalResult checkShapes(LMAttention &attention) {
    auto bad = [&](const Twine &why) {
      return graph.refuse(attention.root->getLoc(), "an attention " + why);
    };
    if (!graph.isData(attention.query) || !graph.isData(attention.key))
      return bad("does not depend on the tokens");
    auto query = cast<RankedTensorType>(attention.query.getType());
    auto result =
        cast<RankedTensorType>(attention.root->getResult(0).getType());
    int64_t rank = query.getRank();
    if (!query.getElementType().isF32())
      return bad("is not computed in f32");
    if (rank < 3 || result.getRank() != rank ||
        graph.tokenAxis(attention.query) != rank - 2 ||
        graph.tokenAxis(attention.root->getResult(0)) != rank - 2)
      return bad("has queries that are not [heads, tokens, head dimension]");
    if (result.getShape() != query.getShape())
      return bad("has values of another width than its keys");
    attention.headDim = query.getShape().back();
    attention.heads = 1;
    for (int64_t i = 0; i < rank - 2; ++i)
      attention.heads *= query.getDimSize(i);
    if (attention.products) {
      auto products = cast<RankedTensorType>(attention.products.getType());
      if (products.getRank() != rank ||
          products.getShape().drop_back(2) != query.getShape().drop_back(2))
        return bad("does not have one product for each query head");
    }
    return success();
  }
};

} // namespace

FailureOr<SmallVector<LMAttention, 0>> nju::findAttentions(LMGraph &graph) {
  return Finder(graph).run();
}
