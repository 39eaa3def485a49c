//===- RecognizeGatheredExperts.cpp - Experts as batched products -*- C++ -*-=//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The other way to write a mixture of experts (transformers 5): the weights of
// all experts are one tensor, of which each choice of each token gathers a
// matrix, and the rows of tokens are repeated for their choices. Values with a
// row for each choice, [T * C, F], become [T, C, F]; products with gathered
// matrices become nju.expert_matmul.
//
//===----------------------------------------------------------------------===//

#include "PatternUtils.h"
#include "Recognize.h"
#include "nju/Dialect/NJU/Analysis/RowEvaluator.h"

using namespace mlir;
using namespace nju;

namespace {

/// `[R, N, K]` of a stack `[E, N, K]` (or `[R, K, N]`), chosen by `choices`.
struct Gathered {
  Value stack, choices;
  bool isTransposed; ///< Matrices are [N, K].
};

/// A product of the rows with the matrices that they gathered.
struct Product {
  Value input;
  Gathered weights;
};

/// Rewrites values with a row for each choice into ones with a dimension for
/// the tokens and one for their choices.
class ChoiceRows {
public:
  explicit ChoiceRows(ShapeInference &shapes) : shapes(shapes) {}

  /// Whether `value` can be rewritten. Afterwards the choices are known if
  /// there is a product.
  bool accepts(Value value);
  bool hasProducts() const { return choices != nullptr; }
  /// Whether everything that was accepted has a row for each of the choices.
  bool isConsistent();
  /// [T, C], the experts that tokens choose.
  Value getChoices() const { return choices; }
  Value build(Value value, OpBuilder &builder);

private:
  bool acceptsOp(Operation *op);
  bool isShared(Value value);
  bool setChoices(const Gathered &gathered);
  bool hasTokens(Value value, Value other) {
    SymbolicExpr tokens = shapes.dims(value)[0];
    return tokens == shapes.dims(other)[0];
  }
  Value buildProduct(const Product &product, Location loc, OpBuilder &builder);
  Value buildElementwise(Operation *op, OpBuilder &builder);
  Value buildSlice(SliceOp op, OpBuilder &builder);
  RankedTensorType typeOf(Value value);

  ShapeInference &shapes;
  Value choices;
  llvm::SmallVector<Value> listed;
  llvm::DenseMap<Value, bool> accepted;
  llvm::DenseMap<Value, Value> built;
};

RankedTensorType tensorType(Value value) {
  return cast<RankedTensorType>(value.getType());
}

/// The [T, C] tensor whose elements are those of `value`, in their order, one
/// a row.
Value listedFrom(Value value, bool isInteger) {
  while (Operation *op = value.getDefiningOp()) {
    if (!isa<ReshapeOp, UnsqueezeOp, SqueezeOp>(op))
      break;
    value = op->getOperand(0);
    auto type = tensorType(value);
    if (type.getRank() == 2 && !type.isDynamicDim(1) &&
        isa<IntegerType>(type.getElementType()) == isInteger)
      return value;
  }
  return nullptr;
}

/// x of rows that are repeated for `count` choices each.
Value repeatedFrom(Value value, int64_t count) {
  auto reshape = value.getDefiningOp<ReshapeOp>();
  auto broadcast = reshape ? reshape.getInput().getDefiningOp<BroadcastToOp>()
                           : BroadcastToOp();
  auto unsqueeze = broadcast ? broadcast.getInput().getDefiningOp<UnsqueezeOp>()
                             : UnsqueezeOp();
  if (!unsqueeze || unsqueeze.getAxes() != ArrayRef<int64_t>(1) ||
      rankOf(unsqueeze.getInput()) != 2 || rankOf(broadcast) != 3 ||
      tensorType(broadcast).getDimSize(1) != count ||
      lastDim(broadcast) != lastDim(unsqueeze.getInput()) ||
      lastDim(value) != lastDim(broadcast))
    return nullptr;
  return unsqueeze.getInput();
}

/// What gathers from the first dimension of a tensor by a list of indices.
std::optional<Gathered> matchGathered(Value value, int64_t rank) {
  Gathered found{nullptr, nullptr, true};
  if (auto transpose = value.getDefiningOp<TransposeOp>()) {
    if (transpose.getPermutation() != ArrayRef<int64_t>({0, 2, 1}))
      return std::nullopt;
    found.isTransposed = false;
    value = transpose.getInput();
  }
  Value indices;
  if (auto gather = value.getDefiningOp<GatherOp>()) {
    if (gather.getAxis() != 0 || rankOf(gather.getIndices()) != 1)
      return std::nullopt;
    found.stack = gather.getInput();
    indices = gather.getIndices();
  } else if (auto gather = value.getDefiningOp<GatherNDOp>()) {
    if (gather.getBatchDims() != 0 || rankOf(gather.getIndices()) != 2 ||
        lastDim(gather.getIndices()) != 1)
      return std::nullopt;
    found.stack = gather.getInput();
    indices = gather.getIndices();
  }
  if (!found.stack || rankOf(found.stack) != rank ||
      !tensorType(found.stack).hasStaticShape())
    return std::nullopt;
  found.choices = listedFrom(indices, /*isInteger=*/true);
  if (!found.choices)
    return std::nullopt;
  return found;
}

/// matmul(w, unsqueeze(x, 2)) or matmul(unsqueeze(x, 1), w), without the 1.
std::optional<Product> matchProduct(Value value) {
  auto squeeze = value.getDefiningOp<SqueezeOp>();
  auto matmul =
      squeeze ? squeeze.getInput().getDefiningOp<MatMulOp>() : MatMulOp();
  if (!matmul || rankOf(matmul) != 3 || squeeze.getAxes().size() != 1)
    return std::nullopt;
  bool isColumn = squeeze.getAxes()[0] == 2;
  Value x = isColumn ? matmul.getRhs() : matmul.getLhs();
  auto unsqueeze = x.getDefiningOp<UnsqueezeOp>();
  if (!unsqueeze ||
      unsqueeze.getAxes() != ArrayRef<int64_t>(isColumn ? 2 : 1) ||
      squeeze.getAxes()[0] == 0 || rankOf(unsqueeze.getInput()) != 2)
    return std::nullopt;
  auto weights = matchGathered(isColumn ? matmul.getLhs() : matmul.getRhs(), 3);
  if (!weights)
    return std::nullopt;
  // On the right, what is not transposed is [K, N].
  if (!isColumn)
    weights->isTransposed = !weights->isTransposed;
  Value stack = weights->stack;
  while (auto cast = stack.getDefiningOp<CastOp>())
    stack = cast.getInput();
  if (!stack.getDefiningOp<ParamRefOp>() ||
      !tensorType(weights->stack).getElementType().isF32())
    return std::nullopt;
  return Product{unsqueeze.getInput(), *weights};
}

bool isRowConstant(Value value) {
  return value.getDefiningOp<ConstantOp>() && rankOf(value) <= 1;
}

} // namespace

