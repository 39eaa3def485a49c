//===- RecognizeActivation.cpp - GELU, SiLU, SwiGLU -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// An activation is written in many factorings. All of them are
// `a(x) + b(x) * f(q(x))` with polynomials a, b, q and f one of erf, tanh,
// sigmoid; the rule multiplies the expression out and compares coefficients.
//
//===----------------------------------------------------------------------===//

#include "PatternUtils.h"
#include "Recognize.h"
#include "llvm/ADT/APFloat.h"
#include "llvm/ADT/SetVector.h"
#include <array>
#include <cmath>

using namespace mlir;
using namespace nju;

namespace {

constexpr int kMaxDegree = 4;
/// Ops on the way from f to the root of an activation, and of its polynomials.
constexpr int kMaxDepth = 8;

const double kInvSqrt2 = 1.0 / std::sqrt(2.0);
const double kSqrt2OverPi = std::sqrt(2.0 / std::acos(-1.0));
constexpr double kGeluCubic = 0.044715;

/// A number of the graph; where it is one of the constants of these functions
/// rounded to a half float, it is that constant.
double unrounded(double number) {
  for (double exact : {kInvSqrt2, std::sqrt(2.0), kSqrt2OverPi, kGeluCubic})
    for (const llvm::fltSemantics *semantics :
         {&APFloat::IEEEhalf(), &APFloat::BFloat()}) {
      APFloat rounded(exact);
      bool losesInfo = false;
      rounded.convert(*semantics, APFloat::rmNearestTiesToEven, &losesInfo);
      rounded.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven,
                      &losesInfo);
      if (std::abs(number) == rounded.convertToDouble())
        return std::copysign(exact, number);
    }
  return number;
}

/// Coefficients, that of x^0 first.
using Polynomial = std::array<double, kMaxDegree + 1>;

bool isZero(const Polynomial &p) {
  return llvm::all_of(p, [](double c) { return c == 0.0; });
}

bool isClose(const Polynomial &a, const Polynomial &b) {
  for (auto [x, y] : llvm::zip(a, b))
    if (!nju::isClose(x, y))
      return false;
  return true;
}

std::optional<Polynomial> multiply(const Polynomial &a, const Polynomial &b) {
  Polynomial product = {};
  for (size_t i = 0; i < a.size(); ++i)
    for (size_t j = 0; j < b.size(); ++j) {
      if (a[i] == 0.0 || b[j] == 0.0)
        continue;
      if (i + j >= product.size())
        return std::nullopt;
      product[i + j] += a[i] * b[j];
    }
  return product;
}

/// a(x) + b(x) * f.
struct Form {
  Polynomial a = {}, b = {};
};

Form combine(const Form &lhs, const Form &rhs, double sign) {
  Form sum = lhs;
  for (size_t i = 0; i < sum.a.size(); ++i) {
    sum.a[i] += sign * rhs.a[i];
    sum.b[i] += sign * rhs.b[i];
  }
  return sum;
}

std::optional<Form> multiply(const Form &lhs, const Form &rhs) {
  if (!isZero(lhs.b) && !isZero(rhs.b))
    return std::nullopt;
  auto a = multiply(lhs.a, rhs.a), left = multiply(lhs.a, rhs.b),
       right = multiply(lhs.b, rhs.a);
  if (!a || !left || !right)
    return std::nullopt;
  return combine(Form{*a, *left}, Form{{}, *right}, 1.0);
}

/// Multiplies a value out in x and f (which may be null).
class Expansion {
public:
  Expansion(Value x, Value f) : x(x), f(f) {}

  std::optional<Form> expand(Value value, int depth = 0) const {
    Form form;
    if (value == x) {
      form.a[1] = 1.0;
      return form;
    }
    if (f && value == f) {
      form.b[0] = 1.0;
      return form;
    }
    if (std::optional<double> number = matchNumber(value)) {
      form.a[0] = unrounded(*number);
      return form;
    }
    Operation *op = value.getDefiningOp();
    if (!op || depth > kMaxDepth || value.getType() != x.getType())
      return std::nullopt;
    if (auto neg = dyn_cast<NegOp>(op))
      return negate(expand(neg.getInput(), depth + 1));
    if (auto pow = dyn_cast<PowOp>(op))
      return power(pow, depth);
    if (!isa<AddOp, SubOp, MulOp, DivOp>(op))
      return std::nullopt;
    return binary(op, depth);
  }

private:
  static std::optional<Form> negate(std::optional<Form> form) {
    return form ? std::optional(combine({}, *form, -1.0)) : std::nullopt;
  }

