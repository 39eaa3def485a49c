//===- LCQWeights.h - Packed weights quantized by LCQ -----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_CODEGEN_CPU_LCQWEIGHTS_H
#define NJU_LIB_CODEGEN_CPU_LCQWEIGHTS_H

#include "ByteVectors.h"
#include "LinearOperands.h"
#include "nju/Codegen/CPU/KernelLibrary.h"

namespace nju {

/// Where things lie in the rows of x that `packLCQRows` writes. Rows are cut
/// into blocks of at most `getBlockRows` rows. A line is a digit of a row; the
/// lines of a row follow each other. Of a block, xq has for each four columns
/// those of all its lines, sums have for each group all its lines, and scales
/// for each run of groups that share them all its rows.
class LCQRowsLayout {
public:
  using Value = KernelBuilder::Value;

  /// The greatest number of rows of a block.
  static int64_t getBlockRows(const CPUTarget &target,
                              ActivationType activations);
  /// Where tile products are for many rows: the blocks of these rows that are
  /// multiplied without. Dequantizing costs as much as so many rows.
  static constexpr int64_t kBlocksBeforeTiles = 2;
  /// The rows that these have, of int8. All who pack rows, and all who read
  /// them, have to agree.
  static int64_t getRowsBeforeTiles(const CPUTarget &target);
  /// int8 digits of a number.
  static int64_t getDigits(ActivationType activations) {
    return activations == ActivationType::Int16 ? 2 : 1;
  }

  /// `depth` is K, filled up to whole lines of weights, and has `groups` groups
  /// of `group` columns.
  LCQRowsLayout(KernelBuilder &k, const CPUTarget &target,
                ActivationType activations, int64_t group, Value depth,
                Value groups);

  /// Block `block` of the rows.
  RowBlock getBlock(Value rows, Value block);
  /// The block that row `row` of the rows is in.
  RowBlock getBlockOf(Value rows, Value row);

  /// Runs of groups that share a scale.
  Value getScales() { return k.ceilDiv(groups, scaleGroups); }
  /// The groups of a run.
  std::pair<Value, Value> getGroups(Value run) {
    Value begin = k.mul(run, scaleGroups);
    return {begin, k.min(k.add(begin, scaleGroups), groups)};
  }

  /// Where in xq line `line` of a block has its columns from `column` on.
  Value getColumns(RowBlock block, Value column, Value line);
  /// Where sums have a group of the line.
  Value getSum(RowBlock block, Value group, Value line) {
    Value lines = k.mul(block.size, digits);
    return k.add(k.mul(k.mul(block.begin, digits), groups),
                 k.add(k.mul(group, lines), line));
  }
  /// Where scales have that of a run of groups of the block's row.
  Value getScale(RowBlock block, Value run, Value row) {
    return k.add(k.mul(block.begin, getScales()),
                 k.add(k.mul(run, block.size), row));
  }

private:
  KernelBuilder &k;
  int64_t digits, scaleGroups, blockRows;
  Value depth, groups;
};

/// Where things lie in the stream of a packed matrix: see lcq::PackedLayout.
/// Codes are read in sets, which are the smallest number of whole lines.
class LCQStream {
public:
  using Value = KernelBuilder::Value;

  static constexpr int64_t kTileRows = LCQLayout::kTileRows;
  static constexpr int64_t kUnitColumns = LCQLayout::kUnitColumns;
  static constexpr int64_t kLine = LCQLayout::kLineBytes;

  /// Of a matrix with `columns` columns.
  LCQStream(KernelBuilder &k, const LCQLinearOptions &options, Value columns);

  int64_t getPlanes() const { return options.rank + options.hasOffset(); }
  int64_t getScaleBytes() const {
    int64_t bits = (options.rank + options.offset) * options.scaleBits;
    return (bits + options.zeroBits) * kTileRows / 8;
  }
  int64_t getSetLines() const { return options.bits == 3 ? 3 : 1; }
  int64_t getSetBytes() const { return getSetLines() * kLine; }
  int64_t getSetColumns() const { return options.getLineColumns(); }
  /// Sets of a full group.
  int64_t getSets() const { return options.group / getSetColumns(); }
  /// Where a group of a tile begins.
  Value getGroup(Value tile, Value group);

