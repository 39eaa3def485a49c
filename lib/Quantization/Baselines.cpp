//===- Baselines.cpp - Formats of others as rank 1 ------------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Quantization/Baselines.h"

#include "CheckWeights.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/Twine.h"
#include <algorithm>
#include <cmath>

using namespace nju::lcq;
using llvm::ArrayRef;
using llvm::Expected;
using llvm::MutableArrayRef;
using llvm::Twine;

/// An empty matrix of rank 1 whose scales are not quantized twice.
static Expected<QuantizedMatrix> createPlain(int64_t rows, int64_t columns,
                                             unsigned bits, int64_t group,
                                             GroupForm scaleForm) {
  LCQOptions options;
  options.bits = bits;
  options.group = group;
  if (llvm::Error error = options.verify())
    return std::move(error);
  if (llvm::Error error = checkShape(rows, columns))
    return std::move(error);
  QuantizedMatrix matrix = QuantizedMatrix::create(rows, columns, options);
  matrix.scales = GroupValues(scaleForm, 1, rows, matrix.getGroups());
  return matrix;
}

//===----------------------------------------------------------------------===//
// Weights of other quantizers
//===----------------------------------------------------------------------===//

/// Whether a zero point is an integer that int8 holds.
static bool isInt8(float value) {
  return value >= -128 && value <= 127 && value == std::nearbyint(value);
}

/// Zero points that the basis can take up: integers and codes minus them stay
/// in int8.
static constexpr float kMostCentered = 64;

UniformForm nju::lcq::chooseForm(ArrayRef<float> scales,
                                 ArrayRef<float> zeroPoints) {
  UniformForm form;
  if (GroupValues::holdsF16(scales))
    form.scales = GroupForm::F16;
  if (llvm::all_of(zeroPoints, isInt8)) {
    form.zeroPoints = GroupForm::Integer;
    form.isCentered =
        llvm::all_equal(zeroPoints) &&
        (zeroPoints.empty() || std::abs(zeroPoints.front()) <= kMostCentered);
  }
  return form;
}

static llvm::Error checkUniform(const UniformWeights &weights, int64_t groups) {
  size_t count = weights.rows * groups;
  if (int64_t(weights.codes.size()) != weights.rows * weights.columns ||
      weights.scales.size() != count ||
      (weights.zeroPoints.size() != count && weights.zeroPoints.size() != 1))
    return llvm::createStringError(
        Twine(weights.codes.size()) + " codes, " +
        Twine(weights.scales.size()) + " scales and " +
        Twine(weights.zeroPoints.size()) +
        " zero points do not fit a matrix of " + Twine(weights.rows) +
        " rows of " + Twine(weights.columns) + " columns in groups of " +
        Twine(weights.group));
  for (size_t i = 0; i < weights.codes.size(); ++i)
    if (weights.codes[i] >= 1u << weights.bits)
      return llvm::createStringError(
          "code " + Twine(unsigned(weights.codes[i])) + " in row " +
          Twine(i / weights.columns) + ", column " +
          Twine(i % weights.columns) + " is not one of " + Twine(weights.bits) +
          " bits");
  return llvm::Error::success();
}

/// The integers that codes stand for, less what is in the basis of all.
static void setIntegers(Basis &basis, unsigned bits, bool isSigned,
                        float zeroPoint) {
  int levels = 1 << bits;
  for (int l = 0; l < levels; ++l)
    basis.values[l] =
        (isSigned && l >= levels / 2 ? l - levels : l) - zeroPoint;
}

Expected<QuantizedMatrix> nju::lcq::importUniform(UniformWeights weights,
                                                  const UniformForm &form) {
  Expected<QuantizedMatrix> matrix = createPlain(
      weights.rows, weights.columns, weights.bits, weights.group, form.scales);
  if (!matrix)
    return matrix;
  int64_t groups = matrix->getGroups();
  if (llvm::Error error = checkUniform(weights, groups))
    return std::move(error);
  ArrayRef<float> zeroPoints = weights.zeroPoints;
  setIntegers(matrix->basis, weights.bits, weights.isSigned,
              form.isCentered ? zeroPoints.front() : 0);
  matrix->codes = std::move(weights.codes);
  if (!form.isCentered) {
    matrix->offsetKind = OffsetKind::ZeroPoint;
    matrix->offsets = GroupValues(form.zeroPoints, 1, weights.rows, groups);
  }
  std::vector<float> values(groups);
  for (int64_t row = 0; row < weights.rows; ++row) {
    ArrayRef<float> own =
        ArrayRef<float>(weights.scales).slice(row * groups, groups);
    values.assign(own.begin(), own.end());
    matrix->scales.storeRow(0, row, values);
    if (form.isCentered)
      continue;
    if (zeroPoints.size() == 1)
      values.assign(groups, zeroPoints.front());
    else
      values = zeroPoints.slice(row * groups, groups).vec();
    matrix->offsets.storeRow(0, row, values);
  }
  matrix->scales.seal();
  if (!form.isCentered)
    matrix->offsets.seal();
  return matrix;
}

//===----------------------------------------------------------------------===//
// Baselines
//===----------------------------------------------------------------------===//

/// An empty matrix of codes that count from a zero point.
static Expected<QuantizedMatrix> createUniform(int64_t rows, int64_t columns,
                                               unsigned bits, int64_t group) {
  Expected<QuantizedMatrix> matrix =
      createPlain(rows, columns, bits, group, GroupForm::F32);
  if (!matrix)
    return matrix;
  setIntegers(matrix->basis, bits, /*isSigned=*/false, 0);
  matrix->offsetKind = OffsetKind::ZeroPoint;
  matrix->offsets =
      GroupValues(GroupForm::Integer, 1, rows, matrix->getGroups());
  return matrix;
}