/// All gather by the same choices, of as many experts as there are: numbers of
/// others would count from the end.
bool ChoiceRows::setChoices(const Gathered &gathered) {
  auto topK = gathered.choices.getDefiningOp<TopKOp>();
  if (!topK || topK.getAxis() != 1 ||
      tensorType(topK.getInput()).getDimSize(1) !=
          tensorType(gathered.stack).getDimSize(0))
    return false;
  if (!choices)
    choices = gathered.choices;
  return choices == gathered.choices;
}

bool ChoiceRows::isConsistent() {
  auto wanted = llvm::to_vector(shapes.dims(choices));
  return llvm::all_of(listed, [&](Value value) {
    return shapes.dims(value) == ArrayRef<SymbolicExpr>(wanted);
  });
}

bool ChoiceRows::isShared(Value value) {
  if (!choices)
    return false;
  Value rows = repeatedFrom(value, tensorType(choices).getDimSize(1));
  return rows && hasTokens(rows, choices);
}

bool ChoiceRows::accepts(Value value) {
  auto [known, isNew] = accepted.try_emplace(value, false);
  if (!isNew)
    return known->second;
  bool result = false;
  if (auto product = matchProduct(value)) {
    result = setChoices(product->weights) &&
             (isShared(product->input) || accepts(product->input));
  } else if (auto bias = matchGathered(value, 2); bias && bias->isTransposed) {
    result = setChoices(*bias);
  } else if (Value weights = listedFrom(value, /*isInteger=*/false);
             weights && rankOf(value) == 2 && lastDim(value) == 1) {
    listed.push_back(weights);
    result = true;
  } else if (Operation *op = value.getDefiningOp()) {
    result = acceptsOp(op);
  }
  return accepted[value] = result;
}

bool ChoiceRows::acceptsOp(Operation *op) {
  if (rankOf(op->getResult(0)) != 2)
    return false;
  if (auto slice = dyn_cast<SliceOp>(op))
    return slice.getAxes() == ArrayRef<int64_t>(1) &&
           !ShapedType::isDynamic(lastDim(slice)) && accepts(slice.getInput());
  if (!isElementwise(op))
    return false;
  return llvm::all_of(op->getOperands(), [&](Value operand) {
    return isRowConstant(operand) || (rankOf(operand) == 2 && accepts(operand));
  });
}

RankedTensorType ChoiceRows::typeOf(Value value) {
  RankedTensorType type = tensorType(value), own = tensorType(choices);
  return RankedTensorType::get(
      {own.getDimSize(0), own.getDimSize(1), type.getDimSize(1)},
      type.getElementType());
}

/// A number of the graph as a scalar constant.
static Value createIndex(OpBuilder &builder, Location loc, int64_t value) {
  auto type = RankedTensorType::get({}, builder.getI64Type());
  return ConstantOp::create(builder, loc, DenseElementsAttr::get(type, value));
}