  std::optional<Form> binary(Operation *op, int depth) const {
    auto lhs = expand(op->getOperand(0), depth + 1);
    auto rhs = lhs ? expand(op->getOperand(1), depth + 1) : std::nullopt;
    if (!rhs)
      return std::nullopt;
    if (isa<AddOp>(op))
      return combine(*lhs, *rhs, 1.0);
    if (isa<SubOp>(op))
      return combine(*lhs, *rhs, -1.0);
    if (isa<MulOp>(op))
      return multiply(*lhs, *rhs);
    auto number = matchNumber(op->getOperand(1));
    if (!number || *number == 0.0)
      return std::nullopt;
    Form inverse;
    inverse.a[0] = 1.0 / unrounded(*number);
    return multiply(*lhs, inverse);
  }

  std::optional<Form> power(PowOp pow, int depth) const {
    auto exponent = matchNumber(pow.getRhs());
    auto base = expand(pow.getLhs(), depth + 1);
    if (!base || !exponent || (*exponent != 2.0 && *exponent != 3.0))
      return std::nullopt;
    std::optional<Form> result = multiply(*base, *base);
    if (result && *exponent == 3.0)
      result = multiply(*result, *base);
    return result;
  }

  Value x, f;
};

/// Values that the argument of f could be a polynomial of.
llvm::SetVector<Value> findVariables(Value argument) {
  llvm::SetVector<Value> candidates;
  candidates.insert(argument);
  for (size_t i = 0; i < candidates.size() && i < 16; ++i) {
    Operation *op = candidates[i].getDefiningOp();
    if (!op || !isa<AddOp, SubOp, MulOp, DivOp, NegOp, PowOp>(op))
      continue;
    for (Value operand : op->getOperands())
      if (operand.getType() == argument.getType() && !matchNumber(operand))
        candidates.insert(operand);
  }
  return candidates;
}

/// Values that are made of f by the arithmetic of an activation.
llvm::SetVector<Value> findRoots(Value f) {
  llvm::SetVector<Value> roots;
  roots.insert(f);
  for (size_t i = 0; i < roots.size() && i < 32; ++i)
    for (Operation *user : roots[i].getUsers())
      if (isa<AddOp, SubOp, MulOp, DivOp, NegOp>(user) &&
          user->getResult(0).getType() == f.getType())
        roots.insert(user->getResult(0));
  return roots;
}

Polynomial linear(double slope) { return {0.0, slope}; }

/// The activation that has a transcendental function at its heart: what the
/// argument must be, and what is made of the function's value.
struct Activation {
  Polynomial argument;
  Form form;
};

Activation gelu(bool tanh) {
  Activation gelu;
  gelu.argument =
      tanh ? Polynomial{0.0, kSqrt2OverPi, 0.0, kSqrt2OverPi * kGeluCubic}
           : linear(kInvSqrt2);
  gelu.form = {linear(0.5), linear(0.5)};
  return gelu;
}

/// Finds x and the root of an activation around `f`, the value of its function.
struct Found {
  Value x, root;
};
std::optional<Found> findActivation(const Activation &wanted, Value argument,
                                    Value f) {
  for (Value x : findVariables(argument)) {
    std::optional<Form> inner = Expansion(x, nullptr).expand(argument);
    if (!inner || !isClose(inner->a, wanted.argument))
      continue;
    for (Value root : findRoots(f)) {
      std::optional<Form> outer = Expansion(x, f).expand(root);
      if (outer && isClose(outer->a, wanted.form.a) &&
          isClose(outer->b, wanted.form.b))
        return Found{x, root};
    }
  }
  return std::nullopt;
}

template <typename FunctionOp>
struct Gelu : OpRewritePattern<FunctionOp> {
  Gelu(MLIRContext *context, Recognition &recognition)
      : OpRewritePattern<FunctionOp>(context), recognition(recognition) {}

