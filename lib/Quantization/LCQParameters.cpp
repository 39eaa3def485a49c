//===- LCQParameters.cpp - A quantized matrix that is trained -------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Quantization/LCQParameters.h"

#include "CheckWeights.h"
#include "llvm/Support/Parallel.h"
#include <algorithm>
#include <cmath>

using namespace nju::lcq;
using llvm::ArrayRef;
using llvm::MutableArrayRef;

/// Rows that a thread takes at once. Sums over rows are formed for each such
/// block and then in the order of the blocks.
static constexpr int64_t kRowBlock = 16;

/// Calls `body(row)` for all rows, blocks of them in parallel.
template <typename Body>
static void forEachRow(int64_t rows, Body body) {
  llvm::parallelFor(0, (rows + kRowBlock - 1) / kRowBlock, [&](size_t block) {
    int64_t end = std::min<int64_t>(rows, (block + 1) * kRowBlock);
    for (int64_t row = block * kRowBlock; row < end; ++row)
      body(row);
  });
}

//===----------------------------------------------------------------------===//
// Gradients
//===----------------------------------------------------------------------===//

/// Adds those of one row; `basisGradient` [rank, levels].
static void addRow(const QuantizedMatrix &matrix, const float *gradient,
                   int64_t row, CodebookGradients &result,
                   double *basisGradient) {
  unsigned levels = matrix.getLevels();
  int64_t groups = matrix.getGroups();
  const uint8_t *codes = matrix.codes.data() + row * matrix.columns;
  for (int64_t g = 0; g < groups; ++g) {
    double sums[1 << kMaxBits] = {};
    int64_t end = std::min(matrix.columns, (g + 1) * matrix.group);
    for (int64_t j = g * matrix.group; j < end; ++j)
      sums[codes[j]] += gradient[j];
    for (unsigned k = 0; k < matrix.basis.rank; ++k) {
      double scale = matrix.scales.get(k, row, g), sum = 0;
      const float *v = matrix.basis.getRow(k);
      for (unsigned l = 0; l < levels; ++l) {
        sum += v[l] * sums[l];
        basisGradient[k * levels + l] += scale * sums[l];
      }
      result.scales[(k * matrix.rows + row) * groups + g] = sum;
    }
    if (matrix.offsetKind == OffsetKind::None)
      continue;
    double sum = 0;
    for (unsigned l = 0; l < levels; ++l)
      sum += sums[l];
    result.offsets[row * groups + g] = -sum;
  }
}

CodebookGradients nju::lcq::getCodebookGradients(const QuantizedMatrix &matrix,
                                                 ArrayRef<float> gradient) {
  assert(int64_t(gradient.size()) == matrix.rows * matrix.columns &&
         "expected a gradient for each weight");
  CodebookGradients result;
  int64_t groups = matrix.rows * matrix.getGroups();
  size_t basisSize = matrix.basis.values.size();
  result.scales.resize(matrix.basis.rank * groups);
  result.basis.resize(basisSize);
  if (matrix.offsetKind != OffsetKind::None)
    result.offsets.resize(groups);
  int64_t blocks = (matrix.rows + kRowBlock - 1) / kRowBlock;
  std::vector<double> partial(blocks * basisSize);
  forEachRow(matrix.rows, [&](int64_t row) {
    addRow(matrix, gradient.data() + row * matrix.columns, row, result,
           partial.data() + row / kRowBlock * basisSize);
  });
  for (int64_t block = 0; block < blocks; ++block)
    for (size_t i = 0; i < basisSize; ++i)
      result.basis[i] += partial[block * basisSize + i];
  return result;
}

//===----------------------------------------------------------------------===//
// Adam
//===----------------------------------------------------------------------===//

namespace {
/// One step of Adam.
struct Adam {
  static constexpr float kMeanDecay = 0.9f, kSquareDecay = 0.99f;
  /// Far below gradients that matter: what has none does not move.
  static constexpr float kEpsilon = 1e-12f;

  Adam(double rate, int64_t step)
      : rate(rate / (1 - std::pow(double(kMeanDecay), double(step)))),
        correction(1 / (1 - std::pow(double(kSquareDecay), double(step)))) {}

  /// The parameter is measured in multiples of `unit`.
  void apply(float unit, float gradient, float &value, float &mean,
             float &square) const {
    gradient *= unit;
    mean = kMeanDecay * mean + (1 - kMeanDecay) * gradient;
    square = kSquareDecay * square + (1 - kSquareDecay) * gradient * gradient;
    value -= unit * (rate * mean / (std::sqrt(square * correction) + kEpsilon));
  }

