//===- MatMul.cpp - Matrix products of ONNX -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "NodeImporter.h"

using namespace mlir;
using namespace nju;
using namespace nju::onnx_import;

/// Exchanges the last two dimensions.
static Value transposeMatrix(NodeImporter &node, Value value) {
  int64_t rank = node.rank(value);
  if (rank < 2)
    return value;
  SmallVector<int64_t> permutation =
      llvm::to_vector(llvm::seq<int64_t>(0, rank));
  std::swap(permutation[rank - 2], permutation[rank - 1]);
  return node.transpose(value, permutation);
}

static Value scale(NodeImporter &node, Value value, double factor) {
  if (factor == 1 || !value)
    return value;
  return node.create<MulOp>({value, node.scalarLike(value, factor)});
}

static void importMatMul(NodeImporter &node) {
  Value lhs = node.input(0), rhs = node.input(1);
  if (node.checkSameType({lhs, rhs}))
    node.setOutput(node.create<MatMulOp>({lhs, rhs}));
}

static void importGemm(NodeImporter &node) {
  double alpha = node.floatAttr("alpha", 1), beta = node.floatAttr("beta", 1);
  bool transA = node.boolAttr("transA"), transB = node.boolAttr("transB");
  Value lhs = node.input(0), rhs = node.input(1), addend = node.input(2);
  if (!node.checkSameType({lhs, rhs}) || !node.checkRank(lhs, 2, "input 0") ||
      !node.checkRank(rhs, 2, "input 1"))
    return;
  if (!isa<FloatType>(node.elementType(lhs)) && (alpha != 1 || beta != 1)) {
    node.emitError() << "scales integers, expected alpha and beta of 1";
    return;
  }
  if (transA)
    lhs = transposeMatrix(node, lhs);
  if (transB)
    rhs = transposeMatrix(node, rhs);
  Value result = scale(node, node.create<MatMulOp>({lhs, rhs}), alpha);
  if (addend && node.checkSameType({lhs, addend}))
    result = node.create<AddOp>({result, scale(node, addend, beta)});
  node.setOutput(result);
}

/// com.microsoft.FusedMatMul, which optimized models contain.
static void importFusedMatMul(NodeImporter &node) {
  double alpha = node.floatAttr("alpha", 1);
  bool transA = node.boolAttr("transA"), transB = node.boolAttr("transB");
  bool transBatchA = node.boolAttr("transBatchA");
  bool transBatchB = node.boolAttr("transBatchB");
  Value lhs = node.input(0), rhs = node.input(1);
  if (transBatchA || transBatchB) {
    node.emitError() << "transposes batch dimensions, which is not supported";
    return;
  }
  if (!node.checkSameType({lhs, rhs}))
    return;
  if (transA)
    lhs = transposeMatrix(node, lhs);
  if (transB)
    rhs = transposeMatrix(node, rhs);
  node.setOutput(scale(node, node.create<MatMulOp>({lhs, rhs}), alpha));
}

void nju::onnx_import::registerMatMulOps(OpRegistry &registry) {
  registry.add("FusedMatMul", 1, 2, importFusedMatMul, kMicrosoft);
  registry.add("Gemm", 7, {2, 3}, importGemm);
  registry.add("MatMul", 1, 2, importMatMul);
}
