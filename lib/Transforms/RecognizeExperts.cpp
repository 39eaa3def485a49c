//===- RecognizeExperts.cpp - Mixtures of experts -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Exporters write a mixture of experts as a loop that is unrolled: each expert
// finds the tokens that chose it, gathers their rows, computes, weights the
// results by the router's weights, and scatters them onto a sum.
//
// How they compute the indices differs in every version. So the structure only
// says which values are the rows, the router's weights and the indices of the
// scatter; that these are the right ones is proven by evaluating them for
// choices that send tokens to every expert.
//
//===----------------------------------------------------------------------===//

#include "PatternUtils.h"
#include "Recognize.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/OperationSupport.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "nju/Dialect/NJU/Analysis/Evaluator.h"
#include "nju/Dialect/NJU/Analysis/RowEvaluator.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/SmallPtrSet.h"
#include <random>

using namespace mlir;
using namespace nju;

namespace {

/// Values that are computed from the indices of one expert, at most.
constexpr size_t kMaxIndexValues = 256;
/// Ops of one expert, at most.
constexpr size_t kMaxBodyOps = 64;
/// Elements of the rows of all experts together that a sample may have.
constexpr int64_t kMaxSampleElements = int64_t(1) << 22;
/// Samples, where a fixed number of tokens makes many of them necessary.
constexpr int kMaxSamples = 256;

/// What an expert computes, from the rows of its tokens to their results.
struct Body {
  /// In an order in which operands come first.
  llvm::SetVector<Operation *> ops;
  Value rows;
};

struct Expert {
  NonZeroOp tokens;
  ScatterNDOp scatter;
  /// What is scattered: `result`, weighted by the router.
  MulOp weighted;
  Value result, router;
  Body body;
  /// The sum of experts before this one and with it.
  Value before, after;
  /// Which of the experts this is; found by evaluation.
  std::optional<int64_t> number;
};

RankedTensorType tensorType(Value value) {
  return cast<RankedTensorType>(value.getType());
}

bool isMatrixOfFloats(Value value) {
  return rankOf(value) == 2 && tensorType(value).getElementType().isF32();
}

/// A matrix that is known when the model is compiled.
bool isWeight(Value value) {
  auto type = tensorType(value);
  if (type.getRank() != 2 || !type.hasStaticShape())
    return false;
  while (value.getDefiningOp<TransposeOp>() || value.getDefiningOp<CastOp>())
    value = value.getDefiningOp()->getOperand(0);
  return value.getDefiningOp<ParamRefOp>() || value.getDefiningOp<ConstantOp>();
}

/// A constant that is the same for all rows.
bool isRowConstant(Value value) {
  return value.getDefiningOp<ConstantOp>() && rankOf(value) <= 1;
}

/// An op that may stand between the rows of an expert and its result.
bool isBodyOp(Operation *op) {
  if (auto matmul = dyn_cast<MatMulOp>(op))
    return isWeight(matmul.getRhs()) && isMatrixOfFloats(matmul.getLhs()) &&
           isMatrixOfFloats(matmul);
  return isElementwise(op) && rankOf(op->getResult(0)) == 2;
}

/// Operands of a body's op that depend on the rows.
SmallVector<Value> bodyOperands(Operation *op) {
  if (auto matmul = dyn_cast<MatMulOp>(op))
    return {matmul.getLhs()};
  SmallVector<Value> operands;
  for (Value operand : op->getOperands())
    if (!isRowConstant(operand))
      operands.push_back(operand);
  return operands;
}

/// Finds the ops that compute `value` from the one value that is not computed
/// by such ops, which are the rows. `depth` ops are on the way to `value`.
bool collectBody(Value value, Body &body, size_t depth = 0) {
  Operation *op = value.getDefiningOp();
  if (op && body.ops.contains(op))
    return true;
  if (!op || !isBodyOp(op)) {
    if (!body.rows)
      body.rows = value;
    return body.rows == value;
  }
  SmallVector<Value> operands = bodyOperands(op);
  if (operands.empty() || body.ops.size() + depth >= kMaxBodyOps)
    return false;
  for (Value operand : operands)
    if (!collectBody(operand, body, depth + 1))
      return false;
  return body.ops.insert(op);
}

/// True if two experts compute the same of their rows, but for the weights.
bool areAlike(const Expert &a, const Expert &b) {
  if (a.body.ops.size() != b.body.ops.size() ||
      a.body.rows.getType() != b.body.rows.getType())
    return false;
  IRMapping mapping;
  mapping.map(a.body.rows, b.body.rows);
  auto areEqual = [&](Value x, Value y) {
    auto constant = x.getDefiningOp<ConstantOp>();
    auto other = y.getDefiningOp<ConstantOp>();
    bool same = mapping.lookupOrNull(x) == y ||
                (isWeight(x) && isWeight(y) && x.getType() == y.getType()) ||
                (constant && other && constant.getValue() == other.getValue());
    return success(same);
  };
  for (auto [x, y] : llvm::zip(a.body.ops, b.body.ops)) {
    if (!OperationEquivalence::isEquivalentTo(
            x, y, areEqual, nullptr, OperationEquivalence::IgnoreLocations))
      return false;
    mapping.map(x->getResult(0), y->getResult(0));
  }
  return mapping.lookupOrNull(a.result) == b.result;
}

/// The value from which `value` is picked, without any arithmetic, that is as
/// wanted.
Value findSource(Value value, llvm::function_ref<bool(Value)> isWanted) {
  for (int steps = 0; steps < 16; ++steps) {
    if (isWanted(value))
      return value;
    Operation *op = value.getDefiningOp();
    if (!isa_and_nonnull<GatherOp, GatherNDOp, GatherElementsOp, ReshapeOp,
                         SliceOp, SqueezeOp, TransposeOp, UnsqueezeOp>(op))
      return nullptr;
    value = op->getOperand(0);
  }
  return nullptr;
}

/// The ops of one kind that use integers or truth values computed from `start`;
/// none if these are too many. What such an op computes is not followed.
template <typename OpTy>
SmallVector<OpTy> findUsersOfIndices(Value start, size_t maxValues) {
  llvm::SetVector<Value> values;
  llvm::SetVector<Operation *> found;
  values.insert(start);
  for (size_t i = 0; i < values.size(); ++i) {
    if (values.size() > maxValues)
      return {};
    for (Operation *user : values[i].getUsers()) {
      if (isa<OpTy>(user))
        found.insert(user);
      else if (user->getNumResults() == 1 &&
               isa_and_nonnull<NJUDialect>(user->getDialect()))
        if (tensorType(user->getResult(0)).getElementType().isIntOrIndex())
          values.insert(user->getResult(0));
    }
  }
  return llvm::map_to_vector(found,
                             [](Operation *op) { return cast<OpTy>(op); });
}

/// A mixture of experts.
class Mixture {
public:
  Mixture(func::FuncOp function, TopKOp choices, ShapeInference &shapes)
      : function(function), choices(choices), shapes(shapes) {}

