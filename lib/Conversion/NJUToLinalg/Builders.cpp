//===- Builders.cpp - Tensors of the lowering -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace nju::lowering;

Value nju::lowering::emitNumber(ImplicitLocOpBuilder &b, Type type,
                                double value) {
  TypedAttr attribute;
  if (isa<FloatType>(type))
    attribute = b.getFloatAttr(type, value);
  else
    attribute = b.getIntegerAttr(type, static_cast<int64_t>(value));
  return arith::ConstantOp::create(b, attribute);
}

Value Lowering::number(Type type, double value) {
  return emitNumber(b, type, value);
}

Value Lowering::scalar(TypedAttr value) {
  return arith::ConstantOp::create(b, value);
}

Value Lowering::castTo(Value tensor, RankedTensorType type) {
  if (tensor.getType() == type)
    return tensor;
  llvm::SmallVector<Value> sizes = dims(tensor);
  Value result = tensor::CastOp::create(b, type, tensor);
  setDims(result, refine(type, sizes));
  return result;
}

Value Lowering::empty(RankedTensorType type, ArrayRef<Value> dims) {
  llvm::SmallVector<Value> dynamic;
  for (auto [i, dim] : llvm::enumerate(dims))
    if (type.isDynamicDim(i))
      dynamic.push_back(dim);
  Value result = tensor::EmptyOp::create(b, type.getShape(),
                                         type.getElementType(), dynamic);
  setDims(result, refine(type, dims));
  return result;
}

Value Lowering::filled(RankedTensorType type, ArrayRef<Value> dims,
                       Value scalar) {
  Value init = empty(type, dims);
  Value result = linalg::FillOp::create(b, scalar, init).getResult(0);
  setDims(result, refine(type, dims));
  return result;
}

std::optional<llvm::SmallVector<Value>> Lowering::known(Value tensor) {
  auto type = cast<RankedTensorType>(tensor.getType());
  if (auto cast = tensor.getDefiningOp<tensor::CastOp>())
    return known(cast.getSource());
  if (auto from = tensor.getDefiningOp<tensor::FromElementsOp>())
    return llvm::to_vector(from.getElements());
  DenseElementsAttr constant;
  if (!type.hasStaticShape() || type.getNumElements() > kScalarElements ||
      !matchPattern(tensor, m_Constant(&constant)))
    return std::nullopt;
  llvm::SmallVector<Value> result;
  for (Attribute element : constant.getValues<Attribute>())
    result.push_back(scalar(cast<TypedAttr>(element)));
  return result;
}

llvm::SmallVector<Value> Lowering::elements(Value tensor) {
  if (std::optional<llvm::SmallVector<Value>> values = known(tensor))
    return *values;
  auto type = cast<RankedTensorType>(tensor.getType());
  llvm::SmallVector<Value> result;
  if (type.getRank() == 0) {
    result.push_back(tensor::ExtractOp::create(b, tensor, ValueRange{}));
    return result;
  }
  assert(type.getRank() == 1 && "only vectors are read element by element");
  for (int64_t i = 0; i < type.getDimSize(0); ++i)
    result.push_back(tensor::ExtractOp::create(b, tensor, index(i)));
  return result;
}

Value Lowering::fromElements(RankedTensorType type, ArrayRef<Value> elements) {
  Value result;
  if (elements.empty())
    result =
        empty(type, refine(type, llvm::SmallVector<Value>(type.getRank())));
  else
    result = tensor::FromElementsOp::create(b, type, elements);
  setDims(result, refine(type, llvm::SmallVector<Value>(type.getRank())));
  return result;
}

Value Lowering::parallel(RankedTensorType type, ArrayRef<Value> dims,
                         ArrayRef<Value> inputs, ArrayRef<AffineMap> maps,
                         Body body) {
  checkLoops(llvm::to_vector(dims), inputs, maps);
  Value init = empty(type, dims);
  llvm::SmallVector<AffineMap> allMaps(maps);
  allMaps.push_back(b.getMultiDimIdentityMap(type.getRank()));
  llvm::SmallVector<utils::IteratorType> iterators(
      type.getRank(), utils::IteratorType::parallel);
  auto build = [&](OpBuilder &builder, Location loc, ValueRange args) {
    ImplicitLocOpBuilder nested(loc, builder);
    linalg::YieldOp::create(nested, body(nested, args.drop_back()));
  };
  Value result =
      linalg::GenericOp::create(b, TypeRange{type}, inputs, ValueRange{init},
                                allMaps, iterators, build)
          .getResult(0);
  setDims(result, refine(type, dims));
  return result;
}

