//===- KernelLibrary.h - Hand-shaped CPU kernels ----------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The kernels whose speed decides the speed of a model, emitted as scf.for and
// one-dimensional vector ops. Every kernel is run by all workers at once (SPMD)
// and does its own share. What one worker writes no other worker of the same
// launch reads (but for parts of an attention, which are handed over by an
// atomic counter): a barrier is needed between dependent launches only.
//
// Arguments of every kernel, in the order of exec.launch: (worker: index,
// workers: index, scalars..., ins..., outs...). Memrefs have the identity
// layout and dynamic sizes unless stated otherwise; T is the number of tokens.
//
// A row's (token's) result has the same bits whatever T, the position of the
// row among the others and the number of workers are.
//
//===----------------------------------------------------------------------===//

#ifndef NJU_CODEGEN_CPU_KERNELLIBRARY_H
#define NJU_CODEGEN_CPU_KERNELLIBRARY_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/SymbolTable.h"
#include "nju/Codegen/CPU/CPUTarget.h"
#include "nju/Dialect/NJU/IR/CacheLayout.h"
#include "nju/Support/LCQLayout.h"
#include "llvm/ADT/StringMap.h"
#include <algorithm>
#include <functional>
#include <optional>

namespace nju {

class KernelBuilder;

/// What distinguishes one attention kernel from another.
struct CachedAttentionOptions {
  int64_t heads = 0;   ///< Query heads, H.
  int64_t kvHeads = 0; ///< Key/value heads, G; divides H.
  int64_t headDim = 0; ///< D
  CacheType cacheType = CacheType::F32;
  /// Positions that a token sees, its own included; none: all before it.
  std::optional<int64_t> window;
  /// One a query head, or empty: the score of position j is increased by
  /// slope * (j - position).
  llvm::SmallVector<float> slopes;
  /// Scores are capped before that: softcap * tanh(score / softcap).
  std::optional<double> softcap;
  /// Where a batch has more than 24 tokens, many of them that follow each other
  /// are multiplied in bf16 by AMX; see `hasAttentionTiles`.
  bool tiles = false;
  /// Results of more than 24 tokens become rows that `packLCQRows` would make
  /// of them, instead of y. Needs `hasLCQTiles`, and heads of a multiple of 32
  /// elements.
  bool packs = false;

  CacheLayout getCacheLayout() const { return {cacheType, kvHeads, headDim}; }
};

/// Sizes of what `cachedAttention` writes besides its result.
struct AttentionScratch {
  int64_t records, recordSize; ///< partials is [records, recordSize].
  int64_t counters;
};

/// What distinguishes one product from another.
struct LinearOptions {
  mlir::Type weightType; ///< f32, f16 or bf16, W.
  int64_t weights = 1;   ///< Matrices that x is multiplied by: 1 or 2.
  /// Ranks of the other operands of the epilogue: 1 [N] or 2 [T, N].
  llvm::SmallVector<int64_t> others;
  /// As that of exec.linear: one block of scalar f32 ops that are elementwise,
  /// or null, which stores the product as it is. What it captures from above is
  /// constant.
  mlir::Region *epilogue = nullptr;
};

/// What a kernel that one expert runs does with an argument.
struct ExpertArgument {
  enum Kind {
    Whole,  ///< It is the same for all experts.
    Rows,   ///< Its first dimension are the rows of x, sorted by experts.
    Packed, ///< The experts' parts lie behind each other, `countPacked` long.
    Weight, ///< The expert's own, of `type`.
    Item    ///< One element of the first dimension is the expert's.
  };
  Kind kind;
  mlir::MemRefType type = {};
  /// Columns of x, of which `countPacked` knows.
  int64_t columns = 0;
  /// The size of the first dimension for so many rows.
  std::function<mlir::Value(mlir::OpBuilder &, mlir::Location, mlir::Value)>
      countPacked = {};
};

/// What a product is computed with.
enum class LinearUnit {
  FMA,   ///< Fused multiply-adds in f32.
  Pairs, ///< bf16 with AVX512-BF16: two elements of K in an instruction.
  Tiles  ///< bf16 with AMX.
};

/// What products with weights quantized by LCQ round x to.
enum class ActivationType {
  Int8,
  Int16, ///< As two int8 digits.
  F32    ///< Not at all.
};

/// The type that --activations calls so, if there is one.
std::optional<ActivationType> getActivationType(llvm::StringRef name);
llvm::StringRef stringifyActivationType(ActivationType type);

/// What distinguishes one product with weights quantized by LCQ from another:
/// the format of the weights ("nju/Quantization/Packing.h"), and the rest.
struct LCQLinearOptions {
  int64_t bits = 4; ///< Of a code: 2, 3 or 4.
  /// Columns of a group: a multiple of getLineColumns(), and at most 8192.
  int64_t group = 32;
  int64_t rank = 1; ///< Rows of the basis: 1 to 3.
  /// Of a scale or offset: 8 (int8), 16 (f16) or 32 (f32).
  int64_t scaleBits = 8;
  bool offset = false; ///< Whether groups have an offset.
  /// Of the zero point of a group, which rank 1 can have instead of an offset:
  /// 8 (int8) or 32 (f32); 0 if there is none.
  int64_t zeroBits = 0;
  ActivationType activations = ActivationType::Int8;
  int64_t weights = 1; ///< Matrices that x is multiplied by: 1 or 2.
  llvm::SmallVector<int64_t> others; ///< As those of LinearOptions.
  mlir::Region *epilogue = nullptr;  ///< As that of LinearOptions.
  /// More than 24 rows of the result become rows that `packLCQRows` would make
  /// of them, instead of y. Needs `hasLCQTiles`.
  bool packs = false;

