//===- KernelAttributes.cpp - Notes on kernels ------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Dialect/Exec/IR/KernelAttributes.h"

void nju::exec::removeKernelAttributes(mlir::func::FuncOp kernel) {
  for (llvm::StringRef name :
       {kKernelAttr, kSerialAttr, kDealRowsAttr, kIdleForOneRowAttr})
    kernel->removeAttr(name);
  for (unsigned i = 0, e = kernel.getNumArguments(); i < e; ++i)
    kernel.removeArgAttr(i, kRowsAttr);
}