  /// True if the choices are those of a mixture of experts.
  bool match();
  /// Replaces it.
  void rewrite(RewriterBase &rewriter);

private:
  struct Sample;

  bool hasExpectedChoices();
  bool matchExpert(NonZeroOp tokens);
  bool matchRouter(Expert &expert);
  bool findInputs();
  bool matchChosen();
  bool matchSums();
  bool prove();
  bool prove(int index);
  std::optional<Sample> makeSample(int index);
  std::optional<int64_t>
  sampleSizes(int index, llvm::DenseMap<SymbolicExpr, int64_t> &symbols);
  void bindInputs(const Sample &sample, Evaluator &evaluator);
  bool bindCounts(Evaluator &evaluator);
  bool isProven(Expert &expert, Sample &sample, Evaluator &evaluator);
  bool isZero(Value value, int64_t tokens, Evaluator &evaluator);
  bool hasAllNumbers();
  Value createProduct(MatMulOp op, IRMapping &mapping, RewriterBase &rewriter);
  Value createElementwise(Operation *op, IRMapping &mapping,
                          RewriterBase &rewriter);
  RankedTensorType chosenType(int64_t columns, Type elementType);

  int64_t numExperts() { return tensorType(choices.getInput()).getDimSize(1); }
  int64_t numChoices() { return choices.getType().getDimSize(1); }
  SymbolicExpr tokenDim() { return shapes.dims(choices)[0]; }

