//===- EvaluateReduction.cpp - Evaluates reductions, softmax and running sums
//-*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "EvaluatorImpl.h"
#include "nju/Dialect/NJU/Analysis/ParamReader.h"
#include "llvm/ADT/TypeSwitch.h"
#include <cmath>
#include <numeric>

using namespace mlir;
using namespace nju;
using namespace nju::detail;

using Shape = llvm::SmallVector<int64_t>;

/// The operand in f64 or 64-bit integers, with some dimensions moved to the
/// end: a matrix of rows to be reduced.
namespace {
struct Rows {
  HostTensor data;
  /// Where each dimension of `data` comes from.
  Shape permutation;
  int64_t rows, columns;
};
} // namespace

static Rows makeRows(const HostTensor &input, ArrayRef<int64_t> axes) {
  Rows result;
  for (int64_t dim = 0; dim < input.getRank(); ++dim)
    if (!llvm::is_contained(axes, dim))
      result.permutation.push_back(dim);
  result.permutation.append(axes.begin(), axes.end());
  result.data = permuteDimensions(
      input.converted(wideType(input.getElementType())), result.permutation);
  ArrayRef<int64_t> shape = result.data.getShape();
  result.columns = *countElements(shape.take_back(axes.size()));
  result.rows = *countElements(shape.drop_back(axes.size()));
  return result;
}

/// Puts the dimensions back in their places.
static HostTensor unpermute(const HostTensor &data,
                            ArrayRef<int64_t> permutation) {
  Shape inverse(permutation.size());
  for (auto [i, dim] : llvm::enumerate(permutation))
    inverse[dim] = i;
  return permuteDimensions(data, inverse);
}

static Shape reducedShape(ArrayRef<int64_t> shape, ArrayRef<int64_t> axes,
                          bool keepDims) {
  Shape result;
  for (auto [i, size] : llvm::enumerate(shape)) {
    if (!llvm::is_contained(axes, static_cast<int64_t>(i)))
      result.push_back(size);
    else if (keepDims)
      result.push_back(1);
  }
  return result;
}

template <typename F>
static auto visitWide(Type type, F &&f) {
  if (type.isF64())
    return f(double());
  return type.isUnsignedInteger() ? f(uint64_t()) : f(int64_t());
}

//===----------------------------------------------------------------------===//
// Reductions
//===----------------------------------------------------------------------===//

/// What the reduction of nothing gives.
template <typename T>
static T extreme(bool largest) {
  using Limits = std::numeric_limits<T>;
  if constexpr (Limits::has_infinity)
    return largest ? Limits::infinity() : -Limits::infinity();
  return largest ? Limits::max() : Limits::min();
}

template <typename T>
static T reduceRow(Operation *op, ArrayRef<T> row) {
  using U = std::conditional_t<std::is_same_v<T, int64_t>, uint64_t, T>;
  if (isa<ReduceMaxOp, ReduceMinOp>(op)) {
    bool larger = isa<ReduceMaxOp>(op);
    T result = row.empty() ? extreme<T>(!larger) : row[0];
    for (T value : row)
      result = pick(result, value, larger);
    return result;
  }
  bool multiplies = isa<ReduceProdOp>(op);
  U result = multiplies ? 1 : 0;
  for (T value : row)
    result = multiplies ? result * U(value) : result + U(value);
  if (!isa<ReduceMeanOp>(op))
    return static_cast<T>(result);
  if (!std::is_floating_point_v<T> && row.empty())
    return 0;
  return static_cast<T>(result) / static_cast<T>(row.size());
}

static EvalResult evaluateReduce(const Evaluation &e, ArrayRef<int64_t> axes,
                                 bool keepDims) {
  const HostTensor &input = e.operands[0];
  for (int64_t axis : axes)
    if (failed(e.checkAxis(axis, input.getRank())))
      return failure();
  Rows rows = makeRows(input, axes);
  Type wide = rows.data.getElementType();
  EvalResult result =
      e.allocate(wide, reducedShape(input.getShape(), axes, keepDims));
  if (failed(result))
    return result;
  visitWide(wide, [&](auto zero) {
    using T = decltype(zero);
    ArrayRef<T> from = rows.data.elements<T>();
    llvm::MutableArrayRef<T> to = result->mutableElements<T>();
    for (int64_t i = 0; i < rows.rows; ++i)
      to[i] = reduceRow(e.op, from.slice(i * rows.columns, rows.columns));
  });
  return result->converted(input.getElementType());
}

/// Index of the largest (smallest) element; a NaN counts as the one.
template <typename T>
static int64_t findExtreme(ArrayRef<T> row, bool larger, bool last) {
  int64_t best = 0;
  for (int64_t i = 1, size = row.size(); i < size; ++i) {
    T a = row[best], b = row[i];
    bool better = b != b ? a == a : (larger ? b > a : b < a);
    bool equal = a == b || (a != a && b != b);
    if (better || (last && equal))
      best = i;
  }
  return best;
}

static EvalResult evaluateArg(const Evaluation &e, int64_t axis, bool keepDims,
                              bool larger, bool last) {
  const HostTensor &input = e.operands[0];
  if (failed(e.checkAxis(axis, input.getRank())))
    return failure();
  EvalResult result = e.allocate(
      e.resultElementType(), reducedShape(input.getShape(), axis, keepDims));
  if (failed(result))
    return result;
  Rows rows = makeRows(input, axis);
  if (rows.columns == 0 && rows.rows > 0)
    return e.fail("an empty dimension has no largest or smallest element");
  llvm::MutableArrayRef<int64_t> to = result->mutableElements<int64_t>();
  visitWide(rows.data.getElementType(), [&](auto zero) {
    using T = decltype(zero);
    ArrayRef<T> from = rows.data.elements<T>();
    for (int64_t i = 0; i < rows.rows; ++i)
      to[i] =
          findExtreme(from.slice(i * rows.columns, rows.columns), larger, last);
  });
  return result;
}

