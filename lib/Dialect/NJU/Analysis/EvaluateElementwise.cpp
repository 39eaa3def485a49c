//===- EvaluateElementwise.cpp - Evaluates element-wise and MLP ops -*- C++
//-*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "EvaluatorImpl.h"
#include "HostElements.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace nju;
using namespace nju::detail;

//===----------------------------------------------------------------------===//
// Loops
//===----------------------------------------------------------------------===//

namespace {
/// Loops over the broadcast of up to three operands and the result.
struct Loops {
  llvm::SmallVector<int64_t> shape;
  /// Of the operands, then of the result.
  llvm::SmallVector<llvm::SmallVector<int64_t>> strides;
};
} // namespace

static Loops makeLoops(ArrayRef<HostTensor> operands, ArrayRef<int64_t> shape) {
  Loops loops;
  loops.shape.assign(shape.begin(), shape.end());
  for (const HostTensor &operand : operands)
    loops.strides.push_back(broadcastStrides(operand.getShape(), shape));
  loops.strides.push_back(rowMajorStrides(shape));
  collapseLoops(loops.shape, loops.strides);
  return loops;
}

/// y[i] = f(x[i])
template <typename T, typename F>
static void runUnary(const HostTensor &x, HostTensor &y, F f) {
  const T *from = x.elements<T>().data();
  T *to = y.mutableElements<T>().data();
  for (int64_t i = 0, count = x.getNumElements(); i < count; ++i)
    to[i] = f(from[i]);
}

/// y[i] = f(a[i], b[i]) with broadcasting. The innermost strides are 0 or 1,
/// and each pair has a loop of its own that the compiler vectorizes.
template <typename T, typename R, typename F>
static void runBinary(const Loops &loops, ArrayRef<HostTensor> x, HostTensor &y,
                      F f) {
  const T *as = x[0].elements<T>().data(), *bs = x[1].elements<T>().data();
  R *ys = y.mutableElements<R>().data();
  int64_t count = loops.shape.back();
  bool stepsA = loops.strides[0].back() != 0,
       stepsB = loops.strides[1].back() != 0;
  forEachRow(loops.shape, loops.strides, [&](ArrayRef<int64_t> offsets) {
    const T *a = as + offsets[0], *b = bs + offsets[1];
    R *to = ys + offsets[2];
    if (stepsA && stepsB) {
      for (int64_t i = 0; i < count; ++i)
        to[i] = f(a[i], b[i]);
    } else if (stepsA) {
      for (int64_t i = 0; i < count; ++i)
        to[i] = f(a[i], *b);
    } else {
      for (int64_t i = 0; i < count; ++i)
        to[i] = f(*a, b[i]);
    }
  });
}

//===----------------------------------------------------------------------===//
// Unary ops
//===----------------------------------------------------------------------===//

static double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

static double gelu(double x, bool tanh) {
  if (!tanh)
    return 0.5 * x * (1.0 + std::erf(x * 0.70710678118654752440));
  constexpr double kRoot = 0.79788456080286535588; // sqrt(2 / pi)
  return 0.5 * x * (1.0 + std::tanh(kRoot * (x + 0.044715 * x * x * x)));
}

/// Functions that are computed in double and rounded once.
static double transcendental(Operation *op, double x) {
  return llvm::TypeSwitch<Operation *, double>(op)
      .Case<AtanOp>([&](auto) { return std::atan(x); })
      .Case<CosOp>([&](auto) { return std::cos(x); })
      .Case<ErfOp>([&](auto) { return std::erf(x); })
      .Case<ExpOp>([&](auto) { return std::exp(x); })
      .Case<GeluOp>([&](GeluOp op) { return gelu(x, op.getTanh()); })
      .Case<LogOp>([&](auto) { return std::log(x); })
      .Case<ReciprocalOp>([&](auto) { return 1.0 / x; })
      .Case<RsqrtOp>([&](auto) { return 1.0 / std::sqrt(x); })
      .Case<SigmoidOp>([&](auto) { return sigmoid(x); })
      .Case<SiluOp>([&](auto) { return x / (1.0 + std::exp(-x)); })
      .Case<SinOp>([&](auto) { return std::sin(x); })
      .Case<SoftplusOp>([&](auto) {
        return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x)));
      })
      .Case<TanhOp>([&](auto) { return std::tanh(x); })
      .Default([](Operation *) -> double {
        llvm_unreachable("not one of isTranscendental");
      });
}

