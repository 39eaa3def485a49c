//===- MatrixProduct.cpp - Products of f32 matrices -----------------------===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nju/Support/MatrixProduct.h"

#include "nju/Support/VectorCode.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/Parallel.h"
#include <algorithm>
#include <memory>
#include <vector>

using namespace nju;

//===----------------------------------------------------------------------===//
// Kernels
//===----------------------------------------------------------------------===//

namespace {

/// One register block: `Rows` rows of `Vectors` vectors. Element (r, k) of A is
/// a[r * aStride + k], or of a packed A a[k * Rows + r].
template <int Width, int Rows, int Vectors, bool Packed>
NJU_INLINE void addBlock(int64_t depth, const float *a, int64_t aStride,
                         const float *b, int64_t bStride,
                         Vector<Width> (&sums)[Rows][Vectors]) {
  // A that is not packed is read once, in short pieces of many rows: the rows
  // of the next block are asked for while this one is computed.
  constexpr int64_t kLine = 16;
  for (int64_t begin = 0; begin < depth; begin += kLine) {
    if constexpr (!Packed)
      for (int r = 0; r < Rows; ++r)
        __builtin_prefetch(a + (Rows + r) * aStride + begin);
    int64_t end = begin + kLine < depth ? begin + kLine : depth;
    for (int64_t k = begin; k < end; ++k)
      for (int v = 0; v < Vectors; ++v) {
        Vector<Width> right = load<Width>(b + k * bStride + v * Width);
        for (int r = 0; r < Rows; ++r)
          sums[r][v] += a[Packed ? k * Rows + r : r * aStride + k] * right;
      }
  }
}

template <int Width, int Rows, int Vectors>
NJU_INLINE void multiplyBlock(int64_t depth, float factor, const float *a,
                              int64_t aStride, const float *b, int64_t bStride,
                              float *c, int64_t cStride) {
  Vector<Width> sums[Rows][Vectors] = {};
  addBlock<Width, Rows, Vectors, false>(depth, a, aStride, b, bStride, sums);
  for (int r = 0; r < Rows; ++r)
    for (int v = 0; v < Vectors; ++v) {
      float *to = c + r * cStride + v * Width;
      store<Width>(to, load<Width>(to) + factor * sums[r][v]);
    }
}

template <int Width, int Rows, int Vectors>
NJU_INLINE void multiplyPanel(int64_t rows, int64_t depth, float factor,
                              const float *a, int64_t aStride, const float *b,
                              int64_t bStride, float *c, int64_t cStride) {
  for (int64_t column = 0; column < kProductColumns;
       column += Vectors * Width) {
    int64_t row = 0;
    for (; row + Rows <= rows; row += Rows)
      multiplyBlock<Width, Rows, Vectors>(depth, factor, a + row * aStride,
                                          aStride, b + column, bStride,
                                          c + row * cStride + column, cStride);
    for (; row < rows; ++row)
      multiplyBlock<Width, 1, Vectors>(depth, factor, a + row * aStride,
                                       aStride, b + column, bStride,
                                       c + row * cStride + column, cStride);
  }
}

/// A block at the border of C: its first `rows` rows and `columns` columns.
template <int Width, int Rows, int Vectors>
NJU_INLINE void addPartOfBlock(Vector<Width> (&sums)[Rows][Vectors], float *c,
                               int64_t cStride, int64_t rows, int64_t columns) {
  float values[Vectors * Width];
  for (int64_t r = 0; r < rows; ++r) {
    for (int v = 0; v < Vectors; ++v)
      store<Width>(values + v * Width, sums[r][v]);
    for (int64_t i = 0; i < columns; ++i)
      c[r * cStride + i] += values[i];
  }
}

template <int Width, int Rows, int Vectors>
NJU_INLINE void multiplyStrips(int64_t rows, int64_t depth, const float *a,
                               int64_t stripStride, const float *b, float *c,
                               int64_t cStride, int64_t columns) {
  constexpr int64_t kWidth = Vectors * Width;
  for (int64_t column = 0; column < columns; column += kWidth)
    for (int64_t row = 0; row < rows; row += Rows) {
      Vector<Width> sums[Rows][Vectors] = {};
      addBlock<Width, Rows, Vectors, true>(depth, a + row / Rows * stripStride,
                                           0, b + column, kProductColumns,
                                           sums);
      float *to = c + row * cStride + column;
      if (rows - row < Rows || columns - column < kWidth) {
        addPartOfBlock<Width, Rows, Vectors>(
            sums, to, cStride, std::min<int64_t>(Rows, rows - row),
            std::min(kWidth, columns - column));
        continue;
      }
      for (int r = 0; r < Rows; ++r)
        for (int v = 0; v < Vectors; ++v) {
          float *at = to + r * cStride + v * Width;
          store<Width>(at, load<Width>(at) + sums[r][v]);
        }
    }
}

#define NJU_DEFINE_VARIANT(NAME, ATTRIBUTE, WIDTH, ROWS, VECTORS)              \
  ATTRIBUTE void multiply##NAME(int64_t rows, int64_t depth, float factor,     \
                                const float *a, int64_t aStride,               \
                                const float *b, int64_t bStride, float *c,     \
                                int64_t cStride) {                             \
    multiplyPanel<WIDTH, ROWS, VECTORS>(rows, depth, factor, a, aStride, b,    \
                                        bStride, c, cStride);                  \
  }                                                                            \
  ATTRIBUTE void packed##NAME(int64_t rows, int64_t depth, const float *a,     \
                              int64_t stripStride, const float *b, float *c,   \
                              int64_t cStride, int64_t columns) {              \
    multiplyStrips<WIDTH, ROWS, VECTORS>(rows, depth, a, stripStride, b, c,    \
                                         cStride, columns);                    \
  }                                                                            \
  constexpr ProductKernels k##NAME = {multiply##NAME, ROWS, packed##NAME};