  float rate, correction;
};
} // namespace

void LCQParameters::stepWeights(ArrayRef<float> gradient, double rate) {
  Adam adam(rate, steps);
  int64_t groups = matrix.getGroups();
  forEachRow(matrix.rows, [&](int64_t row) {
    int64_t begin = row * matrix.columns;
    for (int64_t g = 0; g < groups; ++g) {
      float unit = units[row * groups + g];
      int64_t end = begin + std::min(matrix.columns, (g + 1) * matrix.group);
      for (int64_t i = begin + g * matrix.group; i < end; ++i)
        adam.apply(unit, gradient[i], weights.values[i], weights.means[i],
                   weights.squares[i]);
    }
  });
}

void LCQParameters::step(ArrayRef<float> gradient, const LCQRates &rates) {
  CodebookGradients gradients = getCodebookGradients(matrix, gradient);
  ++steps;
  auto stepAll = [&](Trained &trained, const std::vector<double> &by,
                     double rate, auto getUnit) {
    Adam adam(rate, steps);
    for (size_t i = 0; i < by.size(); ++i)
      adam.apply(getUnit(i), by[i], trained.values[i], trained.means[i],
                 trained.squares[i]);
  };
  stepAll(scales, gradients.scales, rates.scales, [&](size_t i) {
    return units[i % units.size()] * (1.f / kBasisMax);
  });
  stepAll(offsets, gradients.offsets, rates.offsets,
          [&](size_t i) { return units[i]; });
  stepAll(basis, gradients.basis, rates.basis,
          [](size_t) { return float(kBasisMax); });
  for (float &v : basis.values)
    v = std::clamp(v, -float(kBasisMax), float(kBasisMax));
  if (!codesFrozen)
    stepWeights(gradient, rates.weights);
}

//===----------------------------------------------------------------------===//
// Codebooks and codes
//===----------------------------------------------------------------------===//

/// The values of a plane, as `form` holds them.
static GroupValues makeGroupValues(GroupForm form, unsigned planes,
                                   int64_t rows, int64_t groups,
                                   const std::vector<float> &from) {
  GroupValues result(form, planes, rows, groups);
  std::vector<float> values(groups);
  for (unsigned k = 0; k < planes; ++k)
    for (int64_t row = 0; row < rows; ++row) {
      auto begin = from.begin() + (k * rows + row) * groups;
      std::copy(begin, begin + groups, values.begin());
      result.storeRow(k, row, values);
    }
  result.seal();
  return result;
}

/// All values, [planes, rows, groups].
static std::vector<float> readGroupValues(const GroupValues &from) {
  std::vector<float> result;
  for (unsigned k = 0; k < from.getPlanes(); ++k)
    for (int64_t row = 0; row < from.getRows(); ++row)
      for (int64_t g = 0; g < from.getGroups(); ++g)
        result.push_back(from.get(k, row, g));
  return result;
}

void LCQParameters::storeCodebooks() {
  GroupForm stored = rounded ? form : GroupForm::F32;
  int64_t groups = matrix.getGroups();
  matrix.scales = makeGroupValues(stored, matrix.basis.rank, matrix.rows,
                                  groups, scales.values);
  if (matrix.offsetKind != OffsetKind::None)
    matrix.offsets =
        makeGroupValues(stored, 1, matrix.rows, groups, offsets.values);
  for (size_t i = 0; i < basis.values.size(); ++i)
    matrix.basis.values[i] = std::nearbyint(basis.values[i]);
}

/// The codes of the codewords nearest to `count` weights, the lowest of
/// several.
static void assignNearest(const float *weights, int64_t count,
                          ArrayRef<float> codewords, uint8_t *codes) {
  constexpr int64_t kChunk = 64;
  float least[kChunk];
  int32_t best[kChunk];
  for (int64_t begin = 0; begin < count; begin += kChunk) {
    int64_t size = std::min(kChunk, count - begin);
    for (int64_t i = 0; i < size; ++i) {
      least[i] = std::abs(weights[begin + i] - codewords[0]);
      best[i] = 0;
    }
    for (unsigned l = 1; l < codewords.size(); ++l)
      for (int64_t i = 0; i < size; ++i) {
        float distance = std::abs(weights[begin + i] - codewords[l]);
        best[i] = distance < least[i] ? int32_t(l) : best[i];
        least[i] = distance < least[i] ? distance : least[i];
      }
    for (int64_t i = 0; i < size; ++i)
      codes[begin + i] = uint8_t(best[i]);
  }
}

