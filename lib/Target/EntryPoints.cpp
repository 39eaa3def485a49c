//===- EntryPoints.cpp - What the runtime calls -----------------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The entry functions unpack the structs of nju/abi.h into the memref
// descriptors that the converted functions take: for a memref of rank r the
// values (allocated, aligned, offset, sizes[r], strides[r]).
//
//===----------------------------------------------------------------------===//

#include "EntryPoints.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/OpenMP/OpenMPDialect.h"
#include "nju/Dialect/Exec/IR/KernelAttributes.h"
#include "nju/Dialect/NJU/IR/CacheLayout.h"
#include "nju/Dialect/NJU/IR/WeightLayout.h"
#include "nju/Target/Signature.h"
#include "nju/Target/ToLLVM.h"
#include "nju/abi.h"
#include <cstddef>

using namespace mlir;

namespace {

/// Builds an entry function.
class EntryBuilder {
public:
  EntryBuilder(ModuleOp module, Location loc)
      : module(module), b(OpBuilder::atBlockEnd(module.getBody())), loc(loc),
        pointer(LLVM::LLVMPointerType::get(module.getContext())),
        i32(b.getI32Type()), i64(b.getI64Type()) {}

  LLVM::LLVMFuncOp createFunction(StringRef name);
  void declare(StringRef name, Type result, ArrayRef<Type> arguments);
  Value call(StringRef name, Type result, ValueRange arguments);

  Value constant(int64_t value) {
    return LLVM::ConstantOp::create(b, loc, i64, b.getI64IntegerAttr(value));
  }
  Value address(Value base, int64_t bytes) {
    return LLVM::GEPOp::create(b, loc, pointer, b.getI8Type(), base,
                               ArrayRef<LLVM::GEPArg>{int32_t(bytes)});
  }
  Value load(Type type, Value base, int64_t bytes) {
    return LLVM::LoadOp::create(b, loc, type, address(base, bytes));
  }
  void store(Value value, Value base, int64_t bytes) {
    LLVM::StoreOp::create(b, loc, value, address(base, bytes));
  }
  Value mul(Value x, Value y) { return LLVM::MulOp::create(b, loc, i64, x, y); }
  void returnCode(int32_t code);
  /// A constant that holds `text` and a NUL.
  LLVM::GlobalOp addText(StringRef name, StringRef text);
  /// Appends the descriptor of a contiguous memref of these sizes.
  void appendMemRef(SmallVectorImpl<Value> &arguments, Value data,
                    ArrayRef<Value> sizes);

  ModuleOp module;
  OpBuilder b;
  Location loc;
  Type pointer, i32, i64;
};

} // namespace

LLVM::LLVMFuncOp EntryBuilder::createFunction(StringRef name) {
  b.setInsertionPointToEnd(module.getBody());
  auto type = LLVM::LLVMFunctionType::get(i32, {pointer});
  auto function = LLVM::LLVMFuncOp::create(b, loc, name, type);
  b.setInsertionPointToStart(function.addEntryBlock(b));
  return function;
}

void EntryBuilder::declare(StringRef name, Type result,
                           ArrayRef<Type> arguments) {
  if (module.lookupSymbol(name))
    return;
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(module.getBody());
  LLVM::LLVMFuncOp::create(b, loc, name,
                           LLVM::LLVMFunctionType::get(result, arguments));
}

Value EntryBuilder::call(StringRef name, Type result, ValueRange arguments) {
  auto call = LLVM::CallOp::create(
      b, loc, result ? TypeRange(result) : TypeRange(), name, arguments);
  return result ? call.getResult() : Value();
}

void EntryBuilder::returnCode(int32_t code) {
  Value value =
      LLVM::ConstantOp::create(b, loc, i32, b.getI32IntegerAttr(code));
  LLVM::ReturnOp::create(b, loc, value);
}

LLVM::GlobalOp EntryBuilder::addText(StringRef name, StringRef text) {
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToEnd(module.getBody());
  std::string bytes = text.str() + '\0';
  auto type = LLVM::LLVMArrayType::get(b.getI8Type(), bytes.size());
  return LLVM::GlobalOp::create(b, loc, type, /*isConstant=*/true,
                                LLVM::Linkage::Internal, name,
                                b.getStringAttr(bytes));
}