#if defined(__x86_64__)
NJU_DEFINE_VARIANT(AVX512, NJU_TARGET_AVX512, 16, 6, 4)
NJU_DEFINE_VARIANT(AVX2, NJU_TARGET_AVX2, 8, 6, 2)
#endif
NJU_DEFINE_VARIANT(Baseline, , 4, 4, 2)
#undef NJU_DEFINE_VARIANT

} // namespace

llvm::ArrayRef<ProductKernels> nju::getProductKernels() {
  static const ProductKernels all[] = {
#if defined(__x86_64__)
      kAVX512, kAVX2,
#endif
      kBaseline};
  return llvm::ArrayRef<ProductKernels>(all).drop_front(getFirstVariant());
}

void nju::multiplyAdd(int64_t rows, int64_t depth, float factor, const float *a,
                      int64_t aStride, const float *b, int64_t bStride,
                      float *c, int64_t cStride) {
  getProductKernels().front().multiplyAdd(rows, depth, factor, a, aStride, b,
                                          bStride, c, cStride);
}

//===----------------------------------------------------------------------===//
// Blocks
//===----------------------------------------------------------------------===//

namespace {

/// Terms that are added up in registers.
constexpr int64_t kDepthBlock = 384;
/// Rows of A that a thread has rearranged at once: with the terms above, half a
/// second-level cache.
constexpr int64_t kRowBlock = 192;
/// Floats of B that are rearranged at once.
constexpr int64_t kSlabElements = int64_t(2) << 20;
/// Pieces of work that keep some threads busy to the end.
constexpr int64_t kEnoughTasks = 12;

/// Rearranges a block of A to strips.
void packStrips(MatrixView a, int64_t rows, int64_t depth, int64_t strip,
                float *to) {
  for (int64_t row = 0; row < rows; row += strip, to += strip * depth) {
    const float *from = a.data + row * a.rowStride;
    int64_t count = std::min(strip, rows - row);
    if (count < strip)
      std::fill(to, to + strip * depth, 0.f);
    if (a.rowStride == 1) {
      for (int64_t k = 0; k < depth; ++k)
        std::copy_n(from + k * a.columnStride, count, to + k * strip);
      continue;
    }
    for (int64_t r = 0; r < count; ++r)
      for (int64_t k = 0; k < depth; ++k)
        to[k * strip + r] = from[r * a.rowStride + k * a.columnStride];
  }
}

/// C += A B for a slab of B, [columns / 64, depth, 64].
class SlabProduct {
public:
  SlabProduct(int64_t rows, int64_t columns, int64_t depth, MatrixView a,
              const float *slab, float *c, int64_t cStride, ProductMode mode)
      : kernels(getProductKernels().front()), rows(rows), columns(columns),
        depth(depth), a(a), slab(slab), c(c), cStride(cStride), mode(mode) {}

