//===- KernelAttributes.cpp - Notes on kernels ------------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Dialect/Exec/IR/KernelAttributes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;

std::pair<Value, Value> nju::exec::createShare(OpBuilder &b, Location loc,
                                               Value count, Value worker,
                                               Value workers) {
  auto boundary = [&](Value number) -> Value {
    Value items = arith::MulIOp::create(b, loc, number, count);
    return arith::DivUIOp::create(b, loc, items, workers);
  };
  Value begin = boundary(worker);
  Value one = arith::ConstantIndexOp::create(b, loc, 1);
  Value next = arith::AddIOp::create(b, loc, worker, one);
  return {begin, boundary(next)};
}

void nju::exec::removeKernelAttributes(func::FuncOp kernel) {
  for (StringRef name :
       {kKernelAttr, kSerialAttr, kDealRowsAttr, kIdleForOneRowAttr})
    kernel->removeAttr(name);
  for (unsigned i = 0, e = kernel.getNumArguments(); i < e; ++i)
    kernel.removeArgAttr(i, kRowsAttr);
}