  func::FuncOp function;
  TopKOp choices;
  ShapeInference &shapes;
  SmallVector<Expert, 0> experts;
  /// The rows [T, K] of all tokens and the router's weights [T, C].
  Value input, router;
  /// Values of the first expert's body that depend on the choice of a token:
  /// all that come after a product.
  llvm::SmallPtrSet<Value, 16> chosen;
  Expert *last = nullptr;
  Value start;
  /// Experts from the first are dealt to the tokens of samples, in this order.
  SmallVector<int64_t> deck;
  size_t dealt = 0;
  std::mt19937 random;
};

} // namespace

//===----------------------------------------------------------------------===//
// The structure
//===----------------------------------------------------------------------===//

bool Mixture::match() {
  if (!hasExpectedChoices())
    return false;
  auto tokens = findUsersOfIndices<NonZeroOp>(
      choices, kMaxIndexValues + 8 * static_cast<size_t>(numExperts()));
  if (static_cast<int64_t>(tokens.size()) != numExperts())
    return false;
  for (NonZeroOp op : tokens)
    if (!matchExpert(op))
      return false;
  for (const Expert &expert : ArrayRef<Expert>(experts).drop_front())
    if (!areAlike(experts.front(), expert))
      return false;
  return findInputs() && matchChosen() && matchSums() && prove();
}

/// [T, C] of [T, E] with static C and E.
bool Mixture::hasExpectedChoices() {
  auto scores = tensorType(choices.getInput());
  return scores.getRank() == 2 && choices.getAxis() == 1 &&
         !scores.isDynamicDim(1) && !choices.getType().isDynamicDim(1) &&
         numExperts() > 0 && numChoices() > 0 && numChoices() <= numExperts();
}

/// The only scatter whose indices follow from those of the tokens.
bool Mixture::matchExpert(NonZeroOp tokens) {
  auto scatters = findUsersOfIndices<ScatterNDOp>(tokens, kMaxIndexValues);
  if (scatters.size() != 1)
    return false;
  Expert expert;
  expert.tokens = tokens;
  expert.scatter = scatters.front();
  expert.weighted = expert.scatter.getUpdates().getDefiningOp<MulOp>();
  if (!expert.weighted || !isMatrixOfFloats(expert.weighted) ||
      !matchRouter(expert) || !collectBody(expert.result, expert.body) ||
      !isMatrixOfFloats(expert.body.rows))
    return false;
  experts.push_back(std::move(expert));
  return true;
}

/// The factor that is picked from a value of the choices' shape is the
/// router's.
bool Mixture::matchRouter(Expert &expert) {
  ShapeInference::Dims expected(shapes.dims(choices));
  auto isRouter = [&](Value value) {
    return isMatrixOfFloats(value) &&
           shapes.dims(value) == ArrayRef<SymbolicExpr>(expected);
  };
  MulOp op = expert.weighted;
  for (auto [factor, result] : {std::pair(op.getLhs(), op.getRhs()),
                                std::pair(op.getRhs(), op.getLhs())}) {
    if (!isMatrixOfFloats(factor) || lastDim(factor) != 1 ||
        result.getType() != op.getType())
      continue;
    Value source = findSource(factor, isRouter);
    if (!source || (router && router != source))
      continue;
    router = source;
    expert.router = factor;
    expert.result = result;
    return true;
  }
  return false;
}

