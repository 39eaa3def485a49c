//===- ShapeInferenceAttention.cpp - Shapes of attention and rotary embeddings
//-*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ShapeInferenceImpl.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace nju;
using namespace nju::detail;

static InferResult inferOp(ShapeInference &shapes, RopeOp op) {
  return Inferred{dimsOf(shapes, op.getInput()), elementTypeOf(op.getInput()),
                  std::nullopt};
}

static InferResult inferOp(ShapeInference &shapes, CachedAttentionOp op) {
  return Inferred{dimsOf(shapes, op.getQuery()), elementTypeOf(op.getQuery()),
                  std::nullopt};
}

static InferResult inferOp(ShapeInference &shapes, AttentionOp op) {
  Dims query = dimsOf(shapes, op.getQuery()), key = dimsOf(shapes, op.getKey()),
       value = dimsOf(shapes, op.getValue());
  bool fits = query.size() == 4 && key.size() == 4 && value.size() == 4;
  SymbolicExpr batch;
  if (fits) {
    batch = unify(query[0], key[0]);
    if (batch)
      batch = unify(batch, value[0]);
    fits = batch && unify(query[3], key[3]) && unify(key[1], value[1]) &&
           unify(key[2], value[2]);
  }
  if (!fits) {
    op.emitOpError() << "has query " << op.getQuery().getType() << ", key "
                     << op.getKey().getType() << " and value "
                     << op.getValue().getType()
                     << ", whose dimensions do not fit";
    return failure();
  }
  return Inferred{{batch, query[1], query[2], value[3]},
                  elementTypeOf(op.getQuery()),
                  std::nullopt};
}

std::optional<InferResult> nju::detail::inferAttention(ShapeInference &shapes,
                                                       Operation *op) {
  using Result = std::optional<InferResult>;
  return llvm::TypeSwitch<Operation *, Result>(op)
      .Case<AttentionOp, CachedAttentionOp, RopeOp>(
          [&](auto op) -> Result { return inferOp(shapes, op); })
      .Default([](Operation *) { return Result(); });
}
