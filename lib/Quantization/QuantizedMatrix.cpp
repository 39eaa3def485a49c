//===- QuantizedMatrix.cpp - Codes, scales and codebook of a matrix -------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Quantization/QuantizedMatrix.h"

#include "nju/Support/HalfFloat.h"
#include <algorithm>
#include <cassert>
#include <cmath>

using namespace nju::lcq;
using llvm::ArrayRef;
using llvm::MutableArrayRef;

//===----------------------------------------------------------------------===//
// GroupValues
//===----------------------------------------------------------------------===//

GroupValues::GroupValues(GroupForm form, unsigned planes, int64_t rows,
                         int64_t groups)
    : form(form), planes(planes), rows(rows), groups(groups) {
  int64_t count = planes * rows * groups;
  switch (form) {
  case GroupForm::Int8:
    factors.resize(planes * rows);
    [[fallthrough]];
  case GroupForm::Integer:
    int8.resize(count);
    return;
  case GroupForm::F16:
    f16.resize(count);
    [[fallthrough]];
  case GroupForm::F32:
    f32.resize(count);
    return;
  }
}

static float getMagnitude(ArrayRef<float> values) {
  float magnitude = 0;
  for (float value : values)
    magnitude = std::max(magnitude, std::abs(value));
  return magnitude;
}

/// The value with the 11 significant bits of an f16 of any exponent.
static float roundToHalfPrecision(float value) {
  int exponent;
  float fraction = std::frexp(value, &exponent);
  return std::ldexp(std::nearbyint(fraction * 2048), exponent - 11);
}

void GroupValues::storeRow(unsigned plane, int64_t row,
                           MutableArrayRef<float> values) {
  assert(int64_t(values.size()) == groups && "expected a value for each group");
  int64_t begin = getIndex(plane, row, 0);
  float factor = 1;
  if (form == GroupForm::Int8) {
    factor = getMagnitude(values) / 127;
    factors[plane * rows + row] = factor;
  }
  for (int64_t g = 0; g < groups; ++g) {
    float &value = values[g];
    if (form == GroupForm::F16)
      value = roundToHalfPrecision(value);
    if (form == GroupForm::F16 || form == GroupForm::F32) {
      f32[begin + g] = value;
      continue;
    }
    // A factor that is no normal number holds nothing.
    float quotient = factor >= 0x1p-126f ? std::nearbyint(value / factor) : 0;
    int8[begin + g] = int8_t(std::clamp(quotient, -127.f, 127.f));
    value = int8[begin + g] * factor;
  }
}

/// The power of two that values are stored as multiples of. The largest lies
/// just below 2^14: nothing overflows, and what is up to 2^28 times smaller
/// keeps all its bits.
static float getUnitOf(ArrayRef<float> values) {
  int exponent;
  std::frexp(getMagnitude(values), &exponent);
  return std::ldexp(1.f, std::clamp(exponent - 14, -126, 126));
}

bool GroupValues::holdsF16(ArrayRef<float> values) {
  for (float value : values)
    if (!std::isfinite(value))
      return false;
  float unit = getUnitOf(values);
  for (float value : values)
    if (halfToFloat(floatToHalf(value / unit)) * unit != value)
      return false;
  return true;
}

void GroupValues::seal() {
  if (form != GroupForm::F16)
    return;
  unit = getUnitOf(f32);
  for (size_t i = 0; i < f32.size(); ++i)
    f16[i] = floatToHalf(f32[i] / unit);
  f32 = {};
}

float GroupValues::get(unsigned plane, int64_t row, int64_t group) const {
  int64_t index = getIndex(plane, row, group);
  switch (form) {
  case GroupForm::Int8:
    return int8[index] * factors[plane * rows + row];
  case GroupForm::F16:
    return f32.empty() ? halfToFloat(f16[index]) * unit : f32[index];
  case GroupForm::F32:
    return f32[index];
  case GroupForm::Integer:
    return int8[index];
  }
  return 0;
}

