//===- BitBudget.cpp - Bits of each weight under a budget -------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "BitBudget.h"

#include "nju/Dialect/NJU/IR/WeightLayout.h"
#include "nju/Quantization/Calibrated.h"
#include "nju/Support/LCQLayout.h"
#include "nju/Target/MatrixRows.h"
#include <cmath>

using namespace mlir;
using namespace nju;
using lcq::LCQOptions;

/// Rows of a matrix that are quantized to try a format: all matrices are, in
/// all formats.
static constexpr int64_t kTrialRows = 256;
/// One solution for the scales: what formats lose in relation to each other
/// hardly changes with further ones.
static constexpr int kTrialRounds = 1;
/// Without data, how much more an error of embeddings and of the head counts:
/// no later layer makes up for it, and each row is all that is known of a
/// token.
static constexpr double kTokenWeight = 2;
static constexpr unsigned kTrialBits[] = {2, 3, 4};
static constexpr int64_t kTrialGroups[] = {32, 64, 128};

//===----------------------------------------------------------------------===//
// Candidates
//===----------------------------------------------------------------------===//

/// Bytes of all parts of the matrix.
static int64_t getBytes(const QuantizableWeight &weight,
                        const LCQOptions &format) {
  LCQAttr attr = toAttr(weight.param->getContext(), format);
  int64_t bytes = 0;
  for (LCQPart part : {LCQPart::Codes, LCQPart::Basis, LCQPart::Factors})
    bytes +=
        getWeightBytes(attr.getPartType(part, weight.columns, weight.rows));
  return bytes;
}

/// As few groups as with `group`, but as even as whole lines allow, and the
/// scales that take less.
static LCQOptions getFormat(const QuantizableWeight &weight, unsigned bits,
                            int64_t group) {
  LCQOptions format = LCQOptions::getDefault(bits);
  int64_t groups = llvm::divideCeil(weight.columns, group);
  format.group = llvm::alignTo(llvm::divideCeil(weight.columns, groups),
                               LCQLayout::getLineColumns(bits));
  LCQOptions other = format;
  other.scaleBits = format.scaleBits == 8 ? 16 : 8;
  return getBytes(weight, other) < getBytes(weight, format) ? other : format;
}

BitBudget::BitBudget(double bitsPerWeight, ArrayRef<QuantizableWeight> weights)
    : bitsPerWeight(bitsPerWeight) {
  for (const QuantizableWeight &weight : weights) {
    matrices.push_back({weight, {}});
    if (!QuantizationPlan::isLargeEnough(weight))
      continue;
    elements += matrices.back().countElements();
    for (unsigned bits : kTrialBits)
      for (int64_t group : kTrialGroups) {
        LCQOptions format = getFormat(weight, bits, group);
        auto &own = matrices.back().candidates;
        // In short rows it may be one group with any of them.
        if (own.empty() || !(own.back().format == format))
          own.push_back({format, {getBytes(weight, format), 0.}});
      }
  }
}

BitBudget::Matrix *BitBudget::findMatrix(StringRef name) {
  auto found = llvm::find_if(matrices, [&](Matrix &matrix) {
    return !matrix.candidates.empty() &&
           matrix.weight.param.getSymName() == name;
  });
  return found == matrices.end() ? nullptr : &*found;
}

//===----------------------------------------------------------------------===//
// Trials
//===----------------------------------------------------------------------===//

namespace {

/// Some rows of a matrix, as a matrix.
class PickedRows : public lcq::WeightRows {
public:
  PickedRows(const lcq::WeightRows &all, std::vector<int64_t> picked)
      : WeightRows(picked.size(), all.getColumns()), all(all),
        picked(std::move(picked)) {}

  llvm::Error read(int64_t begin, int64_t end,
                   llvm::MutableArrayRef<float> out) const override {
    for (int64_t row = begin; row < end; ++row)
      if (llvm::Error error =
              all.read(picked[row], picked[row] + 1,
                       out.slice((row - begin) * getColumns(), getColumns())))
        return error;
    return llvm::Error::success();
  }

private:
  const lcq::WeightRows &all;
  std::vector<int64_t> picked;
};

} // namespace

