//===- Experts.cpp - Products of mixtures of experts ----------------------===//
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

/// The numbers of the choices of each expert.
static llvm::Expected<std::vector<std::vector<int64_t>>>
sortChoices(const HostTensor &choices, int64_t experts) {
  std::vector<std::vector<int64_t>> sorted(experts);
  for (int64_t i = 0; i < choices.getNumElements(); ++i) {
    int64_t expert = choices.getInt(i);
    if (expert < 0 || expert >= experts)
      return llvm::createStringError("choice " + llvm::Twine(expert) +
                                     " is none of " + llvm::Twine(experts) +
                                     " experts");
    sorted[expert].push_back(i);
  }
  return sorted;
}

llvm::Expected<HostTensor> nju::executeExperts(
    ExpertLinearOp op, const HostTensor &input, const HostTensor &choices,
    llvm::function_ref<llvm::Expected<WeightMatrix>(int64_t)> read) {
  auto sorted = sortChoices(choices, op.getNumExperts());
  if (!sorted)
    return sorted.takeError();
  int64_t depth = input.getShape().back();
  int64_t columns = op.getType().getShape().back();
  llvm::SmallVector<int64_t> shape(choices.getShape());
  shape.push_back(columns);
  HostTensor result =
      HostTensor::uninitialized(Float32Type::get(op.getContext()), shape);
  const float *from = input.elements<float>().data();
  float *to = result.mutableElements<float>().data();
  int64_t perRow = input.getRank() == 3 ? 1 : choices.getDim(1);
  std::vector<float> x, y;
  for (auto [expert, rows] : llvm::enumerate(*sorted)) {
    if (rows.empty())
      continue;
    llvm::Expected<WeightMatrix> weight = read(expert);
    if (!weight)
      return weight.takeError();
    x.resize(rows.size() * depth);
    y.resize(rows.size() * columns);
    for (auto [i, choice] : llvm::enumerate(rows))
      std::copy_n(from + choice / perRow * depth, depth, &x[i * depth]);
    multiplyMatrices(
        rows.size(), columns, depth, {x.data(), depth},
        [&, weight = *weight](int64_t column, int64_t count, float *panel) {
          weight.writeColumns(column, count, kProductColumns, panel);
        },
        y.data(), columns);
    for (auto [i, choice] : llvm::enumerate(rows))
      std::copy_n(&y[i * columns], columns, to + choice * columns);
  }
  return result;
}