/// Calls `body(row, weights)` for each row, which must be finite.
template <typename Body>
static llvm::Error forEachRow(const WeightRows &weights, Body body) {
  std::vector<float> values(weights.getColumns());
  for (int64_t row = 0; row < weights.getRows(); ++row) {
    if (llvm::Error error = weights.read(row, row + 1, values))
      return error;
    if (llvm::Error error = checkFinite(values, row, weights.getColumns()))
      return error;
    body(row, ArrayRef<float>(values));
  }
  return llvm::Error::success();
}

/// The weights of a group of a row.
static ArrayRef<float> getGroup(ArrayRef<float> row, int64_t g, int64_t group) {
  return row.slice(g * group, std::min<int64_t>(group, row.size() - g * group));
}

Expected<QuantizedMatrix>
nju::lcq::quantizeRoundToNearest(const WeightRows &weights, unsigned bits,
                                 int64_t group) {
  Expected<QuantizedMatrix> matrix =
      createUniform(weights.getRows(), weights.getColumns(), bits, group);
  if (!matrix)
    return matrix;
  float top = matrix->getLevels() - 1;
  std::vector<float> scales(matrix->getGroups()), zeros(matrix->getGroups());
  llvm::Error error = forEachRow(weights, [&](int64_t row,
                                              ArrayRef<float> values) {
    uint8_t *code = matrix->codes.data() + row * matrix->columns;
    for (int64_t g = 0; g < matrix->getGroups(); ++g) {
      ArrayRef<float> part = getGroup(values, g, group);
      float low = std::min(0.f, *std::min_element(part.begin(), part.end()));
      float high = std::max(0.f, *std::max_element(part.begin(), part.end()));
      float scale = high / top - low / top;
      scales[g] = scale;
      zeros[g] = scale > 0 ? std::clamp(-std::round(low / scale), 0.f, top) : 0;
      for (float value : part)
        *code++ = scale > 0 ? std::clamp(std::round(value / scale) + zeros[g],
                                         0.f, top)
                            : 0;
    }
    matrix->scales.storeRow(0, row, scales);
    matrix->offsets.storeRow(0, row, zeros);
  });
  if (error)
    return std::move(error);
  matrix->scales.seal();
  return matrix;
}

double nju::lcq::getNormalQuantile(double probability) {
  // The distribution function rises: halve an interval until nothing is left.
  double low = -40, high = 40;
  for (int i = 0; i < 80; ++i) {
    double middle = (low + high) / 2;
    bool below = std::erfc(-middle / std::sqrt(2.0)) / 2 < probability;
    (below ? low : high) = middle;
  }
  return (low + high) / 2;
}

std::vector<float> nju::lcq::getNormalFloatTable(unsigned bits) {
  // The published values of 4 bits are the following, rounded on their way.
  if (bits == 4)
    return {-1.0f,
            -0.6961928009986877f,
            -0.5250730514526367f,
            -0.39491748809814453f,
            -0.28444138169288635f,
            -0.18477343022823334f,
            -0.09105003625154495f,
            0.0f,
            0.07958029955625534f,
            0.16093020141124725f,
            0.24611230194568634f,
            0.33791524171829224f,
            0.44070982933044434f,
            0.5626170039176941f,
            0.7229568362236023f,
            1.0f};
  // Quantiles between 1/2 and the outermost: one more above zero than below.
  constexpr double kOutermost = 0.9677083;
  unsigned half = 1u << (bits - 1);
  double largest = getNormalQuantile(kOutermost);
  std::vector<float> table;
  for (unsigned i = 0; i + 1 < half; ++i)
    table.push_back(
        -getNormalQuantile(kOutermost + (0.5 - kOutermost) * i / (half - 1)) /
        largest);
  table.push_back(0);
  for (unsigned i = half; i-- > 0;)
    table.push_back(
        getNormalQuantile(kOutermost + (0.5 - kOutermost) * i / half) /
        largest);
  return table;
}

Expected<QuantizedMatrix>
nju::lcq::quantizeNormalFloat(const WeightRows &weights, unsigned bits,
                              int64_t group) {
  Expected<QuantizedMatrix> matrix = createPlain(
      weights.getRows(), weights.getColumns(), bits, group, GroupForm::F32);
  if (!matrix)
    return matrix;
  matrix->basis.isInt8 = false;
  matrix->basis.values = getNormalFloatTable(bits);
  std::vector<float> scales(matrix->getGroups()), table;
  llvm::Error error =
      forEachRow(weights, [&](int64_t row, ArrayRef<float> values) {
        uint8_t *code = matrix->codes.data() + row * matrix->columns;
        for (int64_t g = 0; g < matrix->getGroups(); ++g) {
          ArrayRef<float> part = getGroup(values, g, group);
          scales[g] = 0;
          for (float value : part)
            scales[g] = std::max(scales[g], std::abs(value));
          table = matrix->basis.values;
          for (float &codeword : table)
            codeword *= scales[g];
          for (float value : part)
            *code++ = getNearestCode(value, table);
        }
        matrix->scales.storeRow(0, row, scales);
      });
  if (error)
    return std::move(error);
  matrix->scales.seal();
  return matrix;
}
