//===- RowLoop.cpp - Dealing out a step's work by tokens --------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "RowLoop.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "nju/Dialect/Exec/IR/KernelAttributes.h"

using namespace mlir;
using namespace nju;

/// Elements of a row that one worker does faster alone than several do with a
/// barrier before and after.
static constexpr int64_t kLongRow = 1 << 15;

/// The dimension of the operand that `loop` runs along, if those before it
/// have the size 1.
static std::optional<int64_t> rowDimension(linalg::GenericOp op,
                                           OpOperand &operand, int64_t loop) {
  auto type = dyn_cast<MemRefType>(operand.get().getType());
  if (!type)
    return std::nullopt;
  AffineMap map = op.getMatchingIndexingMap(&operand);
  for (auto [i, expr] : llvm::enumerate(map.getResults())) {
    auto dim = dyn_cast<AffineDimExpr>(expr);
    if (dim && dim.getPosition() == loop)
      return i;
    if (type.getDimSize(i) != 1)
      return std::nullopt;
  }
  return std::nullopt;
}

std::optional<int64_t> vectorize::findRowLoop(linalg::GenericOp op) {
  llvm::SmallVector<int64_t> extents = op.getStaticLoopRanges();
  if (llvm::count_if(extents, ShapedType::isDynamic) != 1)
    return std::nullopt;
  int64_t rowLoop =
      llvm::find_if(extents, ShapedType::isDynamic) - extents.begin();
  int64_t length = 1;
  for (int64_t extent : extents)
    length *= ShapedType::isDynamic(extent) ? 1 : extent;
  if (length > kLongRow ||
      op.getIteratorTypesArray()[rowLoop] != utils::IteratorType::parallel)
    return std::nullopt;
  for (OpOperand &init : op.getDpsInitsMutable())
    if (!rowDimension(op, init, rowLoop))
      return std::nullopt;
  return rowLoop;
}

std::optional<int64_t> vectorize::findRowDimension(BlockArgument argument) {
  std::optional<int64_t> common;
  for (OpOperand &use : argument.getUses()) {
    if (isa<linalg::FillOp, memref::DimOp>(use.getOwner()))
      continue;
    // Reads from within a body may be anywhere.
    auto generic = dyn_cast<linalg::GenericOp>(use.getOwner());
    std::optional<int64_t> loop = generic ? findRowLoop(generic) : std::nullopt;
    auto dimension = loop ? rowDimension(generic, use, *loop) : std::nullopt;
    if (!dimension || (common && common != dimension))
      return std::nullopt;
    common = dimension;
  }
  return common;
}

void vectorize::markRowArguments(func::FuncOp kernel) {
  Builder b(kernel.getContext());
  for (BlockArgument argument : kernel.getArguments())
    if (std::optional<int64_t> dimension = findRowDimension(argument))
      kernel.setArgAttr(argument.getArgNumber(), exec::kRowsAttr,
                        b.getI64IntegerAttr(*dimension));
}

bool vectorize::isStartValue(linalg::FillOp op) {
  Value buffer = op.getOutputs()[0];
  return llvm::any_of(buffer.getUsers(), [&](Operation *user) {
    auto generic = dyn_cast<linalg::GenericOp>(user);
    return generic && generic.getNumReductionLoops() > 0 &&
           llvm::is_contained(generic.getDpsInits(), buffer);
  });
}

/// True if all operands but constants are walked in the order of their memory.
static bool isContiguous(linalg::GenericOp op) {
  if (op.getNumLoops() <= 1 || op.getNumReductionLoops() > 0 ||
      op.hasIndexSemantics())
    return false;
  return llvm::all_of(op->getOpOperands(), [&](OpOperand &operand) {
    auto type = dyn_cast<MemRefType>(operand.get().getType());
    AffineMap map = op.getMatchingIndexingMap(&operand);
    return !type ||
           llvm::all_of(map.getResults(), llvm::IsaPred<AffineConstantExpr>) ||
           (map.isIdentity() && type.getLayout().isIdentity());
  });
}

linalg::GenericOp vectorize::flatten(linalg::GenericOp op,
                                     std::optional<int64_t> &rowLoop) {
  if (!isContiguous(op))
    return op;
  int64_t loops = op.getNumLoops();
  llvm::SmallVector<ReassociationIndices> groups(1);
  for (int64_t loop = 0; loop < loops; ++loop) {
    groups.back().push_back(loop);
    if (loop == rowLoop && loop + 1 < loops)
      groups.emplace_back();
  }
  int64_t rank = groups.size();
  if (rank == loops)
    return op;
  ImplicitLocOpBuilder b(op.getLoc(), op);
  llvm::SmallVector<Value> ins, outs;
  llvm::SmallVector<AffineMap> maps;
  for (OpOperand &operand : op->getOpOperands()) {
    AffineMap map = op.getMatchingIndexingMap(&operand);
    Value value = operand.get();
    if (map.isIdentity() && isa<MemRefType>(value.getType())) {
      value = memref::CollapseShapeOp::create(b, value, groups);
      map = b.getMultiDimIdentityMap(rank);
    } else {
      map = AffineMap::get(rank, 0, map.getResults(), b.getContext());
    }
    maps.push_back(map);
    (op.isDpsInit(&operand) ? outs : ins).push_back(value);
  }
  llvm::SmallVector<utils::IteratorType> iterators(
      rank, utils::IteratorType::parallel);
  auto flat =
      linalg::GenericOp::create(b, TypeRange{}, ins, outs, maps, iterators);
  flat.getRegion().takeBody(op.getRegion());
  op.erase();
  if (rowLoop)
    rowLoop = 0;
  return flat;
}
