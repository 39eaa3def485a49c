//===- BodyEmitter.cpp - Bodies of linalg ops on vectors -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "BodyEmitter.h"
#include "mlir/Dialect/Affine/Utils.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace nju::vectorize;

static bool isUnitStride(MemRefType type) {
  llvm::SmallVector<int64_t> strides;
  int64_t offset;
  return type.getRank() > 0 &&
         succeeded(type.getStridesAndOffset(strides, offset)) &&
         strides.back() == 1;
}

static VectorType vectorOf(Type type) { return VectorType::get(kLanes, type); }

/// An operand is the same along the loop, or a run of neighbours in memory.
std::optional<Kind> BodyEmitter::kindOfOperand(OpOperand &operand) const {
  auto type = dyn_cast<MemRefType>(operand.get().getType());
  if (!type || loop < 0)
    return Kind::Uniform;
  AffineMap map = op.getMatchingIndexingMap(&operand);
  bool uses = false;
  for (auto [i, expr] : llvm::enumerate(map.getResults())) {
    if (!expr.isFunctionOfDim(loop))
      continue;
    bool last = i + 1 == map.getNumResults();
    if (!last || expr != getAffineDimExpr(loop, op.getContext()) ||
        !isUnitStride(type))
      return std::nullopt;
    uses = true;
  }
  return uses ? Kind::Varying : Kind::Uniform;
}

/// A load from a buffer that the body captures: of one element, or of a run of
/// neighbours.
std::optional<Kind> BodyEmitter::kindOfLoad(Operation &nested) const {
  auto load = cast<memref::LoadOp>(nested);
  OperandRange indices = load.getIndices();
  if (llvm::all_of(indices,
                   [&](Value i) { return kindOf(i) == Kind::Uniform; }))
    return Kind::Uniform;
  bool run = kindOf(indices.back()) == Kind::Linear &&
             isUnitStride(load.getMemRefType()) &&
             llvm::all_of(indices.drop_back(),
                          [&](Value i) { return kindOf(i) == Kind::Uniform; });
  return run ? std::optional(Kind::Varying) : std::nullopt;
}

std::optional<Kind> BodyEmitter::kindOfOp(Operation &nested) const {
  if (auto index = dyn_cast<linalg::IndexOp>(nested))
    return static_cast<int64_t>(index.getDim()) == loop ? Kind::Linear
                                                        : Kind::Uniform;
  if (isa<memref::LoadOp>(nested))
    return kindOfLoad(nested);
  bool uniform = llvm::all_of(nested.getOperands(), [&](Value operand) {
    return kindOf(operand) == Kind::Uniform;
  });
  if (nested.getNumRegions() != 0)
    return std::nullopt;
  if (uniform)
    return Kind::Uniform;
  bool first = kindOf(nested.getOperand(0)) == Kind::Linear;
  if (isa<arith::IndexCastOp>(nested) && first)
    return Kind::Linear;
  if (isa<arith::AddIOp, arith::SubIOp>(nested)) {
    bool second = kindOf(nested.getOperand(1)) == Kind::Linear;
    Kind other = kindOf(nested.getOperand(first ? 1 : 0));
    if (other == Kind::Uniform &&
        (first || (second && isa<arith::AddIOp>(nested))))
      return Kind::Linear;
  }
  if (!OpTrait::hasElementwiseMappableTraits(&nested))
    return std::nullopt;
  return Kind::Varying;
}

bool BodyEmitter::classify() {
  if (loop < 0)
    return true;
  bool reads = false;
  for (OpOperand &operand : op->getOpOperands()) {
    std::optional<Kind> kind = kindOfOperand(operand);
    if (!kind)
      return false;
    BlockArgument argument = op.getMatchingBlockArgument(&operand);
    // Accumulators are vectors even where the loop reduces.
    bool accumulates = op.isDpsInit(&operand) && op.getNumReductionLoops() > 0;
    kinds[argument] = accumulates ? Kind::Varying : *kind;
    reads |= *kind == Kind::Varying;
    if (op.isDpsInit(&operand) && !accumulates && *kind != Kind::Varying)
      return false;
  }
  for (Operation &nested : op.getBody()->without_terminator()) {
    std::optional<Kind> kind = kindOfOp(nested);
    if (!kind)
      return false;
    for (Value result : nested.getResults())
      kinds[result] = *kind;
  }
  return reads;
}

static bool isMaskable(Type type) {
  if (auto memref = dyn_cast<MemRefType>(type))
    type = memref.getElementType();
  unsigned width = type.isIndex() ? 64 : type.getIntOrFloatBitWidth();
  return width == 32 || width == 64;
}

bool BodyEmitter::canMask() const {
  for (OpOperand &operand : op->getOpOperands())
    if (isa<MemRefType>(operand.get().getType()) &&
        !isMaskable(operand.get().getType()))
      return false;
  for (auto load : op.getBody()->getOps<memref::LoadOp>())
    if (!isMaskable(load.getMemRefType()))
      return false;
  return true;
}

llvm::SmallVector<Value> BodyEmitter::indices(ImplicitLocOpBuilder &b,
                                              OpOperand &operand,
                                              ArrayRef<Value> position) const {
  llvm::SmallVector<Value> result;
  for (AffineExpr expr : op.getMatchingIndexingMap(&operand).getResults()) {
    if (auto dim = dyn_cast<AffineDimExpr>(expr))
      result.push_back(position[dim.getPosition()]);
    else
      result.push_back(
          affine::expandAffineExpr(b, b.getLoc(), expr, position, {}));
  }
  return result;
}

