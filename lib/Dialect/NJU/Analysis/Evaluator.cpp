//===- Evaluator.cpp - Interpreter of nju ops -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Dialect/NJU/Analysis/Evaluator.h"
#include "EvaluatorImpl.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "nju/Dialect/NJU/IR/ModelFolder.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace nju;
using namespace nju::detail;

//===----------------------------------------------------------------------===//
// Helpers of the families
//===----------------------------------------------------------------------===//

EvalResult Evaluation::allocate(Type elementType,
                                ArrayRef<int64_t> shape) const {
  if (failed(checkSize(elementType, shape)))
    return failure();
  return HostTensor::uninitialized(elementType, shape);
}

LogicalResult Evaluation::checkSize(Type elementType,
                                    ArrayRef<int64_t> shape) const {
  if (!getHostElementSize(elementType)) {
    std::string text;
    llvm::raw_string_ostream(text) << elementType;
    return fail("elements of type " + text + " cannot be evaluated");
  }
  for (int64_t size : shape)
    if (size < 0)
      return fail("result has a dimension of " + llvm::Twine(size));
  std::optional<int64_t> count = countElements(shape);
  if (!count)
    return fail("result of more than 2^63 elements is too large");
  if (*count > maxElements)
    return fail("result of " + llvm::Twine(*count) + " elements is too large");
  return success();
}

LogicalResult Evaluation::checkAxis(int64_t axis, int64_t rank) const {
  if (axis >= 0 && axis < rank)
    return success();
  return fail("axis " + llvm::Twine(axis) +
              " is not one of an operand of rank " + llvm::Twine(rank));
}

std::optional<llvm::SmallVector<int64_t>>
nju::detail::broadcastShapes(ArrayRef<ArrayRef<int64_t>> shapes) {
  size_t rank = 0;
  for (ArrayRef<int64_t> shape : shapes)
    rank = std::max(rank, shape.size());
  llvm::SmallVector<int64_t> result(rank, 1);
  for (ArrayRef<int64_t> shape : shapes)
    for (size_t i = 0, offset = rank - shape.size(); i < shape.size(); ++i) {
      int64_t &size = result[offset + i];
      if (size != 1 && shape[i] != 1 && shape[i] != size)
        return std::nullopt;
      size = size == 1 ? shape[i] : size;
    }
  return result;
}

llvm::SmallVector<int64_t>
nju::detail::broadcastStrides(ArrayRef<int64_t> shape, ArrayRef<int64_t> to) {
  llvm::SmallVector<int64_t> strides(to.size(), 0);
  llvm::SmallVector<int64_t> own = rowMajorStrides(shape);
  for (size_t i = 0, offset = to.size() - shape.size(); i < shape.size(); ++i)
    strides[offset + i] = shape[i] == 1 ? 0 : own[i];
  return strides;
}

EvalResult nju::detail::broadcastTensor(const Evaluation &evaluation,
                                        const HostTensor &tensor,
                                        ArrayRef<int64_t> shape) {
  if (tensor.getShape() == shape)
    return tensor;
  EvalResult result = evaluation.allocate(tensor.getElementType(), shape);
  if (succeeded(result))
    copyStrided(tensor.getElementSize(), shape, tensor.bytes(),
                broadcastStrides(tensor.getShape(), shape),
                result->mutableBytes(), rowMajorStrides(shape));
  return result;
}

Type nju::detail::wideType(Type type) {
  if (isa<FloatType>(type))
    return Float64Type::get(type.getContext());
  if (type.isUnsignedInteger(64))
    return type;
  return IntegerType::get(type.getContext(), 64);
}

std::string nju::detail::toString(const HostTensor &tensor) {
  std::string text;
  llvm::raw_string_ostream os(text);
  for (int64_t size : tensor.getShape())
    os << size << "x";
  os << tensor.getElementType();
  return text;
}

FailureOr<HostTensor> nju::evaluateOp(Operation *op,
                                      ArrayRef<HostTensor> operands,
                                      std::string &reason,
                                      int64_t maxElements) {
  Evaluation evaluation{op, operands, reason, maxElements};
  if (auto constant = dyn_cast<ConstantOp>(op)) {
    // A splat may be larger than any memory.
    if (failed(evaluation.checkSize(
            constant.getValue().getElementType(),
            constant.getValue().getShapedType().getShape())))
      return failure();
    FailureOr<HostTensor> value = HostTensor::fromAttr(constant.getValue());
    if (failed(value))
      return evaluation.fail("constant has unreadable elements");
    return value;
  }
  for (auto family : {evaluateElementwise, evaluateShape, evaluateIndexing,
                      evaluateReduction, evaluateExperts, evaluateMatMul,
                      evaluateNormalization, evaluateAttention})
    if (std::optional<EvalResult> result = family(evaluation))
      return *result;
  return evaluation.fail("'" + op->getName().getStringRef() +
                         "' cannot be evaluated");
}

//===----------------------------------------------------------------------===//
// Bindings
//===----------------------------------------------------------------------===//

Evaluator::Evaluator(ShapeInference *shapes, EvaluatorOptions options)
    : shapes(shapes), options(options) {}
