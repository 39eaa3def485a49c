//===- ExecOps.cpp - Programs of one device -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "nju/Dialect/Exec/IR/Exec.h"

using namespace mlir;

#include "nju/Dialect/Exec/IR/ExecDialect.cpp.inc"
#define GET_OP_CLASSES
#include "nju/Dialect/Exec/IR/ExecOps.cpp.inc"

void nju::exec::ExecDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "nju/Dialect/Exec/IR/ExecOps.cpp.inc"
      >();
}

LogicalResult
nju::exec::LaunchOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto kernel =
      symbols.lookupNearestSymbolFrom<func::FuncOp>(*this, getKernelAttr());
  if (!kernel)
    return emitOpError() << "launches " << getKernelAttr()
                         << ", which is no function";
  llvm::SmallVector<Type> expected(2, IndexType::get(getContext()));
  llvm::append_range(expected, getOperandTypes());
  if (kernel.getArgumentTypes() != llvm::ArrayRef<Type>(expected))
    return emitOpError() << "launches " << getKernelAttr() << " of type "
                         << kernel.getFunctionType() << ", expected arguments "
                         << "(" << expected << ")";
  return success();
}

void nju::exec::LaunchOp::getEffects(
    llvm::SmallVectorImpl<MemoryEffects::EffectInstance> &effects) {
  for (OpOperand &operand : getInsMutable())
    effects.emplace_back(MemoryEffects::Read::get(), &operand);
  for (OpOperand &operand : getOutsMutable()) {
    effects.emplace_back(MemoryEffects::Read::get(), &operand);
    effects.emplace_back(MemoryEffects::Write::get(), &operand);
  }
}

/// On memrefs: reads the inputs, writes the output. On tensors there is nothing
/// to see.
static void addBufferEffects(
    DestinationStyleOpInterface op,
    llvm::SmallVectorImpl<MemoryEffects::EffectInstance> &effects) {
  for (OpOperand &operand : op->getOpOperands()) {
    if (!isa<MemRefType>(operand.get().getType()))
      continue;
    if (op.isDpsInit(&operand))
      effects.emplace_back(MemoryEffects::Write::get(), &operand);
    else
      effects.emplace_back(MemoryEffects::Read::get(), &operand);
  }
}

void nju::exec::buildBiasEpilogue(OpBuilder b, Location loc, Region &epilogue) {
  Block *block = b.createBlock(&epilogue, {}, {b.getF32Type(), b.getF32Type()},
                               {loc, loc});
  Value sum = arith::AddFOp::create(b, loc, block->getArgument(0),
                                    block->getArgument(1));
  YieldOp::create(b, loc, sum);
}

LogicalResult nju::exec::LinearOp::verify() {
  if (getExperts() < 1 || (!getChoices() && getExperts() != 1) ||
      (getChoices() && !getOthers().empty()))
    return emitOpError() << "has " << getExperts() << " experts and "
                         << getOthers().size() << " other operands, expected "
                         << "choices for several experts and then no others";
  if (getWeights().size() % getWeightOperands() != 0)
    return emitOpError() << "has " << getWeights().size()
                         << " operands of weights with a format, expected "
                         << getWeightOperands() << " for each";
  size_t weights = getNumProducts();
  if (getEpilogue().empty()) {
    if (weights != 1 || !getOthers().empty())
      return emitOpError() << "has " << weights << " weights and "
                           << getOthers().size()
                           << " other operands, expected an epilogue for more "
                           << "than one weight";
    return success();
  }
  if (weights < 1 || weights > 2)
    return emitOpError() << "has " << weights << " weights, expected 1 or 2";
  if (weights == 2 &&
      getWeights().take_front(getWeightOperands()).getTypes() !=
          getWeights().take_back(getWeightOperands()).getTypes())
    return emitOpError() << "has weights of types " << getWeights().getTypes()
                         << ", expected equal ones";
  Block &block = getEpilogue().front();
  auto isF32 = [](Type type) { return type.isF32(); };
  if (block.getNumArguments() != weights + getOthers().size() ||
      !llvm::all_of(block.getArgumentTypes(), isF32))
    return emitOpError() << "has an epilogue of " << block.getArgumentTypes()
                         << ", expected " << weights + getOthers().size()
                         << " arguments of type f32";
  int64_t rank = cast<ShapedType>(getOutput().getType()).getRank();
  for (Type type : getOthers().getTypes())
    if (auto shaped = cast<ShapedType>(type);
        !shaped.getElementType().isF32() ||
        (shaped.getRank() != rank && shaped.getRank() != 1))
      return emitOpError() << "has another operand of type " << type
                           << ", expected f32 of rank 1 or " << rank;
  return success();
}

void nju::exec::LinearOp::getEffects(
    llvm::SmallVectorImpl<MemoryEffects::EffectInstance> &effects) {
  addBufferEffects(*this, effects);
}

void nju::exec::DequantizeOp::getEffects(
    llvm::SmallVectorImpl<MemoryEffects::EffectInstance> &effects) {
  addBufferEffects(*this, effects);
}

void nju::exec::CachedAttentionOp::getEffects(
    llvm::SmallVectorImpl<MemoryEffects::EffectInstance> &effects) {
  addBufferEffects(*this, effects);
  // The cache.
  effects.emplace_back(MemoryEffects::Read::get());
  effects.emplace_back(MemoryEffects::Write::get());
}
