//===- LMGraph.cpp - A graph looked at as a language model -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "LMGraph.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace nju;

/// Names of the symbols; "past" makes the second one start at zero.
static constexpr llvm::StringLiteral kTokens = "tokens";
static constexpr llvm::StringLiteral kPast = "past";

LogicalResult LMGraph::refuse(Location location, const Twine &why) {
  if (refusal.empty()) {
    refusal = why.str();
    refusalLocation = location;
  }
  return failure();
}

std::string LMGraph::nameOf(BlockArgument argument) {
  auto name = function.getArgAttrOfType<StringAttr>(argument.getArgNumber(),
                                                    "nju.name");
  return name ? name.str() : "#" + std::to_string(argument.getArgNumber());
}

std::string LMGraph::resultName(unsigned index) {
  auto name = function.getResultAttrOfType<StringAttr>(index, "nju.name");
  return name ? name.str() : "#" + std::to_string(index);
}

LogicalResult LMGraph::specialize() {
  if (failed(findResults()) || failed(findRoles()) || failed(inferShapes()))
    return failure();
  if (!hasRowPerToken() && takeAllTokens() && failed(inferShapes()))
    return failure();
  if (!hasRowPerToken())
    return refuse(getLogits().getLoc(),
                  "output '" + resultName(logitsIndex) +
                      "' does not have one row for each token");
  return success();
}

/// True if the logits are `[1, tokens, vocabulary]` or `[tokens, vocabulary]`.
bool LMGraph::hasRowPerToken() {
  auto type = cast<RankedTensorType>(getLogits().getType());
  int64_t rank = type.getRank();
  return tokenAxis(getLogits()) == rank - 2 &&
         (rank == 2 || type.getDimSize(0) == 1);
}

/// Some graphs compute the logits of the last token only. Such a graph, called
/// with each prefix of a sequence, gives what the graph without the selection
/// gives for the sequence at once. (That no token sees a later one is proven
/// for every graph.) Replaces the selections; true if there were any.
bool LMGraph::takeAllTokens() {
  llvm::SetVector<Value> reached;
  SmallVector<Operation *> selections;
  reached.insert(getLogits());
  for (size_t i = 0; i < reached.size(); ++i) {
    Operation *op = reached[i].getDefiningOp();
    if (!op || !isData(reached[i]) || isa<ShapeOfOp>(op))
      continue;
    if (selectsLastToken(op))
      selections.push_back(op);
    else
      reached.insert(op->operand_begin(), op->operand_end());
  }
  for (Operation *op : selections) {
    Value all = op->getOperand(0);
    auto type = cast<RankedTensorType>(op->getResult(0).getType());
    if (type.getRank() < cast<RankedTensorType>(all.getType()).getRank()) {
      // The tokens take the place of the batch of one.
      OpBuilder builder(op);
      all = SqueezeOp::create(builder, op->getLoc(), type, all,
                              ArrayRef<int64_t>{0});
    }
    op->getResult(0).replaceAllUsesWith(all);
    op->erase();
  }
  kinds.clear();
  return !selections.empty();
}

/// True if an op takes, for every length, just the last one of all tokens.
bool LMGraph::selectsLastToken(Operation *op) {
  if (!isa<SliceOp, GatherOp>(op))
    return false;
  std::optional<int64_t> axis = tokenAxis(op->getOperand(0));
  auto gather = dyn_cast<GatherOp>(op);
  auto slice = dyn_cast<SliceOp>(op);
  if (!axis ||
      (gather && (static_cast<int64_t>(gather.getAxis()) != axis ||
                  gather.getIndices().getType().getRank() > 1 || axis != 1 ||
                  !shapes.dims(op->getOperand(0))[0].isConstant(1))))
    return false;
  if (slice && slice.getAxes() != ArrayRef<int64_t>{*axis})
    return false;
  for (int64_t count : {1, 2, 5}) {
    // The token that is taken is known by its number.
    LMLength length = {count, 0};
    SmallVector<int64_t> shape = shapeAt(op->getOperand(0), length);
    if (shape.empty())
      return false;
    auto evaluator = createEvaluator(length);
    HostTensor numbers = HostTensor::uninitialized(
        IntegerType::get(op->getContext(), 64), shape);
    int64_t inner = 1;
    for (int64_t dim : ArrayRef<int64_t>(shape).drop_front(*axis + 1))
      inner *= dim;
    for (auto [i, number] : llvm::enumerate(numbers.mutableElements<int64_t>()))
      number = static_cast<int64_t>(i) / inner % count;
    evaluator->bind(op->getOperand(0), numbers);
    FailureOr<HostTensor> taken = evaluator->evaluate(op->getResult(0));
    if (failed(taken) ||
        taken->getNumElements() * count != numbers.getNumElements() ||
        llvm::any_of(taken->getInts(),
                     [&](int64_t i) { return i != count - 1; }))
      return false;
  }
  return true;
}