/// The rows of all experts must come from one value.
bool Mixture::findInputs() {
  SymbolicExpr tokens = tokenDim();
  int64_t columns = lastDim(experts.front().body.rows);
  if (ShapedType::isDynamic(columns))
    return false;
  auto isInput = [&](Value value) {
    return isMatrixOfFloats(value) && lastDim(value) == columns &&
           shapes.dims(value)[0] == tokens;
  };
  for (Expert &expert : experts) {
    Value source = findSource(expert.body.rows, isInput);
    if (!source || (input && input != source))
      return false;
    input = source;
  }
  return true;
}

/// Element-wise ops cannot mix rows of tokens with rows of choices.
bool Mixture::matchChosen() {
  Expert &first = experts.front();
  for (Operation *op : first.body.ops) {
    SmallVector<Value> operands = bodyOperands(op);
    auto isChosen = [&](Value value) { return chosen.contains(value); };
    if (isa<MatMulOp>(op) || llvm::all_of(operands, isChosen))
      chosen.insert(op->getResult(0));
    else if (llvm::any_of(operands, isChosen))
      return false;
  }
  return chosen.contains(first.result) &&
         !ShapedType::isDynamic(lastDim(first.result));
}

/// Experts add their rows to the sum of the experts before, or scatter them
/// onto zeros that are added to it. The first sum is zero.
bool Mixture::matchSums() {
  llvm::DenseMap<Value, Expert *> byBefore;
  llvm::SmallPtrSet<Value, 16> sums;
  for (Expert &expert : experts) {
    ScatterNDOp scatter = expert.scatter;
    expert.before = scatter.getInput();
    expert.after = scatter;
    if (scatter.getReduction() == ScatterReduction::replace) {
      auto add = scatter->hasOneUse() ? dyn_cast<AddOp>(*scatter->user_begin())
                                      : AddOp();
      if (!add)
        return false;
      bool left = add.getLhs() == scatter.getResult();
      expert.before = left ? add.getRhs() : add.getLhs();
      expert.after = add;
    } else if (scatter.getReduction() != ScatterReduction::add) {
      return false;
    }
    if (!byBefore.try_emplace(expert.before, &expert).second ||
        expert.before.getType() != expert.after.getType())
      return false;
    sums.insert(expert.after);
  }
  for (Expert &expert : experts)
    if (!sums.contains(expert.before))
      start = expert.before;
  if (!start)
    return false;
  size_t count = 0;
  for (Value sum = start; Expert *next = byBefore.lookup(sum); ++count) {
    if (sum != start && !sum.hasOneUse())
      return false;
    last = next;
    sum = next->after;
  }
  SymbolicExpr tokens = tokenDim();
  auto type = RankedTensorType::get(
      {choices.getType().getDimSize(0), lastDim(experts.front().result)},
      experts.front().weighted.getType().getElementType());
  return count == experts.size() && last->after.getType() == type &&
         shapes.dims(last->after)[0] == tokens;
}

//===----------------------------------------------------------------------===//
// The proof
//===----------------------------------------------------------------------===//

/// Numbers for the dimensions and the inputs of the experts. Elements are known
/// by their number, starting with 1, in the inputs and the router's weights.
struct Mixture::Sample {
  llvm::DenseMap<SymbolicExpr, int64_t> symbols;
  int64_t tokens;
  HostTensor choices, input, router;
  /// Choices that some expert has computed.
  SmallVector<bool> seen;
};

/// A tensor of the numbers from 1 on.
static HostTensor count(MLIRContext *context, ArrayRef<int64_t> shape) {
  HostTensor tensor =
      HostTensor::uninitialized(Float32Type::get(context), shape);
  for (auto [i, element] : llvm::enumerate(tensor.mutableElements<float>()))
    element = static_cast<float>(i + 1);
  return tensor;
}

bool Mixture::prove() {
  deck = llvm::to_vector(llvm::seq<int64_t>(0, numExperts()));
  for (size_t i = 1; i < deck.size(); ++i)
    std::swap(deck[i], deck[random() % (i + 1)]);
  // The first sample has tokens for every expert, unless the number of tokens
  // is fixed; the second leaves some without any.
  int index = 0;
  for (; index < 2 || dealt < deck.size(); ++index)
    if (index == kMaxSamples || !prove(index))
      return false;
  return hasAllNumbers();
}

