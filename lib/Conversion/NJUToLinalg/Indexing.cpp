//===- Indexing.cpp - Gathers, scatters and scans to linalg and scf -*- C++
//-*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "nju/Dialect/Exec/IR/Exec.h"

using namespace mlir;
using namespace nju::lowering;

/// An index of the model as a position in `dim` elements: counted from the end
/// if negative, and clamped, so that no read is wild.
static Value clampIndex(ImplicitLocOpBuilder &b, Value integer, Value dim) {
  Value zero = arith::ConstantIndexOp::create(b, 0);
  Value one = arith::ConstantIndexOp::create(b, 1);
  Value index = b.createOrFold<arith::IndexCastOp>(b.getIndexType(), integer);
  Value negative =
      b.createOrFold<arith::CmpIOp>(arith::CmpIPredicate::slt, index, zero);
  Value wrapped = b.createOrFold<arith::SelectOp>(
      negative, b.createOrFold<arith::AddIOp>(index, dim), index);
  Value last = b.createOrFold<arith::SubIOp>(dim, one);
  Value upper = b.createOrFold<arith::MinSIOp>(wrapped, last);
  return b.createOrFold<arith::MaxSIOp>(upper, zero);
}

/// One constant index: a view.
static Value gatherOne(Lowering &lowering, Value input, int64_t index,
                       int64_t axis, RankedTensorType type) {
  auto source = cast<RankedTensorType>(input.getType());
  llvm::SmallVector<Value> sizes = lowering.dims(input), kept;
  llvm::SmallVector<Value> offsets(sizes.size(), lowering.index(0));
  Value last = lowering.sub(sizes[axis], lowering.index(1));
  Value position = index < 0 ? lowering.add(sizes[axis], lowering.index(index))
                             : lowering.min(lowering.index(index), last);
  offsets[axis] = lowering.max(position, lowering.index(0));
  sizes[axis] = lowering.index(1);
  llvm::SmallVector<int64_t> shape(source.getShape());
  shape[axis] = 1;
  Value part = lowering.slice(input, offsets, sizes, source.clone(shape));
  for (auto [i, size] : llvm::enumerate(sizes))
    if (static_cast<int64_t>(i) != axis)
      kept.push_back(size);
  return lowering.reshape(part, type, kept);
}

/// Where the element of a table at a position lies in the tensor that holds it.
using Place = llvm::function_ref<llvm::SmallVector<Value>(
    ImplicitLocOpBuilder &, ArrayRef<Value>)>;

/// Looks up along dimension `axis` of the table `input`, whose dimensions are
/// `from`.
static Value gather(Lowering &lowering, Value input, ArrayRef<Value> from,
                    Value indices, int64_t axis, RankedTensorType type,
                    Place place) {
  ImplicitLocOpBuilder &b = lowering.b;
  llvm::SmallVector<Value> dims(from);
  llvm::SmallVector<Value> looked = lowering.dims(indices);
  int64_t width = looked.size(), rank = type.getRank();
  dims.erase(dims.begin() + axis);
  dims.insert(dims.begin() + axis, looked.begin(), looked.end());
  llvm::SmallVector<AffineExpr> exprs;
  for (int64_t i = 0; i < width; ++i)
    exprs.push_back(b.getAffineDimExpr(axis + i));
  AffineMap map = AffineMap::get(rank, 0, exprs, b.getContext());
  return lowering.parallel(
      type, lowering.refine(type, dims), {indices}, {map},
      [&](ImplicitLocOpBuilder &b, ValueRange args) {
        llvm::SmallVector<Value> position;
        for (int64_t i = 0, e = from.size(); i < e; ++i)
          position.push_back(i == axis ? clampIndex(b, args[0], from[axis])
                                       : Value(linalg::IndexOp::create(
                                             b, i < axis ? i : i + width - 1)));
        return tensor::ExtractOp::create(b, input, place(b, position))
            .getResult();
      });
}