Evaluator::~Evaluator() = default;

void Evaluator::bind(Value value, HostTensor tensor) {
  bool fits = keepsSymbols(value, tensor.getShape(), &tensor);
  bound[value] = std::move(tensor);
  boundShapes.erase(value);
  forgetDependents(value, fits);
}

void Evaluator::bindShape(Value value, ArrayRef<int64_t> shape) {
  bool fits = keepsSymbols(value, shape, nullptr);
  bound.erase(value);
  boundShapes[value] = llvm::SmallVector<int64_t>(shape);
  forgetDependents(value, fits);
}

/// True if the symbols have numbers already that give this shape and, if it has
/// a say in them, these elements.
bool Evaluator::keepsSymbols(Value value, ArrayRef<int64_t> shape,
                             const HostTensor *tensor) {
  if (!shapes)
    return true;
  auto fit = [&](ArrayRef<SymbolicExpr> exprs, ArrayRef<int64_t> numbers) {
    return exprs.size() == numbers.size() &&
           llvm::all_of(llvm::zip(exprs, numbers), [&](auto pair) {
             return std::get<0>(pair).evaluate(symbols) == std::get<1>(pair);
           });
  };
  if (!fit(shapes->dims(value), shape))
    return false;
  auto content = shapes->content(value);
  if (!content)
    return true;
  auto given = bound.find(value);
  bool was = given == bound.end() || fit(*content, given->second.getInts());
  return was && (!tensor || fit(*content, tensor->getInts()));
}

/// Forgets what was computed from a value; everything if the numbers of symbols
/// may change.
void Evaluator::forgetDependents(Value value, bool keepSymbols) {
  if (!keepSymbols)
    return forgetResults();
  if (results.empty() && failures.empty())
    return;
  llvm::SetVector<Value> dependents;
  dependents.insert(value);
  for (size_t i = 0; i < dependents.size(); ++i) {
    results.erase(dependents[i]);
    failures.erase(dependents[i]);
    for (Operation *user : dependents[i].getUsers())
      for (Value result : user->getResults())
        if (isDone(result) && !bound.count(result))
          dependents.insert(result);
  }
}

void Evaluator::clear() {
  bound.clear();
  boundShapes.clear();
  forgetResults();
}

void Evaluator::forgetResults() {
  results.clear();
  failures.clear();
  symbols.clear();
  solveSymbols();
}

/// Finds the number of the last symbol of a linear expression that has no
/// number yet. True if one was found.
bool Evaluator::solve(SymbolicExpr expr, int64_t value) {
  llvm::DenseMap<SymbolicExpr, SymbolicExpr> numbers;
  llvm::SetVector<SymbolicExpr> all;
  expr.collectSymbols(all);
  SymbolicContext &context = expr.getContext();
  SymbolicExpr open;
  for (SymbolicExpr symbol : all) {
    auto number = symbols.find(symbol);
    if (number != symbols.end())
      numbers[symbol] = context.constant(number->second);
    else if (open)
      return false;
    else
      open = symbol;
  }
  if (!open)
    return false;
  // slope * open + offset == value
  auto at = [&](int64_t number) {
    numbers[open] = context.constant(number);
    return expr.substitute(numbers);
  };
  SymbolicExpr slope = at(1) - at(0);
  SymbolicExpr solution = (context.constant(value) - at(0)).exactDiv(slope);
  std::optional<int64_t> number =
      solution ? solution.asConstant() : std::nullopt;
  if (!number || !at(*number).isConstant(value))
    return false;
  symbols[open] = *number;
  return true;
}

void Evaluator::solveSymbols() {
  if (!shapes)
    return;
  llvm::SmallVector<std::pair<SymbolicExpr, int64_t>> equations;
  auto add = [&](ArrayRef<SymbolicExpr> exprs, ArrayRef<int64_t> values) {
    if (exprs.size() == values.size())
      for (auto [expr, value] : llvm::zip(exprs, values))
        if (!expr.isConstant())
          equations.push_back({expr, value});
  };
  for (const auto &[value, shape] : boundShapes)
    add(shapes->dims(value), shape);
  for (const auto &[value, tensor] : bound) {
    add(shapes->dims(value), tensor.getShape());
    if (tensor.getNumElements() <= ShapeInference::kMaxContent)
      if (auto content = shapes->content(value))
        add(*content, tensor.getInts());
  }
  bool changed = true;
  while (changed) {
    changed = false;
    for (auto [expr, value] : equations)
      changed |= solve(expr, value);
  }
}

std::optional<llvm::SmallVector<int64_t>> Evaluator::shapeOf(Value value) {
  for (const auto *map : {&bound, &results})
    if (auto known = map->find(value); known != map->end())
      return llvm::SmallVector<int64_t>(known->second.getShape());
  if (auto known = boundShapes.find(value); known != boundShapes.end())
    return known->second;
  auto type = dyn_cast<RankedTensorType>(value.getType());
  if (!type)
    return std::nullopt;
  if (type.hasStaticShape())
    return llvm::SmallVector<int64_t>(type.getShape());
  if (!shapes)
    return std::nullopt;
  llvm::SmallVector<int64_t> shape;
  for (SymbolicExpr dim : shapes->dims(value)) {
    std::optional<int64_t> size = dim.evaluate(symbols);
    if (!size)
      return std::nullopt;
    shape.push_back(*size);
  }
  return shape;
}