bool Mixture::hasAllNumbers() {
  llvm::SmallDenseSet<int64_t> numbers;
  for (const Expert &expert : experts)
    if (!expert.number || !numbers.insert(*expert.number).second)
      return false;
  return true;
}

bool Mixture::prove(int index) {
  std::optional<Sample> sample = makeSample(index);
  if (!sample)
    return false;
  EvaluatorOptions options;
  options.maxElements = 4 * kMaxSampleElements;
  // Indices do not depend on weights.
  options.maxParamBytes = 1 << 20;
  Evaluator evaluator(&shapes, options);
  bindInputs(*sample, evaluator);
  if (!bindCounts(evaluator) || !isZero(start, sample->tokens, evaluator))
    return false;
  for (Expert &expert : experts)
    if (!isProven(expert, *sample, evaluator))
      return false;
  return llvm::all_of(sample->seen, [](bool seen) { return seen; });
}

/// Numbers for the symbols of the tokens' number; returns that number.
std::optional<int64_t>
Mixture::sampleSizes(int index,
                     llvm::DenseMap<SymbolicExpr, int64_t> &symbols) {
  SymbolicExpr tokens = tokenDim();
  llvm::SetVector<SymbolicExpr> names;
  tokens.collectSymbols(names);
  for (SymbolicExpr name : names)
    symbols[name] = 1;
  if (!names.empty() && index % 2 == 0) {
    symbols[names.back()] = llvm::divideCeil(numExperts(), numChoices()) + 3;
  } else if (!names.empty()) {
    symbols[names.front()] = 2;
    symbols[names.back()] = 3;
  }
  std::optional<int64_t> number = tokens.evaluate(symbols);
  int64_t perToken = numChoices() * lastDim(input);
  if (!number || *number < 1 || *number > kMaxSampleElements / perToken)
    return std::nullopt;
  return number;
}

std::optional<Mixture::Sample> Mixture::makeSample(int index) {
  Sample sample;
  std::optional<int64_t> tokens = sampleSizes(index, sample.symbols);
  if (!tokens)
    return std::nullopt;
  sample.tokens = *tokens;
  SmallVector<int64_t> numbers, cards = deck;
  for (int64_t token = 0; token < *tokens; ++token) {
    MutableArrayRef<int64_t> hand(cards);
    // Experts are dealt in turn, or drawn at random.
    for (int64_t i = 0; index % 2 == 0 && i < numChoices(); ++i)
      hand[i] = deck[dealt++ % deck.size()];
    for (int64_t i = 0; i < numChoices(); ++i) {
      size_t end = index % 2 == 0 ? numChoices() : hand.size();
      std::swap(hand[i], hand[i + random() % (end - i)]);
      numbers.push_back(hand[i]);
    }
  }
  MLIRContext *context = function.getContext();
  sample.choices = HostTensor::fromInts(IntegerType::get(context, 64),
                                        {*tokens, numChoices()}, numbers);
  sample.input = count(context, {*tokens, lastDim(input)});
  sample.router = count(context, {*tokens, numChoices()});
  sample.seen.assign(numbers.size(), false);
  return sample;
}

void Mixture::bindInputs(const Sample &sample, Evaluator &evaluator) {
  for (BlockArgument argument : function.getArguments()) {
    auto type = dyn_cast<RankedTensorType>(argument.getType());
    if (!type || type.hasStaticShape())
      continue;
    SmallVector<int64_t> shape;
    for (SymbolicExpr dim : shapes.dims(argument))
      if (std::optional<int64_t> size = dim.evaluate(sample.symbols))
        shape.push_back(*size);
    if (static_cast<int64_t>(shape.size()) == type.getRank())
      evaluator.bindShape(argument, shape);
  }
  evaluator.bind(choices, sample.choices);
  evaluator.bind(input, sample.input);
  evaluator.bind(router, sample.router);
}

