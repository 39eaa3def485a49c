//===- Einsum.cpp - Einstein sums of ONNX -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// An Einsum becomes transposes, sums and matrix products, two operands at a
// time from left to right.
#include "NodeImporter.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace nju;
using namespace nju::onnx_import;

namespace {
/// A letter, or kEllipsis + i for the i-th dimension of an ellipsis, counted
/// from the last.
using Label = int64_t;
using Labels = SmallVector<Label>;
constexpr Label kEllipsis = 256;

struct Term {
  Value value;
  Labels labels;
};

class Einsum {
public:
  explicit Einsum(NodeImporter &node) : node(node) {}

  /// Emits `equation`; returns null after an error.
  Value emit(llvm::StringRef equation, ArrayRef<Value> operands);

private:
  bool parseTerm(llvm::StringRef text, Value value, Term &term);
  std::optional<Labels> parseOutput(llvm::StringRef text);
  Labels implicitOutput();
  Term sumOut(const Term &term, const llvm::SmallSetVector<Label, 8> &kept);
  Term contract(const Term &lhs, const Term &rhs,
                const llvm::SmallSetVector<Label, 8> &kept);
  Value arrange(const Term &term, ArrayRef<Label> order);
  Value mergedDim(Value value, int64_t begin, int64_t end);
  Value toMatrices(Value value, int64_t numBatch, int64_t numRows);

  NodeImporter &node;
  SmallVector<Term> terms;
  int64_t ellipsisRank = 0;
};
} // namespace

bool Einsum::parseTerm(llvm::StringRef text, Value value, Term &term) {
  term.value = value;
  auto [before, after] = text.split("...");
  bool hasEllipsis = text.contains("...");
  auto numLetters = static_cast<int64_t>(text.size()) - (hasEllipsis ? 3 : 0);
  int64_t rank = node.rank(value);
  if (hasEllipsis ? numLetters > rank : numLetters != rank) {
    node.emitError() << "has the term '" << text << "' for an operand of "
                     << value.getType() << ", expected a label a dimension";
    return false;
  }
  term.labels.assign(before.begin(), before.end());
  int64_t extra = rank - numLetters;
  for (int64_t i = extra; i-- > 0;)
    term.labels.push_back(kEllipsis + i);
  ellipsisRank = std::max(ellipsisRank, extra);
  term.labels.append(after.begin(), after.end());
  llvm::SmallSetVector<Label, 8> unique(term.labels.begin(), term.labels.end());
  bool areLetters = llvm::all_of(term.labels, [](Label label) {
    return label >= kEllipsis || llvm::isAlpha(static_cast<char>(label));
  });
  if (unique.size() == term.labels.size() && areLetters)
    return true;
  node.emitError() << "has the term '" << text
                   << "', expected different letters";
  return false;
}

std::optional<Labels> Einsum::parseOutput(llvm::StringRef text) {
  Labels output;
  auto [before, after] = text.split("...");
  output.assign(before.begin(), before.end());
  if (text.contains("..."))
    for (int64_t i = ellipsisRank; i-- > 0;)
      output.push_back(kEllipsis + i);
  output.append(after.begin(), after.end());
  llvm::SmallSetVector<Label, 8> unique(output.begin(), output.end());
  bool areKnown = llvm::all_of(output, [&](Label label) {
    return llvm::any_of(terms, [&](const Term &term) {
      return llvm::is_contained(term.labels, label);
    });
  });
  if (areKnown && unique.size() == output.size())
    return output;
  node.emitError() << "has the output term '" << text
                   << "', expected different labels of the operands";
  return std::nullopt;
}

/// Without "->": the dimensions of the ellipsis and then the letters that occur
/// once, in alphabetical order.
Labels Einsum::implicitOutput() {
  Labels output, letters;
  for (int64_t i = ellipsisRank; i-- > 0;)
    output.push_back(kEllipsis + i);
  llvm::DenseMap<Label, int> counts;
  for (const Term &term : terms)
    for (Label label : term.labels)
      if (label < kEllipsis && ++counts[label] == 1)
        letters.push_back(label);
  llvm::sort(letters);
  for (Label letter : letters)
    if (counts[letter] == 1)
      output.push_back(letter);
  return output;
}

/// Sums over the labels of one term that nobody else needs.
Term Einsum::sumOut(const Term &term,
                    const llvm::SmallSetVector<Label, 8> &kept) {
  Term result;
  SmallVector<int64_t> axes;
  for (auto [i, label] : llvm::enumerate(term.labels)) {
    if (kept.contains(label))
      result.labels.push_back(label);
    else
      axes.push_back(static_cast<int64_t>(i));
  }
  result.value = node.reduce<ReduceSumOp>(term.value, axes, false);
  return result;
}

