//===- Attention.cpp - Attention and rotary embeddings -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Dialect/NJU/IR/NJU.h"

using namespace mlir;

LogicalResult nju::RopeOp::verify() {
  RankedTensorType input = getInput().getType(), cos = getCos().getType();
  if (cos != getSin().getType())
    return emitOpError() << "has cos " << cos << " and sin "
                         << getSin().getType() << ", expected one type";
  int64_t width = cos.getRank() ? cos.getShape().back() : 0;
  if (cos.getRank() > input.getRank() || width <= 0 || width % 2 != 0 ||
      input.getShape().back() < width)
    return emitOpError() << "rotates " << input << " by cos " << cos
                         << ", expected an even, static last dimension of at "
                         << "most " << input.getShape().back();
  return success();
}

/// True if dimension `dim` of two types is known to differ.
static bool differs(RankedTensorType a, RankedTensorType b, int64_t dim) {
  int64_t x = a.getDimSize(dim), y = b.getDimSize(dim);
  return !ShapedType::isDynamic(x) && !ShapedType::isDynamic(y) && x != y;
}

LogicalResult nju::AttentionOp::verify() {
  RankedTensorType q = getQuery().getType(), k = getKey().getType(),
                   v = getValue().getType();
  if (q.getRank() != 4 || k.getRank() != 4 || v.getRank() != 4)
    return emitOpError() << "has query " << q << ", key " << k << ", value "
                         << v << ", expected rank 4";
  if (differs(q, k, 3) || differs(k, v, 1) || differs(k, v, 2) ||
      differs(q, k, 0) || differs(k, v, 0))
    return emitOpError() << "has query " << q << ", key " << k << ", value "
                         << v << ", whose dimensions do not fit";
  int64_t heads = q.getDimSize(1), groups = k.getDimSize(1);
  if (heads <= 0 || groups <= 0 || heads % groups != 0)
    return emitOpError() << "has " << heads << " query heads and " << groups
                         << " key heads, expected static numbers, the first a "
                         << "multiple of the second";
  return success();
}

LogicalResult nju::CachedAttentionOp::verify() {
  RankedTensorType q = getQuery().getType(), k = getKey().getType(),
                   v = getValue().getType();
  if (q.getRank() != 4 || k.getRank() != 4 || k != v)
    return emitOpError() << "has query " << q << ", key " << k << ", value "
                         << v << ", expected rank 4 and equal key and value";
  int64_t heads = q.getDimSize(2), groups = k.getDimSize(2);
  if (heads <= 0 || groups <= 0 || heads % groups != 0 ||
      q.getDimSize(3) <= 0 || q.getDimSize(3) != k.getDimSize(3))
    return emitOpError() << "has query " << q << " and key " << k
                         << ", expected static heads, those of the query a "
                         << "multiple of the key's, and equal head dimensions";
  if (getSlopes() && static_cast<int64_t>(getSlopes()->size()) != heads)
    return emitOpError() << "has " << getSlopes()->size()
                         << " slopes, expected one for each of " << heads
                         << " heads";
  if (getWindow() && *getWindow() < 1)
    return emitOpError() << "has window " << *getWindow()
                         << ", expected at least 1";
  if (getSoftcap() && !(getSoftcap()->convertToDouble() > 0))
    return emitOpError() << "has softcap " << getSoftcap()->convertToDouble()
                         << ", expected a number above 0";
  return success();
}