/// `count` numbers from all over `total`.
static std::vector<int64_t> spread(int64_t total, int64_t count) {
  count = std::min(total, count);
  std::vector<int64_t> picked;
  for (int64_t i = 0; i < count; ++i)
    picked.push_back(i * total / count);
  return picked;
}

static llvm::Error nameWeight(const QuantizableWeight &weight,
                              llvm::Error error) {
  ParamOp param = weight.param;
  return llvm::createStringError("weight '" + param.getSymName() +
                                 "': " + llvm::toString(std::move(error)));
}

/// Quantizes `rows` without data, and gives the error of each format.
static llvm::Error tryWeights(
    const lcq::WeightRows &rows, ArrayRef<LCQOptions> formats,
    llvm::function_ref<void(size_t, const lcq::QuantizationError &)> use) {
  for (auto [i, format] : llvm::enumerate(formats)) {
    lcq::QuantizationError error;
    auto matrix = lcq::quantizeDataFree(rows, format, &error);
    if (!matrix)
      return matrix.takeError();
    use(i, error);
  }
  return llvm::Error::success();
}

template <typename Candidates>
static SmallVector<LCQOptions> formatsOf(const Candidates &candidates) {
  return llvm::map_to_vector(candidates,
                             [](const auto &own) { return own.format; });
}

void BitBudget::advance(const Matrix &matrix) {
  measured += matrix.countElements();
  if (progress)
    progress(std::min<uint64_t>(measured, elements), elements);
}

llvm::Error BitBudget::measureWeights(ShowProgress show) {
  progress = show;
  for (Matrix &matrix : matrices) {
    if (matrix.candidates.empty())
      continue;
    auto all = openWeightRows(matrix.weight.param, matrix.weight.permutation);
    if (!all)
      return nameWeight(matrix.weight, all.takeError());
    PickedRows rows(**all, spread(matrix.weight.rows, kTrialRows));
    double weight = double(matrix.countElements());
    if (matrix.weight.isEmbedding || matrix.weight.isHead)
      weight *= kTokenWeight;
    llvm::Error error =
        tryWeights(rows, formatsOf(matrix.candidates),
                   [&](size_t i, const lcq::QuantizationError &lost) {
                     double relative = lost.getRelative();
                     matrix.candidates[i].choice.cost =
                         relative * relative * weight;
                   });
    if (error)
      return nameWeight(matrix.weight, std::move(error));
    advance(matrix);
  }
  return llvm::Error::success();
}

/// What a table's rows lose, on the average over the tokens of a text.
llvm::Error BitBudget::addLookUps(Matrix &matrix, const TokenBatch &tokens) {
  auto all = openWeightRows(matrix.weight.param, matrix.weight.permutation);
  if (!all)
    return all.takeError();
  std::vector<int64_t> text;
  for (const std::vector<int32_t> &sequence : tokens.sequences)
    for (int32_t token : sequence)
      // Of a table of positions or kinds these are any rows, as good as others.
      text.push_back(token % matrix.weight.rows);
  std::vector<int64_t> picked = spread(text.size(), kTrialRows);
  for (int64_t &row : picked)
    row = text[row];
  PickedRows rows(**all, std::move(picked));
  double weight = double(matrix.countElements()), sensitivity = 0;
  if (sensitivities)
    sensitivity = (*sensitivities)[matrix.weight.param.getSymName()].lookUp;
  return tryWeights(rows, formatsOf(matrix.candidates),
                    [&](size_t i, const lcq::QuantizationError &lost) {
                      double relative = lost.getRelative();
                      matrix.candidates[i].choice.cost +=
                          sensitivities ? 0.5 * sensitivity * lost.errors /
                                              double(rows.getRows())
                                        : relative * relative * weight;
                    });
}