/// Of tensors whose elements are scalars.
static bool gatherKnown(nju::GatherOp op, Lowering &lowering,
                        RankedTensorType type) {
  auto table = lowering.known(lowering[op.getInput()]);
  auto indices = lowering.known(lowering[op.getIndices()]);
  if (!table || !indices || !type.hasStaticShape() || type.getRank() > 1 ||
      op.getInput().getType().getRank() != 1)
    return false;
  llvm::SmallVector<Value> elements;
  int64_t size = table->size();
  for (Value index : *indices) {
    std::optional<int64_t> i = getConstantIntValue(index);
    if (!i)
      return false;
    int64_t position = *i < 0 ? *i + size : *i;
    if (position < 0 || position >= size)
      return false;
    elements.push_back((*table)[position]);
  }
  lowering.bind(op, lowering.fromElements(type, elements));
  return true;
}

static LogicalResult lowerGather(nju::GatherOp op, Lowering &lowering) {
  RankedTensorType type = Lowering::convert(op.getType());
  if (gatherKnown(op, lowering, type))
    return success();
  int64_t axis = op.getAxis();
  Value indices = lowering[op.getIndices()];
  // Rows of a converted weight: convert the rows, not the weight.
  auto convert = op.getInput().getDefiningOp<nju::CastOp>();
  if (convert && !convert.getInput().getDefiningOp<nju::ParamRefOp>())
    convert = nullptr;
  Value input = lowering[convert ? convert.getInput() : op.getInput()];
  Type elementType = cast<RankedTensorType>(input.getType()).getElementType();
  auto rowsType = RankedTensorType::get(type.getShape(), elementType);
  auto known = lowering.known(indices);
  std::optional<int64_t> constant =
      known && op.getIndices().getType().getRank() == 0
          ? getConstantIntValue((*known)[0])
          : std::nullopt;
  lowering.checkIndices(indices, lowering.dim(input, axis));
  auto asIs = [](ImplicitLocOpBuilder &, ArrayRef<Value> position) {
    return llvm::SmallVector<Value>(position);
  };
  Value result = constant
                     ? gatherOne(lowering, input, *constant, axis, rowsType)
                     : gather(lowering, input, lowering.dims(input), indices,
                              axis, rowsType, asIs);
  if (convert)
    result = lowering.elementwise(type, {result},
                                  [&](ImplicitLocOpBuilder &b, ValueRange x) {
                                    return emitElement(convert, b, x);
                                  });
  lowering.bind(op, result);
  return success();
}

/// Row i of the table is column i % 32 of panel i / 32.
static LogicalResult lowerEmbedding(nju::EmbeddingOp op, Lowering &lowering) {
  Value weight = lowering[op.getWeight()], indices = lowering[op.getIndices()];
  Value columns = lowering.index(op.getColumns());
  lowering.checkIndices(indices, columns);
  auto inPanel = [](ImplicitLocOpBuilder &b, ArrayRef<Value> position) {
    Value width = arith::ConstantIndexOp::create(b, nju::kPanelColumns);
    Value panel = arith::DivUIOp::create(b, position[0], width);
    Value column = arith::RemUIOp::create(b, position[0], width);
    return llvm::SmallVector<Value>{panel, position[1], column};
  };
  lowering.bind(op, gather(lowering, weight, {columns, lowering.dim(weight, 1)},
                           indices, /*axis=*/0, Lowering::convert(op.getType()),
                           inPanel));
  return success();
}

/// The rows as i64; all of them if none are named.
static Value rowsOf(nju::DequantizeOp op, Lowering &lowering, Value channels) {
  Type i64 = lowering.b.getI64Type();
  if (!op.getRows())
    return lowering.parallel(
        RankedTensorType::get({static_cast<int64_t>(op.getChannels())}, i64),
        {channels}, {}, {}, [&](ImplicitLocOpBuilder &b, ValueRange) -> Value {
          return arith::IndexCastOp::create(b, i64,
                                            linalg::IndexOp::create(b, 0));
        });
  Value rows = lowering[op.getRows()];
  lowering.checkIndices(rows, channels);
  RankedTensorType type = op.getRows().getType();
  if (type.getElementType() == i64)
    return rows;
  return lowering.parallel(
      type.clone(i64), lowering.dims(rows), {rows},
      {lowering.b.getMultiDimIdentityMap(type.getRank())},
      [&](ImplicitLocOpBuilder &b, ValueRange args) -> Value {
        return arith::ExtSIOp::create(b, i64, args[0]);
      });
}