/// Indices of the scatter are computed from the shape of what is scattered; it
/// is given here, as the weights shall not be read.
bool Mixture::bindCounts(Evaluator &evaluator) {
  SmallVector<int64_t> counts;
  for (Expert &expert : experts) {
    FailureOr<HostTensor> tokens = evaluator.evaluate(expert.tokens);
    if (failed(tokens) || tokens->getRank() != 2)
      return false;
    counts.push_back(tokens->getDim(1));
  }
  for (auto [expert, rows] : llvm::zip(experts, counts))
    evaluator.bindShape(expert.weighted, {rows, lastDim(expert.result)});
  return true;
}

bool Mixture::isZero(Value value, int64_t tokens, Evaluator &evaluator) {
  FailureOr<HostTensor> tensor = evaluator.evaluate(value);
  return succeeded(tensor) && tensor->getElementType().isF32() &&
         tensor->getShape() ==
             ArrayRef<int64_t>{tokens, lastDim(experts.front().result)} &&
         llvm::all_of(tensor->elements<float>(),
                      [](float element) { return element == 0.0f; });
}

/// True if the indices name the rows of these tokens: one row each, or each
/// element.
static bool namesRows(const HostTensor &indices, ArrayRef<int64_t> tokens,
                      int64_t columns) {
  int64_t count = tokens.size();
  SmallVector<int64_t> numbers = indices.getInts();
  if (indices.getShape() == ArrayRef<int64_t>{count, 1})
    return ArrayRef<int64_t>(numbers) == tokens;
  if (indices.getShape() != ArrayRef<int64_t>{count, columns, 2})
    return false;
  for (int64_t i = 0; i < count * columns; ++i)
    if (numbers[2 * i] != tokens[i / columns] ||
        numbers[2 * i + 1] != i % columns)
      return false;
  return true;
}

/// True if a row of each token, by its number, is what `rows` are.
static bool areRows(const HostTensor &rows, ArrayRef<int64_t> tokens,
                    const HostTensor &input) {
  int64_t columns = input.getDim(1);
  if (rows.getShape() !=
          ArrayRef<int64_t>{static_cast<int64_t>(tokens.size()), columns} ||
      !rows.getElementType().isF32())
    return false;
  ArrayRef<float> elements = rows.elements<float>();
  ArrayRef<float> all = input.elements<float>();
  for (auto [i, token] : llvm::enumerate(tokens))
    if (elements.slice(i * columns, columns) !=
        all.slice(token * columns, columns))
      return false;
  return true;
}

/// The weights of the router tell which choices of which tokens an expert
/// computes: they must be those of one expert, and the rows and the indices
/// those of their tokens.
bool Mixture::isProven(Expert &expert, Sample &sample, Evaluator &evaluator) {
  FailureOr<HostTensor> weights = evaluator.evaluate(expert.router),
                        rows = evaluator.evaluate(expert.body.rows),
                        indices =
                            evaluator.evaluate(expert.scatter.getIndices());
  if (failed(weights) || failed(rows) || failed(indices) ||
      weights->getRank() != 2 || weights->getDim(1) != 1)
    return false;
  SmallVector<int64_t> tokens;
  for (int64_t i = 0; i < weights->getNumElements(); ++i) {
    int64_t choice = weights->getInt(i) - 1;
    if (choice < 0 || choice >= static_cast<int64_t>(sample.seen.size()))
      return false;
    int64_t number = sample.choices.getInt(choice);
    // A choice that is computed twice is no mixture of experts.
    if (sample.seen[choice] || expert.number.value_or(number) != number)
      return false;
    sample.seen[choice] = true;
    expert.number = number;
    tokens.push_back(choice / numChoices());
  }
  if (expert.scatter.getReduction() == ScatterReduction::replace &&
      !isZero(expert.scatter.getInput(), sample.tokens, evaluator))
    return false;
  return areRows(*rows, tokens, sample.input) &&
         namesRows(*indices, tokens, lastDim(expert.result));
}