  /// In pieces of rows, and where these are few of columns as well.
  void run() {
    int64_t rowBlock = kRowBlock;
    while (rowBlock > 48 && llvm::divideCeil(rows, rowBlock) < kEnoughTasks)
      rowBlock /= 2;
    int64_t rowTasks = llvm::divideCeil(rows, rowBlock);
    int64_t panels = llvm::divideCeil(columns, kProductColumns);
    int64_t columnTasks = std::min<int64_t>(
        panels, llvm::divideCeil(kEnoughTasks, std::max<int64_t>(1, rowTasks)));
    int64_t width =
        int64_t(llvm::divideCeil(panels, columnTasks)) * kProductColumns;
    columnTasks = llvm::divideCeil(columns, width);
    llvm::parallelFor(0, rowTasks * columnTasks, [&](size_t task) {
      int64_t row = int64_t(task) / columnTasks * rowBlock;
      int64_t column = int64_t(task) % columnTasks * width;
      runBlock(row, std::min(row + rowBlock, rows), column,
               std::min(column + width, columns));
    });
  }

private:
  void runBlock(int64_t row, int64_t rowEnd, int64_t column,
                int64_t columnEnd) const {
    if (mode == ProductMode::Assign)
      for (int64_t r = row; r < rowEnd; ++r)
        std::fill(c + r * cStride + column, c + r * cStride + columnEnd, 0.f);
    int64_t strip = kernels.packedRows;
    int64_t block = std::min(depth, kDepthBlock);
    std::vector<float> packed(int64_t(llvm::divideCeil(rowEnd - row, strip)) *
                              strip * block);
    for (int64_t k = 0; k < depth; k += kDepthBlock) {
      int64_t terms = std::min(kDepthBlock, depth - k);
      MatrixView part = a;
      part.data += row * a.rowStride + k * a.columnStride;
      packStrips(part, rowEnd - row, terms, strip, packed.data());
      for (int64_t j = column; j < columnEnd; j += kProductColumns)
        kernels.multiplyPacked(
            rowEnd - row, terms, packed.data(), strip * terms,
            slab + j * depth + k * kProductColumns, c + row * cStride + j,
            cStride, std::min(kProductColumns, columnEnd - j));
    }
  }

  const ProductKernels &kernels;
  int64_t rows, columns, depth;
  MatrixView a;
  const float *slab;
  float *c;
  int64_t cStride;
  ProductMode mode;
};

/// Columns of a slab of B.
int64_t getSlabColumns(int64_t columns, int64_t depth) {
  int64_t most = kSlabElements / std::max<int64_t>(1, depth);
  most = std::max(kProductColumns, most / kProductColumns * kProductColumns);
  return std::min<int64_t>(most, llvm::alignTo(columns, kProductColumns));
}

void writeStridedPanel(MatrixView b, int64_t depth, int64_t column,
                       int64_t count, float *panel) {
  const float *from = b.data + column * b.columnStride;
  if (count < kProductColumns)
    std::fill(panel, panel + depth * kProductColumns, 0.f);
  if (b.columnStride == 1) {
    for (int64_t k = 0; k < depth; ++k)
      std::copy_n(from + k * b.rowStride, count, panel + k * kProductColumns);
    return;
  }
  // A transpose: in blocks whose lines stay in the first-level cache.
  constexpr int64_t kLines = 64;
  for (int64_t begin = 0; begin < depth; begin += kLines)
    for (int64_t j = 0; j < count; ++j)
      for (int64_t k = begin; k < std::min(depth, begin + kLines); ++k)
        panel[k * kProductColumns + j] =
            from[k * b.rowStride + j * b.columnStride];
}

} // namespace

void nju::multiplyMatrices(int64_t rows, int64_t columns, int64_t depth,
                           MatrixView a, PanelWriter writePanel, float *c,
                           int64_t cStride, ProductMode mode) {
  int64_t width = getSlabColumns(columns, depth);
  std::unique_ptr<float[]> slab(new float[width * depth]);
  for (int64_t column = 0; column < columns; column += width) {
    int64_t count = std::min(width, columns - column);
    llvm::parallelFor(
        0, llvm::divideCeil(count, kProductColumns), [&](size_t panel) {
          int64_t first = int64_t(panel) * kProductColumns;
          writePanel(column + first, std::min(kProductColumns, count - first),
                     slab.get() + first * depth);
        });
    SlabProduct(rows, count, depth, a, slab.get(), c + column, cStride, mode)
        .run();
  }
}

void nju::multiplyMatrices(int64_t rows, int64_t columns, int64_t depth,
                           MatrixView a, MatrixView b, float *c,
                           int64_t cStride, ProductMode mode) {
  multiplyMatrices(
      rows, columns, depth, a,
      [&](int64_t column, int64_t count, float *panel) {
        writeStridedPanel(b, depth, column, count, panel);
      },
      c, cStride, mode);
}

void nju::multiplyTransposed(int64_t rows, int64_t columns, const float *x,
                             int64_t stride, float *h) {
  // A slab of columns at a time, and of it the rows from the diagonal on.
  int64_t width = columns < 4096 ? 256 : 512;
  for (int64_t j = 0; j < columns; j += width) {
    int64_t count = std::min(width, columns - j);
    multiplyMatrices(columns - j, count, rows, {x + j, 1, stride},
                     {x + j, stride}, h + j * columns + j, columns);
  }
  constexpr int64_t kBlock = 64;
  llvm::parallelFor(0, llvm::divideCeil(columns, kBlock), [&](size_t block) {
    int64_t begin = int64_t(block) * kBlock;
    int64_t end = std::min(begin + kBlock, columns);
    for (int64_t i = begin; i < columns; ++i)
      for (int64_t j = begin; j < std::min(i, end); ++j)
        h[j * columns + i] = h[i * columns + j];
  });
}
