//===- MatMul.cpp - Matrix products to linalg -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "nju/Dialect/Exec/IR/Exec.h"

using namespace mlir;
using namespace nju::lowering;

namespace {
/// Loops batch..., m, n, k; m and n are missing for operands of rank 1.
struct Contraction {
  llvm::SmallVector<Value> dims;
  AffineMap lhs, rhs, result;
};
} // namespace

/// The operand's map on the loops: `loops[i]` is the loop of the i-th of
/// `dims`.
static AffineMap onLoops(Lowering &lowering, Value &operand,
                         ArrayRef<Value> dims, ArrayRef<unsigned> loops,
                         unsigned count) {
  AffineMap map = lowering.broadcast(operand, dims);
  llvm::SmallVector<AffineExpr> exprs;
  for (unsigned loop : loops)
    exprs.push_back(lowering.b.getAffineDimExpr(loop));
  return map.replaceDimsAndSymbols(exprs, {}, count, 0);
}

static Contraction contraction(Lowering &lowering, Value &lhs, Value &rhs) {
  llvm::SmallVector<Value> left = lowering.dims(lhs),
                           right = lowering.dims(rhs);
  bool hasRows = left.size() > 1, hasColumns = right.size() > 1;
  // Batches without the matrices, aligned at the right.
  auto batchOf = [](ArrayRef<Value> dims) {
    return dims.size() > 2 ? dims.drop_back(2) : ArrayRef<Value>();
  };
  ArrayRef<Value> a = batchOf(left), c = batchOf(right);
  llvm::SmallVector<Value> batch(std::max(a.size(), c.size()),
                                 lowering.index(1));
  for (ArrayRef<Value> dims : {a, c})
    for (auto [i, dim] : llvm::enumerate(dims)) {
      Value &other = batch[batch.size() - dims.size() + i];
      std::optional<int64_t> size = getConstantIntValue(dim);
      if (isConstantIntValue(other, 1) || (size && *size != 1))
        other = dim;
      else if (!size && other != dim && !getConstantIntValue(other))
        other = lowering.selectEqual(other, 1, dim, other);
    }
  unsigned m = batch.size(), n = m + hasRows, k = n + hasColumns, count = k + 1;
  llvm::SmallVector<unsigned> leftLoops, rightLoops, resultLoops;
  for (unsigned i = 0; i < m; ++i)
    resultLoops.push_back(i);
  leftLoops = rightLoops = resultLoops;
  llvm::SmallVector<Value> leftDims(batch), rightDims(batch);
  Contraction result;
  result.dims = batch;
  if (hasRows) {
    leftLoops.push_back(m);
    resultLoops.push_back(m);
    leftDims.push_back(left[left.size() - 2]);
    result.dims.push_back(leftDims.back());
  }
  leftLoops.push_back(k);
  leftDims.push_back(left.back());
  rightLoops.push_back(k);
  rightDims.push_back(hasColumns ? right[right.size() - 2] : right.back());
  if (hasColumns) {
    rightLoops.push_back(n);
    resultLoops.push_back(n);
    rightDims.push_back(right.back());
    result.dims.push_back(right.back());
  }
  result.lhs = onLoops(lowering, lhs, leftDims, leftLoops, count);
  result.rhs = onLoops(lowering, rhs, rightDims, rightLoops, count);
  result.result = AffineMap::getMultiDimMapWithTargets(count, resultLoops,
                                                       lowering.b.getContext());
  return result;
}

