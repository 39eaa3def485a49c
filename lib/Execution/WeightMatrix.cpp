//===- WeightMatrix.cpp - Weights of a model in memory --------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Execution/WeightMatrix.h"
#include "nju/Dialect/NJU/IR/ModelFolder.h"

#include "nju/Support/HalfFloat.h"

using namespace mlir;
using namespace nju;

//===----------------------------------------------------------------------===//
// Matrices
//===----------------------------------------------------------------------===//

/// Calls `function` with the elements and what makes an f32 of one.
template <typename Function>
static void visitElements(const HostTensor &data, Function function) {
  Type type = data.getElementType();
  if (type.isF16())
    function(data.elements<uint16_t>().data(),
             [](uint16_t value) { return halfToFloat(value); });
  else if (type.isBF16())
    function(data.elements<uint16_t>().data(),
             [](uint16_t value) { return bfloatToFloat(value); });
  else if (type.isF64())
    function(data.elements<double>().data(),
             [](double value) { return static_cast<float>(value); });
  else
    function(data.elements<float>().data(), [](float value) { return value; });
}

/// Columns of a matrix whose columns lie in memory one after the other.
template <typename T, typename Convert>
static void transposeColumns(const T *from, int64_t depth, int64_t count,
                             int64_t width, float *to, Convert convert) {
  // In blocks whose lines stay in the first-level cache, converted as vectors.
  constexpr int64_t kLines = 64;
  float line[kLines];
  for (int64_t begin = 0; begin < depth; begin += kLines) {
    int64_t lines = std::min(kLines, depth - begin);
    for (int64_t j = 0; j < count; ++j) {
      for (int64_t k = 0; k < lines; ++k)
        line[k] = convert(from[j * depth + begin + k]);
      for (int64_t k = 0; k < lines; ++k)
        to[(begin + k) * width + j] = line[k];
    }
  }
}

void WeightMatrix::writeColumns(int64_t column, int64_t count, int64_t width,
                                float *to) const {
  int64_t depth = getDepth(), columns = getColumns();
  if (count < width)
    std::fill(to, to + depth * width, 0.f);
  visitElements(data, [&](auto *elements, auto convert) {
    if (transposed)
      return transposeColumns(elements + column * depth, depth, count, width,
                              to, convert);
    for (int64_t k = 0; k < depth; ++k)
      for (int64_t j = 0; j < count; ++j)
        to[k * width + j] = convert(elements[k * columns + column + j]);
  });
}

void WeightMatrix::writeColumn(int64_t column, float *to) const {
  writeColumns(column, 1, 1, to);
}

//===----------------------------------------------------------------------===//
// Params
//===----------------------------------------------------------------------===//

/// Params of any size are read: what does not fit memory fails there.
static constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

ParamSource::~ParamSource() = default;

FileParamSource::FileParamSource(ModuleOp module)
    : reader(getModelFolder(module)) {}

llvm::Expected<HostTensor> FileParamSource::read(ParamOp param) {
  FailureOr<HostTensor> tensor = reader.read(param, kNoLimit);
  if (failed(tensor))
    return llvm::createStringError(reader.reason());
  return *tensor;
}

llvm::Expected<WeightMatrix> FileParamSource::readMatrix(ParamOp param) {
  FailureOr<HostTensor> tensor = reader.readData(param, kNoLimit);
  if (failed(tensor))
    return llvm::createStringError(reader.reason());
  Type stored = cast<RankedTensorType>(param.getType()).getElementType();
  std::optional<ArrayRef<int64_t>> permutation = param.getPermutation();
  return WeightMatrix(tensor->converted(stored),
                      permutation && *permutation == ArrayRef<int64_t>{1, 0});
}