//===----------------------------------------------------------------------===//
// Evaluation on demand
//===----------------------------------------------------------------------===//

bool Evaluator::isDone(Value value) const {
  return bound.count(value) || results.count(value) || failures.count(value);
}

void Evaluator::fail(Value value, const llvm::Twine &reason) {
  failures[value] = {reason.str(), value.getLoc()};
}

/// "argument 'input_ids'", or its number if it has no name.
static std::string describeArgument(BlockArgument argument) {
  if (auto function =
          dyn_cast_or_null<func::FuncOp>(argument.getOwner()->getParentOp()))
    if (auto name = function.getArgAttrOfType<StringAttr>(
            argument.getArgNumber(), "nju.name"))
      return ("argument '" + name.getValue() + "'").str();
  return "argument " + std::to_string(argument.getArgNumber());
}

/// Elements that the shapes of bound values alone give.
std::optional<HostTensor> Evaluator::fromShapes(Value value) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  if (auto op = value.getDefiningOp<ShapeOfOp>())
    if (auto shape = shapeOf(op.getInput()))
      return HostTensor::fromInts(op.getType().getElementType(),
                                  {static_cast<int64_t>(shape->size())},
                                  *shape);
  if (!shapes || !type || type.getRank() > 1 ||
      !isa<IntegerType>(type.getElementType()) ||
      !getHostElementSize(type.getElementType()))
    return std::nullopt;
  auto content = shapes->content(value);
  if (!content)
    return std::nullopt;
  llvm::SmallVector<int64_t> numbers;
  for (SymbolicExpr element : *content) {
    std::optional<int64_t> number = element.evaluate(symbols);
    if (!number)
      return std::nullopt;
    numbers.push_back(*number);
  }
  llvm::SmallVector<int64_t> shape(type.getRank(), numbers.size());
  return HostTensor::fromInts(type.getElementType(), shape, numbers);
}

void Evaluator::readParam(ParamRefOp op) {
  auto module = op->getParentOfType<ModuleOp>();
  auto param = module ? module.lookupSymbol<ParamOp>(op.getParam()) : ParamOp();
  if (!param)
    return fail(op.getResult(), "param '" + op.getParam() + "' is missing");
  if (!reader)
    reader = std::make_unique<ParamReader>(getModelFolder(module));
  FailureOr<HostTensor> tensor = reader->read(param, options.maxParamBytes);
  if (failed(tensor))
    return fail(op.getResult(), reader->reason());
  results[op.getResult()] = *tensor;
}

void Evaluator::compute(Operation *op) {
  llvm::SmallVector<HostTensor> operands;
  for (Value operand : op->getOperands()) {
    auto given = bound.find(operand);
    operands.push_back(given != bound.end() ? given->second
                                            : results.find(operand)->second);
  }
  std::string reason;
  FailureOr<HostTensor> result =
      evaluateOp(op, operands, reason, options.maxElements);
  if (failed(result))
    return fail(op->getResult(0), reason);
  results[op->getResult(0)] = *result;
}

/// Handles the top of the stack: removes it once it has a result or failed,
/// else puts on top what it needs.
void Evaluator::step(llvm::SmallVectorImpl<Value> &stack) {
  Value value = stack.back();
  if (isDone(value)) {
    stack.pop_back();
    return;
  }
  if (std::optional<HostTensor> tensor = fromShapes(value)) {
    results[value] = *tensor;
    return;
  }
  Operation *op = value.getDefiningOp();
  if (!op || boundShapes.count(value))
    return fail(value, "depends on the elements of " +
                           (op ? std::string("a value of which only the shape "
                                             "is known")
                               : describeArgument(cast<BlockArgument>(value))));
  if (auto param = dyn_cast<ParamRefOp>(op))
    return readParam(param);
  if (!isa_and_present<NJUDialect>(op->getDialect()) || !isPure(op))
    return fail(value, "depends on '" + op->getName().getStringRef() +
                           "', which cannot be evaluated");
  size_t size = stack.size();
  for (Value operand : op->getOperands()) {
    if (auto failed = failures.find(operand); failed != failures.end()) {
      Failure failure = failed->second;
      failures[value] = failure;
      stack.truncate(size);
      return;
    }
    if (!isDone(operand))
      stack.push_back(operand);
  }
  if (stack.size() == size)
    compute(op);
}

FailureOr<HostTensor> Evaluator::evaluate(Value value) {
  llvm::SmallVector<Value> stack = {value};
  while (!stack.empty())
    step(stack);
  lastReason.clear();
  lastLocation.reset();
  if (auto failed = failures.find(value); failed != failures.end()) {
    lastReason = failed->second.reason;
    lastLocation = failed->second.location;
    return failure();
  }
  auto given = bound.find(value);
  return given != bound.end() ? given->second : results.find(value)->second;
}