llvm::SmallVector<Value> Lowering::broadcastDims(ArrayRef<Value> tensors,
                                                 int64_t rank) {
  llvm::SmallVector<Value> result(rank, index(1));
  for (Value tensor : tensors) {
    llvm::SmallVector<Value> own = dims(tensor);
    for (auto [i, dim] : llvm::enumerate(own)) {
      Value &other = result[rank - own.size() + i];
      bool otherIsOne = isConstantIntValue(other, 1);
      if (other == dim || isConstantIntValue(dim, 1) ||
          (getConstantIntValue(other) && !otherIsOne))
        continue;
      if (otherIsOne || getConstantIntValue(dim))
        other = dim;
      else
        other = selectEqual(other, 1, dim, other);
    }
  }
  return result;
}

std::optional<AffineMap> Lowering::broadcastMap(Value tensor,
                                                ArrayRef<Value> dims) {
  llvm::SmallVector<Value> own = this->dims(tensor);
  llvm::SmallVector<AffineExpr> exprs;
  for (auto [i, dim] : llvm::enumerate(own)) {
    size_t loop = dims.size() - own.size() + i;
    std::optional<int64_t> size = getConstantIntValue(dim);
    if (dim == dims[loop] || (size && *size != 1))
      exprs.push_back(b.getAffineDimExpr(loop));
    else if (size || isConstantIntValue(dims[loop], 1))
      exprs.push_back(b.getAffineConstantExpr(0));
    else
      return std::nullopt;
  }
  return AffineMap::get(dims.size(), 0, exprs, b.getContext());
}

AffineMap Lowering::broadcast(Value &tensor, ArrayRef<Value> dims) {
  llvm::SmallVector<Value> sizes = this->dims(tensor);
  for (auto [size, loop] : llvm::zip(sizes, dims.take_back(sizes.size())))
    checkBroadcast(size, loop);
  if (std::optional<AffineMap> known = broadcastMap(tensor, dims))
    return *known;
  // A dimension may be 1 at run time: copy, and choose the index then.
  llvm::SmallVector<Value> own = this->dims(tensor), full;
  for (auto [i, dim] : llvm::enumerate(own))
    full.push_back(
        isConstantIntValue(dim, 1) ? dim : dims[dims.size() - own.size() + i]);
  auto type = RankedTensorType::get(
      llvm::SmallVector<int64_t>(own.size(), ShapedType::kDynamic),
      cast<RankedTensorType>(tensor.getType()).getElementType());
  Value source = tensor;
  tensor = parallel(
      type, full, {}, {}, [&](ImplicitLocOpBuilder &nested, ValueRange) {
        llvm::SmallVector<Value> indices;
        for (auto [i, dim] : llvm::enumerate(own)) {
          Value position = linalg::IndexOp::create(nested, i);
          if (dim != full[i]) {
            Value zero = arith::ConstantIndexOp::create(nested, 0);
            Value one = arith::ConstantIndexOp::create(nested, 1);
            Value single = arith::CmpIOp::create(
                nested, arith::CmpIPredicate::eq, dim, one);
            position = arith::SelectOp::create(nested, single, zero, position);
          }
          indices.push_back(position);
        }
        return tensor::ExtractOp::create(nested, source, indices).getResult();
      });
  return *broadcastMap(tensor, dims);
}

Value Lowering::elementwise(RankedTensorType type, ArrayRef<Value> inputs,
                            Body body) {
  llvm::SmallVector<Value> dims =
      refine(type, broadcastDims(inputs, type.getRank()));
  llvm::SmallVector<Value> operands(inputs);
  llvm::SmallVector<AffineMap> maps;
  for (Value &operand : operands)
    maps.push_back(broadcast(operand, dims));
  return parallel(type, dims, operands, maps, body);
}

Value Lowering::reduce(Value input, ArrayRef<int64_t> axes, TypedAttr init,
                       Body combine) {
  auto type = cast<RankedTensorType>(input.getType());
  llvm::SmallVector<Value> all = dims(input), kept;
  llvm::SmallVector<int64_t> shape;
  llvm::SmallVector<AffineExpr> exprs;
  llvm::SmallVector<utils::IteratorType> iterators;
  for (int64_t i = 0; i < type.getRank(); ++i) {
    bool reduced = llvm::is_contained(axes, i);
    iterators.push_back(reduced ? utils::IteratorType::reduction
                                : utils::IteratorType::parallel);
    if (reduced)
      continue;
    kept.push_back(all[i]);
    shape.push_back(type.getDimSize(i));
    exprs.push_back(b.getAffineDimExpr(i));
  }
  auto resultType = RankedTensorType::get(shape, init.getType());
  Value start = filled(resultType, kept, scalar(init));
  AffineMap maps[] = {b.getMultiDimIdentityMap(type.getRank()),
                      AffineMap::get(type.getRank(), 0, exprs, b.getContext())};
  auto build = [&](OpBuilder &builder, Location loc, ValueRange args) {
    ImplicitLocOpBuilder nested(loc, builder);
    linalg::YieldOp::create(nested, combine(nested, args));
  };
  Value result =
      linalg::GenericOp::create(b, TypeRange{resultType}, ValueRange{input},
                                ValueRange{start}, maps, iterators, build)
          .getResult(0);
  setDims(result, refine(resultType, kept));
  return result;
}