/// The value before the casts between floats at the function's boundary.
static Value beforeCasts(Value value) {
  auto cast = value.getDefiningOp<CastOp>();
  if (cast && isa<FloatType>(getElementTypeOrSelf(cast.getInput().getType())) &&
      isa<FloatType>(getElementTypeOrSelf(cast.getType())))
    return cast.getInput();
  return value;
}

LogicalResult LMGraph::findResults() {
  terminator = function.getBody().front().getTerminator();
  if (terminator->getNumOperands() == 0)
    return refuse(function.getLoc(), "it has no outputs");
  // Keys and values have at least four dimensions.
  SmallVector<unsigned> candidates;
  for (auto [index, operand] : llvm::enumerate(terminator->getOperands())) {
    auto type = dyn_cast<RankedTensorType>(operand.getType());
    if (!type || !isa<FloatType>(type.getElementType()))
      return refuse(function.getLoc(), "output '" + resultName(index) +
                                           "' is no tensor of floats");
    if ((type.getRank() == 2 || type.getRank() == 3) &&
        !type.isDynamicDim(type.getRank() - 1))
      candidates.push_back(index);
  }
  if (candidates.empty())
    return refuse(function.getLoc(),
                  "no output is [batch, sequence, vocabulary] with a static "
                  "vocabulary");
  logitsIndex = candidates.front();
  for (unsigned index : candidates)
    if (StringRef(resultName(index)).lower() == "logits")
      logitsIndex = index;
  vocabulary = cast<RankedTensorType>(getLogits().getType()).getShape().back();
  return success();
}

Value LMGraph::getLogits() {
  return beforeCasts(terminator->getOperand(logitsIndex));
}

std::string LMGraph::getPresentName(unsigned index) {
  return resultName(index < logitsIndex ? index : index + 1);
}

SmallVector<Value> LMGraph::getPresents() {
  SmallVector<Value> presents;
  for (auto [index, operand] : llvm::enumerate(terminator->getOperands()))
    if (index != logitsIndex)
      presents.push_back(beforeCasts(operand));
  return presents;
}

/// What is computed of an argument by `passes`, the argument first.
static llvm::SetVector<Value>
reachedFrom(BlockArgument argument,
            llvm::function_ref<bool(OpOperand &)> passes) {
  llvm::SetVector<Value> reached;
  reached.insert(argument);
  for (size_t i = 0; i < reached.size(); ++i)
    for (OpOperand &use : reached[i].getUses())
      if (passes(use))
        reached.insert(use.getOwner()->getResult(0));
  return reached;
}

/// The weight, cast or not, that is looked up with `indices`.
static Value lookedUpWeight(OpOperand &indices) {
  auto gather = dyn_cast<GatherOp>(indices.getOwner());
  if (!gather || indices.getOperandNumber() != 1 || gather.getAxis() != 0)
    return nullptr;
  Value table = gather.getInput();
  while (auto cast = table.getDefiningOp<CastOp>())
    table = cast.getInput();
  return table.getDefiningOp<ParamRefOp>() ? table : Value();
}

/// True if the argument itself, or with a number added, looks up a weight that
/// is `wanted`.
static bool looksUpWeight(BlockArgument argument, bool mayAdd,
                          llvm::function_ref<bool(ParamRefOp)> wanted) {
  auto passes = [&](OpOperand &use) {
    Operation *user = use.getOwner();
    return (isa<CastOp, ReshapeOp, UnsqueezeOp, SqueezeOp>(user) &&
            use.getOperandNumber() == 0) ||
           (mayAdd && isa<AddOp>(user));
  };
  for (Value value : reachedFrom(argument, passes))
    for (OpOperand &use : value.getUses())
      if (Value table = lookedUpWeight(use))
        if (wanted(table.getDefiningOp<ParamRefOp>()))
          return true;
  return false;
}

/// True if the argument looks up a weight with one row for each logit.
static bool looksUpTokens(BlockArgument argument, int64_t vocabulary) {
  return looksUpWeight(argument, false, [&](ParamRefOp table) {
    return table.getType().getDimSize(0) >= vocabulary;
  });
}

