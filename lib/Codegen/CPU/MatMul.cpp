//===- MatMul.cpp - Products with packed weights ----------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Panels of weights are dealt out to the workers one after the other, because
// cores do not read equally fast at every moment.
//
// Several rows: the weights are the outer loop, so that they are read from
// memory once, and a block of rows times a tile of columns is accumulated in
// registers over K. Rows are cut evenly into the fewest blocks that fit the
// registers: nearly all blocks are nearly full. The weights are prefetched:
// reading and computing take about as long as each other for 4 to 16 rows, and
// do not overlap by themselves.
//
// Many rows, where making a register of weights out of what is stored costs
// much of the time of their products:
//
//   for each panel, for each 18 blocks of rows: their sums stay in L2
//     for each piece of K: its weights are staged in L1 as registers want them
//       for each block of rows: add to its sums, in registers over the piece
//
// One row, or few: reading the weights is all that counts. Several panels are
// read at once, each far from the others, so that memory sees several linear
// streams.
//
//===----------------------------------------------------------------------===//

#include "KernelBuilder.h"
#include "LinearArithmetic.h"
#include "LinearOperands.h"
#include "MatMulAMX.h"
#include "nju/Codegen/CPU/KernelLibrary.h"
#include "nju/Dialect/Exec/IR/KernelAttributes.h"
#include "nju/Dialect/NJU/IR/NJU.h"

using namespace mlir;
using namespace nju;

using Value = KernelBuilder::Value;
using Values = KernelBuilder::Values;
using Columns = LinearColumns;

static constexpr int64_t kCacheLine = 64;
/// Steps of a piece of K whose weights are staged: 128 bytes each.
static constexpr int64_t kStagedSteps = 256;
/// Blocks of rows whose sums are kept for a panel.
static constexpr int64_t kStagedBlocks = 18;

namespace {

/// Rows in a block times vectors in a tile, for a register file.
struct TileShape {
  int64_t rows;    ///< Most rows of a block.
  int64_t vectors; ///< Registers across the columns of a tile.
};

/// rows * vectors accumulators, the vectors of a weight row and a broadcast
/// fill the registers. NEON multiplies by an element of a register, so it holds
/// several factors at once.
TileShape tileShape(const CPUTarget &target) {
  if (!target.isX86())
    return TileShape{12, 2};
  return target.getVectorRegisters() == 32 ? TileShape{14, 2} : TileShape{6, 2};
}

/// The steps [begin, end) of a panel.
struct Piece {
  Value panel, begin, end;
};

/// Emits the body of `linear`.
class LinearEmitter : LinearOperands {
public:
  LinearEmitter(KernelBuilder &k, const CPUTarget &target,
                const LinearOptions &options, LinearUnit unit,
                func::FuncOp function);
  void emit();

private:
  void emitTiles(Value panel, llvm::function_ref<void(ArrayRef<Columns>)> body);
  void emitOneRow();
  void emitFewRows(int64_t size);
  void emitManyRows();
  Values overSteps(Values sums,
                   llvm::function_ref<Values(Value, Values, bool)> body);
  Values addStep(int64_t size, Value first, Value step, ArrayRef<Value> row,
                 Values sums);
  Values sumBlock(Value w, int64_t size, RowBlock block,
                  ArrayRef<Columns> tile);
  void emitBlock(int64_t size, RowBlock block, ArrayRef<Columns> tile);
  void finishBlock(int64_t size, RowBlock block, ArrayRef<Columns> tile,
                   ArrayRef<Value> masks);
  void prefetchTile(Value w, Value row, ArrayRef<Columns> tile,
                    int64_t distance);
  llvm::SmallVector<Columns> columnsOf(ArrayRef<Value> panels);
  Value columnOf(const Columns &vector) {
    return k.add(k.mul(vector.panel, kPanelColumns), vector.begin);
  }

  void emitStagedRows();
  void stagePiece(Value w, Piece piece);
  void prefetchNext(Piece piece, Value step);
  void addStaged(Value number, int64_t size, RowBlock block, Value slot,
                 ArrayRef<Columns> tile, Piece piece);
  void finishStaged(Value panel, RowBlock block, Value slot);

