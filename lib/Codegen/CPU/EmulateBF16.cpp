//===- EmulateBF16.cpp - bf16 without its instructions ----------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A tile becomes a buffer on the stack, of f32, or of i32 where its elements
// are pairs: each op that makes a tile has one, and products add to that of
// their sums. What TDPBF16PS and VDPBF16PS compute: Intel 64 and IA-32
// Architectures Software Developer's Manual, volume 2, there.
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/AMX/AMXDialect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "nju/Codegen/Passes.h"

namespace nju {
#define GEN_PASS_DEF_EMULATEBF16
#include "nju/Codegen/Passes.h.inc"
} // namespace nju

using namespace mlir;

/// What holds a tile: rows of 32-bit elements.
static MemRefType bufferType(amx::TileType type) {
  Type element = type.getElementType();
  int64_t columns = type.getDimSize(1) * element.getIntOrFloatBitWidth() / 32;
  if (!element.isF32())
    element = IntegerType::get(type.getContext(), 32);
  return MemRefType::get({type.getDimSize(0), columns}, element);
}

static VectorType rowType(Value buffer) {
  auto type = cast<MemRefType>(buffer.getType());
  return VectorType::get({type.getDimSize(1)}, type.getElementType());
}

static Value index(ImplicitLocOpBuilder &b, int64_t value) {
  return arith::ConstantIndexOp::create(b, value);
}

/// A vector of `like`'s shape with 32-bit integer lanes that are all `value`.
static Value integers(ImplicitLocOpBuilder &b, VectorType like,
                      uint32_t value) {
  auto type = like.clone(b.getI32Type());
  return arith::ConstantOp::create(
      b, DenseElementsAttr::get(type, llvm::APInt(32, value)));
}

/// Subnormal lanes as zeros of their sign.
static Value flush(ImplicitLocOpBuilder &b, Value value) {
  auto type = cast<VectorType>(value.getType());
  Value bits = arith::BitcastOp::create(b, type.clone(b.getI32Type()), value);
  Value size = arith::AndIOp::create(b, bits, integers(b, type, 0x7fffffff));
  Value subnormal = arith::CmpIOp::create(b, arith::CmpIPredicate::ult, size,
                                          integers(b, type, 0x00800000));
  Value zero = arith::AndIOp::create(b, bits, integers(b, type, 0x80000000));
  zero = arith::BitcastOp::create(b, type, zero);
  return arith::SelectOp::create(b, subnormal, zero, value);
}

/// The bf16 in the upper (odd) or lower halves of i32 lanes, as f32.
static Value widen(ImplicitLocOpBuilder &b, Value pairs, bool odd) {
  auto type = cast<VectorType>(pairs.getType());
  Value bits =
      odd ? Value(
                arith::AndIOp::create(b, pairs, integers(b, type, 0xffff0000)))
          : Value(arith::ShLIOp::create(b, pairs, integers(b, type, 16)));
  return flush(b,
               arith::BitcastOp::create(b, type.clone(b.getF32Type()), bits));
}

static Value loadRow(ImplicitLocOpBuilder &b, Value buffer, Value row) {
  return vector::LoadOp::create(b, rowType(buffer), buffer,
                                ValueRange{row, index(b, 0)});
}

static void storeRow(ImplicitLocOpBuilder &b, Value value, Value buffer,
                     Value row) {
  vector::StoreOp::create(b, value, buffer, ValueRange{row, index(b, 0)});
}

/// Calls `body` for each row of the tile in `buffer`.
static void forRows(ImplicitLocOpBuilder &b, Value buffer,
                    llvm::function_ref<void(Value)> body) {
  int64_t rows = cast<MemRefType>(buffer.getType()).getDimSize(0);
  auto loop = scf::ForOp::create(b, index(b, 0), index(b, rows), index(b, 1));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  body(loop.getInductionVar());
}

/// Where row `row` of a tile in memory lies.
static SmallVector<Value> rowIndices(ImplicitLocOpBuilder &b,
                                     ValueRange indices, Value stride,
                                     Value row) {
  SmallVector<Value> at(indices);
  Value &moved = stride ? at.back() : at[at.size() - 2];
  if (stride)
    row = arith::MulIOp::create(b, row, stride);
  moved = arith::AddIOp::create(b, moved, row);
  return at;
}

static void loadTile(ImplicitLocOpBuilder &b, amx::TileLoadOp op,
                     Value buffer) {
  MemRefType memref = op.getMemRefType();
  VectorType type = rowType(buffer);
  int64_t width = type.getDimSize(0) * 32 / memref.getElementTypeBitWidth();
  auto loaded = VectorType::get({width}, memref.getElementType());
  forRows(b, buffer, [&](Value row) {
    Value value = vector::LoadOp::create(
        b, loaded, op.getBase(),
        rowIndices(b, op.getIndices(), op.getStride(), row));
    storeRow(b, vector::BitCastOp::create(b, type, value), buffer, row);
  });
}

