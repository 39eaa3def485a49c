//===- FuseEpilogues.cpp - What becomes of a product ------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/Matchers.h"
#include "nju/Conversion/Passes.h"
#include "nju/Dialect/Exec/IR/Exec.h"

using namespace mlir;
using namespace nju::exec;

namespace nju {
#define GEN_PASS_DEF_FUSEEPILOGUES
#include "nju/Conversion/Passes.h.inc"
} // namespace nju

/// True if each element is computed from those of the operands that belong to
/// it, all of them f32: the body can be an epilogue.
static bool isElementwise(linalg::GenericOp op) {
  if (op.getNumResults() != 1 || op.getNumParallelLoops() != op.getNumLoops() ||
      op.getNumLoops() == 0 || !op.getIndexingMapsArray().back().isIdentity() ||
      !op.getMatchingBlockArgument(op.getDpsInitOperand(0)).use_empty())
    return false;
  auto isF32 = [](Value value) {
    return getElementTypeOrSelf(value.getType()).isF32();
  };
  if (!llvm::all_of(op->getOperands(), isF32))
    return false;
  Block *body = op.getBody();
  for (Operation &nested : *body) {
    if (nested.hasTrait<OpTrait::ConstantLike>())
      continue;
    if (&nested != body->getTerminator() &&
        (nested.getNumResults() != 1 || nested.getNumRegions() != 0 ||
         !OpTrait::hasElementwiseMappableTraits(&nested)))
      return false;
    for (Value operand : nested.getOperands())
      if (operand.getParentBlock() != body &&
          !matchPattern(operand, m_Constant()))
        return false;
  }
  return true;
}

/// True if the epilogue of a product can read the operand: it has the shape of
/// the result, or is a row of its last dimension.
static bool canRead(linalg::GenericOp op, OpOperand &operand) {
  AffineMap map = op.getMatchingIndexingMap(&operand);
  auto type = dyn_cast<RankedTensorType>(operand.get().getType());
  if (!type || map.getNumDims() == 0)
    return false;
  if (map.isIdentity())
    return type == op.getResult(0).getType();
  return type.getRank() == 1 && map.getNumResults() == 1 &&
         map.getResult(0) ==
             getAffineDimExpr(map.getNumDims() - 1, op.getContext());
}

/// The product whose elements the operand is, if only the op uses it.
static LinearOp getProduct(linalg::GenericOp op, OpOperand &operand) {
  auto linear = operand.get().getDefiningOp<LinearOp>();
  if (!linear || !operand.get().hasOneUse() ||
      linear->getBlock() != op->getBlock() ||
      !op.getMatchingIndexingMap(&operand).isIdentity() ||
      linear.getOutput().getType() != op.getResult(0).getType() ||
      linear.getNumProducts() != 1)
    return nullptr;
  return linear;
}

/// The products that can become one with the op: the last, and one before it
/// of the same input and an equal type of weights.
static llvm::SmallVector<OpOperand *> chooseProducts(linalg::GenericOp op) {
  llvm::SmallVector<OpOperand *> products;
  for (OpOperand *input : op.getDpsInputOperands())
    if (getProduct(op, *input))
      products.push_back(input);
  auto isLater = [&](OpOperand *a, OpOperand *b) {
    return getProduct(op, *b)->isBeforeInBlock(getProduct(op, *a));
  };
  llvm::sort(products, isLater);
  if (products.empty())
    return products;
  LinearOp last = getProduct(op, *products.front());
  auto matches = [&](OpOperand *other) {
    LinearOp linear = getProduct(op, *other);
    return linear != last && linear.getInput() == last.getInput() &&
           linear.getChoices() == last.getChoices() &&
           linear.getFormat() == last.getFormat() &&
           linear.getWeights().getTypes() == last.getWeights().getTypes();
  };
  auto second = llvm::find_if(products, matches);
  OpOperand *pair = second == products.end() ? nullptr : *second;
  products.resize(1);
  if (pair)
    products.insert(products.begin(), pair);
  return products;
}

