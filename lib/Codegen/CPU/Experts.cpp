//===- Experts.cpp - Kernels for the weights that tokens choose -*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Rows are sorted by experts, and each expert that has some runs the kernel of
// a product on its own: its weights are read once whatever its rows are, those
// of the other experts not at all. Experts write rows and packed copies of
// their own, and have a counter of their own to deal out panels, so that no
// worker waits for another between them.
//
//===----------------------------------------------------------------------===//

#include "KernelBuilder.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "nju/Codegen/CPU/KernelLibrary.h"
#include "nju/Dialect/Exec/IR/Exec.h"

using namespace mlir;
using namespace nju;

using Value = KernelBuilder::Value;
using Values = KernelBuilder::Values;

static Value toIndex(KernelBuilder &k, Value integer) {
  return arith::IndexCastOp::create(k.b, k.loc, k.b.getIndexType(), integer);
}

static Value toInteger(KernelBuilder &k, Value index) {
  return arith::IndexCastOp::create(k.b, k.loc, k.b.getI64Type(), index);
}

/// An element of a memref<?xi64> as an index.
static Value loadNumber(KernelBuilder &k, Value numbers, Value at) {
  return toIndex(k, k.load(numbers, {at}));
}

//===----------------------------------------------------------------------===//
// Sorting
//===----------------------------------------------------------------------===//

namespace {
/// Emits the body of `sortChoices`: counts, adds up, and places.
class ChoiceSorter {
public:
  ChoiceSorter(KernelBuilder &k, ValueRange arguments)
      : k(k), choices(arguments[2]), starts(arguments[3]), order(arguments[4]),
        perToken(k.dim(choices, 1)),
        experts(k.sub(k.dim(starts, 0), k.index(1))) {}
  void emit();

private:
  void forChoices(llvm::function_ref<void(Value, Value)> body);
  void addTo(Value expert, Value number);

  KernelBuilder &k;
  Value choices, starts, order, perToken, experts;
};
} // namespace

/// Calls `body(choice, expert)` for all choices in their order.
void ChoiceSorter::forChoices(llvm::function_ref<void(Value, Value)> body) {
  Value zero = k.index(0), last = k.sub(experts, k.index(1));
  k.loop(zero, k.dim(choices, 0), [&](Value token) {
    k.loop(zero, perToken, [&](Value choice) {
      Value expert = toIndex(k, k.load(choices, {token, choice}));
      expert = arith::MaxSIOp::create(k.b, k.loc, expert, zero);
      body(k.add(k.mul(token, perToken), choice), k.min(expert, last));
    });
  });
}

void ChoiceSorter::addTo(Value expert, Value number) {
  Value sum = k.add(loadNumber(k, starts, expert), number);
  k.store(toInteger(k, sum), starts, {expert});
}

void ChoiceSorter::emit() {
  Value zero = k.index(0), one = k.index(1);
  k.loop(zero, k.add(experts, 1),
         [&](Value i) { k.store(toInteger(k, zero), starts, {i}); });
  // starts[e + 1] counts the choices of e, then where those behind e begin.
  forChoices([&](Value, Value expert) { addTo(k.add(expert, 1), one); });
  k.loop(zero, experts, [&](Value expert) {
    addTo(k.add(expert, 1), loadNumber(k, starts, expert));
  });
  // starts[e] is where the next choice of e goes, and at last its end.
  forChoices([&](Value choice, Value expert) {
    k.store(toInteger(k, choice), order, {loadNumber(k, starts, expert)});
    addTo(expert, one);
  });
  k.loop(zero, experts, [&](Value i) {
    Value expert = k.sub(experts, i);
    k.store(k.load(starts, {k.sub(expert, one)}), starts, {expert});
  });
  k.store(toInteger(k, zero), starts, {zero});
}

func::FuncOp KernelLibrary::sortChoices() {
  StringRef name = "nju_sort_choices";
  if (func::FuncOp known = lookup(name))
    return known;
  Builder types(module.getContext());
  Type index = types.getIndexType(), i64 = types.getI64Type();
  func::FuncOp function =
      create(name, {index, index, dynamicMemRef(2, i64), dynamicMemRef(1, i64),
                    dynamicMemRef(1, i64)});
  OpBuilder builder = OpBuilder::atBlockBegin(function.addEntryBlock());
  KernelBuilder k(builder, module.getLoc(), target.getVectorLanes());
  k.ifThen(k.equal(function.getArgument(0), 0),
           [&] { ChoiceSorter(k, function.getArguments()).emit(); });
  func::ReturnOp::create(k.b, k.loc);
  return function;
}