static void storeTile(ImplicitLocOpBuilder &b, amx::TileStoreOp op,
                      Value buffer) {
  forRows(b, buffer, [&](Value row) {
    vector::StoreOp::create(
        b, loadRow(b, buffer, row), op.getBase(),
        rowIndices(b, op.getIndices(), op.getStride(), row));
  });
}

/// What a row of `x` (pairs) and the tile `w` add to a row of sums: the even
/// and the odd k are summed up by themselves, from 0, before they are added.
static Value sumOfProducts(ImplicitLocOpBuilder &b, Value x, Value w,
                           Value row) {
  VectorType pairs = rowType(w);
  auto type = pairs.clone(b.getF32Type());
  Value zero = arith::ConstantOp::create(b, b.getZeroAttr(type));
  int64_t depth = cast<MemRefType>(w.getType()).getDimSize(0);
  auto loop = scf::ForOp::create(b, index(b, 0), index(b, depth), index(b, 1),
                                 ValueRange{zero, zero});
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(loop.getBody());
    Value k = loop.getInductionVar();
    Value pair = memref::LoadOp::create(b, x, ValueRange{row, k});
    Value factors = vector::BroadcastOp::create(b, pairs, pair);
    Value weights = loadRow(b, w, k);
    SmallVector<Value> next;
    for (bool odd : {false, true})
      next.push_back(
          flush(b, vector::FMAOp::create(b, widen(b, factors, odd),
                                         widen(b, weights, odd),
                                         loop.getRegionIterArg(odd))));
    scf::YieldOp::create(b, next);
  }
  return flush(b,
               arith::AddFOp::create(b, loop.getResult(0), loop.getResult(1)));
}

static void multiply(ImplicitLocOpBuilder &b, Value x, Value w, Value sums) {
  forRows(b, sums, [&](Value row) {
    Value sum = sumOfProducts(b, x, w, row);
    Value old = flush(b, loadRow(b, sums, row));
    storeRow(b, flush(b, arith::AddFOp::create(b, old, sum)), sums, row);
  });
}

/// f32 lanes as bf16, to the nearest, ties to even. By integers: without the
/// instruction, LLVM calls a function that no library of ours has.
static Value roundToBF16(ImplicitLocOpBuilder &b, Value value) {
  auto type = cast<VectorType>(value.getType());
  Value bits = arith::BitcastOp::create(b, type.clone(b.getI32Type()), value);
  Value upper = arith::ShRUIOp::create(b, bits, integers(b, type, 16));
  Value odd = arith::AndIOp::create(b, upper, integers(b, type, 1));
  Value rounded = arith::AddIOp::create(
      b, bits, arith::AddIOp::create(b, odd, integers(b, type, 0x7fff)));
  rounded = arith::ShRUIOp::create(b, rounded, integers(b, type, 16));
  Value isNaN =
      arith::CmpFOp::create(b, arith::CmpFPredicate::UNO, value, value);
  Value quiet = arith::OrIOp::create(b, upper, integers(b, type, 0x40));
  Value result = arith::SelectOp::create(b, isNaN, quiet, rounded);
  result = arith::TruncIOp::create(b, type.clone(b.getI16Type()), result);
  return arith::BitcastOp::create(b, type.clone(b.getBF16Type()), result);
}

/// VCVTNE2PS2BF16: its second operand gives the lower half.
static Value convertToBF16(ImplicitLocOpBuilder &b, LLVM::CallIntrinsicOp op) {
  Value halves[2];
  for (int64_t i = 0; i < 2; ++i) {
    halves[i] = roundToBF16(b, flush(b, op.getArgs()[1 - i]));
  }
  auto order = llvm::to_vector(llvm::seq<int64_t>(0, 32));
  return vector::ShuffleOp::create(b, halves[0], halves[1], order);
}