static bool isTranscendental(Operation *op) {
  return isa<AtanOp, CosOp, ErfOp, ExpOp, GeluOp, LogOp, ReciprocalOp, RsqrtOp,
             SigmoidOp, SiluOp, SinOp, SoftplusOp, TanhOp>(op);
}

/// Ops that keep the precision of T. False if T has no such op.
template <typename T>
static bool runExactUnary(Operation *op, const HostTensor &x, HostTensor &y) {
  auto run = [&](auto f) {
    runUnary<T>(x, y, f);
    return true;
  };
  using U = std::conditional_t<std::is_same_v<T, int64_t>, uint64_t, T>;
  auto negative = [](T v) { return static_cast<T>(U(0) - U(v)); };
  if (isa<NegOp>(op)) {
    if constexpr (std::is_floating_point_v<T>)
      return run([](T v) { return -v; });
    return run(negative);
  }
  if (isa<AbsOp>(op)) {
    if constexpr (std::is_floating_point_v<T>)
      return run([](T v) { return std::abs(v); });
    return run([&](T v) { return v < T(0) ? negative(v) : v; });
  }
  if constexpr (!std::is_floating_point_v<T>)
    if (isa<NotOp>(op))
      return run([](T v) { return static_cast<T>(~v); });
  if (isa<ReluOp>(op))
    return run([](T v) { return v < T(0) ? T(0) : v; });
  if (isa<SignOp>(op))
    return run([](T v) { return v > T(0) ? T(1) : v < T(0) ? T(-1) : v; });
  if constexpr (std::is_floating_point_v<T>) {
    if (isa<CeilOp>(op))
      return run([](T v) { return std::ceil(v); });
    if (isa<FloorOp>(op))
      return run([](T v) { return std::floor(v); });
    if (isa<RoundOp>(op))
      return run([](T v) { return std::nearbyint(v); });
    if (isa<SqrtOp>(op))
      return run([](T v) { return std::sqrt(v); });
  } else if (isa<CeilOp, FloorOp, RoundOp>(op)) {
    return run([](T v) { return v; });
  }
  return false;
}

static EvalResult noSuchOp(const Evaluation &e) {
  return e.fail("'" + e.op->getName().getStringRef() + "' of " +
                toString(e.operands[0]) + " cannot be evaluated");
}

/// f16 and bf16 are computed in f32, integers in 64 bits.
static Type computeType(Type type) {
  if (type.isF64() || type.isF32())
    return type;
  if (isa<FloatType>(type))
    return Float32Type::get(type.getContext());
  return wideType(type);
}

template <typename F>
static auto visitComputeType(Type type, F &&f) {
  if (type.isF32())
    return f(float());
  if (type.isF64())
    return f(double());
  return type.isUnsignedInteger() ? f(uint64_t()) : f(int64_t());
}

static EvalResult evaluateUnary(const Evaluation &e) {
  const HostTensor &input = e.operands[0];
  Type type = input.getElementType(), compute = computeType(type);
  HostTensor x = input.converted(compute);
  EvalResult y = e.allocate(compute, x.getShape());
  if (failed(y))
    return y;
  if (isTranscendental(e.op)) {
    if (!isa<FloatType>(type))
      return noSuchOp(e);
    auto f = [&](auto v) {
      return static_cast<decltype(v)>(transcendental(e.op, v));
    };
    compute.isF32() ? runUnary<float>(x, *y, f) : runUnary<double>(x, *y, f);
  } else {
    bool known = visitComputeType(compute, [&](auto zero) {
      return runExactUnary<decltype(zero)>(e.op, x, *y);
    });
    if (!known)
      return noSuchOp(e);
  }
  return y->converted(type);
}

/// Of booleans; integers are computed as by other ops.
static EvalResult evaluateNot(const Evaluation &e) {
  EvalResult y =
      e.allocate(e.operands[0].getElementType(), e.operands[0].getShape());
  if (succeeded(y))
    runUnary<bool>(e.operands[0], *y, [](bool v) { return !v; });
  return y;
}

