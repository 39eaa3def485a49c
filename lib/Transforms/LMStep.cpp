//===- LMStep.cpp - Writes the step of a language model -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "LMStep.h"
#include <array>

using namespace mlir;
using namespace nju;

namespace {

/// Constants of more elements become params.
constexpr int64_t kMaxConstant = 1024;

int64_t productOf(ArrayRef<int64_t> dims) {
  int64_t size = 1;
  for (int64_t dim : dims)
    size *= dim;
  return size;
}

class StepBuilder {
public:
  StepBuilder(LMGraph &graph, const LMPlan &plan, PositionTables &tables)
      : graph(graph), plan(plan), tables(tables),
        builder(graph.getFunction().getContext()),
        loc(graph.getFunction().getLoc()),
        symbols(graph.getFunction()->getParentOfType<ModuleOp>()) {}

  FailureOr<func::FuncOp> build();

private:
  LMGraph &graph;
  const LMPlan &plan;
  PositionTables &tables;
  OpBuilder builder;
  Location loc;
  SymbolTable symbols;
  Value tokens, positions, sequences, rows, rowPositions;
  /// What stands for a value of the graph: for all tokens, or for the rows.
  llvm::DenseMap<Value, Value> values, rowValues;
  llvm::DenseMap<Attribute, ParamOp> tableParams;
  int64_t layer = 0;

