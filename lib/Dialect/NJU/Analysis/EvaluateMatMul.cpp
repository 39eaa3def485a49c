//===- EvaluateMatMul.cpp - Evaluates matrix products -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "EvaluatorImpl.h"
#include <cmath>

using namespace mlir;
using namespace nju;
using namespace nju::detail;

using Shape = llvm::SmallVector<int64_t>;

/// c[m, n] = sum_k a[m, k] * b[k, n], row by row, so that rows of b and c are
/// read one after the other. Integers wrap around.
template <typename T>
static void multiply(const T *a, const T *b, T *c, int64_t m, int64_t k,
                     int64_t n) {
  std::fill(c, c + m * n, T(0));
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < k; ++j)
      for (int64_t l = 0; l < n; ++l)
        c[i * n + l] += a[i * k + j] * b[j * n + l];
}

static EvalResult evaluate(const Evaluation &e, MatMulOp) {
  Shape lhs(e.operands[0].getShape()), rhs(e.operands[1].getShape());
  auto mismatch = [&]() -> EvalResult {
    return e.fail("cannot multiply " + toString(e.operands[0]) + " with " +
                  toString(e.operands[1]));
  };
  Type type = e.operands[0].getElementType();
  if (lhs.empty() || rhs.empty() || e.operands[1].getElementType() != type)
    return mismatch();
  bool isRow = lhs.size() == 1, isColumn = rhs.size() == 1;
  if (isRow)
    lhs.insert(lhs.begin(), 1);
  if (isColumn)
    rhs.push_back(1);
  int64_t m = lhs[lhs.size() - 2], k = lhs.back(), n = rhs.back();
  auto batch = broadcastShapes({ArrayRef<int64_t>(lhs).drop_back(2),
                                ArrayRef<int64_t>(rhs).drop_back(2)});
  if (!batch || rhs[rhs.size() - 2] != k)
    return mismatch();

  // Floats are summed in double; integers as unsigned ones, which wrap around.
  bool isFloat = isa<FloatType>(type);
  Type wide =
      isFloat ? wideType(type)
              : IntegerType::get(type.getContext(), 64, IntegerType::Unsigned);
  Shape full(*batch);
  full.append({m, n});
  EvalResult result = e.allocate(wide, full);
  if (failed(result))
    return result;
  HostTensor a = e.operands[0].converted(wide).reshaped(lhs),
             b = e.operands[1].converted(wide).reshaped(rhs);
  llvm::SmallVector<int64_t> strides[2];
  Shape shape(*batch);
  for (int i = 0; i < 2; ++i) {
    ArrayRef<int64_t> own = i == 0 ? lhs : rhs;
    strides[i] = broadcastStrides(own.drop_back(2), *batch);
    // One more loop, since forEachRow leaves the last one to its body.
    strides[i].push_back(0);
  }
  shape.push_back(1);
  int64_t next = 0;
  forEachRow(shape, strides, [&](ArrayRef<int64_t> offsets) {
    int64_t atA = offsets[0] * m * k, atB = offsets[1] * k * n;
    if (isFloat)
      multiply(a.elements<double>().data() + atA,
               b.elements<double>().data() + atB,
               result->mutableElements<double>().data() + next, m, k, n);
    else
      multiply(a.elements<uint64_t>().data() + atA,
               b.elements<uint64_t>().data() + atB,
               result->mutableElements<uint64_t>().data() + next, m, k, n);
    next += m * n;
  });
  if (isRow)
    full.erase(full.end() - 2);
  if (isColumn)
    full.pop_back();
  return result->reshaped(full).converted(type);
}

static EvalResult evaluate(const Evaluation &e, LinearOp op) {
  const HostTensor &x = e.operands[0];
  Type f32 = Float32Type::get(e.op->getContext());
  HostTensor weight = e.operands[1].converted(f32);
  Shape shape(x.getShape());
  int64_t columns = op.getType().getRank() ? op.getType().getShape().back() : 0;
  if (shape.empty() || weight.getRank() != 3 ||
      weight.getDim(1) != shape.back() || columns < 0 ||
      columns > weight.getDim(0) * weight.getDim(2))
    return e.fail("cannot multiply " + toString(x) + " with " +
                  toString(weight));
  int64_t depth = shape.back(), width = weight.getDim(2);
  shape.back() = columns;
  EvalResult result = e.allocate(f32, shape);
  if (failed(result))
    return result;
  const float *from = x.elements<float>().data(),
              *panels = weight.elements<float>().data();
  float *to = result->mutableElements<float>().data();
  int64_t rows = *countElements(ArrayRef<int64_t>(shape).drop_back());
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t column = 0; column < columns; ++column) {
      const float *panel = panels + column / width * depth * width;
      float sum = 0;
      for (int64_t k = 0; k < depth; ++k)
        sum = std::fma(from[i * depth + k], panel[k * width + column % width],
                       sum);
      if (e.operands.size() > 2)
        sum += e.operands[2].elements<float>()[column];
      to[i * columns + column] = sum;
    }
  return result;
}

std::optional<EvalResult> nju::detail::evaluateMatMul(const Evaluation &e) {
  if (auto op = dyn_cast<MatMulOp>(e.op))
    return evaluate(e, op);
  if (auto op = dyn_cast<LinearOp>(e.op))
    return evaluate(e, op);
  return std::nullopt;
}
