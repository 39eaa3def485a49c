//===- MatMul.cpp - Products of large tensors -----------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ExecuteImpl.h"
#include "nju/Execution/ExecuteOp.h"
#include "nju/Support/MatrixProduct.h"

using namespace mlir;
using namespace nju;
using namespace nju::detail;

/// Products of activations: the same leading dimensions on both sides, or a
/// right-hand side without any.
std::optional<HostTensor> nju::detail::executeMatMul(Operation *op,
                                                     ArrayRef<HostTensor> x) {
  if (!isa<MatMulOp>(op) || !areFloats(x) || x[0].getRank() < 2 ||
      x[1].getRank() < 2)
    return std::nullopt;
  ArrayRef<int64_t> left = x[0].getShape(), right = x[1].getShape();
  int64_t depth = left.back(), columns = right.back();
  bool isShared = right.size() == 2;
  if (right[right.size() - 2] != depth ||
      (!isShared && left.drop_back(2) != right.drop_back(2)))
    return std::nullopt;
  llvm::SmallVector<int64_t> shape(left);
  shape.back() = columns;
  HostTensor result = HostTensor::uninitialized(x[0].getElementType(), shape);
  int64_t rows =
      isShared ? x[0].getNumElements() / depth : left[left.size() - 2];
  int64_t count = x[0].getNumElements() / depth / rows;
  const float *a = x[0].elements<float>().data();
  const float *b = x[1].elements<float>().data();
  float *c = result.mutableElements<float>().data();
  for (int64_t i = 0; i < count; ++i)
    multiplyMatrices(rows, columns, depth, {a + i * rows * depth, depth},
                     {b + i * depth * columns, columns}, c + i * rows * columns,
                     columns);
  return result;
}

static llvm::Error refuse(const HostTensor &x, const WeightMatrix &weight) {
  std::string text;
  llvm::raw_string_ostream(text)
      << "cannot multiply " << x.getType() << " with a weight of "
      << weight.getDepth() << " rows and " << weight.getColumns() << " columns";
  return llvm::createStringError(text);
}

llvm::Expected<llvm::SmallVector<HostTensor, 1>>
nju::executeLinear(LinearOp op, ArrayRef<HostTensor> inputs,
                   const WeightMatrix &weight, const HostTensor &bias) {
  int64_t depth = weight.getDepth(), columns = weight.getColumns();
  for (const HostTensor &x : inputs)
    if (!x.getElementType().isF32() || x.getRank() == 0 ||
        x.getShape().back() != depth ||
        (bias &&
         (!bias.getElementType().isF32() || bias.getNumElements() != columns)))
      return refuse(x, weight);
  HostTensor x = joinRows(inputs, depth);
  int64_t rows = x.getNumElements() / std::max<int64_t>(1, depth);
  HostTensor product =
      HostTensor::uninitialized(x.getElementType(), {rows, columns});
  float *y = product.mutableElements<float>().data();
  multiplyMatrices(
      rows, columns, depth, {x.elements<float>().data(), depth},
      [&](int64_t column, int64_t count, float *panel) {
        weight.writeColumns(column, count, kProductColumns, panel);
      },
      y, columns);
  if (bias) {
    const float *addend = bias.elements<float>().data();
    forEachPiece(rows, getRowsPerPiece(columns),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t row = begin; row < end; ++row)
                     for (int64_t i = 0; i < columns; ++i)
                       y[row * columns + i] += addend[i];
                 });
  }
  llvm::SmallVector<HostTensor, 1> results;
  const char *from = product.bytes();
  for (const HostTensor &input : inputs) {
    llvm::SmallVector<int64_t> shape(input.getShape());
    shape.back() = columns;
    if (inputs.size() == 1) {
      results.push_back(product.reshaped(shape));
      break;
    }
    results.push_back(HostTensor::uninitialized(x.getElementType(), shape));
    std::memcpy(results.back().mutableBytes(), from,
                results.back().getNumBytes());
    from += results.back().getNumBytes();
  }
  return results;
}

llvm::Expected<HostTensor> nju::executeEmbedding(EmbeddingOp op,
                                                 const WeightMatrix &weight,
                                                 const HostTensor &indices) {
  int64_t depth = weight.getDepth(), columns = weight.getColumns();
  llvm::SmallVector<int64_t> shape(indices.getShape());
  shape.push_back(depth);
  HostTensor rows =
      HostTensor::uninitialized(Float32Type::get(op.getContext()), shape);
  float *to = rows.mutableElements<float>().data();
  for (int64_t i = 0; i < indices.getNumElements(); ++i) {
    int64_t index = indices.getInt(i);
    if (index < -columns || index >= columns)
      return llvm::createStringError("index " + llvm::Twine(index) +
                                     " is out of range for " +
                                     llvm::Twine(columns) + " rows");
    weight.writeColumn(index < 0 ? index + columns : index, to + i * depth);
  }
  return rows.converted(op.getType().getElementType());
}
