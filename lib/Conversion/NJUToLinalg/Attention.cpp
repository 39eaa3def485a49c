//===- Attention.cpp - Attention and rotary embeddings to linalg -*- C++
//-*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "nju/Dialect/Exec/IR/Exec.h"

using namespace mlir;
using namespace nju::lowering;

static AffineMap mapOf(Lowering &lowering, unsigned loops,
                       ArrayRef<unsigned> targets) {
  return AffineMap::getMultiDimMapWithTargets(loops, targets,
                                              lowering.b.getContext());
}

/// [B, H, ...] as [B, G, H / G, ...].
static Value splitHeads(Lowering &lowering, Value tensor, int64_t groups) {
  auto type = cast<RankedTensorType>(tensor.getType());
  llvm::SmallVector<Value> dims = lowering.dims(tensor);
  llvm::SmallVector<int64_t> shape(type.getShape());
  int64_t perGroup = shape[1] / groups;
  shape[1] = groups;
  shape.insert(shape.begin() + 2, perGroup);
  dims[1] = lowering.index(groups);
  dims.insert(dims.begin() + 2, lowering.index(perGroup));
  return lowering.reshape(tensor, type.clone(shape), dims);
}

/// The mask with split heads, and its map on [B, G, H / G, S, L].
static AffineMap maskMap(Lowering &lowering, Value &mask, int64_t groups,
                         ArrayRef<Value> dims) {
  auto type = cast<RankedTensorType>(mask.getType());
  int64_t rank = type.getRank();
  if (rank < 3)
    return lowering.broadcast(mask, dims);
  llvm::SmallVector<Value> sizes = lowering.dims(mask);
  llvm::SmallVector<int64_t> shape(type.getShape());
  int64_t at = rank - 3, heads = shape[at];
  bool single = heads == 1;
  if (ShapedType::isDynamic(heads)) {
    // Every head: copy where the number of heads is 1 at run time.
    llvm::SmallVector<Value> all{dims[0], lowering.mul(dims[1], dims[2]),
                                 dims[3], dims[4]};
    lowering.broadcast(mask, all);
    heads = *getConstantIntValue(all[1]);
    sizes = lowering.dims(mask);
  }
  sizes[at] = lowering.index(single ? 1 : groups);
  shape[at] = single ? 1 : groups;
  sizes.insert(sizes.begin() + at + 1,
               lowering.index(single ? 1 : heads / groups));
  shape.insert(shape.begin() + at + 1, single ? 1 : heads / groups);
  mask = lowering.reshape(mask, type.clone(shape), sizes);
  return lowering.broadcast(mask, dims);
}

/// scale * score + mask, and minus infinity above the diagonal if causal.
static Value maskScores(nju::AttentionOp op, Lowering &lowering, Value scores,
                        int64_t groups) {
  ImplicitLocOpBuilder &b = lowering.b;
  llvm::SmallVector<Value> dims = lowering.dims(scores);
  llvm::SmallVector<Value> inputs{scores};
  llvm::SmallVector<AffineMap> maps{b.getMultiDimIdentityMap(5)};
  Type maskType;
  if (op.getMask()) {
    Value mask = lowering[op.getMask()];
    maskType = op.getMask().getType().getElementType();
    maps.push_back(maskMap(lowering, mask, groups, dims));
    inputs.push_back(mask);
  }
  double scale = op.getScale().convertToDouble();
  Value past = lowering.sub(dims[4], dims[3]);
  return lowering.parallel(
      cast<RankedTensorType>(scores.getType()), dims, inputs, maps,
      [&](ImplicitLocOpBuilder &b, ValueRange x) -> Value {
        Type type = x[0].getType();
        Value y = arith::MulFOp::create(b, x[0], emitNumber(b, type, scale));
        if (maskType)
          y = arith::AddFOp::create(b, y, Lowering::load(b, x[1], maskType));
        if (!op.getCausal())
          return y;
        Value last =
            arith::AddIOp::create(b, linalg::IndexOp::create(b, 3), past);
        Value hidden = arith::CmpIOp::create(
            b, arith::CmpIPredicate::sgt, linalg::IndexOp::create(b, 4), last);
        Value minus =
            emitNumber(b, type, -std::numeric_limits<double>::infinity());
        return arith::SelectOp::create(b, hidden, minus, y);
      });
}