/// The type with one dimension for each group, static where the group is.
static RankedTensorType groupType(RankedTensorType type,
                                  ArrayRef<ReassociationIndices> groups) {
  llvm::SmallVector<int64_t> shape;
  for (const ReassociationIndices &group : groups) {
    int64_t size = 1;
    for (int64_t i : group) {
      if (type.isDynamicDim(i)) {
        size = ShapedType::kDynamic;
        break;
      }
      size *= type.getDimSize(i);
    }
    shape.push_back(size);
  }
  return RankedTensorType::get(shape, type.getElementType());
}

Value Lowering::collapseTo(Value tensor, RankedTensorType type,
                           ArrayRef<ReassociationIndices> groups) {
  auto source = cast<RankedTensorType>(tensor.getType());
  llvm::SmallVector<Value> sizes = dims(tensor), result;
  for (const ReassociationIndices &group : groups) {
    llvm::SmallVector<Value> members;
    for (int64_t i : group)
      members.push_back(sizes[i]);
    result.push_back(value(product(members)));
  }
  if (static_cast<int64_t>(groups.size()) != source.getRank())
    tensor = tensor::CollapseShapeOp::create(b, groupType(source, groups),
                                             tensor, groups);
  setDims(tensor, result);
  return castTo(tensor, type);
}

Value Lowering::expandTo(Value tensor, RankedTensorType type,
                         ArrayRef<Value> dims,
                         ArrayRef<ReassociationIndices> groups) {
  if (static_cast<int64_t>(groups.size()) != type.getRank()) {
    llvm::SmallVector<OpFoldResult> shape;
    for (auto [i, dim] : llvm::enumerate(dims))
      shape.push_back(type.isDynamicDim(i)
                          ? OpFoldResult(dim)
                          : b.getIndexAttr(type.getDimSize(i)));
    tensor = tensor::ExpandShapeOp::create(b, type, tensor, groups, shape);
    setDims(tensor, refine(type, dims));
  }
  return castTo(tensor, type);
}

/// Cuts both lists of dimensions into the smallest runs of equal products. If
/// that is not known, everything is one run.
static void groupDims(Lowering &lowering, ArrayRef<Value> from,
                      ArrayRef<Value> to,
                      llvm::SmallVector<ReassociationIndices> &fromGroups,
                      llvm::SmallVector<ReassociationIndices> &toGroups) {
  size_t i = 0, j = 0;
  while (i < from.size() && j < to.size()) {
    ReassociationIndices left{static_cast<int64_t>(i)},
        right{static_cast<int64_t>(j)};
    auto leftProduct = [&] {
      return lowering.product(from.slice(left.front(), left.size()));
    };
    auto rightProduct = [&] {
      return lowering.product(to.slice(right.front(), right.size()));
    };
    ++i, ++j;
    while (!(leftProduct() == rightProduct())) {
      if (i < from.size() &&
          lowering.divideExactly(rightProduct(), leftProduct()))
        left.push_back(i++);
      else if (j < to.size() &&
               lowering.divideExactly(leftProduct(), rightProduct()))
        right.push_back(j++);
      else
        i = from.size() + 1, j = to.size() + 1;
      if (i > from.size())
        break;
    }
    fromGroups.push_back(left);
    toGroups.push_back(right);
  }
  if (i <= from.size() && lowering.product(from.drop_front(i)) ==
                              lowering.product(to.drop_front(j))) {
    for (; i < from.size(); ++i)
      fromGroups.back().push_back(i);
    for (; j < to.size(); ++j)
      toGroups.back().push_back(j);
    return;
  }
  fromGroups.assign(1, llvm::to_vector<2>(llvm::seq<int64_t>(0, from.size())));
  toGroups.assign(1, llvm::to_vector<2>(llvm::seq<int64_t>(0, to.size())));
}

