//===- TileProduct.h - Products of many rows with AMX tiles -----*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NJU_LIB_CODEGEN_CPU_TILEPRODUCT_H
#define NJU_LIB_CODEGEN_CPU_TILEPRODUCT_H

#include "KernelBuilder.h"

namespace nju {

/// Rows, and columns, of a tile of sums: a row is 64 bytes.
inline constexpr int64_t kTileRows = 16;
/// Elements of k in a tile of bf16, whose rows are 64 bytes, too: a step.
inline constexpr int64_t kTileDepth = 32;

/// The tile at `indices` of a memref of bf16 (16 rows of 32), or of f32 (16 of
/// 16), which they are stored to as well.
mlir::Value loadTile(KernelBuilder &k, mlir::Value memref,
                     mlir::ValueRange indices);
void storeTile(KernelBuilder &k, mlir::Value tile, mlir::Value memref,
               mlir::ValueRange indices);
/// 16 x 16 zeros in f32.
mlir::Value zeroTile(KernelBuilder &k);
/// Two vectors of 16 f32 as a row of a tile of pairs: bf16, their elements in
/// turn.
mlir::Value toPairs(KernelBuilder &k, mlir::Value even, mlir::Value odd);
/// `sums` and the products of 16 rows of 32 in bf16 and 16 pairs of rows.
mlir::Value addTileProduct(KernelBuilder &k, mlir::Value a, mlir::Value b,
                           mlir::Value sums);

/// Rows of bf16 times panels of 32 columns of weights, whatever these are made
/// of. A tile product multiplies 16 rows by 32 k by 16 columns in 16 cycles,
/// and has to get its operands from the caches, which are the bottleneck:
///
///   for each group of up to 8 panels, which are dealt out to the workers
///     for each 512 rows: the sums of group and rows stay in L2
///       for each block of 512 k, for each panel of the group
///         the block of the panel is converted once, into 32 KB in L1
///         for each 32 rows: 2 x 2 tiles, in registers over the block of k
///
/// Rows stream past L1 from L2 then, and from beyond it once for a group. The
/// weights are read once for 512 rows.
class TileProduct {
public:
  using Value = KernelBuilder::Value;
  using Values = KernelBuilder::Values;
  using ValueRange = mlir::ValueRange;

  /// Tiles across the columns of a panel.
  static constexpr int64_t kHalves = 2;
  /// Steps in a block of k.
  static constexpr int64_t kBlockSteps = 16;

  /// `packed` is x as `emitPackTiles` makes it, of `rows` rows of `depth`
  /// columns, to be multiplied by `matrices` matrices.
  TileProduct(KernelBuilder &k, Value packed, Value rows, Value depth,
              int64_t matrices);

  /// What is multiplied together: the steps [begin, end) of a panel of a matrix
  /// and `count` tiles of rows of x from tile `row` on, whose sums are at
  /// `slot`.
  struct Block {
    int64_t matrix;
    Value panel;
    Value nextPanel; ///< Of the matrix, behind the last step of this one.
    Value slot, row, count, begin, end;
  };
  /// Of the matrix of a block, the panel and the first step that come next.
  std::pair<Value, Value> getNext(const Block &block);
  /// How `emit` gets its work, by calls of every worker, brings weights into
  /// `block`, and what becomes of sums.
  struct Callbacks {
    /// Deals `count` items out.
    llvm::function_ref<void(Value count, llvm::function_ref<void(Value)>)> deal;
    /// Converts the weights of a block.
    llvm::function_ref<void(const Block &)> convert;
    /// Called in each step of each pair of tiles of rows, `turn` times before.
    llvm::function_ref<void(const Block &, Value turn)> prefetch;
    /// Stores row `row` of the results of a panel, which is row `own` of the
    /// sums at `slots`, one of each matrix.
    llvm::function_ref<void(Value panel, llvm::ArrayRef<Value> slots, Value row,
                            Value own)>
        store;
  };
  /// All rows times all `panels` panels of all matrices.
  void emit(Value panels, Value workers, const Callbacks &callbacks);

  /// A tile of x, of [tile of rows, step, 0, 0]; of the weights in the block,
  /// of [step, half, 0, 0].
  Value loadRows(ValueRange indices);
  Value loadWeights(ValueRange indices) { return loadTile(k, block, indices); }
  void storeSums(Value value, Value slot, Value tile, int64_t half);
  /// Row `row` of the sums at `slot`, of each half.
  Values loadSumsOfRow(Value slot, Value row);
  /// Stores two k of 16 columns of a half, in turn, as pair `pair` of a step.
  void storeWeights(Value pairs, Value step, int64_t half, Value pair);

  Value steps;

private:
  Value loadSums(Value slot, Value tile, int64_t half);
  void prefetchSums(const Block &block, Value tile, Value step);
  Values startSums(const Block &block, int64_t count, Value tile);
  void multiplyTiles(const Block &block, int64_t count, Value tile,
                     const Callbacks &callbacks);
  void multiplyBlock(const Block &block, const Callbacks &callbacks);
  void emitGroup(Value begin, Value end, Value row, const Callbacks &callbacks);

  KernelBuilder &k;
  Value rows;
  int64_t matrices;
  /// x as tiles; a group's sums; for each step of a block of a panel the two
  /// tiles of 16 columns.
  Value tiles, sums, block;
};

/// Packs the rows [begin, end) of x into tiles, with zeros behind their
/// columns: [tiles of 16 rows, steps, 16, 32].
void emitPackTiles(KernelBuilder &k, mlir::Value x, mlir::Value packed,
                   mlir::Value begin, mlir::Value end);
/// The bytes (memref<?xi8>) that packed rows are kept in, as these.
mlir::Value asTiles(KernelBuilder &k, mlir::Value bytes);
/// Bytes (memref<?x?xi8>) as tiles of `rows` rows of `depth` columns: [tiles of
/// 16 rows, steps, 16, 32].
mlir::Value getRowTiles(KernelBuilder &k, mlir::Value bytes, mlir::Value rows,
                        mlir::Value depth);
/// Stores 32 elements of a row, as bf16.
void storeTileRow(KernelBuilder &k, mlir::Value low, mlir::Value high,
                  mlir::Value tiles, mlir::Value row, mlir::Value step);
/// 32 elements of a row of x from k = `at` on, as bf16; zeros from `end` on
/// where that is given.
mlir::Value loadTileRow(KernelBuilder &k, mlir::Value x, mlir::Value row,
                        mlir::Value at, mlir::Value end = nullptr);

} // namespace nju

#endif // NJU_LIB_CODEGEN_CPU_TILEPRODUCT_H