Value Einsum::arrange(const Term &term, ArrayRef<Label> order) {
  SmallVector<int64_t> permutation;
  for (Label label : order)
    permutation.push_back(llvm::find(term.labels, label) - term.labels.begin());
  return node.transpose(term.value, permutation);
}

/// The product of some dimensions as an i64 vector of one element.
Value Einsum::mergedDim(Value value, int64_t begin, int64_t end) {
  if (begin == end)
    return node.constant({1});
  if (end - begin == 1)
    return node.dimVector(value, begin);
  return node.reduce<ReduceProdOp>(
      node.slice(node.shapeOf(value), 0, begin, end), {0}, true);
}

/// Merges the dimensions behind the batch dimensions into rows and columns.
Value Einsum::toMatrices(Value value, int64_t numBatch, int64_t numRows) {
  int64_t rank = node.rank(value), split = numBatch + numRows;
  if (!value || (numRows == 1 && rank - split == 1))
    return value;
  SmallVector<Value> shape;
  for (int64_t i = 0; i < numBatch; ++i)
    shape.push_back(node.dimVector(value, i));
  shape.push_back(mergedDim(value, numBatch, split));
  shape.push_back(mergedDim(value, split, rank));
  return node.reshape(value, shape);
}

Term Einsum::contract(const Term &lhs, const Term &rhs,
                      const llvm::SmallSetVector<Label, 8> &kept) {
  Labels batch, rows, columns, summed;
  for (Label label : lhs.labels) {
    bool isShared = llvm::is_contained(rhs.labels, label);
    (!isShared ? rows : kept.contains(label) ? batch : summed).push_back(label);
  }
  for (Label label : rhs.labels)
    if (!llvm::is_contained(lhs.labels, label))
      columns.push_back(label);
  auto numBatch = static_cast<int64_t>(batch.size());
  auto numRows = static_cast<int64_t>(rows.size());
  auto numColumns = static_cast<int64_t>(columns.size());
  Labels lhsOrder = batch, rhsOrder = batch;
  lhsOrder.append(rows);
  lhsOrder.append(summed);
  rhsOrder.append(summed);
  rhsOrder.append(columns);
  Value left = arrange(lhs, lhsOrder), right = arrange(rhs, rhsOrder);
  Term result;
  result.labels = batch;
  result.labels.append(rows);
  result.labels.append(columns);
  result.value = node.create<MatMulOp>(
      {toMatrices(left, numBatch, numRows),
       toMatrices(right, numBatch, static_cast<int64_t>(summed.size()))});
  if (numRows == 1 && numColumns == 1)
    return result;
  SmallVector<Value> shape;
  for (int64_t i = 0; i < numBatch; ++i)
    shape.push_back(node.dimVector(result.value, i));
  for (int64_t i = 0; i < numRows; ++i)
    shape.push_back(node.dimVector(left, numBatch + i));
  for (int64_t i = 0; i < numColumns; ++i)
    shape.push_back(node.dimVector(right, node.rank(right) - numColumns + i));
  result.value = node.reshape(result.value, shape);
  return result;
}

Value Einsum::emit(llvm::StringRef equation, ArrayRef<Value> operands) {
  auto [inputs, outputText] = equation.split("->");
  SmallVector<llvm::StringRef> texts;
  inputs.split(texts, ',');
  if (texts.size() != operands.size()) {
    node.emitError() << "has the equation '" << equation << "' for "
                     << operands.size() << " operands";
    return {};
  }
  terms.resize(operands.size());
  for (auto [text, operand, term] : llvm::zip(texts, operands, terms))
    if (!parseTerm(text, operand, term))
      return {};
  std::optional<Labels> output =
      equation.contains("->") ? parseOutput(outputText) : implicitOutput();
  if (!output)
    return {};
  Term result = terms[0];
  for (size_t i = 0; i < terms.size(); ++i) {
    // What the output or an operand still to come needs.
    llvm::SmallSetVector<Label, 8> kept(output->begin(), output->end());
    for (const Term &later : ArrayRef(terms).drop_front(i + 1))
      kept.insert(later.labels.begin(), later.labels.end());
    if (i > 0) {
      llvm::SmallSetVector<Label, 8> left = kept, right = kept;
      left.insert(terms[i].labels.begin(), terms[i].labels.end());
      right.insert(result.labels.begin(), result.labels.end());
      result = contract(sumOut(result, left), sumOut(terms[i], right), kept);
    }
    result = sumOut(result, kept);
  }
  return arrange(result, *output);
}

static void importEinsum(NodeImporter &node) {
  std::string equation = node.stringAttr("equation", "");
  llvm::erase(equation, ' ');
  SmallVector<Value> operands = node.inputs();
  if (node.checkSameType(operands))
    node.setOutput(Einsum(node).emit(equation, operands));
}

void nju::onnx_import::registerEinsumOps(OpRegistry &registry) {
  registry.add("Einsum", 12, {1, Arity::kAny}, importEinsum);
}