void EntryBuilder::appendMemRef(SmallVectorImpl<Value> &arguments, Value data,
                                ArrayRef<Value> sizes) {
  arguments.append({data, data, constant(0)});
  arguments.append(sizes.begin(), sizes.end());
  SmallVector<Value> strides(sizes.size());
  Value stride = constant(1);
  for (int64_t i = sizes.size() - 1; i >= 0; --i) {
    strides[i] = stride;
    if (i > 0)
      stride = mul(stride, sizes[i]);
  }
  arguments.append(strides);
}

std::optional<nju::EntryFunction> nju::findEntry(ModuleOp module) {
  for (StringRef name : {"step", "main"})
    if (auto function = module.lookupSymbol<func::FuncOp>(name))
      if (!function.isDeclaration())
        return EntryFunction{
            name.str(), function.getFunctionType(),
            function->getAttrOfType<StringAttr>(exec::kCheckMessagesAttr)};
  return std::nullopt;
}

/// Bytes that a module attribute gives, 0 if it is absent.
static int64_t moduleBytes(ModuleOp module, StringRef name) {
  auto attribute = module->getAttrOfType<IntegerAttr>(name);
  return attribute ? attribute.getInt() : 0;
}

/// Bytes that one token takes in the cache.
static int64_t cacheBytesOfToken(ModuleOp module) {
  ArrayAttr layers = nju::getCacheLayers(module);
  return layers ? nju::getCacheBytes(layers.getValue()) : 0;
}

/// The type of the lowered `@step`; see docs/architecture.md.
static bool isStepType(FunctionType type) {
  MLIRContext *context = type.getContext();
  Builder b(context);
  auto vectorOf = [&](Type element) {
    return MemRefType::get({ShapedType::kDynamic}, element);
  };
  Type index = b.getIndexType(), ids = vectorOf(b.getI32Type());
  Type bytes = vectorOf(b.getI8Type());
  if (type.getNumInputs() != 12 || type.getNumResults() != 0)
    return false;
  auto logits = dyn_cast<MemRefType>(type.getInput(6));
  SmallVector<Type> expected = {index,  index, ids,   ids,   ids,   ids,
                                logits, bytes, bytes, bytes, index, index};
  return logits && logits.getRank() == 2 && !logits.isDynamicDim(1) &&
         logits.getElementType().isF32() &&
         llvm::equal(type.getInputs(), expected);
}

/// Calls `@step` as worker `worker` of `workers`, with the fields of `args`.
static void callStep(EntryBuilder &k, FunctionType type, Value args,
                     Value worker, Value workers) {
  auto integer = [&](size_t offset) { return k.load(k.i64, args, offset); };
  auto pointer = [&](size_t offset) { return k.load(k.pointer, args, offset); };
  SmallVector<Value> arguments = {worker, workers};
#define FIELD(name) offsetof(nju_abi_step_args, name)
  Value tokens = integer(FIELD(num_tokens)), rows = integer(FIELD(num_rows));
  k.appendMemRef(arguments, pointer(FIELD(tokens)), {tokens});
  k.appendMemRef(arguments, pointer(FIELD(positions)), {tokens});
  k.appendMemRef(arguments, pointer(FIELD(sequences)), {tokens});
  k.appendMemRef(arguments, pointer(FIELD(rows)), {rows});
  int64_t vocabulary = cast<MemRefType>(type.getInput(6)).getDimSize(1);
  k.appendMemRef(arguments, pointer(FIELD(logits)),
                 {rows, k.constant(vocabulary)});
  Value sequences = integer(FIELD(max_sequences));
  Value cacheTokens = integer(FIELD(cache_tokens));
  Value cacheBytes = k.mul(k.mul(sequences, cacheTokens),
                           k.constant(cacheBytesOfToken(k.module)));
  k.appendMemRef(arguments, pointer(FIELD(weights)),
                 {k.constant(nju::getWeightFileBytes(k.module))});
  k.appendMemRef(arguments, pointer(FIELD(cache)), {cacheBytes});
  k.appendMemRef(arguments, pointer(FIELD(arena)),
                 {k.constant(moduleBytes(k.module, "nju.arena_bytes"))});
  arguments.append({sequences, cacheTokens});
#undef FIELD
  k.call("step", Type(), arguments);
}

