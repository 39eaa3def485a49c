//===- EmitKernels.cpp - Adds library kernels to a module -------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "mlir/Dialect/AMX/AMXDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "nju/Codegen/CPU/KernelLibrary.h"
#include "nju/Codegen/Passes.h"
#include "nju/Dialect/Exec/IR/Exec.h"
#include "nju/Dialect/Exec/IR/KernelAttributes.h"

namespace nju {
#define GEN_PASS_DEF_EMITKERNELS
#include "nju/Codegen/Passes.h.inc"
} // namespace nju

using namespace mlir;
using namespace nju;

namespace {
struct EmitKernels : nju::impl::EmitKernelsBase<EmitKernels> {
  using EmitKernelsBase::EmitKernelsBase;
  void runOnOperation() override;
};
} // namespace

/// "4x64" as numbers; empty if it is something else.
static llvm::SmallVector<int64_t> parseSizes(StringRef text, size_t count) {
  llvm::SmallVector<StringRef> parts;
  text.split(parts, 'x');
  llvm::SmallVector<int64_t> sizes;
  for (StringRef part : parts)
    if (part.getAsInteger(10, sizes.emplace_back()) || sizes.back() < 1)
      return {};
  return sizes.size() == count ? sizes : llvm::SmallVector<int64_t>();
}

/// HxGxD, and after it in any order the cache's type, a window and `tiles`.
static func::FuncOp emitAttention(KernelLibrary &library, StringRef sizes,
                                  ArrayRef<StringRef> rest) {
  llvm::SmallVector<int64_t> parsed = parseSizes(sizes, 3);
  if (parsed.empty() || parsed[0] % parsed[1] != 0)
    return nullptr;
  CachedAttentionOptions options;
  options.heads = parsed[0];
  options.kvHeads = parsed[1];
  options.headDim = parsed[2];
  for (StringRef option : rest) {
    llvm::SmallVector<int64_t> window = parseSizes(option, 1);
    if (auto type = parseCacheType(option))
      options.cacheType = *type;
    else if (!window.empty())
      options.window = window[0];
    else if (option == "tiles")
      options.tiles = true;
    else
      return nullptr;
  }
  if (!options.getCacheLayout().getProblem().empty() ||
      (options.tiles && !library.hasAttentionTiles(options)))
    return nullptr;
  return library.cachedAttention(options);
}

/// GxD, and after it the cache's type or nothing.
static func::FuncOp emitCacheWrite(KernelLibrary &library, StringRef sizes,
                                   ArrayRef<StringRef> rest) {
  llvm::SmallVector<int64_t> parsed = parseSizes(sizes, 2);
  auto type = rest.empty() ? CacheType::F32 : parseCacheType(rest[0]);
  if (parsed.empty() || rest.size() > 1 || !type ||
      !CacheLayout{*type, parsed[0], parsed[1]}.getProblem().empty())
    return nullptr;
  return library.cacheWrite(parsed[0], parsed[1], *type);
}

/// BITSxGROUPxRANKxSCALEBITS, and after it in any order `offset`, `zero8` or
/// `zero32`, `pair`, and `int16` or `f32`.
static std::optional<LCQLinearOptions>
parseLCQOptions(StringRef sizes, ArrayRef<StringRef> rest) {
  llvm::SmallVector<int64_t> parsed = parseSizes(sizes, 4);
  if (parsed.empty())
    return std::nullopt;
  LCQLinearOptions options;
  options.bits = parsed[0];
  options.group = parsed[1];
  options.rank = parsed[2];
  options.scaleBits = parsed[3];
  for (StringRef option : rest) {
    if (option == "offset")
      options.offset = true;
    else if (option == "zero8" || option == "zero32")
      options.zeroBits = option == "zero8" ? 8 : 32;
    else if (option == "pair")
      options.weights = 2;
    else if (option == "int16")
      options.activations = ActivationType::Int16;
    else if (option == "f32")
      options.activations = ActivationType::F32;
    else
      return std::nullopt;
  }
  if (!options.isValid())
    return std::nullopt;
  return options;
}

/// Two products are added up.
static func::FuncOp emitLCQLinear(KernelLibrary &library,
                                  LCQLinearOptions options,
                                  MLIRContext *context) {
  Region epilogue;
  if (options.weights == 2) {
    OpBuilder b(context);
    exec::buildBiasEpilogue(b, b.getUnknownLoc(), epilogue);
    options.epilogue = &epilogue;
  }
  return library.lcqLinear(options);
}

