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
// registers over all of K. Rows are cut evenly into the fewest blocks that fit
// the registers: nearly all blocks are nearly full. The weights are prefetched:
// reading and computing take about as long as each other for 4 to 16 rows, and
// do not overlap by themselves.
//
// One row, or few: reading the weights is all that counts. Several panels are
// read at once, each far from the others, so that memory sees several linear
// streams.
//
//===----------------------------------------------------------------------===//

#include "KernelBuilder.h"
#include "LinearOperands.h"
#include "MatMulAMX.h"
#include "mlir/IR/Matchers.h"
#include "nju/Codegen/CPU/KernelLibrary.h"
#include "nju/Dialect/Exec/IR/KernelAttributes.h"
#include "nju/Dialect/NJU/IR/NJU.h"

using namespace mlir;
using namespace nju;

using Value = KernelBuilder::Value;
using Values = KernelBuilder::Values;

static constexpr int64_t kCacheLine = 64;

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

/// A vector of columns: `begin`, in elements, of a panel.
struct Columns {
  Value panel, begin;
};

/// Block `block` of the `blocks` blocks that `rows` rows are cut into.
struct RowBlock {
  Value begin, size;
};

RowBlock rowBlock(KernelBuilder &k, Value rows, Value blocks, Value block) {
  Value begin = k.div(k.mul(rows, block), blocks);
  Value end = k.div(k.mul(rows, k.add(block, 1)), blocks);
  return {begin, k.sub(end, begin)};
}

/// Emits the body of `linear`.
class LinearEmitter : LinearOperands {
public:
  LinearEmitter(KernelBuilder &k, const CPUTarget &target,
                const LinearOptions &options, func::FuncOp function);
  void emit();

private:
  void emitTiles(Value panel, llvm::function_ref<void(ArrayRef<Columns>)> body);
  void emitOneRow();
  void emitFewRows(int64_t size);
  void emitManyRows();
  Values sumBlock(Value w, int64_t size, RowBlock block,
                  ArrayRef<Columns> tile);
  void emitBlock(int64_t size, RowBlock block, ArrayRef<Columns> tile);
  void finishBlock(int64_t size, RowBlock block, ArrayRef<Columns> tile,
                   ArrayRef<Value> masks);
  void prefetchTile(Value w, Value at, ArrayRef<Columns> tile,
                    int64_t distance);
  llvm::SmallVector<Columns> columnsOf(ArrayRef<Value> panels);
  Value columnOf(const Columns &vector) {
    return k.add(k.mul(vector.panel, kPanelColumns), vector.begin);
  }

  const CPUTarget &target;
  TileShape shape;
  Value products; ///< With an epilogue: [weights, elements of a block].
  int64_t elementBytes;
};

} // namespace

LinearEmitter::LinearEmitter(KernelBuilder &k, const CPUTarget &target,
                             const LinearOptions &options,
                             func::FuncOp function)
    : LinearOperands(k, options, function), target(target),
      shape(tileShape(target)) {
  elementBytes = options.weightType.getIntOrFloatBitWidth() / 8;
  if (!options.epilogue)
    return;
  auto type =
      MemRefType::get({options.weights, target.getVectorRegisters() * k.lanes},
                      k.b.getF32Type());
  products = memref::AllocaOp::create(k.b, k.loc, type,
                                      k.b.getI64IntegerAttr(kCacheLine));
}

llvm::SmallVector<Columns> LinearEmitter::columnsOf(ArrayRef<Value> panels) {
  llvm::SmallVector<Columns> vectors;
  for (Value panel : panels)
    for (int64_t column = 0; column < kPanelColumns; column += k.lanes)
      vectors.push_back({panel, k.index(column)});
  return vectors;
}