  KernelBuilder &k;
  const LCQLinearOptions &options;
  Value padded; ///< Columns, filled up to whole sets.
  Value groups;

private:
  Value tileBytes;
};

/// The operands of a product that are one packed matrix, read 16 or 8 rows of a
/// tile at a time: as many as a register has lanes.
class LCQWeights : public LCQStream {
public:
  using Values = KernelBuilder::Values;

  /// The matrices that a function with the arguments of `lcqLinear` has.
  static std::vector<LCQWeights> getAll(KernelBuilder &k,
                                        const CPUTarget &target,
                                        const LCQLinearOptions &options,
                                        Value columns,
                                        mlir::func::FuncOp function);
  /// Those of its arguments that a `LinearResult` has.
  static mlir::ValueRange getResultArguments(mlir::func::FuncOp function,
                                             const LCQLinearOptions &options);

  /// `arguments` are codes, basis and factors. What is looked up is what dot
  /// products read; with x in f32, the entries themselves.
  LCQWeights(KernelBuilder &k, const CPUTarget &target,
             const LCQLinearOptions &options, Value columns,
             mlir::ValueRange arguments);

  /// As many rows of a tile as there are lanes.
  struct Part {
    Value tile;
    int64_t lane; ///< The first of the rows.
  };
  /// Codes of four columns.
  struct Unit {
    Value codes;
    int64_t table; ///< Which of the tables of a rank they are for.
  };

  /// Parts of a tile.
  int64_t getParts() const { return kTileRows / k.lanes; }
  /// The units of the set `set` of a part's group, which begins at `group`, in
  /// the order of the columns. Prefetches what lies `distance` bytes behind.
  llvm::SmallVector<Unit> loadSet(const Part &part, Value group, Value set,
                                  int64_t distance);
  /// Brings the line of codes at `at` into the second cache.
  void prefetch(Value at);
  /// The entries of a row of the basis that a unit's codes name.
  Value lookUp(const Unit &unit, int64_t rank) {
    return bytes.lookUp(tables[rank][unit.table], unit.codes);
  }
  /// The scales, or as plane `rank` the offsets (zero points times scales), of
  /// a part's group. What they stand for is `loadFactors` times as much: 128
  /// times an offset.
  Value loadGroupScales(const Part &part, Value group, int64_t plane);
  Value loadFactors(const Part &part, int64_t plane);
  Value loadScales(const Part &part, Value group, int64_t plane) {
    return k.mulf(loadGroupScales(part, group, plane),
                  loadFactors(part, plane));
  }
  /// The zero points of a part's group.
  Value loadZeroPoints(const Part &part, Value group);

  /// With x in f32: what `dequantize` needs of a part's group, which are scales
  /// and offsets or zero points.
  Values loadDenseScales(const Part &part, Value group);
  /// The columns of a set of a part's group, bit for bit those of the dense
  /// matrix. Prefetches as `loadSet` does.
  Values dequantize(const Part &part, Value group, Value set,
                    llvm::ArrayRef<Value> scales, int64_t distance);

  ByteVectors bytes;

private:
  void loadTables();
  Value lookUpColumn(const Unit &unit, Value entries, int64_t rank, int64_t j);
  Value dequantizeColumn(llvm::ArrayRef<Value> integers,
                         llvm::ArrayRef<Value> scales);
  Value loadPlane(const Part &part, Value group, int64_t plane, int64_t bits);
  llvm::SmallVector<Unit> decode(llvm::ArrayRef<Value> lines);

  Value codes, basis, factors;
  llvm::SmallVector<Values> tables; ///< [rank][1 or 2]
  /// The same in f32, where there are such tables and x is in f32.
  llvm::SmallVector<Values> floatTables;
};

} // namespace nju

#endif // NJU_LIB_CODEGEN_CPU_LCQWEIGHTS_H