  /// Columns of the smallest number of whole lines.
  int64_t getLineColumns() const { return LCQLayout::getLineColumns(bits); }
  /// Groups of weights whose columns of x share a scale: as many as fit into
  /// 128 columns, at least one.
  static int64_t getScaleGroups(int64_t group) {
    return std::max<int64_t>(1, 128 / group);
  }
  int64_t getScaleGroups() const { return getScaleGroups(group); }
  /// Whether something is taken from all weights of a group.
  bool hasOffset() const { return offset || zeroBits; }
  /// Whether there is a kernel for these, where `supportsLCQ`.
  bool isValid() const;
};

/// Creates kernels in a module on first use: private functions at its end,
/// named `nju_...`. Dialects used: amx, arith, func, llvm, memref, scf, vector.
class KernelLibrary {
public:
  KernelLibrary(mlir::ModuleOp module, const CPUTarget &target,
                ComputeType compute = ComputeType::F32);

  /// What `linear` with weights of this type computes with.
  LinearUnit unitOf(mlir::Type weightType) const;

  /// (worker, workers, x: memref<?x?xf32>, xp: memref<?xP>): x is [T, K]; xp
  /// gets its rows as `linear` with this unit reads them. Leaves xp alone if T
  /// is 1. P is f32 for FMA: the T * K elements in blocks of rows, column after
  /// column of a block. It is bf16 for pairs: the same with two columns at
  /// once; and for tiles: [T / 16][K / 32][16][32]. Where K does not fill
  /// these, zeros do.
  mlir::func::FuncOp packRows(LinearUnit unit = LinearUnit::FMA);

  /// The number of elements that `packRows` makes of `x` (memref<?x?xf32>).
  static mlir::Value countPacked(mlir::OpBuilder &b, mlir::Location loc,
                                 mlir::Value x, LinearUnit unit);
  /// The same for that many rows of `depth` elements.
  static mlir::Value countPacked(mlir::OpBuilder &b, mlir::Location loc,
                                 mlir::Value rows, mlir::Value depth,
                                 LinearUnit unit);

  /// (worker, workers, x: memref<?x?xf32>, xp: memref<?xf32>,
  ///  w: memref<?x?x32xW>..., others: memref<?x?xf32> or memref<?xf32>...,
  ///  y: memref<?x?xf32>, next: memref<?xi64>):
  /// y = epilogue(x w, ..., others...) element by element, with x [T, K], each
  /// w [panels, K, 32], y [T, N] and 32 * (panels - 1) < N <= 32 * panels. `xp`
  /// must hold what `packRows` makes of x, unless T is 1. Each element of a
  /// product is a chain of fused multiply-adds in ascending k from 0. No other
  /// may be y. `next` is one element that no other launch uses: it deals out
  /// the panels, is 0 before the launch and 0 after it.
  /// In bf16, xp is memref<?xbf16>, weights and rows are rounded to the
  /// nearest, ties to even, and subnormal numbers are zeros. With pairs, an
  /// element is a chain of fused multiply-adds in ascending k, but of each two
  /// the odd one first (VDPBF16PS). With tiles it is a sum, in ascending order,
  /// of what TDPBF16PS makes of 32 k each: two chains of fused multiply-adds,
  /// of the even and of the odd k, which are then added to each other and to
  /// the sum.
  mlir::func::FuncOp linear(const LinearOptions &options);

