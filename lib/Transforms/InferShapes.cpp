//===- InferShapes.cpp - Infer result types from the arguments' types -*- C++
//-*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "nju/Dialect/NJU/Analysis/ShapeInference.h"
#include "nju/Transforms/Passes.h"

namespace nju {
#define GEN_PASS_DEF_INFERSHAPES
#include "nju/Transforms/Passes.h.inc"
} // namespace nju

namespace {
struct InferShapes : nju::impl::InferShapesBase<InferShapes> {
  void runOnOperation() override {
    for (auto function : getOperation().getOps<mlir::func::FuncOp>()) {
      nju::ShapeInference shapes;
      if (mlir::failed(shapes.inferFunction(function)))
        return signalPassFailure();
    }
  }
};
} // namespace