  const CPUTarget &target;
  std::unique_ptr<LinearArithmetic> arithmetic;
  TileShape shape;
  Value fullSteps, steps; ///< Of K; the one behind the full ones is partial.
  Value products;         ///< With an epilogue: [weights, elements of a block].
  /// 0, or null. Factors that are loaded again for each register of weights
  /// become operands of the multiply-adds.
  Value again;
  /// Many rows: a piece of a panel, [steps, elements]; sums, [weights, rows of
  /// all blocks, columns of a panel].
  Value staged, stagedSums;
  int64_t elementBytes;
};

} // namespace

LinearEmitter::LinearEmitter(KernelBuilder &k, const CPUTarget &target,
                             const LinearOptions &options, LinearUnit unit,
                             func::FuncOp function)
    : LinearOperands(k, options, function), target(target),
      arithmetic(LinearArithmetic::create(k, unit)), shape(tileShape(target)) {
  elementBytes = options.weightType.getIntOrFloatBitWidth() / 8;
  fullSteps = k.div(depth, arithmetic->getRows());
  steps = k.ceilDiv(depth, arithmetic->getRows());
  if (target.embedsBroadcasts())
    again = k.opaqueZero();
  Type f32 = k.b.getF32Type();
  if (options.epilogue)
    products = k.scratch(
        {options.weights, target.getVectorRegisters() * k.lanes}, f32);
  if (unit == LinearUnit::FMA &&
      (options.weightType.isF32() || !target.stagesWeights()))
    return;
  staged = k.scratch({kStagedSteps, kPanelColumns * arithmetic->getRows()},
                     arithmetic->getType());
  stagedSums = k.scratch(
      {options.weights, kStagedBlocks * shape.rows, kPanelColumns}, f32);
}

llvm::SmallVector<Columns> LinearEmitter::columnsOf(ArrayRef<Value> panels) {
  llvm::SmallVector<Columns> vectors;
  for (Value panel : panels)
    for (int64_t column = 0; column < kPanelColumns; column += k.lanes)
      vectors.push_back({panel, k.index(column)});
  return vectors;
}

/// Prefetches what the tile needs `distance` bytes after row `row`, each line
/// of as many rows as a step has once.
void LinearEmitter::prefetchTile(Value w, Value row, ArrayRef<Columns> tile,
                                 int64_t distance) {
  int64_t perLine = std::max<int64_t>(1, kCacheLine / (k.lanes * elementBytes));
  for (int64_t i = 0; i < arithmetic->getRows(); ++i) {
    Value ahead = k.add(row, i + distance / (kPanelColumns * elementBytes));
    for (size_t v = 0; v < tile.size(); v += perLine)
      k.prefetch(w, {tile[v].panel, ahead, tile[v].begin});
  }
}

/// Calls `body(step, sums, partial)` in a loop over the steps of K. The code
/// for the partial one is there if there can be one.
Values
LinearEmitter::overSteps(Values sums,
                         llvm::function_ref<Values(Value, Values, bool)> body) {
  sums = k.loop(k.index(0), fullSteps, k.index(1), sums,
                [&](Value step, Values s) { return body(step, s, false); });
  if (arithmetic->getRows() == 1)
    return sums;
  return k.loop(fullSteps, steps, k.index(1), sums,
                [&](Value step, Values s) { return body(step, s, true); });
}

/// One row: x is read as it is, and all weights at once.
void LinearEmitter::emitOneRow() {
  int64_t streams =
      std::max<int64_t>(1, target.getReadStreams() / weights.size());
  dealPanels(streams, [&](ArrayRef<Value> panels) {
    llvm::SmallVector<Columns> tile = columnsOf(panels);
    Values sums(weights.size() * tile.size(), k.splat(0.0f));
    sums = overSteps(sums, [&](Value step, Values sums, bool partial) {
      Value factor = arithmetic->loadOnlyFactor(x, step, partial);
      Value row = k.mul(step, arithmetic->getRows());
      for (auto [number, w] : llvm::enumerate(weights)) {
        if (target.getPrefetchBytes())
          prefetchTile(w, row, tile, target.getPrefetchBytes());
        Values loaded = arithmetic->loadWeights(w, tile, step, partial);
        for (auto [v, weight] : llvm::enumerate(loaded)) {
          Value &sum = sums[number * tile.size() + v];
          sum = arithmetic->multiplyAdd(factor, weight, sum);
        }
      }
      return sums;
    });
    for (auto [v, vector] : llvm::enumerate(tile)) {
      Values own;
      for (size_t w = 0; w < weights.size(); ++w)
        own.push_back(sums[w * tile.size() + v]);
      store(own, k.index(0), columnOf(vector), maskOf(columnOf(vector)));
    }
  });
}

