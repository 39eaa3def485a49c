//===- nju-opt.cpp - Runs passes on IR -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/OpenMP/OpenMPDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/DialectRegistry.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "mlir/Transforms/Passes.h"
#include "nju/Codegen/Passes.h"
#include "nju/Conversion/BufferizableOpInterfaceImpl.h"
#include "nju/Conversion/Passes.h"
#include "nju/Conversion/Pipelines.h"
#include "nju/Dialect/Exec/IR/Exec.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include "nju/Target/Passes.h"
#include "nju/Target/ToLLVM.h"
#include "nju/Transforms/Passes.h"
#include "nju/Transforms/Pipelines.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  registry.insert<nju::NJUDialect, nju::exec::ExecDialect,
                  mlir::arith::ArithDialect, mlir::func::FuncDialect,
                  mlir::linalg::LinalgDialect, mlir::math::MathDialect,
                  mlir::memref::MemRefDialect, mlir::omp::OpenMPDialect,
                  mlir::scf::SCFDialect, mlir::tensor::TensorDialect,
                  mlir::vector::VectorDialect>();
  nju::registerBufferizationModels(registry);
  nju::registerTargetInterfaces(registry);
  mlir::registerTransformsPasses();
  nju::registerCodegenPasses();
  nju::registerNJUConversionPasses();
  nju::registerLoweringPipeline();
  nju::registerTargetPasses();
  nju::registerGraphPipeline();
  nju::registerTransformsPasses();
  return mlir::asMainReturnCode(
      mlir::MlirOptMain(argc, argv, "NJU pass driver\n", registry));
}
