//===- GraphJIT.cpp - Runs lowered graphs in the process --------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "GraphJIT.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "nju/Conversion/BufferizableOpInterfaceImpl.h"
#include "nju/Conversion/Pipelines.h"
#include "nju/Dialect/Exec/IR/Exec.h"
#include "nju/Dialect/NJU/Analysis/Evaluator.h"
#include "nju/Dialect/NJU/Analysis/ParamReader.h"
#include "nju/Dialect/NJU/IR/CacheLayout.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include "nju/Target/Emit.h"
#include "nju/Target/ToLLVM.h"
#include "nju/abi.h"
#include "llvm/ExecutionEngine/Orc/LLJIT.h"
#include "gtest/gtest.h"

using namespace mlir;
using namespace nju;
using namespace nju::test;

namespace nju::test {

/// A module from its text to machine code.
struct Compilation {
  std::unique_ptr<MLIRContext> context;
  OwningOpRef<ModuleOp> source, lowered;
  std::vector<uint8_t> weights;
  int64_t arenaBytes = 0, arenaZeroBytes = 0;
  std::string folder; ///< Of files with weights.
  std::unique_ptr<llvm::orc::LLJIT> jit;
  void *entry = nullptr;

  void parse(const std::string &text);
  void placeWeights();
  bool compile(llvm::StringRef targetName, llvm::StringRef entryName);
};

struct GraphJIT::Impl : Compilation {
  std::vector<Type> resultTypes;

  func::FuncOp main() { return source->lookupSymbol<func::FuncOp>("main"); }
};

struct StepJIT::Impl : Compilation {
  std::vector<uint8_t> arena, cache;
};

} // namespace nju::test

void Compilation::parse(const std::string &text) {
  DialectRegistry registry;
  registerTargetInterfaces(registry);
  registerBufferizationModels(registry);
  registry.insert<NJUDialect, exec::ExecDialect, func::FuncDialect,
                  linalg::LinalgDialect, tensor::TensorDialect>();
  context = std::make_unique<MLIRContext>(registry);
  context->loadAllAvailableDialects();
  source = parseSourceString<ModuleOp>(text, context.get());
  if (!source)
    ADD_FAILURE() << "the module does not parse:\n" << text;
}

void Compilation::placeWeights() {
  ParamReader reader(folder);
  auto bytes =
      lowered->getOperation()->getAttrOfType<IntegerAttr>("nju.weights_bytes");
  weights.resize(bytes.getInt() + 64);
  for (auto param : lowered->getOps<ParamOp>()) {
    auto data = reader.read(param, /*maxBytes=*/int64_t(1) << 30);
    ASSERT_TRUE(succeeded(data)) << reader.reason().str();
    int64_t offset = param->getAttrOfType<IntegerAttr>("nju.offset").getInt();
    memcpy(weights.data() + offset, data->bytes(), data->getNumBytes());
  }
}

bool Compilation::compile(llvm::StringRef targetName,
                          llvm::StringRef entryName) {
  PassManager passes(context.get());
  LoweringOptions options;
  options.target = targetName.str();
  buildLoweringPipeline(passes, options);
  if (failed(passes.run(*lowered)))
    return false;
  placeWeights();
  if (auto bytes = lowered->getOperation()->getAttrOfType<IntegerAttr>(
          "nju.arena_bytes"))
    arenaBytes = bytes.getInt();
  if (auto bytes = lowered->getOperation()->getAttrOfType<IntegerAttr>(
          "nju.arena_zero_bytes"))
    arenaZeroBytes = bytes.getInt();
  if (failed(lowerToLLVM(*lowered)))
    return false;
  auto target = llvm::cantFail(CPUTarget::get(targetName));
  auto llvmContext = std::make_unique<llvm::LLVMContext>();
  auto code = translateToLLVMIR(*lowered, *llvmContext, target);
  if (!code)
    return false;
  auto builder = llvm::orc::JITTargetMachineBuilder(
      llvm::Triple("x86_64-unknown-linux-gnu"));
  builder.setCPU(target.getCPU().str());
  jit = llvm::cantFail(llvm::orc::LLJITBuilder()
                           .setJITTargetMachineBuilder(std::move(builder))
                           .create());
  llvm::cantFail(jit->addIRModule(
      llvm::orc::ThreadSafeModule(std::move(code), std::move(llvmContext))));
  auto symbol = jit->lookup(entryName);
  if (!symbol) {
    ADD_FAILURE() << llvm::toString(symbol.takeError());
    return false;
  }
  entry = symbol->toPtr<void *>();
  return true;
}

GraphJIT::GraphJIT(const std::string &text, const std::string &target,
                   const std::string &folder)
    : impl(std::make_unique<Impl>()) {
  impl->folder = folder;
  impl->parse(text);
  if (!impl->source)
    return;
  ShapeInference shapes;
  if (failed(shapes.inferFunction(impl->main()))) {
    ADD_FAILURE() << "no shapes for\n" << text;
    return;
  }
  llvm::append_range(impl->resultTypes, impl->main().getResultTypes());
  impl->lowered = impl->source->clone();
  if (!impl->compile(target, kRunEntry))
    ADD_FAILURE() << "cannot compile\n" << text;
}

GraphJIT::~GraphJIT() = default;

bool GraphJIT::isUsable() const { return impl->entry; }