/// Adds the products of `size` packed rows, which begin at element `packed`,
/// with the weights of a step: [row][vector].
Values LinearEmitter::addStep(int64_t size, Value packed, Value step,
                              ArrayRef<Value> weights, Values sums) {
  Value first = k.add(packed, k.mul(step, size));
  bool embedded = again && weights.size() == 2;
  for (int64_t r = 0; r < size; ++r) {
    Value at = k.add(first, r);
    Value factor = arithmetic->loadFactor(xp, at);
    for (auto [v, weight] : llvm::enumerate(weights)) {
      if (embedded && v == 1)
        factor = arithmetic->loadFactor(xp, k.add(at, again));
      Value &sum = sums[r * weights.size() + v];
      sum = arithmetic->multiplyAdd(factor, weight, sum);
    }
  }
  return sums;
}

/// `size` rows times some vectors of columns, summed over K: [row][vector].
Values LinearEmitter::sumBlock(Value w, int64_t size, RowBlock block,
                               ArrayRef<Columns> tile) {
  bool isOneStream = int64_t(tile.size()) * k.lanes <= kPanelColumns;
  int64_t distance =
      isOneStream ? target.getBlockPrefetchBytes() : target.getPrefetchBytes();
  Value packed = k.mul(block.begin, steps);
  Values sums(size * tile.size(), k.splat(0.0f));
  return overSteps(sums, [&](Value step, Values sums, bool partial) {
    if (distance)
      prefetchTile(w, k.mul(step, arithmetic->getRows()), tile, distance);
    Values loaded = arithmetic->loadWeights(w, tile, step, partial);
    return addStep(size, packed, step, loaded, sums);
  });
}

void LinearEmitter::emitBlock(int64_t size, RowBlock block,
                              ArrayRef<Columns> tile) {
  Values masks;
  for (const Columns &vector : tile)
    masks.push_back(maskOf(columnOf(vector)));
  for (auto [number, w] : llvm::enumerate(weights)) {
    Values sums = sumBlock(w, size, block, tile);
    for (auto [v, vector] : llvm::enumerate(tile))
      for (int64_t r = 0; r < size; ++r) {
        int64_t at = r * tile.size() + v;
        if (options.epilogue)
          k.storeVector(sums[at], products,
                        {k.index(number), k.index(at * k.lanes)});
        else
          store(sums[at], k.add(block.begin, r), columnOf(vector), masks[v]);
      }
  }
  if (options.epilogue)
    finishBlock(size, block, tile, masks);
}

/// The epilogue of a block whose products are in `products`: a loop, since it
/// may be long.
void LinearEmitter::finishBlock(int64_t size, RowBlock block,
                                ArrayRef<Columns> tile, ArrayRef<Value> masks) {
  k.loop(k.index(0), k.index(size), [&](Value r) {
    for (auto [v, vector] : llvm::enumerate(tile)) {
      Value at = k.mul(k.add(k.mul(r, tile.size()), v), k.lanes);
      Values sums;
      for (size_t w = 0; w < weights.size(); ++w)
        sums.push_back(k.loadVector(products, {k.index(w), at}));
      store(sums, k.add(block.begin, r), columnOf(vector), masks[v]);
    }
  });
}

/// The columns of a panel that make up a tile, one tile after the other.
void LinearEmitter::emitTiles(
    Value panel, llvm::function_ref<void(ArrayRef<Columns>)> body) {
  Value step = k.index(shape.vectors * k.lanes);
  k.loop(k.index(0), k.index(kPanelColumns), step, [&](Value column) {
    llvm::SmallVector<Columns> tile;
    for (int64_t v = 0; v < shape.vectors; ++v)
      tile.push_back({panel, k.add(column, v * k.lanes)});
    body(tile);
  });
}

/// As few rows as one block has: reading weights counts for much, so that as
/// many panels are read at once as the registers carry.
void LinearEmitter::emitFewRows(int64_t size) {
  int64_t vectors = kPanelColumns / k.lanes;
  // Sums, the weights of a row of K, and a factor.
  int64_t registers = (target.getVectorRegisters() - 1) / (size + 1);
  int64_t panels = std::min(target.getReadStreams(), registers / vectors);
  RowBlock block{k.index(0), k.index(size)};
  dealPanels(std::max<int64_t>(panels, 1), [&](ArrayRef<Value> group) {
    if (panels == 0)
      return emitTiles(group.front(), [&](ArrayRef<Columns> tile) {
        emitBlock(size, block, tile);
      });
    emitBlock(size, block, columnsOf(group));
  });
}

