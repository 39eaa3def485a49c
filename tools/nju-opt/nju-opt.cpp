//===- nju-opt.cpp - Runs passes on IR -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/DialectRegistry.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "mlir/Transforms/Passes.h"
#include "nju/Codegen/Passes.h"
#include "nju/Conversion/Passes.h"
#include "nju/Dialect/Exec/IR/Exec.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include "nju/Target/Passes.h"
#include "nju/Target/ToLLVM.h"
#include "nju/Transforms/Passes.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  registry.insert<nju::NJUDialect, nju::exec::ExecDialect,
                  mlir::arith::ArithDialect, mlir::func::FuncDialect>();
  nju::registerTargetInterfaces(registry);
  mlir::registerTransformsPasses();
  nju::registerCodegenPasses();
  nju::registerNJUConversionPasses();
  nju::registerTargetPasses();
  nju::registerTransformsPasses();
  return mlir::asMainReturnCode(
      mlir::MlirOptMain(argc, argv, "NJU pass driver\n", registry));
}