static LogicalResult lowerDequantize(nju::DequantizeOp op, Lowering &lowering) {
  RankedTensorType type = op.getType();
  Value rows = rowsOf(op, lowering, lowering.index(op.getChannels()));
  llvm::SmallVector<Value> dims = lowering.dims(rows);
  dims.push_back(lowering.index(type.getShape().back()));
  auto result = nju::exec::DequantizeOp::create(
      lowering.b, type, lowering[op.getCodes()], lowering[op.getBasis()],
      lowering[op.getFactors()], rows, lowering.empty(type, dims),
      op.getFormat(), op.getChannels());
  lowering.bind(op, result.getResult(), dims);
  return success();
}

static LogicalResult lowerGatherElements(nju::GatherElementsOp op,
                                         Lowering &lowering) {
  RankedTensorType type = Lowering::convert(op.getType());
  Value input = lowering[op.getInput()], indices = lowering[op.getIndices()];
  int64_t axis = op.getAxis(), rank = type.getRank();
  Value size = lowering.dim(input, axis);
  lowering.checkIndices(indices, size);
  for (auto [i, looked, dim] :
       llvm::enumerate(lowering.dims(indices), lowering.dims(input)))
    if (static_cast<int64_t>(i) != axis)
      lowering.checkCompare(arith::CmpIPredicate::sle, looked, dim,
                            "found a size of {0}, expected at most {1}");
  Value result = lowering.parallel(
      type, lowering.dims(indices), {indices},
      {lowering.b.getMultiDimIdentityMap(rank)},
      [&](ImplicitLocOpBuilder &b, ValueRange args) {
        llvm::SmallVector<Value> position;
        for (int64_t i = 0; i < rank; ++i)
          position.push_back(i == axis ? clampIndex(b, args[0], size)
                                       : Value(linalg::IndexOp::create(b, i)));
        return tensor::ExtractOp::create(b, input, position).getResult();
      });
  lowering.bind(op, result);
  return success();
}

static LogicalResult lowerGatherND(nju::GatherNDOp op, Lowering &lowering) {
  RankedTensorType type = Lowering::convert(op.getType());
  Value input = lowering[op.getInput()], indices = lowering[op.getIndices()];
  llvm::SmallVector<Value> from = lowering.dims(input);
  llvm::SmallVector<Value> dims = lowering.dims(indices);
  int64_t depth = op.getIndices().getType().getShape().back();
  assert(!ShapedType::isDynamic(depth) && "shape inference has checked this");
  int64_t batch = op.getBatchDims(), vectors = dims.size() - 1;
  dims.pop_back();
  for (int64_t i = 0; i < batch; ++i)
    lowering.checkEqual(dims[i], from[i]);
  dims.append(from.begin() + batch + depth, from.end());
  Value result = lowering.parallel(
      type, lowering.refine(type, dims), {}, {},
      [&](ImplicitLocOpBuilder &b, ValueRange) {
        llvm::SmallVector<Value> vector, position;
        for (int64_t i = 0; i < vectors; ++i)
          vector.push_back(linalg::IndexOp::create(b, i));
        vector.push_back(nullptr);
        position.assign(vector.begin(), vector.begin() + batch);
        for (int64_t i = 0; i < depth; ++i) {
          vector.back() = arith::ConstantIndexOp::create(b, i);
          Value index = tensor::ExtractOp::create(b, indices, vector);
          position.push_back(clampIndex(b, index, from[batch + i]));
        }
        for (int64_t i = vectors; i < type.getRank(); ++i)
          position.push_back(linalg::IndexOp::create(b, i));
        return tensor::ExtractOp::create(b, input, position).getResult();
      });
  lowering.bind(op, result);
  return success();
}

/// Loops over `dims` in order, which carry `state`.
static llvm::SmallVector<Value>
serialLoops(Lowering &lowering, ArrayRef<Value> dims, ValueRange state,
            llvm::function_ref<llvm::SmallVector<Value>(ImplicitLocOpBuilder &,
                                                        ValueRange, ValueRange)>
                body) {
  llvm::SmallVector<Value> zeros(dims.size(), lowering.index(0));
  llvm::SmallVector<Value> ones(dims.size(), lowering.index(1));
  scf::LoopNest nest = scf::buildLoopNest(
      lowering.b, lowering.b.getLoc(), zeros, dims, ones, state,
      [&](OpBuilder &builder, Location loc, ValueRange position,
          ValueRange carried) -> scf::ValueVector {
        ImplicitLocOpBuilder b(loc, builder);
        llvm::SmallVector<Value> next = body(b, position, carried);
        return scf::ValueVector(next.begin(), next.end());
      });
  return llvm::to_vector(ValueRange(nest.results));
}