static EvalResult evaluateTest(const Evaluation &e) {
  const HostTensor &input = e.operands[0];
  EvalResult y = e.allocate(e.resultElementType(), input.getShape());
  if (failed(y))
    return y;
  bool wantsNaN = isa<IsNaNOp>(e.op);
  HostTensor x = input.converted(wideType(input.getElementType()));
  if (!x.getElementType().isF64()) // Integers are neither.
    return HostTensor(e.resultElementType(), input.getShape());
  for (auto [from, to] :
       llvm::zip(x.elements<double>(), y->mutableElements<bool>()))
    to = wantsNaN ? std::isnan(from) : std::isinf(from);
  return y;
}

//===----------------------------------------------------------------------===//
// Binary ops
//===----------------------------------------------------------------------===//

/// Integer power, wrapped around; negative exponents truncate the quotient.
template <typename T>
static T integerPower(T base, T exponent) {
  if (std::is_signed_v<T> && exponent < T(0)) {
    if (base == T(1) || (base == T(-1) && exponent % 2 == 0))
      return 1;
    return base == T(-1) ? T(-1) : T(0);
  }
  uint64_t result = 1, factor = static_cast<uint64_t>(base);
  for (auto bits = static_cast<uint64_t>(exponent); bits; bits >>= 1) {
    if (bits & 1)
      result *= factor;
    factor *= factor;
  }
  return static_cast<T>(result);
}

/// The remainder with the sign of the divisor, or of the dividend.
template <typename T>
static T remainder(T a, T b, bool truncated) {
  T rest;
  if constexpr (std::is_floating_point_v<T>)
    rest = std::fmod(a, b);
  else if (std::is_signed_v<T> && b == T(-1))
    return 0;
  else
    rest = a % b;
  if (!truncated && rest != T(0) && (rest < T(0)) != (b < T(0)))
    rest += b;
  return rest;
}

/// Quotient of integers, truncated; the smallest by -1 wraps around.
template <typename T>
static T quotient(T a, T b) {
  if constexpr (std::is_floating_point_v<T>)
    return a / b;
  else if (std::is_signed_v<T> && b == T(-1))
    return static_cast<T>(uint64_t(0) - static_cast<uint64_t>(a));
  else
    return a / b;
}

template <typename T>
static bool hasZero(const HostTensor &tensor) {
  return llvm::is_contained(tensor.elements<T>(), T(0));
}

/// By the width of T or more, nothing but the sign is left.
template <typename T>
static T shift(T a, T b, bool left) {
  auto count = static_cast<uint64_t>(b);
  if (left)
    return count < 64 ? static_cast<T>(static_cast<uint64_t>(a) << count)
                      : T(0);
  return static_cast<T>(a >> std::min<uint64_t>(count, 63)) >>
         (count < 64 ? 0 : 1);
}

/// Ops that only integers have. False if `op` is another.
template <typename T>
static bool runBits(Operation *op, const Loops &loops, ArrayRef<HostTensor> x,
                    HostTensor &y) {
  auto run = [&](auto f) {
    runBinary<T, T>(loops, x, y, f);
    return true;
  };
  if (isa<AndOp>(op))
    return run([](T a, T b) { return a & b; });
  if (isa<OrOp>(op))
    return run([](T a, T b) { return a | b; });
  if (isa<XorOp>(op))
    return run([](T a, T b) { return a ^ b; });
  bool left = isa<ShiftLeftOp>(op);
  if (left || isa<ShiftRightOp>(op))
    return run([left](T a, T b) { return shift(a, b, left); });
  return false;
}