/// int32_t nju_step_entry(const nju_abi_step_args *): runs `@step` on every
/// thread of a team. One thread needs no team, for which OpenMP would allocate.
static void addStepEntry(ModuleOp module, FunctionType type) {
  EntryBuilder k(module, module.getLoc());
  k.declare("omp_get_thread_num", k.i32, {});
  k.declare("omp_get_num_threads", k.i32, {});
  LLVM::LLVMFuncOp function = k.createFunction(nju::kStepEntry);
  Value args = function.getArgument(0);
  Value threads = k.load(k.i64, args, offsetof(nju_abi_step_args, num_threads));
  Value isAlone = LLVM::ICmpOp::create(k.b, k.loc, LLVM::ICmpPredicate::eq,
                                       threads, k.constant(1));
  Block *alone = k.b.createBlock(&function.getBody());
  callStep(k, type, args, k.constant(0), k.constant(1));
  k.returnCode(0);

  Block *team = k.b.createBlock(&function.getBody());
  omp::ParallelOperands clauses;
  clauses.numThreads = LLVM::TruncOp::create(k.b, k.loc, k.i32, threads);
  auto parallel = omp::ParallelOp::create(k.b, k.loc, clauses);
  {
    OpBuilder::InsertionGuard guard(k.b);
    k.b.createBlock(&parallel.getRegion());
    auto number = [&](StringRef name) -> Value {
      return LLVM::SExtOp::create(k.b, k.loc, k.i64, k.call(name, k.i32, {}));
    };
    Value worker = number("omp_get_thread_num");
    callStep(k, type, args, worker, number("omp_get_num_threads"));
    omp::TerminatorOp::create(k.b, k.loc);
  }
  k.returnCode(0);

  k.b.setInsertionPointToEnd(&function.front());
  LLVM::CondBrOp::create(k.b, k.loc, isAlone, alone, team);
}

/// The sizes of `tensor` (a nju_abi_tensor): constants where the type knows.
static SmallVector<Value> loadSizes(EntryBuilder &k, Value tensor,
                                    MemRefType type) {
  SmallVector<Value> sizes;
  for (auto [i, size] : llvm::enumerate(type.getShape()))
    sizes.push_back(
        ShapedType::isDynamic(size)
            ? k.load(k.i64, tensor,
                     offsetof(nju_abi_tensor, shape) + i * sizeof(int64_t))
            : k.constant(size));
  return sizes;
}

/// Stores the memref descriptor `value` to `tensor`. Data must begin where
/// malloc's block does, since the runtime frees it: an aligned allocation is
/// moved to the front of its block.
static void storeTensor(EntryBuilder &k, Value value, MemRefType type,
                        Value tensor) {
  auto extract = [&](ArrayRef<int64_t> position) -> Value {
    return LLVM::ExtractValueOp::create(k.b, k.loc, value, position);
  };
  Value block = extract({0}), offset = extract({2});
  int64_t width = llvm::divideCeil(type.getElementTypeBitWidth(), 8);
  Value bytes = k.constant(width);
  for (int64_t i = 0; i < type.getRank(); ++i) {
    Value size = extract({3, i});
    bytes = k.mul(bytes, size);
    k.store(size, tensor,
            offsetof(nju_abi_tensor, shape) + i * sizeof(int64_t));
  }
  Value begin = LLVM::GEPOp::create(
      k.b, k.loc, k.pointer, k.b.getI8Type(), extract({1}),
      ArrayRef<LLVM::GEPArg>{k.mul(offset, k.constant(width))});
  Value same =
      LLVM::ICmpOp::create(k.b, k.loc, LLVM::ICmpPredicate::eq, begin, block);
  Value moved = LLVM::SelectOp::create(k.b, k.loc, same, k.constant(0), bytes);
  LLVM::MemmoveOp::create(k.b, k.loc, block, begin, moved,
                          /*isVolatile=*/false);
  k.store(block, tensor, offsetof(nju_abi_tensor, data));
}

/// Returns from the entry if the values that `@main` gave back last say that a
/// check failed.
static void returnFailedCheck(EntryBuilder &k, Value args,
                              ArrayRef<Value> check, StringRef messages) {
#define FIELD(name) offsetof(nju_abi_run_args, name)
  LLVM::GlobalOp text = k.addText("nju_check_messages", messages);
  Block *entry = k.b.getInsertionBlock();
  Block *failed = k.b.createBlock(entry->getParent());
  Block *rest = k.b.createBlock(entry->getParent());
  k.b.setInsertionPointToEnd(entry);
  Value holds = LLVM::ICmpOp::create(k.b, k.loc, LLVM::ICmpPredicate::eq,
                                     check[0], k.constant(0));
  LLVM::CondBrOp::create(k.b, k.loc, holds, rest, failed);
  k.b.setInsertionPointToEnd(failed);
  Value message =
      LLVM::GEPOp::create(k.b, k.loc, k.pointer, k.b.getI8Type(),
                          LLVM::AddressOfOp::create(k.b, k.loc, text),
                          ArrayRef<LLVM::GEPArg>{check[0]});
  k.store(message, args, FIELD(error));
  k.store(check[1], args, FIELD(error_values));
  k.store(check[2], args, FIELD(error_values) + sizeof(int64_t));
  k.returnCode(1);
  k.b.setInsertionPointToEnd(rest);
#undef FIELD
}