Value ChoiceRows::buildProduct(const Product &product, Location loc,
                               OpBuilder &builder) {
  RankedTensorType stack = tensorType(product.weights.stack);
  auto matrix = RankedTensorType::get(stack.getShape().drop_front(),
                                      stack.getElementType());
  bool isTransposed = product.weights.isTransposed;
  auto type = RankedTensorType::get(
      {matrix.getDimSize(isTransposed), matrix.getDimSize(!isTransposed)},
      stack.getElementType());
  // Casts come after the choice, so that each matrix is one of the param's.
  Value source = product.weights.stack;
  while (auto cast = source.getDefiningOp<CastOp>())
    source = cast.getInput();
  SmallVector<Value> weights;
  for (int64_t expert = 0; expert < stack.getDimSize(0); ++expert) {
    Value weight = GatherOp::create(
        builder, loc, matrix.clone(tensorType(source).getElementType()), source,
        createIndex(builder, loc, expert), /*axis=*/0);
    if (weight.getType() != matrix)
      weight = CastOp::create(builder, loc, matrix, weight);
    if (isTransposed)
      weight = TransposeOp::create(builder, loc, type, weight,
                                   ArrayRef<int64_t>({1, 0}));
    weights.push_back(weight);
  }
  Value input =
      isShared(product.input)
          ? repeatedFrom(product.input, tensorType(choices).getDimSize(1))
          : build(product.input, builder);
  auto result = RankedTensorType::get({tensorType(choices).getDimSize(0),
                                       tensorType(choices).getDimSize(1),
                                       type.getDimSize(1)},
                                      type.getElementType());
  return ExpertMatMulOp::create(builder, loc, result, input, choices, weights);
}

Value ChoiceRows::buildElementwise(Operation *op, OpBuilder &builder) {
  SmallVector<Value> operands;
  for (Value operand : op->getOperands())
    operands.push_back(isRowConstant(operand) ? operand
                                              : build(operand, builder));
  OperationState state(op->getLoc(), op->getName(), operands,
                       TypeRange(typeOf(op->getResult(0))), op->getAttrs());
  return builder.create(state)->getResult(0);
}

Value ChoiceRows::buildSlice(SliceOp op, OpBuilder &builder) {
  return SliceOp::create(builder, op.getLoc(), typeOf(op),
                         build(op.getInput(), builder), op.getStarts(),
                         op.getEnds(), op.getSteps(), ArrayRef<int64_t>(2));
}

Value ChoiceRows::build(Value value, OpBuilder &builder) {
  if (Value known = built.lookup(value))
    return known;
  Location loc = value.getLoc();
  Value result;
  if (auto product = matchProduct(value)) {
    result = buildProduct(*product, loc, builder);
  } else if (auto bias = matchGathered(value, 2)) {
    result = GatherOp::create(builder, loc, typeOf(value), bias->stack, choices,
                              /*axis=*/0);
  } else if (Value weights = listedFrom(value, /*isInteger=*/false);
             weights && lastDim(value) == 1) {
    result = UnsqueezeOp::create(builder, loc, typeOf(value), weights,
                                 ArrayRef<int64_t>(2));
  } else if (auto slice = value.getDefiningOp<SliceOp>()) {
    result = buildSlice(slice, builder);
  } else {
    result = buildElementwise(value.getDefiningOp(), builder);
  }
  return built[value] = result;
}

namespace {

/// The sum of a token's choices.
struct GatheredExperts : OpRewritePattern<ReduceSumOp> {
  GatheredExperts(MLIRContext *context, Recognition &recognition)
      : OpRewritePattern(context), recognition(recognition) {}

  LogicalResult matchAndRewrite(ReduceSumOp op,
                                PatternRewriter &rewriter) const override {
    auto reshape = op.getInput().getDefiningOp<ReshapeOp>();
    if (!reshape || op.getAxes() != ArrayRef<int64_t>(1) || op.getKeepDims() ||
        rankOf(reshape) != 3 || rankOf(reshape.getInput()) != 2)
      return rewriter.notifyMatchFailure(op, "no sum of choices");
    ChoiceRows rows(recognition.shapes);
    if (!rows.accepts(reshape.getInput()) || !rows.hasProducts() ||
        !rows.isConsistent())
      return rewriter.notifyMatchFailure(op, "no experts");
    // The dimensions of one value may move those of the other.
    auto own = llvm::to_vector(recognition.shapes.dims(reshape));
    auto wanted = llvm::to_vector(recognition.shapes.dims(rows.getChoices()));
    own.pop_back();
    if (own != wanted || lastDim(reshape) != lastDim(op))
      return rewriter.notifyMatchFailure(op, "another sum");
    Value result = rows.build(reshape.getInput(), rewriter);
    rewriter.replaceOpWithNewOp<ReduceSumOp>(op, op.getType(), result,
                                             op.getAxes(), /*keep_dims=*/false);
    ++recognition.experts;
    return success();
  }

  Recognition &recognition;
};

} // namespace

void nju::populateRecognizeGatheredExperts(RewritePatternSet &patterns,
                                           Recognition &recognition) {
  patterns.add<GatheredExperts>(patterns.getContext(), recognition);
}
