//===- TestModule.h - Functions parsed for the tests of the analyses -*- C++
//-*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_UNITTESTS_DIALECT_NJU_ANALYSIS_TESTMODULE_H
#define NJU_UNITTESTS_DIALECT_NJU_ANALYSIS_TESTMODULE_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "nju/Dialect/NJU/Analysis/ShapeInference.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include "gtest/gtest.h"

/// A module from text, its function @main, and the diagnostics given.
struct TestModule {
  explicit TestModule(llvm::StringRef text) {
    context.loadDialect<nju::NJUDialect, mlir::func::FuncDialect>();
    handler = std::make_unique<mlir::ScopedDiagnosticHandler>(
        &context, [this](mlir::Diagnostic &diagnostic) {
          diagnostics += diagnostic.str() + "\n";
          return mlir::success();
        });
    module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
    EXPECT_TRUE(module) << diagnostics;
    if (module)
      main = module->lookupSymbol<mlir::func::FuncOp>("main");
  }

  mlir::Value argument(unsigned index) { return main.getArgument(index); }
  /// Operand of the return op.
  mlir::Value result(unsigned index = 0) {
    return main.getBody().back().getTerminator()->getOperand(index);
  }

  mlir::MLIRContext context;
  std::string diagnostics;
  std::unique_ptr<mlir::ScopedDiagnosticHandler> handler;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  mlir::func::FuncOp main;
};

/// Expressions as "[a, b]".
inline std::string toString(llvm::ArrayRef<nju::SymbolicExpr> exprs) {
  std::string text = "[";
  for (nju::SymbolicExpr expr : exprs)
    text += (text.size() > 1 ? ", " : "") + expr.str();
  return text + "]";
}

#endif // NJU_UNITTESTS_DIALECT_NJU_ANALYSIS_TESTMODULE_H