std::vector<RankedTensorType> GraphJIT::inputTypes() const {
  std::vector<RankedTensorType> types;
  for (Type type : impl->main().getArgumentTypes())
    types.push_back(cast<RankedTensorType>(type));
  return types;
}

static std::vector<nju_abi_tensor>
describe(const std::vector<HostTensor> &inputs) {
  std::vector<nju_abi_tensor> tensors(inputs.size());
  for (auto [tensor, input] : llvm::zip(tensors, inputs)) {
    tensor.data = const_cast<char *>(input.bytes());
    llvm::copy(input.getShape(), tensor.shape);
  }
  return tensors;
}

std::tuple<std::string, int64_t, int64_t>
GraphJIT::runFailing(const std::vector<HostTensor> &inputs) {
  std::vector<nju_abi_tensor> ins = describe(inputs),
                              outs(impl->resultTypes.size());
  nju_abi_run_args args = {ins.data(), outs.data(), impl->weights.data(),
                           1,          nullptr,     {}};
  EXPECT_NE(reinterpret_cast<nju_abi_run_function>(impl->entry)(&args), 0);
  for (const nju_abi_tensor &output : outs)
    EXPECT_EQ(output.data, nullptr);
  return {args.error ? args.error : "", args.error_values[0],
          args.error_values[1]};
}

std::vector<HostTensor> GraphJIT::run(const std::vector<HostTensor> &inputs,
                                      int64_t threads) {
  std::vector<nju_abi_tensor> ins = describe(inputs),
                              outs(impl->resultTypes.size());
  nju_abi_run_args args = {ins.data(), outs.data(), impl->weights.data(),
                           threads,    nullptr,     {}};
  EXPECT_EQ(reinterpret_cast<nju_abi_run_function>(impl->entry)(&args), 0);
  std::vector<HostTensor> results;
  for (auto [tensor, type] : llvm::zip(outs, impl->resultTypes)) {
    auto tensorType = cast<RankedTensorType>(type);
    auto result = HostTensor::uninitialized(
        tensorType.getElementType(),
        ArrayRef<int64_t>(tensor.shape, tensorType.getRank()));
    memcpy(result.mutableBytes(), tensor.data, result.getNumBytes());
    free(tensor.data);
    results.push_back(result);
  }
  return results;
}

std::vector<HostTensor>
GraphJIT::evaluate(const std::vector<HostTensor> &inputs) {
  Evaluator evaluator;
  func::FuncOp main = impl->main();
  for (auto [argument, input] : llvm::zip(main.getArguments(), inputs))
    evaluator.bind(argument, input);
  std::vector<HostTensor> results;
  for (Value result : main.front().getTerminator()->getOperands()) {
    FailureOr<HostTensor> tensor = evaluator.evaluate(result);
    if (failed(tensor)) {
      ADD_FAILURE() << "the evaluator: " << evaluator.reason().str();
      return {};
    }
    results.push_back(*tensor);
  }
  return results;
}

StepJIT::StepJIT(const std::string &text, int64_t maxSequences,
                 int64_t cacheTokens, const std::string &target)
    : impl(std::make_unique<Impl>()), maxSequences(maxSequences),
      cacheTokens(cacheTokens) {
  impl->parse(text);
  if (!impl->source)
    return;
  impl->lowered = impl->source->clone();
  if (!impl->compile(target, kStepEntry)) {
    ADD_FAILURE() << "cannot compile\n" << text;
    return;
  }
  auto lm =
      impl->source->getOperation()->getAttrOfType<DictionaryAttr>("nju.lm");
  vocabulary = lm.getAs<IntegerAttr>("vocabulary").getInt();
  int64_t perToken = getCacheBytes(lm.getAs<ArrayAttr>("cache").getValue());
  impl->cache.resize(perToken * maxSequences * cacheTokens);
  impl->arena.resize(impl->arenaBytes + 64);
}

StepJIT::~StepJIT() = default;

bool StepJIT::isUsable() const { return impl->entry; }

static uint8_t *aligned(std::vector<uint8_t> &bytes) {
  return reinterpret_cast<uint8_t *>(
      llvm::alignTo(reinterpret_cast<uintptr_t>(bytes.data()), 64));
}

std::vector<float> StepJIT::step(const std::vector<int32_t> &tokens,
                                 const std::vector<int32_t> &positions,
                                 const std::vector<int32_t> &sequences,
                                 const std::vector<int32_t> &rows,
                                 int64_t threads) {
  std::vector<float> logits(rows.size() * vocabulary + 1, 7.5f);
  // What the last step left must not matter, but for what is zero.
  uint8_t *arena = aligned(impl->arena);
  std::fill(arena + impl->arenaZeroBytes, arena + impl->arenaBytes, 0xff);
  nju_abi_step_args args = {};
  args.num_tokens = tokens.size();
  args.num_rows = rows.size();
  args.tokens = tokens.data();
  args.positions = positions.data();
  args.sequences = sequences.data();
  args.rows = rows.data();
  args.logits = logits.data();
  args.weights = impl->weights.data();
  args.cache = impl->cache.data();
  args.arena = arena;
  args.max_sequences = maxSequences;
  args.cache_tokens = cacheTokens;
  args.num_threads = threads;
  EXPECT_EQ(reinterpret_cast<nju_abi_step_function>(impl->entry)(&args), 0);
  EXPECT_EQ(logits.back(), 7.5f) << "the step wrote behind the logits";
  logits.pop_back();
  return logits;
}
