//===- NJUOps.td - All ops of the nju dialect -*- tablegen -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_DIALECT_NJU_IR_NJUOPS
#define NJU_DIALECT_NJU_IR_NJUOPS

include "nju/Dialect/NJU/IR/NJUBase.td"
include "nju/Dialect/NJU/IR/Attention.td"
include "nju/Dialect/NJU/IR/Elementwise.td"
include "nju/Dialect/NJU/IR/Experts.td"
include "nju/Dialect/NJU/IR/MatMul.td"
include "nju/Dialect/NJU/IR/MLP.td"
include "nju/Dialect/NJU/IR/Normalization.td"
include "nju/Dialect/NJU/IR/Param.td"
include "nju/Dialect/NJU/IR/Quantization.td"
include "nju/Dialect/NJU/IR/Reduction.td"
include "nju/Dialect/NJU/IR/Shape.td"

#endif // NJU_DIALECT_NJU_IR_NJUOPS