  LogicalResult matchAndRewrite(FunctionOp op,
                                PatternRewriter &rewriter) const override {
    constexpr bool isTanh = std::is_same_v<FunctionOp, TanhOp>;
    auto found = findActivation(gelu(isTanh), op.getInput(), op.getResult());
    if (!found)
      return rewriter.notifyMatchFailure(op, "no gelu");
    Operation *root = found->root.getDefiningOp();
    rewriter.setInsertionPoint(root);
    rewriter.replaceOpWithNewOp<GeluOp>(root, root->getResultTypes(), found->x,
                                        isTanh);
    ++recognition.gelus;
    return success();
  }

  Recognition &recognition;
};

/// x * sigmoid(x) is silu(x).
struct Silu : OpRewritePattern<SigmoidOp> {
  Silu(MLIRContext *context, Recognition &recognition)
      : OpRewritePattern(context), recognition(recognition) {}

  LogicalResult matchAndRewrite(SigmoidOp op,
                                PatternRewriter &rewriter) const override {
    Activation wanted{linear(1.0), {{}, linear(1.0)}};
    auto found = findActivation(wanted, op.getInput(), op.getResult());
    if (!found)
      return rewriter.notifyMatchFailure(op, "no silu");
    Operation *root = found->root.getDefiningOp();
    rewriter.setInsertionPoint(root);
    rewriter.replaceOpWithNewOp<SiluOp>(root, root->getResultTypes(), found->x);
    ++recognition.silus;
    return success();
  }

  Recognition &recognition;
};

/// x if `value` is `1 + exp(-x)`.
Value matchOnePlusExpOfMinus(Value value) {
  std::optional<WithNumber> shifted = matchShifted(value);
  if (!shifted || shifted->number != 1.0)
    return nullptr;
  auto exp = shifted->value.getDefiningOp<ExpOp>();
  if (!exp)
    return nullptr;
  std::optional<WithNumber> minus = matchScaled(exp.getInput());
  return minus && minus->number == -1.0 ? minus->value : Value();
}

/// 1 / (1 + exp(-x)) is sigmoid(x), y / (1 + exp(-x)) is y * sigmoid(x).
template <typename OpTy>
struct Sigmoid : OpRewritePattern<OpTy> {
  using OpRewritePattern<OpTy>::OpRewritePattern;

  LogicalResult matchAndRewrite(OpTy op,
                                PatternRewriter &rewriter) const override {
    Value divisor = matchReciprocal(op.getResult());
    Value dividend;
    if (auto div = dyn_cast<DivOp>(op.getOperation()); div && !divisor) {
      divisor = div.getRhs();
      dividend = div.getLhs();
    }
    Value x = divisor ? matchOnePlusExpOfMinus(divisor) : Value();
    if (!x || x.getType() != op.getType() ||
        (dividend && dividend.getType() != op.getType()))
      return rewriter.notifyMatchFailure(op, "no sigmoid");
    Value sigmoid = SigmoidOp::create(rewriter, op.getLoc(), x.getType(), x);
    if (dividend)
      sigmoid =
          MulOp::create(rewriter, op.getLoc(), op.getType(), dividend, sigmoid);
    rewriter.replaceOp(op, sigmoid);
    return success();
  }
};

/// silu(gate) * up, of one shape, is swiglu(gate, up).
struct SwiGLU : OpRewritePattern<MulOp> {
  SwiGLU(MLIRContext *context, Recognition &recognition)
      : OpRewritePattern(context), recognition(recognition) {}

  LogicalResult matchAndRewrite(MulOp op,
                                PatternRewriter &rewriter) const override {
    for (auto [activated, up] : {std::pair(op.getLhs(), op.getRhs()),
                                 std::pair(op.getRhs(), op.getLhs())}) {
      auto silu = activated.getDefiningOp<SiluOp>();
      if (!silu || silu.getInput().getType() != up.getType() ||
          !recognition.haveSameShape(silu.getInput(), up))
        continue;
      rewriter.replaceOpWithNewOp<SwiGLUOp>(op, up.getType(), silu.getInput(),
                                            up);
      ++recognition.swiglus;
      return success();
    }
    return rewriter.notifyMatchFailure(op, "no swiglu");
  }

  Recognition &recognition;
};

} // namespace

void nju::populateRecognizeActivation(RewritePatternSet &patterns,
                                      Recognition &recognition) {
  MLIRContext *context = patterns.getContext();
  patterns.add<Gelu<ErfOp>, Gelu<TanhOp>, Silu, SwiGLU>(context, recognition);
  patterns.add<Sigmoid<ReciprocalOp>, Sigmoid<DivOp>, Sigmoid<PowOp>>(context);
}