/// Several blocks: each panel is read from memory by the first of them.
void LinearEmitter::emitManyRows() {
  if (staged)
    return emitStagedRows();
  Value blocks = k.ceilDiv(rows, shape.rows);
  dealPanels(1, [&](ArrayRef<Value> panel) {
    emitTiles(panel.front(), [&](ArrayRef<Columns> tile) {
      k.loop(k.index(0), blocks, [&](Value number) {
        RowBlock block = rowBlock(k, rows, blocks, number);
        k.switchOn(block.size, (shape.rows + 1) / 2, shape.rows,
                   [&](int64_t size) { emitBlock(size, block, tile); });
      });
    });
  });
}

//===----------------------------------------------------------------------===//
// Many rows with staged weights
//===----------------------------------------------------------------------===//

/// Stages the piece.
void LinearEmitter::stagePiece(Value w, Piece piece) {
  llvm::SmallVector<Columns> tile = columnsOf(piece.panel);
  auto stage = [&](Value step, bool partial) {
    Values loaded = arithmetic->loadWeights(w, tile, step, partial);
    for (auto [vector, weight] : llvm::zip_equal(tile, loaded))
      arithmetic->stage(weight, staged, k.sub(step, piece.begin), vector.begin);
  };
  Value full = k.min(piece.end, fullSteps);
  k.loop(piece.begin, full, [&](Value step) { stage(step, false); });
  if (arithmetic->getRows() > 1)
    k.loop(full, piece.end, [&](Value step) { stage(step, true); });
}

/// While step `step` of the piece is multiplied, prefetches as much of what is
/// staged next: the piece behind it, or the first of the panel that this worker
/// gets next if the others are as fast.
void LinearEmitter::prefetchNext(Piece piece, Value step) {
  Value isLast = k.equal(piece.end, steps);
  Value panel = k.select(isLast, k.add(piece.panel, workers), piece.panel);
  Value begin = k.select(isLast, k.index(0), piece.end);
  Value row =
      k.mul(k.add(begin, k.sub(step, piece.begin)), arithmetic->getRows());
  for (Value w : weights)
    prefetchTile(w, row, columnsOf(panel), 0);
}

/// Adds the products of the piece, which is staged, to the sums of a block,
/// which are `slot` and the rows behind it.
void LinearEmitter::addStaged(Value number, int64_t size, RowBlock block,
                              Value slot, ArrayRef<Columns> tile, Piece piece) {
  Values sums;
  for (int64_t r = 0; r < size; ++r)
    for (const Columns &vector : tile)
      sums.push_back(
          k.loadVector(stagedSums, {number, k.add(slot, r), vector.begin}));
  Value packed = k.mul(block.begin, steps);
  auto add = [&](Value step, Values sums) {
    prefetchNext(piece, step);
    Values loaded;
    for (const Columns &vector : tile)
      loaded.push_back(arithmetic->loadStaged(staged, k.sub(step, piece.begin),
                                              vector.begin));
    return addStep(size, packed, step, loaded, sums);
  };
  sums = k.loop(piece.begin, piece.end, k.index(1), sums, add);
  for (int64_t r = 0; r < size; ++r)
    for (auto [v, vector] : llvm::enumerate(tile))
      k.storeVector(sums[r * tile.size() + v], stagedSums,
                    {number, k.add(slot, r), vector.begin});
}

/// Stores what becomes of the sums of a block.
void LinearEmitter::finishStaged(Value panel, RowBlock block, Value slot) {
  llvm::SmallVector<Columns> tile = columnsOf(panel);
  Values masks;
  for (const Columns &vector : tile)
    masks.push_back(maskOf(columnOf(vector)));
  k.loop(k.index(0), block.size, [&](Value r) {
    for (auto [vector, mask] : llvm::zip_equal(tile, masks)) {
      Values sums;
      for (size_t w = 0; w < weights.size(); ++w)
        sums.push_back(k.loadVector(
            stagedSums, {k.index(w), k.add(slot, r), vector.begin}));
      store(sums, k.add(block.begin, r), columnOf(vector), mask);
    }
  });
}

