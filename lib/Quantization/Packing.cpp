//===- Packing.cpp - Quantized weights as kernels read them ---------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Quantization/Packing.h"

#include "llvm/ADT/Twine.h"
#include "llvm/Support/Parallel.h"
#include <algorithm>
#include <cassert>
#include <cstring>

using namespace nju::lcq;
using llvm::Expected;
using llvm::Twine;

namespace {

constexpr int64_t kRows = PackedLayout::kTileRows;
constexpr int64_t kLine = PackedLayout::kLineBytes;
constexpr int64_t kUnit = PackedLayout::kUnitColumns;

int64_t getWidth(GroupForm form) {
  return form == GroupForm::F32 ? 4 : form == GroupForm::F16 ? 2 : 1;
}

/// Packs `units` of 64 codes each to the lines of `bits`.
void packLines(const uint8_t *codes, unsigned bits, uint8_t *lines) {
  for (int64_t i = 0; i < kLine; ++i) {
    auto c = [&](int unit) { return unsigned(codes[unit * kLine + i]); };
    if (bits == 4) {
      lines[i] = c(0) | c(1) << 4;
    } else if (bits == 2) {
      lines[i] = c(0) | c(1) << 2 | c(2) << 4 | c(3) << 6;
    } else {
      for (int line = 0; line < 3; ++line) {
        int bit = 2 - line;
        lines[line * kLine + i] = c(2 * line) | (c(6) >> bit & 1) << 3 |
                                  c(2 * line + 1) << 4 | (c(7) >> bit & 1) << 7;
      }
    }
  }
}

void unpackLines(const uint8_t *lines, unsigned bits, uint8_t *codes) {
  for (int64_t i = 0; i < kLine; ++i) {
    auto c = [&](int unit) -> uint8_t & { return codes[unit * kLine + i]; };
    if (bits == 4 || bits == 2) {
      for (unsigned unit = 0; unit < 8 / bits; ++unit)
        c(unit) = lines[i] >> (unit * bits) & ((1 << bits) - 1);
      continue;
    }
    c(6) = c(7) = 0;
    for (int line = 0; line < 3; ++line) {
      unsigned byte = lines[line * kLine + i];
      c(2 * line) = byte & 7;
      c(2 * line + 1) = byte >> 4 & 7;
      c(6) |= (byte >> 3 & 1) << (2 - line);
      c(7) |= (byte >> 7 & 1) << (2 - line);
    }
  }
}

/// Calls `body(line, unit codes' first column)` for each set of whole lines of
/// group `g`, whose codes begin at `lines`.
template <typename Byte, typename Body>
void forEachLine(const PackedLayout &layout, int64_t g, Byte *lines,
                 Body body) {
  int64_t step = layout.getLineColumns(layout.bits);
  int64_t bytes = step * kRows * layout.bits / 8;
  for (int64_t j = 0; j < layout.getColumns(g); j += step, lines += bytes)
    body(lines, g * layout.group + j);
}

/// Copies values of a plane for the rows of tile `t` between the matrix and the
/// stream, and moves on in the stream.
template <bool ToStream, typename Values, typename Byte>
void copyGroup(Values &values, unsigned plane, int64_t t, int64_t g,
               Byte *&stream) {
  int64_t width = getWidth(values.getForm());
  int64_t rows = std::min(kRows, values.getRows() - t * kRows);
  for (int64_t r = 0; r < rows; ++r) {
    int64_t index =
        (plane * values.getRows() + t * kRows + r) * values.getGroups() + g;
    auto copy = [&](auto *element) {
      if constexpr (ToStream)
        std::memcpy(stream + r * width, element, width);
      else
        std::memcpy(element, stream + r * width, width);
    };
    if (width == 4)
      copy(values.getF32().data() + index);
    else if (width == 2)
      copy(values.getF16().data() + index);
    else
      copy(values.getInt8().data() + index);
  }
  stream += kRows * width;
}

/// Copies all scales and offsets of a group of a tile.
template <bool ToStream, typename Matrix, typename Byte>
void copyScales(Matrix &matrix, int64_t t, int64_t g, Byte *&stream) {
  for (unsigned k = 0; k < matrix.basis.rank; ++k)
    copyGroup<ToStream>(matrix.scales, k, t, g, stream);
  if (matrix.offsetKind != OffsetKind::None)
    copyGroup<ToStream>(matrix.offsets, 0, t, g, stream);
}

void packTile(const QuantizedMatrix &matrix, const PackedLayout &layout,
              int64_t t, uint8_t *stream) {
  // At most 8 units: those of three lines at 3 bits.
  uint8_t codes[8 * kLine];
  int64_t rows = std::min(kRows, matrix.rows - t * kRows);
  for (int64_t g = 0; g < layout.getGroups(); ++g) {
    uint8_t *lines = stream + g * layout.getGroupBytes(0);
    copyScales<true>(matrix, t, g, lines);
    forEachLine(layout, g, lines, [&](uint8_t *line, int64_t first) {
      std::memset(codes, 0, sizeof(codes));
      int64_t columns =
          std::min(layout.getLineColumns(layout.bits), matrix.columns - first);
      for (int64_t r = 0; r < rows; ++r) {
        const uint8_t *code =
            matrix.codes.data() + (t * kRows + r) * matrix.columns + first;
        for (int64_t j = 0; j < columns; ++j)
          codes[j / kUnit * kLine + r * kUnit + j % kUnit] = code[j];
      }
      packLines(codes, matrix.bits, line);
    });
  }
}

void unpackTile(const PackedMatrix &packed, int64_t t,
                QuantizedMatrix &matrix) {
  const PackedLayout &layout = packed.layout;
  uint8_t codes[8 * kLine];
  int64_t rows = std::min(kRows, matrix.rows - t * kRows);
  for (int64_t g = 0; g < layout.getGroups(); ++g) {
    const uint8_t *lines = packed.stream.data() + layout.getOffset(t, g);
    copyScales<false>(matrix, t, g, lines);
    forEachLine(layout, g, lines, [&](const uint8_t *line, int64_t first) {
      unpackLines(line, matrix.bits, codes);
      int64_t columns =
          std::min(layout.getLineColumns(layout.bits), matrix.columns - first);
      for (int64_t r = 0; r < rows; ++r) {
        uint8_t *code =
            matrix.codes.data() + (t * kRows + r) * matrix.columns + first;
        for (int64_t j = 0; j < columns; ++j)
          code[j] = codes[j / kUnit * kLine + r * kUnit + j % kUnit];
      }
    });
  }
}

/// Appends the factors of all planes, those of int8 `padded` each.
void addFactors(const GroupValues &values, int64_t padded,
                std::vector<float> &factors) {
  if (values.getForm() == GroupForm::F16)
    factors.push_back(values.getUnit());
  if (values.getForm() != GroupForm::Int8)
    return;
  for (unsigned k = 0; k < values.getPlanes(); ++k) {
    auto plane = values.getFactors().slice(k * values.getRows());
    auto begin = plane.begin();
    factors.insert(factors.end(), begin, begin + values.getRows());
    factors.resize(factors.size() + padded - values.getRows());
  }
}

/// Reads what `addFactors` appended.
void takeFactors(GroupValues &values, int64_t padded,
                 llvm::ArrayRef<float> &factors) {
  if (values.getForm() == GroupForm::F16) {
    values.setUnit(factors.front());
    factors = factors.drop_front();
  }
  if (values.getForm() != GroupForm::Int8)
    return;
  for (unsigned k = 0; k < values.getPlanes(); ++k) {
    std::copy_n(factors.begin(), values.getRows(),
                values.getFactors().begin() + k * values.getRows());
    factors = factors.drop_front(padded);
  }
}

} // namespace