/// Prefetches what the tile needs `distance` bytes after row `at`, each line
/// once.
void LinearEmitter::prefetchTile(Value w, Value at, ArrayRef<Columns> tile,
                                 int64_t distance) {
  if (distance == 0)
    return;
  Value ahead = k.add(at, distance / (kPanelColumns * elementBytes));
  int64_t perLine = std::max<int64_t>(1, kCacheLine / (k.lanes * elementBytes));
  for (size_t v = 0; v < tile.size(); v += perLine)
    k.prefetch(w, {tile[v].panel, ahead, tile[v].begin});
}

/// One row: x is read as it is, and all weights at once.
void LinearEmitter::emitOneRow() {
  int64_t streams =
      std::max<int64_t>(1, target.getReadStreams() / weights.size());
  Value zero = k.index(0);
  dealPanels(streams, [&](ArrayRef<Value> panels) {
    llvm::SmallVector<Columns> tile = columnsOf(panels);
    Values sums(weights.size() * tile.size(), k.splat(0.0f));
    auto step = [&](Value at, Values sums) {
      Value factor = k.broadcast(k.load(x, {zero, at}));
      for (auto [number, w] : llvm::enumerate(weights)) {
        prefetchTile(w, at, tile, target.getPrefetchBytes());
        for (auto [v, vector] : llvm::enumerate(tile)) {
          Value &sum = sums[number * tile.size() + v];
          sum = k.fma(factor, k.loadVector(w, {vector.panel, at, vector.begin}),
                      sum);
        }
      }
      return sums;
    };
    sums = k.loop(zero, depth, k.index(1), sums, step);
    for (auto [v, vector] : llvm::enumerate(tile)) {
      Values own;
      for (size_t w = 0; w < weights.size(); ++w)
        own.push_back(sums[w * tile.size() + v]);
      store(own, zero, columnOf(vector), maskOf(columnOf(vector)));
    }
  });
}