namespace {

/// Builds the op that computes products and what becomes of them.
class EpilogueBuilder {
public:
  EpilogueBuilder(linalg::GenericOp op, ArrayRef<OpOperand *> products)
      : op(op), products(products), b(op) {}

  LinearOp build();

private:
  void addProduct(OpOperand *operand);

  linalg::GenericOp op;
  ArrayRef<OpOperand *> products;
  OpBuilder b;
  llvm::SmallVector<LinearOp> linears;
  llvm::SmallVector<Value> weights, others;
};

} // namespace

LinearOp EpilogueBuilder::build() {
  for (OpOperand *operand : products) {
    linears.push_back(getProduct(op, *operand));
    llvm::append_range(weights, linears.back().getWeights());
  }
  for (LinearOp linear : linears)
    llvm::append_range(others, linear.getOthers());
  llvm::SmallVector<OpOperand *> read;
  for (OpOperand *input : op.getDpsInputOperands())
    if (!llvm::is_contained(products, input)) {
      read.push_back(input);
      others.push_back(input->get());
    }
  auto fused = LinearOp::create(
      b, op.getLoc(), op.getResult(0).getType(), linears.front().getInput(),
      weights, linears.front().getChoices(), others, op.getDpsInits()[0],
      linears.front().getFormatAttr(), linears.front().getExpertsAttr());
  size_t count = linears.size() + others.size();
  Block *block = b.createBlock(&fused.getEpilogue(), {},
                               llvm::SmallVector<Type>(count, b.getF32Type()),
                               llvm::SmallVector<Location>(count, op.getLoc()));
  IRMapping map;
  unsigned nextOther = linears.size();
  for (auto [number, linear] : llvm::enumerate(linears)) {
    Value product = block->getArgument(number);
    if (!linear.getEpilogue().empty()) {
      Block &own = linear.getEpilogue().front();
      map.map(own.getArgument(0), product);
      for (BlockArgument other : own.getArguments().drop_front())
        map.map(other, block->getArgument(nextOther++));
      for (Operation &nested : own.without_terminator())
        b.clone(nested, map);
      product = map.lookupOrDefault(own.getTerminator()->getOperand(0));
    }
    map.map(op.getMatchingBlockArgument(products[number]), product);
  }
  for (OpOperand *input : read)
    map.map(op.getMatchingBlockArgument(input),
            block->getArgument(nextOther++));
  for (Operation &nested : op.getBody()->without_terminator())
    b.clone(nested, map);
  YieldOp::create(
      b, op.getLoc(),
      map.lookupOrDefault(op.getBody()->getTerminator()->getOperand(0)));
  return fused;
}

static void fuse(linalg::GenericOp op) {
  if (!isElementwise(op))
    return;
  for (OpOperand *input : op.getDpsInputOperands())
    if (!canRead(op, *input))
      return;
  llvm::SmallVector<OpOperand *> products = chooseProducts(op);
  if (products.empty())
    return;
  // Rows of products of experts are in another order than those of others.
  bool hasExperts = llvm::any_of(products, [&](OpOperand *operand) {
    return getProduct(op, *operand).getChoices() != nullptr;
  });
  if (hasExperts && products.size() != op.getDpsInputs().size())
    return;
  llvm::SmallVector<LinearOp> replaced;
  for (OpOperand *operand : products)
    replaced.push_back(getProduct(op, *operand));
  LinearOp fused = EpilogueBuilder(op, products).build();
  op.getResult(0).replaceAllUsesWith(fused.getResult());
  op.erase();
  for (LinearOp linear : replaced)
    linear.erase();
}

namespace nju {
namespace {
struct FuseEpilogues : impl::FuseEpiloguesBase<FuseEpilogues> {
  using FuseEpiloguesBase::FuseEpiloguesBase;

  void runOnOperation() override {
    llvm::SmallVector<linalg::GenericOp> ops;
    getOperation().walk([&](linalg::GenericOp op) { ops.push_back(op); });
    for (linalg::GenericOp op : ops)
      fuse(op);
  }
};
} // namespace
} // namespace nju