Value Lowering::reshape(Value tensor, RankedTensorType type,
                        ArrayRef<Value> dims) {
  llvm::SmallVector<Value> to = refine(type, dims);
  Product before = product(this->dims(tensor)), after = product(to);
  if (!(before == after))
    checkCompare(arith::CmpIPredicate::eq, value(before), value(after),
                 "cannot reshape {0} elements to {1}");
  llvm::SmallVector<ReassociationIndices> fromGroups, toGroups;
  auto source = cast<RankedTensorType>(tensor.getType());
  if (source.getRank() == 0 || type.getRank() == 0) {
    // Every dimension is 1: say so in the types.
    auto ones = [&](RankedTensorType type) {
      return type.clone(llvm::SmallVector<int64_t>(type.getRank(), 1));
    };
    tensor = castTo(tensor, ones(source));
    if (source.getRank() != 0)
      tensor = tensor::CollapseShapeOp::create(
          b, ones(type), tensor, ArrayRef<ReassociationIndices>{});
    else if (type.getRank() != 0)
      tensor = tensor::ExpandShapeOp::create(
          b, ones(type), tensor, ArrayRef<ReassociationIndices>{},
          llvm::SmallVector<OpFoldResult>(type.getRank(), b.getIndexAttr(1)));
    return castTo(tensor, type);
  }
  groupDims(*this, this->dims(tensor), to, fromGroups, toGroups);
  Value middle = collapseTo(tensor, groupType(type, toGroups), fromGroups);
  return expandTo(middle, type, to, toGroups);
}

Value Lowering::transpose(Value tensor, ArrayRef<int64_t> permutation) {
  auto type = cast<RankedTensorType>(tensor.getType());
  llvm::SmallVector<Value> sizes = dims(tensor), permuted;
  llvm::SmallVector<int64_t> shape;
  llvm::SmallVector<AffineExpr> exprs(type.getRank());
  for (auto [i, dim] : llvm::enumerate(permutation)) {
    permuted.push_back(sizes[dim]);
    shape.push_back(type.getDimSize(dim));
    exprs[dim] = b.getAffineDimExpr(i);
  }
  AffineMap map = AffineMap::get(type.getRank(), 0, exprs, b.getContext());
  return parallel(
      RankedTensorType::get(shape, type.getElementType()), permuted, {tensor},
      {map}, [](ImplicitLocOpBuilder &, ValueRange args) { return args[0]; });
}

/// A part that is empty may begin behind the last element, where the tensor
/// dialect has no slices.
static bool isEmpty(ArrayRef<OpFoldResult> sizes) {
  return llvm::any_of(
      sizes, [](OpFoldResult size) { return getConstantIntValue(size) == 0; });
}

Value Lowering::slice(Value tensor, ArrayRef<Value> offsets,
                      ArrayRef<Value> sizes, RankedTensorType type) {
  llvm::SmallVector<OpFoldResult> ones(sizes.size(), b.getIndexAttr(1));
  llvm::SmallVector<Value> refined = refine(type, sizes);
  llvm::SmallVector<OpFoldResult> folded = fold(refined);
  if (isEmpty(folded))
    return empty(type, refined);
  Value result =
      tensor::ExtractSliceOp::create(b, tensor, fold(offsets), folded, ones);
  setDims(result, refined);
  return castTo(result, type);
}

Value Lowering::insert(Value source, Value into, ArrayRef<Value> offsets) {
  llvm::SmallVector<OpFoldResult> sizes = fold(dims(source));
  if (isEmpty(sizes))
    return into;
  llvm::SmallVector<OpFoldResult> ones(sizes.size(), b.getIndexAttr(1));
  llvm::SmallVector<int64_t> shape;
  for (OpFoldResult size : sizes)
    shape.push_back(getConstantIntValue(size).value_or(ShapedType::kDynamic));
  auto type = cast<RankedTensorType>(source.getType()).clone(shape);
  llvm::SmallVector<Value> all = dims(into);
  Value result = tensor::InsertSliceOp::create(b, castTo(source, type), into,
                                               fold(offsets), sizes, ones);
  setDims(result, all);
  return result;
}

Value Lowering::concat(RankedTensorType type, ArrayRef<Value> tensors,
                       int64_t axis) {
  llvm::SmallVector<Value> sizes = dims(tensors[0]);
  for (Value tensor : tensors.drop_front())
    for (auto [i, size] : llvm::enumerate(dims(tensor))) {
      if (static_cast<int64_t>(i) == axis)
        sizes[i] = add(sizes[i], size);
      else
        checkEqual(size, sizes[i]);
    }
  Value result = empty(type, sizes);
  llvm::SmallVector<Value> offsets(type.getRank(), index(0));
  for (Value tensor : tensors) {
    result = insert(tensor, result, offsets);
    offsets[axis] = add(offsets[axis], dim(tensor, axis));
  }
  setDims(result, refine(type, sizes));
  return result;
}
