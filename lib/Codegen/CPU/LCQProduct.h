//===- LCQProduct.h - What products with LCQ weights share ------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_CODEGEN_CPU_LCQPRODUCT_H
#define NJU_LIB_CODEGEN_CPU_LCQPRODUCT_H

#include "LCQWeights.h"
#include "LinearOperands.h"

namespace nju {

/// The operands of `lcqLinear`, and what is done with them whatever the dot
/// products of groups are computed with: looking up weights for many rows,
/// scales, and results.
class LCQProduct : public LinearResult {
protected:
  using Values = KernelBuilder::Values;
  using Part = LCQWeights::Part;

  /// Tiles of weights, and bytes of them, that are looked up at once.
  static constexpr int64_t kStagedTiles = 2, kStagedBytes = 16384;

  /// With room for `sumRows` rows of a tile of sums.
  LCQProduct(KernelBuilder &k, const CPUTarget &target,
             const LCQLinearOptions &options, mlir::func::FuncOp function,
             int64_t sumRows);

  /// The scales of weights for each digit of x, of which the first one counts
  /// 256 times.
  llvm::SmallVector<Values> ofDigits(Values scales);
  /// What the total of the row of a block whose first line is `line` is with
  /// the dot products of a group, `dot(rank, digit)`; `scales` are those of
  /// the weights.
  Value addGroup(RowBlock block, Value group, Value line,
                 llvm::function_ref<Value(int64_t, int64_t)> dot,
                 llvm::ArrayRef<Values> scales, Value total);
  /// A row's sum with the total of a run of groups.
  Value addRun(RowBlock block, Value run, Value row, Value total, Value sum) {
    Value at = layout().getScale(block, run, row);
    return k.fma(total, k.broadcast(k.load(xScales, {at})), sum);
  }
  Value toFloat(Value integers) {
    return mlir::arith::SIToFPOp::create(k.b, k.loc, k.vectorType(k.lanes),
                                         integers);
  }
  /// With one plane its factors wait until the groups are summed.
  bool scalesSums() const { return w().getPlanes() == 1; }
  Value loadScales(LCQWeights &w, const Part &part, Value group,
                   int64_t plane) {
    return scalesSums() ? w.loadGroupScales(part, group, plane)
                        : w.loadScales(part, group, plane);
  }
  /// Sets `count` rows from row `slot` of `sums` on to 0.
  void clearSums(int64_t number, Value slot, Value count);
  /// Stores what becomes of the sums of a block from row `slot` of `sums` on:
  /// of a part of a tile.
  void finish(RowBlock block, Value slot, const Part &part);

  /// The groups [begin, end) of a part, which are kept at place `place`.
  struct Piece {
    Part part;
    Value place, begin, end;
  };
  /// Looks up the codes of the piece, and multiplies its scales out.
  void stagePiece(LCQWeights &w, Piece piece);
  /// The scales, or offsets, of a group of the piece.
  Value loadStagedScales(Piece piece, Value group, int64_t plane) {
    return k.loadVector(stagedScales,
                        {placeOfScales(piece, group, plane), k.index(0)});
  }
  Value placeOfRank(Value place, int64_t rank) {
    return k.add(k.mul(place, options.rank), rank);
  }

  const LCQWeights &w() const { return weights.front(); }
  LCQWeights &w() { return weights.front(); }
  LCQRowsLayout layout() {
    return {k,          target,    options.activations, options.group,
            w().padded, w().groups};
  }
  int64_t getGroupUnits() const {
    return options.group / LCQStream::kUnitColumns;
  }

  const CPUTarget &target;
  const LCQLinearOptions &options;
  int64_t digits;
  int64_t blockRows;   ///< Rows of a block of x.
  int64_t pieceGroups; ///< Groups that are looked up at once.
  Value workers, xq, xScales, xSums, next;
  std::vector<LCQWeights> weights;
  /// Sums, [weights, rows, rows of a tile].
  Value sums;
  /// Looked up, [tiles and ranks, units of a piece, bytes]; scales, [tiles and
  /// planes of all groups, lanes].
  Value staged, stagedScales;

private:
  Value placeOfScales(Piece piece, Value group, int64_t plane) {
    Value own =
        k.add(k.mul(piece.place, pieceGroups), k.sub(group, piece.begin));
    return k.add(k.mul(own, w().getPlanes()), plane);
  }
  void stageSet(LCQWeights &w, Piece piece, Value group, Value set,
                Value firstUnit);
};

} // namespace nju

#endif // NJU_LIB_CODEGEN_CPU_LCQPRODUCT_H