/// What a product's outputs lose, on the average over tokens.
llvm::Error BitBudget::addProduct(Matrix &matrix, const InputMoments &moments) {
  auto all = openWeightRows(matrix.weight.param, matrix.weight.permutation);
  if (!all)
    return all.takeError();
  PickedRows rows(**all, spread(matrix.weight.rows, kTrialRows));
  double weight = double(matrix.countElements()), sensitivity = 0;
  if (sensitivities)
    sensitivity = (*sensitivities)[matrix.weight.param.getSymName()].product;
  double share = double(matrix.weight.rows) / double(rows.getRows());
  for (Candidate &candidate : matrix.candidates) {
    lcq::CalibrationReport report;
    auto trial =
        lcq::quantizeCalibrated(rows, llvm::ArrayRef<float>(moments.moments),
                                candidate.format, kTrialRounds, &report);
    if (!trial)
      return trial.takeError();
    double whole = report.zeroObjective;
    candidate.choice.cost += sensitivities ? 0.5 * sensitivity * share *
                                                 report.objective /
                                                 double(moments.numRows)
                             : whole > 0   ? report.objective / whole * weight
                                           : 0;
  }
  return llvm::Error::success();
}

llvm::Error
BitBudget::consume(InputMoments &moments,
                   llvm::MutableArrayRef<ExecutionListener::Weight> weights) {
  for (ExecutionListener::Weight &weight : weights)
    if (Matrix *matrix = findMatrix(weight.param.getSymName())) {
      if (llvm::Error error = addProduct(*matrix, moments))
        return nameWeight(matrix->weight, std::move(error));
      advance(*matrix);
    }
  return llvm::Error::success();
}

void BitBudget::findSensitivities(func::FuncOp function,
                                  const TokenBatch &tokens,
                                  ParamSource &params) {
  SensitivityOptions options;
  for (Matrix &matrix : matrices)
    options.weights.insert(matrix.weight.param.getSymName());
  auto found = measureSensitivities(function, tokens, params, options);
  if (found)
    sensitivities = std::move(*found);
  else
    function.emitRemark() << "bits are chosen by the relative errors of "
                          << "outputs, not by what these do to the result: "
                          << llvm::toString(found.takeError());
}

llvm::Error BitBudget::measureOutputs(func::FuncOp function,
                                      const TokenBatch &tokens,
                                      ParamSource &params, ShowProgress show) {
  progress = show;
  findSensitivities(function, tokens, params);
  for (Matrix &matrix : matrices) {
    if (matrix.candidates.empty() || !matrix.weight.isEmbedding)
      continue;
    if (llvm::Error error = addLookUps(matrix, tokens))
      return nameWeight(matrix.weight, std::move(error));
    if (!matrix.weight.isProduct)
      advance(matrix);
  }
  return runCalibration(function, tokens, params, *this);
}

//===----------------------------------------------------------------------===//
// Choice
//===----------------------------------------------------------------------===//

llvm::Expected<std::vector<QuantizationPlan::Format>>
BitBudget::choose() const {
  std::vector<std::vector<lcq::FormatChoice>> choices;
  int64_t least = 0;
  for (const Matrix &matrix : matrices) {
    if (matrix.candidates.empty())
      continue;
    auto &own = choices.emplace_back();
    int64_t smallest = matrix.candidates.front().choice.bytes;
    for (const Candidate &candidate : matrix.candidates) {
      own.push_back(candidate.choice);
      smallest = std::min(smallest, candidate.choice.bytes);
    }
    least += smallest;
  }
  auto budget = int64_t(bitsPerWeight * double(elements) / 8);
  if (budget < least)
    return llvm::createStringError(
        "--bits-per-weight=%.6g is too little: the smallest formats take %.3f, "
        "expected that or more",
        bitsPerWeight, std::ceil(8e3 * double(least) / double(elements)) / 1e3);
  auto picked = lcq::allocateFormats(choices, budget);
  if (!picked)
    return picked.takeError();
  std::vector<QuantizationPlan::Format> formats;
  const size_t *next = picked->data();
  for (const Matrix &matrix : matrices) {
    formats.emplace_back();
    if (!matrix.candidates.empty())
      formats.back() = matrix.candidates[*next++].format;
  }
  return formats;
}