//===----------------------------------------------------------------------===//
// PackedLayout
//===----------------------------------------------------------------------===//

Expected<PackedLayout> PackedLayout::get(const QuantizedMatrix &matrix) {
  if (!matrix.basis.isInt8)
    return llvm::createStringError(
        "a basis in f32 cannot be packed for the kernels, expected int8");
  PackedLayout layout;
  layout.rows = matrix.rows;
  layout.columns = matrix.columns;
  layout.group = std::min(matrix.group, matrix.columns);
  layout.bits = matrix.bits;
  layout.rank = matrix.basis.rank;
  layout.scaleForm = matrix.scales.getForm();
  layout.scaleBytes = layout.rank * getWidth(layout.scaleForm);
  layout.offsetKind = matrix.offsetKind;
  bool hasOffset = matrix.offsetKind != OffsetKind::None;
  if (hasOffset) {
    layout.offsetForm = matrix.offsets.getForm();
    layout.scaleBytes += getWidth(layout.offsetForm);
  }
  if (layout.getGroups() > 1 &&
      layout.group % layout.getLineColumns(layout.bits) != 0)
    return llvm::createStringError(
        "group=" + Twine(layout.group) + " cannot be packed with codes of " +
        Twine(layout.bits) + " bits, expected a multiple of " +
        Twine(layout.getLineColumns(layout.bits)));
  return layout;
}

