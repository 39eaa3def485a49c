//===- GradientShape.cpp - Gradients of data movement ---------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "EvaluatorImpl.h"
#include "GradientsImpl.h"
#include "SliceBounds.h"
#include "nju/Dialect/NJU/Analysis/ParamReader.h"

using namespace mlir;
using namespace nju;
using namespace nju::detail;

using Shape = SmallVector<int64_t>;

/// The transposed gradient of a transposition.
static LogicalResult runTranspose(const GradientRequest &r, TransposeOp op) {
  ArrayRef<int64_t> permutation = op.getPermutation();
  Shape inverse(permutation.size());
  for (auto [i, dim] : llvm::enumerate(permutation))
    inverse[dim] = i;
  r.results[0] = permuteDimensions(r.gradient, inverse);
  return success();
}

/// Adds what lies at `shape` with `strides` of the gradient and of the target.
static void addStrided(const GradientRequest &r, Shape shape, Shape from,
                       Shape to) {
  Shape strides[2] = {std::move(from), std::move(to)};
  collapseLoops(shape, strides);
  const float *g = r.incoming();
  float *target = r.target(0);
  forEachRow(shape, strides, [&](ArrayRef<int64_t> offsets) {
    for (int64_t i = 0; i < shape.back(); ++i)
      target[offsets[1] + i * strides[1].back()] +=
          g[offsets[0] + i * strides[0].back()];
  });
}

static LogicalResult runBroadcast(const GradientRequest &r) {
  Shape shape(r.result.getShape());
  addStrided(r, shape, rowMajorStrides(shape),
             broadcastStrides(r.operands[0].getShape(), shape));
  return success();
}

/// Each dimension becomes two: the repetitions, which the target does not step
/// through, and the dimension itself.
static LogicalResult runTile(const GradientRequest &r) {
  ArrayRef<int64_t> dims = r.operands[0].getShape(),
                    whole = r.result.getShape();
  Shape own = rowMajorStrides(dims), shape, to;
  for (auto [i, dim] : llvm::enumerate(dims)) {
    shape.append({dim == 0 ? 0 : whole[i] / dim, dim});
    to.append({0, own[i]});
  }
  addStrided(r, shape, rowMajorStrides(shape), to);
  return success();
}

static LogicalResult runSlice(const GradientRequest &r, SliceOp op) {
  const HostTensor &input = r.operands[0];
  Shape shape(r.result.getShape()), strides = rowMajorStrides(input.getShape());
  int64_t offset = 0;
  for (auto [i, axis] : llvm::enumerate(op.getAxes())) {
    int64_t step = r.operands[3].getInt(i);
    ResolvedSlice slice =
        resolveSlice(r.operands[1].getInt(i), r.operands[2].getInt(i), step,
                     input.getDim(axis));
    offset += slice.first * strides[axis];
    strides[axis] *= step;
  }
  if (r.result.getNumElements() > 0)
    copyStrided(sizeof(float), shape, r.gradient.bytes(),
                rowMajorStrides(shape),
                reinterpret_cast<char *>(r.target(0) + offset), strides);
  return success();
}

static LogicalResult runConcat(const GradientRequest &r, ConcatOp op) {
  int64_t axis = op.getAxis();
  Shape from = rowMajorStrides(r.result.getShape());
  if (axis < 0)
    axis += r.result.getRank();
  int64_t offset = 0;
  for (auto [i, operand] : llvm::enumerate(r.operands)) {
    if (r.wanted[i] && operand.getNumElements() > 0)
      copyStrided(sizeof(float), operand.getShape(),
                  reinterpret_cast<const char *>(r.incoming() + offset), from,
                  r.results[i].mutableBytes(),
                  rowMajorStrides(operand.getShape()));
    offset += operand.getDim(axis) * from[axis];
  }
  return success();
}

GradientResult nju::detail::gradientShape(const GradientRequest &r) {
  if (isa<ReshapeOp, SqueezeOp, UnsqueezeOp>(r.op)) {
    r.results[0] = r.gradient.reshaped(r.operands[0].getShape());
    return success();
  }
  if (auto op = dyn_cast<TransposeOp>(r.op))
    return runTranspose(r, op);
  if (isa<BroadcastToOp>(r.op))
    return runBroadcast(r);
  if (isa<TileOp>(r.op))
    return runTile(r);
  if (auto op = dyn_cast<SliceOp>(r.op))
    return runSlice(r, op);
  if (auto op = dyn_cast<ConcatOp>(r.op))
    return runConcat(r, op);
  return std::nullopt;
}