int64_t GroupValues::getStorageBits() const {
  int64_t count = planes * rows * groups;
  switch (form) {
  case GroupForm::Int8:
    return count * 8 + planes * rows * 32;
  case GroupForm::F16:
    return count * 16 + 32;
  case GroupForm::F32:
    return count * 32;
  case GroupForm::Integer:
    return count * 8;
  }
  return 0;
}

//===----------------------------------------------------------------------===//
// QuantizedMatrix
//===----------------------------------------------------------------------===//

QuantizedMatrix QuantizedMatrix::create(int64_t rows, int64_t columns,
                                        const LCQOptions &options) {
  QuantizedMatrix matrix;
  matrix.rows = rows;
  matrix.columns = columns;
  matrix.bits = options.bits;
  matrix.group = options.group;
  matrix.basis.rank = options.rank;
  matrix.basis.levels = options.getLevels();
  matrix.basis.values.resize(options.rank * options.getLevels());
  GroupForm form = options.scaleBits == 8 ? GroupForm::Int8 : GroupForm::F16;
  int64_t groups = options.getGroups(columns);
  matrix.scales = GroupValues(form, options.rank, rows, groups);
  if (options.offset) {
    matrix.offsetKind = OffsetKind::Offset;
    matrix.offsets = GroupValues(form, 1, rows, groups);
  }
  matrix.codes.resize(rows * columns);
  return matrix;
}

void QuantizedMatrix::getCodewords(int64_t row, int64_t groupOfRow,
                                   MutableArrayRef<float> out) const {
  assert(out.size() == getLevels() && "expected room for all codewords");
  bool hasZeroPoint = offsetKind == OffsetKind::ZeroPoint;
  float offset =
      offsetKind == OffsetKind::None ? 0 : offsets.get(0, row, groupOfRow);
  for (unsigned k = 0; k < basis.rank; ++k) {
    float scale = scales.get(k, row, groupOfRow);
    const float *v = basis.getRow(k);
    for (unsigned l = 0; l < getLevels(); ++l) {
      float term = scale * (hasZeroPoint ? v[l] - offset : v[l]);
      out[l] = k == 0 ? term : out[l] + term;
    }
  }
  if (offsetKind == OffsetKind::Offset)
    for (float &codeword : out)
      codeword -= offset;
}

void QuantizedMatrix::dequantizeRow(int64_t row,
                                    MutableArrayRef<float> out) const {
  assert(int64_t(out.size()) == columns && "expected room for a row");
  float codewords[1 << kMaxBits];
  MutableArrayRef<float> table(codewords, getLevels());
  const uint8_t *code = codes.data() + row * columns;
  for (int64_t g = 0; g < getGroups(); ++g) {
    getCodewords(row, g, table);
    int64_t end = std::min(columns, (g + 1) * group);
    for (int64_t j = g * group; j < end; ++j)
      out[j] = codewords[code[j]];
  }
}

std::vector<float> QuantizedMatrix::dequantize() const {
  std::vector<float> weights(rows * columns);
  for (int64_t row = 0; row < rows; ++row)
    dequantizeRow(
        row, MutableArrayRef<float>(weights).slice(row * columns, columns));
  return weights;
}

double QuantizedMatrix::getBitsPerWeight() const {
  int64_t stored = int64_t(bits) * rows * columns + scales.getStorageBits() +
                   basis.getStorageBits();
  if (offsetKind != OffsetKind::None)
    stored += offsets.getStorageBits();
  return double(stored) / (double(rows) * columns);
}

unsigned nju::lcq::getNearestCode(float value, ArrayRef<float> codewords) {
  unsigned best = 0;
  for (unsigned l = 1; l < codewords.size(); ++l)
    if (std::abs(value - codewords[l]) < std::abs(value - codewords[best]))
      best = l;
  return best;
}
