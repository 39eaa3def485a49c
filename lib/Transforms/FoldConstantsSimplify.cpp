//===- FoldConstantsSimplify.cpp - Simplifications that shapes prove -*- C++
//-*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "FoldConstantsImpl.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace nju;
using namespace nju::detail;

using Dims = ShapeInference::Dims;

namespace {

class Simplifier {
public:
  Simplifier(ShapeInference &shapes, OpBuilder &builder)
      : shapes(shapes), builder(builder) {}

  Value simplify(AndOp op) {
    return isBool(op) ? simplifyNeutral(op, [](double x) { return x != 0; })
                      : Value();
  }
  Value simplify(BroadcastToOp op) { return ifSame(op, op.getInput()); }
  Value simplify(CastOp op);
  Value simplify(ConcatOp op);
  Value simplify(DivOp op) {
    return splatValue(op.getRhs()) == 1.0 ? ifSame(op, op.getLhs()) : Value();
  }
  Value simplify(LayerNormOp op) { return splitRows(op, op.getInput()); }
  Value simplify(MulOp op) {
    return simplifyNeutral(op, [](double x) { return x == 1.0; });
  }
  Value simplify(OrOp op) {
    return simplifyNeutral(op, [](double x) { return x == 0; });
  }
  Value simplify(ReshapeOp op);
  Value simplify(RMSNormOp op) { return splitRows(op, op.getInput()); }
  Value simplify(SelectOp op);
  Value simplify(SliceOp op);
  Value simplify(SqueezeOp op) { return ifSame(op, rootOf(op.getInput())); }
  Value simplify(TransposeOp op);
  Value simplify(UnsqueezeOp op) { return ifSame(op, rootOf(op.getInput())); }

private:
  static bool isBool(Operation *op) {
    return getElementTypeOrSelf(op->getResult(0).getType()).isInteger(1);
  }
  Dims dims(Value value) { return Dims(shapes.dims(value)); }
  /// `value` if it has the type and the dimensions of the op's result.
  Value ifSame(Operation *op, Value value);
  template <typename Test>
  Value simplifyNeutral(Operation *op, Test isNeutral);
  static std::optional<double> splatValue(Value value);
  Value rootOf(Value value);
  Value splitRows(Operation *op, Value input);
  bool setTarget(ReshapeOp op, Value input, ArrayRef<int64_t> target);
  template <typename Op, typename... Args>
  Value create(Operation *before, Args &&...args);

  ShapeInference &shapes;
  OpBuilder &builder;
};

} // namespace

Value Simplifier::ifSame(Operation *op, Value value) {
  Value result = op->getResult(0);
  bool same =
      value.getType() == result.getType() && dims(value) == dims(result);
  return same ? value : Value();
}

template <typename Op, typename... Args>
Value Simplifier::create(Operation *before, Args &&...args) {
  builder.setInsertionPoint(before);
  auto op = Op::create(builder, before->getLoc(), std::forward<Args>(args)...);
  if (failed(shapes.infer(op)))
    return {};
  return op.getResult();
}

//===----------------------------------------------------------------------===//
// Shapes
//===----------------------------------------------------------------------===//

/// The value before all reshapes, squeezes and unsqueezes: it has the same
/// elements in the same order.
Value Simplifier::rootOf(Value value) {
  while (Operation *op = value.getDefiningOp()) {
    if (!isa<ReshapeOp, SqueezeOp, UnsqueezeOp>(op))
      break;
    value = op->getOperand(0);
  }
  return value;
}

/// A constant target for the reshape of `from` to `to`: numbers, 0 where a
/// dimension of the operand is copied, and -1 at most once. No value if that
/// does not say all.
static std::optional<llvm::SmallVector<int64_t>>
constantTarget(ArrayRef<SymbolicExpr> from, ArrayRef<SymbolicExpr> to) {
  llvm::SmallVector<int64_t> target;
  bool hasRest = false;
  for (auto [i, dim] : llvm::enumerate(to)) {
    std::optional<int64_t> size = dim.asConstant();
    bool copies = !size && i < from.size() && from[i] == dim;
    if (size == 0 || (!size && !copies && hasRest))
      return std::nullopt;
    hasRest |= !size && !copies;
    target.push_back(size ? *size : copies ? 0 : -1);
  }
  return target;
}

/// A norm of heads whose rows were joined with those of the tokens: it knows
/// the last dimension only, so tokens may keep a dimension of their own.
Value Simplifier::splitRows(Operation *op, Value input) {
  Value root = rootOf(input);
  Dims from = dims(root), to = dims(op->getResult(0));
  if (from.size() < 2 || to.size() > from.size())
    return {};
  auto width = from.back().asConstant(), size = to.back().asConstant();
  if (!width || !size || *size <= 0 || *width <= *size || *width % *size != 0)
    return {};
  Dims heads(from);
  heads.back() = shapes.getContext().constant(*width / *size);
  heads.push_back(to.back());
  auto split = constantTarget(from, heads), join = constantTarget(heads, to);
  if (!split || !join)
    return {};
  auto reshape = [&](Value value, ArrayRef<int64_t> target) {
    Value shape = create<ConstantOp>(op, builder.getI64TensorAttr(target));
    auto type = cast<RankedTensorType>(value.getType());
    return create<ReshapeOp>(op, type.clone(ArrayRef<int64_t>{}), value, shape,
                             /*allowZero=*/false);
  };
  Value rows = reshape(root, *split);
  builder.setInsertionPoint(op);
  Operation *norm = builder.clone(*op);
  norm->setOperand(0, rows);
  if (!rows || failed(shapes.infer(norm)))
    return {};
  return reshape(norm->getResult(0), *join);
}