static LogicalResult lowerAttention(nju::AttentionOp op, Lowering &lowering) {
  Value key = lowering[op.getKey()], value = lowering[op.getValue()];
  int64_t groups = op.getKey().getType().getDimSize(1);
  Value query = splitHeads(lowering, lowering[op.getQuery()], groups);
  auto queryType = cast<RankedTensorType>(query.getType());
  Type elementType = queryType.getElementType();
  Type arithmetic = Lowering::arithmeticType(elementType);
  auto keyType = cast<RankedTensorType>(key.getType());
  auto valueType = cast<RankedTensorType>(value.getType());
  // Loops b, g, r, s, l and d; later b, g, r, s, e and l.
  llvm::SmallVector<Value> dims = lowering.dims(query);
  llvm::SmallVector<int64_t> shape(queryType.getShape());
  dims[4] = lowering.dim(key, 2);
  shape[4] = keyType.getDimSize(2);
  AffineMap left = mapOf(lowering, 6, {0, 1, 2, 3, 5});
  AffineMap result = mapOf(lowering, 6, {0, 1, 2, 3, 4});
  Value scores = emitContraction(
      lowering, RankedTensorType::get(shape, arithmetic), dims, {query, key},
      {left, mapOf(lowering, 6, {0, 1, 4, 5}), result},
      {elementType, keyType.getElementType()});
  scores = maskScores(op, lowering, scores, groups);
  Value weights = emitSoftmax(scores, 4, /*log=*/false, lowering,
                              /*emptyIsZero=*/true);
  dims[4] = lowering.dim(value, 3);
  shape[4] = valueType.getDimSize(3);
  Value mixed = emitContraction(
      lowering, RankedTensorType::get(shape, arithmetic), dims,
      {weights, value}, {left, mapOf(lowering, 6, {0, 1, 5, 4}), result},
      {arithmetic, valueType.getElementType()});
  RankedTensorType type = Lowering::convert(op.getType());
  if (arithmetic != elementType)
    mixed =
        lowering.elementwise(RankedTensorType::get(shape, elementType), {mixed},
                             [&](ImplicitLocOpBuilder &b, ValueRange x) {
                               return Lowering::store(b, x[0], elementType);
                             });
  llvm::SmallVector<Value> joined{dims[0], lowering.mul(dims[1], dims[2]),
                                  dims[3], dims[4]};
  lowering.bind(op, lowering.reshape(mixed, type, joined), joined);
  return success();
}

