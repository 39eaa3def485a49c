//===- GradientElementwise.cpp - Gradients of element-wise and MLP ops ----===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "EvaluatorImpl.h"
#include "GradientsImpl.h"
#include <cmath>

using namespace mlir;
using namespace nju;
using namespace nju::detail;

//===----------------------------------------------------------------------===//
// Unary ops
//===----------------------------------------------------------------------===//

/// dx = g f'(x, y)
template <typename F>
static LogicalResult runUnary(const GradientRequest &r, F derivative) {
  const float *x = r.operand(0), *y = r.output(), *g = r.incoming();
  float *to = r.target(0);
  for (int64_t i = 0, count = r.gradient.getNumElements(); i < count; ++i)
    to[i] = g[i] * derivative(x[i], y[i]);
  return success();
}

static float logistic(float x) { return 1 / (1 + std::exp(-x)); }

/// d gelu(x) / dx.
static float getGeluSlope(float x, bool tanh) {
  if (tanh) {
    constexpr float kRoot = 0.797884560802865356f; // sqrt(2 / pi)
    float t = std::tanh(kRoot * (x + 0.044715f * x * x * x));
    return 0.5f * (1 + t) +
           0.5f * x * (1 - t * t) * kRoot * (1 + 3 * 0.044715f * x * x);
  }
  constexpr float kDensity = 0.398942280401432678f; // 1 / sqrt(2 pi)
  return 0.5f * (1 + std::erf(x * 0.707106781186547524f)) +
         x * kDensity * std::exp(-0.5f * x * x);
}

static GradientResult runUnary(const GradientRequest &r) {
  using F = float;
  Operation *op = r.op;
  if (isa<AbsOp>(op))
    return runUnary(r, [](F x, F) { return x < 0 ? -1.f : x > 0 ? 1.f : 0.f; });
  if (isa<AtanOp>(op))
    return runUnary(r, [](F x, F) { return 1 / (1 + x * x); });
  if (isa<CastOp>(op))
    return runUnary(r, [](F, F) { return 1.f; });
  if (isa<CosOp>(op))
    return runUnary(r, [](F x, F) { return -std::sin(x); });
  if (isa<ErfOp>(op))
    return runUnary(r, [](F x, F) {
      return 1.12837916709551257f * std::exp(-x * x); // 2 / sqrt(pi)
    });
  if (isa<ExpOp>(op))
    return runUnary(r, [](F, F y) { return y; });
  if (auto gelu = dyn_cast<GeluOp>(op))
    return runUnary(
        r, [tanh = gelu.getTanh()](F x, F) { return getGeluSlope(x, tanh); });
  if (isa<LogOp>(op))
    return runUnary(r, [](F x, F) { return 1 / x; });
  if (isa<NegOp>(op))
    return runUnary(r, [](F, F) { return -1.f; });
  if (isa<ReciprocalOp>(op))
    return runUnary(r, [](F, F y) { return -y * y; });
  if (isa<ReluOp>(op))
    return runUnary(r, [](F x, F) { return x > 0 ? 1.f : 0.f; });
  if (isa<RsqrtOp>(op))
    return runUnary(r, [](F x, F y) { return -0.5f * y / x; });
  if (isa<SigmoidOp>(op))
    return runUnary(r, [](F, F y) { return y * (1 - y); });
  if (isa<SiluOp>(op))
    return runUnary(r, [](F x, F) {
      float s = logistic(x);
      return s * (1 + x * (1 - s));
    });
  if (isa<SinOp>(op))
    return runUnary(r, [](F x, F) { return std::cos(x); });
  if (isa<SoftplusOp>(op))
    return runUnary(r, [](F x, F) { return logistic(x); });
  if (isa<SqrtOp>(op))
    return runUnary(r, [](F, F y) { return 0.5f / y; });
  if (isa<TanhOp>(op))
    return runUnary(r, [](F, F y) { return 1 - y * y; });
  return std::nullopt;
}

//===----------------------------------------------------------------------===//
// Several operands
//===----------------------------------------------------------------------===//