Value BodyEmitter::loadVector(ImplicitLocOpBuilder &b, Value buffer,
                              ValueRange indices, Value mask) {
  Type element = cast<MemRefType>(buffer.getType()).getElementType();
  VectorType type = vectorOf(element);
  if (!mask)
    return vector::LoadOp::create(b, type, buffer, indices);
  Value zero = arith::ConstantOp::create(b, b.getZeroAttr(type));
  return vector::MaskedLoadOp::create(b, type, buffer, indices, mask, zero);
}

void BodyEmitter::storeVector(ImplicitLocOpBuilder &b, Value vector,
                              Value buffer, ValueRange indices, Value mask) {
  if (mask)
    vector::MaskedStoreOp::create(b, buffer, indices, mask, vector);
  else
    vector::StoreOp::create(b, vector, buffer, indices);
}

Value BodyEmitter::asVector(ImplicitLocOpBuilder &b, const IRMapping &map,
                            Value value) const {
  Value emitted = map.lookupOrDefault(value);
  Kind kind = kindOf(value);
  if (kind == Kind::Varying)
    return emitted;
  Value vector =
      vector::BroadcastOp::create(b, vectorOf(emitted.getType()), emitted);
  if (kind == Kind::Uniform)
    return vector;
  Type element = emitted.getType();
  llvm::SmallVector<Attribute> numbers;
  for (int64_t i = 0; i < kLanes; ++i)
    numbers.push_back(b.getIntegerAttr(element, i));
  Value step = arith::ConstantOp::create(
      b, DenseElementsAttr::get(vectorOf(element), numbers));
  return arith::AddIOp::create(b, vector, step);
}

/// What stands for an operand that is a result: its sum so far, if there is
/// one.
static Value accumulatorOf(linalg::GenericOp op, OpOperand &operand,
                           ArrayRef<Value> accumulators) {
  if (accumulators.empty() || !op.isDpsInit(&operand))
    return nullptr;
  return accumulators[operand.getOperandNumber() - op.getNumDpsInputs()];
}

void BodyEmitter::emitUniform(ImplicitLocOpBuilder &b, IRMapping &map,
                              ArrayRef<Value> position,
                              ArrayRef<Value> accumulators) const {
  for (OpOperand &operand : op->getOpOperands()) {
    BlockArgument argument = op.getMatchingBlockArgument(&operand);
    if (kindOf(argument) != Kind::Uniform || argument.use_empty())
      continue;
    if (Value accumulator = accumulatorOf(op, operand, accumulators))
      map.map(argument, accumulator);
    else if (!isa<MemRefType>(operand.get().getType()))
      map.map(argument, operand.get());
    else
      map.map(argument, memref::LoadOp::create(b, operand.get(),
                                               indices(b, operand, position)));
  }
  for (Operation &nested : op.getBody()->without_terminator()) {
    if (nested.getNumResults() == 0 ||
        kindOf(nested.getResult(0)) != Kind::Uniform)
      continue;
    if (auto index = dyn_cast<linalg::IndexOp>(nested)) {
      map.map(index.getResult(), position[index.getDim()]);
      continue;
    }
    Operation *clone = b.clone(nested, map);
    clone->walk([&](linalg::IndexOp index) {
      index.replaceAllUsesWith(position[index.getDim()]);
      index.erase();
    });
  }
}

llvm::SmallVector<Value> BodyEmitter::emit(ImplicitLocOpBuilder &b,
                                           const IRMapping &uniform,
                                           ArrayRef<Value> position,
                                           ArrayRef<Value> accumulators,
                                           Value mask) const {
  IRMapping map(uniform);
  for (OpOperand &operand : op->getOpOperands()) {
    BlockArgument argument = op.getMatchingBlockArgument(&operand);
    if (kindOf(argument) != Kind::Varying || argument.use_empty())
      continue;
    Value accumulator = accumulatorOf(op, operand, accumulators);
    map.map(argument, accumulator
                          ? accumulator
                          : loadVector(b, operand.get(),
                                       indices(b, operand, position), mask));
  }
  for (Operation &nested : op.getBody()->without_terminator()) {
    Kind kind = kindOf(nested.getResult(0));
    if (kind == Kind::Uniform)
      continue;
    if (isa<linalg::IndexOp>(nested)) {
      map.map(nested.getResult(0), position[loop]);
    } else if (kind == Kind::Linear) {
      b.clone(nested, map);
    } else if (auto load = dyn_cast<memref::LoadOp>(nested)) {
      llvm::SmallVector<Value> indices;
      for (Value index : load.getIndices())
        indices.push_back(map.lookupOrDefault(index));
      Value buffer = map.lookupOrDefault(load.getMemRef());
      map.map(load.getResult(), loadVector(b, buffer, indices, mask));
    } else {
      OperationState state(b.getLoc(), nested.getName());
      for (Value operand : nested.getOperands())
        state.addOperands(asVector(b, map, operand));
      state.addTypes(vectorOf(nested.getResult(0).getType()));
      state.addAttributes(nested.getAttrs());
      map.map(nested.getResult(0), b.create(state)->getResult(0));
    }
  }
  llvm::SmallVector<Value> results;
  for (Value yielded : op.getBody()->getTerminator()->getOperands())
    results.push_back(isScalar() ? map.lookupOrDefault(yielded)
                                 : asVector(b, map, yielded));
  return results;
}