/// Rotates all of the last dimension: it is cut into pairs, and the partner of
/// p in its pair is 1 - p.
static Value rotate(nju::RopeOp op, Lowering &lowering, Value input, Value cos,
                    Value sin) {
  ImplicitLocOpBuilder &b = lowering.b;
  bool interleaved = op.getInterleaved();
  auto split = [&](Value tensor) {
    auto type = cast<RankedTensorType>(tensor.getType());
    llvm::SmallVector<int64_t> shape(type.getShape());
    llvm::SmallVector<Value> dims = lowering.dims(tensor);
    int64_t half = shape.back() / 2;
    shape.back() = interleaved ? half : 2;
    shape.push_back(interleaved ? 2 : half);
    dims.back() = lowering.index(shape[shape.size() - 2]);
    dims.push_back(lowering.index(shape.back()));
    return lowering.reshape(tensor, type.clone(shape), dims);
  };
  auto type = cast<RankedTensorType>(input.getType());
  llvm::SmallVector<Value> whole = lowering.dims(input);
  input = split(input), cos = split(cos), sin = split(sin);
  llvm::SmallVector<Value> dims = lowering.dims(input);
  unsigned loops = dims.size(), pair = interleaved ? loops - 1 : loops - 2;
  AffineMap all = b.getMultiDimIdentityMap(loops);
  llvm::SmallVector<AffineExpr> exprs(all.getResults());
  exprs[pair] = b.getAffineConstantExpr(1) - exprs[pair];
  AffineMap partner = AffineMap::get(loops, 0, exprs, b.getContext());
  AffineMap cosMap = lowering.broadcast(cos, dims);
  AffineMap sinMap = lowering.broadcast(sin, dims);
  Type elementType = type.getElementType();
  Type tableType = op.getCos().getType().getElementType();
  Value result = lowering.parallel(
      cast<RankedTensorType>(input.getType()), dims, {input, input, cos, sin},
      {all, partner, cosMap, sinMap},
      [&](ImplicitLocOpBuilder &b, ValueRange x) {
        Value own = Lowering::load(b, x[0], elementType);
        Value other = Lowering::load(b, x[1], elementType);
        Value c = Lowering::load(b, x[2], tableType);
        Value s = Lowering::load(b, x[3], tableType);
        Value zero = arith::ConstantIndexOp::create(b, 0);
        Value first =
            arith::CmpIOp::create(b, arith::CmpIPredicate::eq,
                                  linalg::IndexOp::create(b, pair), zero);
        Value sign =
            arith::SelectOp::create(b, first, emitNumber(b, s.getType(), -1),
                                    emitNumber(b, s.getType(), 1));
        s = arith::MulFOp::create(b, s, sign);
        Value y = arith::AddFOp::create(b, arith::MulFOp::create(b, own, c),
                                        arith::MulFOp::create(b, other, s));
        return Lowering::store(b, y, elementType);
      });
  return lowering.reshape(result, type, whole);
}

static LogicalResult lowerRope(nju::RopeOp op, Lowering &lowering) {
  Value input = lowering[op.getInput()];
  RankedTensorType type = Lowering::convert(op.getType());
  auto inputType = cast<RankedTensorType>(input.getType());
  int64_t width = op.getCos().getType().getShape().back();
  int64_t all = inputType.getShape().back();
  Value cos = lowering[op.getCos()], sin = lowering[op.getSin()];
  llvm::SmallVector<Value> dims = lowering.dims(input);
  if (width == all) {
    lowering.bind(op, rotate(op, lowering, input, cos, sin), dims);
    return success();
  }
  llvm::SmallVector<Value> offsets(dims.size(), lowering.index(0)), sizes(dims);
  llvm::SmallVector<int64_t> shape(inputType.getShape());
  shape.back() = width;
  sizes.back() = lowering.index(width);
  Value turned = lowering.slice(input, offsets, sizes, inputType.clone(shape));
  offsets.back() = sizes.back();
  shape.back() = all - width;
  sizes.back() = lowering.index(all - width);
  Value rest = lowering.slice(input, offsets, sizes, inputType.clone(shape));
  turned = rotate(op, lowering, turned, cos, sin);
  lowering.bind(op, lowering.concat(type, {turned, rest}, dims.size() - 1),
                dims);
  return success();
}

static LogicalResult lowerCachedAttention(nju::CachedAttentionOp op,
                                          Lowering &lowering) {
  RankedTensorType type = op.getType();
  Value query = lowering[op.getQuery()];
  llvm::SmallVector<Value> dims = lowering.dims(query);
  Value result = nju::exec::CachedAttentionOp::create(
                     lowering.b, type, query, lowering[op.getKey()],
                     lowering[op.getValue()], lowering[op.getPositions()],
                     lowering[op.getSequences()], lowering.empty(type, dims),
                     op.getLayerAttr(), op.getScaleAttr(), op.getWindowAttr(),
                     op.getSlopesAttr(), op.getSoftcapAttr())
                     .getResult();
  lowering.bind(op, result, dims);
  return success();
}

void nju::lowering::populateAttention(Table &table) {
  table.add<AttentionOp>(lowerAttention);
  table.add<CachedAttentionOp>(lowerCachedAttention);
  table.add<RopeOp>(lowerRope);
}