/// int32_t nju_run_entry(nju_abi_run_args *)
static void addRunEntry(ModuleOp module, const nju::EntryFunction &entry) {
  FunctionType type = entry.type;
  EntryBuilder k(module, module.getLoc());
  LLVM::LLVMFuncOp function = k.createFunction(nju::kRunEntry);
  Value args = function.getArgument(0);
#define FIELD(name) offsetof(nju_abi_run_args, name)
  Value inputs = k.load(k.pointer, args, FIELD(inputs));
  Value outputs = k.load(k.pointer, args, FIELD(outputs));
  SmallVector<Value> arguments = {k.load(k.i64, args, FIELD(num_threads))};
  for (auto [i, input] :
       llvm::enumerate(type.getInputs().slice(1, type.getNumInputs() - 2))) {
    Value tensor = k.address(inputs, i * sizeof(nju_abi_tensor));
    Value data = k.load(k.pointer, tensor, offsetof(nju_abi_tensor, data));
    k.appendMemRef(arguments, data,
                   loadSizes(k, tensor, cast<MemRefType>(input)));
  }
  k.appendMemRef(arguments, k.load(k.pointer, args, FIELD(weights)),
                 {k.constant(nju::getWeightFileBytes(module))});
#undef FIELD
  auto callee = module.lookupSymbol<LLVM::LLVMFuncOp>("main");
  // LLVM takes a `main` for a program's, which runs once.
  callee.setSymName("nju_main");
  Type result = callee.getFunctionType().getReturnType();
  bool none = type.getNumResults() == 0;
  Value values = k.call(callee.getSymName(), none ? Type() : result, arguments);
  SmallVector<Value> results(type.getNumResults(), values);
  if (results.size() > 1)
    for (auto [i, value] : llvm::enumerate(results))
      value = LLVM::ExtractValueOp::create(k.b, k.loc, values,
                                           ArrayRef<int64_t>{int64_t(i)});
  if (entry.checkMessages)
    returnFailedCheck(k, args, ArrayRef<Value>(results).take_back(3),
                      entry.checkMessages.getValue());
  for (auto [i, output] : llvm::enumerate(entry.getOutputs()))
    storeTensor(k, results[i], cast<MemRefType>(output),
                k.address(outputs, i * sizeof(nju_abi_tensor)));
  k.returnCode(0);
}

/// The type of a lowered graph: (threads, inputs..., weights) -> outputs, and
/// what its checks found.
static bool isMainType(const nju::EntryFunction &entry) {
  FunctionType type = entry.type;
  auto isTensor = [](Type type) {
    auto memref = dyn_cast<MemRefType>(type);
    return memref && memref.getLayout().isIdentity() &&
           memref.getRank() <= NJU_ABI_MAX_RANK;
  };
  unsigned inputs = type.getNumInputs();
  return inputs >= 2 && type.getInput(0).isIndex() &&
         llvm::all_of(type.getInputs().drop_front(), isTensor) &&
         llvm::all_of(entry.getOutputs(), isTensor);
}

LogicalResult nju::addEntry(ModuleOp module, const EntryFunction &entry) {
  bool isStep = entry.name == "step";
  if (isStep ? !isStepType(entry.type) : !isMainType(entry))
    return module.emitError()
           << "function '" << entry.name << "' has type " << entry.type
           << ", which is not that of a lowered model (tensors of at most "
           << NJU_ABI_MAX_RANK << " dimensions)";
  for (auto function : module.getOps<LLVM::LLVMFuncOp>())
    if (!function.isExternal())
      function.setLinkage(LLVM::Linkage::Internal);
  if (isStep)
    addStepEntry(module, entry.type);
  else
    addRunEntry(module, entry);
  return success();
}