void LCQParameters::assignCodes(int64_t row) {
  float codewords[1 << kMaxBits];
  MutableArrayRef<float> table(codewords, matrix.getLevels());
  for (int64_t g = 0; g < matrix.getGroups(); ++g) {
    matrix.getCodewords(row, g, table);
    int64_t begin = row * matrix.columns + g * matrix.group;
    int64_t count = std::min(matrix.group, matrix.columns - g * matrix.group);
    assignNearest(weights.values.data() + begin, count, table,
                  matrix.codes.data() + begin);
  }
}

void LCQParameters::update() {
  storeCodebooks();
  forEachRow(matrix.rows, [&](int64_t row) {
    if (!codesFrozen)
      assignCodes(row);
    matrix.dequantizeRow(row, MutableArrayRef<float>(values).slice(
                                  row * matrix.columns, matrix.columns));
  });
}

//===----------------------------------------------------------------------===//
// Beginning and end
//===----------------------------------------------------------------------===//

static llvm::Error checkForms(const QuantizedMatrix &start,
                              const WeightRows &weights) {
  if (start.rows != weights.getRows() || start.columns != weights.getColumns())
    return llvm::createStringError(
        "cannot train a matrix of " + llvm::Twine(start.rows) + "x" +
        llvm::Twine(start.columns) + " towards weights of " +
        llvm::Twine(weights.getRows()) + "x" +
        llvm::Twine(weights.getColumns()));
  auto isStored = [](const GroupValues &values) {
    return values.getForm() == GroupForm::Int8 ||
           values.getForm() == GroupForm::F16;
  };
  bool hasForms = start.basis.isInt8 && isStored(start.scales) &&
                  (start.offsetKind == OffsetKind::None ||
                   (start.offsetKind == OffsetKind::Offset &&
                    start.offsets.getForm() == start.scales.getForm()));
  if (!hasForms)
    return llvm::createStringError(
        "cannot train a matrix of another format: expected an int8 basis, and "
        "scales and offsets in int8 or f16");
  return llvm::Error::success();
}

llvm::Expected<LCQParameters>
LCQParameters::create(const QuantizedMatrix &start, const WeightRows &weights) {
  if (llvm::Error error = checkForms(start, weights))
    return std::move(error);
  LCQParameters result;
  result.matrix = start;
  result.form = start.scales.getForm();
  result.scales.values = readGroupValues(start.scales);
  result.basis.values = start.basis.values;
  if (start.offsetKind != OffsetKind::None)
    result.offsets.values = readGroupValues(start.offsets);
  int64_t size = start.rows * start.columns, groups = start.getGroups();
  result.weights.values.resize(size);
  result.values.resize(size);
  result.units.resize(start.rows * groups);
  if (llvm::Error error = weights.read(0, start.rows, result.weights.values))
    return std::move(error);
  if (llvm::Error error = checkFinite(result.weights.values, 0, start.columns))
    return std::move(error);
  std::vector<float> codewords(start.getLevels());
  for (int64_t row = 0; row < start.rows; ++row)
    for (int64_t g = 0; g < groups; ++g) {
      start.getCodewords(row, g, codewords);
      for (float codeword : codewords)
        result.units[row * groups + g] =
            std::max(result.units[row * groups + g], std::abs(codeword));
    }
  // Where the nearest code is another one, the weight becomes its codeword.
  result.update();
  std::vector<float> wanted = start.dequantize();
  for (int64_t i = 0; i < size; ++i)
    if (result.matrix.codes[i] != start.codes[i])
      result.weights.values[i] = wanted[i];
  result.update();
  result.resetAverages();
  return result;
}

void LCQParameters::resetAverages() {
  steps = 0;
  for (Trained *trained : {&scales, &basis, &offsets, &weights}) {
    trained->means.assign(trained->values.size(), 0);
    trained->squares.assign(trained->values.size(), 0);
  }
}

LCQParameters::State LCQParameters::getState() const {
  return {scales.values, basis.values, offsets.values, weights.values,
          matrix.codes};
}

void LCQParameters::setState(const State &state) {
  scales.values = state.scales;
  basis.values = state.basis;
  offsets.values = state.offsets;
  weights.values = state.weights;
  matrix.codes = state.codes;
}

QuantizedMatrix LCQParameters::finalize() {
  bool before = rounded;
  rounded = true;
  update();
  QuantizedMatrix result = matrix;
  rounded = before;
  update();
  return result;
}