/// The function that computes what VDPBF16PS does of vectors of these types: it
/// adds the products of the odd elements, then of the even ones. There are
/// hundreds of them in a kernel: calls keep it small.
static func::FuncOp pairProduct(ModuleOp module, TypeRange types) {
  constexpr StringLiteral name = "nju_emulated_dpbf16ps";
  if (auto known = module.lookupSymbol<func::FuncOp>(name))
    return known;
  auto outside = OpBuilder::atBlockEnd(module.getBody());
  auto function =
      func::FuncOp::create(outside, module.getLoc(), name,
                           outside.getFunctionType(types, types.front()));
  function.setPrivate();
  function->setAttr("passthrough", outside.getStrArrayAttr({"noinline"}));
  auto b = ImplicitLocOpBuilder::atBlockBegin(module.getLoc(),
                                              function.addEntryBlock());
  Value sum = flush(b, function.getArgument(0)), factors[2];
  auto pairs = cast<VectorType>(sum.getType()).clone(b.getI32Type());
  for (int64_t i = 0; i < 2; ++i)
    factors[i] =
        vector::BitCastOp::create(b, pairs, function.getArgument(i + 1));
  for (bool odd : {true, false})
    sum = flush(b, vector::FMAOp::create(b, widen(b, factors[0], odd),
                                         widen(b, factors[1], odd), sum));
  func::ReturnOp::create(b, sum);
  return function;
}

static Value multiplyPairs(ImplicitLocOpBuilder &b, LLVM::CallIntrinsicOp op) {
  func::FuncOp product =
      pairProduct(op->getParentOfType<ModuleOp>(), op.getArgs().getTypes());
  return func::CallOp::create(b, product, op.getArgs()).getResult(0);
}

/// Tiles, wherever they are, get the types of what holds them. Ops that do not
/// ask for tiles are right then.
static void changeTypes(func::FuncOp function) {
  auto change = [](Value value) {
    if (auto tile = dyn_cast<amx::TileType>(value.getType()))
      value.setType(bufferType(tile));
  };
  function.walk([&](Operation *op) {
    llvm::for_each(op->getResults(), change);
    for (Region &region : op->getRegions())
      for (Block &block : region)
        llvm::for_each(block.getArguments(), change);
  });
}

/// What the result of `op` lies in, allocated where the function begins.
static Value allocateResult(Operation *op, func::FuncOp function) {
  OpBuilder b = OpBuilder::atBlockBegin(&function.front());
  return memref::AllocaOp::create(b, op->getLoc(),
                                  cast<MemRefType>(op->getResult(0).getType()));
}

/// Sums are changed in place, so nobody else may need them. To be asked before
/// any op is replaced.
static LogicalResult checkSums(Operation *op) {
  auto product = dyn_cast<amx::TileMulFOp>(op);
  if (product && !product.getAccMutable().get().hasOneUse())
    return op->emitOpError() << "cannot be emulated: its sums are used again";
  return success();
}

/// Replaces the op if it is of those that the pass replaces.
static LogicalResult emulate(Operation *op, func::FuncOp function) {
  ImplicitLocOpBuilder b(op->getLoc(), op);
  Value value;
  if (isa<amx::TileZeroOp>(op)) {
    value = allocateResult(op, function);
    Value zeros = arith::ConstantOp::create(b, b.getZeroAttr(rowType(value)));
    forRows(b, value, [&](Value row) { storeRow(b, zeros, value, row); });
  } else if (auto load = dyn_cast<amx::TileLoadOp>(op)) {
    value = allocateResult(op, function);
    loadTile(b, load, value);
  } else if (auto store = dyn_cast<amx::TileStoreOp>(op)) {
    storeTile(b, store, store.getValMutable().get());
  } else if (auto product = dyn_cast<amx::TileMulFOp>(op)) {
    value = product.getAccMutable().get();
    multiply(b, product.getLhsMutable().get(), product.getRhsMutable().get(),
             value);
  } else if (isa_and_nonnull<amx::AMXDialect>(op->getDialect())) {
    return op->emitOpError() << "cannot be emulated";
  } else if (auto call = dyn_cast<LLVM::CallIntrinsicOp>(op)) {
    if (call.getIntrin() == "llvm.x86.avx512bf16.cvtne2ps2bf16.512")
      value = convertToBF16(b, call);
    else if (call.getIntrin() == "llvm.x86.avx512bf16.dpbf16ps.512")
      value = multiplyPairs(b, call);
    else
      return success();
  } else {
    return success();
  }
  if (value)
    op->getResult(0).replaceAllUsesWith(value);
  op->erase();
  return success();
}

namespace {
struct EmulateBF16 : nju::impl::EmulateBF16Base<EmulateBF16> {
  void runOnOperation() override {
    auto functions = llvm::to_vector(getOperation().getOps<func::FuncOp>());
    for (func::FuncOp function : functions) {
      SmallVector<Operation *> ops;
      function.walk([&](Operation *op) { ops.push_back(op); });
      changeTypes(function);
      if (llvm::any_of(ops,
                       [](Operation *op) { return failed(checkSums(op)); }))
        return signalPassFailure();
      for (Operation *op : ops)
        if (failed(emulate(op, function)))
          return signalPassFailure();
    }
  }
};
} // namespace
