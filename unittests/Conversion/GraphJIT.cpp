//===- GraphJIT.cpp - Runs lowered graphs in the process --------*- C++ -*-===//
//
// Part of the NJU project, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "GraphJIT.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "nju/Conversion/BufferizableOpInterfaceImpl.h"
#include "nju/Conversion/Pipelines.h"
#include "nju/Dialect/Exec/IR/Exec.h"
#include "nju/Dialect/NJU/Analysis/Evaluator.h"
#include "nju/Dialect/NJU/IR/NJU.h"
#include "nju/Target/Emit.h"
#include "nju/Target/ToLLVM.h"
#include "nju/abi.h"
#include "llvm/ExecutionEngine/Orc/LLJIT.h"
#include "gtest/gtest.h"

using namespace mlir;
using namespace nju;
using namespace nju::test;

struct GraphJIT::Impl {
  std::unique_ptr<MLIRContext> context;
  OwningOpRef<ModuleOp> source, lowered;
  std::vector<Type> resultTypes;
  std::vector<uint8_t> weights;
  std::unique_ptr<llvm::orc::LLJIT> jit;
  nju_abi_run_function entry = nullptr;

  func::FuncOp main() { return source->lookupSymbol<func::FuncOp>("main"); }
  void placeWeights();
  bool compile(llvm::StringRef targetName);
};

/// Params of the tests are dense and have no layout.
void GraphJIT::Impl::placeWeights() {
  auto bytes =
      lowered->getOperation()->getAttrOfType<IntegerAttr>("nju.weights_bytes");
  weights.resize(bytes.getInt() + 64);
  for (auto param : lowered->getOps<ParamOp>()) {
    auto data = HostTensor::fromAttr(cast<ElementsAttr>(param.getData()));
    ASSERT_TRUE(succeeded(data));
    int64_t offset = param->getAttrOfType<IntegerAttr>("nju.offset").getInt();
    memcpy(weights.data() + offset, data->bytes(), data->getNumBytes());
  }
}

bool GraphJIT::Impl::compile(llvm::StringRef targetName) {
  PassManager passes(context.get());
  LoweringOptions options;
  options.target = targetName.str();
  buildLoweringPipeline(passes, options);
  if (failed(passes.run(*lowered)))
    return false;
  placeWeights();
  if (failed(lowerToLLVM(*lowered)))
    return false;
  auto target = llvm::cantFail(CPUTarget::get(targetName));
  auto llvmContext = std::make_unique<llvm::LLVMContext>();
  auto code = translateToLLVMIR(*lowered, *llvmContext, target);
  if (!code)
    return false;
  code->getFunction(kRunEntry)->setLinkage(llvm::GlobalValue::ExternalLinkage);
  auto builder = llvm::orc::JITTargetMachineBuilder(
      llvm::Triple("x86_64-unknown-linux-gnu"));
  builder.setCPU(target.getCPU().str());
  jit = llvm::cantFail(llvm::orc::LLJITBuilder()
                           .setJITTargetMachineBuilder(std::move(builder))
                           .create());
  llvm::cantFail(jit->addIRModule(
      llvm::orc::ThreadSafeModule(std::move(code), std::move(llvmContext))));
  auto symbol = jit->lookup(kRunEntry);
  if (!symbol) {
    ADD_FAILURE() << llvm::toString(symbol.takeError());
    return false;
  }
  entry = symbol->toPtr<nju_abi_run_function>();
  return true;
}

GraphJIT::GraphJIT(const std::string &text, const std::string &target)
    : impl(std::make_unique<Impl>()) {
  DialectRegistry registry;
  registerTargetInterfaces(registry);
  registerBufferizationModels(registry);
  registry.insert<NJUDialect, exec::ExecDialect, func::FuncDialect,
                  linalg::LinalgDialect, tensor::TensorDialect>();
  impl->context = std::make_unique<MLIRContext>(registry);
  impl->context->loadAllAvailableDialects();
  impl->source = parseSourceString<ModuleOp>(text, impl->context.get());
  if (!impl->source) {
    ADD_FAILURE() << "the graph does not parse:\n" << text;
    return;
  }
  ShapeInference shapes;
  if (failed(shapes.inferFunction(impl->main()))) {
    ADD_FAILURE() << "no shapes for\n" << text;
    return;
  }
  llvm::append_range(impl->resultTypes, impl->main().getResultTypes());
  impl->lowered = impl->source->clone();
  if (!impl->compile(target))
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

std::vector<HostTensor> GraphJIT::run(const std::vector<HostTensor> &inputs,
                                      int64_t threads) {
  std::vector<nju_abi_tensor> ins(inputs.size()),
      outs(impl->resultTypes.size());
  for (auto [tensor, input] : llvm::zip(ins, inputs)) {
    tensor.data = const_cast<char *>(input.bytes());
    llvm::copy(input.getShape(), tensor.shape);
  }
  nju_abi_run_args args = {ins.data(), outs.data(), impl->weights.data(),
                           threads};
  EXPECT_EQ(impl->entry(&args), 0);
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