//===----------------------------------------------------------------------===//
// Moving rows
//===----------------------------------------------------------------------===//

/// y[to] = x[from], by registers.
static void copyRow(KernelBuilder &k, Value x, Value from, Value y, Value to) {
  Value columns = k.dim(y, 1);
  Value full = k.sub(columns, k.rem(columns, k.lanes));
  k.loop(k.index(0), full, k.index(k.lanes), [&](Value at) {
    k.storeVector(k.loadVector(x, {from, at}), y, {to, at});
  });
  k.ifThen(k.less(full, columns), [&] {
    Value mask = k.firstLanes(k.sub(columns, full));
    k.storeMasked(k.loadMasked(x, {from, full}, mask), y, {to, full}, mask);
  });
}

/// A kernel (x, order, y) that calls `body(place, choice)` for the places in
/// the order that are the worker's.
static void emitMove(KernelBuilder &k, func::FuncOp function,
                     llvm::function_ref<void(Value, Value)> body) {
  Value order = function.getArgument(3);
  auto share = k.share(k.dim(order, 0), function.getArgument(0),
                       function.getArgument(1));
  k.loop(share.first, share.second,
         [&](Value place) { body(place, loadNumber(k, order, place)); });
}

static llvm::SmallVector<Type> moveArguments(MLIRContext *context) {
  Builder types(context);
  Type index = types.getIndexType(),
       rows = dynamicMemRef(2, types.getF32Type());
  return {index, index, rows, dynamicMemRef(1, types.getI64Type()), rows};
}

func::FuncOp KernelLibrary::gatherChoices() {
  StringRef name = "nju_gather_choices";
  if (func::FuncOp known = lookup(name))
    return known;
  func::FuncOp function = create(name, moveArguments(module.getContext()));
  OpBuilder builder = OpBuilder::atBlockBegin(function.addEntryBlock());
  KernelBuilder k(builder, module.getLoc(), target.getVectorLanes());
  Value x = function.getArgument(2), y = function.getArgument(4);
  // No rows have no choices; one is the least that divides.
  Value perRow =
      k.max(k.div(k.dim(y, 0), k.max(k.dim(x, 0), k.index(1))), k.index(1));
  emitMove(k, function, [&](Value place, Value choice) {
    copyRow(k, x, k.div(choice, perRow), y, place);
  });
  func::ReturnOp::create(k.b, k.loc);
  return function;
}

func::FuncOp KernelLibrary::scatterChoices() {
  StringRef name = "nju_scatter_choices";
  if (func::FuncOp known = lookup(name))
    return known;
  func::FuncOp function = create(name, moveArguments(module.getContext()));
  OpBuilder builder = OpBuilder::atBlockBegin(function.addEntryBlock());
  KernelBuilder k(builder, module.getLoc(), target.getVectorLanes());
  emitMove(k, function, [&](Value place, Value choice) {
    copyRow(k, function.getArgument(2), place, function.getArgument(4), choice);
  });
  func::ReturnOp::create(k.b, k.loc);
  return function;
}

//===----------------------------------------------------------------------===//
// A kernel for each expert
//===----------------------------------------------------------------------===//

static bool hasWeights(ArrayRef<ExpertArgument> arguments) {
  return llvm::any_of(arguments, [](const ExpertArgument &own) {
    return own.kind == ExpertArgument::Weight;
  });
}

namespace {
/// Emits the body of `forExperts`.
class ExpertLoop {
public:
  ExpertLoop(KernelBuilder &k, func::FuncOp function, func::FuncOp kernel,
             ArrayRef<ExpertArgument> arguments)
      : k(k), function(function), kernel(kernel), arguments(arguments) {}
  void emit();

private:
  Value argument(unsigned number) { return function.getArgument(number); }
  Value weight(Value expert, int64_t number, MemRefType type);
  Value slice(Value buffer, Value begin, Value count) {
    return exec::SliceOp::create(k.b, k.loc, buffer.getType(), buffer, begin,
                                 count);
  }
  Values call(Value expert, Value begin, Value rows, ArrayRef<Value> used);

  KernelBuilder &k;
  func::FuncOp function, kernel;
  ArrayRef<ExpertArgument> arguments;
  Value experts;
};
} // namespace

Value ExpertLoop::weight(Value expert, int64_t number, MemRefType type) {
  Value at = k.add(k.mul(experts, number), expert);
  Value offset = loadNumber(k, argument(4), at);
  return memref::ViewOp::create(k.b, k.loc, type, argument(3), offset,
                                ValueRange());
}