//===----------------------------------------------------------------------===//
// The replacement
//===----------------------------------------------------------------------===//

/// [T, C, columns]
RankedTensorType Mixture::chosenType(int64_t columns, Type elementType) {
  RankedTensorType type = choices.getType();
  return RankedTensorType::get(
      {type.getDimSize(0), type.getDimSize(1), columns}, elementType);
}

/// A product with the weight of each choice. The experts are in order.
Value Mixture::createProduct(MatMulOp op, IRMapping &mapping,
                             RewriterBase &rewriter) {
  size_t position = llvm::find(experts.front().body.ops, op) -
                    experts.front().body.ops.begin();
  SmallVector<Value> weights(experts.size());
  for (Expert &expert : experts)
    weights[*expert.number] =
        cast<MatMulOp>(expert.body.ops[position]).getRhs();
  auto type = chosenType(lastDim(op), tensorType(op).getElementType());
  return ExpertMatMulOp::create(rewriter, op.getLoc(), type,
                                mapping.lookup(op.getLhs()), choices, weights);
}

Value Mixture::createElementwise(Operation *op, IRMapping &mapping,
                                 RewriterBase &rewriter) {
  auto type = tensorType(op->getResult(0));
  auto result = chosenType(lastDim(op->getResult(0)), type.getElementType());
  if (!chosen.contains(op->getResult(0)))
    result = RankedTensorType::get({result.getDimSize(0), result.getDimSize(2)},
                                   type.getElementType());
  Operation *clone = op->clone(mapping);
  clone->getResult(0).setType(result);
  rewriter.insert(clone);
  return clone->getResult(0);
}

/// Erases these ops and what they are computed from, where nobody uses it.
static void eraseUnused(ArrayRef<Operation *> ops, RewriterBase &rewriter) {
  llvm::SmallSetVector<Operation *, 16> worklist(ops.begin(), ops.end());
  while (!worklist.empty()) {
    Operation *op = worklist.pop_back_val();
    // The caller knows the choices of other mixtures.
    if (isa<TopKOp>(op) || !isOpTriviallyDead(op))
      continue;
    for (Value operand : op->getOperands())
      if (Operation *producer = operand.getDefiningOp())
        worklist.insert(producer);
    rewriter.eraseOp(op);
  }
}

void Mixture::rewrite(RewriterBase &rewriter) {
  Operation *end = last->after.getDefiningOp();
  Expert &first = experts.front();
  Location loc = end->getLoc();
  SmallVector<Operation *> producers;
  for (Value operand : end->getOperands())
    if (Operation *producer = operand.getDefiningOp())
      producers.push_back(producer);
  rewriter.setInsertionPoint(end);
  IRMapping mapping;
  mapping.map(first.body.rows, input);
  for (Operation *op : first.body.ops) {
    auto matmul = dyn_cast<MatMulOp>(op);
    Value value = matmul ? createProduct(matmul, mapping, rewriter)
                         : createElementwise(op, mapping, rewriter);
    mapping.map(op->getResult(0), value);
  }
  Value result = mapping.lookup(first.result);
  Type element = tensorType(result).getElementType();
  Value factors = UnsqueezeOp::create(rewriter, loc, chosenType(1, element),
                                      router, ArrayRef<int64_t>{2});
  Value weighted =
      MulOp::create(rewriter, loc, result.getType(), result, factors);
  rewriter.replaceOpWithNewOp<ReduceSumOp>(
      end, end->getResult(0).getType(), weighted, ArrayRef<int64_t>{1}, false);
  eraseUnused(producers, rewriter);
}

void nju::recognizeExperts(func::FuncOp function, Recognition &recognition,
                           RewriterBase &rewriter) {
  for (TopKOp choices : llvm::to_vector(function.getOps<TopKOp>())) {
    Mixture mixture(function, choices, recognition.shapes);
    if (!mixture.match())
      continue;
    mixture.rewrite(rewriter);
    ++recognition.experts;
  }
}
