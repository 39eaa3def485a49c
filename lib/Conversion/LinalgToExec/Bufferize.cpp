//===- Bufferize.cpp - From tensors to buffers -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/Bufferization/Transforms/OneShotAnalysis.h"
#include "mlir/Dialect/Bufferization/Transforms/OneShotModuleBufferize.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "nju/Conversion/Passes.h"
#include "nju/Dialect/Exec/IR/Exec.h"
#include "nju/Dialect/NJU/IR/NJU.h"

using namespace mlir;

namespace nju {
#define GEN_PASS_DEF_BUFFERIZE
#define GEN_PASS_DEF_FINALIZESIGNATURE
#include "nju/Conversion/Passes.h.inc"

/// Each use of an op that only gives a destination gets one of its own.
/// Otherwise values of one type share a buffer: a filled one would be copied,
/// one that lives twice could not be placed between, and the buffer of the
/// logits, which is the caller's, would hold activations as well.
template <typename Op>
static void separate(ModuleOp module) {
  llvm::SmallVector<Op> shared;
  module.walk([&](Op op) { shared.push_back(op); });
  for (Op op : shared) {
    if (op->use_empty())
      continue;
    OpBuilder b(op);
    for (OpOperand &use : llvm::make_early_inc_range(
             llvm::drop_begin(op->getResult(0).getUses())))
      use.set(b.clone(*op)->getResult(0));
  }
}

namespace {
struct Bufferize : impl::BufferizeBase<Bufferize> {
  using BufferizeBase::BufferizeBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    StringRef writable = bufferization::BufferizationDialect::kWritableAttrName;
    Builder builder(&getContext());
    for (auto function : module.getOps<func::FuncOp>())
      for (unsigned i = 0, e = function.getNumArguments(); i < e; ++i)
        function.setArgAttr(i, writable, builder.getBoolAttr(false));
    separate<linalg::FillOp>(module);
    separate<tensor::EmptyOp>(module);
    bufferization::OneShotBufferizationOptions options;
    options.bufferizeFunctionBoundaries = true;
    options.setFunctionBoundaryTypeConversion(
        bufferization::LayoutMapOption::IdentityLayoutMap);
    // Results of @main must be what malloc returned, see nju_abi_run_args.
    options.bufferAlignment = 0;
    bufferization::BufferizationState state;
    if (failed(
            bufferization::runOneShotModuleBufferize(module, options, state)))
      return signalPassFailure();
    for (auto function : module.getOps<func::FuncOp>())
      for (unsigned i = 0, e = function.getNumArguments(); i < e; ++i)
        function.removeArgAttr(i, writable);
  }
};
} // namespace
} // namespace nju

/// The allocation that a value is all of, possibly in another shape; null if
/// it is a part, or memory of somebody else.
static memref::AllocOp wholeAlloc(Value value) {
  while (Operation *def = value.getDefiningOp()) {
    if (auto alloc = dyn_cast<memref::AllocOp>(def))
      return alloc;
    if (!isa<memref::ExpandShapeOp, memref::CollapseShapeOp, memref::CastOp,
             memref::ReshapeOp>(def))
      break;
    value = def->getOperand(0);
  }
  return nullptr;
}

static Value allocLike(ImplicitLocOpBuilder &b, Value value) {
  auto type = cast<MemRefType>(value.getType());
  llvm::SmallVector<Value> sizes;
  for (int64_t i = 0; i < type.getRank(); ++i)
    if (type.isDynamicDim(i))
      sizes.push_back(memref::DimOp::create(b, value, i));
  return memref::AllocOp::create(
      b, MemRefType::get(type.getShape(), type.getElementType()), sizes);
}

/// Each result is a block of its own, which nothing else refers to.
static void makeResultsFresh(func::FuncOp function) {
  auto results = cast<func::ReturnOp>(function.front().getTerminator());
  ImplicitLocOpBuilder b(function.getLoc(), results);
  llvm::SmallPtrSet<Operation *, 4> seen;
  for (OpOperand &operand : results->getOpOperands()) {
    memref::AllocOp alloc = wholeAlloc(operand.get());
    if (alloc && seen.insert(alloc).second)
      continue;
    Value copy = allocLike(b, operand.get());
    memref::CopyOp::create(b, operand.get(), copy);
    operand.set(copy);
  }
  function.setFunctionType(FunctionType::get(function.getContext(),
                                             function.getArgumentTypes(),
                                             results.getOperandTypes()));
}

