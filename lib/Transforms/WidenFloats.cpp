//===- WidenFloats.cpp - Half floats become f32 -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include "nju/Transforms/Passes.h"

namespace nju {
#define GEN_PASS_DEF_WIDENFLOATS
#include "nju/Transforms/Passes.h.inc"
} // namespace nju

using namespace mlir;

namespace {

bool isNarrow(Type type) {
  return isa<Float16Type, BFloat16Type>(getElementTypeOrSelf(type));
}

RankedTensorType widened(Type type) {
  return cast<RankedTensorType>(type).clone(
      Float32Type::get(type.getContext()));
}

/// A value of the narrow type is read as f32 by everything but `cast` itself.
void readThroughCast(OpBuilder &builder, Value value) {
  auto cast = nju::CastOp::create(builder, value.getLoc(),
                                  widened(value.getType()), value);
  value.replaceAllUsesExcept(cast, cast);
}

class WidenFloats : public nju::impl::WidenFloatsBase<WidenFloats> {
public:
  using WidenFloatsBase::WidenFloatsBase;

  void runOnOperation() override {
    getOperation().walk([&](func::FuncOp function) {
      if (!function.isExternal())
        widen(function);
    });
  }

private:
  void widen(func::FuncOp function) {
    for (Operation &op :
         llvm::make_early_inc_range(function.getBody().getOps()))
      if (!isa<func::ReturnOp>(op))
        widen(&op);
    OpBuilder builder(&function.getBody().front(),
                      function.getBody().front().begin());
    for (BlockArgument argument : function.getArguments())
      if (isNarrow(argument.getType()))
        readThroughCast(builder, argument);
    for (Operation &op :
         llvm::make_early_inc_range(function.getBody().getOps()))
      if (auto cast = dyn_cast<nju::CastOp>(op))
        dropIfSame(cast);
    narrowResults(function);
  }

  /// Gives the results of an op their wide types. Params stay as they are
  /// stored and are read through a cast.
  void widen(Operation *op) {
    if (auto param = dyn_cast<nju::ParamRefOp>(op)) {
      if (!isNarrow(param.getType()))
        return;
      OpBuilder builder(op->getContext());
      builder.setInsertionPointAfter(op);
      return readThroughCast(builder, param.getResult());
    }
    if (auto constant = dyn_cast<nju::ConstantOp>(op))
      return widen(constant);
    for (Value result : op->getResults()) {
      if (!isNarrow(result.getType()))
        continue;
      result.setType(widened(result.getType()));
      ++numWidened;
    }
  }

  void widen(nju::ConstantOp constant) {
    auto value = dyn_cast<DenseElementsAttr>(constant.getValue());
    if (!isNarrow(constant.getType()) || !value)
      return;
    Type f32 = Float32Type::get(constant.getContext());
    constant.setValueAttr(value.mapValues(f32, [](const APFloat &element) {
      APFloat wide = element;
      bool losesInfo = false;
      wide.convert(APFloat::IEEEsingle(), APFloat::rmNearestTiesToEven,
                   &losesInfo);
      return wide.bitcastToAPInt();
    }));
    constant.getResult().setType(widened(constant.getType()));
    ++numWidened;
  }

  void dropIfSame(nju::CastOp cast) {
    if (cast.getInput().getType() != cast.getType())
      return;
    cast.replaceAllUsesWith(cast.getInput());
    cast.erase();
    ++numCasts;
  }

  /// The function's results keep their types.
  void narrowResults(func::FuncOp function) {
    Operation *terminator = function.getBody().front().getTerminator();
    OpBuilder builder(terminator);
    for (auto [operand, type] :
         llvm::zip(terminator->getOpOperands(), function.getResultTypes())) {
      Value value = operand.get();
      auto wanted = dyn_cast<RankedTensorType>(type);
      if (!wanted || value.getType() == type ||
          !isa<RankedTensorType>(value.getType()))
        continue;
      auto narrow = cast<RankedTensorType>(value.getType())
                        .clone(wanted.getElementType());
      operand.set(
          nju::CastOp::create(builder, terminator->getLoc(), narrow, value));
    }
  }
};

} // namespace