/// GROUP, and after it `int16` or nothing.
static func::FuncOp emitPackLCQRows(KernelLibrary &library, StringRef sizes,
                                    ArrayRef<StringRef> rest) {
  llvm::SmallVector<int64_t> group = parseSizes(sizes, 1);
  bool isInt16 = rest.size() == 1 && rest[0] == "int16";
  if (group.empty() || group[0] % 8 != 0 || (!rest.empty() && !isInt16))
    return nullptr;
  return library.packLCQRows(group[0], isInt16 ? ActivationType::Int16
                                               : ActivationType::Int8);
}

/// A product with a bias as its epilogue.
static func::FuncOp emitLinearBias(KernelLibrary &library,
                                   LinearOptions options,
                                   MLIRContext *context) {
  Region epilogue;
  OpBuilder b(context);
  exec::buildBiasEpilogue(b, b.getUnknownLoc(), epilogue);
  options.others = {1};
  options.epilogue = &epilogue;
  return library.linear(options);
}

/// The kernel that `spec` names, or null.
static func::FuncOp emitKernel(KernelLibrary &library, StringRef spec,
                               MLIRContext *context) {
  llvm::SmallVector<StringRef> parts;
  spec.split(parts, ':');
  StringRef name = parts[0];
  auto rest = ArrayRef(parts).drop_front();
  if (name == "pack_rows" && rest.empty())
    return library.packRows();
  if (name == "pack_pairs" && rest.empty())
    return library.packRows(LinearUnit::Pairs);
  if (name == "pack_tiles" && rest.empty())
    return library.packRows(LinearUnit::Tiles);
  if (name == "cached_attention" && !rest.empty())
    return emitAttention(library, rest[0], rest.drop_front());
  if (name == "cache_write" && !rest.empty())
    return emitCacheWrite(library, rest[0], rest.drop_front());
  if ((name == "lcq_linear" || name == "lcq_rows") && !rest.empty()) {
    auto options = parseLCQOptions(rest[0], rest.drop_front());
    if (!options)
      return nullptr;
    return name == "lcq_rows" ? library.lcqRows(*options)
                              : emitLCQLinear(library, *options, context);
  }
  if (name == "pack_lcq_rows" && !rest.empty())
    return emitPackLCQRows(library, rest[0], rest.drop_front());
  if (!name.consume_front("linear_") || !rest.empty())
    return nullptr;
  bool bias = name.consume_back("_bias");
  Builder b(context);
  Type type = llvm::StringSwitch<Type>(name)
                  .Case("f32", b.getF32Type())
                  .Case("f16", b.getF16Type())
                  .Case("bf16", b.getBF16Type())
                  .Default(Type());
  if (!type)
    return nullptr;
  LinearOptions options;
  options.weightType = type;
  return bias ? emitLinearBias(library, options, context)
              : library.linear(options);
}

void EmitKernels::runOnOperation() {
  llvm::Expected<CPUTarget> cpu = CPUTarget::get(target);
  if (!cpu) {
    getOperation().emitError() << llvm::toString(cpu.takeError());
    return signalPassFailure();
  }
  llvm::Expected<ComputeType> type = getComputeType(compute, *cpu);
  if (!type) {
    getOperation().emitError() << llvm::toString(type.takeError());
    return signalPassFailure();
  }
  KernelLibrary library(getOperation(), *cpu, *type);
  for (const std::string &spec : kernels) {
    if (StringRef(spec).starts_with("lcq_linear") && !library.supportsLCQ()) {
      getOperation().emitError()
          << "kernel '" << spec << "' needs an x86-64 target, found '" << target
          << "'";
      return signalPassFailure();
    }
    func::FuncOp function = emitKernel(library, spec, &getContext());
    if (!function) {
      getOperation().emitError()
          << "unknown kernel '" << spec
          << "', expected pack_rows, pack_pairs, pack_tiles, linear_f32, "
             "linear_f16, linear_bf16, linear_*_bias, "
             "pack_lcq_rows:GROUP[:int16], "
             "lcq_linear:BITSxGROUPxRANKxSCALEBITS[:offset|:zero8|:zero32]"
             "[:pair][:int16|:f32]"
             ", "
             "lcq_rows:BITSxGROUPxRANKxSCALEBITS[:offset|:zero8|:zero32], "
             "cache_write:GxD[:f16|:q8|:q4] or "
             "cached_attention:HxGxD[:f16|:q8|:q4][:tiles][:WINDOW]";
      return signalPassFailure();
    }
    function.setPublic();
    exec::removeKernelAttributes(function);
  }
}