static Value combineStored(ImplicitLocOpBuilder &b,
                           nju::ScatterReduction reduction, Type elementType,
                           Value before, Value update) {
  Value result = combineElements(b, reduction, elementType,
                                 Lowering::load(b, before, elementType),
                                 Lowering::load(b, update, elementType));
  return Lowering::store(b, result, elementType);
}

/// Updates in order, one element at a time, so that the last one wins.
static LogicalResult lowerScatterND(nju::ScatterNDOp op, Lowering &lowering) {
  Value input = lowering[op.getInput()], indices = lowering[op.getIndices()];
  Value updates = lowering[op.getUpdates()];
  llvm::SmallVector<Value> from = lowering.dims(input);
  int64_t depth = op.getIndices().getType().getShape().back();
  int64_t vectors = op.getIndices().getType().getRank() - 1;
  assert(!ShapedType::isDynamic(depth) && "shape inference has checked this");
  llvm::SmallVector<Value> places(lowering.dims(indices));
  places.pop_back();
  places.append(from.begin() + depth, from.end());
  for (auto [size, expected] : llvm::zip(lowering.dims(updates), places))
    lowering.checkEqual(size, expected);
  llvm::SmallVector<Value> result = serialLoops(
      lowering, lowering.dims(updates), input,
      [&](ImplicitLocOpBuilder &b, ValueRange place, ValueRange carried) {
        llvm::SmallVector<Value> vector(place.take_front(vectors)), position;
        vector.push_back(nullptr);
        for (int64_t i = 0; i < depth; ++i) {
          vector.back() = arith::ConstantIndexOp::create(b, i);
          Value index = tensor::ExtractOp::create(b, indices, vector);
          position.push_back(clampIndex(b, index, from[i]));
        }
        llvm::append_range(position, place.drop_front(vectors));
        Value update = tensor::ExtractOp::create(b, updates, place);
        if (op.getReduction() != nju::ScatterReduction::replace)
          update = combineStored(
              b, op.getReduction(), op.getType().getElementType(),
              tensor::ExtractOp::create(b, carried[0], position), update);
        Value next = tensor::InsertOp::create(b, update, carried[0], position);
        return llvm::SmallVector<Value>{next};
      });
  lowering.bind(op, result[0], from);
  return success();
}

static LogicalResult lowerCumSum(nju::CumSumOp op, Lowering &lowering) {
  Value input = lowering[op.getInput()];
  RankedTensorType type = Lowering::convert(op.getType());
  llvm::SmallVector<Value> dims = lowering.dims(input), loops(dims);
  int64_t axis = op.getAxis();
  Value size = loops[axis];
  // The axis is the innermost loop; its first step starts from zero.
  loops.erase(loops.begin() + axis);
  loops.push_back(size);
  Type elementType = op.getType().getElementType();
  Value start =
      emitNumber(lowering.b, Lowering::arithmeticType(elementType), 0);
  llvm::SmallVector<Value> state{lowering.empty(type, dims), start};
  auto result = serialLoops(
      lowering, loops, state,
      [&](ImplicitLocOpBuilder &b, ValueRange place, ValueRange carried) {
        llvm::SmallVector<Value> position(place.drop_back());
        Value step = place.back();
        Value zero = arith::ConstantIndexOp::create(b, 0);
        Value first =
            arith::CmpIOp::create(b, arith::CmpIPredicate::eq, step, zero);
        Value one = arith::ConstantIndexOp::create(b, 1);
        if (op.getReverse())
          step = arith::SubIOp::create(b, arith::SubIOp::create(b, size, one),
                                       step);
        position.insert(position.begin() + axis, step);
        Value x = Lowering::load(
            b, tensor::ExtractOp::create(b, input, position), elementType);
        Value before = arith::SelectOp::create(b, first, start, carried[1]);
        Value after = isa<FloatType>(x.getType())
                          ? Value(arith::AddFOp::create(b, before, x))
                          : Value(arith::AddIOp::create(b, before, x));
        Value sum =
            Lowering::store(b, op.getExclusive() ? before : after, elementType);
        Value next = tensor::InsertOp::create(b, sum, carried[0], position);
        return llvm::SmallVector<Value>{next, after};
      });
  lowering.bind(op, result[0], dims);
  return success();
}