/// True if the argument looks up a weight that is called a table of positions.
/// A table of segments is looked up in the same way: the name tells.
static bool looksUpPositions(BlockArgument argument) {
  return looksUpWeight(argument, true, [](ParamRefOp table) {
    std::string name = table.getParam().lower();
    return llvm::any_of(
        ArrayRef{"wpe", "position", "pos_emb"},
        [&](StringRef part) { return StringRef(name).contains(part); });
  });
}

/// True if angles are made of the argument: it is positions.
static bool makesAngles(BlockArgument argument) {
  auto passes = [](OpOperand &use) {
    return isa<CastOp, ReshapeOp, UnsqueezeOp, SqueezeOp, BroadcastToOp,
               TransposeOp, ConcatOp, MulOp, AddOp, MatMulOp>(use.getOwner());
  };
  return llvm::any_of(reachedFrom(argument, passes), [](Value value) {
    return llvm::any_of(value.getUsers(), [](Operation *user) {
      return isa<SinOp, CosOp>(user);
    });
  });
}

/// True if the argument only says which pairs of tokens see each other: from
/// it, nothing but a softmax over the scores is reached.
static bool onlyHides(BlockArgument argument) {
  bool hides = false, other = false;
  reachedFrom(argument, [&](OpOperand &use) {
    Operation *user = use.getOwner();
    if (isa<ShapeOfOp>(user))
      return false;
    auto attention = dyn_cast<AttentionOp>(user);
    bool ends =
        attention ? attention.getMask() == use.get() : isa<SoftmaxOp>(user);
    hides |= ends;
    other |= attention && !ends;
    other |= !ends && (isa<GatherOp>(user) && use.getOperandNumber() == 1);
    other |= isa<MatMulOp, SinOp, CosOp, func::ReturnOp>(user);
    return !ends && user->getNumResults() == 1;
  });
  return hides && !other;
}

LogicalResult LMGraph::findRoles() {
  SmallVector<BlockArgument> integers;
  for (BlockArgument argument : function.getArguments()) {
    auto type = dyn_cast<RankedTensorType>(argument.getType());
    if (!type)
      return refuse(function.getLoc(),
                    "input '" + nameOf(argument) + "' is no tensor");
    bool isFloat = isa<FloatType>(type.getElementType());
    if (type.getRank() >= 3 && onlyHides(argument))
      return refuse(function.getLoc(),
                    "input '" + nameOf(argument) +
                        "' is a mask of pairs of tokens, so whether a token "
                        "sees later ones is up to each call; expected a mask "
                        "of [batch, sequence] or none");
    if (isFloat && type.getRank() >= 4)
      pasts.push_back(argument);
    else if (type.getRank() == 2 || (type.getRank() == 1 && !isFloat))
      integers.push_back(argument);
    else
      return refuse(function.getLoc(),
                    "the role of input '" + nameOf(argument) + "' is unknown");
  }
  return findIntegerRoles(integers);
}

LogicalResult LMGraph::findIntegerRoles(ArrayRef<BlockArgument> arguments) {
  SmallVector<BlockArgument> unnamed;
  for (BlockArgument argument : arguments) {
    std::string name = StringRef(nameOf(argument)).lower();
    auto type = cast<RankedTensorType>(argument.getType());
    bool isFloat = isa<FloatType>(type.getElementType());
    if (StringRef(name).contains("mask") && type.getRank() == 2)
      masks.push_back(argument);
    else if (StringRef(name).contains("pos") && !isFloat)
      positions.push_back(argument);
    else if (type.getRank() == 2 && type.getElementType().isInteger() &&
             !type.getElementType().isInteger(1))
      unnamed.push_back(argument);
    else
      return refuse(function.getLoc(),
                    "the role of input '" + nameOf(argument) + "' is unknown");
  }
  return unnamed.size() == 1 ? setTokens(unnamed) : findUnnamedRoles(unnamed);
}

LogicalResult LMGraph::setTokens(ArrayRef<BlockArgument> arguments) {
  if (arguments.size() != 1)
    return refuse(function.getLoc(), "it has " + Twine(arguments.size()) +
                                         " inputs of token ids, expected one");
  tokens = arguments.front();
  return success();
}

/// Of arguments whose names say nothing, the tokens are what looks up a row for
/// each logit; the others show by what is made of them what they are.
LogicalResult LMGraph::findUnnamedRoles(ArrayRef<BlockArgument> arguments) {
  SmallVector<BlockArgument> lookups;
  for (BlockArgument argument : arguments)
    if (looksUpTokens(argument, vocabulary))
      lookups.push_back(argument);
  if (lookups.size() > 1)
    llvm::erase_if(lookups, looksUpPositions);
  if (failed(setTokens(lookups)))
    return failure();
  for (BlockArgument argument : arguments) {
    if (argument == tokens)
      continue;
    if (makesAngles(argument) || looksUpPositions(argument))
      positions.push_back(argument);
    else if (onlyHides(argument))
      masks.push_back(argument);
    else
      return refuse(function.getLoc(),
                    "the role of input '" + nameOf(argument) + "' is unknown");
  }
  return success();
}