void LinearEmitter::emitStagedRows() {
  Value blocks = k.ceilDiv(rows, shape.rows);
  auto inGroup = [&](Value panel, Value first, Value last) {
    auto forBlocks = [&](llvm::function_ref<void(RowBlock, Value)> body) {
      k.loop(first, last, [&](Value number) {
        body(rowBlock(k, rows, blocks, number),
             k.mul(k.sub(number, first), shape.rows));
      });
    };
    Value used = k.mul(k.sub(last, first), shape.rows);
    for (size_t w = 0; w < weights.size(); ++w)
      k.loop(k.index(0), used, [&](Value row) {
        for (int64_t column = 0; column < kPanelColumns; column += k.lanes)
          k.storeVector(k.splat(0.0f), stagedSums,
                        {k.index(w), row, k.index(column)});
      });
    k.loop(k.index(0), steps, k.index(kStagedSteps), [&](Value begin) {
      Piece piece{panel, begin, k.min(k.add(begin, kStagedSteps), steps)};
      k.loop(k.index(0), k.index(weights.size()), [&](Value number) {
        k.switchOn(number, 0, weights.size() - 1,
                   [&](int64_t w) { stagePiece(weights[w], piece); });
        emitTiles(panel, [&](ArrayRef<Columns> tile) {
          forBlocks([&](RowBlock block, Value slot) {
            auto add = [&](int64_t size) {
              addStaged(number, size, block, slot, tile, piece);
            };
            k.switchOn(block.size, (shape.rows + 1) / 2, shape.rows, add);
          });
        });
      });
    });
    forBlocks(
        [&](RowBlock block, Value slot) { finishStaged(panel, block, slot); });
  };
  dealPanels(1, [&](ArrayRef<Value> panel) {
    k.loop(k.index(0), blocks, k.index(kStagedBlocks), [&](Value first) {
      Value last = k.min(k.add(first, kStagedBlocks), blocks);
      inGroup(panel.front(), first, last);
    });
  });
}

void LinearEmitter::emit() {
  // No rows are many: none of their blocks is there.
  Value few = k.less(k.sub(rows, k.index(1)), k.index(shape.rows));
  auto emitFew = [&](int64_t size) {
    return size == 1 ? emitOneRow() : emitFewRows(size);
  };
  k.ifThenElse(
      few, [&] { k.switchOn(rows, 1, shape.rows, emitFew); },
      [&] { emitManyRows(); });
}

/// Lanes of the vectors that sums are kept in. In bf16 there are instructions
/// for 16 only, also where they are emulated.
static int64_t lanesOf(const CPUTarget &target, LinearUnit unit) {
  return unit == LinearUnit::FMA ? target.getVectorLanes() : 16;
}

static Type packedType(MLIRContext &context, LinearUnit unit) {
  return unit == LinearUnit::FMA ? Type(Float32Type::get(&context))
                                 : Type(BFloat16Type::get(&context));
}

/// "nju_linear_f16", "nju_linear_f16x2": without its epilogue.
static std::string linearName(const LinearOptions &options, LinearUnit unit) {
  std::string name = "nju_linear_";
  llvm::raw_string_ostream os(name);
  os << options.weightType;
  if (options.weights > 1)
    os << "x" << options.weights;
  if (unit == LinearUnit::Tiles)
    os << "_amx";
  if (unit == LinearUnit::Pairs)
    os << "_dpbf16";
  return name;
}

func::FuncOp KernelLibrary::linear(const LinearOptions &options) {
  Builder types(module.getContext());
  LinearUnit unit = unitOf(options.weightType);
  std::string name = nameWithEpilogue(
      linearName(options, unit), options.epilogue, options.others, epilogues);
  if (func::FuncOp known = lookup(name))
    return known;
  Type f32 = types.getF32Type();
  llvm::SmallVector<Type> arguments = {
      types.getIndexType(), types.getIndexType(), dynamicMemRef(2, f32),
      dynamicMemRef(1, packedType(*module.getContext(), unit))};
  arguments.append(options.weights,
                   MemRefType::get({ShapedType::kDynamic, ShapedType::kDynamic,
                                    kPanelColumns},
                                   options.weightType));
  for (int64_t rank : options.others)
    arguments.push_back(dynamicMemRef(rank, f32));
  arguments.push_back(dynamicMemRef(2, f32));
  arguments.push_back(dynamicMemRef(1, types.getI64Type()));
  func::FuncOp function = create(name, arguments);
  OpBuilder builder = OpBuilder::atBlockBegin(function.addEntryBlock());
  KernelBuilder k(builder, module.getLoc(), lanesOf(target, unit));
  if (unit == LinearUnit::Tiles)
    emitTileLinear(builder, target, options, function);
  else
    LinearEmitter(k, target, options, unit, function).emit();
  func::ReturnOp::create(k.b, k.loc);
  return function;
}

