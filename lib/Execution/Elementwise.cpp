//===- Elementwise.cpp - Element-wise ops on large tensors ----------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ExecuteImpl.h"
#include "nju/Support/Exponential.h"
#include "llvm/ADT/TypeSwitch.h"
#include <cmath>

using namespace mlir;
using namespace nju;
using namespace nju::detail;

/// y = f(x), element by element; written to `room`, which may be x, if it is
/// not null.
template <typename Function>
static HostTensor map(const HostTensor &x, const HostTensor *room,
                      Function function) {
  HostTensor y =
      room ? *room
           : HostTensor::uninitialized(x.getElementType(), x.getShape());
  const float *from = x.elements<float>().data();
  float *to = y.mutableElements<float>().data();
  forEachPiece(x.getNumElements(), int64_t(1) << 15,
               [&](int64_t begin, int64_t end) {
                 for (int64_t i = begin; i < end; ++i)
                   to[i] = function(from[i]);
               });
  return y;
}

/// y = f(a, b), b being repeated for each of the rows of as many elements;
/// written to `room`, which may be a or b, if it is not null.
template <typename Function>
static HostTensor mapRows(const HostTensor &a, const HostTensor &b,
                          const HostTensor *room, Function function) {
  HostTensor y =
      room ? *room
           : HostTensor::uninitialized(a.getElementType(), a.getShape());
  const float *left = a.elements<float>().data();
  const float *right = b.elements<float>().data();
  float *to = y.mutableElements<float>().data();
  int64_t width = b.getNumElements(), count = a.getNumElements();
  if (width == 1 || width == count) {
    forEachPiece(count, int64_t(1) << 15, [&](int64_t begin, int64_t end) {
      if (width == 1)
        for (int64_t i = begin; i < end; ++i)
          to[i] = function(left[i], *right);
      else
        for (int64_t i = begin; i < end; ++i)
          to[i] = function(left[i], right[i]);
    });
    return y;
  }
  forEachPiece(
      count / width, getRowsPerPiece(width), [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row)
          for (int64_t i = 0; i < width; ++i)
            to[row * width + i] = function(left[row * width + i], right[i]);
      });
  return y;
}

static float silu(float x) { return x / (1.f + exponential(-x)); }

static float gelu(float x) {
  return 0.5f * x * (1.f + std::erf(x * 0.70710678118654752440f));
}

static float geluByTanh(float x) {
  constexpr float kRoot = 0.79788456080286535588f; // sqrt(2 / pi)
  return 0.5f * x * (1.f + std::tanh(kRoot * (x + 0.044715f * x * x * x)));
}

static std::optional<HostTensor>
executeUnary(Operation *op, const HostTensor &x, const HostTensor *room) {
  if (auto gelu = dyn_cast<GeluOp>(op))
    return gelu.getTanh() ? map(x, room, geluByTanh) : map(x, room, ::gelu);
  return llvm::TypeSwitch<Operation *, std::optional<HostTensor>>(op)
      .Case<ErfOp>([&](auto) {
        return map(x, room, [](float v) { return std::erf(v); });
      })
      .Case<ExpOp>([&](auto) {
        return map(x, room, [](float v) { return std::exp(v); });
      })
      .Case<NegOp>(
          [&](auto) { return map(x, room, [](float v) { return -v; }); })
      .Case<ReluOp>([&](auto) {
        return map(x, room, [](float v) { return v < 0.f ? 0.f : v; });
      })
      .Case<SigmoidOp>([&](auto) {
        return map(x, room,
                   [](float v) { return 1.f / (1.f + exponential(-v)); });
      })
      .Case<SiluOp>([&](auto) { return map(x, room, silu); })
      .Case<TanhOp>([&](auto) {
        return map(x, room, [](float v) { return std::tanh(v); });
      })
      .Default([](Operation *) { return std::nullopt; });
}

/// a and b may be exchanged if `isSwapped` says so; the function knows.
static std::optional<HostTensor>
executeBinary(Operation *op, const HostTensor &a, const HostTensor &b,
              bool isSwapped, const HostTensor *room) {
  if (isa<AddOp>(op))
    return mapRows(a, b, room, [](float x, float y) { return x + y; });
  if (isa<MulOp>(op))
    return mapRows(a, b, room, [](float x, float y) { return x * y; });
  if (isa<SubOp>(op))
    return isSwapped
               ? mapRows(a, b, room, [](float x, float y) { return y - x; })
               : mapRows(a, b, room, [](float x, float y) { return x - y; });
  if (isa<DivOp>(op))
    return isSwapped
               ? mapRows(a, b, room, [](float x, float y) { return y / x; })
               : mapRows(a, b, room, [](float x, float y) { return x / y; });
  if (isa<SwiGLUOp>(op) && !isSwapped)
    return mapRows(a, b, room, [](float x, float y) { return silu(x) * y; });
  return std::nullopt;
}

/// True if `b` is repeated for the leading dimensions of `a`.
static bool isRowOf(const HostTensor &b, const HostTensor &a) {
  ArrayRef<int64_t> inner = b.getShape();
  while (!inner.empty() && inner.front() == 1)
    inner = inner.drop_front();
  return b.getRank() <= a.getRank() &&
         inner == a.getShape().take_back(inner.size());
}

std::optional<HostTensor>
nju::detail::executeElementwise(Operation *op, ArrayRef<HostTensor> x,
                                const HostTensor *room) {
  if (!areFloats(x))
    return std::nullopt;
  if (x.size() == 1)
    return executeUnary(op, x[0], room);
  if (x.size() != 2 || !isa<AddOp, DivOp, MulOp, SubOp, SwiGLUOp>(op))
    return std::nullopt;
  bool isSwapped = !isRowOf(x[1], x[0]);
  if (isSwapped && !isRowOf(x[0], x[1]))
    return std::nullopt;
  const HostTensor &all = x[isSwapped ? 1 : 0], &row = x[isSwapped ? 0 : 1];
  if (room && room->getShape() != all.getShape())
    room = nullptr;
  return executeBinary(op, all, row, isSwapped, room);
}