LogicalResult LMGraph::inferShapes() {
  tokenSymbol = shapes.getContext().symbol(kTokens);
  pastSymbol = shapes.getContext().symbol(kPast);
  std::string total =
      pasts.empty() ? kTokens.str() : (kPast + " + " + kTokens).str();
  auto specialize = [&](BlockArgument argument, StringRef name,
                        unsigned axis) -> LogicalResult {
    auto type = cast<RankedTensorType>(argument.getType());
    if (!type.isDynamicDim(axis))
      return refuse(function.getLoc(), "input '" + nameOf(argument) +
                                           "' has a static length of " +
                                           Twine(type.getDimSize(axis)));
    SmallVector<int64_t> shape(type.getShape());
    std::vector<std::string> names(shape.size());
    for (auto [i, dim] : llvm::enumerate(shape)) {
      if (i == axis)
        names[i] = name.str();
      else if (ShapedType::isDynamic(dim))
        dim = 1;
    }
    argument.setType(type.clone(shape));
    shapes.addArgument(argument, names);
    return success();
  };
  if (failed(specialize(tokens, kTokens, 1)))
    return failure();
  for (BlockArgument argument : positions)
    if (failed(specialize(argument, kTokens,
                          cast<RankedTensorType>(argument.getType()).getRank() -
                              1)))
      return failure();
  for (BlockArgument argument : masks)
    if (failed(specialize(argument, total, 1)))
      return failure();
  for (BlockArgument argument : pasts) {
    // The last dynamic dimension but one at most: the others are the batch.
    auto type = cast<RankedTensorType>(argument.getType());
    int64_t axis = -1;
    for (int64_t i = type.getRank() - 1; i >= 0 && axis < 0; --i)
      if (type.isDynamicDim(i))
        axis = i;
    if (axis < 0)
      return refuse(function.getLoc(),
                    "input '" + nameOf(argument) + "' has no dynamic length");
    if (failed(specialize(argument, kPast, axis)))
      return failure();
  }
  for (Operation &op : function.getBody().front()) {
    if (failed(shapes.infer(&op)))
      return refuse(op.getLoc(), "its shapes do not fit a batch of one");
    for (Value result : op.getResults())
      if (isa<RankedTensorType>(result.getType()))
        assumeShort(result);
  }
  return success();
}

/// Graphs with tables of positions have dimensions such as `min(128, tokens)`.
/// They are taken for what they are for short lengths; the lengths for which
/// this is wrong are found when masks and tables are evaluated.
void LMGraph::assumeShort(Value value) {
  ShapeInference::Dims dims(shapes.dims(value));
  bool changed = false;
  for (SymbolicExpr &dim : dims) {
    SymbolicExpr linear = linearForShort(dim);
    changed |= linear && linear != dim;
    if (linear)
      dim = linear;
  }
  if (changed)
    shapes.setDims(value, dims);
}

/// The linear expression of the two lengths that equals `dim` for all short
/// ones; null if there is none.
SymbolicExpr LMGraph::linearForShort(SymbolicExpr dim) {
  auto at = [&](int64_t tokens, int64_t past) {
    return dim.evaluate({{tokenSymbol, tokens}, {pastSymbol, past}});
  };
  auto origin = at(1, 0), token = at(2, 0), past = at(1, 1);
  if (!origin || !token || !past)
    return {};
  int64_t a = *token - *origin, b = *past - *origin, c = *origin - a;
  for (auto [t, p] :
       {std::pair(1, 2), std::pair(3, 2), std::pair(2, 5), std::pair(8, 0)})
    if (at(t, p) != a * t + b * p + c)
      return {};
  return tokenSymbol * a + pastSymbol * b + c;
}