static BlockArgument addArgument(func::FuncOp function, unsigned index,
                                 Type type) {
  Builder b(function.getContext());
  (void)function.insertArgument(index, type, b.getDictionaryAttr({}),
                                function.getLoc());
  return function.getArgument(index);
}

/// A view of all of `buffer` with the type and sizes of `alloc`.
static void replaceAlloc(memref::AllocOp alloc, Value buffer) {
  ImplicitLocOpBuilder b(alloc.getLoc(), alloc);
  MemRefType type = alloc.getType();
  llvm::SmallVector<OpFoldResult> sizes, strides(type.getRank());
  unsigned dynamic = 0;
  for (int64_t size : type.getShape())
    sizes.push_back(ShapedType::isDynamic(size)
                        ? OpFoldResult(alloc.getDynamicSizes()[dynamic++])
                        : b.getIndexAttr(size));
  Value stride = arith::ConstantIndexOp::create(b, 1);
  OpFoldResult next = b.getIndexAttr(1);
  for (int64_t i = type.getRank() - 1; i >= 0; --i) {
    strides[i] = next;
    Value size =
        isa<Value>(sizes[i])
            ? cast<Value>(sizes[i])
            : Value(arith::ConstantIndexOp::create(b, type.getDimSize(i)));
    stride = b.createOrFold<arith::MulIOp>(stride, size);
    next = getAsOpFoldResult(stride);
  }
  Value view = memref::ReinterpretCastOp::create(
      b, type, buffer, OpFoldResult(b.getIndexAttr(0)), sizes, strides);
  alloc.replaceAllUsesWith(view);
  alloc.erase();
}

/// The arguments that the runtime gives a step besides tokens, positions,
/// sequences and rows; the result becomes the argument `logits`.
static LogicalResult finalizeStep(func::FuncOp step) {
  if (step.getNumArguments() != 4 || step.getNumResults() != 1)
    return step.emitOpError()
           << "has type " << step.getFunctionType()
           << ", expected tokens, positions, sequences, rows and one result";
  Builder b(step.getContext());
  Type index = b.getIndexType();
  auto bytes = MemRefType::get({ShapedType::kDynamic}, b.getI8Type());
  addArgument(step, 0, index);
  addArgument(step, 1, index);
  auto results = cast<func::ReturnOp>(step.front().getTerminator());
  Value result = results.getOperand(0);
  BlockArgument logits = addArgument(step, 6, result.getType());
  for (unsigned i : {7, 8, 9})
    addArgument(step, i, bytes);
  addArgument(step, 10, index);
  addArgument(step, 11, index);
  if (memref::AllocOp alloc = wholeAlloc(result))
    replaceAlloc(alloc, logits);
  else {
    ImplicitLocOpBuilder builder(step.getLoc(), results);
    memref::CopyOp::create(builder, result, logits);
  }
  results->setOperands({});
  step.removeResAttrsAttr();
  step.setFunctionType(
      FunctionType::get(step.getContext(), step.getArgumentTypes(), {}));
  return success();
}

static void finalizeMain(func::FuncOp main) {
  makeResultsFresh(main);
  Builder b(main.getContext());
  addArgument(main, 0, b.getIndexType());
  addArgument(main, main.getNumArguments(),
              MemRefType::get({ShapedType::kDynamic}, b.getI8Type()));
}

namespace nju {
namespace {
struct FinalizeSignature : impl::FinalizeSignatureBase<FinalizeSignature> {
  using FinalizeSignatureBase::FinalizeSignatureBase;

  void runOnOperation() override {
    for (auto function : getOperation().getOps<func::FuncOp>()) {
      if (function.isExternal())
        continue;
      if (function.getName() != "step")
        finalizeMain(function);
      else if (failed(finalizeStep(function)))
        return signalPassFailure();
    }
  }
};
} // namespace
} // namespace nju