//===----------------------------------------------------------------------===//
// Packing
//===----------------------------------------------------------------------===//

Expected<PackedMatrix> nju::lcq::pack(const QuantizedMatrix &matrix) {
  Expected<PackedLayout> layout = PackedLayout::get(matrix);
  if (!layout)
    return layout.takeError();
  PackedMatrix packed;
  packed.layout = *layout;
  packed.basis.assign(matrix.basis.values.begin(), matrix.basis.values.end());
  int64_t paddedRows = layout->getTiles() * kRows;
  addFactors(matrix.scales, paddedRows, packed.factors);
  if (layout->scaleForm == GroupForm::F32)
    packed.factors.push_back(1);
  if (matrix.offsetKind != OffsetKind::None)
    addFactors(matrix.offsets, paddedRows, packed.factors);
  packed.stream.resize(layout->getBytes());
  llvm::parallelFor(0, layout->getTiles(), [&](size_t t) {
    packTile(matrix, *layout, t,
             packed.stream.data() + layout->getOffset(t, 0));
  });
  return packed;
}

QuantizedMatrix nju::lcq::unpack(const PackedMatrix &packed) {
  const PackedLayout &layout = packed.layout;
  QuantizedMatrix matrix;
  matrix.rows = layout.rows;
  matrix.columns = layout.columns;
  matrix.bits = layout.bits;
  matrix.group = layout.group;
  matrix.offsetKind = layout.offsetKind;
  matrix.basis.rank = layout.rank;
  matrix.basis.levels = 1u << layout.bits;
  matrix.basis.values.assign(packed.basis.begin(), packed.basis.end());
  int64_t groups = layout.getGroups();
  matrix.scales =
      GroupValues(layout.scaleForm, layout.rank, layout.rows, groups);
  matrix.scales.seal();
  int64_t paddedRows = layout.getTiles() * kRows;
  llvm::ArrayRef<float> factors(packed.factors);
  takeFactors(matrix.scales, paddedRows, factors);
  if (layout.scaleForm == GroupForm::F32)
    factors = factors.drop_front();
  if (layout.offsetKind != OffsetKind::None) {
    matrix.offsets = GroupValues(layout.offsetForm, 1, layout.rows, groups);
    matrix.offsets.seal();
    takeFactors(matrix.offsets, paddedRows, factors);
  }
  matrix.codes.resize(layout.rows * layout.columns);
  llvm::parallelFor(0, layout.getTiles(),
                    [&](size_t t) { unpackTile(packed, t, matrix); });
  return matrix;
}