/// `size` rows times some vectors of columns, summed over K: [row][vector].
Values LinearEmitter::sumBlock(Value w, int64_t size, RowBlock block,
                               ArrayRef<Columns> tile) {
  bool isOneStream = int64_t(tile.size()) * k.lanes <= kPanelColumns;
  int64_t distance =
      isOneStream ? target.getBlockPrefetchBytes() : target.getPrefetchBytes();
  Value packed = k.mul(block.begin, depth);
  Values sums(size * tile.size(), k.splat(0.0f));
  auto step = [&](Value at, Values sums) {
    prefetchTile(w, at, tile, distance);
    Values row;
    for (const Columns &vector : tile)
      row.push_back(k.loadVector(w, {vector.panel, at, vector.begin}));
    Value first = k.add(packed, k.mul(at, size));
    for (int64_t r = 0; r < size; ++r) {
      Value factor = k.broadcast(k.load(xp, {k.add(first, r)}));
      for (auto [v, weights] : llvm::enumerate(row)) {
        Value &sum = sums[r * tile.size() + v];
        sum = k.fma(factor, weights, sum);
      }
    }
    return sums;
  };
  return k.loop(k.index(0), depth, k.index(1), sums, step);
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

static MemRefType dynamicMemRef(int64_t rank, Type element) {
  return MemRefType::get(llvm::SmallVector<int64_t>(rank, ShapedType::kDynamic),
                         element);
}

/// "nju_linear_f16", "nju_linear_f16x2_epilogue3": equal names, equal
/// functions.
static std::string linearName(const LinearOptions &options, bool tiles,
                              llvm::StringMap<unsigned> &epilogues) {
  std::string name = "nju_linear_";
  llvm::raw_string_ostream os(name);
  os << options.weightType;
  if (options.weights > 1)
    os << "x" << options.weights;
  if (tiles)
    os << "_amx";
  if (!options.epilogue)
    return name;
  std::string text = name;
  llvm::raw_string_ostream key(text);
  for (int64_t rank : options.others)
    key << ' ' << rank;
  llvm::DenseMap<Value, unsigned> numbers;
  auto addNumber = [&](Value value) {
    numbers.try_emplace(value, numbers.size());
  };
  Block &block = options.epilogue->front();
  llvm::for_each(block.getArguments(), addNumber);
  for (Operation &op : block) {
    key << '\n' << op.getName() << op.getAttrDictionary();
    for (Value operand : op.getOperands()) {
      Attribute constant;
      if (matchPattern(operand, m_Constant(&constant)))
        key << ' ' << constant;
      else
        key << " %" << numbers.lookup(operand);
    }
    key << op.getResultTypes();
    llvm::for_each(op.getResults(), addNumber);
  }
  os << "_epilogue"
     << epilogues.try_emplace(text, epilogues.size()).first->second;
  return name;
}

func::FuncOp KernelLibrary::linear(const LinearOptions &options) {
  Builder types(module.getContext());
  bool tiles = usesTiles(options.weightType);
  std::string name = linearName(options, tiles, epilogues);
  if (func::FuncOp known = lookup(name))
    return known;
  Type f32 = types.getF32Type();
  llvm::SmallVector<Type> arguments = {
      types.getIndexType(), types.getIndexType(), dynamicMemRef(2, f32),
      dynamicMemRef(1, tiles ? types.getBF16Type() : f32)};
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
  KernelBuilder k(builder, module.getLoc(), target.getVectorLanes());
  if (tiles)
    emitTileLinear(builder, target, options, function);
  else
    LinearEmitter(k, target, options, function).emit();
  func::ReturnOp::create(k.b, k.loc);
  return function;
}

func::FuncOp KernelLibrary::packing(
    StringRef name, Type element,
    llvm::function_ref<void(KernelBuilder &, Value, Value, Value, Value)>
        emit) {
  if (func::FuncOp known = lookup(name))
    return known;
  Builder types(module.getContext());
  Type index = types.getIndexType();
  func::FuncOp function =
      create(name, {index, index, dynamicMemRef(2, types.getF32Type()),
                    dynamicMemRef(1, element)});
  OpBuilder builder = OpBuilder::atBlockBegin(function.addEntryBlock());
  KernelBuilder k(builder, module.getLoc(), target.getVectorLanes());
  function.setArgAttr(2, exec::kRowsAttr, builder.getI64IntegerAttr(0));
  function->setAttr(exec::kIdleForOneRowAttr, builder.getUnitAttr());
  Value x = function.getArgument(2), rows = k.dim(x, 0);
  auto share = k.share(rows, function.getArgument(0), function.getArgument(1));
  // A single row, `linear` reads as it is: nobody has to wait for it.
  k.ifThen(k.less(k.index(1), rows), [&] {
    emit(k, x, function.getArgument(3), share.first, share.second);
  });
  func::ReturnOp::create(k.b, k.loc);
  return function;
}

/// Packs the rows [begin, end) of x into the row blocks of `linear`.
static void emitPackRows(KernelBuilder &k, int64_t blockRows, Value x, Value xp,
                         Value begin, Value end) {
  Value rows = k.dim(x, 0), depth = k.dim(x, 1);
  Value blocks = k.ceilDiv(rows, blockRows);
  // Of each block that some of the worker's rows are in, those rows.
  k.loop(k.index(0), blocks, [&](Value number) {
    RowBlock block = rowBlock(k, rows, blocks, number);
    Value first = k.sub(k.max(begin, block.begin), block.begin);
    Value last = k.min(end, k.add(block.begin, block.size));
    last = k.sub(k.max(last, block.begin), block.begin);
    Value base = k.mul(block.begin, depth);
    k.ifThen(k.less(first, last), [&] {
      k.loop(k.index(0), depth, [&](Value at) {
        Value group = k.add(base, k.mul(at, block.size));
        k.loop(first, last, [&](Value r) {
          k.store(k.load(x, {k.add(block.begin, r), at}), xp,
                  {k.add(group, r)});
        });
      });
    });
  });
}

func::FuncOp KernelLibrary::packRows() {
  Type f32 = Float32Type::get(module.getContext());
  return packing(
      "nju_pack_rows", f32,
      [&](KernelBuilder &k, Value x, Value xp, Value begin, Value end) {
        emitPackRows(k, tileShape(target).rows, x, xp, begin, end);
      });
}