/// Calls the kernel; `used` says where the expert's part of each packed
/// argument begins, and the result where it ends.
Values ExpertLoop::call(Value expert, Value begin, Value rows,
                        ArrayRef<Value> used) {
  Values operands{argument(0), argument(1)}, ends;
  unsigned next = hasWeights(arguments) ? 5 : 3;
  int64_t weights = 0;
  for (const ExpertArgument &own : arguments) {
    Value operand;
    if (own.kind == ExpertArgument::Weight) {
      operand = weight(expert, weights++, own.type);
    } else if (Value buffer = argument(next++);
               own.kind == ExpertArgument::Rows) {
      operand = slice(buffer, begin, rows);
    } else if (own.kind == ExpertArgument::Item) {
      operand = slice(buffer, expert, k.index(1));
    } else if (own.kind == ExpertArgument::Packed) {
      Value first = used[ends.size()];
      Value count = own.countPacked(k.b, k.loc, rows);
      operand = slice(buffer, first, count);
      ends.push_back(k.add(first, count));
    } else {
      operand = buffer;
    }
    Type type = kernel.getArgumentTypes()[operands.size()];
    if (operand.getType() != type)
      operand = memref::CastOp::create(k.b, k.loc, type, operand);
    operands.push_back(operand);
  }
  func::CallOp::create(k.b, k.loc, kernel, operands);
  return ends;
}

void ExpertLoop::emit() {
  Value starts = argument(2);
  experts = k.sub(k.dim(starts, 0), k.index(1));
  size_t packed = llvm::count_if(arguments, [](const ExpertArgument &own) {
    return own.kind == ExpertArgument::Packed;
  });
  Values none(packed, k.index(0));
  k.loop(k.index(0), experts, k.index(1), none,
         [&](Value expert, Values used) -> Values {
           Value begin = loadNumber(k, starts, expert);
           Value end = loadNumber(k, starts, k.add(expert, 1));
           llvm::SmallVector<Type> types(packed, k.b.getIndexType());
           auto choice = scf::IfOp::create(
               k.b, k.loc, TypeRange(types), k.less(begin, end),
               /*addThenBlock=*/true, /*addElseBlock=*/true);
           OpBuilder::InsertionGuard guard(k.b);
           auto yield = [&](Block *block, llvm::function_ref<Values()> body) {
             k.b.setInsertionPointToStart(block);
             scf::YieldOp::create(k.b, k.loc, body());
           };
           yield(choice.thenBlock(),
                 [&] { return call(expert, begin, k.sub(end, begin), used); });
           yield(choice.elseBlock(), [&] { return used; });
           return choice.getResults();
         });
}

/// "nju_linear_f16_experts_k64_4x64x32xf16": of what sizes rows and weights
/// are.
static std::string nameForExperts(StringRef kernel,
                                  ArrayRef<ExpertArgument> arguments) {
  std::string name = kernel.str() + "_experts";
  llvm::raw_string_ostream os(name);
  for (const ExpertArgument &own : arguments) {
    if (own.kind == ExpertArgument::Packed)
      os << "_k" << own.columns;
    if (own.kind != ExpertArgument::Weight)
      continue;
    os << "_";
    llvm::interleave(own.type.getShape(), os, "x");
    os << "x" << own.type.getElementType();
  }
  return name;
}

func::FuncOp KernelLibrary::forExperts(func::FuncOp kernel,
                                       ArrayRef<ExpertArgument> arguments) {
  std::string name = nameForExperts(kernel.getSymName(), arguments);
  if (func::FuncOp known = lookup(name))
    return known;
  Builder types(module.getContext());
  Type index = types.getIndexType(), i64 = types.getI64Type();
  llvm::SmallVector<Type> all{index, index, dynamicMemRef(1, i64)};
  if (hasWeights(arguments))
    all.append({dynamicMemRef(1, types.getI8Type()), dynamicMemRef(1, i64)});
  for (auto [own, type] :
       llvm::zip_equal(arguments, kernel.getArgumentTypes().drop_front(2)))
    if (own.kind != ExpertArgument::Weight)
      all.push_back(type);
  func::FuncOp function = create(name, all);
  OpBuilder builder = OpBuilder::atBlockBegin(function.addEntryBlock());
  KernelBuilder k(builder, module.getLoc(), target.getVectorLanes());
  ExpertLoop(k, function, kernel, arguments).emit();
  func::ReturnOp::create(k.b, k.loc);
  return function;
}