template <typename T>
static LogicalResult runArithmetic(const Evaluation &e, const Loops &loops,
                                   ArrayRef<HostTensor> x, HostTensor &y) {
  // Signed sums wrap around as unsigned ones.
  using U = std::conditional_t<std::is_same_v<T, int64_t>, uint64_t, T>;
  auto run = [&](auto f) {
    runBinary<T, T>(loops, x, y, f);
    return success();
  };
  if constexpr (!std::is_floating_point_v<T>)
    if (runBits<T>(e.op, loops, x, y))
      return success();
  if (isa<AddOp>(e.op))
    return run([](T a, T b) { return static_cast<T>(U(a) + U(b)); });
  if (isa<SubOp>(e.op))
    return run([](T a, T b) { return static_cast<T>(U(a) - U(b)); });
  if (isa<MulOp>(e.op))
    return run([](T a, T b) { return static_cast<T>(U(a) * U(b)); });
  if (isa<MinOp>(e.op))
    return run([](T a, T b) { return pick(a, b, false); });
  if (isa<MaxOp>(e.op))
    return run([](T a, T b) { return pick(a, b, true); });
  if (isa<PowOp>(e.op)) {
    if constexpr (std::is_floating_point_v<T>)
      return run([](T a, T b) {
        return static_cast<T>(std::pow(double(a), double(b)));
      });
    else
      return run([](T a, T b) { return integerPower(a, b); });
  }
  if (isa<SwiGLUOp>(e.op)) {
    if constexpr (!std::is_floating_point_v<T>)
      return noSuchOp(e);
    else
      return run([](T a, T b) {
        double gate = a;
        return static_cast<T>(gate / (1.0 + std::exp(-gate)) * double(b));
      });
  }
  if (!std::is_floating_point_v<T> && hasZero<T>(x[1]) &&
      y.getNumElements() > 0)
    return e.fail("division by zero");
  if (isa<DivOp>(e.op))
    return run([](T a, T b) { return quotient(a, b); });
  bool truncated = cast<ModOp>(e.op).getTruncated();
  return run([&](T a, T b) { return remainder(a, b, truncated); });
}

template <typename T>
static void runCompare(ComparePredicate predicate, const Loops &loops,
                       ArrayRef<HostTensor> x, HostTensor &y) {
  auto run = [&](auto f) { runBinary<T, bool>(loops, x, y, f); };
  switch (predicate) {
  case ComparePredicate::eq:
    return run([](T a, T b) { return a == b; });
  case ComparePredicate::ne:
    return run([](T a, T b) { return a != b; });
  case ComparePredicate::lt:
    return run([](T a, T b) { return a < b; });
  case ComparePredicate::le:
    return run([](T a, T b) { return a <= b; });
  case ComparePredicate::gt:
    return run([](T a, T b) { return a > b; });
  case ComparePredicate::ge:
    return run([](T a, T b) { return a >= b; });
  }
}

/// Allocates the broadcast of the operands.
static EvalResult allocateBroadcast(const Evaluation &e, Type type) {
  llvm::SmallVector<ArrayRef<int64_t>> shapes;
  for (const HostTensor &operand : e.operands)
    shapes.push_back(operand.getShape());
  auto shape = broadcastShapes(shapes);
  if (shape)
    return e.allocate(type, *shape);
  std::string all;
  for (const HostTensor &operand : e.operands)
    all += (all.empty() ? "" : ", ") + toString(operand);
  return e.fail("cannot broadcast " + all);
}

static EvalResult evaluateBinary(const Evaluation &e) {
  Type type = e.operands[0].getElementType(), compute = computeType(type);
  if (e.operands[1].getElementType() != type)
    return e.fail("operands " + toString(e.operands[0]) + " and " +
                  toString(e.operands[1]) + " differ in their element type");
  auto comparison = dyn_cast<CompareOp>(e.op);
  EvalResult y =
      allocateBroadcast(e, comparison ? e.resultElementType() : compute);
  if (failed(y))
    return y;
  HostTensor x[2] = {e.operands[0].converted(compute),
                     e.operands[1].converted(compute)};
  Loops loops = makeLoops(x, y->getShape());
  if (comparison) {
    visitComputeType(compute, [&](auto zero) {
      runCompare<decltype(zero)>(comparison.getPredicate(), loops, x, *y);
    });
    return y;
  }
  LogicalResult result = visitComputeType(compute, [&](auto zero) {
    return runArithmetic<decltype(zero)>(e, loops, x, *y);
  });
  if (failed(result))
    return failure();
  return y->converted(type);
}