/// The element as one of numbers that are ordered: NaN is beyond all of them.
static Value orderable(ImplicitLocOpBuilder &b, Value x) {
  if (!isa<FloatType>(x.getType()))
    return x;
  Value isNaN = arith::CmpFOp::create(b, arith::CmpFPredicate::UNO, x, x);
  Value infinity =
      emitNumber(b, x.getType(), std::numeric_limits<double>::infinity());
  return arith::SelectOp::create(b, isNaN, infinity, x);
}

namespace {
/// The loop of top_k over the elements of a row: the best of those that come
/// after the one that was chosen before.
struct TopKStep {
  ImplicitLocOpBuilder &b;
  bool isLeast, natural;

  Value precedes(Value x, Value y) {
    using F = arith::CmpFPredicate;
    using I = arith::CmpIPredicate;
    if (isa<FloatType>(x.getType()))
      return arith::CmpFOp::create(b, isLeast ? F::OLT : F::OGT, x, y);
    I predicate =
        natural ? (isLeast ? I::ult : I::ugt) : (isLeast ? I::slt : I::sgt);
    return arith::CmpIOp::create(b, predicate, x, y);
  }
  Value less(Value x, Value y) {
    return arith::CmpIOp::create(b, arith::CmpIPredicate::slt, x, y);
  }
  Value both(Value x, Value y) { return arith::AndIOp::create(b, x, y); }
  Value either(Value x, Value y) { return arith::OrIOp::create(b, x, y); }

  /// Whether `x` at index `i` has not been chosen before `last` at `lastIndex`
  /// was; -1 if nothing was.
  Value remains(Value x, Value i, Value last, Value lastIndex) {
    Value none = less(lastIndex, arith::ConstantIndexOp::create(b, 0));
    Value isBefore = precedes(x, last), isAfter = precedes(last, x);
    Value one = arith::ConstantOp::create(b, b.getBoolAttr(true));
    Value isEqual = both(arith::XOrIOp::create(b, isBefore, one),
                         arith::XOrIOp::create(b, isAfter, one));
    return either(none, either(isAfter, both(isEqual, less(lastIndex, i))));
  }
};
} // namespace

/// For each of the places, from the best on, one pass over the row. The state
/// is the table of results, the last element that was chosen, and the best one
/// of the pass so far, each with its index.
static LogicalResult lowerTopK(nju::TopKOp op, Lowering &lowering) {
  Value input = lowering[op.getInput()];
  RankedTensorType type = Lowering::convert(op.getType());
  Type elementType = op.getInput().getType().getElementType();
  int64_t axis = op.getAxis();
  llvm::SmallVector<Value> from = lowering.dims(input), dims(from), loops(from);
  Value size = from[axis];
  dims[axis] = lowering.index(op.getCount());
  lowering.checkCompare(arith::CmpIPredicate::sle, dims[axis], size,
                        "chooses {0} elements of {1}");
  loops.erase(loops.begin() + axis);
  loops.append({dims[axis], size});
  Value number =
      emitNumber(lowering.b, Lowering::arithmeticType(elementType), 0);
  Value none = lowering.index(-1);
  llvm::SmallVector<Value> state{lowering.empty(type, dims), number, none,
                                 number, none};
  bool natural = isNatural(elementType);
  auto result = serialLoops(
      lowering, loops, state,
      [&](ImplicitLocOpBuilder &b, ValueRange place, ValueRange carried) {
        TopKStep step{b, op.getLeast(), natural};
        llvm::SmallVector<Value> position(place.drop_back(2));
        Value choice = place[place.size() - 2], i = place.back();
        position.insert(position.begin() + axis, i);
        Value x = orderable(
            b, Lowering::load(b, tensor::ExtractOp::create(b, input, position),
                              elementType));
        Value zero = arith::ConstantIndexOp::create(b, 0);
        Value begins =
            arith::CmpIOp::create(b, arith::CmpIPredicate::eq, i, zero);
        Value isFirst =
            arith::CmpIOp::create(b, arith::CmpIPredicate::eq, choice, zero);
        auto select = [&](Value condition, Value x, Value y) -> Value {
          return arith::SelectOp::create(b, condition, x, y);
        };
        // What the pass before has found was chosen.
        Value lastIndex =
            select(begins, select(isFirst, none, carried[4]), carried[2]);
        Value last = select(begins, carried[3], carried[1]);
        Value bestIndex = select(begins, none, carried[4]);
        Value better = step.either(step.less(bestIndex, zero),
                                   step.precedes(x, carried[3]));
        Value takes = step.both(step.remains(x, i, last, lastIndex), better);
        Value best = select(takes, x, carried[3]);
        bestIndex = select(takes, i, bestIndex);
        position[axis] = choice;
        Value index = arith::IndexCastOp::create(b, b.getI64Type(), bestIndex);
        Value table = tensor::InsertOp::create(b, index, carried[0], position);
        return llvm::SmallVector<Value>{table, last, lastIndex, best,
                                        bestIndex};
      });
  lowering.bind(op, result[0], dims);
  return success();
}