bool Simplifier::setTarget(ReshapeOp op, Value input,
                           ArrayRef<int64_t> target) {
  auto type = RankedTensorType::get({static_cast<int64_t>(target.size())},
                                    builder.getI64Type());
  auto attr = DenseElementsAttr::get(type, target);
  auto known = op.getShape().getDefiningOp<ConstantOp>();
  if (input == op.getInput() && known && known.getValue() == attr)
    return false;
  if (!known || known.getValue() != attr)
    op.getShapeMutable().assign(create<ConstantOp>(op, attr));
  op.getInputMutable().assign(input);
  op.setAllowZero(false);
  return true;
}

Value Simplifier::simplify(ReshapeOp op) {
  Value root = rootOf(op.getInput());
  if (Value same = ifSame(op, root))
    return same;
  for (Value input : {root, Value(op.getInput())})
    if (auto target = constantTarget(dims(input), dims(op.getResult()))) {
      setTarget(op, input, *target);
      break;
    }
  return {};
}

Value Simplifier::simplify(TransposeOp op) {
  auto inner = op.getInput().getDefiningOp<TransposeOp>();
  llvm::SmallVector<int64_t> permutation(op.getPermutation());
  if (inner)
    for (int64_t &dim : permutation)
      dim = inner.getPermutation()[dim];
  Value input = inner ? Value(inner.getInput()) : Value(op.getInput());
  if (llvm::is_sorted(permutation))
    return input.getType() == op.getType() ? input : Value();
  if (inner) {
    op.getInputMutable().assign(input);
    op.setPermutation(permutation);
  }
  return {};
}

Value Simplifier::simplify(SliceOp op) {
  auto starts = shapes.constantContent(op.getStarts());
  auto steps = shapes.constantContent(op.getSteps());
  auto is = [](int64_t number) {
    return [=](int64_t value) { return value == number; };
  };
  if (!starts || !steps || !llvm::all_of(*starts, is(0)) ||
      !llvm::all_of(*steps, is(1)))
    return {};
  return ifSame(op, op.getInput());
}

Value Simplifier::simplify(ConcatOp op) {
  return op.getInputs().size() == 1 ? ifSame(op, op.getInputs()[0]) : Value();
}

//===----------------------------------------------------------------------===//
// Elements
//===----------------------------------------------------------------------===//

/// True if every value of `from` is one of `to`.
static bool isLossless(Type from, Type to) {
  if (from.isInteger(1))
    return true;
  auto toFloat = dyn_cast<FloatType>(to);
  if (auto integer = dyn_cast<IntegerType>(from)) {
    unsigned bits = integer.getWidth() - (integer.isUnsigned() ? 0 : 1);
    if (toFloat)
      return bits <= toFloat.getFPMantissaWidth();
    auto other = cast<IntegerType>(to);
    if (!integer.isUnsigned() && other.isUnsigned())
      return false;
    return bits <= other.getWidth() - (other.isUnsigned() ? 0 : 1);
  }
  auto fromFloat = cast<FloatType>(from);
  if (!toFloat)
    return false;
  return from == to || (toFloat.isF32() && fromFloat.getWidth() <= 16) ||
         toFloat.isF64();
}

Value Simplifier::simplify(CastOp op) {
  if (op.getInput().getType() == op.getType())
    return op.getInput();
  auto inner = op.getInput().getDefiningOp<CastOp>();
  if (!inner || !isLossless(inner.getInput().getType().getElementType(),
                            inner.getType().getElementType()))
    return {};
  if (inner.getInput().getType() == op.getType())
    return inner.getInput();
  op.getInputMutable().assign(inner.getInput());
  return {};
}

/// The one value of a constant whose elements are all equal; -1 for true.
std::optional<double> Simplifier::splatValue(Value value) {
  auto constant = value.getDefiningOp<ConstantOp>();
  if (!constant)
    return std::nullopt;
  auto dense = dyn_cast<DenseElementsAttr>(constant.getValue());
  if (!dense || !dense.isSplat())
    return std::nullopt;
  if (isa<FloatType>(dense.getElementType())) {
    APFloat number = dense.getSplatValue<APFloat>();
    bool lossy;
    number.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &lossy);
    return number.convertToDouble();
  }
  return static_cast<double>(dense.getSplatValue<APInt>().getSExtValue());
}

/// One operand of a commutative op if the other one changes nothing.
template <typename Test>
Value Simplifier::simplifyNeutral(Operation *op, Test isNeutral) {
  for (int i = 0; i < 2; ++i)
    if (std::optional<double> number = splatValue(op->getOperand(1 - i));
        number && isNeutral(*number))
      if (Value same = ifSame(op, op->getOperand(i)))
        return same;
  return {};
}

Value Simplifier::simplify(SelectOp op) {
  std::optional<double> condition = splatValue(op.getCondition());
  if (!condition)
    return {};
  return ifSame(op, *condition != 0 ? op.getTrueValue() : op.getFalseValue());
}

Value nju::detail::simplify(Operation *op, ShapeInference &shapes,
                            OpBuilder &builder) {
  Simplifier simplifier(shapes, builder);
  return llvm::TypeSwitch<Operation *, Value>(op)
      .Case<AndOp, BroadcastToOp, CastOp, ConcatOp, DivOp, LayerNormOp, MulOp,
            OrOp, RMSNormOp, ReshapeOp, SelectOp, SliceOp, SqueezeOp,
            TransposeOp, UnsqueezeOp>(
          [&](auto op) { return simplifier.simplify(op); })
      .Default([](Operation *) { return Value(); });
}