static LogicalResult lowerMatMul(nju::MatMulOp op, Lowering &lowering) {
  Value lhs = lowering[op.getLhs()], rhs = lowering[op.getRhs()];
  RankedTensorType type = Lowering::convert(op.getType());
  Type leftType = op.getLhs().getType().getElementType();
  Type rightType = op.getRhs().getType().getElementType();
  Type arithmetic = Lowering::arithmeticType(op.getType().getElementType());
  Contraction plan = contraction(lowering, lhs, rhs);
  auto sumType = type.clone(arithmetic);
  llvm::SmallVector<Value> dims = lowering.refine(type, plan.dims);
  Value result =
      emitContraction(lowering, sumType, dims, {lhs, rhs},
                      {plan.lhs, plan.rhs, plan.result}, {leftType, rightType});
  if (sumType != type)
    result = lowering.elementwise(
        type, {result}, [&](ImplicitLocOpBuilder &b, ValueRange x) {
          return Lowering::store(b, x[0], type.getElementType());
        });
  lowering.bind(op, result, dims);
  return success();
}

Value nju::lowering::emitContraction(Lowering &lowering, RankedTensorType type,
                                     ArrayRef<Value> dims,
                                     ArrayRef<Value> inputs,
                                     ArrayRef<AffineMap> maps,
                                     ArrayRef<Type> elementTypes) {
  Type arithmetic = type.getElementType();
  llvm::SmallVector<Value> loops(maps.back().getNumDims());
  for (auto [expr, dim] : llvm::zip(maps.back().getResults(), dims))
    loops[cast<AffineDimExpr>(expr).getPosition()] = dim;
  lowering.checkLoops(loops, inputs, maps.drop_back());
  llvm::SmallVector<utils::IteratorType> iterators(
      maps.back().getNumDims(), utils::IteratorType::reduction);
  for (AffineExpr expr : maps.back().getResults())
    iterators[cast<AffineDimExpr>(expr).getPosition()] =
        utils::IteratorType::parallel;
  Value start = lowering.filled(type, dims, lowering.number(arithmetic, 0));
  auto build = [&](OpBuilder &builder, Location loc, ValueRange args) {
    ImplicitLocOpBuilder b(loc, builder);
    Value x = Lowering::load(b, args[0], elementTypes[0]);
    Value y = Lowering::load(b, args[1], elementTypes[1]);
    Value sum;
    if (isa<FloatType>(arithmetic))
      sum = arith::AddFOp::create(b, args[2], arith::MulFOp::create(b, x, y));
    else
      sum = arith::AddIOp::create(b, args[2], arith::MulIOp::create(b, x, y));
    linalg::YieldOp::create(b, sum);
  };
  Value result =
      linalg::GenericOp::create(lowering.b, TypeRange{type}, inputs,
                                ValueRange{start}, maps, iterators, build)
          .getResult(0);
  lowering.setDims(result, lowering.refine(type, dims));
  return result;
}

/// A product with a packed or quantized weight matrix.
template <typename OpTy>
static LogicalResult lowerLinear(OpTy op, Lowering &lowering,
                                 ArrayRef<Value> weights,
                                 nju::LCQAttr format = nullptr) {
  Value input = lowering[op.getInput()];
  llvm::SmallVector<Value> dims = lowering.dims(input);
  RankedTensorType type = op.getType();
  dims.back() = lowering.index(type.getShape().back());
  llvm::SmallVector<Value> operands, others;
  for (Value weight : weights)
    operands.push_back(lowering[weight]);
  if (op.getBias())
    others.push_back(lowering[op.getBias()]);
  auto product = nju::exec::LinearOp::create(
      lowering.b, type, input, operands,
      /*choices=*/Value(), others, lowering.empty(type, dims), format);
  if (op.getBias())
    nju::exec::buildBiasEpilogue(lowering.b, op.getLoc(),
                                 product.getEpilogue());
  lowering.bind(op, product.getResult(), dims);
  return success();
}

void nju::lowering::populateMatMul(Table &table) {
  table.add<LinearOp>(+[](LinearOp op, Lowering &lowering) {
    return lowerLinear(op, lowering, op.getWeight());
  });
  table.add<LCQMatMulOp>(+[](LCQMatMulOp op, Lowering &lowering) {
    return lowerLinear(op, lowering,
                       {op.getCodes(), op.getBasis(), op.getFactors()},
                       op.getFormat());
  });
  table.add<MatMulOp>(lowerMatMul);
}
