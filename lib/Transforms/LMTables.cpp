//===- LMTables.cpp - Values that depend on the position only -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "LMStep.h"
#include "nju/Dialect/NJU/Analysis/ParamReader.h"
#include <cmath>

using namespace mlir;
using namespace nju;

PositionTables::PositionTables(LMGraph &graph, int64_t maxTokens)
    : graph(graph), maxTokens(maxTokens),
      lengths(graph.sampleLengths(maxTokens)) {
  for (LMLength length : lengths)
    evaluators.push_back(graph.createEvaluator(length));
}

/// The value for one length, with the dimension of the tokens first.
FailureOr<HostTensor> PositionTables::rowsAt(Value value, unsigned sample,
                                             std::optional<int64_t> axis) {
  Evaluator &evaluator = *evaluators[sample];
  FailureOr<HostTensor> tensor = evaluator.evaluate(value);
  if (failed(tensor))
    return graph.refuse(value.getLoc(),
                        "a positional value cannot be computed for " +
                            Twine(lengths[sample].tokens) +
                            " tokens: " + evaluator.reason());
  if (!axis || *axis == 0)
    return tensor;
  SmallVector<int64_t> permutation = {*axis};
  for (int64_t i = 0; i < tensor->getRank(); ++i)
    if (i != *axis)
      permutation.push_back(i);
  return permuteDimensions(*tensor, permutation);
}

static bool isClose(const HostTensor &a, int64_t i, const HostTensor &b,
                    int64_t j) {
  if (!isa<FloatType>(a.getElementType()))
    return a.getInt(i) == b.getInt(j);
  double x = a.getFloat(i), y = b.getFloat(j);
  return x == y || std::abs(x - y) <= 1e-6 * std::max(1.0, std::abs(x));
}

/// Row p is p plus the result.
static std::optional<int64_t> findOffset(const HostTensor &rows) {
  if (isa<FloatType>(rows.getElementType()) ||
      rows.getElementType().isInteger(1) ||
      rows.getNumElements() != rows.getDim(0))
    return std::nullopt;
  int64_t offset = rows.getInt(0);
  for (int64_t i = 0; i < rows.getDim(0); ++i)
    if (rows.getInt(i) != i + offset)
      return std::nullopt;
  return offset;
}

FailureOr<PositionTables::Table> PositionTables::make(Value value) {
  Table table;
  if (!graph.hasStaticShape(value)) {
    table.axis = graph.tokenAxis(value);
    if (!table.axis)
      return graph.refuse(value.getLoc(), "a positional value has no rows");
  }
  FailureOr<HostTensor> all = rowsAt(value, 0, table.axis);
  if (failed(all))
    return failure();
  table.elements = *all;
  int64_t width = all->getNumElements() / (table.axis ? maxTokens : 1);
  for (auto [i, length] : llvm::enumerate(lengths)) {
    FailureOr<HostTensor> some = rowsAt(value, i, table.axis);
    if (failed(some))
      return failure();
    int64_t first = table.axis ? length.past * width : 0;
    bool same =
        some->getNumElements() == (table.axis ? length.tokens * width : width);
    for (int64_t j = 0; same && j < some->getNumElements(); ++j)
      same = isClose(*all, first + j, *some, j);
    if (!same)
      return graph.refuse(
          value.getLoc(),
          "a value depends on more than its token's position (" +
              Twine(length.tokens) + " tokens after " + Twine(length.past) +
              ")");
  }
  if (table.axis)
    table.offset = findOffset(table.elements);
  return table;
}

FailureOr<const PositionTables::Table *> PositionTables::get(Value value) {
  std::unique_ptr<Table> &table = tables[value];
  if (!table) {
    FailureOr<Table> made = make(value);
    if (failed(made))
      return failure();
    table = std::make_unique<Table>(std::move(*made));
  }
  return table.get();
}