  /// Whether there are products with weights quantized by LCQ: on x86-64.
  bool supportsLCQ() const { return target.isX86(); }

  /// (worker, workers, x: memref<?x?xf32>, xq: memref<?x?xi8>,
  ///  scales: memref<?x?xf32>, sums: memref<?x?xi32>): rounds x [T, K] to
  /// int8, or to int16, as `lcqLinear` reads it. With D digits (1 or 2) of a
  /// number, xq is [Tp, D * Kp], where Kp is K filled up to whole lines of
  /// weights and gets zeros behind K, and Tp is `countLCQRows`; sums are [T, D
  /// * groups of Kp], and scales [T, blocks of getScaleGroups() groups]. The
  /// order of their elements is that of `LCQRowsLayout`; with one row, and one
  /// digit, it is the natural one. The largest magnitude of such a block
  /// becomes 127, or 127
  /// * 256 = 256 * digit 0 + digit 1, so that x is about the scale times that;
  /// sums are those of the digits of a group, times -128. A block with a NaN or
  /// an infinity has a scale of NaN; one whose numbers are all below 1e-30
  /// becomes 0. Where `hasLCQTiles`, more than 24 rows become what `packRows`
  /// makes of them for tiles, and scales and sums are left alone; nothing is
  /// done to them if they are `packed` already.
  mlir::func::FuncOp
  packLCQRows(int64_t group, ActivationType activations = ActivationType::Int8,
              bool packed = false);

  /// Whether `lcqLinear` multiplies many rows by AMX.
  bool hasLCQTiles(ActivationType activations) const;
  /// The rows of xq for T rows of K columns: T, or more where there is AMX.
  mlir::Value countLCQRows(mlir::OpBuilder &b, mlir::Location loc,
                           mlir::Value rows, int64_t columns,
                           const LCQLinearOptions &options) const;

  /// (worker, workers, x: memref<?x?xf32>, xq: memref<?x?xi8>,
  ///  scales: memref<?x?xf32>, sums: memref<?x?xi32>,
  ///  (codes: memref<?xi8>, basis: memref<?x?xi8>, factors: memref<?x?xf32>)
  ///  of each weight...,
  ///  others: memref<?x?xf32> or memref<?xf32>...,
  ///  y: memref<?x?xf32>, and if it packs, packed: memref<?x?xi8>,
  ///  next: memref<?xi64>):
  /// y = epilogue(x w, ..., others...) as `linear` does, with xq, scales and
  /// sums from `packLCQRows`, and codes, basis and factors those of an
  /// `lcq::PackedMatrix` [N, K]. Of x [T, K], the sizes are read. The dot
  /// product of a group is an exact integer for each rank and digit. Those of
  /// the groups that share a scale of x, times the scales of the weights (256
  /// times as large for the high digit, which comes first), are added up in
  /// fused multiply-adds: groups, digits and ranks in ascending order, behind
  /// the ranks the offset, or the scale times the zero point, times the sum of
  /// the digits. That is added to the result in a fused multiply-add with the
  /// scale of x. Where `hasLCQTiles`, more than 24 rows are products of tiles,
  /// as those of `linear`, with x and the dequantized weights rounded to bf16.
  /// With activations of f32 xq, scales and sums are not read but x itself, and
  /// an element of a product is a chain of fused multiply-adds in ascending k
  /// from 0 of x and the dequantized weights. `next` is as that of `linear`.
  /// Only where `supportsLCQ`.
  mlir::func::FuncOp lcqLinear(const LCQLinearOptions &options);

  /// (worker, workers, rows_in_table: index, rows: memref<?xi64>,
  ///  codes: memref<?xi8>, basis: memref<?x?xi8>, factors: memref<?x?xf32>,
  ///  y: memref<?x?xf32>):
  /// y [T, K]: row t is row rows[t] of the matrix [rows_in_table, K] with these
  /// codes, basis and factors, dequantized bit for bit as
  /// `lcq::QuantizedMatrix::dequantizeRow` does. Negative rows count from the
  /// end; what is out of range then becomes the nearest row, as in the lowering
  /// of nju.embedding. Only the format in `options` matters. For any target.
  mlir::func::FuncOp lcqRows(const LCQLinearOptions &options);