  RankedTensorType typeOf(Value value) {
    return cast<RankedTensorType>(value.getType());
  }
  Value constant(ArrayRef<int64_t> numbers);
  Value reshape(Value value, ArrayRef<int64_t> shape);
  Value transpose(Value value, ArrayRef<int64_t> permutation);
  Value slice(Value value, int64_t axis, int64_t start, int64_t size);
  Value gather(Value value, Value indices, int64_t axis);
  FailureOr<Value> get(Value value, bool isRow);
  FailureOr<Value> getTable(Value value, bool isRow);
  Value lookUpTable(const PositionTables::Table &table, RankedTensorType type,
                    Value at);
  Value constantOrParam(const HostTensor &tensor);
  Value paramRef(const HostTensor &tensor);
  FailureOr<Value> cloneStatic(Value value);
  void createFunction(func::FuncOp &step);
  LogicalResult emit(Operation *op);
  FailureOr<Value> emitSlice(SliceOp op, bool isRow);
  FailureOr<Value> emitAttention(const LMAttention &attention);
  FailureOr<Value> cacheRows(const LMCacheSource &source,
                             const LMAttention &attention);
  SmallVector<int64_t> tokensFirst(int64_t rank, int64_t axis, bool keepFirst);
};

Value StepBuilder::constant(ArrayRef<int64_t> numbers) {
  auto type = RankedTensorType::get(numbers.size(), builder.getI64Type());
  return ConstantOp::create(builder, loc,
                            DenseElementsAttr::get(type, numbers));
}

/// `shape` has kDynamic for the tokens, at most once.
Value StepBuilder::reshape(Value value, ArrayRef<int64_t> shape) {
  auto type = typeOf(value).clone(shape);
  if (type == value.getType())
    return value;
  SmallVector<int64_t> numbers(shape);
  for (int64_t &number : numbers)
    if (ShapedType::isDynamic(number))
      number = -1;
  return ReshapeOp::create(builder, loc, type, value, constant(numbers));
}

Value StepBuilder::transpose(Value value, ArrayRef<int64_t> permutation) {
  if (llvm::is_sorted(permutation))
    return value;
  SmallVector<int64_t> shape;
  for (int64_t dim : permutation)
    shape.push_back(typeOf(value).getDimSize(dim));
  return TransposeOp::create(builder, loc, typeOf(value).clone(shape), value,
                             permutation);
}

Value StepBuilder::slice(Value value, int64_t axis, int64_t start,
                         int64_t size) {
  SmallVector<int64_t> shape(typeOf(value).getShape());
  if (start == 0 && size == shape[axis])
    return value;
  shape[axis] = size;
  return SliceOp::create(builder, loc, typeOf(value).clone(shape), value,
                         constant({start}), constant({start + size}),
                         constant({1}), ArrayRef<int64_t>{axis});
}

Value StepBuilder::gather(Value value, Value indices, int64_t axis) {
  SmallVector<int64_t> shape(typeOf(value).getShape());
  shape[axis] = typeOf(indices).getDimSize(0);
  return GatherOp::create(builder, loc, typeOf(value).clone(shape), value,
                          indices, axis);
}

/// What stands for an operand.
FailureOr<Value> StepBuilder::get(Value value, bool isRow) {
  if (graph.isPositional(value))
    return getTable(value, isRow);
  if (!graph.isData(value))
    return cloneStatic(value);
  if (value == graph.getTokens() && !values.contains(value)) {
    Value ids = reshape(tokens, {1, ShapedType::kDynamic});
    Type type = getElementTypeOrSelf(value.getType());
    if (getElementTypeOrSelf(ids.getType()) != type)
      ids = CastOp::create(builder, loc, typeOf(ids).clone(type), ids);
    values[value] = ids;
  }
  Operation *op = value.getDefiningOp();
  if (op && plan.rowOps.contains(op))
    return rowValues.lookup(value);
  if (!isRow)
    return values.lookup(value);
  Value &taken = rowValues[value];
  if (!taken)
    taken = gather(values.lookup(value), rows, *graph.tokenAxis(value));
  return taken;
}

Value StepBuilder::paramRef(const HostTensor &tensor) {
  DenseElementsAttr elements = tensor.toAttr();
  RankedTensorType type = tensor.getType();
  ParamOp &param = tableParams[elements];
  if (!param) {
    auto module = cast<ModuleOp>(symbols.getOp());
    OpBuilder atStart = OpBuilder::atBlockBegin(module.getBody());
    param = ParamOp::create(atStart, loc, "table", type, elements,
                            DenseI64ArrayAttr(), IntegerAttr(), StringAttr());
    symbols.insert(param);
  }
  return ParamRefOp::create(builder, loc, type, param.getSymName());
}

Value StepBuilder::constantOrParam(const HostTensor &tensor) {
  if (tensor.getNumElements() > kMaxConstant)
    return paramRef(tensor);
  return ConstantOp::create(builder, loc, tensor.toAttr());
}

/// A positional operand: a constant, the position plus a number, or a row of a
/// table.
FailureOr<Value> StepBuilder::getTable(Value value, bool isRow) {
  Value &made = (isRow ? rowValues : values)[value];
  if (made)
    return made;
  FailureOr<const PositionTables::Table *> table = tables.get(value);
  if (failed(table))
    return failure();
  if (!(*table)->axis)
    return made = constantOrParam((*table)->elements);
  return made = lookUpTable(**table, typeOf(value),
                            isRow ? rowPositions : positions);
}

Value StepBuilder::lookUpTable(const PositionTables::Table &table,
                               RankedTensorType type, Value at) {
  int64_t axis = *table.axis;
  if (table.offset) {
    Value number = at;
    if (type.getElementType() != builder.getI32Type())
      number = CastOp::create(builder, loc,
                              typeOf(at).clone(type.getElementType()), at);
    if (*table.offset != 0) {
      HostTensor offset =
          HostTensor::fromInts(type.getElementType(), {}, {*table.offset});
      number = AddOp::create(builder, loc, number.getType(), number,
                             constantOrParam(offset));
    }
    return reshape(number, type.getShape());
  }
  HostTensor rows = table.elements;
  bool isBool = rows.getElementType().isInteger(1);
  if (isBool)
    rows = rows.converted(builder.getI8Type());
  SmallVector<int64_t> whole(rows.getShape()), narrow = {whole[0]};
  for (int64_t dim : ArrayRef<int64_t>(whole).drop_front())
    if (dim != 1)
      narrow.push_back(dim);
  Value row = gather(paramRef(rows.reshaped(narrow)), at, 0);
  if (isBool)
    row = CastOp::create(builder, loc, typeOf(row).clone(type.getElementType()),
                         row);
  if (productOf(type.getShape().take_front(axis)) == 1)
    return reshape(row, type.getShape());
  whole[0] = ShapedType::kDynamic;
  SmallVector<int64_t> permutation;
  for (int64_t i = 0; i < type.getRank(); ++i)
    permutation.push_back(i == axis ? 0 : i < axis ? i + 1 : i);
  return transpose(reshape(row, whole), permutation);
}

/// Constants and weights, and what is computed of them alone.
FailureOr<Value> StepBuilder::cloneStatic(Value value) {
  Value &made = values[value];
  if (made)
    return made;
  if (auto content = graph.getShapes().constantContent(value)) {
    RankedTensorType type = typeOf(value);
    return made = constantOrParam(HostTensor::fromInts(
               type.getElementType(), type.getShape(), *content));
  }
  Operation *op = value.getDefiningOp();
  IRMapping mapping;
  for (Value operand : op->getOperands()) {
    FailureOr<Value> cloned = cloneStatic(operand);
    if (failed(cloned))
      return failure();
    mapping.map(operand, *cloned);
  }
  return values[value] = builder.clone(*op, mapping)->getResult(0);
}

FailureOr<Value> StepBuilder::emitSlice(SliceOp op, bool isRow) {
  FailureOr<Value> input = get(op.getInput(), isRow);
  if (failed(input))
    return failure();
  int64_t tokenAxis = *graph.tokenAxis(op.getInput());
  std::array<Value, 3> operands = {op.getStarts(), op.getEnds(), op.getSteps()};
  std::array<SmallVector<int64_t>, 3> bounds;
  SmallVector<int64_t> axes;
  // All tokens remain: a slice of them takes the whole.
  for (auto [i, axis] : llvm::enumerate(op.getAxes()))
    if (axis != tokenAxis)
      axes.push_back(axis);
  if (axes.empty())
    return input;
  for (auto [kind, operand] : llvm::enumerate(operands)) {
    FailureOr<const PositionTables::Table *> table = tables.get(operand);
    if (failed(table) || (*table)->axis)
      return graph.refuse(op.getLoc(), "a slice depends on the length");
    for (auto [i, axis] : llvm::enumerate(op.getAxes()))
      if (axis != tokenAxis)
        bounds[kind].push_back((*table)->elements.getInt(i));
  }
  return Value(SliceOp::create(builder, op.getLoc(), op.getType(), *input,
                               constant(bounds[0]), constant(bounds[1]),
                               constant(bounds[2]), axes));
}

LogicalResult StepBuilder::emit(Operation *op) {
  bool isRow = plan.rowOps.contains(op);
  loc = op->getLoc();
  FailureOr<Value> result = failure();
  if (LMAttention *attention = plan.attentionOf.lookup(op)) {
    result = emitAttention(*attention);
  } else if (auto slice = dyn_cast<SliceOp>(op)) {
    result = emitSlice(slice, isRow);
  } else if (auto shaped = dyn_cast<ReshapeOp>(op)) {
    FailureOr<Value> input = get(shaped.getInput(), isRow);
    if (succeeded(input))
      result = reshape(*input, shaped.getType().getShape());
  } else {
    IRMapping mapping;
    for (OpOperand &operand : op->getOpOperands()) {
      FailureOr<Value> value = failure();
      if (isShapeOperand(operand)) {
        // Dimensions of one leave the tokens alone.
        SmallVector<int64_t> shape(typeOf(op->getResult(0)).getShape());
        if (auto tile = dyn_cast<TileOp>(op))
          for (auto [out, in] :
               llvm::zip(shape, tile.getInput().getType().getShape()))
            out = ShapedType::isDynamic(out) ? 1 : out / in;
        for (int64_t &dim : shape)
          dim = ShapedType::isDynamic(dim) ? 1 : dim;
        value = constant(shape);
      } else {
        value = get(operand.get(), isRow);
      }
      if (failed(value))
        return failure();
      mapping.map(operand.get(), *value);
    }
    result = builder.clone(*op, mapping)->getResult(0);
  }
  if (failed(result))
    return failure();
  (isRow ? rowValues : values)[op->getResult(0)] = *result;
  return success();
}

/// The permutation that brings the tokens to the front, or behind the first
/// dimension.
SmallVector<int64_t> StepBuilder::tokensFirst(int64_t rank, int64_t axis,
                                              bool keepFirst) {
  SmallVector<int64_t> permutation;
  if (keepFirst)
    permutation.push_back(0);
  permutation.push_back(axis);
  for (int64_t i = keepFirst ? 1 : 0; i < rank; ++i)
    if (i != axis)
      permutation.push_back(i);
  return permutation;
}

/// Keys or values of the new tokens as `[1, T, G, D]`.
FailureOr<Value> StepBuilder::cacheRows(const LMCacheSource &source,
                                        const LMAttention &attention) {
  FailureOr<Value> fresh = get(source.fresh, false);
  if (failed(fresh))
    return failure();
  RankedTensorType type = typeOf(*fresh);
  int64_t axis = *graph.tokenAxis(source.fresh), any = ShapedType::kDynamic;
  bool keepFirst = axis > 0 && type.getDimSize(0) == 1;
  Value moved = transpose(*fresh, tokensFirst(type.getRank(), axis, keepFirst));
  int64_t rowSize = productOf(type.getShape().take_front(axis)) *
                    productOf(type.getShape().drop_front(axis + 1));
  int64_t groups = attention.groups, width = attention.headDim;
  int64_t stride = source.groupStride;
  if (stride == width) {
    if (groups * width != rowSize)
      moved = slice(reshape(moved, {1, any, rowSize}), 2, source.base,
                    groups * width);
    return reshape(moved, {1, any, groups, width});
  }
  if (rowSize % stride != 0 || source.base % stride + width > stride)
    return graph.refuse(attention.root->getLoc(),
                        "keys or values of an attention are interleaved");
  moved = reshape(moved, {1, any, rowSize / stride, stride});
  moved = slice(moved, 2, source.base / stride, groups);
  return slice(moved, 3, source.base % stride, width);
}

FailureOr<Value> StepBuilder::emitAttention(const LMAttention &attention) {
  FailureOr<Value> query = get(attention.query, false);
  FailureOr<Value> key = cacheRows(attention.keySource, attention);
  FailureOr<Value> value = cacheRows(attention.valueSource, attention);
  if (failed(query) || failed(key) || failed(value))
    return failure();
  RankedTensorType type = typeOf(*query);
  int64_t rank = type.getRank(), any = ShapedType::kDynamic;
  SmallVector<int64_t> permutation =
      tokensFirst(rank, rank - 2, type.getDimSize(0) == 1);
  Value moved = transpose(*query, permutation);
  SmallVector<int64_t> movedShape(typeOf(moved).getShape());
  Value heads = reshape(moved, {1, any, attention.heads, attention.headDim});

  IntegerAttr window;
  if (attention.window && *attention.window < tables.getMaxTokens())
    window = builder.getI64IntegerAttr(*attention.window);
  DenseF32ArrayAttr slopes;
  if (!attention.slopes.empty())
    slopes = builder.getDenseF32ArrayAttr(attention.slopes);
  FloatAttr softcap;
  if (attention.softcap)
    softcap = builder.getF64FloatAttr(*attention.softcap);
  Value result = CachedAttentionOp::create(
      builder, loc, heads.getType(), heads, *key, *value, positions, sequences,
      builder.getI64IntegerAttr(layer++),
      builder.getF64FloatAttr(attention.scale * attention.keyScale), window,
      slopes, softcap);

  SmallVector<int64_t> back(rank);
  for (auto [i, dim] : llvm::enumerate(permutation))
    back[dim] = i;
  return transpose(reshape(result, movedShape), back);
}

void StepBuilder::createFunction(func::FuncOp &step) {
  int64_t any = ShapedType::kDynamic;
  auto ids = RankedTensorType::get({any}, builder.getI32Type());
  auto logits =
      RankedTensorType::get({any, graph.getVocabulary()}, builder.getF32Type());
  builder.setInsertionPointAfter(graph.getFunction());
  step = func::FuncOp::create(
      builder, loc, "step",
      builder.getFunctionType({ids, ids, ids, ids}, {logits}));
  symbols.insert(step);
  for (auto [i, name] : llvm::enumerate(
           std::array{"tokens", "positions", "sequences", "rows"})) {
    step.setArgAttr(i, "nju.name", builder.getStringAttr(name));
    // Tokens, positions and sequences have one length.
    step.setArgAttr(i, "nju.dims",
                    builder.getStrArrayAttr({i == 3 ? "rows" : "tokens"}));
  }
  step.setResultAttr(0, "nju.name", builder.getStringAttr("logits"));
  Block *body = step.addEntryBlock();
  builder.setInsertionPointToStart(body);
  tokens = body->getArgument(0);
  positions = body->getArgument(1);
  sequences = body->getArgument(2);
  rows = body->getArgument(3);
  rowPositions = gather(positions, rows, 0);
}

FailureOr<func::FuncOp> StepBuilder::build() {
  func::FuncOp step;
  createFunction(step);
  for (Operation *op : plan.ops)
    if (failed(emit(op))) {
      symbols.erase(step);
      return failure();
    }
  FailureOr<Value> logits = get(graph.getLogits(), true);
  if (failed(logits)) {
    symbols.erase(step);
    return failure();
  }
  loc = graph.getFunction().getLoc();
  Value result =
      reshape(*logits, {ShapedType::kDynamic, graph.getVocabulary()});
  if (!typeOf(result).getElementType().isF32())
    result = CastOp::create(builder, loc,
                            typeOf(result).clone(builder.getF32Type()), result);
  func::ReturnOp::create(builder, loc, result);
  return step;
}

} // namespace

FailureOr<func::FuncOp> nju::buildStep(LMGraph &graph, const LMPlan &plan,
                                       PositionTables &tables) {
  return StepBuilder(graph, plan, tables).build();
}