/// Of booleans.
static EvalResult evaluateLogical(const Evaluation &e) {
  EvalResult y = allocateBroadcast(e, e.operands[0].getElementType());
  if (failed(y))
    return y;
  Loops loops = makeLoops(e.operands, y->getShape());
  // One byte each, 0 or 1: bitwise operations vectorize.
  if (isa<AndOp>(e.op))
    runBinary<uint8_t, uint8_t>(loops, e.operands, *y,
                                [](uint8_t a, uint8_t b) { return a & b; });
  else if (isa<OrOp>(e.op))
    runBinary<uint8_t, uint8_t>(loops, e.operands, *y,
                                [](uint8_t a, uint8_t b) { return a | b; });
  else
    runBinary<uint8_t, uint8_t>(loops, e.operands, *y,
                                [](uint8_t a, uint8_t b) { return a ^ b; });
  return y;
}

//===----------------------------------------------------------------------===//
// Select
//===----------------------------------------------------------------------===//

/// T is an unsigned integer as wide as the elements.
template <typename T>
static void runSelect(const Loops &loops, ArrayRef<HostTensor> x,
                      HostTensor &y) {
  const uint8_t *conditions = x[0].elements<uint8_t>().data();
  auto *as = reinterpret_cast<const T *>(x[1].bytes());
  auto *bs = reinterpret_cast<const T *>(x[2].bytes());
  T *ys = reinterpret_cast<T *>(y.mutableBytes());
  int64_t count = loops.shape.back(), stepC = loops.strides[0].back(),
          stepA = loops.strides[1].back(), stepB = loops.strides[2].back();
  forEachRow(loops.shape, loops.strides, [&](ArrayRef<int64_t> offsets) {
    const uint8_t *condition = conditions + offsets[0];
    const T *a = as + offsets[1], *b = bs + offsets[2];
    T *to = ys + offsets[3];
    if (stepC == 1 && stepA == 0 && stepB == 0) {
      T first = *a, second = *b;
      for (int64_t i = 0; i < count; ++i)
        to[i] = condition[i] ? first : second;
      return;
    }
    for (int64_t i = 0; i < count; ++i)
      to[i] = condition[i * stepC] ? a[i * stepA] : b[i * stepB];
  });
}

static EvalResult evaluateSelect(const Evaluation &e) {
  if (e.operands[1].getElementType() != e.operands[2].getElementType())
    return e.fail("cannot choose between " + toString(e.operands[1]) + " and " +
                  toString(e.operands[2]));
  EvalResult y = allocateBroadcast(e, e.operands[1].getElementType());
  if (failed(y))
    return y;
  Loops loops = makeLoops(e.operands, y->getShape());
  switch (y->getElementSize()) {
  case 1:
    runSelect<uint8_t>(loops, e.operands, *y);
    break;
  case 2:
    runSelect<uint16_t>(loops, e.operands, *y);
    break;
  case 4:
    runSelect<uint32_t>(loops, e.operands, *y);
    break;
  default:
    runSelect<uint64_t>(loops, e.operands, *y);
  }
  return y;
}

std::optional<EvalResult>
nju::detail::evaluateElementwise(const Evaluation &e) {
  bool isBool =
      !e.operands.empty() && e.operands[0].getElementType().isInteger(1);
  if (isBool && isa<AndOp, OrOp, XorOp>(e.op))
    return evaluateLogical(e);
  if (isa<AddOp, AndOp, CompareOp, DivOp, MaxOp, MinOp, ModOp, MulOp, OrOp,
          PowOp, ShiftLeftOp, ShiftRightOp, SubOp, SwiGLUOp, XorOp>(e.op))
    return evaluateBinary(e);
  if (isa<SelectOp>(e.op))
    return evaluateSelect(e);
  if (isa<CastOp>(e.op)) {
    if (!getHostElementSize(e.resultElementType()))
      return e.allocate(e.resultElementType(), {});
    return e.operands[0].converted(e.resultElementType());
  }
  if (isBool && isa<NotOp>(e.op))
    return evaluateNot(e);
  if (isa<IsInfOp, IsNaNOp>(e.op))
    return evaluateTest(e);
  if (isTranscendental(e.op) || isa<AbsOp, CeilOp, FloorOp, NegOp, NotOp,
                                    ReluOp, RoundOp, SignOp, SqrtOp>(e.op))
    return evaluateUnary(e);
  return std::nullopt;
}