/// Whether an element comes before another among the largest (smallest).
template <typename T>
static bool precedes(T a, T b, bool least) {
  if (a != a || b != b)
    return least ? a == a && b != b : a != a && b == b;
  return least ? a < b : a > b;
}

static EvalResult evaluate(const Evaluation &e, TopKOp op) {
  const HostTensor &input = e.operands[0];
  int64_t count = op.getCount();
  if (failed(e.checkAxis(op.getAxis(), input.getRank())))
    return failure();
  if (count < 0 || count > input.getDim(op.getAxis()))
    return e.fail("cannot choose " + std::to_string(count) + " elements of " +
                  toString(input));
  Rows rows = makeRows(input, op.getAxis());
  Shape shape(rows.data.getShape());
  shape.back() = count;
  EvalResult result = e.allocate(e.resultElementType(), shape);
  if (failed(result))
    return result;
  llvm::MutableArrayRef<int64_t> to = result->mutableElements<int64_t>();
  visitWide(rows.data.getElementType(), [&](auto zero) {
    using T = decltype(zero);
    for (int64_t i = 0; i < rows.rows; ++i) {
      ArrayRef<T> row =
          rows.data.elements<T>().slice(i * rows.columns, rows.columns);
      std::vector<int64_t> order(row.size());
      std::iota(order.begin(), order.end(), 0);
      llvm::sort(order, [&](int64_t a, int64_t b) {
        bool before = precedes(row[a], row[b], op.getLeast());
        bool after = precedes(row[b], row[a], op.getLeast());
        return before || (!after && a < b);
      });
      std::copy_n(order.begin(), count, to.begin() + i * count);
    }
  });
  return unpermute(*result, rows.permutation);
}

//===----------------------------------------------------------------------===//
// Softmax and running sums
//===----------------------------------------------------------------------===//

static void softmaxRow(llvm::MutableArrayRef<double> row, bool log) {
  double largest = -std::numeric_limits<double>::infinity(), sum = 0;
  for (double value : row)
    largest = pick(largest, value, true);
  for (double value : row)
    sum += std::exp(value - largest);
  for (double &value : row)
    value =
        log ? value - largest - std::log(sum) : std::exp(value - largest) / sum;
}

static EvalResult evaluate(const Evaluation &e, SoftmaxOp op) {
  const HostTensor &input = e.operands[0];
  if (failed(e.checkAxis(op.getAxis(), input.getRank())))
    return failure();
  if (!isa<FloatType>(input.getElementType()))
    return e.fail("softmax of " + toString(input) + ", expected floats");
  Rows rows = makeRows(input, op.getAxis());
  llvm::MutableArrayRef<double> data = rows.data.mutableElements<double>();
  for (int64_t i = 0; i < rows.rows; ++i)
    softmaxRow(data.slice(i * rows.columns, rows.columns), op.getLog());
  return unpermute(rows.data, rows.permutation)
      .converted(input.getElementType());
}

template <typename T>
static void cumulate(llvm::MutableArrayRef<T> row, bool exclusive,
                     bool reverse) {
  using U = std::conditional_t<std::is_same_v<T, int64_t>, uint64_t, T>;
  U sum = 0;
  for (size_t i = 0; i < row.size(); ++i) {
    T &value = row[reverse ? row.size() - 1 - i : i];
    U next = sum + U(value);
    value = static_cast<T>(exclusive ? sum : next);
    sum = next;
  }
}

static EvalResult evaluate(const Evaluation &e, CumSumOp op) {
  const HostTensor &input = e.operands[0];
  if (failed(e.checkAxis(op.getAxis(), input.getRank())))
    return failure();
  Rows rows = makeRows(input, op.getAxis());
  visitWide(rows.data.getElementType(), [&](auto zero) {
    using T = decltype(zero);
    llvm::MutableArrayRef<T> data = rows.data.mutableElements<T>();
    for (int64_t i = 0; i < rows.rows; ++i)
      cumulate(data.slice(i * rows.columns, rows.columns), op.getExclusive(),
               op.getReverse());
  });
  return unpermute(rows.data, rows.permutation)
      .converted(input.getElementType());
}

std::optional<EvalResult> nju::detail::evaluateReduction(const Evaluation &e) {
  using Result = std::optional<EvalResult>;
  return llvm::TypeSwitch<Operation *, Result>(e.op)
      .Case<ReduceMaxOp, ReduceMeanOp, ReduceMinOp, ReduceProdOp, ReduceSumOp>(
          [&](auto op) -> Result {
            return evaluateReduce(e, op.getAxes(), op.getKeepDims());
          })
      .Case<ArgMaxOp, ArgMinOp>([&](auto op) -> Result {
        return evaluateArg(e, op.getAxis(), op.getKeepDims(),
                           isa<ArgMaxOp>(e.op), op.getLast());
      })
      .Case<CumSumOp, SoftmaxOp, TopKOp>(
          [&](auto op) -> Result { return evaluate(e, op); })
      .Default([](Operation *) { return Result(); });
}