/// da += g f(a, b), db += g h(a, b), broadcast.
template <typename F, typename H>
static LogicalResult runBinary(const GradientRequest &r, F f, H h) {
  SmallVector<int64_t> shape(r.result.getShape());
  SmallVector<int64_t> strides[3] = {
      broadcastStrides(r.operands[0].getShape(), shape),
      broadcastStrides(r.operands[1].getShape(), shape),
      rowMajorStrides(shape)};
  collapseLoops(shape, strides);
  const float *as = r.operand(0), *bs = r.operand(1), *gs = r.incoming();
  float *das = r.target(0), *dbs = r.target(1);
  int64_t count = shape.back(), stepA = strides[0].back(),
          stepB = strides[1].back();
  forEachRow(shape, strides, [&](ArrayRef<int64_t> offsets) {
    const float *a = as + offsets[0], *b = bs + offsets[1],
                *g = gs + offsets[2];
    if (das)
      for (int64_t i = 0; i < count; ++i)
        das[offsets[0] + i * stepA] += g[i] * f(a[i * stepA], b[i * stepB]);
    if (dbs)
      for (int64_t i = 0; i < count; ++i)
        dbs[offsets[1] + i * stepB] += g[i] * h(a[i * stepA], b[i * stepB]);
  });
  return success();
}

static GradientResult runBinary(const GradientRequest &r) {
  using F = float;
  auto one = [](F, F) { return 1.f; };
  if (isa<AddOp>(r.op))
    return runBinary(r, one, one);
  if (isa<SubOp>(r.op))
    return runBinary(r, one, [](F, F) { return -1.f; });
  if (isa<MulOp>(r.op))
    return runBinary(r, [](F, F b) { return b; }, [](F a, F) { return a; });
  if (isa<DivOp>(r.op))
    return runBinary(
        r, [](F, F b) { return 1 / b; }, [](F a, F b) { return -a / (b * b); });
  if (isa<PowOp>(r.op))
    return runBinary(
        r, [](F a, F b) { return b * std::pow(a, b - 1); },
        [](F, F) { return 0.f; });
  // Where both are equal, the first one counts.
  if (isa<MaxOp>(r.op))
    return runBinary(
        r, [](F a, F b) { return a >= b ? 1.f : 0.f; },
        [](F a, F b) { return a >= b ? 0.f : 1.f; });
  if (isa<MinOp>(r.op))
    return runBinary(
        r, [](F a, F b) { return a <= b ? 1.f : 0.f; },
        [](F a, F b) { return a <= b ? 0.f : 1.f; });
  if (isa<SwiGLUOp>(r.op))
    return runBinary(
        r,
        [](F a, F b) {
          float s = logistic(a);
          return b * s * (1 + a * (1 - s));
        },
        [](F a, F) { return a * logistic(a); });
  return std::nullopt;
}

static LogicalResult runSelect(const GradientRequest &r) {
  SmallVector<int64_t> shape(r.result.getShape());
  SmallVector<int64_t> strides[4] = {
      broadcastStrides(r.operands[0].getShape(), shape),
      broadcastStrides(r.operands[1].getShape(), shape),
      broadcastStrides(r.operands[2].getShape(), shape),
      rowMajorStrides(shape)};
  collapseLoops(shape, strides);
  const bool *condition = r.operands[0].elements<bool>().data();
  const float *g = r.incoming();
  float *targets[2] = {r.target(1), r.target(2)};
  forEachRow(shape, strides, [&](ArrayRef<int64_t> offsets) {
    for (int64_t i = 0; i < shape.back(); ++i) {
      int side = condition[offsets[0] + i * strides[0].back()] ? 0 : 1;
      if (targets[side])
        targets[side][offsets[1 + side] + i * strides[1 + side].back()] +=
            g[offsets[3] + i];
    }
  });
  return success();
}

GradientResult nju::detail::gradientElementwise(const GradientRequest &r) {
  if (isa<SelectOp>(r.op))
    return runSelect(r);
  if (GradientResult done = runBinary(r))
    return done;
  return runUnary(r);
}