LMGraph::Kind LMGraph::kindOf(Value value) {
  auto found = kinds.find(value);
  if (found != kinds.end())
    return found->second;
  Kind kind = Kind::Static;
  Operation *op = value.getDefiningOp();
  if (!op)
    kind = value == tokens || llvm::is_contained(pasts, value)
               ? Kind::Data
               : Kind::Positional;
  else if (isa<ShapeOfOp>(op))
    kind = hasStaticShape(op->getOperand(0)) ? Kind::Static : Kind::Positional;
  else
    for (Value operand : op->getOperands())
      kind = std::max(kind, kindOf(operand));
  // Rows of a table of learned positions are looked up, not copied.
  if (auto gather = dyn_cast_or_null<GatherOp>(op);
      gather && kind == Kind::Positional && gather.getAxis() == 0 &&
      gather.getInput().getType().getRank() == 2 &&
      isa<FloatType>(gather.getType().getElementType()) &&
      kindOf(gather.getInput()) == Kind::Static && tokenAxis(value))
    kind = Kind::Data;
  return kinds[value] = kind;
}

bool LMGraph::isData(Value value) { return kindOf(value) == Kind::Data; }

bool LMGraph::isPositional(Value value) {
  return kindOf(value) == Kind::Positional;
}

std::optional<int64_t> LMGraph::axisOf(Value value, SymbolicExpr symbol) {
  std::optional<int64_t> axis;
  for (auto [i, dim] : llvm::enumerate(shapes.dims(value))) {
    if (dim.isConstant())
      continue;
    if (axis || dim != symbol)
      return std::nullopt;
    axis = i;
  }
  return axis;
}

std::optional<int64_t> LMGraph::tokenAxis(Value value) {
  return axisOf(value, tokenSymbol);
}

std::optional<int64_t> LMGraph::pastAxis(Value value) {
  return axisOf(value, pastSymbol);
}

bool LMGraph::hasStaticShape(Value value) {
  return llvm::all_of(shapes.dims(value),
                      [](SymbolicExpr dim) { return dim.isConstant(); });
}

SmallVector<int64_t> LMGraph::shapeAt(Value value, LMLength length) {
  llvm::DenseMap<SymbolicExpr, int64_t> symbols = {{tokenSymbol, length.tokens},
                                                   {pastSymbol, length.past}};
  SmallVector<int64_t> shape;
  for (SymbolicExpr dim : shapes.dims(value)) {
    std::optional<int64_t> number = dim.evaluate(symbols);
    if (!number)
      return {};
    shape.push_back(*number);
  }
  return shape;
}

std::unique_ptr<Evaluator> LMGraph::createEvaluator(LMLength length) {
  EvaluatorOptions options;
  options.maxElements = int64_t(1) << 28;
  auto evaluator = std::make_unique<Evaluator>(&shapes, options);
  evaluator->bindShape(tokens, shapeAt(tokens, length));
  for (BlockArgument past : pasts)
    evaluator->bindShape(past, shapeAt(past, length));
  for (BlockArgument mask : masks) {
    Type type = getElementTypeOrSelf(mask.getType());
    HostTensor ones = HostTensor::fromInts(
        IntegerType::get(mask.getContext(), 64), {1, length.total()},
        SmallVector<int64_t>(length.total(), 1));
    evaluator->bind(mask, ones.converted(type));
  }
  for (BlockArgument argument : positions) {
    SmallVector<int64_t> shape = shapeAt(argument, length);
    // Positions of another shape, such as several a token, stay unknown.
    if (countElements(shape) != length.tokens)
      continue;
    auto numbers = llvm::to_vector(llvm::seq(length.past, length.total()));
    evaluator->bind(
        argument, HostTensor::fromInts(getElementTypeOrSelf(argument.getType()),
                                       shape, numbers));
  }
  return evaluator;
}

SmallVector<LMLength> LMGraph::sampleLengths(int64_t maxTokens) {
  SmallVector<LMLength> lengths = {{maxTokens, 0}, {1, 0}};
  auto add = [&](int64_t tokens, int64_t past) {
    if (tokens > 0 && past >= 0 && tokens + past <= maxTokens)
      lengths.push_back({tokens, past});
  };
  if (pasts.empty()) {
    add(3, 0);
    add(maxTokens / 2, 0);
    return lengths;
  }
  add(3, 2);
  add(2, 5);
  add(1, maxTokens - 1);
  add(maxTokens / 3, maxTokens - maxTokens / 3);
  return lengths;
}

int64_t nju::flatten(ArrayRef<int64_t> coordinates, ArrayRef<int64_t> shape) {
  int64_t index = 0;
  for (auto [coordinate, size] : llvm::zip(coordinates, shape))
    index = index * size + coordinate;
  return index;
}

SmallVector<int64_t> nju::unflatten(int64_t index, ArrayRef<int64_t> shape) {
  SmallVector<int64_t> coordinates(shape.size());
  for (int64_t i = static_cast<int64_t>(shape.size()) - 1; i >= 0; --i) {
    coordinates[i] = index % shape[i];
    index /= shape[i];
  }
  return coordinates;
}