  /// (worker, workers, choices: memref<?x?xi64>, starts: memref<?xi64>,
  ///  order: memref<?xi64>):
  /// sorts the choices [T, C] by experts, those of an expert in their order:
  /// `order` [T * C] gets their numbers t * C + c, and `starts` [experts + 1]
  /// where each expert's begin. Choices out of range become the nearest expert.
  mlir::func::FuncOp sortChoices();
  /// (worker, workers, x: memref<?x?xf32>, order: memref<?xi64>,
  ///  y: memref<?x?xf32>):
  /// row i of y [T * C, K] is that of choice order[i]; x is [T, K] or [T * C,
  /// K].
  mlir::func::FuncOp gatherChoices();
  /// (worker, workers, x: memref<?x?xf32>, order: memref<?xi64>,
  ///  y: memref<?x?xf32>):
  /// row order[i] of y becomes row i of x.
  mlir::func::FuncOp scatterChoices();
  /// (worker, workers, starts: memref<?xi64>,
  ///  and if there are weights, all: memref<?xi8>, table: memref<?xi64>;
  ///  buffers...):
  /// runs `kernel`, whose arguments behind (worker, workers) are `arguments`,
  /// for each expert that has rows; `starts` is from `sortChoices`. `buffers`
  /// are those arguments that are no weights. The expert's weight number i lies
  /// in `all` at byte table[i * experts + expert].
  mlir::func::FuncOp forExperts(mlir::func::FuncOp kernel,
                                llvm::ArrayRef<ExpertArgument> arguments);

  /// (worker, workers, before: index, max_sequences: index, cache_tokens:
  /// index,
  ///  k: memref<?xGxDxf32>, v: memref<?xGxDxf32>, positions: memref<?xi32>,
  ///  sequences: memref<?xi32>, cache: memref<?xi8>):
  /// writes keys and values of T tokens into the cache of a layer, laid out as
  /// nju_abi_step_args says. `before` are the bytes that a token takes in the
  /// layers before this one. In f16, and before it is quantized, what is beyond
  /// +-65504 becomes that. In q4 tokens must come in the order of their
  /// positions.
  mlir::func::FuncOp cacheWrite(int64_t kvHeads, int64_t headDim,
                                CacheType cacheType);

  /// (worker, workers, before: index, max_sequences: index, cache_tokens:
  /// index,
  ///  scale: f32, q: memref<?xHxDxf32>, positions: memref<?xi32>,
  ///  sequences: memref<?xi32>, cache: memref<?xi8>, y: memref<?xHxDxf32>,
  ///  partials: memref<?xRxf32>, counters: memref<?xi32>,
  ///  and if it packs, packed: memref<?x?xi8>):
  /// attention of each token over its sequence's positions 0 (or the window's
  /// begin) to its own; see nju.cached_attention. Runs after `cacheWrite`.
  /// `partials` and `counters` have the sizes of `attentionScratch`; the former
  /// is where workers that share a token leave parts for the last of them, the
  /// latter tell who that is: they are 0 before the launch and 0 after it. With
  /// fewer partials fewer tokens are shared.
  /// Method: online softmax over chunks of positions, chunks of a token by
  /// several workers; Milakov and Gimelshein, "Online normalizer calculation
  /// for softmax", algorithm 3 and section 3.1.
  mlir::func::FuncOp cachedAttention(const CachedAttentionOptions &options);

  /// Whether `cachedAttention` with these options can be told to use tiles.
  bool hasAttentionTiles(const CachedAttentionOptions &options) const;

  /// For sequences of at most `maxTokens` tokens and `batchTokens` tokens a
  /// step.
  AttentionScratch attentionScratch(const CachedAttentionOptions &options,
                                    int64_t maxTokens, int64_t batchTokens);

private:
  mlir::func::FuncOp lookup(llvm::StringRef name);
  mlir::func::FuncOp create(llvm::StringRef name,
                            llvm::ArrayRef<mlir::Type> arguments);
  mlir::ModuleOp module;
  CPUTarget target;
  ComputeType compute;
  /// Epilogues seen, as text: kernels are numbered by them.
  llvm::StringMap<unsigned> epilogues;
};

} // namespace nju

#endif // NJU_CODEGEN_CPU_KERNELLIBRARY_H