static Value isNonZero(ImplicitLocOpBuilder &b, Value x) {
  Value zero = emitNumber(b, x.getType(), 0);
  if (isa<FloatType>(x.getType()))
    return arith::CmpFOp::create(b, arith::CmpFPredicate::UNE, x, zero);
  return arith::CmpIOp::create(b, arith::CmpIPredicate::ne, x, zero);
}

/// Counts, then writes the positions.
static LogicalResult lowerNonZero(nju::NonZeroOp op, Lowering &lowering) {
  Value input = lowering[op.getInput()];
  RankedTensorType type = op.getType();
  llvm::SmallVector<Value> dims = lowering.dims(input);
  auto next = [&](ImplicitLocOpBuilder &b, ValueRange place, Value count,
                  Value &nonzero) -> Value {
    Value x = tensor::ExtractOp::create(b, input, place);
    nonzero = isNonZero(b, x);
    Value one = arith::ConstantIndexOp::create(b, 1);
    return arith::SelectOp::create(b, nonzero,
                                   arith::AddIOp::create(b, count, one), count);
  };
  auto counted = serialLoops(
      lowering, dims, lowering.index(0),
      [&](ImplicitLocOpBuilder &b, ValueRange place, ValueRange carried) {
        Value nonzero;
        return llvm::SmallVector<Value>{next(b, place, carried[0], nonzero)};
      });
  Value rank = lowering.index(dims.size());
  Value init = lowering.empty(type, {rank, counted[0]});
  auto result = serialLoops(
      lowering, dims, ValueRange{init, lowering.index(0)},
      [&](ImplicitLocOpBuilder &b, ValueRange place, ValueRange carried) {
        Value nonzero;
        Value count = next(b, place, carried[1], nonzero);
        auto choice = scf::IfOp::create(
            b, nonzero,
            [&](OpBuilder &builder, Location loc) {
              ImplicitLocOpBuilder nested(loc, builder);
              Value table = carried[0];
              for (auto [i, index] : llvm::enumerate(place)) {
                Value row = arith::ConstantIndexOp::create(nested, i);
                Value element = arith::IndexCastOp::create(
                    nested, nested.getI64Type(), index);
                table = tensor::InsertOp::create(nested, element, table,
                                                 ValueRange{row, carried[1]});
              }
              scf::YieldOp::create(nested, table);
            },
            [&](OpBuilder &builder, Location loc) {
              scf::YieldOp::create(builder, loc, carried[0]);
            });
        return llvm::SmallVector<Value>{choice.getResult(0), count};
      });
  lowering.bind(op, result[0], {rank, counted[0]});
  return success();
}

void nju::lowering::populateIndexing(Table &table) {
  table.add<CumSumOp>(lowerCumSum);
  table.add<DequantizeOp>(lowerDequantize);
  table.add<EmbeddingOp>(lowerEmbedding);
  table.add<GatherElementsOp>(lowerGatherElements);
  table.add<GatherNDOp>(lowerGatherND);
  table.add<GatherOp>(lowerGather);
  table.add<NonZeroOp>(lowerNonZero);
  table.add<ScatterNDOp>(lowerScatterND);
  table.add<TopKOp>(lowerTopK);
}