//===----------------------------------------------------------------------===//
// Packed rows
//===----------------------------------------------------------------------===//

/// Of each block that some of the rows [begin, end) of x are in, packs those
/// rows.
static void packBlocks(KernelBuilder &k, LinearArithmetic &arithmetic,
                       int64_t most, Value x, Value packed, Value begin,
                       Value end) {
  Value rows = k.dim(x, 0), depth = k.dim(x, 1);
  Value fullSteps = k.div(depth, arithmetic.getRows());
  Value steps = k.ceilDiv(depth, arithmetic.getRows());
  Value blocks = k.ceilDiv(rows, most);
  k.loop(k.index(0), blocks, [&](Value number) {
    RowBlock block = rowBlock(k, rows, blocks, number);
    Value first = k.sub(k.max(begin, block.begin), block.begin);
    Value last = k.min(end, k.add(block.begin, block.size));
    last = k.sub(k.max(last, block.begin), block.begin);
    Value base = k.mul(block.begin, steps);
    auto pack = [&](Value step, bool partial) {
      Value group = k.add(base, k.mul(step, block.size));
      k.loop(first, last, [&](Value r) {
        arithmetic.packFactor(x, k.add(block.begin, r), step, partial, packed,
                              k.add(group, r));
      });
    };
    k.ifThen(k.less(first, last), [&] {
      k.loop(k.index(0), fullSteps, [&](Value step) { pack(step, false); });
      if (arithmetic.getRows() > 1)
        k.loop(fullSteps, steps, [&](Value step) { pack(step, true); });
    });
  });
}

static StringRef packName(LinearUnit unit) {
  switch (unit) {
  case LinearUnit::FMA:
    return "nju_pack_rows";
  case LinearUnit::Pairs:
    return "nju_pack_pairs";
  case LinearUnit::Tiles:
    return "nju_pack_tiles";
  }
  llvm_unreachable("unknown unit");
}

func::FuncOp KernelLibrary::packRows(LinearUnit unit) {
  if (func::FuncOp known = lookup(packName(unit)))
    return known;
  Builder types(module.getContext());
  Type index = types.getIndexType();
  func::FuncOp function =
      create(packName(unit),
             {index, index, dynamicMemRef(2, types.getF32Type()),
              dynamicMemRef(1, packedType(*module.getContext(), unit))});
  OpBuilder builder = OpBuilder::atBlockBegin(function.addEntryBlock());
  KernelBuilder k(builder, module.getLoc(), lanesOf(target, unit));
  function.setArgAttr(2, exec::kRowsAttr, builder.getI64IntegerAttr(0));
  function->setAttr(exec::kIdleForOneRowAttr, builder.getUnitAttr());
  Value x = function.getArgument(2), xp = function.getArgument(3);
  auto share =
      k.share(k.dim(x, 0), function.getArgument(0), function.getArgument(1));
  // A single row, `linear` reads as it is: nobody has to wait for it.
  k.ifThen(k.less(k.index(1), k.dim(x, 0)), [&] {
    if (unit == LinearUnit::Tiles)
      emitPackTiles(k, x, xp, share.first, share.second);
    else
      packBlocks(k, *LinearArithmetic::create(k, unit), tileShape(target).rows,
                 x, xp, share.first, share.second);
  });
  func::ReturnOp::create(k.b, k.loc);
  return function;
}

Value KernelLibrary::countPacked(OpBuilder &b, Location loc, Value x,
                                 LinearUnit unit) {
  KernelBuilder k(b, loc, 1);
  return countPacked(b, loc, k.dim(x, 0), k.dim(x, 1), unit);
}

Value KernelLibrary::countPacked(OpBuilder &b, Location loc, Value rows,
                                 Value depth, LinearUnit unit) {
  KernelBuilder k(b, loc, 1);
  switch (unit) {
  case LinearUnit::FMA:
    break;
  case LinearUnit::Pairs:
    depth = k.mul(k.ceilDiv(depth, 2), 2);
    break;
  case LinearUnit::Tiles:
    rows = k.mul(k.ceilDiv(rows, kTileRows), kTileRows);
    depth = k.mul(k.ceilDiv(depth, kTileDepth), kTileDepth);
    break;
  }
  return k.mul(rows, depth);
}
